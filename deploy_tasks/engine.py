"""The container engine: what it is and can do, and its commands, run through `c.run`."""

from __future__ import annotations

import os
import random
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from invoke.context import Context
from invoke.exceptions import CommandTimedOut
from invoke.runners import Result

from . import images
from .errors import EngineError, SettingsError
from .publishing import Buildx, Docker, Image, Podman, Way, json_object
from .runner import AtOnce, streaming

_NOT_FOUND = 127  # what a shell says of a command that is not there
_SECRETS = ("DEPLOY_API_KEY", "DEPLOY_REGISTRY_PASSWORD", "DEPLOY_GIT_TOKEN")
_SECRET_VARIABLES = {*_SECRETS, *(f"INVOKE_{name}" for name in _SECRETS)}
_REFUSED_LOGIN = re.compile(r"unauthorized|401|403|denied|incorrect|invalid username", re.IGNORECASE)
# Users retry a login five times, ten seconds apart.
_LOGIN_PAUSES = (1.0, 2.0, 4.0, 8.0)


class Engine:
    """One container engine, by the name of its program. `look` finds out what it is; everything else comes after."""

    def __init__(
        self, c: Context, program: str, *, builder: str | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._c = c
        self._program = program
        self._builder = builder
        self._sleep = sleep
        self._way: Way = Docker()
        self.is_remote = False
        """Whether it builds and pushes from another machine than this."""

    def look(self) -> None:
        """Finds out what the engine is and can do, with `--dry` too. EngineError where it is not there, does not
        answer, or cannot do what DEPLOY_BUILDER asks of it."""
        answer = self.run(["info", "--format", "{{json .}}"], hide=True, dry=False)
        if answer.exited:
            why = "is not installed; install it" if answer.exited == _NOT_FOUND else "does not answer; start it"
            raise EngineError(
                f"the container engine {self._program!r} {why}, or name another in DEPLOY_DOCKER; nothing was built"
            )
        told = json_object(answer.stdout)
        client = told.get("ClientInfo") or {}
        plugins = {plugin.get("Name") for plugin in client.get("Plugins") or []}
        if "host" in told and "store" in told:
            self._way = Podman()
        elif "buildx" in plugins and os.environ.get("DOCKER_BUILDKIT") != "0":
            self._way = Buildx(self._builder)
        elif self._builder:
            raise EngineError(
                f"DEPLOY_BUILDER names {self._builder}, and {self._program!r} has no buildx plugin to use it with; "
                "install it, or unset DEPLOY_BUILDER; nothing was built"
            )
        host = os.environ.get("DOCKER_HOST", "")
        is_local = host.startswith("unix:") or (not host and client.get("Context") in (None, "default"))
        self.is_remote = self._builder is not None or not is_local

    def ignore_files(self, context: Path, dockerfile: Path) -> list[Path]:
        """The files whose rules say what of the build context the engine takes; where versions differ, each of them."""
        return self._way.ignore_files(context, dockerfile)

    def login(self, registry: str, username: str, password: str) -> None:
        """Logs the engine in; the password goes over stdin and is in no command, no echo and no environment.

        Tried five times where the network is in the way, once where the registry refuses. Raises EngineError.
        """
        tls = self._way.tls_flags(registry)
        for pause in (*_LOGIN_PAUSES, None):
            answer = self.run(
                ["login", *tls, "--username", username, "--password-stdin", registry], hide=True, stdin=password
            )
            if not answer.exited:
                return
            if _REFUSED_LOGIN.search(answer.stderr):
                raise EngineError(
                    f"{registry} did not let {username} log in; check DEPLOY_REGISTRY_USERNAME and "
                    "DEPLOY_REGISTRY_PASSWORD; nothing was built or pushed"
                )
            if pause is not None:
                self._sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
        raise EngineError(f"could not log in at {registry}, five times: no usable answer; nothing was built or pushed")

    def publish(self, image: Image) -> str:
        """Builds and pushes `image`; returns the digest of exactly this push (`sha256:…`, of the index where there are
        several platforms), with `--dry` an empty text. EngineError where either fails, or it is not sure which image
        was pushed."""
        # Fresh files: after a failed push, an old one still held the digest of the push before.
        try:
            folder = tempfile.TemporaryDirectory(prefix="deploy-tasks-")
        except OSError as error:
            raise EngineError(
                f"there is no place for a temporary file ({error.strerror}); nothing was built"
            ) from error
        with folder as place:
            digests = self._way.publish(self, image, Path(place) / "digest")
        if self.is_dry:
            return ""
        if len(digests) != 1:
            raise EngineError(
                f"the push of {image.reference} named {len(digests)} digests where one is needed, so it is not sure "
                "which image that was; nothing was recorded or deployed"
            )
        try:
            return images.digest(digests[0])
        except SettingsError as error:
            raise EngineError(
                f"the push of {image.reference} named no digest: {error}; nothing was recorded"
            ) from error

    @property
    def is_dry(self) -> bool:
        return bool(self._c.config.run.dry)

    def step(self, what: str, argv: Sequence[str], image: Image, afterwards: str) -> str:
        """Runs one command of a publication; returns the end of what it printed. EngineError says `what` failed."""
        done = self.run(argv, variables=image.variables)
        if code := done.exited:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise EngineError(f"the {what} of {image.reference} failed ({how}, see above); {afterwards}", done.stderr)
        return str(done.stdout)

    def run(
        self,
        argv: Sequence[str],
        *,
        hide: bool = False,
        stdin: str = "",
        dry: bool | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Result:
        """Runs the engine's program through `c.run`, as its settings have it but for what may not be theirs to set."""
        # warn=True always: with a bare -w a failed push went on to a deploy. A stdin of ours always: the default one
        # eats the input of a shell loop around the call.
        with streaming(self._c):
            try:
                return self._c.run(
                    shlex.join([self._program, *argv]),
                    warn=True,
                    pty=False,
                    hide=hide or None,
                    dry=dry,
                    echo=False if stdin or hide else None,
                    echo_format="{command}",  # Invoke's own has control characters, also in a file
                    in_stream=AtOnce(stdin),
                    env={**_environment_without_secrets(), **self._c.config.run.env, **(variables or {})},
                    replace_env=True,
                )
            except CommandTimedOut as error:
                # Not from the cause: its result holds the environment, with the values of build args.
                raise EngineError(
                    f"{self._program} {argv[0]} took longer than the {error.timeout} s that Invoke gives a command "
                    "(-T, timeouts.command); nothing was recorded or deployed"
                ) from None


def _environment_without_secrets() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in _SECRET_VARIABLES}
