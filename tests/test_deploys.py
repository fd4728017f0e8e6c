"""What a deploy does once the API has taken it."""

from __future__ import annotations

from typing import Any

import pytest

from deploy_tasks.api import transport
from deploy_tasks.api.schemas import DeployRequest
from deploy_tasks.commands import deploy as deploys
from deploy_tasks.tasks import reuse
from tests.clock import Clock
from tests.project import Project
from tests.test_tasks import URL, api, context, record

__all__ = ["api"]


@pytest.mark.parametrize(("rollout", "left"), [(40.0, 20.0), (60.0, 1.0)])
def test_replicas_and_health_path_have_one_deadline(
    api: Any,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    rollout: float,
    left: float,
) -> None:
    record(project)
    api.post(f"{URL}/build", json={"skipped": True})
    clock, asked = Clock(), dict[str, float]()

    def replicas(client: object, request: DeployRequest, *, seconds: float, progress: object) -> int:
        asked["replicas"] = seconds
        clock.sleep(rollout)
        return 1

    def health(url: str, status_of: object, *, seconds: float, progress: object) -> None:
        asked["health"] = seconds

    class Time:
        monotonic = staticmethod(clock)

    monkeypatch.setattr(deploys, "time", Time)
    monkeypatch.setattr(deploys, "wait_for_rollout", replicas)
    monkeypatch.setattr(deploys, "wait_for_health", health)
    monkeypatch.setattr(transport, "health_of", None)
    reuse(context(), domain=["shop.example.com"], check_health=True, rollout_timeout=60)
    assert asked == {"replicas": 60.0, "health": left}
