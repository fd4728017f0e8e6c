"""The files of a build: a git clone, and what the build uses of it."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..interfaces import Build
from .processes import BuildFailure, Log, run

# `fd::17` reads from an open file of the server and waits for ever, `ext::` runs a command.
_TRANSPORTS = "file:git:http:https:ssh"


async def clone(build: Build, checkout: Path, log: Log) -> None:
    """Makes `checkout` and puts the files of `build` into it. Raises BuildFailure."""
    url, credentials = _without_password(build.repo_url)
    if build.git_token:
        credentials = f"x-access-token:{build.git_token}"
    log(f"cloning {url} at {build.git_ref}")
    checkout.mkdir()
    environment = await _git_environment(credentials)
    # No maintenance: it goes on in the background, in a folder that is soon removed.
    git = ["git", "-C", str(checkout), "-c", "gc.auto=0", "-c", "maintenance.auto=false"]
    await run([*git, "init", "--quiet"], log, environment)
    fetch = [*git, "fetch", "--quiet", "--no-tags", "--update-head-ok"]
    # One commit where the server gives it out; else everything, which servers of the plain old protocol always do.
    try:
        await run([*fetch, "--depth=1", "--", url, build.git_ref], lambda _: None, environment)
    except BuildFailure:
        everything = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        await run([*fetch, "--", url, *everything], log, environment)
        await run([*git, "checkout", "--quiet", "--detach", build.git_ref, "--"], log, environment)
    else:
        await run([*git, "checkout", "--quiet", "--detach", "FETCH_HEAD"], log, environment)


def context_and_dockerfile(build: Build, checkout: Path) -> tuple[Path, Path]:
    """The folder and the Dockerfile that `build` names. Raises BuildFailure where they are not in the checkout."""
    context = _inside(checkout, build.build_context, Path.is_dir)
    dockerfile = _inside(checkout, build.dockerfile, Path.is_file)
    if context is None:
        raise BuildFailure(f"build context {build.build_context!r} is not a folder of the repository")
    if dockerfile is None:
        raise BuildFailure(f"Dockerfile {build.dockerfile!r} is not in the repository")
    return context, dockerfile


def _inside(checkout: Path, relative: str, is_right: Callable[[Path], bool]) -> Path | None:
    """The path, or None where there is nothing of the right kind. Raises BuildFailure outside the checkout."""
    try:
        path = (checkout / relative).resolve()
        is_there = is_right(path)
    except (OSError, RuntimeError, ValueError):  # a name that is too long, a loop of links, a zero byte
        return None
    if not path.is_relative_to(checkout):
        raise BuildFailure(f"{relative!r} lies outside the repository")
    return path if is_there else None


def _without_password(url: str) -> tuple[str, str | None]:
    """`url` without its secrets, which must not get onto a command line or into a log; and `user:password` for http.

    For http, a user without a password is dropped too: some people put a token there.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise BuildFailure("the repository's address is malformed") from error
    userinfo, _, host = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    if parts.scheme in ("http", "https"):
        credentials = f"{unquote(user)}:{unquote(password)}" if password else None
        return parts._replace(netloc=host).geturl(), credentials
    return (parts._replace(netloc=f"{user}@{host}").geturl() if password else url), None


async def _git_environment(credentials: str | None) -> dict[str, str]:
    """The environment for git: that of whoever started the server (GIT_SSL_CAINFO, GIT_SSH_COMMAND, GIT_CONFIG_COUNT
    and their like), without what names a repository, such as GIT_DIR, and so that git asks nobody."""
    of_a_repository: list[str] = []
    await run(["git", "rev-parse", "--local-env-vars"], of_a_repository.append)
    # git counts it among them; it is also how CI systems configure git.
    dropped = {*of_a_repository, "SSH_ASKPASS"} - {"GIT_CONFIG_COUNT"}
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    environment |= {"GIT_ALLOW_PROTOCOL": _TRANSPORTS, "GIT_TERMINAL_PROMPT": "0", "SSH_ASKPASS_REQUIRE": "never"}
    if credentials:
        # Over the environment: other users of this machine can read a command line.
        given = environment.get("GIT_CONFIG_COUNT", "")
        number = int(given) if given.isdecimal() else 0
        environment |= {
            "GIT_CONFIG_COUNT": str(number + 1),
            f"GIT_CONFIG_KEY_{number}": "http.extraHeader",
            f"GIT_CONFIG_VALUE_{number}": f"Authorization: Basic {base64.b64encode(credentials.encode()).decode()}",
        }
    return environment
