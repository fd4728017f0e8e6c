"""Images on disk. Everything here blocks: async code calls it in threads."""

from __future__ import annotations

import hashlib
import re
import uuid
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from ... import images
from ..interfaces import Refused
from .manifests import Manifest, algorithm_of, checked, digest_from_hex, digest_of, hex_of, parse


class Found(NamedTuple):
    """A manifest as it was pushed."""

    digest: str
    media_type: str
    content: bytes


class Store:
    """Images under one folder: `blobs/<hex>`, `uploads/`, and under `repositories/<name>/` links to them:
    `manifests/<hex>` with the media type in it, `blobs/<hex>`, `tags/<tag>` with a digest in it, and
    `referrers/<hex of the subject>/<hex>`.

    A digest is found only in the repositories it was pushed to. Deleting removes links. The bytes stay, since other
    repositories may link them and somebody may be reading them: space is not reclaimed, and an upload that nobody
    finishes stays too. One lock makes each change of links one step, so that a reader sees all of it or nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs"
        self._repositories = folder / "repositories"
        self._uploads = folder / "uploads"
        for place in (self._blobs, self._repositories, self._uploads):
            place.mkdir(parents=True, exist_ok=True)
        self._lock = Lock()

    # Manifests and tags

    def find(self, name: str, reference: str) -> str | None:
        """The digest of the manifest that a tag or a digest names in `name`, or None."""
        if ":" in reference:
            return reference if self._link(name, "manifests", reference).exists() else None
        try:
            return self._tag(name, reference).read_text()
        except FileNotFoundError:
            return None

    def manifest(self, name: str, reference: str) -> Found:
        """The manifest that a tag or a digest names in `name`. Refused (404) where there is none."""
        with self._lock:
            digest = self.find(name, reference)
            if digest is None:
                raise _unknown_manifest(name, reference)
            media_type = self._link(name, "manifests", digest).read_text()
        return Found(digest, media_type, self._stored(digest).read_bytes())

    def put_manifest(self, name: str, reference: str, content: bytes, media_type: str) -> tuple[str, Manifest]:
        """Stores a manifest whose parts are there, and points the tag at it if `reference` is one."""
        manifest = parse(content)
        by_digest = ":" in reference
        digest = digest_of(content, algorithm_of(checked(reference)) if by_digest else "sha256")
        if by_digest and reference != digest:
            raise Refused(400, "DIGEST_INVALID", f"the digest of this manifest is {digest}, and not {reference}")
        tag = None if by_digest else self._tag(name, reference)
        subject = manifest.subject
        referrer = self._referrers(name, subject.digest) / hex_of(digest) if subject else None
        with self._lock:
            self._check_parts(name, manifest)
            self._replace(self._stored(digest), content)
            self._replace(self._link(name, "manifests", digest), media_type.encode())
            if referrer:
                _touch(referrer)
            if tag:
                self._replace(tag, digest.encode())
        return digest, manifest

    def delete_manifest(self, name: str, reference: str) -> None:
        """Removes a tag, or a manifest with all of its tags. Refused (404) where there is none."""
        with self._lock:
            digest = self.find(name, reference)
            if digest is None:
                raise _unknown_manifest(name, reference)
            if ":" not in reference:
                self._tag(name, reference).unlink()
                return
            manifest = self._link(name, "manifests", digest)
            tags = [tag for tag in _entries(self._place(name) / "tags") if tag.read_text() == digest]
            for path in (*tags, *self._place(name).glob(f"referrers/*/{manifest.name}"), manifest):
                path.unlink()

    def tags(self, name: str) -> list[str]:
        """All tags of a repository, sorted. Refused (404) where nothing was ever pushed to it."""
        if not self._place(name).is_dir():
            raise Refused(404, "NAME_UNKNOWN", f"there is no repository {name}")
        return [entry.name for entry in _entries(self._place(name) / "tags")]

    def names(self) -> list[str]:
        """The repositories that have an image, sorted."""
        return sorted(
            entry.name.replace("+", "/") for entry in _entries(self._repositories) if _entries(entry / "manifests")
        )

    def referrers(self, name: str, subject: str) -> list[dict[str, Any]]:
        """The descriptors of the manifests that name `subject` as their subject."""
        with self._lock:
            digests = [digest_from_hex(entry.name) for entry in _entries(self._referrers(name, subject))]
            media_types = [self._link(name, "manifests", digest).read_text() for digest in digests]
        contents = [self._stored(digest).read_bytes() for digest in digests]
        return [
            parse(content).as_referrer(digest, media_type, len(content))
            for digest, media_type, content in zip(digests, media_types, contents, strict=True)
        ]

    # Blobs

    def blob(self, name: str, digest: str) -> Path:
        """Where the bytes of a blob are. Refused (404) where `name` has no such blob."""
        if not self._link(name, "blobs", digest).exists():
            raise _unknown_blob(name, digest)
        return self._stored(digest)

    def put_blob(self, name: str, content: bytes) -> None:
        upload = self.start_upload(name)
        self.append(upload, content)
        self.finish_upload(name, upload, digest_of(content))

    def mount(self, name: str, digest: str, source: str | None) -> bool:
        """Links a blob of the repository `source`, or of any; whether it was there."""
        link = self._link(name, "blobs", digest)
        try:
            places = _entries(self._repositories) if source is None else [self._place(source)]
        except Refused:
            return False  # no repository has such a name
        with self._lock:
            is_there = any((place / "blobs" / link.name).exists() for place in places)
            if is_there:
                _touch(link)
        return is_there

    def delete_blob(self, name: str, digest: str) -> None:
        """Removes a blob from `name`. Refused (404) where it has no such blob."""
        try:
            with self._lock:
                self._link(name, "blobs", digest).unlink()
        except FileNotFoundError as error:
            raise _unknown_blob(name, digest) from error

    # Uploads

    def start_upload(self, name: str) -> str:
        self._place(name)  # only a name that a repository can have
        upload = uuid.uuid4().hex
        (self._uploads / upload).touch()
        return upload

    def append(self, upload: str, content: bytes, at: int | None = None) -> int:
        """Adds to an upload; returns its size so far, in bytes. Refused (416) where it has not `at` bytes before."""
        with self._lock, self._upload(upload).open("ab") as file:
            if at not in (None, file.tell()):
                raise Refused(416, "BLOB_UPLOAD_INVALID", f"the next chunk of this upload starts at {file.tell()}")
            file.write(content)
            return file.tell()

    def size(self, upload: str) -> int:
        return self._upload(upload).stat().st_size

    def forget_upload(self, upload: str) -> None:
        with self._lock:
            self._upload(upload).unlink()

    def finish_upload(self, name: str, upload: str, digest: str) -> None:
        """Makes an upload a blob of `name`. Refused (400), and forgotten, where its bytes have another digest."""
        link, stored = self._link(name, "blobs", digest), self._stored(digest)
        with self._lock:
            # Under a name that no request can add to.
            closed = self._upload(upload).rename(self._uploads / f"{upload}.closed")
        try:
            actual = _digest_of_file(closed, algorithm_of(digest))
            if actual != digest:
                raise Refused(400, "DIGEST_INVALID", f"the digest of these bytes is {actual}, and not {digest}")
            closed.replace(stored)
        finally:
            closed.unlink(missing_ok=True)
        with self._lock:
            _touch(link)

    # Files

    def _check_parts(self, name: str, manifest: Manifest) -> None:
        missing = [digest for digest in manifest.blobs if not self._link(name, "blobs", digest).exists()]
        indexed = [part.digest for part in manifest.manifests or ()]
        missing += [digest for digest in indexed if not self._link(name, "manifests", digest).exists()]
        if missing:
            raise Refused(404, "MANIFEST_BLOB_UNKNOWN", f"not pushed to {name} yet: {', '.join(missing)}")

    def _replace(self, path: Path, content: bytes) -> None:
        """Writes so that a reader sees the old content or the new."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._uploads / f"{uuid.uuid4().hex}.new"
        temporary.write_bytes(content)
        temporary.replace(path)

    def _place(self, name: str) -> Path:
        try:
            # `/` in a name would nest one repository in another's folders; `+` is in no name.
            return self._repositories / images.image_name(name).replace("/", "+")
        except ValueError as error:
            raise Refused(404, "NAME_INVALID", str(error)) from error

    def _tag(self, name: str, tag: str) -> Path:
        try:
            return self._place(name) / "tags" / images.tag(tag)
        except ValueError as error:
            raise Refused(400, "TAG_INVALID", str(error)) from error

    def _link(self, name: str, kind: str, digest: str) -> Path:
        return self._place(name) / kind / hex_of(digest)

    def _referrers(self, name: str, subject: str) -> Path:
        return self._place(name) / "referrers" / hex_of(subject)

    def _stored(self, digest: str) -> Path:
        return self._blobs / hex_of(digest)

    def _upload(self, upload: str) -> Path:
        path = self._uploads / upload
        if not re.fullmatch(r"[0-9a-f]{32}", upload) or not path.is_file():
            raise Refused(404, "BLOB_UPLOAD_UNKNOWN", "there is no such upload; start another one")
        return path


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def _digest_of_file(path: Path, algorithm: str) -> str:
    actual = hashlib.new(algorithm)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            actual.update(piece)
    return f"{algorithm}:{actual.hexdigest()}"


def _unknown_manifest(name: str, reference: str) -> Refused:
    return Refused(404, "MANIFEST_UNKNOWN", f"{name} has no manifest {reference}")


def _unknown_blob(name: str, digest: str) -> Refused:
    return Refused(404, "BLOB_UNKNOWN", f"{name} has no blob {digest}")
