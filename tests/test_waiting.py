"""Waiting for a build, on a clock that only moves when somebody waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from deploy_tasks.api.polling import SLICE_SECONDS, wait_for_build
from deploy_tasks.api.schemas import BuildState
from deploy_tasks.errors import ApiRefused, BuildFailed, DeployError, JobNotFound, NothingStarted, StillRunning
from tests.clock import Clock


class ScriptedClient:
    """Answers waits from a script: a state, or an error to raise. `takes` is what each wait takes, in seconds."""

    def __init__(
        self, clock: Clock, answers: Iterable[BuildState | DeployError], takes: Callable[[float], float] = lambda _: 0.7
    ) -> None:
        self._clock = clock
        self._answers = iter(answers)
        self._takes = takes
        self.asked: list[float] = []
        self.phase: BuildState | None = None
        self.cut_status = False

    def wait(self, job: str, *, seconds: float, within: float) -> BuildState:
        assert within >= seconds
        self.asked.append(seconds)
        self._clock.now += self._takes(seconds)
        answer = next(self._answers)
        if isinstance(answer, DeployError):
            raise answer
        return answer

    def status(self, job: str, *, within: float | None = None) -> BuildState | None:
        self.within = within
        if self.cut_status:
            self.cut_status = False
            raise CUT
        return self.phase


def run(client: ScriptedClient, clock: Clock, seconds: float = 1800) -> list[str]:
    told: list[str] = []
    wait_for_build(
        client,
        "job",
        seconds=seconds,
        again="invoke wait --job job",
        tell=told.append,
        progress=lambda phase: told.append(f"{phase} at {clock():.0f} s"),
        clock=clock,
        sleep=clock.sleep,
    )
    return told


RUNNING, DONE, SILENT = BuildState(status="running"), BuildState(status="succeeded"), BuildState()
CUT = NothingStarted("cut")


def test_it_asks_in_slices_until_the_build_is_over() -> None:
    clock = Clock()
    client = ScriptedClient(clock, [BuildState(status="pending"), *[RUNNING] * 5, DONE], takes=lambda slice_: slice_)
    assert run(client, clock)[:3] == ["pending at 1 s", "running at 3 s", "running at 7 s"]
    assert client.asked == [1, 2, 4, 8, SLICE_SECONDS, SLICE_SECONDS, SLICE_SECONDS]
    assert clock.slept == []


def test_an_answer_without_a_status_is_over_and_well() -> None:
    clock = Clock()
    run(ScriptedClient(clock, [SILENT]), clock)


def test_a_server_that_knows_the_phase_is_asked_where_the_wait_named_none() -> None:
    clock = Clock()
    client = ScriptedClient(clock, [SILENT])
    client.phase = BuildState(status="failed", error="no space")
    with pytest.raises(BuildFailed, match="job failed: no space; nothing was recorded"):
        run(client, clock)


def test_a_cut_is_asked_again_ever_more_slowly() -> None:
    clock = Clock()
    client = ScriptedClient(clock, [CUT, CUT, CUT, RUNNING, CUT, DONE])
    assert run(client, clock)[0] == "cut; asking again"
    bounds = [0.5, 1.0, 2.0, 0.5]
    assert len(clock.slept) == len(bounds)
    assert all(bound / 2 <= slept <= bound for slept, bound in zip(clock.slept, bounds, strict=True))


def test_what_a_server_asks_for_is_waited_and_no_more_than_a_minute() -> None:
    for asked, least, most in ((7.0, 7.25, 7.5), (21_600.0, 60.25, 60.5)):
        clock = Clock()
        busy = NothingStarted("busy", retry_after=asked)
        run(ScriptedClient(clock, [busy, DONE]), clock)
        assert len(clock.slept) == 1
        assert least <= clock.slept[0] <= most


def test_a_server_that_does_not_hold_the_request_is_not_hammered() -> None:
    clock = Clock()
    client = ScriptedClient(clock, [*([RUNNING] * 8), DONE], takes=lambda _: 0.0)
    run(client, clock)
    assert clock.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]


def test_at_the_deadline_it_says_how_to_go_on() -> None:
    clock = Clock()
    client = ScriptedClient(clock, iter(lambda: RUNNING, None), takes=lambda slice_: slice_)
    with pytest.raises(StillRunning, match=r"job still runs after 50 s.*invoke wait --job job"):
        run(client, clock, seconds=50)
    assert client.asked == [1, 2, 4, 8, 15, 15, 5]
    assert clock.now == 50


def test_cuts_do_not_outlast_the_deadline() -> None:
    clock = Clock()
    client = ScriptedClient(clock, iter(lambda: CUT, None), takes=lambda _: 0.0)
    with pytest.raises(StillRunning):
        run(client, clock, seconds=30)
    assert clock.now == 30


def test_an_api_that_was_never_reached_is_not_a_build_that_runs() -> None:
    clock = Clock()
    nobody = NothingStarted("no connection", reached=False)
    with pytest.raises(NothingStarted, match="the API was not reached for 30 s; job goes on; pick it up: invoke wait"):
        run(ScriptedClient(clock, iter(lambda: nobody, None), takes=lambda _: 0.0), clock, seconds=30)


def test_an_api_that_is_away_for_long_is_told_of_once_a_minute() -> None:
    clock = Clock()
    nobody = NothingStarted("no connection", reached=False)
    client = ScriptedClient(clock, [RUNNING, *[nobody] * 20, DONE], takes=lambda _: 0.1)
    told = [line for line in run(client, clock, seconds=600) if not line.startswith("running")]
    assert told[0] == "no connection; asking again"
    assert told[1].startswith("no connection; asking again, for 6")
    assert told[1].endswith("s now; the build may go on, and so does the wait, for 600 s in all")
    assert 2 <= len(told) <= 4, "of 20 times, whose pauses are jittered"


def test_a_cut_while_the_phase_is_asked_for_is_asked_again_too() -> None:
    clock = Clock()
    client = ScriptedClient(clock, [SILENT, SILENT])
    client.cut_status = True
    assert run(client, clock) == ["cut; asking again"]


def test_what_a_server_says_of_a_failure_is_short_and_harmless() -> None:
    clock = Clock()
    client = ScriptedClient(clock, [BuildState(status="failed", error="\x1b[2J" + "x" * 100_000)])
    with pytest.raises(BuildFailed) as failed:
        run(client, clock)
    assert len(str(failed.value)) < 400
    assert str(failed.value).isprintable()


def test_a_server_that_says_not_yet_by_an_error_at_the_end_of_the_slice_is_asked_at_once() -> None:
    clock = Clock()
    client = ScriptedClient(clock, [*[CUT] * 4, DONE], takes=lambda slice_: slice_)
    assert all("asking again" not in line for line in run(client, clock))
    assert clock.slept == []


def test_the_phase_is_not_waited_for_beyond_the_deadline() -> None:
    clock = Clock()
    client = ScriptedClient(clock, [SILENT], takes=lambda _: 4.0)
    run(client, clock, seconds=10)
    assert client.within == 6


def test_an_unknown_job_starts_no_build() -> None:
    clock = Clock()
    with pytest.raises(JobNotFound):
        run(ScriptedClient(clock, [JobNotFound("gone")]), clock)


def test_another_refusal_passes_through() -> None:
    clock = Clock()
    with pytest.raises(ApiRefused) as refused:
        run(ScriptedClient(clock, [ApiRefused("401", 401)]), clock)
    assert refused.value.code == 4
