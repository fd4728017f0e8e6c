"""Following a log beside a wait: how it ends, and who no longer reads it."""

from __future__ import annotations

import threading

import pytest

from deploy_tasks.api import build_log as logs
from deploy_tasks.api.build_log import LogFollower, Schedule
from deploy_tasks.api.schemas import Log
from deploy_tasks.errors import NothingStarted


class Hanging:
    """A client whose request for the log hangs until `let_go` is set."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.let_go = threading.Event()

    def log_size(self, job: str) -> int | None:
        return None

    def logs(self, job: str) -> Log | None:
        self.asked.release()
        assert self.let_go.wait(60)
        return Log("a line\n", 7)


def test_ctrl_c_is_not_held_up_by_a_log_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    client = Hanging()
    monkeypatch.setattr(LogFollower, "_finish", lambda _: pytest.fail("nobody waits for the end of the log"))
    follower = LogFollower(client, "job", shown.append)
    with pytest.raises(KeyboardInterrupt), follower:
        assert client.asked.acquire(timeout=60)
        raise KeyboardInterrupt
    client.let_go.set()
    follower._thread.join(60)
    assert shown == [], "the last line says how to go on"


def test_a_log_that_hangs_to_the_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_SECONDS_TO_FINISH", 0.1)
    shown: list[str] = []
    client = Hanging()
    follower = LogFollower(client, "job", shown.append)
    with follower:
        assert client.asked.acquire(timeout=60)
    client.let_go.set()
    follower._thread.join(60)
    assert shown == [], "what comes after the end is not shown"


def test_a_reader_who_is_gone_ends_neither_the_thread_nor_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Schedule, "next", lambda *_: 0.0)
    tried: list[str] = []

    class Growing(Hanging):
        length = 0

        def logs(self, job: str) -> Log | None:
            self.length += 1
            self.asked.release()
            return Log("a line\n" * self.length, self.length)

    def show(text: str) -> None:
        tried.append(text)
        raise BrokenPipeError

    client = Growing()
    follower = LogFollower(client, "job", show)
    with follower:
        for _ in range(3):
            assert client.asked.acquire(timeout=60)
    follower._thread.join(60)
    assert len(tried) == 1, "nobody is written to again"


def test_a_refused_log_ends_nothing() -> None:
    class Away(Hanging):
        def logs(self, job: str) -> Log | None:
            self.asked.release()
            raise NothingStarted("cut")

    client = Away()
    with LogFollower(client, "job", pytest.fail) as follower:
        assert client.asked.acquire(timeout=60)
    assert follower.served
