"""The lock of a state file, with a clock that only a wait moves. Another open file stands in for another process."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from deploy_tasks.deadline import Deadline
from deploy_tasks.errors import Locked, StateError
from deploy_tasks.next_steps import Step
from deploy_tasks.state import lock
from tests.clock import Clock

AGAIN = Step("reuse", {"lock_timeout": 600}, says="Wait for it")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lock, "Deadline", partial(Deadline, clock=clock, sleep=clock.sleep))
    return clock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "build-id.json.lock"


@pytest.fixture
def other(path: Path) -> Iterator[int]:
    """The file of another run, which holds the lock."""
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(file, b'{"pid": %d, "task": "build", "since": "2026-01-01T00:00:00+00:00"}' % os.getppid())
    fcntl.flock(file, fcntl.LOCK_EX)
    yield file
    os.close(file)


def take(path: Path, seconds: float = 0, tell: Callable[[str], None] = lambda _: None) -> bool:
    return lock.take(path, "reuse", seconds=seconds, tell=tell)


def test_the_file_names_the_holder(path: Path) -> None:
    take(path)
    holder = json.loads(path.read_text())
    assert (holder["pid"], holder["task"]) == (os.getpid(), "reuse")
    assert holder["since"].endswith("+00:00")


def test_the_next_task_of_a_process_does_not_wait(path: Path) -> None:
    assert not take(path)
    assert not take(path)
    lock.release()
    assert not take(path)


def test_the_error_names_the_holder_and_how_to_wait_for_it(path: Path, other: int) -> None:
    with pytest.raises(Locked) as error:
        lock.take(path, "reuse", seconds=0, tell=print, again=AGAIN)
    holder = f"another run (pid {os.getppid()}: invoke build, since 2026-01-01T00:00:00+00:00)"
    assert error.value.what == f"{holder} holds the lock of this checkout"
    assert error.value.effect == "Nothing was sent"
    assert error.value.next == (AGAIN,)
    assert '"task": "build"' in path.read_text(), "the file still names the holder"
    fcntl.flock(other, fcntl.LOCK_UN)
    take(path)


def test_it_waits_until_the_timeout(path: Path, other: int, clock: Clock) -> None:
    told: list[str] = []
    with pytest.raises(Locked) as error:
        take(path, 3, told.append)
    assert error.value.what.endswith(" holds the lock of this checkout after 3 s")
    assert clock.now == pytest.approx(3)
    assert len(told) == 1
    assert told[0].startswith(f"waiting for another run (pid {os.getppid()}: ")


def test_it_takes_the_lock_as_soon_as_it_is_free(path: Path, other: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.now > 1:
            fcntl.flock(other, fcntl.LOCK_UN)

    monkeypatch.setattr(lock, "Deadline", partial(Deadline, clock=clock, sleep=sleep))
    assert take(path, 60), "it had to wait"
    assert clock.now < 1.3
    assert json.loads(path.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b'{"pid": "x"}', b'{"pid": 4194305, "task": "of a process that ended", "since": "x"}'],
)
def test_an_unknown_holder_is_just_another_run(path: Path, other: int, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(Locked) as error:
        take(path)
    assert error.value.what == "another run holds the lock of this checkout"


def test_a_run_that_does_not_get_the_lock_keeps_no_file_open(path: Path, other: int) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(Locked):
            take(path)
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_symbolic_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="symbolic link"):
        take(path)
    assert not (tmp_path / "elsewhere").exists()
