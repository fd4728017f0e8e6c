"""A real docker and the sandbox's registry: push, pull by digest, and the tasks in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.conftest import docker
from tests.project import Project
from tests.sandboxes import SandboxProcess


@pytest.fixture
def sandbox(tmp_path: Path, docker_project: Project) -> Iterator[SandboxProcess]:
    sandbox = SandboxProcess(tmp_path / "sandbox")
    docker_project.environment.update(sandbox.settings)
    yield sandbox
    sandbox.stop()


def test_docker_pushes_to_the_sandboxes_registry_and_pulls_by_digest(
    docker_project: Project, sandbox: SandboxProcess
) -> None:
    reference = f"{sandbox.registry}/team/plain"
    docker(docker_project, "build", "--tag", f"{reference}:v1", ".")
    pushed = docker(docker_project, "push", f"{reference}:v1")
    digest = sandbox.call("GET", "/registry/team/plain/digest?tag=v1").json()["buildId"]
    assert f"v1: digest: {digest} size: " in pushed
    docker(docker_project, "image", "rm", f"{reference}:v1")
    docker(docker_project, "pull", f"{reference}@{digest}")
    assert docker(docker_project, "image", "inspect", "--format", "{{index .RepoDigests 0}}", f"{reference}@{digest}")


def test_local_then_reuse_deploys_the_image_of_that_push(docker_project: Project, sandbox: SandboxProcess) -> None:
    docker_project.write("page.html", "not pushed\n")
    done = docker_project.invoke("local", "reuse")
    assert done.returncode == 0, done.stderr
    digest, reference = done.stdout.split()
    assert reference == f"{sandbox.registry}/shop@{digest}"
    record = docker_project.record
    assert record["buildId"] == digest
    assert record["imageTag"].endswith(f"-{docker_project.head[:12]}-dirty")
    assert sandbox.call("GET", f"/registry/shop/digest?tag={record['imageTag']}").json()["buildId"] == digest
    assert sandbox.app("apps", "shop")["image"] == reference
    docker(docker_project, "pull", reference)
    docker(docker_project, "create", "--name", f"read-{digest[7:19]}", reference, "x")
    docker(docker_project, "cp", f"read-{digest[7:19]}:/www/page.html", "back.html")
    docker(docker_project, "rm", f"read-{digest[7:19]}")
    assert (docker_project.folder / "back.html").read_text() == "not pushed\n"


def test_local_deploy_of_two_apps_in_one_chain(docker_project: Project, sandbox: SandboxProcess) -> None:
    done = docker_project.invoke("local", "--app", "a", "reuse", "local", "--app", "b", "reuse")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert [sandbox.app("apps", app)["image"] for app in ("a", "b")] == [lines[1], lines[3]]
    assert docker_project.invoke("local-deploy", "--app", "c", "--image-tag", "v1").returncode == 0
    assert sandbox.app("apps", "c")["image"].startswith(f"{sandbox.registry}/c@sha256:")


def test_own_tasks_that_call_local_and_reuse(docker_project: Project, sandbox: SandboxProcess) -> None:
    docker_project.write(
        "tasks.py",
        """
from invoke import task
from deploy_tasks.tasks import local, reuse

@task
def ship(c):
    record = local(c, app="own")
    print(reuse(c, port=5000).build_id == record.build_id)
""",
    )
    done = docker_project.invoke("ship")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "True"


def test_a_build_that_fails_pushes_and_records_nothing(docker_project: Project, sandbox: SandboxProcess) -> None:
    docker_project.write("Dockerfile", "FROM scratch\nCOPY nowhere /\n")
    failed = docker_project.invoke("local", "reuse")
    assert failed.returncode == 3
    assert "nothing was pushed or recorded" in failed.stderr.splitlines()[-1]
    assert failed.stdout == ""
    assert sandbox.seen() == []
    assert not (docker_project.folder / ".deploy").exists()


def test_an_engine_that_is_down_is_one_line(docker_project: Project, sandbox: SandboxProcess) -> None:
    failed = docker_project.invoke("local", DOCKER_HOST="unix:///nowhere.sock")
    assert failed.returncode == 3
    assert failed.stderr == (
        "the container engine 'docker' does not answer; start it, or name another in DEPLOY_DOCKER; nothing was built\n"
    )


def test_the_sandbox_builds_with_docker(tmp_path: Path, docker_project: Project) -> None:
    docker_environment = {key: docker_project.environment[key] for key in ("DOCKER_HOST", "DOCKER_CONFIG")}
    sandbox = SandboxProcess(tmp_path / "docker-builder", "--builder", "docker", **docker_environment)
    try:
        docker_project.environment.update(sandbox.settings)
        built = docker_project.invoke("build")
        assert built.returncode == 0, built.stderr
        docker(docker_project, "pull", f"{sandbox.registry}/shop@{built.stdout.strip()}")
    finally:
        sandbox.stop()
