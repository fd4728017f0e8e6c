"""One run at a time for one state file.

The lock is the kernel's (flock), so it goes with its process, however that dies; its file only says who has it. Of the
libraries made for this, each cost 35 to 50 ms to import, flock 0.2 ms.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from . import commands
from .errors import Locked, StateError
from .models import LockHolder, decode, encode, timestamp

_PAUSE_SECONDS = 0.1
_LONGEST_HOLDER = 4096
# Kept until the process ends: the tasks of one command line are one run, and none of them lets another run in between.
_taken: dict[Path, int] = {}


def take(
    path: Path,
    task: str,
    *,
    seconds: float,
    tell: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Makes this process the one that holds the lock of `path`, for `task`, until it ends; whether it was not that
    before.

    Where another process holds it, waits for `seconds`, and `tell`s so; then Locked says who that is. StateError where
    the file cannot be used.
    """
    if path in _taken:
        return False
    try:
        file = _open(path)
        try:
            _wait_for(file, seconds, tell, clock, sleep)
            _say_who(file, task)
        except BaseException:
            os.close(file)
            raise
    except OSError as error:
        raise StateError(
            f"{path} cannot be written ({error.strerror}); nothing was started. DEPLOY_STATE_FILE names another place"
        ) from error
    _taken[path] = file
    return True


def release() -> None:
    """Lets other runs in: for programs that go on after their last task."""
    while _taken:
        os.close(_taken.popitem()[1])


def _open(path: Path) -> int:
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o644)
    except PermissionError:
        # Somebody else's, as after one run with sudo: it can be locked all the same.
        return os.open(path, os.O_RDONLY | flags)


def _say_who(file: int, task: str) -> None:
    # Who it is helps; that it is not known, on a full disk say, keeps nobody from working.
    with suppress(OSError):
        os.ftruncate(file, 0)
        os.pwrite(file, encode(_this_process(task)), 0)


def _wait_for(
    file: int,
    seconds: float,
    tell: Callable[[str], None],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    until, told = clock() + seconds, False
    while not _locked(file):
        left = until - clock()
        if left <= 0:
            waited = f" after {seconds:g} s" if seconds else ""
            raise Locked(
                f"{_holder(file)} holds the lock of this checkout{waited}; nothing was sent. "
                "Wait for it (the same again with --lock-timeout 600), or end it (Ctrl-C there; a build in the cluster "
                "goes on)"
            )
        if not told:
            tell(f"waiting for {_holder(file)}, up to {seconds:g} s")
            told = True
        sleep(min(_PAUSE_SECONDS, left))


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: int) -> str:
    # What a process wrote that is no more is about somebody else.
    with suppress(ValueError, ProcessLookupError, OverflowError):
        holder = decode(os.pread(file, _LONGEST_HOLDER, 0), LockHolder)
        with suppress(PermissionError):
            os.kill(holder.pid, 0)
        return f"another run (pid {holder.pid}: {commands.line(holder.task)}, since {holder.since})"
    return "another run"


def _this_process(task: str) -> LockHolder:
    return LockHolder(pid=os.getpid(), task=task, since=timestamp())
