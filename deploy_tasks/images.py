"""The grammar of images: names, tags, digests and references.

Source: OCI distribution-spec, "Pulling manifests"; Kubernetes names are RFC 1123 labels.
Every check is a `fullmatch`, since `^…$` accepts a trailing newline.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeGuard

from .redaction import quoted

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE_NAME = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_REGISTRY = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_REFERENCE = re.compile(r"([^:@]+)(?::([^:@/]+))?(?:@(.+))?")


class Reference(NamedTuple):
    """The parts of `[registry/]name[:tag][@digest]`; a missing part is None."""

    registry: str | None
    name: str
    tag: str | None
    digest: str | None


def image_name(text: str) -> str:
    """`text` if it is a repository name without a host, at most 255 characters; ValueError otherwise."""
    if len(text) > 255 or not _IMAGE_NAME.fullmatch(text):
        rule = "lower-case words joined by . _ - and /, without a host"
        raise ValueError(f"{quoted(text)} is not an image name: {rule}")
    return text


def tag(text: str) -> str:
    """`text` if it is a tag (at most 128 characters); ValueError otherwise."""
    if not _TAG.fullmatch(text):
        rule = "up to 128 letters, digits, . _ -, not starting with . or -"
        raise ValueError(f"{quoted(text)} is not an image tag: {rule}")
    return text


def digest(text: str) -> str:
    """`text` if it is a digest (the API's buildId): `sha256:` and 64 lower-case hex digits; ValueError otherwise."""
    if not is_digest(text):
        raise ValueError(f"{quoted(text)} is not a buildId: sha256: and 64 lower-case hex digits")
    return text


def is_digest(text: str) -> bool:
    """Whether `text` is a whole digest."""
    return _DIGEST.fullmatch(text) is not None


def shortened(build_id: str) -> str:
    """The beginning of a digest, for people."""
    return f"{build_id[:19]}…"


def label(text: str) -> str:
    """`text` if it is a Kubernetes name (app, namespace, job); ValueError otherwise."""
    if not _LABEL.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a Kubernetes name: up to 63 lower-case letters, digits and -")
    return text


def is_commit(ref: str | None) -> TypeGuard[str]:
    """Whether a git ref is a full commit, which never moves."""
    return ref is not None and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", ref) is not None


def short_ref(ref: str, digits: int = 7) -> str:
    """A git ref for people: the first `digits` of a commit, all of a branch or a tag."""
    return ref[:digits] if is_commit(ref) else ref


def as_tag(ref: str) -> str | None:
    """A tag made from a git ref (`feature/x` → `feature-x`), or None if no character of it is allowed."""
    cleaned = re.sub(r"[^a-zA-Z0-9._-]+", "-", ref).lstrip(".-")[:128]
    return cleaned or None


def as_label(name: str) -> str | None:
    """A Kubernetes name made from another name (`My_App` → `my-app`), or None if no character of it is allowed."""
    cleaned = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].rstrip("-")
    return cleaned or None


def parse(text: str) -> Reference:
    """The parts of a reference such as `host:5000/team/app:v1`; ValueError if it is malformed.

    As in docker, the first part is a registry only if it has a dot or a colon, or is `localhost`.
    """
    first, slash, _ = text.partition("/")
    registry = first if slash and (set(first) & {".", ":"} or first == "localhost") else None
    rest = text[len(registry) + 1 :] if registry else text
    match = _REFERENCE.fullmatch(rest)
    if not match or not (registry is None or _REGISTRY.fullmatch(registry)):
        raise ValueError(f"{quoted(text)} is not an image reference")
    name, its_tag, its_digest = match.groups()
    return Reference(
        registry, image_name(name), tag(its_tag) if its_tag else None, digest(its_digest) if its_digest else None
    )


def pinned(registry: str, name: str, build_id: str) -> str:
    """The reference of exactly one image: `registry/name@sha256:…`."""
    return f"{registry}/{name}@{build_id}"
