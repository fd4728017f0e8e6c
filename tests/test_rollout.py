"""Following a rollout, on a clock that only waits move."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from deploy_tasks.api import transport
from deploy_tasks.api.client import DeployClient
from deploy_tasks.api.rollout import wait_for_health, wait_for_rollout
from deploy_tasks.api.schemas import AppState, DeployRequest, FullAppState
from deploy_tasks.api.transport import Answer
from deploy_tasks.deadline import Deadline
from deploy_tasks.deploy_config import DeployConfig
from deploy_tasks.errors import ApiRefused, DeployError, NothingStarted, RolloutFailed, StillRunning
from tests.clock import Clock

DIGEST = "sha256:" + 64 * "a"
OURS, THEIRS = f"r/shop@{DIGEST}", "r/shop@sha256:" + 64 * "b"


class Apps(DeployClient):
    """Answers from a script, and repeats its last answer."""

    def __init__(self, answers: Iterable[AppState | DeployError | None]) -> None:
        super().__init__("https://deploy.example.com", "k3y")
        self._answers = list(answers)

    def app(
        self, namespace: str, app: str, *, within: Deadline | None = None, before: object = None
    ) -> AppState | None:
        assert within is not None
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, DeployError):
            raise answer
        return answer


def follow(
    *answers: AppState | DeployError | None,
    replicas: int | None = 2,
    seconds: float = 30,
    revision: int | None = None,
) -> list[str]:
    """What `progress` was told, and the number of replicas at the end."""
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
    deadline = Deadline(seconds, clock, clock.sleep)
    ready = wait_for_rollout(Apps(answers), request, deadline=deadline, progress=told.append, revision=revision)
    assert clock.now <= seconds
    return [*told, str(ready)]


def state(ready: int, replicas: int = 2, **more: object) -> AppState:
    return AppState(replicas=replicas, ready_replicas=ready, **more)  # type: ignore[arg-type]


def test_a_rollout_is_over_when_all_replicas_of_the_digest_are_ready() -> None:
    assert follow(state(0, image=OURS), state(1, image=OURS), state(2, image=OURS)) == ["0/2 ready", "1/2 ready", "2"]


def test_replicas_of_the_deploy_before_do_not_count() -> None:
    assert follow(state(2, image=THEIRS), state(2, image=THEIRS), state(2, image=OURS))[-2:] == [
        "2/2 ready of another image",
        "2",
    ]
    assert follow(state(2, updated_replicas=1), state(2, updated_replicas=2)) == ["2/2 ready", "2"]


def test_a_state_without_image_and_updated_replicas_must_be_seen_twice() -> None:
    assert follow(state(2), state(1), state(2), state(2)) == ["2/2 ready", "1/2 ready", "2/2 ready", "2"]


def test_fewer_replicas_than_requested_are_those_of_the_deploy_before() -> None:
    assert follow(state(1, replicas=1, image=OURS), state(2, image=OURS)) == ["1/2 ready", "2"]


def test_a_deploy_without_replicas_is_ready_at_once() -> None:
    assert follow(state(0, replicas=0, image=OURS), replicas=0) == ["0"]


@pytest.mark.parametrize("answer", [None, AppState(ready_replicas=1), ApiRefused("403", 403)])
def test_a_server_that_does_not_tell_is_asked_once(answer: AppState | ApiRefused | None) -> None:
    assert follow(answer) == ["None"]


def test_a_cut_says_nothing_about_the_rollout() -> None:
    assert follow(NothingStarted("cut"), state(1, image=OURS), NothingStarted("cut"), state(2, image=OURS))[-1] == "2"


def test_after_a_cut_the_state_must_be_seen_twice_again() -> None:
    assert follow(state(2), NothingStarted("cut"), state(2), state(2)) == ["2/2 ready", "cut", "2/2 ready", "2"]


def test_a_rollout_that_does_not_finish_says_how_far_it_came() -> None:
    with pytest.raises(RolloutFailed) as failed:
        follow(state(1, image=OURS))
    assert failed.value.what == "shop is deployed, but only 1/2 ready after 30 s"
    assert failed.value.blames


def full(status: str, revision: int = 7, **more: Any) -> FullAppState:
    known: dict[str, Any] = {
        "replicas": 2,
        "image": OURS,
        "revision": revision,
        "deployed_by": "ann",
        "deployed_at": "now",
    }
    return FullAppState(**known, status=status, **more)


def test_a_rollout_that_the_api_calls_failed_is_not_waited_for() -> None:
    why: dict[str, Any] = {"reason": "CrashLoopBackOff", "message": "The container\nkeeps crashing."}
    with pytest.raises(RolloutFailed) as failed:
        follow(full("progressing"), full("failed", **why), state(2, image=OURS), revision=7)
    assert failed.value.what == (
        "shop is deployed, but its rollout failed: CrashLoopBackOff: The container\\nkeeps crashing."
    )
    with pytest.raises(RolloutFailed, match="its rollout failed: the API does not say why"):
        follow(full("failed"))


def test_a_rollout_of_another_revision_that_failed_says_nothing() -> None:
    assert follow(full("failed", 6), full("ready", 7, ready_replicas=2), revision=7)[-1] == "2"


def test_an_api_that_does_not_answer_does_not_blame_the_image() -> None:
    with pytest.raises(StillRunning) as raised:
        follow(state(1, image=OURS), NothingStarted("cut"))
    assert raised.value.what == "shop is deployed, but whether it came up is not known: cut"


def test_an_autoscaler_may_want_more_than_was_asked_for() -> None:
    assert follow(state(2, replicas=5, image=OURS), state(5, replicas=5, image=OURS)) == ["2/5 ready", "5"]


def check_health(monkeypatch: pytest.MonkeyPatch, *statuses: int | None) -> list[str]:
    """What `progress` was told while the health path answered with `statuses`, the last one for ever; None is no
    answer. Each answer takes all the seconds that it gets."""
    clock, told, left = Clock(), list[str](), list(statuses)
    deadline = Deadline(30, clock, clock.sleep)

    def look(url: str, seconds: float) -> Answer | None:
        assert 0 < seconds <= max(deadline.left(), 1.0)
        status = left.pop(0) if len(left) > 1 else left[0]
        if status is None:
            clock.now += seconds
            return None
        return Answer(status, {}, b"")

    monkeypatch.setattr(transport, "look", look)
    try:
        wait_for_health("https://x/ok", deadline=deadline, progress=told.append)
    finally:
        assert clock.now <= 31
    return told


def test_the_health_path_is_requested_until_it_answers_2xx(monkeypatch: pytest.MonkeyPatch) -> None:
    told = check_health(monkeypatch, None, 502, 301, 204)
    assert told == ["https://x/ok: no answer", "https://x/ok: 502", "https://x/ok: 301"]


@pytest.mark.parametrize(("status", "said", "blames"), [(503, "503", True), (None, "no answer", False)])
def test_an_unhealthy_path_blames_the_image_only_if_it_answers(
    monkeypatch: pytest.MonkeyPatch, status: int | None, said: str, blames: bool
) -> None:
    with pytest.raises(RolloutFailed) as failed:
        check_health(monkeypatch, status)
    assert failed.value.what == f"https://x/ok does not answer 2xx after 30 s ({said})"
    assert failed.value.blames is blames
