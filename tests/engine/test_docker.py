"""A real docker and the sandbox's own registry: push, pull by digest, and the tasks in between."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.conftest import Engine
from tests.project import Project
from tests.sandboxes import SandboxProcess

FILES = {"Dockerfile": "FROM scratch\nCOPY page.html /www/page.html\n", "page.html": "one\n"}


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    sandbox = SandboxProcess(tmp_path / "sandbox")
    yield sandbox
    sandbox.stop()


@pytest.fixture
def shop(tmp_path: Path, any_docker: Engine, sandbox: SandboxProcess) -> Iterator[Project]:
    """A pushed repository set up for docker and the sandbox; the images that it makes are removed at the end."""
    project = Project.make(tmp_path / "shop", FILES)
    project.environment.update(any_docker.environment, **sandbox.settings, DEPLOY_PORT="3000")
    yield project
    made = any_docker.run("image", "ls", "--quiet", "--no-trunc", f"{sandbox.registry}/*")
    if made:
        any_docker.run("image", "rm", "--force", *made.split())


def test_docker_pushes_to_the_sandboxes_registry_and_pulls_by_digest(
    shop: Project, any_docker: Engine, sandbox: SandboxProcess
) -> None:
    reference = f"{sandbox.registry}/team/plain"
    any_docker.run("build", "--tag", f"{reference}:v1", str(shop.folder))
    pushed = any_docker.run("push", f"{reference}:v1")
    digest = sandbox.call("GET", "/registry/team/plain/digest?tag=v1").json()["buildId"]
    assert f"v1: digest: {digest} size: " in pushed
    any_docker.run("image", "rm", f"{reference}:v1")
    any_docker.run("pull", f"{reference}@{digest}")
    assert digest in any_docker.run("image", "inspect", "--format", "{{.RepoDigests}}", f"{reference}@{digest}")


def test_local_then_reuse_deploys_the_image_of_that_push(
    shop: Project, any_docker: Engine, sandbox: SandboxProcess
) -> None:
    shop.write("page.html", "not pushed\n")
    done = shop.invoke("local", "reuse")
    assert done.returncode == 0, done.stderr
    digest, reference = done.stdout.split()
    assert reference == f"{sandbox.registry}/shop@{digest}"
    assert shop.record["buildId"] == digest
    assert re.search(rf"-{shop.head[:12]}-dirty-[0-9a-f]{{6}}$", shop.record["imageTag"])
    assert sandbox.app("apps", "shop")["image"] == reference
    container = any_docker.run("create", reference, "x")
    any_docker.run("cp", f"{container}:/www/page.html", str(shop.folder / "back.html"))
    any_docker.run("rm", container)
    assert (shop.folder / "back.html").read_text() == "not pushed\n"


def test_local_and_reuse_of_two_apps_in_one_chain(shop: Project, sandbox: SandboxProcess) -> None:
    done = shop.invoke("local", "--app", "a", "reuse", "local", "--app", "b", "reuse")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert [sandbox.app("apps", app)["image"] for app in ("a", "b")] == [lines[1], lines[3]]
    assert shop.invoke("local-deploy", "--app", "c", "--image-tag", "v1").returncode == 0
    assert sandbox.app("apps", "c")["image"].startswith(f"{sandbox.registry}/c@sha256:")


def test_own_tasks_that_call_local_and_reuse(shop: Project) -> None:
    shop.write(
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
    done = shop.invoke("ship")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "True"


def test_an_engine_that_is_down_is_one_line(shop: Project) -> None:
    failed = shop.invoke("local", DOCKER_HOST="unix:///nowhere.sock")
    assert failed.returncode == 3
    assert re.fullmatch(
        r"the container engine 'docker' does not answer \(.*Is the docker daemon running\?\)\. Nothing was "
        r"built\. Start it, or set DEPLOY_DOCKER to a docker or podman that runs\n",
        failed.stderr,
    )


@pytest.mark.parametrize("program", ["docker", "/usr/bin/docker"])
def test_a_builder_is_refused_where_docker_would_not_use_it(shop: Project, any_docker: Engine, program: str) -> None:
    failed = shop.invoke("local", DEPLOY_BUILDER="far", DEPLOY_DOCKER=program)
    assert failed.returncode == 3
    assert "has no buildx plugin. Nothing was built. Unset DEPLOY_BUILDER" in failed.stderr


def test_an_engine_that_is_not_there_is_one_line(shop: Project) -> None:
    failed = shop.invoke("local", DEPLOY_DOCKER="no-such-engine")
    assert failed.returncode == 3
    assert failed.stderr == (
        "the container engine 'no-such-engine' is not installed. Nothing was built. Install it, or name another "
        "program, without arguments, in DEPLOY_DOCKER\n"
    )


def test_the_sandbox_builds_with_docker(tmp_path: Path, shop: Project, any_docker: Engine) -> None:
    sandbox = SandboxProcess(tmp_path / "docker-builder", "--builder", "docker", **any_docker.environment)
    try:
        shop.environment.update(sandbox.settings)
        built = shop.invoke("build")
        assert built.returncode == 0, built.stderr
        any_docker.run("pull", f"{sandbox.registry}/shop@{built.stdout.strip()}")
    finally:
        sandbox.stop()
