"""Docker: with buildx, or the classic builder."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..encoding import decode
from ..errors import EngineError
from ..ui import console
from .kind import NOT_RECORDED, Image, Info, Kind, last_line, text_of

if TYPE_CHECKING:
    from .engine import Engine

_CONTAINERD_STORE = ["driver-type", "io.containerd.snapshotter.v1"]
_MAX_PUSHES = 5


class Docker(Kind):
    """`docker build`, then `docker push`, which pushes the image that has the tag at that moment. The push prints the
    digest in its line for the tag. To make sure that it is this build's, docker must list that digest for the image."""

    how_to_build_several = "Install the buildx plugin, or use podman"

    @classmethod
    def detect(cls, engine: Engine, info: Info) -> Docker | None:
        why = "DOCKER_BUILDKIT is 0" if info.has_buildx else "it has no buildx plugin"
        engine.refuse_builder(f"uses no builders, since {why}")
        return cls()

    def build_command(self, image: Image, *output: str) -> list[str]:
        """The command that builds `image`; `output` are the flags for the files that it writes."""
        return ["build", *image.build_arguments("--tag", image.reference, *output)]

    def publish(self, engine: Engine, image: Image, folder: Path) -> list[str]:
        if len(image.platforms) > 1:
            what = f"{engine.program!r} cannot build {image.platform} in one build"
            raise EngineError(what, next=self.how_to_build_several)
        built = engine.build(self.build_command(image, "--iidfile", str(folder / "id")), image, folder / "id")
        tag = re.escape(image.reference.rpartition(":")[2])
        for attempt in range(_MAX_PUSHES):
            if attempt:
                console.tell(f"another build moved the tag {image.reference} before the push; pushing again")
                engine.step("tag", ["tag", built, image.reference], image, NOT_RECORDED)
            printed = engine.step("push", ["push", image.reference], image, NOT_RECORDED)
            digests = re.findall(rf"^\s*{tag}: digest: (sha256:[0-9a-f]{{64}}) size: \d+\s*$", printed, re.MULTILINE)
            if len(digests) != 1:
                return digests
            listed = engine.run(["image", "inspect", "--format", "{{json .RepoDigests}}", built], hide=True)
            if f'@{digests[0]}"' in listed.stdout:
                return digests
        raise EngineError(
            f"other builds moved the tag {image.reference} before each of {_MAX_PUSHES} pushes, so this build was not "
            "pushed",
            NOT_RECORDED,
            "Run it again when they are done, or with another --image-tag",
        )


@dataclass
class Buildx(Docker):
    """`docker buildx build` with `builder`. If the builder `pushes` the image, it writes the digest to a metadata file;
    otherwise it loads the image into docker, which pushes it as above."""

    builder: str | None
    pushes: bool

    how_to_build_several = (
        "Create a builder that can (docker buildx create --name several --driver docker-container) and set "
        "DEPLOY_BUILDER=several"
    )

    @classmethod
    def detect(cls, engine: Engine, info: Info) -> Buildx | None:
        if not info.has_buildx or os.environ.get("DOCKER_BUILDKIT") == "0":
            return None
        if _CONTAINERD_STORE in (info.driver_status or ()):
            return cls(engine.builder, pushes=True)
        by = [engine.builder] if engine.builder else []
        answer = engine.run(["buildx", "inspect", *by], hide=True, dry=False)
        if answer.exited:
            raise EngineError(f"{engine.program!r} cannot use its builder: {last_line(answer.stderr)}")
        driver = re.search(r"^Driver:\s*(\S+)", answer.stdout, re.MULTILINE)
        return cls(engine.builder, pushes=not driver or driver[1] != "docker")

    def build_command(self, image: Image, *output: str) -> list[str]:
        by = ["--builder", self.builder] if self.builder else []
        to = "--push" if self.pushes else "--load"
        return ["buildx", "build", *by, *image.build_arguments("--tag", image.reference, to, *output)]

    def publish(self, engine: Engine, image: Image, folder: Path) -> list[str]:
        if not self.pushes:
            return super().publish(engine, image, folder)
        file = folder / "metadata"
        command = self.build_command(image, "--metadata-file", str(file))
        engine.step("build and push", command, image, NOT_RECORDED)
        try:
            metadata = decode(text_of(file).encode(), _Metadata)
        except ValueError:
            return []
        return [metadata.descriptor.digest if metadata.descriptor else metadata.digest]

    def ignore_files(self, context: Path, dockerfile: Path) -> list[Path]:
        # BuildKit uses the Dockerfile's own ignore file, else the context's. The classic builder ignores the former.
        return super().ignore_files(context, dockerfile)[:1]


class _Descriptor(msgspec.Struct):
    digest: str


class _Metadata(msgspec.Struct):
    """buildx's metadata file. `descriptor` has precedence: with docker's own builder, buildx 0.13 reads `digest` back
    from the tag, which another build may have moved."""

    descriptor: _Descriptor | None = msgspec.field(default=None, name="containerimage.descriptor")
    digest: str = msgspec.field(default="", name="containerimage.digest")
