"""Who may do what: keys with names, namespaces and rights, of which only hashes are kept.

A key is 32 random bytes, so one round of SHA-256 is enough: there is nothing to guess that a slow hash would protect.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Struct

from .schemas import LABEL, Digest, matching, problem

Right = Literal["read", "build", "deploy"]
RIGHTS: tuple[Right, ...] = get_args(Right)
EVERY_NAMESPACE = "*"

KeyName = Annotated[
    str,
    matching(
        r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z",
        "the name of a key: up to 64 letters, digits, . _ @ -, beginning with a letter or digit",
    ),
]
Namespace = Annotated[str, matching(rf"^\*\Z|{LABEL}", "a namespace: a Kubernetes name, or * for every one")]

_log = logging.getLogger(__name__)


class KeyFileError(Exception):
    """The file of keys cannot be read, written or understood; the message says why and what to do."""


class Key(Struct, frozen=True):
    """What a request may do: its rights, in its namespaces (`*`: in every one)."""

    name: KeyName
    namespaces: tuple[Namespace, ...]
    rights: tuple[Right, ...]

    def may(self, right: Right, namespace: str | None) -> bool:
        """Whether this key has `right` in `namespace`; None: in any namespace."""
        return right in self.rights and self._is_for(namespace)

    def sees(self, namespace: str) -> bool:
        """Whether this key has any right in `namespace`. Without one, it must not learn what exists there."""
        return bool(self.rights) and self._is_for(namespace)

    def _is_for(self, namespace: str | None) -> bool:
        if namespace is None:
            return bool(self.namespaces)
        return namespace in self.namespaces or EVERY_NAMESPACE in self.namespaces


class _Stored(Key, frozen=True):
    hash: Digest


class _File(Struct, frozen=True):
    keys: list[_Stored]

    def __post_init__(self) -> None:
        names = [key.name for key in self.keys]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two keys are called {twice[0]}")


class Keys:
    """Finds the key that a request carries. Made by `single` or `of_file`."""

    def __init__(self, stored: list[_Stored], path: Path | None = None, version: object = None) -> None:
        self._stored, self._path, self._version = stored, path, version

    @classmethod
    def single(cls, name: str, key: str) -> Keys:
        """One key that may do everything."""
        return cls([_Stored(name, (EVERY_NAMESPACE,), RIGHTS, _hash(key.encode()))])

    @classmethod
    def of_file(cls, path: Path) -> Keys:
        """The keys of a file, which is read again whenever it changes. Raises KeyFileError."""
        try:
            version = _version(path)  # before it is read, so that no change is missed
            return cls(_read(path).keys, path, version)
        except OSError as error:
            raise KeyFileError(
                f"Cannot read the keys in {path}: {error.strerror}. Run: deploy-api keys add NAME --keys {path}"
            ) from error

    def find(self, text: str | None) -> Key | None:
        """The key that the header `X-API-Key` holds, as Starlette gives it (decoded as latin-1); None if there is none.

        Every hash is compared, each in constant time, so the time taken tells nothing.
        """
        self._refresh()
        if not text:
            return None
        given, found = _hash(text.encode("latin-1", "replace")), None
        for stored in self._stored:
            if hmac.compare_digest(given, stored.hash):
                found = stored
        return found and Key(found.name, found.namespaces, found.rights)

    def _refresh(self) -> None:
        """Reads the file again if it changed: also by another target of its symlink, as a mounted Secret does.

        If it cannot be read, the keys stay what they were: a broken edit locks nobody out. The log says so once.
        """
        if self._path is None:
            return
        try:
            version: object = _version(self._path)
        except OSError as error:
            version = error.errno
        if version == self._version:
            return
        self._version = version
        try:
            self._stored = _read(self._path).keys
        except (OSError, KeyFileError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            _log.error("The keys in %s stay as they were, since the file cannot be used: %s", self._path, reason)


def add(path: Path, name: str, namespaces: list[str], rights: list[Right]) -> str:
    """Writes a new key's hash into the file, which is created if needed; returns the key. Raises KeyFileError."""
    key = secrets.token_hex(32)
    entry = {"name": name, "hash": _hash(key.encode()), "namespaces": namespaces, "rights": rights}
    try:
        added = msgspec.convert(entry, _Stored)
        with _locked(path):
            stored = _read(path).keys if path.exists() else []
            if any(other.name == name for other in stored):
                raise KeyFileError(
                    f"{path} has a key called {name} already. Choose another name, or remove that entry."
                )
            _write(path, _File([*stored, added]))
    except msgspec.ValidationError as error:
        what, where = problem(error)
        raise KeyFileError(f"{where}: {what}. No key was added.") from error
    except OSError as error:
        raise KeyFileError(f"Cannot write the keys in {path}: {error.strerror}. No key was added.") from error
    return key


def _hash(key: bytes) -> str:
    return f"sha256:{hashlib.sha256(key).hexdigest()}"


def _version(path: Path) -> object:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _read(path: Path) -> _File:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File)
    except msgspec.ValidationError as error:
        what, where = problem(error)
        raise KeyFileError(f"{path} is not a file of keys: {where or 'all of it'}: {what}") from error
    except msgspec.DecodeError as error:
        raise KeyFileError(f"{path} is not a file of keys: {error}") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One at a time changes the file, else a key is lost. It locks the folder, since the file is replaced."""
    import fcntl  # not on Windows, where no server runs

    folder = os.open(path.resolve().parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, file: _File) -> None:
    """Writes so that a reader sees the old file or the new one, and only its owner sees it."""
    target = path.resolve()
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # its mode is 0600
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(msgspec.json.format(msgspec.json.encode(file)) + b"\n")
            opened.flush()
            os.fsync(opened.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
