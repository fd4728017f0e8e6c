"""Manifests and digests: the grammar of what a registry stores.

Source: OCI image-spec v1.1 ("Image Manifest", "Image Index", "Descriptors") and distribution-spec v1.1 ("Listing
Referrers").
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from ...images import DIGEST
from ..interfaces import Refused

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
# What a client accepts that wants any image: one image or an index of several, as OCI or docker write them.
ACCEPTED_TYPES = ", ".join(
    [
        MANIFEST_TYPE,
        INDEX_TYPE,
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ]
)
# The two algorithms that the image-spec registers, by the number of their hex digits.
_ALGORITHMS = {64: "sha256", 128: "sha512"}
_DIGEST = re.compile(rf"{DIGEST.pattern}|sha512:[0-9a-f]{{128}}")
# Layers that clients fetch from elsewhere (their `urls`), so that no registry has to have them.
_ELSEWHERE = re.compile(
    r"application/vnd\.oci\.image\.layer\.nondistributable\..*|application/vnd\.docker\.image\.rootfs\.foreign\..*"
)


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """A part of a manifest. Other fields are the clients' business."""

    digest: str
    media_type: str = ""


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """What a registry has to know of an image's manifest (`config`, `layers`) or of an index (`manifests`).

    Programs in Go write null for a list without entries.
    """

    config: Descriptor | None = None
    layers: list[Descriptor] | None = None
    manifests: list[Descriptor] | None = None
    subject: Descriptor | None = None
    artifact_type: str | None = None
    annotations: dict[str, str] | None = None

    @property
    def blobs(self) -> list[str]:
        """The digests of the blobs that have to be there before this manifest."""
        layers = [layer for layer in self.layers or () if not _ELSEWHERE.fullmatch(layer.media_type)]
        return [part.digest for part in (*([self.config] if self.config else ()), *layers)]

    def as_referrer(self, digest: str, media_type: str, size: int) -> dict[str, Any]:
        """The descriptor of this manifest in the list of what refers to its subject."""
        artifact_type = self.artifact_type or (self.config.media_type if self.config else None)
        optional = {"artifactType": artifact_type, "annotations": self.annotations}
        required = {"mediaType": media_type, "digest": digest, "size": size}
        return {**required, **{key: value for key, value in optional.items() if value}}


def parse(content: bytes) -> Manifest:
    """The manifest in `content`. Refused (400) where it is none."""
    try:
        return msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, "MANIFEST_INVALID", f"this is not a manifest: {error}") from error


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """The content address of `content`."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def checked(digest: str) -> str:
    """`digest` if it is one. Refused (400) otherwise."""
    if not _DIGEST.fullmatch(digest):
        raise Refused(
            400, "DIGEST_INVALID", f"{digest!r} is not a digest: sha256: and 64, or sha512: and 128 hex digits"
        )
    return digest


def algorithm_of(digest: str) -> str:
    return digest.partition(":")[0]


def hex_of(digest: str) -> str:
    """The hex digits of a digest: a name for its file. Refused (400) where it is none."""
    return checked(digest).partition(":")[2]


def digest_from_hex(digits: str) -> str:
    """The digest that has these hex digits."""
    return f"{_ALGORITHMS[len(digits)]}:{digits}"
