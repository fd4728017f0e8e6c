"""The lock of a state file, with a clock that only a wait moves. Another open file stands in for another process."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deploy_tasks.deadline import Deadline
from deploy_tasks.errors import Locked, StateError
from deploy_tasks.next_steps import Step
from deploy_tasks.state import files, lock
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


def take(path: Path, seconds: float = 0, tell: Callable[[str], None] = lambda _: None) -> None:
    lock.take(path, "reuse", seconds=seconds, tell=tell)


def test_the_file_names_the_holder(path: Path) -> None:
    take(path)
    holder = json.loads(path.read_text())
    assert (holder["pid"], holder["task"]) == (os.getpid(), "reuse")
    assert holder["since"].endswith("+00:00")


def test_the_next_task_of_a_process_does_not_wait(path: Path) -> None:
    take(path)
    take(path)
    lock.release()
    take(path)


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
    take(path, 60)
    assert 1 < clock.now < 1.3
    assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_lock_that_is_undone_leaves_nothing_of_what_it_made(tmp_path: Path) -> None:
    path = tmp_path / "project" / ".deploy" / "build-id.json.lock"
    take(path)
    lock.undo(path)
    assert not (tmp_path / "project").exists()
    take(path)
    assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_lock_that_is_undone_leaves_what_others_made(tmp_path: Path) -> None:
    path = tmp_path / ".deploy" / "build-id.json.lock"
    take(path)
    lock.release()
    take(path)
    lock.undo(path)
    assert path.exists(), "it was there before"
    other = path.with_name("build-id.other.json.lock")
    take(other)
    lock.undo(other)
    assert sorted(file.name for file in path.parent.iterdir()) == [".gitignore", path.name]


def test_the_last_of_several_locks_that_are_undone_removes_their_folder(tmp_path: Path) -> None:
    paths = [tmp_path / ".deploy" / f"build-id.{name}.json.lock" for name in "abc"]
    for path in paths:
        take(path)
    for path in paths:
        lock.undo(path)
    assert not paths[0].parent.exists()


def test_a_lock_that_an_earlier_task_took_is_not_undone(path: Path) -> None:
    """Two threads began before there was a file. The first task is over, and no other run may come in between."""
    take(path)
    lock.free_for_other_threads()
    take(path)
    lock.undo(path)
    with path.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_another_run_removes_during_the_wait_is_made_and_undone_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock = tmp_path / ".deploy" / "build-id.json.lock", Clock()
    take(path)
    made = lock._locks.pop(path)  # as if another process had it

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        files.remove_new(made.made)
        os.close(made.file)

    monkeypatch.setattr(lock, "Deadline", partial(Deadline, clock=clock, sleep=sleep))
    take(path, 60)
    lock.undo(path)
    assert not path.parent.exists()


@pytest.mark.parametrize("call", ["mkdir", "open"])
def test_a_folder_that_another_run_removes_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / ".deploy" / "build-id.json.lock"
    place = os if call == "open" else Path
    real = getattr(place, call)
    times = iter(range(2))

    def removed_meanwhile(name: Path, *args: Any, **options: Any) -> Any:
        if call == "mkdir":
            real(name, *args, **options)
        if Path(name) in (path, path.parent) and next(times, None) is not None:
            shutil.rmtree(path.parent, ignore_errors=True)
        return None if call == "mkdir" else real(name, *args, **options)

    monkeypatch.setattr(place, call, removed_meanwhile)
    take(path)
    assert json.loads(path.read_text())["pid"] == os.getpid()
    assert path.with_name(".gitignore").exists()


def test_a_folder_that_another_run_begins_to_use_keeps_its_gitignore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rmdir = tmp_path / ".deploy" / "build-id.json.lock", Path.rmdir
    take(path)

    def used_meanwhile(folder: Path) -> None:
        (folder / "build-id.other.json.lock").touch()
        rmdir(folder)

    monkeypatch.setattr(Path, "rmdir", used_meanwhile)
    lock.undo(path)
    assert sorted(file.name for file in path.parent.iterdir()) == [".gitignore", "build-id.other.json.lock"]


def test_a_lock_is_not_had_by_a_file_that_was_removed_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch()
    flock = fcntl.flock

    def removed_meanwhile(file: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        path.unlink()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    take(path, 60)
    with path.open() as file, pytest.raises(BlockingIOError):
        flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


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
