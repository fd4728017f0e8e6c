"""Every test of this suite runs against each implementation; what one of them cannot do is skipped, with the reason."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.project import Project
from tests.server.http.implementations import IMPLEMENTATIONS, Implementation
from tests.server.http.server import Server


@pytest.fixture(scope="session")
def _source(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A repository with two images in it, which can be cloned by path and over HTTP."""
    project = Project.make(tmp_path_factory.mktemp("source") / "shop", {"web/Dockerfile": "FROM scratch\nCOPY . /\n"})
    project.git("--git-dir", str(project.origin), "update-server-info")
    return project


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def implementation(
    request: pytest.FixtureRequest, _source: Project, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Implementation]:
    """Starts servers, with limits that a test chooses. They end with the test."""
    kind = IMPLEMENTATIONS[request.param]
    if reason := kind.cannot.get(request.function.__name__):
        pytest.skip(f"{request.param}: {reason}")
    implementation = kind(_source, tmp_path_factory.mktemp("server"))
    yield implementation
    implementation.stop()


@pytest.fixture
def server(implementation: Implementation) -> Server:
    """A server with its usual limits."""
    return implementation.start()
