"""The container engine: commands as argv lists, run through `c.run`; the digest of a push."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from invoke.context import Context
from invoke.runners import Result

from . import images
from .errors import EngineError, SettingsError
from .runner import AtOnce, streaming

_NOT_FOUND = 127  # what a shell says of a command that is not there
_SECRET_VARIABLES = ("DEPLOY_API_KEY", "DEPLOY_REGISTRY_PASSWORD", "DEPLOY_GIT_TOKEN")
_PODMAN = re.compile(r"(?:.*/)?podman(?:-remote)?")


class Engine:
    """One container engine, by the name of its program: docker, or podman under whatever path."""

    def __init__(self, c: Context, program: str) -> None:
        self._c = c
        self._program = program
        self._is_podman = _PODMAN.fullmatch(program) is not None

    def check(self) -> None:
        """Raises EngineError where the engine is not there or does not answer."""
        if code := self._run([self._program, "info"], hide=True).exited:
            why = "is not installed" if code == _NOT_FOUND else "does not answer; start it"
            raise EngineError(
                f"the container engine {self._program!r} {why}, or name another in DEPLOY_DOCKER; nothing was built"
            )

    def login(self, registry: str, username: str, password: str) -> None:
        """Logs the engine in; the password goes over stdin and is in no command, no echo and no environment."""
        argv = [self._program, "login", "--username", username, "--password-stdin", registry]
        if self._run(argv, hide=True, stdin=password).exited:
            raise EngineError(
                f"{registry} did not let {username} log in; check DEPLOY_REGISTRY_USERNAME and "
                "DEPLOY_REGISTRY_PASSWORD; nothing was built or pushed"
            )

    def build(
        self, reference: str, *, context: Path, dockerfile: Path, platform: str, build_args: Sequence[str]
    ) -> None:
        """Builds `context` as `reference`. Raises EngineError where the build fails."""
        argv = build_command(self._program, reference, context, dockerfile, platform, build_args)
        if code := self._run(argv).exited:
            raise EngineError(
                f"the build of {reference} failed ({_exit(code)}, see above); nothing was pushed or recorded"
            )

    def push(self, reference: str) -> str:
        """Pushes `reference`; returns the digest of exactly this push (`sha256:…`), with `--dry` an empty text.
        Raises EngineError."""
        if self._c.config.run.dry:
            self._run([self._program, "push", reference])
            return ""
        if self._is_podman:
            return self._push_with_digest_file(reference)
        pushed = self._run([self._program, "push", reference])
        self._check_push(reference, pushed)
        return _one_digest(reference, digest_lines(pushed.stdout, images.parse(reference).tag))

    def _push_with_digest_file(self, reference: str) -> str:
        # A fresh file: after a failed push, an old one still held the digest of the push before.
        with tempfile.TemporaryDirectory(prefix="deploy-tasks-") as folder:
            file = Path(folder) / "digest"
            pushed = self._run([self._program, "push", "--digestfile", str(file), reference])
            self._check_push(reference, pushed)
            return _one_digest(reference, [file.read_text().strip()] if file.exists() else [])

    def _check_push(self, reference: str, pushed: Result) -> None:
        if code := pushed.exited:
            raise EngineError(
                f"the push of {reference} failed ({_exit(code)}, see above); nothing was recorded or deployed. "
                "Not logged in? Set DEPLOY_REGISTRY_USERNAME and DEPLOY_REGISTRY_PASSWORD"
            )

    def _run(self, argv: Sequence[str], *, hide: bool = False, stdin: str = "") -> Result:
        # warn=True always: with a bare -w a failed push went on to a deploy. A stdin of ours always: the default one
        # eats the input of a shell loop around the call.
        with streaming(self._c):
            return self._c.run(
                shlex.join(argv),
                warn=True,
                pty=False,
                hide=hide,
                echo=False if stdin else None,
                in_stream=AtOnce(stdin),
                env=environment_without_secrets(),
                replace_env=True,
            )


def build_command(
    program: str, reference: str, context: Path, dockerfile: Path, platform: str, build_args: Iterable[str]
) -> list[str]:
    """The argv of a build."""
    arguments = [part for text in build_args for part in ("--build-arg", text)]
    return [
        program,
        "build",
        "--platform",
        platform,
        "--tag",
        reference,
        "--file",
        str(dockerfile),
        *arguments,
        str(context),
    ]


def check_build_args(texts: Sequence[str]) -> Sequence[str]:
    """`KEY=VALUE`, or `KEY` whose value the engine takes from the environment; SettingsError otherwise."""
    for text in texts:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*(=.*)?", text, re.DOTALL):
            raise SettingsError(f"--build-arg {text!r} has no name: KEY=VALUE, or KEY; nothing was built")
    return texts


def digest_lines(output: str, tag: str | None) -> list[str]:
    """Every digest that a docker push printed for `tag`: lines of the form `TAG: digest: sha256:… size: N`."""
    line = re.compile(rf"{re.escape(tag or '')}: digest: (sha256:[0-9a-f]{{64}}) size: \d+")
    return [match[1] for text in output.splitlines() if (match := line.fullmatch(text.strip()))]


def environment_without_secrets() -> dict[str, str]:
    """What a child process may see of the environment."""
    return {key: value for key, value in os.environ.items() if key not in _SECRET_VARIABLES}


def _one_digest(reference: str, digests: Sequence[str]) -> str:
    if len(digests) != 1:
        raise EngineError(
            f"the push of {reference} named {len(digests)} digests where one is needed, so it is not sure which image "
            "that was; nothing was recorded or deployed"
        )
    return images.digest(digests[0])


def _exit(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
