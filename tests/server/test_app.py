"""The application where what it stands on fails: over a socket, as everything of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy_tasks.server import serving
from deploy_tasks.server.app import DeployApi, create_app
from deploy_tasks.server.audit import Audit
from deploy_tasks.server.auth import Keys
from deploy_tasks.server.interfaces import Deploy, Target
from deploy_tasks.server.memory.builder import MemoryBuilder
from deploy_tasks.server.memory.cluster import MemoryCluster
from deploy_tasks.server.memory.images import ArchiveImageBuilder
from deploy_tasks.server.memory.registry import DiskRegistry
from deploy_tasks.server.schemas import AppState, Revision
from tests.project import Project
from tests.server.http.implementations import ServingThread
from tests.server.http.server import CONFIG, Server, Source, refused


class BrokenCluster(MemoryCluster):
    async def deploy(self, deploy: Deploy, expected: int | None) -> Revision:
        raise RuntimeError(f"a bug, with {deploy.config.env}")

    async def state(self, target: Target) -> AppState | None:
        if target.app == "broken":
            raise RuntimeError("a bug")
        return await super().state(target)

    async def problem(self) -> str | None:
        return "The cluster does not answer."


@pytest.fixture
def broken(project: Project, tmp_path: Path) -> Iterator[Server]:
    """A server whose cluster has bugs."""
    listener = serving.listen("127.0.0.1", 0)
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    registry = DiskRegistry(tmp_path / "data", address)

    def made() -> DeployApi:
        builder = MemoryBuilder(registry, ArchiveImageBuilder(registry))
        return create_app(builder, registry, BrokenCluster(0.0), Keys.single("me", "k3y"), Audit(None))

    thread = ServingThread(made, listener)
    yield Server(f"http://{address}", "k3y", address, Source(str(project.origin), project.head))
    thread.end()


def test_a_bug_is_a_500_that_shows_nothing_of_it(broken: Server) -> None:
    assert "bug" not in refused(broken.call("GET", "/api/apps/apps/broken"), 500, "internal")
    assert broken.call("GET", "/healthz").status_code == 200


def test_a_cluster_that_does_not_answer_makes_the_server_not_ready(broken: Server) -> None:
    assert refused(broken.call("GET", "/readyz"), 503, "not-ready") == "The cluster does not answer."


def test_a_bug_in_the_deploy_after_a_build_ends_that_build_and_no_other(broken: Server) -> None:
    for _ in range(2):
        state = broken.over(broken.build(deploy=True, deployConfig={**CONFIG, "env": {"TOKEN": "s3cret"}}))
        assert (state["status"], state["reason"]) == ("failed", "deploy")
        assert "RuntimeError" in state["error"]
        assert "s3cret" not in state["error"]
