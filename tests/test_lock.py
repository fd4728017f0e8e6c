"""The lock, on a clock that only moves when somebody waits. Another open file stands in for another process."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy_tasks.errors import Locked, StateError
from deploy_tasks.state import lock
from tests.clock import Clock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "build-id.json.lock"


@pytest.fixture
def other(path: Path) -> Iterator[int]:
    """Somebody else has the lock."""
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(file, b'{"pid": %d, "task": "build", "since": "2026-01-01T00:00:00+00:00"}' % os.getppid())
    fcntl.flock(file, fcntl.LOCK_EX)
    yield file
    os.close(file)


def take(path: Path, seconds: float = 0, tell: Callable[[str], None] = lambda _: None) -> Clock:
    clock = Clock()
    lock.take(path, "reuse", seconds=seconds, tell=tell, clock=clock, sleep=clock.sleep)
    return clock


def test_who_has_it_is_in_the_file(path: Path) -> None:
    take(path)
    held = json.loads(path.read_text())
    assert (held["pid"], held["task"]) == (os.getpid(), "reuse")
    assert held["since"].endswith("+00:00")


def test_the_tasks_of_one_process_are_one_run(path: Path) -> None:
    take(path)
    assert take(path).slept == []
    lock.release()
    take(path)


def test_another_run_is_named_at_once(path: Path, other: int) -> None:
    with pytest.raises(
        Locked, match=rf"another run \(pid {os.getppid()}: invoke build, since 2026-01-01T00:00:00\+00:00\) holds"
    ):
        take(path)
    assert '"task": "build"' in path.read_text(), "what it says of itself is left alone"
    fcntl.flock(other, fcntl.LOCK_UN)
    take(path)


def test_it_is_waited_for_up_to_the_timeout(path: Path, other: int) -> None:
    told: list[str] = []
    clock = Clock()
    with pytest.raises(Locked, match="holds the lock of this checkout after 3 s"):
        lock.take(path, "reuse", seconds=3, tell=told.append, clock=clock, sleep=clock.sleep)
    assert clock.now == pytest.approx(3)
    assert len(told) == 1
    assert f"waiting for another run (pid {os.getppid()}" in told[0]


def test_it_is_had_as_soon_as_it_is_free(path: Path, other: int) -> None:
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.now > 1:
            fcntl.flock(other, fcntl.LOCK_UN)

    lock.take(path, "reuse", seconds=60, tell=lambda _: None, clock=clock, sleep=sleep)
    assert clock.now < 1.3
    assert json.loads(path.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b'{"pid": "x"}', b'{"pid": 4194305, "task": "of old", "since": "x"}']
)
def test_a_holder_that_says_nothing_of_itself(path: Path, other: int, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(Locked, match="another run holds the lock"):
        take(path)


def test_a_run_that_is_refused_keeps_no_file_open(path: Path, other: int) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(Locked):
            take(path)
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_symbolic_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="nothing was started"):
        take(path)
    assert not (tmp_path / "elsewhere").exists()
