"""A command that a message suggests is about the app and the place of the call that suggests it."""

from __future__ import annotations

from tests.project import Project
from tests.sandboxes import SandboxProcess


def test_advice_after_a_failed_rollback_keeps_the_target(project: Project, sandbox: SandboxProcess) -> None:
    target = ["--app", "worker", "--namespace", "staging"]
    refused = project.invoke("rollback", *target)
    assert refused.returncode == 2
    assert "reuse --build-id sha256:… --app worker --namespace staging" in refused.stderr


def test_advice_after_a_failed_build_builds_the_same_app_again(project: Project, sandbox: SandboxProcess) -> None:
    project.write("Dockerfile", "FROM scratch\nCOPY missing /\n")
    project.commit("broken")
    project.push()
    assert project.invoke("build", "--app", "worker").returncode == 9
    waited = project.invoke("wait", "--app", "worker", "reuse")
    assert waited.returncode == 9, waited.stderr
    assert "Build it again: invoke build --app worker" in waited.stderr
