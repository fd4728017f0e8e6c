"""One run at a time for one state file.

The lock is the kernel's (flock), so it goes with its process, however that dies; its file only says who has it. Of the
libraries made for this, each cost 35 to 50 ms to import, flock 0.2 ms.

The kernel does not tell threads apart: here, each thread of a program is a run of its own while a task runs in it.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .. import next_steps
from ..deadline import Deadline
from ..encoding import decode, encode
from ..errors import Locked, StateError
from .files import open_file
from .records import LockHolder, timestamp

_PAUSE_SECONDS = 0.1
_LONGEST_HOLDER = 4096


@dataclass
class _Taken:
    """A lock of this process: its file, the thread that took it last, and whether a task still runs there."""

    file: int
    process: int
    thread: threading.Thread
    is_in_use: bool = True

    @property
    def is_free(self) -> bool:
        return not self.is_in_use or not self.thread.is_alive()


# Kept until the process ends: the tasks of one command line are one run, and none of them lets another run in between.
_taken: dict[Path, _Taken] = {}
_one_at_a_time = threading.Lock()
# In a thread that works for another one: which that is.
_here = threading.local()


def take(
    path: Path,
    task: str,
    *,
    seconds: float,
    tell: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Takes the lock of `path` for `task`: for this process until it ends, for this thread until `let_go`. Returns
    whether another process or thread may have had it since this thread had it last.

    Where another one has it, waits for `seconds`, and `tell`s so; then Locked says who that is. StateError where the
    file cannot be used.
    """
    deadline, is_told = Deadline(seconds, clock, sleep), False
    try:
        while (is_new := _try_to_take(path, task)) is None:
            if not deadline.left():
                waited = f" after {seconds:g} s" if seconds else ""
                raise Locked(
                    f"{_holder(path)} holds the lock of this checkout{waited}; nothing was sent. "
                    "Wait for it (the same again with --lock-timeout 600), or end it (Ctrl-C there; a build in the "
                    "cluster goes on)"
                )
            if not is_told:
                tell(f"waiting for {_holder(path)}, up to {seconds:g} s")
                is_told = True
            deadline.pause(_PAUSE_SECONDS)
    except OSError as error:
        raise StateError(
            f"{path} cannot be written ({error.strerror}); nothing was started. DEPLOY_STATE_FILE names another place"
        ) from error
    return is_new


def work_for(thread: threading.Thread) -> None:
    """Makes this thread a part of the run of `thread`: what that one took, this one has."""
    _here.thread = thread


def let_go() -> None:
    """Lets the other threads of this program in: the task that took the locks in this thread is over."""
    for taken in list(_taken.values()):
        if taken.thread is threading.current_thread():
            taken.is_in_use = False


def release() -> None:
    """Lets other runs in: for programs that go on after their last task."""
    while _taken:
        os.close(_taken.popitem()[1].file)


def _try_to_take(path: Path, task: str) -> bool | None:
    """As `take`, without waiting; None where another has it."""
    with _one_at_a_time:
        taken, thread = _taken.get(path), getattr(_here, "thread", threading.current_thread())
        if taken and taken.process != os.getpid():
            # A fork has a copy of its parent's file, and with it a share in its parent's lock.
            os.close(_taken.pop(path).file)
            taken = None
        if taken:
            if taken.thread is thread:
                taken.is_in_use = True
                return False
            if not taken.is_free:
                return None
            taken.thread, taken.is_in_use = thread, True
            _say_who(taken.file, task)
            return True
        file = _open(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            os.close(file)
            if isinstance(error, BlockingIOError):
                return None
            raise
        _say_who(file, task)
        _taken[path] = _Taken(file, os.getpid(), thread)
        return True


def _open(path: Path) -> int:
    try:
        return open_file(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    except PermissionError:
        # Somebody else's, as after one run with sudo: it can be locked all the same.
        return open_file(path, os.O_RDONLY | os.O_NOFOLLOW)


def _say_who(file: int, task: str) -> None:
    # Who it is helps; that it is not known, on a full disk say, keeps nobody from working.
    with suppress(OSError):
        os.ftruncate(file, 0)
        os.pwrite(file, encode(_this_process(task)), 0)


def _holder(path: Path) -> str:
    # What a process wrote that is no more is about somebody else.
    with suppress(OSError, ValueError, OverflowError):
        with path.open("rb") as file:
            holder = decode(file.read(_LONGEST_HOLDER), LockHolder)
        with suppress(PermissionError):
            os.kill(holder.pid, 0)
        return f"another run (pid {holder.pid}: {next_steps.line(holder.task)}, since {holder.since})"
    return "another run"


def _this_process(task: str) -> LockHolder:
    return LockHolder(pid=os.getpid(), task=task, since=timestamp())
