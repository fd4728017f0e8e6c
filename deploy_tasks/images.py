"""The grammar of images: names, tags, digests and references.

Source: OCI distribution-spec, "Pulling manifests"; Kubernetes names are RFC 1123 labels.
Every check is a `fullmatch`, since `^…$` accepts a trailing newline.
"""

from __future__ import annotations

import re
from functools import partial
from typing import NamedTuple, TypeGuard

from .redaction import quoted

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REGISTRY = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_REFERENCE = re.compile(r"([^:@]+)(?::([^:@/]+))?(?:@(.+))?")


class Reference(NamedTuple):
    """The parts of `[registry/]name[:tag][@digest]`; a missing part is None."""

    registry: str | None
    name: str
    tag: str | None
    digest: str | None


def _checked(pattern: str | re.Pattern[str], what: str, text: str) -> str:
    """`text` if it matches `pattern` as a whole; otherwise ValueError: it is not `what`."""
    if not re.fullmatch(pattern, text):
        raise ValueError(f"{quoted(text)} is not {what}")
    return text


REPOSITORY = rf"{_PART}(?:/{_PART})*"
_IMAGE_NAME = rf"(?!.{{256}}){REPOSITORY}"
image_name = partial(_checked, _IMAGE_NAME, "an image name: lower-case words joined by . _ - and /, without a host")
"""A repository in a registry, at most 255 characters."""
TAG = "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"
tag = partial(_checked, TAG, "an image tag: up to 128 letters, digits, . _ -, not starting with . or -")
digest = partial(_checked, DIGEST, "a buildId: sha256: and 64 lower-case hex digits")
"""The digest of an image; the API calls it buildId."""
LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
label = partial(_checked, LABEL, "a Kubernetes name: up to 63 lower-case letters, digits and -")
"""The name of an app, a namespace or a job."""


def shortened(build_id: str) -> str:
    """The beginning of a digest, for people."""
    return f"{build_id[:19]}…"


def digest_in(reference: str | None) -> str | None:
    """The digest in a reference, or None if it has none that is valid."""
    found = (reference or "").partition("@")[2]
    return found if DIGEST.fullmatch(found) else None


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
    return Reference(registry, image_name(name), its_tag and tag(its_tag), its_digest and digest(its_digest))


def pinned(registry: str, name: str, build_id: str) -> str:
    """The reference of exactly one image: `registry/name@sha256:…`."""
    return f"{registry}/{name}@{build_id}"
