"""How each kind of engine builds, pushes and says the digest: its commands as argv lists, after the program.

A local tag may be taken by another build at any time, a registry's tag by another push. So an image is known by the id
that its build wrote into a file (`--iidfile`), and its digest is what the engine says of the push of that id.
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

from .. import images
from ..errors import EngineError
from ..hosts import is_loopback
from ..ui import console

_MOST_PUSHES = 5


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

    @property
    def is_dry(self) -> bool: ...
    def step(self, what: str, argv: Sequence[str], image: Image, afterwards: str) -> str: ...
    def run(self, argv: Sequence[str], *, hide: bool = False) -> Result: ...


class Way(Protocol):
    """How one kind of engine builds, pushes and says the digest. `folder` is an empty one for its files."""

    def publish(self, engine: Commands, image: Image, folder: Path) -> list[str]: ...
    def ignore_files(self, context: Path, dockerfile: Path) -> list[Path]: ...
    def tls_flags(self, registry: str) -> list[str]: ...


_AFTER_BUILD = "nothing was pushed or recorded"
_AFTER_PUSH = "nothing was recorded or deployed"


class Docker:
    """`docker build`, then `docker push`, which pushes whatever has the tag by then. The digest is on the one line that
    the push prints for the tag, and docker lists it with the image that it pushed."""

    several_platforms_need = "several platforms need the buildx plugin, or podman"

    def build_command(self, image: Image, id_file: Path) -> list[str]:
        return build_command(image, id_file)

    def publish(self, engine: Commands, image: Image, folder: Path) -> list[str]:
        if image.has_several_platforms:
            raise EngineError(
                f"this docker cannot build {image.platform} at once; nothing was built: {self.several_platforms_need}"
            )
        id_file = folder / "id"
        engine.step("build", self.build_command(image, id_file), image, _AFTER_BUILD)
        built = _built_id(engine, image, id_file)
        for earlier_pushes in range(_MOST_PUSHES):
            if earlier_pushes:
                console.tell(f"another build took the tag {image.reference} before the push; this one is pushed again")
                engine.step("tag", ["tag", built, image.reference], image, _AFTER_PUSH)
            printed = engine.step("push", ["push", image.reference], image, _AFTER_PUSH)
            digests = digest_lines(printed, images.parse(image.reference).tag)
            if len(digests) != 1 or _is_digest_of(engine, built, digests[0]):
                return digests
        raise EngineError(
            f"other builds took the tag {image.reference} before each of {_MOST_PUSHES} pushes, so this build was not "
            f"pushed; {_AFTER_PUSH}. Run it again when they are done, or with another --image-tag"
        )

    def ignore_files(self, context: Path, dockerfile: Path) -> list[Path]:
        # BuildKit reads the Dockerfile's own before the context's, the classic builder never does.
        return [file for file in (_own_ignore_file(dockerfile), context / ".dockerignore") if file.exists()]

    def tls_flags(self, registry: str) -> list[str]:  # noqa: ARG002 - docker takes http on loopback by itself
        return []


@dataclass
class Buildx(Docker):
    """`docker buildx build`, by `builder`. One that `pushes` what it built says the digest in a metadata file;
    otherwise docker has the image and pushes it as above."""

    builder: str | None
    pushes: bool

    several_platforms_need = (
        "docker buildx create --name several --driver docker-container makes a builder that can; then set "
        "DEPLOY_BUILDER=several"
    )

    def build_command(self, image: Image, id_file: Path) -> list[str]:
        return buildx_command(image, self.builder, ["--load", "--iidfile", str(id_file)])

    def publish(self, engine: Commands, image: Image, folder: Path) -> list[str]:
        if not self.pushes:
            return super().publish(engine, image, folder)
        file = folder / "metadata"
        command = buildx_command(image, self.builder, ["--push", "--metadata-file", str(file)])
        engine.step("build and push", command, image, _AFTER_PUSH)
        metadata = json_object(_text_of(file))
        # With docker's own builder, buildx 0.13 reads containerimage.digest back from the tag.
        descriptor = metadata.get("containerimage.descriptor") or {"digest": metadata.get("containerimage.digest")}
        digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
        return [digest] if isinstance(digest, str) else []

    def ignore_files(self, context: Path, dockerfile: Path) -> list[Path]:
        return super().ignore_files(context, dockerfile)[:1]


class Podman:
    """`podman build`, then `podman push --digestfile` of the image's id; several platforms make a manifest list."""

    def publish(self, engine: Commands, image: Image, folder: Path) -> list[str]:
        # A list of its own: a build adds to one that is there already, and would push an older image with it.
        manifest = f"localhost/deploy-tasks-{secrets.token_hex(8)}" if image.has_several_platforms else None
        tls = self.tls_flags(image.reference.partition("/")[0])
        id_file, digest_file = folder / "id", folder / "digest"
        try:
            engine.step("build", podman_build_command(image, id_file, manifest), image, _AFTER_BUILD)
            built = _built_id(engine, image, id_file)
            if manifest:
                self._check_platforms(engine, image, manifest)
            else:
                # After the build: podman 4.3 takes the id of what it built from the tag, which another build may have.
                engine.step("tag", ["tag", built, image.reference], image, _AFTER_BUILD)
            engine.step("push", podman_push_command(image, built, manifest, digest_file, tls), image, _AFTER_PUSH)
        finally:
            if manifest:
                engine.run(["manifest", "rm", manifest], hide=True)
        return [_text_of(digest_file)] if digest_file.exists() else []

    @staticmethod
    def _check_platforms(engine: Commands, image: Image, manifest: str) -> None:
        # podman 4.3 took the cached image of one platform for that of another where no layer differed.
        listed = json_object(engine.run(["manifest", "inspect", manifest], hide=True).stdout)
        platforms = [as_table(as_table(entry).get("platform")) for entry in as_list(listed.get("manifests"))]
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


def build_command(image: Image, id_file: Path) -> list[str]:
    """The argv of a docker build, after the program."""
    return ["build", *_what_to_build(image, ["--tag", image.reference, "--iidfile", str(id_file)])]


def buildx_command(image: Image, builder: str | None, output: Sequence[str]) -> list[str]:
    """The argv of a build by buildx, after the program; `output` are the flags that say where the image goes."""
    by = ["--builder", builder] if builder else []
    return ["buildx", "build", *by, *_what_to_build(image, ["--tag", image.reference, *output])]


def podman_build_command(image: Image, id_file: Path, manifest: str | None) -> list[str]:
    """The argv of a podman build, after the program; into the manifest list `manifest`, where one is named."""
    into = ["--manifest", manifest] if manifest else []
    return ["build", *_what_to_build(image, [*into, "--iidfile", str(id_file)])]


def podman_push_command(
    image: Image, built: str, manifest: str | None, digest_file: Path, tls: Sequence[str]
) -> list[str]:
    """The argv of a podman push, after the program: of the image id `built`, or of the manifest list `manifest`, where
    one is named."""
    options = [*tls, "--digestfile", str(digest_file)]
    of = ["manifest", "push", "--all", *options, manifest] if manifest else ["push", *options, built]
    return [*of, f"docker://{image.reference}"]


def _what_to_build(image: Image, output: Sequence[str]) -> list[str]:
    arguments = [part for text in image.build_args for part in ("--build-arg", text)]
    where = ["--file", str(image.dockerfile), *arguments, str(image.context)]
    return ["--platform", image.platform, *output, *where]


def _built_id(engine: Commands, image: Image, id_file: Path) -> str:
    """The id of the image that the build made. EngineError where it made none: podman says exit code 0, too, when
    SIGTERM ends it."""
    if engine.is_dry:
        return "IMAGE_ID"
    built = _text_of(id_file)
    if not built or "\0" in built:
        raise EngineError(f"the build of {image.reference} ended without an image; {_AFTER_BUILD}")
    return built


def _text_of(file: Path) -> str:
    """What an engine wrote to `file`; empty where it wrote none."""
    return file.read_text(errors="replace").strip() if file.exists() else ""


def _is_digest_of(engine: Commands, built: str, digest: str) -> bool:
    """Whether docker has pushed the image id `built` as `digest`."""
    listed = engine.run(["image", "inspect", "--format", "{{json .RepoDigests}}", built], hide=True).stdout
    return f'@{digest}"' in listed


def _own_ignore_file(dockerfile: Path) -> Path:
    return dockerfile.with_name(f"{dockerfile.name}.dockerignore")


def digest_lines(output: str, tag: str | None) -> list[str]:
    """Every digest that a docker push printed for `tag`: lines of the form `TAG: digest: sha256:… size: N`."""
    line = re.compile(rf"{re.escape(tag or '')}: digest: (sha256:[0-9a-f]{{64}}) size: \d+")
    return [match[1] for text in output.splitlines() if (match := line.fullmatch(text.strip()))]


def json_object(text: str) -> dict[str, Any]:
    """What an engine said in JSON; empty where that is no object."""
    try:
        return as_table(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def as_table(value: object) -> dict[str, Any]:
    """`value` where it is a table, else an empty one: what an engine says may be of any type."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """`value` where it is a list, else an empty one."""
    return value if isinstance(value, list) else []
