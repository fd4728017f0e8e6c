"""What runs of an app: the API's answer, completed with the history of the checkout."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from deploy_tasks.api.schemas import AppState, FullAppState
from deploy_tasks.deploy_config import DeployConfig
from deploy_tasks.invocation.running import Look, Running
from deploy_tasks.state.history import History
from deploy_tasks.state.records import HistoryEntry, Ran

DIGEST, OTHER = "sha256:" + 64 * "a", "sha256:" + 64 * "b"
COMMIT = 40 * "c"
SILENT = "the API does not say what runs"


def entry(build_id: str = DIGEST, *, replicas: int | None = 2, **more: Any) -> HistoryEntry:
    fields: dict[str, Any] = {"app": "shop", "namespace": "apps", "git_ref": COMMIT, "time": "now", "who": "me"}
    config = DeployConfig(port=3000, replicas=replicas)
    fields |= {"what": "reuse", "outcome": "deployed", "build_id": build_id, "deploy_config": config}
    return HistoryEntry(**{**fields, **more})


def full(**more: Any) -> FullAppState:
    fields: dict[str, Any] = {"image": f"r:1/team/shop@{DIGEST}", "replicas": 2, "revision": 7, "status": "ready"}
    return FullAppState(**{**fields, "deployed_by": "ann", "deployed_at": "then", **more})


def seen(state: AppState | None, *entries: HistoryEntry, says_all: bool = False) -> Running:
    client = SimpleNamespace(features={"app-state"} if says_all else set())
    settings = SimpleNamespace(app="shop", namespace="apps")
    work: Any = SimpleNamespace(client=client, settings=settings, history=History(lambda: entries))
    return Look(work).read(state)


def test_no_answer_means_nothing_only_from_a_server_that_says_all() -> None:
    nothing, unknown = seen(None, says_all=True), seen(None)
    assert (nothing.ran, nothing.why, nothing.revision) == (None, "", 0)
    assert (unknown.ran, unknown.why, unknown.revision) == (None, SILENT, None)
    assert seen(AppState(replicas=2)).why == SILENT


def test_a_full_answer_says_who_deployed_what_and_how_without_values() -> None:
    config = DeployConfig(port=3000, env={"A": "a value that no server should send"})
    found = seen(full(commit=f"{COMMIT}-dirty", deploy_config=config))
    assert found.ran == Ran(
        build_id=DIGEST,
        image_name="team/shop",
        git_ref=COMMIT,
        dirty=True,
        deployed_by="ann",
        deployed_at="then",
        revision=7,
        deploy_config=DeployConfig(port=3000, env={"A": None}),
        replicas=2,
    )
    assert not found.is_from_here
    assert not found.has_failed
    assert seen(full(status="failed")).has_failed


def test_an_image_without_a_digest_keeps_all_of_its_name() -> None:
    found = seen(full(image="ghcr.io/org/shop:v1"))
    assert found.ran
    assert (found.ran.build_id, found.ran.image_name) == (None, "ghcr.io/org/shop:v1")


def test_the_history_completes_what_a_plain_answer_does_not_say() -> None:
    plain = AppState(image=f"r:1/shop@{DIGEST}", replicas=2)
    found = seen(plain, entry())
    assert found.is_from_here
    assert found.ran
    assert (found.ran.git_ref, found.ran.deploy_config) == (COMMIT, DeployConfig(port=3000, replicas=2))
    older = seen(plain, entry(OTHER), entry())
    assert older.ran
    assert (older.is_from_here, older.ran.git_ref, older.ran.deploy_config) == (False, COMMIT, None)
    for replicas, is_ours in ((1, True), (2, False)):
        unset = seen(AppState(image=plain.image, replicas=replicas), entry(replicas=None))
        assert unset.ran
        assert bool(unset.ran.deploy_config) is is_ours, "the API decides how many, and that is one"


def test_another_number_of_replicas_shows_another_deploy_of_the_same_digest() -> None:
    found = seen(AppState(image=f"r:1/shop@{DIGEST}", replicas=5), entry())
    assert found.ran
    assert (found.ran.deploy_config, found.ran.replicas) == (None, 5)


@pytest.mark.parametrize(("revision", "is_from_here"), [(7, True), (6, False), (None, True)])
def test_a_revision_tells_two_deploys_of_one_digest_apart(revision: int | None, is_from_here: bool) -> None:
    assert seen(full(), entry(revision=revision)).is_from_here is is_from_here


def test_deploys_of_another_app_are_not_of_this_one() -> None:
    assert not seen(full(), entry(app="other")).is_from_here
    assert not seen(full(), entry(namespace="other")).is_from_here


@pytest.mark.parametrize(
    ("earlier", "now", "differs"),
    [
        (Running(Ran(build_id=DIGEST, revision=1)), Running(Ran(build_id=DIGEST, revision=2)), True),
        (Running(Ran(build_id=DIGEST, revision=1)), Running(Ran(build_id=DIGEST, revision=1)), False),
        (Running(Ran(build_id=DIGEST)), Running(Ran(build_id=OTHER)), True),
        (Running(Ran(build_id=DIGEST)), Running(Ran(build_id=DIGEST)), False),
        (Running(), Running(Ran(build_id=DIGEST)), True),
        (Running(), Running(Ran(build_id=DIGEST, revision=1)), True),
        (Running(Ran(build_id=DIGEST, revision=1)), Running(), True),
        (Running(), Running(), False),
        (Running(why=SILENT), Running(Ran(build_id=DIGEST)), False),
        (Running(Ran(build_id=DIGEST)), Running(why=SILENT), True),
        (Running(why=SILENT), Running(why=SILENT), False),
        (Running(Ran(build_id=DIGEST, replicas=1)), Running(Ran(build_id=DIGEST, replicas=3)), True),
        (Running(Ran(build_id=DIGEST, replicas=1)), Running(Ran(build_id=DIGEST)), False),
        (Running(Ran(image_name="r:1/shop:v1")), Running(Ran(image_name="r:1/shop:v2")), True),
    ],
)
def test_it_differs_from_what_ran_if_that_was_known_and_this_is_not_or_is_another(
    earlier: Running, now: Running, differs: bool
) -> None:
    assert now.differs_from(earlier) is differs
