"""The way back: which digests rollback goes to, and what is said of them."""

from __future__ import annotations

import json

from tests.project import Project
from tests.sandboxes import SandboxProcess


def built(project: Project, text: str) -> str:
    project.write("page.html", text)
    project.commit(text)
    project.push()
    done = project.invoke("build")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_impatient_deploy_does_not_cost_a_digest(project: Project, any_sandbox: SandboxProcess) -> None:
    first, second, third = (built(project, text) for text in ("one", "two", "three"))
    for build_id in (first, second):
        assert project.invoke("reuse", "--build-id", build_id).returncode == 0
    impatient = project.invoke("reuse", "--build-id", first, "--replicas", "60", "--rollout-timeout", "0.01")
    assert impatient.returncode in (12, 0), impatient.stderr
    assert project.invoke("reuse", "--build-id", third).returncode == 0
    back = project.invoke("--dry", "rollback")
    assert f"going back to {first[:19]}…" in back.stderr
    assert "replicas 60" in back.stderr
    back = project.invoke("rollback", "--back", "3", "--no-follow")
    assert back.returncode == 0, back.stderr
    assert back.stdout.endswith(f"@{first}\n")


def test_uncommitted_changes_are_said_wherever_a_commit_is(project: Project, sandbox: SandboxProcess) -> None:
    first, second = (built(project, text) for text in ("one", "two"))
    commit = 40 * "c"
    for build_id in (first, second):
        record = {"app": "shop", "namespace": "apps", "imageName": "shop", "imageTag": "v1", "gitRef": commit}
        project.write_record({**record, "buildId": build_id, "dirty": True})
        done = project.invoke("reuse")
        assert done.returncode == 0, done.stderr
    says = "uncommitted changes on ccccccc"
    assert f"undo: invoke rollback → {first[7:19]} ({says})" in done.stderr
    status = project.invoke("status").stdout
    assert f"{second[:19]}…, built from {says}" in status
    assert status.count(f"…, {says}, by ") == 2
    back = project.invoke("rollback")
    assert f"going back to {first[:19]}…, {says}, deployed " in back.stderr
    assert f"built from {says}" in back.stderr


def test_a_branch_is_named_whole_where_it_is_what_was_built(project: Project, sandbox: SandboxProcess) -> None:
    digests = [built(project, text) for text in ("one", "two")]
    for build_id in digests:
        target = {"app": "shop", "namespace": "apps", "imageName": "shop", "gitRef": "feature/checkout"}
        project.write(".deploy/build-id.json", json.dumps({**target, "buildId": build_id}))
        done = project.invoke("reuse")
    assert f"→ {digests[0][7:19]} (feature/checkout)" in done.stderr
