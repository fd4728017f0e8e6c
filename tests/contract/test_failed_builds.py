"""A build that failed stays failed until a newer one succeeds: of two apps, and of one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.project import Project
from tests.sandboxes import SandboxProcess


@pytest.fixture
def two(tmp_path: Path, _full_sandbox: SandboxProcess) -> Project:
    """Apps `a` and `b`, both deployed; then a commit of which `b` cannot be built."""
    table = "deploy:\n  port: 3000\n  apps:\n    a: {}\n    b: {build_context: b}\n"
    project = Project.make(tmp_path / "two", {"invoke.yaml": table, "b/page.html": "b"})
    project.environment.update(_full_sandbox.settings)
    done = project.invoke("build", "--app", "all", "reuse")
    assert done.returncode == 0, done.stderr
    (project.folder / "b" / "page.html").unlink()  # git keeps no empty folder, and the cluster clones
    project.write("page.html", "new")
    project.commit("without b")
    project.push()
    _full_sandbox.forget()
    return project


def running(sandbox: SandboxProcess, app: str) -> str:
    return str(sandbox.app("apps", app)["image"])


def test_a_failed_build_of_one_app_keeps_all_from_being_deployed_each_time(
    two: Project, _full_sandbox: SandboxProcess
) -> None:
    before = [running(_full_sandbox, app) for app in "ab"]
    assert two.invoke("build", "--app", "all", "--no-wait").returncode == 0
    for _ in range(3):
        waited = two.invoke("wait", "--app", "all", "reuse")
        assert waited.returncode == 9, waited.stderr
        assert "b sha256:" not in waited.stdout, "an old digest is no result of the wait"
        last = waited.stderr.strip().splitlines()[-1]
        assert last == "1 of 2 apps failed: b. Build again: invoke build --app b reuse --app all"
    assert [running(_full_sandbox, app) for app in "ab"] == before
    two.write("b/page.html", "b again")
    two.commit("with b")
    two.push()
    assert two.invoke("build", "--app", "b").returncode == 0
    done = two.invoke("wait", "--app", "all", "reuse")
    assert done.returncode == 0, done.stderr
    assert all(running(_full_sandbox, app) != image for app, image in zip("ab", before, strict=True))


def test_the_json_of_a_wait_says_that_the_last_build_failed(two: Project) -> None:
    two.invoke("build", "--app", "all", "--no-wait")
    two.invoke("wait", "--app", "all")
    told = json.loads(two.invoke("wait", "--app", "all", "--json").stdout)
    assert told["b"]["exitCode"] == 9
    assert "Build it again: invoke build --app b" in told["b"]["error"]
    assert told["a"]["buildId"].startswith("sha256:")


def test_what_is_recorded_after_a_failed_build_ends_the_failure(two: Project) -> None:
    two.invoke("build", "--app", "all", "--no-wait")
    two.invoke("wait", "--app", "all")
    commit = two.git("rev-parse", "HEAD~1")
    assert two.invoke("digest", "--app", "b", "--image-tag", commit).returncode == 0
    assert two.invoke("wait", "--app", "all").returncode == 0


def test_a_wait_after_a_failed_build_says_that_it_failed(project: Project, sandbox: SandboxProcess) -> None:
    assert project.invoke("build", "--dockerfile", "Nope").returncode == 9
    waited = project.invoke("wait", "reuse")
    assert waited.returncode == 9
    assert waited.stderr.startswith("the last build of shop failed (build-shop-")
    assert waited.stderr.endswith("Nothing was recorded. Build it again: invoke build\n")
