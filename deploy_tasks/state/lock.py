"""The lock of a state file: one run at a time.

It is a flock, so the kernel releases it when the process ends, even by a crash. The lock file only says who holds it.
flock does not distinguish threads, so this module does. Libraries for this take 35 to 50 ms to import.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from ..deadline import Deadline
from ..encoding import decode, encode
from ..errors import Locked, Next
from ..next_steps import Step
from .files import explained, open_file
from .records import LockHolder, timestamp

_PAUSE_SECONDS = 0.1
_LONGEST_HOLDER = 4096
_MOST_RETRIES = 100


class _Lock(Struct):
    """A lock of this process: its open file, the thread whose task uses it (None between two tasks), and what that task
    has made for it: the file, then the folders above it; nothing if the file was there."""

    file: int
    process: int
    thread: threading.Thread | None


# The locks of this process, held until it ends, so that no other run comes between two of its tasks. Global, since a
# flock belongs to the process.
_locks: dict[Path, _Lock] = {}
_mutex = threading.Lock()


def take(
    path: Path, task: str, cluster: str = "", *, seconds: float, tell: Callable[[str], None], again: Next = ()
) -> bool:
    """Takes the lock of `path` for `task` in `cluster`: for this process until it ends, and for this thread until
    `free_for_other_threads`.

    While another run holds it, says so with `tell` and waits up to `seconds`, then raises Locked with `again` as the
    next step. Returns whether it waited: then what was read before may be outdated. StateError if the file cannot be
    used.
    """
    deadline, has_waited = Deadline(seconds), False
    with explained(path, "written"):
        while not _try_to_take(path, task, cluster):
            holder = _holder(path)
            if not deadline.left():
                waited = f" after {seconds:g} s" if seconds else ""
                raise Locked(f"{holder} holds the lock of this checkout{waited}", next=again)
            if not has_waited:
                tell(f"waiting for {holder}, up to {seconds:g} s")
                has_waited = True
            deadline.pause(_PAUSE_SECONDS)
    return has_waited


def free_for_other_threads() -> None:
    """Frees the locks that this thread took, for the other threads of this process. To call when its task has ended."""
    for lock in list(_locks.values()):
        if lock.thread is threading.current_thread():
            lock.thread = None


def release() -> None:
    """Frees the locks of this process for other runs. For a program that continues after its last task."""
    while _locks:
        os.close(_locks.popitem()[1].file)


def _try_to_take(path: Path, task: str, cluster: str) -> bool:
    thread = threading.current_thread()
    with _mutex:
        lock = _locks.get(path)
        if lock and lock.process != os.getpid():
            # A fork inherits the open file, and with it the parent's lock.
            os.close(_locks.pop(path).file)
            lock = None
        if lock and lock.thread and lock.thread.is_alive():
            return lock.thread is thread
        if lock:
            file = lock.file
        else:
            try:
                file = open_file(path, os.O_RDWR | os.O_CREAT)
            except PermissionError:
                # Another user's file, for example after a run with sudo, can be locked read-only.
                file = open_file(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                return False
        _locks[path] = _Lock(file, os.getpid(), thread)
        # For people; the lock works without it, for example if the disk is full.
        with suppress(OSError):
            os.ftruncate(file, 0)
            holder = LockHolder(pid=os.getpid(), task=task, since=timestamp(), cluster=cluster or None)
            os.pwrite(file, encode(holder), 0)
        return True


def _holder(path: Path) -> str:
    # The file may still name an earlier holder, which has ended.
    with suppress(OSError, ValueError, OverflowError):
        with path.open("rb") as file:
            holder = decode(file.read(_LONGEST_HOLDER), LockHolder)
        with suppress(PermissionError):
            os.kill(holder.pid, 0)
        where = f" in {holder.cluster}" if holder.cluster else ""
        # The text must not name the selected environment: the holder's may be another, and is part of `where`.
        task = Step(holder.task, {"environment": None})
        return f"another run (pid {holder.pid}: {task}{where}, since {holder.since})"
    return "another run"
