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
from typing import Any

from invoke.context import Context
from invoke.exceptions import CommandTimedOut
from invoke.runners import Result

from .. import images
from ..errors import EngineError
from ..redaction import excerpt
from .publish import Buildx, Docker, Image, Podman, Way, as_list, as_table, json_object
from .runner import AtOnce, streaming

_NOT_FOUND = 127  # what a shell says of a command that is not there
_SECRETS = ("DEPLOY_API_KEY", "DEPLOY_REGISTRY_PASSWORD", "DEPLOY_GIT_TOKEN")
_SECRET_VARIABLES = {*_SECRETS, *(f"INVOKE_{name}" for name in _SECRETS)}
_REFUSED = re.compile(
    r"unauthorized|\b401\b|\b403\b|denied|no basic auth|authorization failed|authentication required|incorrect user"
    r"|invalid username",
    re.IGNORECASE,
)
# docker and podman say this after the registry took the password.
_NOT_SAVED = re.compile(r"saving credentials|storing credentials", re.IGNORECASE)
_CONTAINERD_STORE = ["driver-type", "io.containerd.snapshotter.v1"]
_LAST_LINES = 3
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
        self._username = ""
        self.is_remote = False
        """Whether it builds and pushes from another machine than this."""

    def look(self) -> None:
        """Finds out what the engine is and can do, with `--dry` too. EngineError where it is not there, does not
        answer, or cannot do what DEPLOY_BUILDER asks of it."""
        answer = self.run(["info", "--format", "{{json .}}"], hide=True, dry=False)
        told = json_object(answer.stdout)
        # docker before version 23 says that it reached no server with exit code 0.
        if answer.exited or not told or told.get("ServerErrors"):
            raise EngineError(self._why_not(answer, told))
        client = as_table(told.get("ClientInfo"))
        if "host" in told and "store" in told:
            self._refuse_builder("is podman, which has no builders; unset DEPLOY_BUILDER")
            self._way = Podman()
        else:
            self._way = self._docker(told, client)
        host = os.environ.get("DOCKER_HOST", "")
        is_local = host.startswith("unix:") or (not host and client.get("Context") in (None, "default"))
        self.is_remote = self._builder is not None or not is_local

    def _why_not(self, answer: Result, told: Mapping[str, Any]) -> str:
        if answer.exited == _NOT_FOUND and any(character.isspace() for character in self._program):
            return (
                f"DEPLOY_DOCKER takes the name or path of one program, without arguments: {self._program!r}; to add "
                "arguments, name a script that passes them on"
            )
        if answer.exited == _NOT_FOUND:
            why = "is not installed; install it, or name another in DEPLOY_DOCKER"
        else:
            said = "; ".join(map(str, as_list(told.get("ServerErrors")))) or last_line(answer.stderr)
            why = f"does not answer ({said}); start it, or set DEPLOY_DOCKER to a docker or podman that runs"
        return f"the container engine {self._program!r} {why}"

    def _docker(self, told: Mapping[str, Any], client: Mapping[str, Any]) -> Way:
        has_buildx = "buildx" in [as_table(plugin).get("Name") for plugin in as_list(client.get("Plugins"))]
        if not has_buildx:
            self._refuse_builder("has no buildx plugin to use it with; install it, or unset DEPLOY_BUILDER")
            return Docker()
        if os.environ.get("DOCKER_BUILDKIT") == "0":
            self._refuse_builder("does not use builders while DOCKER_BUILDKIT is 0; unset one of them")
            return Docker()
        if _CONTAINERD_STORE in as_list(told.get("DriverStatus")):
            return Buildx(self._builder, pushes=True)
        by = [self._builder] if self._builder else []
        answer = self.run(["buildx", "inspect", *by], hide=True, dry=False)
        if answer.exited:
            raise EngineError(f"{self._program} cannot use its builder: {last_line(answer.stderr)}")
        driver = re.search(r"^Driver:\s*(\S+)", answer.stdout, re.MULTILINE)
        name = re.search(r"^Name:\s*(\S+)", answer.stdout, re.MULTILINE)
        if not driver or driver[1] != "docker":
            return Buildx(self._builder, pushes=True)
        context = client.get("Context") or "default"
        if name and name[1] != context:
            raise EngineError(
                f"the builder {name[1]} is the docker of another context, and the push would be by that of {context}; "
                f"set DOCKER_CONTEXT={name[1]} instead of the builder"
            )
        return Buildx(self._builder, pushes=False)

    def _refuse_builder(self, why: str) -> None:
        if self._builder:
            raise EngineError(f"DEPLOY_BUILDER names {self._builder}, and {self._program!r} {why}")

    def ignore_files(self, context: Path, dockerfile: Path) -> list[Path]:
        """The files whose rules say what of the build context the engine takes; where versions differ, each of them."""
        return self._way.ignore_files(context, dockerfile)

    def login(self, registry: str, username: str, password: str) -> None:
        """Logs the engine in; the password goes over stdin and is in no command, no echo and no environment.

        Tried five times where the network is in the way, once where the registry refuses. Raises EngineError.
        """
        tls = self._way.tls_flags(registry)
        self._username = username
        for pause in (*_LOGIN_PAUSES, None):
            answer = self.run(
                ["login", *tls, "--username", username, "--password-stdin", registry], hide=True, stdin=password
            )
            if not answer.exited:
                return
            if _NOT_SAVED.search(answer.stderr):
                raise EngineError(
                    f"{registry} let {username} log in, and {self._program} could not save the login "
                    f"({last_line(answer.stderr)}); check its credential store; nothing was built or pushed"
                )
            if _REFUSED.search(answer.stderr):
                raise EngineError(
                    f"{registry} did not let {username} log in; check DEPLOY_REGISTRY_USERNAME and "
                    "DEPLOY_REGISTRY_PASSWORD; nothing was built or pushed"
                )
            if pause is not None:
                self._sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
        raise EngineError(
            f"could not log in at {registry}, five times: {last_line(answer.stderr)}; nothing was built or pushed"
        )

    def publish(self, image: Image) -> str:
        """Builds and pushes `image`; returns the digest of exactly this push (`sha256:…`, of the index where there are
        several platforms), with `--dry` an empty text. EngineError where either fails, or it is not sure which image
        was pushed."""
        # Fresh files: after a failed push, an old one still held the digest of the push before.
        try:
            folder = tempfile.TemporaryDirectory(prefix="deploy-tasks-")
        except OSError as error:
            raise EngineError(f"there is no place for a temporary file ({error.strerror})") from error
        with folder as place:
            digests = self._way.publish(self, image, Path(place))
        if self.is_dry:
            return ""
        if len(digests) != 1:
            raise EngineError(
                f"the push of {image.reference} named {len(digests)} digests where one is needed, so it is not sure "
                "which image that was; nothing was recorded or deployed"
            )
        try:
            return images.digest(digests[0])
        except ValueError as error:
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
            hint = self._login_hint(what, image, done.stderr) if what.endswith("push") else ""
            raise EngineError(f"the {what} of {image.reference} failed ({how}, see above); {afterwards}{hint}")
        return str(done.stdout)

    def _login_hint(self, what: str, image: Image, said: str) -> str:
        """What to do about a failed push, where the engine says that the registry refused it."""
        end = "\n".join(said.rstrip().splitlines()[-_LAST_LINES:])
        # A build is refused the images that it begins with, too.
        is_of_push = "failed to push" in end or what == "push"
        if not is_of_push or not _REFUSED.search(end):
            return ""
        registry = image.reference.partition("/")[0]
        if self._username:
            return f". {registry} does not let {self._username} push {image.reference}"
        return f". Not logged in at {registry}? Set DEPLOY_REGISTRY_USERNAME and DEPLOY_REGISTRY_PASSWORD"

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
                    env={**_environment(), **self._c.config.run.env, **(variables or {})},
                    replace_env=True,
                )
            except CommandTimedOut as error:
                # Not from the cause: its result holds the environment, with the values of build args.
                raise EngineError(
                    f"{self._program} {argv[0]} took longer than the {error.timeout} s that Invoke gives a command "
                    "(-T, timeouts.command); nothing was recorded or deployed"
                ) from None


def last_line(said: str) -> str:
    """The last line that a program said, as much of it as a message can hold."""
    lines = said.strip().splitlines()
    return excerpt(lines[-1]) if lines else "it said nothing"


def _environment() -> dict[str, str]:
    """This process's, without the secrets."""
    own = {key: value for key, value in os.environ.items() if key not in _SECRET_VARIABLES}
    # With an attestation, an unchanged image has another digest after each build.
    return {**own, "BUILDX_NO_DEFAULT_ATTESTATIONS": own.get("BUILDX_NO_DEFAULT_ATTESTATIONS") or "1"}
