"""Builds an image from a checkout: packs the files as one layer, or runs docker."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import re
import shlex
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol
from weakref import WeakValueDictionary

from anyio import to_thread

from ..interfaces import Build
from .manifests import MANIFEST_TYPE, digest_of
from .processes import BuildFailure, Log, run
from .registry import WritableRegistry

_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_KANIKO_FILES = "error building image: error building stage: failed to get files used from context"

Instruction = tuple[str, str]


class ImageBuilder(Protocol):
    async def build(self, build: Build, context: Path, dockerfile: Path, log: Log) -> str:
        """Builds `context`, pushes it, and returns the digest that the push reported. Raises BuildFailure."""


class ArchiveImageBuilder:
    """Packs the context as one reproducible layer. Needs nothing but git, and runs no `RUN`."""

    def __init__(self, registry: WritableRegistry) -> None:
        self._registry = registry

    async def build(self, build: Build, context: Path, dockerfile: Path, log: Log) -> str:
        instructions = await to_thread.run_sync(_instructions_of, dockerfile)
        left_out = [name for name, _ in instructions if name == "RUN"]
        log(f"builder archive: packs the build context and runs no RUN ({len(left_out)} left out)")
        blobs, manifest = await to_thread.run_sync(_image, context, dockerfile.name, instructions)
        digest = await self._registry.push(build.image_name, build.image_tag, blobs, manifest)
        log(f"pushed {self._registry.address}/{build.image_name}:{build.image_tag} {digest}")
        return digest


class DockerImageBuilder:
    """Builds and pushes with docker."""

    def __init__(self, registry: WritableRegistry) -> None:
        self._address = registry.address
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def build(self, build: Build, context: Path, dockerfile: Path, log: Log) -> str:
        reference = f"{self._address}/{build.image_name}:{build.image_tag}"
        cache = [] if build.cache else ["--no-cache"]
        pushed: list[str] = []

        def logged(line: str) -> None:
            log(line)
            pushed.extend(re.findall(r"\bdigest: (sha256:[0-9a-f]{64})\b", line))

        # With two builds of one tag at once, docker could push what the other one built.
        async with self._locks.setdefault(reference, asyncio.Lock()):
            await run(["docker", "build", *cache, "--tag", reference, "--file", str(dockerfile), str(context)], log)
            await run(["docker", "push", reference], logged)
        if not pushed:
            raise BuildFailure(
                "docker push reported no digest. Podman's docker command never does. Install Docker itself."
            )
        return pushed[-1]


def _instructions_of(dockerfile: Path) -> list[Instruction]:
    return list(_instructions(dockerfile.read_text(errors="replace")))


def _instructions(dockerfile: str) -> Iterator[Instruction]:
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


def _image(context: Path, dockerfile: str, instructions: list[Instruction]) -> tuple[list[bytes], bytes]:
    """Blobs and manifest of an image with the files of `context`. Blocks."""
    for name, rest in instructions:
        if name in ("COPY", "ADD"):
            _check_sources(context, rest)
    archive = _archive(context)
    layer = gzip.compress(archive, mtime=0)
    config = _to_json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": {"sandbox.dockerfile": dockerfile}},
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
    return [layer, config], manifest


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
