"""A command that a message suggests is about the app and the place of the call that suggests it."""

from __future__ import annotations

from tests.project import Project
from tests.sandboxes import SandboxProcess


def test_advice_after_a_failed_rollback_keeps_the_target(project: Project, sandbox: SandboxProcess) -> None:
    target = ["--app", "worker", "--namespace", "staging"]
    refused = project.invoke("rollback", *target)
    assert refused.returncode == 2
    assert "invoke reuse --app worker --namespace staging --build-id DIGEST\n" in refused.stderr


def test_advice_after_a_failed_build_builds_the_same_app_again(project: Project, sandbox: SandboxProcess) -> None:
    project.write("Dockerfile", "FROM scratch\nCOPY missing /\n")
    project.commit("broken")
    project.push()
    assert project.invoke("build", "--app", "worker").returncode == 9
    waited = project.invoke("wait", "--app", "worker", "reuse")
    assert waited.returncode == 9, waited.stderr
    assert "Build it again: invoke build --app worker" in waited.stderr


def test_a_build_in_flight_of_another_app_says_nothing_about_a_deploy(
    project: Project, sandbox: SandboxProcess
) -> None:
    assert project.invoke("build", "--app", "one", "--no-wait").returncode == 0
    project.write_record({"app": "shop", "namespace": "apps", "imageName": "shop", "buildId": f"sha256:{64 * 'a'}"})
    done = project.invoke("reuse", "--app", "shop")
    assert "not picked up" not in done.stderr
    done = project.invoke("reuse", "--app", "one", "--build-id", f"sha256:{64 * 'b'}")
    assert "for that one: invoke wait --app one, then reuse" in done.stderr


def test_the_build_here_in_place_of_one_in_the_cluster_is_of_the_same_files(
    project: Project, sandbox: SandboxProcess
) -> None:
    project.write("prod.Dockerfile", "FROM scratch\n")
    project.commit("not pushed")
    flags = "--app worker --image-tag v1 --dockerfile prod.Dockerfile --build-context ."
    refused = project.invoke("build", *flags.split(), "--no-cache", "reuse")
    assert refused.returncode == 2, refused.stderr
    assert f"build here: invoke local {flags} reuse\n" in refused.stderr
