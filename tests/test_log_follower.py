"""Following a log beside a wait: requests that hang, and Ctrl-C."""

from __future__ import annotations

import threading
import time

import pytest

from deploy_tasks.api import build_log
from deploy_tasks.api.build_log import LogFollower
from deploy_tasks.api.client import DeployClient
from deploy_tasks.api.schemas import Log
from deploy_tasks.errors import NothingStarted


class Hanging(DeployClient):
    """A client whose request for the log hangs until `let_go` is set."""

    def __init__(self) -> None:
        super().__init__("https://deploy.example.com", "k3y")
        self.asked = threading.Semaphore(0)
        self.let_go = threading.Event()

    def logs(self, job: str) -> Log | None:
        self.asked.release()
        assert self.let_go.wait(600)
        return Log("a line\n", 7)


def test_ctrl_c_does_not_wait_for_a_log_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    client = Hanging()
    monkeypatch.setattr(LogFollower, "_finish", lambda _: pytest.fail("the end of the log was requested"))
    follower = LogFollower(client, "job", shown.append)
    with pytest.raises(KeyboardInterrupt), follower:
        assert client.asked.acquire(timeout=600)
        raise KeyboardInterrupt
    client.let_go.set()
    follower._thread.join(600)
    assert shown == [], "the last line must say how to continue"


def test_ctrl_c_while_the_thread_starts_shows_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    client, start = Hanging(), threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    follower = LogFollower(client, "job", shown.append)
    with pytest.raises(KeyboardInterrupt), follower:
        pass
    client.let_go.set()
    follower._thread.join(600)
    assert shown == []


def test_ctrl_c_waits_until_the_lines_that_are_being_shown_are_written() -> None:
    client, shows, shown = Hanging(), threading.Event(), list[str]()

    def show(text: str) -> None:
        shows.set()
        time.sleep(0.1)
        shown.append(text)

    client.let_go.set()
    with pytest.raises(KeyboardInterrupt), LogFollower(client, "job", show):
        assert shows.wait(600)
        raise KeyboardInterrupt
    assert shown == ["a line"]


def test_a_log_that_hangs_until_the_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_log, "_SECONDS_TO_FINISH", 0.0)
    shown: list[str] = []
    client = Hanging()
    follower = LogFollower(client, "job", shown.append)
    with follower:
        assert client.asked.acquire(timeout=600)
    client.let_go.set()
    follower._thread.join(600)
    assert shown == [], "it came after the end"


def test_a_failed_request_does_not_say_that_there_is_no_log() -> None:
    class Away(Hanging):
        def logs(self, job: str) -> Log | None:
            self.asked.release()
            raise NothingStarted("cut")

    client = Away()
    with LogFollower(client, "job", pytest.fail) as follower:
        assert client.asked.acquire(timeout=600)
    assert follower.served
