"""Each thread of a program is a run of its own: one at a time holds the lock, and no file is torn or lost."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from invoke.tasks import Task
from msgspec.structs import replace

from deploy_tasks.errors import Locked, SettingsError
from deploy_tasks.invocation.ending import task_boundary
from deploy_tasks.state import lock
from deploy_tasks.state.files import State
from deploy_tasks.state.records import Record
from deploy_tasks.tasks import build, reuse
from tests.project import clean_environment
from tests.test_history import BUILD

DIGEST = "sha256:" + 64 * "a"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "build-id.json.lock"


def take(path: Path, task: str = "reuse", seconds: float = 0, tell: Callable[[str], None] = lambda _: None) -> bool:
    return lock.take(path, task, seconds=seconds, tell=tell)


def test_a_task_is_refused_while_another_thread_runs_one(path: Path) -> None:
    take(path, "build")
    with ThreadPoolExecutor(1) as other:
        with pytest.raises(Locked) as error:
            other.submit(take, path).result(10)
        assert error.value.what.startswith(f"another run (pid {os.getpid()}: invoke build, since ")
        lock.free_for_other_threads()
        assert not other.submit(take, path).result(10)
        assert json.loads(path.read_text())["task"] == "reuse"
        with pytest.raises(Locked):
            take(path)


def test_a_thread_waits_for_the_task_of_another(path: Path) -> None:
    take(path, "build")
    has_told, told = threading.Event(), list[str]()

    def tell(text: str) -> None:
        told.append(text)
        has_told.set()

    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(take, path, "reuse", 600, tell)
        assert has_told.wait(30)
        lock.free_for_other_threads()
        assert waiting.result(30), "it waited, so what it knew may be old"
    assert told[0].startswith(f"waiting for another run (pid {os.getpid()}: invoke build, ")


def test_the_next_task_of_a_thread_does_not_wait(path: Path) -> None:
    assert not take(path)
    lock.free_for_other_threads()
    assert not take(path)


def test_a_thread_that_ended_holds_no_lock(path: Path) -> None:
    thread = threading.Thread(target=take, args=(path,))
    thread.start()
    thread.join()
    assert not take(path)


def test_the_end_of_a_task_does_not_release_the_lock_of_another_thread(path: Path) -> None:
    take(path)
    with ThreadPoolExecutor(1) as other:
        other.submit(lock.free_for_other_threads).result(10)
        with pytest.raises(Locked):
            other.submit(take, path).result(10)


def test_other_processes_do_not_get_the_lock_between_two_tasks(path: Path) -> None:
    take(path)
    lock.free_for_other_threads()
    with path.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


FORKED = """
import os, sys
from pathlib import Path
from deploy_tasks.state import lock
from deploy_tasks.errors import Locked

path = Path(sys.argv[1])
lock.take(path, "build", seconds=0, tell=print)
child = os.fork()
if not child:
    try:
        lock.take(path, "reuse", seconds=0, tell=print)
    except Locked:
        os._exit(11)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_does_not_share_the_lock_of_its_parent(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(path)], env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 11, done.stderr


def test_threads_that_write_the_same_file_do_not_tear_it(tmp_path: Path) -> None:
    path, barrier = tmp_path / ".deploy" / "build-id.json", threading.Barrier(8)

    def write(number: int) -> None:
        state = State(path)
        barrier.wait(30)
        for turn in range(20):
            state.save_record(Record(image_name="shop", image_tag=f"{number}-{turn}", build_id=DIGEST))
            state.save_in_flight(replace(BUILD, job_name=f"build-{number}"))
            assert state.record()
            assert state.in_flight()

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(write, number) for number in range(8)]:
            done.result(60)
    left = sorted(file.name for file in path.parent.iterdir())
    assert left == [".gitignore", "build-id.in-flight.json", "build-id.json"]


def test_threads_that_take_the_lock_lose_no_record(tmp_path: Path) -> None:
    state = State(tmp_path / ".deploy" / "build-id.json")
    state.save_record(Record(build_id=DIGEST))

    def count_up() -> None:
        for _ in range(10):
            take(state.lock_path, seconds=600)
            known = json.loads(state.path.read_text())
            state.path.write_text(json.dumps({**known, "count": known.get("count", 0) + 1}))
            state.save_record(Record(build_id=DIGEST))
            lock.free_for_other_threads()

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(count_up) for _ in range(4)]:
            done.result(120)
    assert json.loads(state.path.read_text())["count"] == 40


def test_two_tasks_at_once_each_show_their_log_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEPLOY_DEBUG", "1")
    both, one_is_over = threading.Barrier(2), threading.Event()

    def run(task: Task[Any], says: str, wait: Callable[[], object]) -> None:
        with pytest.raises(SettingsError), task_boundary(task):
            both.wait(30)
            wait()
            raise SettingsError(says)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(run, build, "the first", lambda: None)
        second = threads.submit(run, reuse, "the second", one_is_over.wait)
        first.result(30)
        one_is_over.set()
        second.result(30)
    shown = capsys.readouterr().err
    for says in ("the first", "the second"):
        assert shown.count(f"deploy_tasks.errors.SettingsError: {says}.") == 1
    assert logging.getLogger("deploy_tasks").level == logging.NOTSET
