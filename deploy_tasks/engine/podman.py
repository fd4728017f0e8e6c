"""Podman."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..encoding import decode
from ..errors import EngineError
from ..hosts import is_loopback
from .kind import NOT_PUSHED, NOT_RECORDED, Image, Info, Kind, built_id, own_ignore_file, text_of

if TYPE_CHECKING:
    from .engine import Engine


class Podman(Kind):
    """`podman build`, then `podman push --digestfile` of the image's ID; several platforms make a manifest list."""

    @classmethod
    def detect(cls, engine: Engine, info: Info) -> Podman | None:
        if info.host is None or info.store is None:
            return None
        engine.refuse_builder("is podman, which has no builders")
        return cls()

    def publish(self, engine: Engine, image: Image, folder: Path) -> list[str]:
        # A new list each time: a build adds to an existing one, which would push an older image too.
        manifest = f"localhost/deploy-tasks-{secrets.token_hex(8)}" if len(image.platforms) > 1 else None
        id_file, digest_file = folder / "id", folder / "digest"
        try:
            engine.step("build", build_command(image, id_file, manifest), image, NOT_PUSHED)
            built = built_id(engine, image, id_file)
            if manifest:
                _check_platforms(engine, image, manifest)
            else:
                # After the build: podman 4.3 reads the ID of what it built from the tag, which may be another build's.
                engine.step("tag", ["tag", built, image.reference], image, NOT_PUSHED)
            command = push_command(image, built, manifest, digest_file, self.tls_flags(image.registry))
            engine.step("push", command, image, NOT_RECORDED)
        finally:
            if manifest:
                engine.run(["manifest", "rm", manifest], hide=True)
        return [text_of(digest_file)]

    def ignore_files(self, context: Path, dockerfile: Path) -> list[Path]:
        of_context = [context / name for name in (".containerignore", ".dockerignore")]
        return [file for file in (own_ignore_file(dockerfile), *of_context) if file.exists()]

    def tls_flags(self, registry: str) -> list[str]:
        # As docker does without a flag: http only on loopback.
        return ["--tls-verify=false"] if is_loopback(registry.partition(":")[0]) else []


def build_command(image: Image, id_file: Path, manifest: str | None) -> list[str]:
    """The arguments of a podman build; into the manifest list `manifest`, if one is named."""
    into = ["--manifest", manifest] if manifest else []
    return ["build", *image.build_arguments([*into, "--iidfile", str(id_file)])]


def push_command(image: Image, built: str, manifest: str | None, digest_file: Path, tls: Sequence[str]) -> list[str]:
    """The arguments of a podman push: of the manifest list `manifest`, if named, else of the image ID `built`."""
    options = [*tls, "--digestfile", str(digest_file)]
    source = ["manifest", "push", "--all", *options, manifest] if manifest else ["push", *options, built]
    return [*source, f"docker://{image.reference}"]


class _Platform(msgspec.Struct):
    os: str
    architecture: str


class _Manifest(msgspec.Struct):
    platform: _Platform


class _ManifestList(msgspec.Struct):
    manifests: list[_Manifest]


def _check_platforms(engine: Engine, image: Image, manifest: str) -> None:
    """EngineError if the list lacks a platform: podman 4.3 used the cached image of one platform for another if no
    layer differed."""
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
