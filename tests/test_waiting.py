"""Waiting for a build, on a clock that only waits move."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from deploy_tasks.api.client import DeployClient
from deploy_tasks.api.polling import SLICE_SECONDS, wait_for_build
from deploy_tasks.api.schemas import BuildState
from deploy_tasks.deadline import Deadline
from deploy_tasks.errors import ApiRefused, BuildFailed, DeployError, JobNotFound, NothingStarted, StillRunning
from deploy_tasks.next_steps import Step
from tests.clock import Clock

AGAIN = Step("wait", {"job": "job"}, continues=True)


class ScriptedClient(DeployClient):
    """Answers waits from a script: a state, or an error to raise. `takes` gives how long each wait takes, in seconds.
    `phase` is what the server says when asked for the phase."""

    def __init__(
        self, clock: Clock, answers: Iterable[BuildState | DeployError], takes: Callable[[float], float] = lambda _: 0.7
    ) -> None:
        super().__init__("https://deploy.example.com", "k3y")
        self._clock = clock
        self._answers = iter(answers)
        self._takes = takes
        self.asked: list[float] = []
        self.phase: BuildState | None = None
        self.cut_status = False

    def wait(self, job: str, *, seconds: float, within: Deadline | None = None) -> BuildState:
        assert within is not None
        assert within.left() >= seconds
        self.asked.append(seconds)
        self._clock.now += self._takes(seconds)
        answer = next(self._answers)
        if isinstance(answer, DeployError):
            raise answer
        return answer

    def status(self, job: str, *, within: Deadline | None = None) -> BuildState | None:
        assert within is not None
        self.left = within.left()
        if self.cut_status:
            self.cut_status = False
            raise CUT
        return self.phase


def run(client: ScriptedClient, clock: Clock, seconds: float = 1800) -> list[str]:
    told: list[str] = []
    wait_for_build(
        client,
        "job",
        deadline=Deadline(seconds, clock, clock.sleep),
        again=AGAIN,
        tell=told.append,
        progress=lambda phase: told.append(f"{phase} at {clock():.0f} s"),
    )
    return told


RUNNING, DONE, SILENT = BuildState(status="running"), BuildState(status="succeeded"), BuildState()
CUT = NothingStarted("cut")


def test_a_wait_is_made_of_slices_that_grow() -> None:
    clock = Clock()
    client = ScriptedClient(clock, [BuildState(status="pending"), *[RUNNING] * 5, DONE], takes=lambda slice_: slice_)
    assert run(client, clock)[:3] == ["pending at 1 s", "running at 3 s", "running at 7 s"]
    assert client.asked == [1, 2, 4, 8, SLICE_SECONDS, SLICE_SECONDS, SLICE_SECONDS]
    assert clock.slept == []


def test_an_answer_without_a_status_is_a_success() -> None:
    clock = Clock()
    run(ScriptedClient(clock, [SILENT]), clock)


def test_an_answer_without_a_status_is_a_failure_if_the_phase_says_so() -> None:
    clock = Clock()
    client = ScriptedClient(clock, [SILENT])
    client.phase = BuildState(status="failed", error="no space")
    with pytest.raises(BuildFailed) as failed:
        run(client, clock)
    assert failed.value.what == "job failed: no space"
    assert failed.value.effect == "Nothing was recorded, and the last good digest is unchanged"


def test_after_each_cut_the_pause_is_longer() -> None:
    clock = Clock()
    client = ScriptedClient(clock, [CUT, CUT, CUT, RUNNING, CUT, DONE])
    assert run(client, clock)[0] == "cut. Retrying"
    bounds = [0.5, 1.0, 2.0, 0.5]
    assert len(clock.slept) == len(bounds)
    assert all(bound / 2 <= slept <= bound for slept, bound in zip(clock.slept, bounds, strict=True))


def test_a_retry_after_is_respected_up_to_a_minute() -> None:
    for asked, least, most in ((7.0, 7.25, 7.5), (21_600.0, 60.25, 60.5)):
        clock = Clock()
        busy = NothingStarted("busy", retry_after=asked)
        run(ScriptedClient(clock, [busy, DONE]), clock)
        assert len(clock.slept) == 1
        assert least <= clock.slept[0] <= most


def test_a_server_that_answers_at_once_is_asked_more_and_more_slowly() -> None:
    clock = Clock()
    client = ScriptedClient(clock, [*([RUNNING] * 8), DONE], takes=lambda _: 0.0)
    run(client, clock)
    assert clock.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]


def test_at_the_deadline_the_error_says_how_to_continue() -> None:
    clock = Clock()
    client = ScriptedClient(clock, iter(lambda: RUNNING, None), takes=lambda slice_: slice_)
    with pytest.raises(StillRunning) as raised:
        run(client, clock, seconds=50)
    assert raised.value.what == "job still runs after 50 s"
    assert raised.value.effect == "The build goes on"
    assert raised.value.next == (AGAIN._replace(says="Pick it up"),)
    assert client.asked == [1, 2, 4, 8, 15, 15, 5]
    assert clock.now == 50


def test_cuts_do_not_outlast_the_deadline() -> None:
    clock = Clock()
    client = ScriptedClient(clock, iter(lambda: CUT, None), takes=lambda _: 0.0)
    with pytest.raises(StillRunning):
        run(client, clock, seconds=30)
    assert clock.now == 30


def test_an_api_that_was_never_reached_does_not_say_that_the_build_runs() -> None:
    clock = Clock()
    nobody = NothingStarted("no connection", reached=False)
    with pytest.raises(NothingStarted) as raised:
        run(ScriptedClient(clock, iter(lambda: nobody, None), takes=lambda _: 0.0), clock, seconds=30)
    assert raised.value.what == "the API was not reached for 30 s"
    assert raised.value.effect == "job goes on"
    assert raised.value.next == (AGAIN._replace(says="Pick it up"),)


def test_a_long_outage_is_reported_once_a_minute() -> None:
    clock = Clock()
    nobody = NothingStarted("no connection", reached=False)
    client = ScriptedClient(clock, [RUNNING, *[nobody] * 20, DONE], takes=lambda _: 0.1)
    told = [line for line in run(client, clock, seconds=600) if not line.startswith("running")]
    assert told[0] == "no connection. Retrying"
    assert told[1].startswith("no connection, for 6")
    assert told[1].endswith(" s now. The build may go on. Retrying until 600 s have passed")
    assert 2 <= len(told) <= 4, "of 20 times, whose pauses are jittered"


def test_a_cut_while_asking_for_the_phase_repeats_the_wait() -> None:
    clock = Clock()
    client = ScriptedClient(clock, [SILENT, SILENT])
    client.cut_status = True
    assert run(client, clock) == ["cut. Retrying"]


def test_the_reason_of_a_failure_is_short_and_escaped() -> None:
    clock = Clock()
    client = ScriptedClient(clock, [BuildState(status="failed", error="\x1b[2J" + "x" * 100_000)])
    with pytest.raises(BuildFailed) as failed:
        run(client, clock)
    assert len(str(failed.value)) < 400
    assert str(failed.value).isprintable()


def test_an_error_at_the_end_of_the_slice_means_not_yet() -> None:
    clock = Clock()
    client = ScriptedClient(clock, [*[CUT] * 4, DONE], takes=lambda slice_: slice_)
    assert all("Retrying" not in line for line in run(client, clock))
    assert clock.slept == []


def test_the_phase_is_requested_within_the_deadline() -> None:
    clock = Clock()
    client = ScriptedClient(clock, [SILENT], takes=lambda _: 4.0)
    run(client, clock, seconds=10)
    assert client.left == 6


def test_an_unknown_job_starts_no_build() -> None:
    clock = Clock()
    with pytest.raises(JobNotFound):
        run(ScriptedClient(clock, [JobNotFound("gone", 404)]), clock)


def test_another_refusal_passes_through() -> None:
    clock = Clock()
    with pytest.raises(ApiRefused) as refused:
        run(ScriptedClient(clock, [ApiRefused("401", 401)]), clock)
    assert refused.value.code == 4
