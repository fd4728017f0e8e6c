"""`status` shows all environments, in a line each, or one of them in full."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.clusters import Clusters, deployed
from tests.faults.api import faulty_api, http
from tests.project import Project, ok
from tests.sandboxes import SandboxProcess


def rows(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """The cells of the table, and each line below as one cell."""
    return [re.split(r"  +", line) for line in done.stdout.splitlines()]


def test_all_environments_are_shown_with_the_commits_between(project: Project, clusters: Clusters) -> None:
    old = deployed(project, "production", "one")
    first = project.head
    new = deployed(project, "staging", "two", "three", "four")
    clusters.forget()
    shown = ok(project.invoke("status"))
    staging, production = (cluster.app("apps", "shop") for cluster in (clusters.staging, clusters.production))
    assert rows(shown) == [
        ["ENVIRONMENT", "HOST", "DIGEST", "COMMIT", "READY", "BY", "SINCE"],
        [
            *("staging", clusters.staging.url[7:], new[7:19], project.head[:7], "1/1"),
            *(staging["deployedBy"], staging["deployedAt"]),
        ],
        [
            *("production", clusters.production.url[7:], old[7:19], first[:7], "3/3"),
            *(production["deployedBy"], production["deployedAt"]),
        ],
        ["staging is 3 commits ahead of production"],
    ]
    for cluster in (clusters.staging, clusters.production):
        assert cluster.seen()[0] == "GET /api/apps/apps/shop 200"
        assert cluster.seen("POST") == []


def test_an_environment_that_is_ahead_in_the_wrong_direction_is_seen(project: Project, clusters: Clusters) -> None:
    deployed(project, "staging", "one")
    deployed(project, "production", "hot fix")
    assert ok(project.invoke("status")).stdout.endswith("\nstaging is 1 commit behind production\n")
    project.git("reset", "--quiet", "--hard", "HEAD~1")
    project.write("page.html", "another way")
    project.commit("another way")
    project.git("push", "--quiet", "--force", "origin", "HEAD:another")
    ok(project.invoke("deploy", "-E", "staging"))
    shown = ok(project.invoke("status")).stdout
    assert shown.endswith("\nstaging is 1 commit ahead of production and 1 commit behind production\n")


def test_the_same_image_and_an_unknown_commit_are_said(project: Project, clusters: Clusters) -> None:
    deployed(project, "staging", "one")
    old = project.clone("old")
    ok(project.invoke("promote", "--from", "staging", "-E", "production"))
    assert ok(old.invoke("status")).stdout.endswith("\nstaging and production run the same image\n")
    deployed(project, "staging", "two")
    says = "\nhow many commits lie between staging and production is not known here\n"
    assert ok(old.invoke("status")).stdout.endswith(says)


def test_nothing_runs_and_nobody_says(project: Project, clusters: Clusters, _minimal_sandbox: SandboxProcess) -> None:
    Clusters(clusters.staging, _minimal_sandbox).joined(project)
    shown = rows(ok(project.invoke("status")))
    assert shown[1] == ["staging", clusters.staging.url[7:], "nothing", "-", "-", "-", "-"]
    assert shown[2] == ["production", _minimal_sandbox.url[7:], "not known", "-", "-", "-", "-"]
    assert len(shown) == 3


def test_a_commit_that_is_not_known_is_a_dash(project: Project) -> None:
    digest = f"sha256:{64 * 'a'}"
    with faulty_api() as api:
        state = {"image": f"registry.example.com/shop@{digest}", "replicas": 1, "readyReplicas": 1}
        api.always("app", http(200, {"app": state}))
        project.write("invoke.yaml", f"deploy: {{app: shop, environments: {{staging: {{api_url: {api.url}}}}}}}\n")
        shown = ok(project.invoke("status", DEPLOY_API_KEY_STAGING="k3y"))
    assert rows(shown)[1][2:] == [digest[7:19], "-", "1/1", "-", "-"]


def test_with_one_environment_down_the_others_are_shown(project: Project, clusters: Clusters) -> None:
    down = SandboxProcess(project.folder.with_name("down"))
    Clusters(clusters.staging, down).joined(project)
    down.stop()
    build_id = deployed(project, "staging", "one")
    shown = project.invoke("status")
    assert shown.returncode == 5, shown.stderr
    assert rows(shown)[1][:5] == ["staging", clusters.staging.url[7:], build_id[7:19], project.head[:7], "1/1"]
    assert rows(shown)[2] == ["production", down.url[7:], "not known, see below", "-", "-", "-", "-"]
    assert shown.stderr.startswith("the status of production is not known: could not look at the build or the app: ")
    details = project.invoke("status", "--json")
    assert details.returncode == 5
    found = json.loads(details.stdout)
    assert found["staging"]["cluster"]["image"].endswith(build_id)
    assert found["production"]["cluster"] is None
    assert "could not look" in found["production"]["trouble"]


def test_an_environment_without_a_key_says_so_and_the_others_are_shown(project: Project, clusters: Clusters) -> None:
    del project.environment["DEPLOY_API_KEY_PRODUCTION"]
    shown = project.invoke("status")
    assert shown.returncode == 2
    assert rows(shown)[2] == ["production", "-", "not known, see below", "-", "-", "-", "-"]
    assert shown.stderr.startswith("the status of production is not known: not set in production: DEPLOY_API_KEY")
    del project.environment["DEPLOY_API_KEY_STAGING"]
    neither = project.invoke("status", DEPLOY_API_KEY_PRODUCTION="wrong")
    assert neither.returncode == 4
    assert "the status of 2 of 2 environments is not known:\n" in neither.stderr
    assert "  staging: not set in staging: DEPLOY_API_KEY" in neither.stderr
    assert "  production: could not look at the build or the app: " in neither.stderr
    assert "wrong" not in neither.stderr


def test_json_has_an_object_by_environment(project: Project, clusters: Clusters) -> None:
    deployed(project, "production", "one")
    first = project.head
    deployed(project, "staging", "two")
    found = json.loads(ok(project.invoke("status", "--json")).stdout)
    assert list(found) == ["staging", "production"]
    assert found["production"] == {
        "target": {
            "app": "shop",
            "namespace": "apps",
            "imageName": "shop",
            "appClass": "business",
            "environment": "production",
            "apiUrl": clusters.production.url,
        },
        "cluster": found["production"]["cluster"],
        "commit": first,
        "ahead": None,
        "behind": None,
        "trouble": None,
    }
    assert (found["staging"]["ahead"], found["staging"]["behind"]) == (1, 0)


@pytest.mark.parametrize("how", ["flag", "shell"])
def test_one_environment_is_shown_in_full(project: Project, clusters: Clusters, how: str) -> None:
    deployed(project, "staging", "one")
    clusters.forget()
    flags = ["--environment", "staging"] if how == "flag" else []
    shown = ok(project.invoke("status", *flags, **({} if flags else {"DEPLOY_ENVIRONMENT": "staging"})))
    titles = ["target", "record", "cluster", "rollout", "deployed"]
    assert [row[0] for row in rows(shown)] == titles
    assert rows(shown)[0][1] == f"shop in apps (business nodes) in staging ({clusters.staging.url[7:]})"
    assert clusters.production.seen() == []
    details = json.loads(ok(project.invoke("status", "--json", *flags, DEPLOY_ENVIRONMENT="staging")).stdout)
    assert details["target"]["environment"] == "staging"


def test_the_default_environment_hides_no_other(project: Project, clusters: Clusters) -> None:
    text = (project.folder / "invoke.yaml").read_text()
    project.write("invoke.yaml", text.replace("  port: 3000\n", "  port: 3000\n  environment: staging\n"))
    assert [row[0] for row in rows(ok(project.invoke("status")))] == ["ENVIRONMENT", "staging", "production"]
    # Without a suffix, a key is that of the selected one alone.
    del project.environment["DEPLOY_API_KEY_STAGING"], project.environment["DEPLOY_API_KEY_PRODUCTION"]
    shown = project.invoke("status", DEPLOY_API_KEY=clusters.staging.key)
    assert shown.returncode == 2
    assert rows(shown)[1][2] == "nothing"
    assert "the status of production is not known: not set in production: DEPLOY_API_KEY" in shown.stderr


def test_without_an_environment_one_cluster_is_shown_as_ever(project: Project, clusters: Clusters) -> None:
    shown = ok(project.invoke("status", DEPLOY_ENVIRONMENT="", **clusters.staging.settings))
    assert rows(shown)[0][1] == f"shop in apps (business nodes) at {clusters.staging.url}"
    refused = project.invoke("status", DEPLOY_ENVIRONMENT="")
    assert refused.returncode == 2
    assert "not set: DEPLOY_API_URL, DEPLOY_API_KEY" in refused.stderr


def test_several_apps_are_shown_in_all_environments(project: Project, clusters: Clusters) -> None:
    clusters.joined(project, apps=("one", "two"))
    ok(project.invoke("deploy", "--app", "two", "-E", "staging"))
    shown = ok(project.invoke("status", "--app", "one,two")).stdout
    assert [line.split()[0] for line in shown.splitlines()] == [
        *("one:", "ENVIRONMENT", "staging", "production"),
        *("two:", "ENVIRONMENT", "staging", "production"),
    ]
    found = json.loads(ok(project.invoke("status", "--app", "all", "--json")).stdout)
    assert found["two"]["staging"]["cluster"]["status"] == "ready"
    assert found["one"]["staging"]["cluster"] is None
