"""How each kind of engine builds, pushes and says the digest: its commands as argv lists, after the program.

Each digest is taken from what the engine says of this very push; what is read back from the tag may be somebody else's.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from invoke.runners import Result

from . import images
from .errors import EngineError
from .hosts import is_loopback

_CANNOT = re.compile(r"Multi-platform build is not supported|multiple platforms feature is currently not supported")


@dataclass(frozen=True)
class Image:
    """What is to be built: `reference` is `registry/name:tag`, `build_args` are `KEY=VALUE` or `KEY`, and `variables`
    hold the values of the latter, which travel in the environment and not on the command line."""

    reference: str
    context: Path
    dockerfile: Path
    platform: str = "linux/amd64"
    build_args: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def has_several_platforms(self) -> bool:
        return "," in self.platform


class Commands(Protocol):
    """The engine's program, to be run."""

    def step(self, what: str, argv: Sequence[str], image: Image, afterwards: str) -> str: ...
    def run(self, argv: Sequence[str], *, hide: bool = False) -> Result: ...


class Way(Protocol):
    """How one kind of engine builds, pushes and says the digest."""

    def publish(self, engine: Commands, image: Image, digest_file: Path) -> list[str]: ...
    def ignore_files(self, context: Path, dockerfile: Path) -> list[Path]: ...
    def tls_flags(self, registry: str) -> list[str]: ...


_AFTER_BUILD = "nothing was pushed or recorded"
_AFTER_PUSH = (
    "nothing was recorded or deployed. Not logged in? Set DEPLOY_REGISTRY_USERNAME and DEPLOY_REGISTRY_PASSWORD"
)


class Docker:
    """`docker build` and `docker push`: the digest is on the one line that the push prints for the tag."""

    def publish(self, engine: Commands, image: Image, digest_file: Path) -> list[str]:  # noqa: ARG002
        if image.has_several_platforms:
            raise EngineError(
                f"this docker cannot build {image.platform} at once: several platforms need the buildx plugin, or "
                "podman; nothing was built"
            )
        engine.step("build", build_command(image), image, _AFTER_BUILD)
        printed = engine.step("push", ["push", image.reference], image, _AFTER_PUSH)
        return digest_lines(printed, images.parse(image.reference).tag)

    def ignore_files(self, context: Path, dockerfile: Path) -> list[Path]:
        # BuildKit reads the Dockerfile's own before the context's, the classic builder never does.
        return [file for file in (_own_ignore_file(dockerfile), context / ".dockerignore") if file.exists()]

    def tls_flags(self, registry: str) -> list[str]:  # noqa: ARG002 - docker takes http on loopback by itself
        return []


@dataclass
class Buildx(Docker):
    """`docker buildx build --push`: the digest is in a metadata file. Used wherever it is there: with a builder of
    another driver, `docker build` leaves no image behind, and `docker push` would push an older one of the tag."""

    builder: str | None

    def publish(self, engine: Commands, image: Image, digest_file: Path) -> list[str]:
        command = buildx_command(image, digest_file, self.builder)
        try:
            engine.step("build and push", command, image, _AFTER_PUSH)
        except EngineError as error:
            if not _CANNOT.search(error.said):
                raise
            raise EngineError(
                f"this builder cannot build {image.platform} at once; nothing was built. Make one that can: "
                "docker buildx create --name several --driver docker-container, then set DEPLOY_BUILDER=several"
            ) from error
        digest = json_object(digest_file.read_text()).get("containerimage.digest") if digest_file.exists() else None
        return [digest] if isinstance(digest, str) else []

    def ignore_files(self, context: Path, dockerfile: Path) -> list[Path]:
        return super().ignore_files(context, dockerfile)[:1]


class Podman:
    """`podman build` and `podman push --digestfile`; several platforms make a manifest list of the reference's name."""

    def publish(self, engine: Commands, image: Image, digest_file: Path) -> list[str]:
        # A list of its own: a build adds to one that is there already, and would push an older image with it.
        manifest = f"localhost/deploy-tasks-{secrets.token_hex(8)}" if image.has_several_platforms else None
        tls = self.tls_flags(image.reference.partition("/")[0])
        try:
            engine.step("build", podman_build_command(image, manifest), image, _AFTER_BUILD)
            if manifest:
                self._check_platforms(engine, image, manifest)
            engine.step("push", podman_push_command(image, manifest, digest_file, tls), image, _AFTER_PUSH)
        finally:
            if manifest:
                engine.run(["manifest", "rm", manifest], hide=True)
        return [digest_file.read_text().strip()] if digest_file.exists() else []

    @staticmethod
    def _check_platforms(engine: Commands, image: Image, manifest: str) -> None:
        # podman 4.3 took the cached image of one platform for that of another where no layer differed.
        listed = json_object(engine.run(["manifest", "inspect", manifest], hide=True).stdout)
        platforms = [entry.get("platform", {}) for entry in listed.get("manifests", [])]
        there = {f"{platform.get('os')}/{platform.get('architecture')}" for platform in platforms}
        missing = [name for name in image.platform.split(",") if "/".join(name.split("/")[:2]) not in there]
        if missing and listed:
            raise EngineError(f"the build of {image.reference} has no {', '.join(missing)}; {_AFTER_BUILD}")

    def ignore_files(self, context: Path, dockerfile: Path) -> list[Path]:
        of_context = [context / name for name in (".containerignore", ".dockerignore")]
        return [file for file in (_own_ignore_file(dockerfile), *of_context) if file.exists()]

    def tls_flags(self, registry: str) -> list[str]:
        # As docker does by itself: http is for loopback alone.
        return ["--tls-verify=false"] if is_loopback(registry.partition(":")[0]) else []


def build_command(image: Image) -> list[str]:
    """The argv of a docker build, after the program."""
    return ["build", "--platform", image.platform, "--tag", image.reference, *_what_to_build(image)]


def buildx_command(image: Image, metadata_file: Path, builder: str | None) -> list[str]:
    """The argv of a build and push by buildx, after the program."""
    by = ["--builder", builder] if builder else []
    way = [*by, "--platform", image.platform, "--push", "--metadata-file", str(metadata_file)]
    return ["buildx", "build", *way, "--tag", image.reference, *_what_to_build(image)]


def podman_build_command(image: Image, manifest: str | None) -> list[str]:
    """The argv of a podman build, after the program; into the manifest list `manifest`, where one is named."""
    name = ["--manifest", manifest] if manifest else ["--tag", image.reference]
    return ["build", "--platform", image.platform, *name, *_what_to_build(image)]


def podman_push_command(image: Image, manifest: str | None, digest_file: Path, tls: Sequence[str]) -> list[str]:
    """The argv of a podman push, after the program; of the manifest list `manifest`, where one is named."""
    options = [*tls, "--digestfile", str(digest_file)]
    if manifest:
        return ["manifest", "push", "--all", *options, manifest, f"docker://{image.reference}"]
    return ["push", *options, image.reference]


def _what_to_build(image: Image) -> list[str]:
    arguments = [part for text in image.build_args for part in ("--build-arg", text)]
    return ["--file", str(image.dockerfile), *arguments, str(image.context)]


def _own_ignore_file(dockerfile: Path) -> Path:
    return dockerfile.with_name(f"{dockerfile.name}.dockerignore")


def digest_lines(output: str, tag: str | None) -> list[str]:
    """Every digest that a docker push printed for `tag`: lines of the form `TAG: digest: sha256:… size: N`."""
    line = re.compile(rf"{re.escape(tag or '')}: digest: (sha256:[0-9a-f]{{64}}) size: \d+")
    return [match[1] for text in output.splitlines() if (match := line.fullmatch(text.strip()))]


def json_object(text: str) -> dict[str, Any]:
    """What an engine said in JSON; empty where that is no object."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
