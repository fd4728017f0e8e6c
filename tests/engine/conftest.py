"""Real engines. `tests/engine/services` starts them and prints the variables that are read here; without it, the docker
that answers by itself is used. With ENGINE_REQUIRED set, what is missing fails instead of being left out."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.project import Project, clean_environment

IMAGE_FILES = {
    "Dockerfile": "FROM scratch\nCOPY page.html /www/page.html\n",
    "page.html": "one\n",
}


@pytest.fixture(scope="session")
def docker_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a process needs in its environment to reach a docker that answers; its login is kept in a folder of ours."""
    environment = {"DOCKER_CONFIG": str(tmp_path_factory.mktemp("docker-config"))}
    host = os.environ.get("ENGINE_DOCKER_HOST") or os.environ.get("DOCKER_HOST")
    if host:
        environment["DOCKER_HOST"] = host
    if shutil.which("docker") is None:
        leave_out("docker is not installed")
    if subprocess.run(
        ["docker", "info"], env=clean_environment(**environment), capture_output=True, check=False
    ).returncode:
        leave_out("no docker engine answers")
    return environment


def leave_out(reason: str) -> NoReturn:
    if os.environ.get("ENGINE_REQUIRED"):
        pytest.fail(f"{reason}, and ENGINE_REQUIRED is set")
    pytest.skip(reason)


@pytest.fixture
def docker_project(tmp_path: Path, docker_environment: dict[str, str]) -> Iterator[Project]:
    """A pushed repository whose processes reach docker; the images that it makes are removed at the end."""
    project = Project.make(tmp_path / "shop", IMAGE_FILES)
    project.environment.update(docker_environment, DEPLOY_PORT="3000")
    yield project
    registry = project.environment.get("DEPLOY_REGISTRY", "no-registry")
    made = docker(project, "image", "ls", "--quiet", "--no-trunc", f"{registry}/*")
    if made:
        docker(project, "image", "rm", "--force", *made.split())


def docker(project: Project, *arguments: str) -> str:
    """Runs docker as the project's own processes would; returns what it printed."""
    done = project.run("docker", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
