"""Following a rollout, on a clock that only moves when somebody waits."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from deploy_tasks.api.rollout import wait_for_health, wait_for_rollout
from deploy_tasks.api.schemas import AppState, DeployConfig, DeployRequest
from deploy_tasks.errors import ApiRefused, DeployError, NothingStarted, RolloutFailed, StillRunning
from tests.clock import Clock

DIGEST = "sha256:" + 64 * "a"
OURS, THEIRS = f"r/shop@{DIGEST}", "r/shop@sha256:" + 64 * "b"


class Apps:
    """Answers from a script, whose last answer is repeated."""

    def __init__(self, answers: Iterable[AppState | DeployError | None]) -> None:
        self._answers = list(answers)
        self.asked = 0

    def app(self, namespace: str, app: str, *, within: float | None = None) -> AppState | None:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, DeployError):
            raise answer
        return answer


def follow(*answers: AppState | DeployError | None, replicas: int | None = 2, seconds: float = 30) -> list[str]:
    """How things stood, and at the end how many were ready."""
    clock = Clock()
    told: list[str] = []
    request = DeployRequest(
        app="shop",
        namespace="apps",
        image_name="shop",
        build_id=DIGEST,
        deploy=True,
        deploy_config=DeployConfig(port=1, replicas=replicas, app_class="business"),
    )
    ready = wait_for_rollout(
        Apps(answers), request, seconds=seconds, progress=told.append, clock=clock, sleep=clock.sleep
    )
    assert clock.now <= seconds
    return [*told, str(ready)]


def state(ready: int, replicas: int = 2, **more: object) -> AppState:
    return AppState(replicas=replicas, ready_replicas=ready, **more)  # type: ignore[arg-type]


def test_it_is_over_once_all_replicas_of_the_digest_are_ready() -> None:
    assert follow(state(0, image=OURS), state(1, image=OURS), state(2, image=OURS)) == ["0/2 ready", "1/2 ready", "2"]


def test_the_replicas_of_what_ran_before_do_not_count() -> None:
    assert follow(state(2, image=THEIRS), state(2, image=THEIRS), state(2, image=OURS))[-2:] == ["2/2 ready", "2"]
    assert follow(state(2, updated_replicas=1), state(2, updated_replicas=2)) == ["2/2 ready", "2"]


def test_a_server_that_names_neither_is_believed_the_second_time() -> None:
    assert follow(state(2), state(1), state(2), state(2)) == ["2/2 ready", "1/2 ready", "2/2 ready", "2"]


def test_other_replicas_than_asked_for_are_those_of_before() -> None:
    assert follow(state(1, replicas=1, image=OURS), state(2, image=OURS)) == ["1/2 ready", "2"]


def test_no_replica_is_none_to_wait_for() -> None:
    assert follow(state(0, replicas=0, image=OURS), replicas=0) == ["0"]


@pytest.mark.parametrize("answer", [None, AppState(ready_replicas=1), ApiRefused("403", 403)])
def test_a_server_that_does_not_say_is_not_asked_again(answer: AppState | ApiRefused | None) -> None:
    assert follow(answer) == ["None"]


def test_a_cut_says_nothing_about_the_rollout() -> None:
    assert follow(NothingStarted("cut"), state(1, image=OURS), NothingStarted("cut"), state(2, image=OURS))[-1] == "2"


def test_a_cut_makes_the_two_looks_begin_anew() -> None:
    assert follow(state(2), NothingStarted("cut"), state(2), state(2)) == ["2/2 ready", "cut", "2/2 ready", "2"]


def test_what_does_not_come_up_is_an_error_with_how_far_it_came() -> None:
    with pytest.raises(RolloutFailed, match="shop is deployed, but only 1/2 ready after 30 s"):
        follow(state(1, image=OURS))


def test_an_api_that_is_away_blames_nobody() -> None:
    with pytest.raises(StillRunning, match="shop is deployed; whether it came up is not known: cut"):
        follow(state(1, image=OURS), NothingStarted("cut"))


def test_an_autoscaler_may_want_more_than_was_asked_for() -> None:
    assert follow(state(2, replicas=5, image=OURS), state(5, replicas=5, image=OURS)) == ["2/5 ready", "5"]


def test_the_health_path_is_asked_until_it_answers_well() -> None:
    clock, told, statuses = Clock(), list[str](), iter([None, 502, 301, 204])
    wait_for_health(
        "https://x/ok",
        lambda url, seconds: next(statuses),
        seconds=30,
        progress=told.append,
        clock=clock,
        sleep=clock.sleep,
    )
    assert told == ["https://x/ok: no answer", "https://x/ok: 502", "https://x/ok: 301"]


def test_a_health_path_that_stays_ill_is_an_error() -> None:
    clock = Clock()
    with pytest.raises(RolloutFailed, match=r"https://x/ok does not answer 2xx after 30 s \(503\)"):
        wait_for_health(
            "https://x/ok", lambda *_: 503, seconds=30, progress=lambda _: None, clock=clock, sleep=clock.sleep
        )
    assert clock.now == 30


@pytest.mark.parametrize(("status", "blames"), [(503, True), (None, False)])
def test_a_health_path_that_nobody_reaches_blames_the_way_to_it(status: int | None, blames: bool) -> None:
    clock = Clock()
    with pytest.raises(RolloutFailed) as failed:
        wait_for_health(
            "https://x/ok", lambda *_: status, seconds=30, progress=lambda _: None, clock=clock, sleep=clock.sleep
        )
    assert failed.value.blames is blames
