"""Git remotes: their URLs in a form that a cluster can clone, and queries to ssh and to the remotes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from urllib.parse import urlsplit

HostOf = Callable[[str], str | None]
# The kit's settings, some of them secret. git, its hooks and its helpers must not see them.
_SETTINGS = ("DEPLOY_", "INVOKE_DEPLOY_")
# Variables that select git's repository. In a git hook, they select the hook's own.
# Source: `git rev-parse --local-env-vars`, git 2.39; without GIT_CONFIG_COUNT, by which CI sets safe.directory.
LOCAL_VARIABLES = (
    *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS"),
    *("GIT_OBJECT_DIRECTORY", "GIT_DIR", "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE"),
    *("GIT_INDEX_FILE", "GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE", "GIT_PREFIX"),
    *("GIT_INTERNAL_SUPER_PREFIX", "GIT_SHALLOW_FILE", "GIT_COMMON_DIR"),
)
_SECONDS = 10.0
# How git distinguishes a URL, `[user@]host:path`, and a path: connect.c, url_is_local_not_ssh.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.*")
_SCP_FORM = re.compile(r"(?P<user>[^@/:-][^@/:]*@)?(?P<host>[A-Za-z0-9][^@/:]+|\[[0-9A-Fa-f:]+\]):(?P<path>[^:].*)")
# Hosts for ssh over port 443, with the hosts of their https URLs. Azure's have another path, too.
_WEB_HOSTS = {
    "ssh.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
}
_AZURE = re.compile(r"(?:ssh\.dev\.azure|vs-ssh\.visualstudio)\.com/v3/([^/]+)/([^/]+)/([^/]+)")


def environment() -> dict[str, str]:
    """The environment variables for git and ssh, without the kit's settings and without git's repository variables."""
    items = os.environ.items()
    return {key: value for key, value in items if not key.startswith(_SETTINGS) and key not in LOCAL_VARIABLES}


def ssh_host(target: str) -> str | None:
    """The host that ssh connects to for `[user@]host`, which may be an alias in the user's ssh configuration. None if
    ssh fails and `target` looks like an alias."""
    host = target.rpartition("@")[2]
    answer = _answer(["ssh", "-G", target])
    if answer is None:
        return host if "." in host else None
    return next((line.partition(" ")[2] for line in answer.splitlines() if line.startswith("hostname ")), host)


def refs_of(name: str, url: str) -> set[str] | None:
    """The commits and tags that the refs of a remote point to now; None if it does not answer. Never prompts for a
    password, and ignores the checkout's configuration, which may name programs to run."""
    setting = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"remote.{name}.url", "GIT_CONFIG_VALUE_0": url}
    answer = _answer(["git", "-C", "/", "ls-remote", "--quiet", name], **setting, GIT_TERMINAL_PROMPT="0")
    return None if answer is None else {line.partition("\t")[0] for line in answer.splitlines()}


def _answer(command: list[str], **variables: str) -> str | None:
    """The stdout of `command`; None if it fails or takes more than 10 s. It cannot prompt."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment(), **variables},
            start_new_session=True,
        )
    except OSError:
        return None
    with process:
        try:
            output, _ = process.communicate(timeout=_SECONDS)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # with the programs that it started
            if isinstance(error, subprocess.TimeoutExpired):
                return None
            raise
    return None if process.returncode else output.decode(errors="replace")


def clone_url(remote: str, ssh_host: HostOf = lambda target: target.rpartition("@")[2]) -> str | None:
    """`git@host:org/repo.git` and `ssh://…` as `https://host/org/repo`, without user, password and query. A path stays
    as it is. `ssh_host` returns the host that ssh connects to for `[user@]host`.

    None if a part of it may be a password, or if only this machine can clone it.

    >>> clone_url("git@github.com:org/repo.git")
    'https://github.com/org/repo'
    """
    if not remote.isprintable():
        return None
    if _URL.fullmatch(remote):
        return _without_secrets(remote, ssh_host)
    if "/" in remote.partition(":")[0] or ":" not in remote:  # a path
        return remote if remote.startswith(("/", ".")) or "@" not in remote else None
    scp = _SCP_FORM.fullmatch(remote)
    if not scp or (not scp["user"] and "@" in scp["path"]):
        return None
    return _without_secrets(f"ssh://{scp['user'] or ''}{scp['host']}/{scp['path']}", ssh_host)


def _without_secrets(url: str, ssh_host: HostOf) -> str | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    if parts.scheme == "file":
        return f"file://{host}{parts.path}"
    looks_like_flag = parts.netloc.startswith("-") or host.startswith("-")
    # A password with a slash in it ends what looks like the host.
    may_be_password = "@" in parts.path and "." not in host
    if not host or not parts.path.strip("/") or looks_like_flag or may_be_password:
        return None
    if parts.scheme not in ("ssh", "git+ssh", "ssh+git", "git"):
        path = without_suffix(parts.path) if parts.scheme in ("http", "https") else parts.path
        return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{path}"
    # The https address of what ssh finds there.
    found = ssh_host(f"{parts.username}@{host}" if parts.username else host)
    if found is None:
        return None
    host = f"[{found.strip('[]')}]" if ":" in found else _WEB_HOSTS.get(found, found)
    place = f"{host}/{without_suffix(parts.path).lstrip('/')}"
    azure = _AZURE.fullmatch(place)
    return f"https://dev.azure.com/{azure[1]}/{azure[2]}/_git/{azure[3]}" if azure else f"https://{place}"


def without_suffix(path: str) -> str:
    """`path` without `.git` and slashes at its end."""
    return path.rstrip("/").removesuffix(".git")
