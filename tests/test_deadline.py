"""One deadline for a whole wait: its requests, repeats and pauses; on a clock that only waits move."""

from __future__ import annotations

import pytest
import requests_mock

from deploy_tasks.api.client import DeployClient
from deploy_tasks.api.polling import wait_for_end
from deploy_tasks.api.schemas import BuildState
from deploy_tasks.deadline import Deadline
from deploy_tasks.errors import NothingStarted, StillRunning
from deploy_tasks.next_steps import Step
from tests.clock import Clock

URL = "https://deploy.example.com"
AGAIN = Step("logs", {"follow": True, "job": "job"})


def test_a_deadline_says_what_is_left_and_no_pause_goes_beyond_it() -> None:
    clock = Clock()
    deadline = Deadline(5, clock, clock.sleep)
    deadline.pause(3)
    assert (deadline.passed(), deadline.left()) == (3, 2)
    deadline.pause(3)
    assert (clock.slept, deadline.left()) == ([3, 2], 0)
    clock.now += 1
    assert deadline.left() == 0


def test_turns_come_more_and_more_slowly_and_the_last_one_at_the_deadline() -> None:
    clock = Clock()
    deadline = Deadline(10, clock, clock.sleep)
    assert [clock.now for _ in deadline.turns(1, 2.25)] == [0, 1, 2.5, 4.75, 7, 9.25, 10]


@pytest.mark.parametrize("look", ["app", "status"])
def test_a_look_is_not_repeated_if_the_pause_would_end_after_the_deadline(look: str) -> None:
    clock, client = Clock(), DeployClient(URL, "k3y")
    within = Deadline(5, clock, clock.sleep)
    with requests_mock.Mocker() as api:
        api.get(requests_mock.ANY, status_code=503, headers={"Retry-After": "30"})
        with pytest.raises(NothingStarted, match="answered 503"):
            client.app("apps", "shop", within=within) if look == "app" else client.status("build-1", within=within)
        assert api.call_count == 1
    assert clock.slept == []


@pytest.mark.parametrize("look", ["app", "status"])
def test_each_exchange_of_a_look_gets_the_seconds_that_are_left(look: str) -> None:
    clock, client = Clock(), DeployClient(URL, "k3y")
    within = Deadline(20, clock, clock.sleep)
    with requests_mock.Mocker() as api:
        api.get(requests_mock.ANY, status_code=503)
        with pytest.raises(NothingStarted):
            client.app("apps", "shop", within=within) if look == "app" else client.status("build-1", within=within)
        left = [20 - sum(clock.slept[:number]) for number in range(3)]
        assert [request.timeout[1] for request in api.request_history] == pytest.approx(left)


def test_a_look_at_the_deadline_gets_a_second() -> None:
    client = DeployClient(URL, "k3y")
    with requests_mock.Mocker() as api:
        api.get(requests_mock.ANY, json={"status": "running"})
        assert client.status("build-1", within=Deadline(0, Clock())) == BuildState(status="running")
        assert api.request_history[0].timeout[1] == 1


class Phases(DeployClient):
    """Answers with these phases, the last one for ever; None is no answer. An answer takes 0.3 s."""

    def __init__(self, clock: Clock, *phases: str | None) -> None:
        super().__init__(URL, "k3y")
        self._clock = clock
        self._phases = list(phases)
        self.asked: list[float] = []

    def wait(self, job: str, *, seconds: float, within: Deadline | None = None) -> BuildState:
        raise AssertionError("it is not known whether two clients may wait for one job")

    def status(self, job: str, *, within: Deadline | None = None) -> BuildState:
        assert within is not None
        self.asked.append(within.left())
        self._clock.now += 0.3
        phase = self._phases.pop(0) if len(self._phases) > 1 else self._phases[0]
        if phase is None:
            raise NothingStarted("cut")
        return BuildState(status=phase)


def test_a_build_that_still_runs_is_looked_at_until_the_deadline() -> None:
    clock = Clock()
    client, deadline = Phases(clock, "running"), Deadline(2, clock, clock.sleep)
    with pytest.raises(StillRunning) as raised:
        wait_for_end(client, "job", deadline=deadline, again=AGAIN, tell=pytest.fail)
    assert raised.value.what == "job still runs after 2 s"
    assert raised.value.effect == "The build goes on"
    assert raised.value.next == (AGAIN._replace(says="Continue to follow it"),)
    assert client.asked == pytest.approx([2.0, 0.7, 0.0])


def test_the_end_of_a_build_is_found_across_cuts_and_each_outage_is_reported_once() -> None:
    clock, told = Clock(), list[str]()
    client = Phases(clock, "running", None, None, "running", None, "failed")
    deadline = Deadline(60, clock, clock.sleep)
    assert wait_for_end(client, "job", deadline=deadline, again=AGAIN, tell=told.append) == "failed"
    assert told == ["cut. Retrying", "cut. Retrying"]
