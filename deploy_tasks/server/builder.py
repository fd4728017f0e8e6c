"""The sandbox's builds: a real clone, then a real image, by one of two builders."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import re
import shlex
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Protocol

from .registry import MANIFEST_TYPE, Registry, digest_of

_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"

Log = Callable[[str], None]


_KANIKO_FILES = "error building image: error building stage: failed to get files used from context"
# `fd::17` reads from an open file of the sandbox and waits for ever, `ext::` runs a command.
_TRANSPORTS = "file:git:http:https:ssh"
# What git begins the line with that says why; more lines follow it.
_REASONS = ("fatal:", "error:")
_running: set[subprocess.Popen[bytes]] = set()
_ending = Event()


def end_builds() -> None:
    """Ends the commands of all builds that run, and what they started: the sandbox ends."""
    _ending.set()
    for process in list(_running):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


class BuildFailure(Exception):
    """A build that failed by the user's doing; the message is for the log."""


@dataclass(frozen=True)
class Source:
    """What to build: a repository, a ref in it, and the files in that."""

    repo_url: str
    git_ref: str
    git_token: str | None
    dockerfile: str
    build_context: str


class Builder(Protocol):
    def build(self, context: Path, dockerfile: Path, image: str, tag: str, log: Log) -> None:
        """Builds `context` and pushes it as `image:tag`. Raises BuildFailure."""


def run_build(source: Source, builder: Builder, image: str, tag: str, log: Log) -> None:
    """Clones `source` and hands it to `builder`. Raises BuildFailure."""
    with tempfile.TemporaryDirectory(prefix="sandbox-build-") as folder:
        checkout = Path(folder).resolve() / "checkout"
        _clone(source, checkout, log)
        context = _inside(checkout, source.build_context)
        dockerfile = _inside(checkout, source.dockerfile)
        if not context.is_dir():
            raise BuildFailure(f"build context {source.build_context!r} is not a folder of the repository")
        if not dockerfile.is_file():
            raise BuildFailure(f"Dockerfile {source.dockerfile!r} is not in the repository")
        builder.build(context, dockerfile, image, tag, log)


class ArchiveBuilder:
    """Packs the context as one reproducible layer. Needs nothing but git, and runs no `RUN`."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def build(self, context: Path, dockerfile: Path, image: str, tag: str, log: Log) -> None:
        instructions = list(_instructions(dockerfile.read_text(errors="replace")))
        left_out = [name for name, _ in instructions if name == "RUN"]
        log(f"builder archive: packs the build context and runs no RUN ({len(left_out)} left out)")
        for name, rest in instructions:
            if name in ("COPY", "ADD"):
                _check_sources(context, rest)
        archive = _archive(context)
        layer = gzip.compress(archive, mtime=0)
        config = _to_json(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Labels": {"sandbox.dockerfile": dockerfile.name}},
                "rootfs": {"type": "layers", "diff_ids": [digest_of(archive)]},
            }
        )
        manifest = _to_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": _descriptor(_CONFIG_TYPE, config),
                "layers": [_descriptor(_LAYER_TYPE, layer)],
            }
        )
        digest = self._registry.push(image, tag, [layer, config], manifest)
        log(f"pushed {self._registry.address}/{image}:{tag} {digest}")


class EngineBuilder:
    """Builds and pushes with docker."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def build(self, context: Path, dockerfile: Path, image: str, tag: str, log: Log) -> None:
        reference = f"{self._registry.address}/{image}:{tag}"
        _run(["docker", "build", "--tag", reference, "--file", str(dockerfile), str(context)], log)
        _run(["docker", "push", reference], log)


def _instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    """Name and rest of each instruction, without the bodies of here-documents.

    Source: docs.docker.com/reference/dockerfile, "Format" and "Here-Documents".
    """
    lines = iter([line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")])
    for line in lines:
        whole = line.strip()
        while whole.endswith("\\"):
            whole = whole[:-1] + next(lines, "").strip()
        name, _, rest = whole.partition(" ")
        if not name:
            continue
        yield name.upper(), rest.strip()
        for end in re.findall(r"<<-?[\"']?(\w+)", rest) if name.upper() in ("RUN", "COPY", "ADD") else ():
            while next(lines, end).strip() != end:
                pass


def _check_sources(context: Path, rest: str) -> None:
    """Fails as Kaniko does where a source of a COPY or ADD is not in the context; what only a build knows is left out:
    another stage's files, variables, here-documents, URLs."""
    flags = re.match(r"(?:--\S+\s+)*", rest)
    rest, is_of_stage = rest[flags.end() :] if flags else rest, flags is not None and "--from=" in flags[0]
    try:
        words = json.loads(rest) if rest.startswith("[") else shlex.split(rest)
    except ValueError:
        return  # a builder that reads every word refuses it
    for source in words[:-1] if not is_of_stage else ():
        if re.search(r"[$]|://|^<<|^git@", source):
            continue
        path = os.path.normpath(f"/{source}").lstrip("/")
        if re.search(r"[*?\[]", path):
            if not any(context.glob(path)):
                raise BuildFailure(f"{_KANIKO_FILES}: copy failed: no source files specified ({source})")
        elif not os.path.lexists(context / path):
            there = f"/kaniko/buildcontext/{path}"
            raise BuildFailure(
                f"{_KANIKO_FILES}: failed to get fileinfo for {there}: lstat {there}: no such file or directory"
            )


def _clone(source: Source, checkout: Path, log: Log) -> None:
    log(f"cloning {source.repo_url} at {source.git_ref}")
    checkout.mkdir()
    environment = _git_environment(source.git_token)
    git = ["git", "-C", str(checkout)]
    _run([*git, "init", "--quiet"], log, environment)
    fetch = [*git, "fetch", "--quiet", "--no-tags", "--update-head-ok"]
    # One commit where the server gives it out; else everything, which servers of the plain old protocol always do.
    try:
        _run([*fetch, "--depth=1", "--", source.repo_url, source.git_ref], lambda _: None, environment)
    except BuildFailure:
        _run(
            [*fetch, "--", source.repo_url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"], log, environment
        )
        _run([*git, "checkout", "--quiet", "--detach", source.git_ref, "--"], log, environment)
    else:
        _run([*git, "checkout", "--quiet", "--detach", "FETCH_HEAD"], log, environment)


def _git_environment(token: str | None) -> dict[str, str]:
    """The environment for git: that of whoever started the sandbox (GIT_SSL_CAINFO, GIT_SSH_COMMAND, GIT_CONFIG_COUNT
    and their like), without what names a repository, such as GIT_DIR, and so that git asks nobody."""
    of_a_repository: list[str] = []
    _run(["git", "rev-parse", "--local-env-vars"], of_a_repository.append)
    # git counts it among them; it is also how CI systems configure git.
    dropped = {*of_a_repository, "SSH_ASKPASS"} - {"GIT_CONFIG_COUNT"}
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    environment |= {"GIT_ALLOW_PROTOCOL": _TRANSPORTS, "GIT_TERMINAL_PROMPT": "0", "SSH_ASKPASS_REQUIRE": "never"}
    if token:
        # Over the environment: other users of this machine can read a command line.
        credentials = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        given = environment.get("GIT_CONFIG_COUNT", "")
        number = int(given) if given.isdecimal() else 0
        environment |= {
            "GIT_CONFIG_COUNT": str(number + 1),
            f"GIT_CONFIG_KEY_{number}": "http.extraHeader",
            f"GIT_CONFIG_VALUE_{number}": f"Authorization: Basic {credentials}",
        }
    return environment


def _inside(checkout: Path, relative: str) -> Path:
    path = (checkout / relative).resolve()
    if not path.is_relative_to(checkout):
        raise BuildFailure(f"{relative!r} lies outside the repository")
    return path


def _run(argv: list[str], log: Log, environment: dict[str, str] | None = None) -> None:
    try:
        with subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            _running.add(process)
            if _ending.is_set():
                end_builds()
            assert process.stdout is not None  # noqa: S101 - it is piped
            why = ""
            for line in process.stdout:
                text = line.decode(errors="replace").rstrip()
                log(text)
                if not why.startswith(_REASONS) or text.startswith(_REASONS):
                    why = text
    except OSError as error:
        raise BuildFailure(f"{argv[0]}: {error.strerror}") from error
    _running.discard(process)
    if process.returncode:
        raise BuildFailure(f"{argv[0]} failed with exit code {process.returncode}: {why}")


def _archive(context: Path) -> bytes:
    """A tar that is the same for the same files: sorted, without times and owners, modes as git keeps them."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(context.rglob("*")):
            relative = path.relative_to(context)
            if relative.parts[0] == ".git":
                continue
            entry = archive.gettarinfo(path, arcname=str(PurePosixPath("app") / relative.as_posix()))
            entry.mtime = entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
            if entry.isfile():
                with path.open("rb") as file:
                    archive.addfile(entry, file)
            else:
                archive.addfile(entry)
    return packed.getvalue()


def _to_json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}
