"""What a deploy does once the API has accepted it."""

from __future__ import annotations

from typing import Any

import pytest

from deploy_tasks.api.schemas import DeployRequest
from deploy_tasks.deadline import Deadline
from deploy_tasks.deploying import follow
from deploy_tasks.tasks import reuse
from tests.project import Project
from tests.test_tasks import URL, api, context, record

__all__ = ["api"]


def test_replicas_and_health_path_have_one_deadline(
    api: Any, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(project)
    api.post(f"{URL}/build", json={"skipped": True})
    given: list[Deadline] = []

    def replicas(
        client: object, request: DeployRequest, *, deadline: Deadline, progress: object, revision: int | None
    ) -> int:
        given.append(deadline)
        return 1

    def health(url: str, *, deadline: Deadline, progress: object) -> None:
        given.append(deadline)

    monkeypatch.setattr(follow, "wait_for_rollout", replicas)
    monkeypatch.setattr(follow, "wait_for_health", health)
    reuse(context(), domain=["shop.example.com"], check_health=True, rollout_timeout=60)
    assert len(given) == 2
    assert given[0] is given[1]
    assert given[0].seconds == 60
