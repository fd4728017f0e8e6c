"""One deadline for a whole wait: its requests, repeats and pauses; on a clock that only moves when somebody waits."""

from __future__ import annotations

import pytest
import requests_mock

from deploy_tasks.api.client import DeployClient
from deploy_tasks.api.polling import wait_for_end
from deploy_tasks.api.rollout import wait_for_health
from deploy_tasks.api.schemas import BuildState
from deploy_tasks.deadline import Deadline
from deploy_tasks.errors import NothingStarted, RolloutFailed, StillRunning
from tests.clock import Clock

URL = "https://deploy.example.com"


def test_a_deadline_says_what_is_left_and_no_pause_goes_beyond_it() -> None:
    clock = Clock()
    deadline = Deadline(5, clock, clock.sleep)
    deadline.pause(3)
    assert (deadline.passed(), deadline.left()) == (3, 2)
    deadline.pause(3)
    assert (clock.slept, deadline.left()) == ([3, 2], 0)
    clock.now += 1
    assert deadline.left() == 0


@pytest.mark.parametrize("look", ["app", "status"])
def test_a_look_does_not_wait_longer_for_a_server_than_its_own_deadline(look: str) -> None:
    slept: list[float] = []
    client = DeployClient(URL, "k3y", timeout=30, sleep=slept.append)
    with requests_mock.Mocker() as api:
        api.get(requests_mock.ANY, status_code=503, headers={"Retry-After": "30"})
        with pytest.raises(NothingStarted, match="answered 503"):
            client.app("apps", "shop", within=5) if look == "app" else client.status("build-1", within=5)
        assert api.call_count == 1
    assert slept == [], "the pause of 30 s would not end before the deadline"


def test_each_exchange_of_a_look_has_what_the_others_left_of_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    client = DeployClient(URL, "k3y", timeout=30, sleep=clock.sleep)
    monkeypatch.setattr(Deadline.__init__, "__defaults__", (clock, clock.sleep))
    with requests_mock.Mocker() as api:
        api.get(requests_mock.ANY, status_code=503)
        with pytest.raises(NothingStarted):
            client.app("apps", "shop", within=20)
        whole = [20 - sum(clock.slept[:number]) for number in range(3)]
        assert [request.timeout[1] for request in api.request_history] == pytest.approx(whole)


def test_a_look_for_which_no_time_is_left_gets_a_second() -> None:
    client = DeployClient(URL, "k3y", timeout=30)
    with requests_mock.Mocker() as api:
        api.get(requests_mock.ANY, json={"status": "running"})
        assert client.status("build-1", within=0.0) == BuildState(status="running")
        assert 0 < api.request_history[0].timeout[1] <= 1


def test_the_end_of_a_build_is_looked_for_within_the_deadline() -> None:
    clock, asked = Clock(), list[float]()

    class Running:
        def wait(self, job: str, *, seconds: float, within: float) -> BuildState:
            raise AssertionError("whether two may wait for one job is not known")

        def status(self, job: str, *, within: float) -> BuildState:
            asked.append(within)
            clock.now += 0.3
            return BuildState(status="running")

    with pytest.raises(StillRunning, match=r"job still runs after 2 s; look on: invoke logs"):
        wait_for_end(Running(), "job", seconds=2, again="invoke logs", tell=pytest.fail, clock=clock, sleep=clock.sleep)
    assert asked == pytest.approx([2.0, 0.7])
    assert clock.now == 2


def test_the_health_path_is_not_waited_for_beyond_the_deadline() -> None:
    clock, given = Clock(), list[tuple[float, float]]()

    def hangs(_: str, seconds: float) -> None:
        given.append((30 - clock.now, seconds))
        clock.now += seconds

    with pytest.raises(RolloutFailed):
        wait_for_health("https://x/ok", hangs, seconds=30, progress=lambda _: None, clock=clock, sleep=clock.sleep)
    assert all(seconds <= max(left, 1) for left, seconds in given)
    assert clock.now <= 31
