"""The cluster builds the folder and the commit that a person means."""

from __future__ import annotations

import pytest

from tests.project import TASKS, Project, dry_request
from tests.sandboxes import SandboxProcess


@pytest.mark.parametrize("ref", [[], ["--git-ref", "main"]])
@pytest.mark.parametrize("suffix", ["", "/"])
def test_a_project_in_a_folder_is_built_from_that_folder_also_where_the_remote_is_set_by_hand(
    project: Project, sandbox: SandboxProcess, ref: list[str], suffix: str
) -> None:
    project.write("api/tasks.py", TASKS)
    project.write("api/Dockerfile", "FROM scratch\n")
    project.commit("api")
    project.push()
    dry = project.invoke("--dry", "build", *ref, at="api", DEPLOY_REPO_URL=f"{project.origin}{suffix}")
    assert dry.returncode == 0, dry.stderr
    request = dry_request(dry)
    assert (request["dockerfile"], request["buildContext"]) == ("api/Dockerfile", "api")


@pytest.mark.parametrize("ref", ["HEAD", "HEAD~1", "@"])
def test_a_ref_that_means_something_else_in_the_cluster_is_refused(
    project: Project, sandbox: SandboxProcess, ref: str
) -> None:
    project.git("switch", "--quiet", "--create", "feature")
    refused = project.invoke("build", "--git-ref", ref)
    assert refused.returncode == 2, refused.stderr
    assert f"flag --git-ref: in the cluster, '{ref}' is not the commit checked out here. " in refused.stderr
    assert sandbox.seen() == []


def test_the_default_branch_of_another_repository_can_be_built(project: Project, sandbox: SandboxProcess) -> None:
    dry = project.invoke("--dry", "build", "--git-ref", "HEAD", "--repo-url", "https://git.example.com/other/repo")
    assert dry_request(dry)["gitRef"] == "HEAD"
