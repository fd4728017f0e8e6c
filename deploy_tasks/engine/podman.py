"""Podman."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..encoding import decode
from ..errors import EngineError
from ..hosts import is_local
from .kind import NOT_PUSHED, NOT_RECORDED, Image, Info, Kind, text_of

if TYPE_CHECKING:
    from .engine import Engine


class Podman(Kind):
    """`podman build`, then `podman push --digestfile` of the image's ID; several platforms make a manifest list."""

    ignores = (".containerignore", ".dockerignore")

    @classmethod
    def detect(cls, engine: Engine, info: Info) -> Podman | None:
        if info.host is None or info.store is None:
            return None
        engine.refuse_builder("is podman, which has no builders")
        return cls()

    def publish(self, engine: Engine, image: Image, folder: Path) -> list[str]:
        id_file, digest_file, to = folder / "id", folder / "digest", f"docker://{image.reference}"
        options = [*self.tls_flags(image.registry), "--digestfile", str(digest_file)]
        if len(image.platforms) > 1:
            # A new list each time: a build adds to an existing one, which would push an older image too.
            manifest = f"localhost/deploy-tasks-{secrets.token_hex(8)}"
            build = image.build_arguments("--manifest", manifest, "--iidfile", str(id_file))
            try:
                engine.build(["build", *build], image, id_file)
                _check_platforms(engine, image, manifest)
                engine.step("push", ["manifest", "push", "--all", *options, manifest, to], image, NOT_RECORDED)
            finally:
                engine.run(["manifest", "rm", manifest], hide=True)
        else:
            built = engine.build(["build", *image.build_arguments("--iidfile", str(id_file))], image, id_file)
            # After the build: podman 4.3 reads the ID of what it built from the tag, which may be another build's.
            engine.step("tag", ["tag", built, image.reference], image, NOT_PUSHED)
            engine.step("push", ["push", *options, built, to], image, NOT_RECORDED)
        return [text_of(digest_file)]

    def tls_flags(self, registry: str) -> list[str]:
        # As docker does without a flag: http only on loopback.
        return ["--tls-verify=false"] if is_local(registry) else []


class _Platform(msgspec.Struct):
    os: str
    architecture: str


class _Manifest(msgspec.Struct):
    platform: _Platform


class _ManifestList(msgspec.Struct):
    manifests: list[_Manifest]


def _check_platforms(engine: Engine, image: Image, manifest: str) -> None:
    """EngineError if the manifest list lacks a platform: podman 4.3 uses the cached image of one platform for another
    if all layers are the same."""
    listed = engine.run(["manifest", "inspect", manifest], hide=True).stdout
    if engine.is_dry:
        return
    try:
        platforms = [entry.platform for entry in decode(listed.encode(), _ManifestList).manifests]
    except ValueError:
        platforms = []
    found = {f"{platform.os}/{platform.architecture}" for platform in platforms}
    missing = [name for name in image.platforms if "/".join(name.split("/")[:2]) not in found]
    if missing:
        raise EngineError(f"the build of {image.reference} has no {', '.join(missing)}", NOT_PUSHED)
