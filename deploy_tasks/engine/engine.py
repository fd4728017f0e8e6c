"""The container engine: detects its kind, logs in, and runs its commands (through `c.run`)."""

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

from .. import images
from ..config.schema import SECRET_VARIABLE
from ..encoding import decode
from ..errors import EngineError
from .docker import Buildx, Docker
from .kind import NOT_PUSHED, NOT_RECORDED, Image, Info, Kind, last_line, text_of
from .podman import Podman
from .runner import WholeInput, streaming

# The first kind that recognizes the engine is used; Docker accepts any.
KINDS: Sequence[type[Kind]] = (Podman, Buildx, Docker)

_NOT_FOUND = 127  # the exit code of a shell for an unknown command
_REFUSED = re.compile(
    r"unauthorized|\b401\b|\b403\b|denied|no basic auth|authorization failed|authentication required|incorrect user"
    r"|invalid username",
    re.IGNORECASE,
)
# docker and podman say this after the registry accepted the password.
_NOT_SAVED = re.compile(r"(saving|storing) credentials", re.IGNORECASE)
_LAST_LINES = 3
_LOGIN_PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds


class Engine:
    """A container engine; `program` is its name or path. Call `detect` first."""

    def __init__(
        self, c: Context, program: str, *, builder: str | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._c = streaming(c)
        self.program = program
        self.builder = builder
        self._sleep = sleep
        self.kind: Kind = Docker()
        self._username = ""
        self.is_remote = False
        """Whether it builds and pushes on another machine."""

    def detect(self) -> None:
        """Detects the kind of engine, even with `--dry`. EngineError if it is not installed, does not answer, or cannot
        use the builder that DEPLOY_BUILDER names."""
        answer = self.run(["info", "--format", "{{json .}}"], hide=True, dry=False)
        if answer.exited == _NOT_FOUND:
            raise EngineError(
                f"the container engine {self.program!r} is not installed",
                next="Install it, or name another program, without arguments, in DEPLOY_DOCKER",
            )
        info, trouble = Info(), ""
        try:
            info = decode(answer.stdout.encode(), Info)
        except ValueError as error:
            trouble = f"its info is in an unknown format: {error}"
        # docker before version 23 exits with 0 if it cannot reach its server.
        if answer.exited or info.server_errors:
            trouble = "; ".join(info.server_errors or ()) or last_line(answer.stderr)
        if trouble:
            raise EngineError(
                f"the container engine {self.program!r} does not answer ({trouble})",
                next="Start it, or set DEPLOY_DOCKER to a docker or podman that runs",
            )
        self.kind = next(kind for one in KINDS if (kind := one.detect(self, info)))
        host = os.environ.get("DOCKER_HOST", "")
        is_local = host.startswith("unix:") or (not host and info.client_info.context == "default")
        self.is_remote = self.builder is not None or not is_local

    def refuse_builder(self, why: str) -> None:
        """EngineError if DEPLOY_BUILDER is set, which this engine cannot use; `why` is the reason."""
        if self.builder:
            what = f"DEPLOY_BUILDER names {self.builder}, but {self.program!r} {why}"
            raise EngineError(what, next="Unset DEPLOY_BUILDER, or name another engine in DEPLOY_DOCKER")

    def login(self, registry: str, username: str, password: str) -> None:
        """Logs in at `registry`. The password goes over stdin, so no command, echo or environment contains it.

        Tries five times if the registry cannot be reached, once if it refuses. Raises EngineError.
        """
        self._username = username
        flags = [*self.kind.tls_flags(registry), "--username", username, "--password-stdin", registry]
        for pause in (*_LOGIN_PAUSES, None):
            answer = self.run(["login", *flags], hide=True, stdin=password)
            if not answer.exited:
                return
            if _NOT_SAVED.search(answer.stderr):
                raise EngineError(
                    f"{registry} accepted the login of {username}, but {self.program!r} could not save it "
                    f"({last_line(answer.stderr)})",
                    next="Check its credential store",
                )
            if _REFUSED.search(answer.stderr):
                raise EngineError(
                    f"{registry} refused the login of {username}",
                    next="Check DEPLOY_REGISTRY_USERNAME and DEPLOY_REGISTRY_PASSWORD",
                )
            if pause is not None:
                self._sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
        raise EngineError(f"the login at {registry} failed five times: {last_line(answer.stderr)}")

    def publish(self, image: Image) -> str:
        """Builds and pushes `image`; returns the digest of exactly this push (`sha256:…`; for several platforms, of the
        index), "" with `--dry`. EngineError if a command fails, or if it is not certain which image was pushed."""
        # Always new files: after a failed push, an old file would still have the digest of the previous push.
        try:
            folder = tempfile.TemporaryDirectory(prefix="deploy-tasks-")
        except OSError as error:
            raise EngineError(f"no temporary folder can be created ({error.strerror})") from error
        with folder as path:
            reported = self.kind.publish(self, image, Path(path))
        if self.is_dry:
            return ""
        digests = list(filter(images.DIGEST.fullmatch, reported))
        if len(digests) != 1:
            raise EngineError(
                f"the push of {image.reference} reported {len(digests)} digests instead of one, so it is not certain "
                "which image it pushed",
                NOT_RECORDED,
            )
        return digests[0]

    @property
    def is_dry(self) -> bool:
        return bool(self._c.config.run.dry)

    def build(self, argv: Sequence[str], image: Image, id_file: Path) -> str:
        """Runs a build that writes the image's ID to `id_file`; returns the ID. EngineError if the file has no ID:
        podman exits with 0 even when SIGTERM ends it."""
        self.step("build", argv, image, NOT_PUSHED)
        if self.is_dry:
            return "IMAGE_ID"
        built = text_of(id_file)
        if not built or "\0" in built:
            raise EngineError(f"the build of {image.reference} ended without an image", NOT_PUSHED)
        return built

    def step(self, what: str, argv: Sequence[str], image: Image, effect: str) -> str:
        """Runs one command of `publish`; returns the end of its output. EngineError with `effect` if it fails."""
        done = self.run(argv, variables=image.variables)
        if not done.exited:
            return done.stdout
        how = f"signal {-done.exited}" if done.exited < 0 else f"exit code {done.exited}"
        advice = []
        end = "\n".join(done.stderr.rstrip().splitlines()[-_LAST_LINES:])
        # With `build and push`, the registry of a base image may have refused a pull.
        if _REFUSED.search(end) and (what == "push" or (what == "build and push" and "failed to push" in end)):
            may = f"Allow {self._username} to push to {image.registry}, or use another account"
            log_in = f"To log in at {image.registry}, set DEPLOY_REGISTRY_USERNAME and DEPLOY_REGISTRY_PASSWORD"
            advice = [may if self._username else log_in]
        raise EngineError(f"the {what} of {image.reference} failed ({how}, see above)", effect, advice)

    def run(
        self,
        argv: Sequence[str],
        *,
        hide: bool = False,
        stdin: str = "",
        dry: bool | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Result:
        """Runs the program through `c.run`, with Invoke's settings except those that would break a build."""
        # warn=True, since exit codes are checked here: with Invoke's own -w, a deploy followed a failed push.
        # in_stream: the default would consume the input of a shell loop around the call.
        environment = {key: value for key, value in os.environ.items() if not SECRET_VARIABLE.fullmatch(key)}
        # With an attestation, an unchanged image would get a new digest with each build.
        environment["BUILDX_NO_DEFAULT_ATTESTATIONS"] = environment.get("BUILDX_NO_DEFAULT_ATTESTATIONS") or "1"
        try:
            return self._c.run(
                shlex.join([self.program, *argv]),
                warn=True,
                pty=False,
                hide=hide or None,
                dry=dry,
                echo=False if stdin or hide else None,
                echo_format="{command}",  # Invoke's default has control characters, even in a file
                in_stream=WholeInput(stdin),
                env={**environment, **self._c.config.run.env, **(variables or {})},
                replace_env=True,
            )
        except CommandTimedOut as error:
            # Without the cause: its result contains the environment, with the values of build args.
            raise EngineError(
                f"{self.program} {argv[0]} took longer than Invoke's limit of {error.timeout} s (-T, timeouts.command)",
                NOT_RECORDED,
            ) from None
