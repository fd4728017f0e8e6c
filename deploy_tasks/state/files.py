"""`.deploy/`: the record, the build in flight, and the history. Each is written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from .. import images
from ..encoding import as_dict, convert, decode, encode
from ..errors import StateError
from .records import BuildInFlight, HistoryEntry, Record, record_as_json

# The format is the user's own and has no version; a later kit that must break it will write one, and this one
# must then not touch the file.
_SCHEMA_KEY, _SCHEMA_VERSION = "schemaVersion", 1
# What is read of the history at once, and more than any line of it has.
_BLOCK = 65_536
_LARGEST_FILE = 1024 * 1024
# What the open of a folder, a socket, or a device that is not there comes to.
_NO_FILE = {errno.EISDIR, errno.ENXIO, errno.EOPNOTSUPP}
_ANOTHER_PLACE = "nothing was started. DEPLOY_STATE_FILE names another place"


class State:
    """The state of one checkout. `path` is the record's file; the others lie beside it.

    Every method raises StateError, naming the file, where a file cannot be read, is not what it should be, or cannot
    be written; what was there then stays as it was.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.in_flight_path = path.with_name(f"{path.stem}.in-flight.json")
        self.lock_path = path.with_name(f"{path.name}.lock")
        self.history_path = path.with_name("history.jsonl")

    def record(self) -> Record | None:
        """The last good digest and what it was built from, or None where nothing is recorded yet."""
        known = self._read(self.path)
        return None if known is None else self._as_record(known)

    def save_record(self, record: Record) -> None:
        """Makes `record` the last good digest. Keys that this version does not know are kept, and a file that is no
        record is not overwritten."""
        known = self._read(self.path) or {}
        self._as_record(known)
        self._write(self.path, record_as_json(record, known))

    def _as_record(self, known: dict[str, object]) -> Record:
        version = known.get(_SCHEMA_KEY, _SCHEMA_VERSION)
        if not isinstance(version, int) or version > _SCHEMA_VERSION:
            raise StateError(f"{self.path} was written by a newer deploy-tasks; upgrade: pip install -U deploy-tasks")
        try:
            record = convert(known, Record)
            if record.build_id is not None:
                images.digest(record.build_id)
        except ValueError as error:
            raise _malformed(self.path, error) from error
        return record

    def in_flight(self) -> BuildInFlight | None:
        """The build that was started and not recorded yet, or None."""
        known = self._read(self.in_flight_path)
        if known is None:
            return None
        try:
            build = convert(known, BuildInFlight)
            images.label(build.job_name)
        except ValueError as error:
            raise _malformed(self.in_flight_path, error) from error
        return build

    def check_writable(self) -> None:
        """Does what writing needs and writes nothing: to be asked before anything is started."""
        try:
            for path in (self.path, self.in_flight_path, self.history_path):
                self._prepare(path)
        except StateError as error:
            raise StateError(f"{error}; {_ANOTHER_PLACE}") from error
        for right, what in ((os.W_OK, "written"), (os.R_OK, "read")):
            if not os.access(self.path.parent, right):
                raise StateError(f"{self.path.parent} cannot be {what}; {_ANOTHER_PLACE}")
        # Only the history is written in its place; the others are replaced.
        try:
            os.close(open_file(self.history_path, os.O_RDWR))
        except FileNotFoundError:
            pass
        except StateError as error:
            raise StateError(f"{error}; nothing was started") from error
        except OSError as error:
            raise StateError(f"{self.history_path} cannot be written ({error.strerror}); {_ANOTHER_PLACE}") from error

    def sweep(self) -> None:
        """Removes what runs that were killed in the middle of writing left behind; only for who holds the lock."""
        for path in (self.path, self.in_flight_path):
            for left_behind in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
                with contextlib.suppress(OSError):
                    left_behind.unlink()

    def append(self, entry: HistoryEntry) -> None:
        """Adds a line to the history, whole or not at all, whatever else adds lines at the same time."""
        self._prepare(self.history_path)
        try:
            file = open_file(self.history_path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW)
            try:
                _append_line(file, encode(entry))
            finally:
                os.close(file)
        except OSError as error:
            raise StateError(f"{self.history_path} cannot be written ({error.strerror}); it is as it was") from error

    def history(self) -> Iterator[HistoryEntry]:
        """The history, newest first, read from its end on and no further than is asked for. A line that is none, as a
        power cut leaves it, is passed over, and so is one whose digest is none. StateError where the file cannot be
        read."""
        try:
            with os.fdopen(open_file(self.history_path, os.O_RDONLY), "rb") as file:
                for line in _lines_from_the_end(file):
                    with contextlib.suppress(ValueError):
                        entry = decode(line, HistoryEntry)
                        if entry.build_id is None or images.is_digest(entry.build_id):
                            yield entry
        except FileNotFoundError:
            return
        except OSError as error:
            raise StateError(f"{self.history_path} cannot be read ({error.strerror})") from error

    def save_in_flight(self, build: BuildInFlight) -> None:
        """Remembers a build that was just started; an earlier one that was still in flight is forgotten."""
        self._write(self.in_flight_path, as_dict(build))

    def clear_in_flight(self, job_name: str) -> None:
        """Forgets the build in flight if it is that of `job_name`."""
        build = self.in_flight()
        if build is not None and build.job_name == job_name:
            try:
                self.in_flight_path.unlink(missing_ok=True)
            except OSError as error:
                raise StateError(f"{self.in_flight_path} cannot be removed ({error.strerror})") from error

    def _read(self, path: Path) -> dict[str, object] | None:
        try:
            with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
                text = file.read(_LARGEST_FILE + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"{path} cannot be read ({error.strerror})") from error
        if len(text) > _LARGEST_FILE:
            raise _malformed(path, ValueError(f"it has more than {_LARGEST_FILE} bytes"))
        try:
            known = decode(text, dict[str, object])
        except ValueError as error:
            raise _malformed(path, error) from error
        return known

    def _write(self, path: Path, content: dict[str, object]) -> None:
        text = msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
        self._prepare(path)
        try:
            _replace(path, text)
        except OSError as error:
            raise StateError(f"{path} cannot be written ({error.strerror}); it is as it was") from error

    @staticmethod
    def _prepare(path: Path) -> None:
        if path.is_symlink() or path.parent.is_symlink():
            raise StateError(f"{path} is reached over a symbolic link and is not written; put a file or folder there")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _ignore_in_git(path.parent)
        except OSError as error:
            raise StateError(f"{path.parent} cannot be written ({error.strerror})") from error


def open_file(path: Path, flags: int) -> int:
    """A descriptor of the file `path`. StateError where that is something else: a FIFO waits for its other end, a
    device may have none."""
    try:
        file = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise _not_a_file(path) from error
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _not_a_file(path)
    return file


def _not_a_file(path: Path) -> StateError:
    return StateError(f"{path} is not a file; move it away")


def _malformed(path: Path, error: Exception) -> StateError:
    return StateError(f"{path} is not a state file of deploy-tasks ({error}); mend it, or move it away")


def _ignore_in_git(folder: Path) -> None:
    """State is this checkout's alone: without this, it would make every tree dirty."""
    if folder.name == ".deploy":
        # Whatever has that name stays as it is, a symbolic link too.
        with contextlib.suppress(FileExistsError), (folder / ".gitignore").open("x") as file:
            file.write("*\n")


def _lines_from_the_end(file: BinaryIO) -> Iterator[bytes]:
    place, part = file.seek(0, os.SEEK_END), b""
    while place > 0:
        size = min(_BLOCK, place)
        place -= size
        file.seek(place)
        part, *lines = (file.read(size) + part).split(b"\n")
        yield from reversed(lines)
        part = part[:_BLOCK]  # without its end, it is read as no entry
    yield part


def _append_line(file: int, line: bytes) -> None:
    fcntl.flock(file, fcntl.LOCK_EX)
    end = os.lseek(file, 0, os.SEEK_END)
    # A line that a power cut tore stays by itself.
    torn = end > 0 and os.pread(file, 1, end - 1) != b"\n"
    text = (b"\n" if torn else b"") + line + b"\n"
    try:
        if os.write(file, text) < len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file)
    except OSError:
        os.ftruncate(file, end)
        raise


def _replace(path: Path, text: bytes) -> None:
    """Writes `text` to `path` so that a reader, a crash or a full disk sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    # The new file is in place by now; some file systems cannot sync a folder.
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
