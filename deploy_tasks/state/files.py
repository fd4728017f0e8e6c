"""`.deploy/`: the record, the build in flight, and the history. Writes are atomic."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from functools import cache
from itertools import chain, tee
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct, field

from .. import images
from ..deploy_config import DEFAULT_APP_CLASS
from ..encoding import as_builtins, decode, encode
from ..errors import StateError
from .history import History
from .records import BuildInFlight, HistoryEntry, Record, record_as_json

K = TypeVar("K", Record, BuildInFlight)

# Users' own scripts share the format, which has no version. A later deploy-tasks that breaks the format will write one,
# and this version must then refuse the file.
_SCHEMA_KEY, _SCHEMA_VERSION = "schemaVersion", 1
# In bytes: how much of the history is read at once (no line is longer), and the size limit of the other files.
_BLOCK, _LARGEST_FILE = 65_536, 1024 * 1024


class State:
    """The state of one checkout. `path` is the file of the record; the others are in the same folder. Each environment
    has its own build in flight, so that a build in one does not replace that of another.

    `record()` is the last good digest, `in_flight()` the build that was started and is not recorded yet; both may be
    None. Each file is read once; this object knows what it writes. Reading and writing raise StateError; a file that
    cannot be written is unchanged.
    """

    def __init__(self, path: Path, environment: str | None = None) -> None:
        self.path = path
        of_environment = f".{environment}" if environment else ""
        self.in_flight_path = path.with_name(f"{path.stem}.in-flight{of_environment}.json")
        self.lock_path = path.with_name(f"{path.name}.lock")
        self.history_path = path.with_name("history.jsonl")
        self.record: Callable[[], Record | None] = cache(lambda: _read(self.path, Record)[0])
        self._read_in_flight: Callable[[], BuildInFlight | None] = lambda: _read(
            self.in_flight_path, BuildInFlight, appClass=DEFAULT_APP_CLASS
        )[0]
        self.in_flight: Callable[[], BuildInFlight | None] = cache(self._read_in_flight)
        self.history_file = HistoryFile(self.history_path)

    def elsewhere(self, environment: str) -> State:
        """The state in another `environment`. Both share what was read, except the build in flight."""
        other = State(self.path, environment)
        other.record, other.history_file = self.record, self.history_file
        return other

    @property
    def history(self) -> History:
        """The history of all clusters and environments."""
        return History(self.history_file.entries)

    def save_record(self, record: Record) -> Record | None:
        """Replaces the record, unless the file is malformed; returns the previous one. Keeps keys that this version
        does not know."""
        earlier, found = _read(self.path, Record)  # not from the cache, since other scripts take no lock
        _replace(self.path, record_as_json(record, found))
        self.record = lambda: record
        return earlier

    def save_in_flight(self, build: BuildInFlight) -> None:
        """Stores a build that was just started, in place of an earlier one."""
        _replace(self.in_flight_path, as_builtins(build))
        self.in_flight = lambda: build

    def clear_in_flight(self, job_name: str) -> None:
        """Removes the build in flight if its job is `job_name`."""
        build = (
            self._read_in_flight()
        )  # not from the cache: `git clean -fdx` removes the lock, and another run may have begun
        if build is not None and build.job_name == job_name:
            with explained(self.in_flight_path, "removed"):
                self.in_flight_path.unlink(missing_ok=True)
            self.in_flight = lambda: None

    def check_writable(self) -> None:
        """Raises StateError if a later write would fail. To call before anything is started."""
        for path in (self.path, self.in_flight_path, self.history_path):
            _prepare(path)
        if not os.access(self.path.parent, os.R_OK | os.W_OK):
            raise StateError(f"{self.path.parent} cannot be written")
        # The other files are replaced, which needs write permission only for the folder.
        with explained(self.history_path, "written"), suppress(FileNotFoundError):
            os.close(open_file(self.history_path, os.O_RDWR))

    def sweep(self) -> None:
        """Removes temporary files of runs that were killed during a write. The caller holds the lock."""
        for path in (self.path, self.in_flight_path):
            for left_behind in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
                with suppress(OSError):
                    left_behind.unlink()


class HistoryFile(Struct):
    """The history, which all records in one folder share. It is read once; this object knows what it adds."""

    path: Path
    _added: list[HistoryEntry] = field(default_factory=list)
    _end: int | None = None
    """Where the file ended before the first of those."""
    _found: Iterator[HistoryEntry] | None = None

    def entries(self) -> Iterator[HistoryEntry]:
        """The entries, newest first. Torn and invalid lines are left out."""
        if self._found is None:
            # `tee` keeps the entries that it has read, so that copies need not read the file again.
            (self._found,) = tee(self._read(), 1)
        return chain(reversed(self._added), copy(self._found))

    def append(self, entry: HistoryEntry) -> None:
        """Adds a line. Other processes may add lines at the same time."""
        line = encode(entry) + b"\n"
        with explained(self.path, "written"), open(self.path, "a+b", buffering=0, opener=open_file) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = file.seek(0, os.SEEK_END)
            # A power cut may have torn the last line.
            if end > 0 and os.pread(file.fileno(), 1, end - 1) != b"\n":
                line = b"\n" + line
            try:
                if os.write(file.fileno(), line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise
        self._end = end if self._end is None else self._end
        self._added.append(entry)

    def _read(self) -> Iterator[HistoryEntry]:
        """The entries, newest first. Reads blocks from the end of the file; of a line that is longer than a block, only
        the beginning is kept."""
        path, rest = self.path, b""
        try:
            with explained(path, "read"), suppress(FileNotFoundError), open(path, "rb", opener=open_file) as file:
                position = file.seek(0, os.SEEK_END) if self._end is None else self._end
                while position > 0:
                    size = min(_BLOCK, position)
                    position -= size
                    file.seek(position)
                    lines = (file.read(size) + rest).split(b"\n")
                    # The first line may begin in the block before.
                    rest = lines.pop(0)[:_BLOCK] if position > 0 else b""
                    for line in reversed(lines):
                        with suppress(ValueError):
                            entry = decode(line, HistoryEntry)
                            if entry.build_id is None or images.DIGEST.fullmatch(entry.build_id):
                                yield entry
        except StateError:
            self._found = None  # the entries are incomplete
            raise


def open_file(name: Path | str, flags: int) -> int:
    """Opens the file `name`; with O_CREAT, also creates its folder. StateError if it is not a regular file: a FIFO
    would block."""
    path = Path(name)
    if path.exists() and not path.is_file():
        raise StateError(f"{path} is not a file", next="Move it away")
    if flags & os.O_CREAT:
        _prepare(path)
        flags |= os.O_NOFOLLOW
    return os.open(path, flags | os.O_NONBLOCK, 0o644)


@contextmanager
def explained(path: Path, action: str) -> Iterator[None]:
    """Turns an OSError into the StateError that `path` cannot be read, written or removed, and a ValueError into the
    one that its content is invalid."""
    try:
        yield
    except OSError as error:
        raise StateError(f"{path} cannot be {action} ({error.strerror})") from error
    except ValueError as error:
        malformed = f"{path} is not a state file of deploy-tasks ({error})"
        raise StateError(malformed, next="Fix it, or move it away") from error


def _read(path: Path, kind: type[K], **defaults: object) -> tuple[K | None, dict[str, object]]:
    """The content of the file `path`, with `defaults` for missing keys, and its JSON object without them; None and {}
    if there is no file."""
    with explained(path, "read"), suppress(FileNotFoundError), open(path, "rb", opener=open_file) as file:
        text = file.read(_LARGEST_FILE + 1)
        if len(text) > _LARGEST_FILE:
            raise ValueError(f"it has more than {_LARGEST_FILE} bytes")
        found = decode(text, dict[str, object])
        version = found.get(_SCHEMA_KEY, _SCHEMA_VERSION)
        if not isinstance(version, int) or version > _SCHEMA_VERSION:
            raise StateError(f"{path} was written by a newer deploy-tasks", next="Upgrade: pip install -U deploy-tasks")
        held = decode({**defaults, **found}, kind)
        if isinstance(held, BuildInFlight):
            images.label(held.job_name)
        elif held.build_id is not None:
            images.digest(held.build_id)
        return held, found
    return None, {}


def _prepare(path: Path) -> None:
    """Creates the folder of `path`. StateError if `path` cannot be written there."""
    folder = path.parent
    if path.is_symlink() or folder.is_symlink():
        raise StateError(f"{path} is reached through a symbolic link, and is not written", next="Replace the link")
    with explained(folder, "written"):
        folder.mkdir(parents=True, exist_ok=True)
        if folder.name == ".deploy":
            # Without a .gitignore, the state would make every working tree dirty.
            with suppress(FileExistsError), (folder / ".gitignore").open("x") as file:
                file.write("*\n")


def _replace(path: Path, content: dict[str, object]) -> None:
    """Writes `path` atomically: a reader sees the old file or the new one, even after a crash or with a full disk."""
    _prepare(path)
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    with explained(path, "written"):
        try:
            with temporary.open("xb") as file:
                file.write(msgspec.json.format(encode(content), indent=2) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink()
    # The new file is in place. Some file systems cannot sync a folder.
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
