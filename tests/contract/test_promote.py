"""`promote` deploys to one environment what runs in another: two clusters, each with its own API and key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import Clusters, deployed, two_clusters
from tests.faults.api import faulty_api, http
from tests.project import Project, ok
from tests.sandboxes import SandboxProcess

TO_PRODUCTION = ("promote", "--from", "staging", "--environment", "production")
BUILDS = "POST /build 202"


@pytest.fixture(scope="session")
def _separate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clusters]:
    yield from two_clusters(tmp_path_factory.mktemp("separate"), is_registry_shared=False)


@pytest.fixture
def separate(_separate: Clusters, project: Project) -> Clusters:
    """Two clusters, each with its own registry."""
    return _separate.joined(project)


def test_what_runs_in_staging_is_deployed_with_the_settings_of_production(project: Project, clusters: Clusters) -> None:
    build_id = deployed(project, "staging", "one")
    project.write("page.html", "HEAD, which nobody has tried")
    project.commit("two")
    clusters.forget()
    done = ok(project.invoke(*TO_PRODUCTION))
    assert done.stdout == f"{clusters.production.registry}/shop@{build_id}\n"
    running = clusters.production.app("apps", "shop")
    assert running["image"].endswith(f"@{build_id}")
    assert (running["replicas"], running["deployConfig"]["domain"]) == (3, "shop.example.com")
    assert running["commit"] == clusters.staging.app("apps", "shop")["commit"]
    assert clusters.staging.seen("POST") == []
    assert clusters.production.seen("POST") == ["POST /build 200"]
    host = clusters.production.url.removeprefix("http://")
    assert f"promote shop from staging ({clusters.staging.url[7:]}) to production ({host})" in done.stderr
    assert f"deployed shop to apps (business nodes) in production ({host}), without a build" in done.stderr
    entry = json.loads(project.invoke("history", "--json", "--limit", "1").stdout)
    assert (entry["what"], entry["environment"], entry["promotedFrom"]) == ("promote", "production", "staging")
    assert entry["buildId"] == build_id
    status = ok(project.invoke("status", "--environment", "production"))
    assert f"promote from staging {build_id[:19]}…" in status.stdout


def test_another_machine_promotes_what_it_has_never_seen(project: Project, clusters: Clusters) -> None:
    build_id = deployed(project, "staging", "one")
    clone = project.clone("elsewhere")
    assert ok(clone.invoke(*TO_PRODUCTION)).stdout.endswith(f"@{build_id}\n")
    assert clusters.production.app("apps", "shop")["commit"] == project.head


def test_the_commits_between_are_listed(project: Project, clusters: Clusters) -> None:
    deployed(project, "production", "first")
    assert "promote" not in ok(project.invoke("history")).stdout
    deployed(project, "staging", "Fix the cart", "Show the price")
    done = ok(project.invoke("--dry", *TO_PRODUCTION))
    shas = project.git("log", "--format=%h", "--abbrev=7", "-2").split()
    assert f"  production gets 2 commits:\n    {shas[0]} Show the price\n    {shas[1]} Fix the cart\n" in done.stderr
    assert clusters.production.app("apps", "shop")["revision"] == 1
    again = ok(project.invoke(*TO_PRODUCTION)), ok(project.invoke(*TO_PRODUCTION))
    assert "production gets 2 commits" in again[0].stderr
    assert "  the same image runs in production already\n" in again[1].stderr


def test_of_many_commits_the_newest_are_listed(project: Project, clusters: Clusters) -> None:
    deployed(project, "production", "first")
    deployed(project, "staging", *(f"change {number}" for number in range(23)))
    done = ok(project.invoke("--dry", *TO_PRODUCTION))
    lines = done.stderr.splitlines()
    start = lines.index("  production gets 23 commits:")
    assert lines[start + 1].endswith(" change 22")
    assert lines[start + 20].endswith(" change 3")
    assert lines[start + 21] == "    and 3 more"


def test_commits_that_production_would_lose_are_listed(project: Project, clusters: Clusters) -> None:
    deployed(project, "staging", "one")
    deployed(project, "production", "Hot fix", "And its test")
    done = ok(project.invoke("--dry", *TO_PRODUCTION))
    assert "production gets" not in done.stderr
    shas = project.git("log", "--format=%h", "--abbrev=7", "-2").split()
    listed = f"    {shas[0]} And its test\n    {shas[1]} Hot fix\n"
    assert f"  production has 2 commits that staging lacks, and loses:\n{listed}" in done.stderr


def test_commits_that_are_not_here_are_said_to_be_unknown(project: Project, clusters: Clusters) -> None:
    deployed(project, "production", "first")
    old = project.clone("old")
    head = deployed(project, "staging", "second") and project.head
    done = ok(old.invoke(*TO_PRODUCTION))
    says = f"the commits between them are not known here: that of staging ({head[:7]}) is not in this checkout"
    assert says in done.stderr


def test_what_the_registry_of_production_lacks_is_refused_and_can_be_copied(
    project: Project, separate: Clusters
) -> None:
    build_id = deployed(project, "staging", "one")
    separate.forget()
    refused = project.invoke(*TO_PRODUCTION)
    assert refused.returncode == 8, refused.stderr
    there, here = separate.staging.registry, separate.production.registry
    copy = (
        f"docker buildx imagetools create --prefer-index=false --tag {here}/shop:{project.head} {there}/shop@{build_id}"
    )
    assert f"Copy it, and promote again: {copy}" in refused.stderr
    assert "Nothing was built or deployed" in refused.stderr
    assert ". Or build it in production: invoke build --environment production reuse" in refused.stderr
    assert separate.production.seen(BUILDS) == []
    assert separate.production.call("GET", "/api/apps/apps/shop").status_code == 404


def test_a_digest_that_is_gone_from_a_shared_registry_can_only_be_built_again(
    project: Project, clusters: Clusters
) -> None:
    build_id = deployed(project, "staging", "one")
    head = project.head
    project.commit("two")
    assert clusters.staging.call("DELETE", f"/v2/shop/manifests/{build_id}").status_code < 400
    refused = project.invoke(*TO_PRODUCTION)
    assert refused.returncode == 8, refused.stderr
    assert "imagetools" not in refused.stderr
    assert f"Build it in production: invoke build --environment production --git-ref {head} reuse" in refused.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("promote -E production", "the environment to take the image from is missing"),
        (
            "promote --from production -E production",
            "promote needs two environments, but both are production. Nothing was sent. Use --environment NAME "
            "(available: staging)",
        ),
        (
            "promote --from staging",
            "No environment is selected: use --environment NAME (available: staging, production)",
        ),
        (
            "promote --from stagin -E production",
            "is not an environment here (did you mean staging?). Nothing was sent. Use --from NAME (available: staging",
        ),
        ("promote --from staging -E production --env =x", "--env '=' has no name"),
    ],
)
def test_what_cannot_be_promoted_is_refused_before_anything_is_asked(
    project: Project, clusters: Clusters, words: str, says: str
) -> None:
    refused = project.invoke(*words.split())
    assert refused.returncode == 2, refused.stderr
    assert says in refused.stderr
    assert clusters.staging.seen() == clusters.production.seen() == []


def test_two_names_of_one_place_are_refused(project: Project, clusters: Clusters) -> None:
    project.write("invoke.yaml", (project.folder / "invoke.yaml").read_text() + "    again: {api_url: STAGING}\n")
    project.write("invoke.yaml", (project.folder / "invoke.yaml").read_text().replace("STAGING", clusters.staging.url))
    refused = project.invoke("promote", "--from", "staging", "-E", "again", DEPLOY_API_KEY_AGAIN=clusters.staging.key)
    assert refused.returncode == 2
    assert "are the same place: shop in apps" in refused.stderr


def test_another_image_is_promoted_only_if_it_is_named(project: Project, clusters: Clusters) -> None:
    text = (project.folder / "invoke.yaml").read_text()
    project.write("invoke.yaml", text.replace("replicas: 1", "replicas: 1, image_name: trial"))
    build_id = deployed(project, "staging", "one")
    clone = project.clone("without a record")
    refused = clone.invoke(*TO_PRODUCTION)
    assert refused.returncode == 2
    assert "runs image trial, but shop in production" in refused.stderr
    step = "invoke promote --environment production --from staging --image-name trial"
    assert f"Deploy that image: {step}" in refused.stderr
    done = ok(clone.invoke(*step.split()[1:]))
    assert done.stdout.endswith(f"/trial@{build_id}\n")


def test_what_production_does_not_say_is_said_to_be_unknown(
    project: Project, clusters: Clusters, tmp_path: Path
) -> None:
    minimal = SandboxProcess(tmp_path / "minimal", "--minimal", "--registry", clusters.staging.registry)
    Clusters(clusters.staging, minimal).joined(project)
    build_id = deployed(project, "staging", "one")
    done = ok(project.invoke(*TO_PRODUCTION))
    assert "  the commits between them are not known: the API does not say what runs\n" in done.stderr
    assert done.stdout.endswith(f"/shop@{build_id}\n")
    minimal.stop()


def test_nothing_runs_in_staging(project: Project, clusters: Clusters) -> None:
    refused = project.invoke(*TO_PRODUCTION)
    assert refused.returncode == 2
    assert f"shop in apps in staging ({clusters.staging.url[7:]}) is not deployed" in refused.stderr
    assert clusters.production.seen("POST") == []


def test_without_a_state_of_apps_what_was_deployed_from_here_last_is_promoted(
    project: Project, clusters: Clusters, _minimal_sandbox: SandboxProcess
) -> None:
    minimal = Clusters(_minimal_sandbox, clusters.production).joined(project)
    build_id = deployed(project, "staging", "one")
    image = f"{minimal.production.registry}/shop@{build_id}"
    refused = project.invoke(*TO_PRODUCTION)
    assert refused.returncode == 8, "the registries are different ones"
    last = f"deployed there from here last: {build_id[:19]}…, commit {project.head[:7]}"
    assert last in refused.stderr
    assert image not in refused.stdout
    elsewhere = project.clone("elsewhere").invoke(*TO_PRODUCTION)
    assert elsewhere.returncode == 2
    assert "is not known: the API does not say what runs, and nothing was deployed there from here" in elsewhere.stderr


def test_a_deploy_to_staging_that_may_not_have_happened_is_not_promoted(
    project: Project, clusters: Clusters, _minimal_sandbox: SandboxProcess
) -> None:
    Clusters(_minimal_sandbox, clusters.production).joined(project)
    deployed(project, "staging", "two")
    history = project.folder / ".deploy" / "history.jsonl"
    history.write_text(history.read_text().replace('"deployed"', '"unknown"'))
    unknown = project.invoke(*TO_PRODUCTION)
    assert unknown.returncode == 2
    assert "and whether the last deploy from here happened is not known" in unknown.stderr
    assert clusters.production.seen("POST") == []


def test_without_the_api_of_staging_the_same_is_suggested_again(project: Project, clusters: Clusters) -> None:
    text = (project.folder / "invoke.yaml").read_text()
    project.write("invoke.yaml", text.replace(clusters.staging.url, "http://127.0.0.1:9"))
    done = project.invoke(*TO_PRODUCTION)
    assert done.returncode == 5
    assert "Try again: invoke promote --environment production --from staging" in done.stderr


def test_what_cannot_be_asked_in_staging_is_not_promoted(project: Project, clusters: Clusters) -> None:
    deployed(project, "staging", "one")
    with faulty_api() as api:
        api.always("app", http(500))
        text = (project.folder / "invoke.yaml").read_text()
        project.write("invoke.yaml", text.replace(clusters.staging.url, api.url))
        refused = project.invoke(*TO_PRODUCTION)
    assert refused.returncode == 5, refused.stderr
    assert "is not known: could not ask what runs" in refused.stderr
    assert clusters.production.seen("POST") == []


def test_a_rollout_that_failed_in_staging_is_warned_of(project: Project, clusters: Clusters) -> None:
    failing = SandboxProcess(
        project.folder.with_name("failing"), "--fail-rollout", "--registry", clusters.staging.registry
    )
    Clusters(failing, clusters.production).joined(project)
    project.commit("broken")
    project.push()
    ok(project.invoke("deploy", "--environment", "staging", "--no-follow"))
    done = ok(project.invoke(*TO_PRODUCTION))
    assert f"warning: the rollout of shop in apps in staging ({failing.url[7:]}) failed" in done.stderr
    failing.stop()


def test_a_protected_production_must_be_confirmed(project: Project, clusters: Clusters) -> None:
    deployed(project, "staging", "one")
    text = (project.folder / "invoke.yaml").read_text()
    project.write("invoke.yaml", text.replace("replicas: 3", "replicas: 3, protected: true"))
    clusters.forget()
    refused = project.invoke(*TO_PRODUCTION)
    assert refused.returncode == 2
    assert "Confirm it: invoke promote --environment production --from staging --yes" in refused.stderr
    assert clusters.production.seen("POST") == []
    ok(project.invoke(*TO_PRODUCTION, "--yes"))


def test_several_apps_are_promoted(project: Project, clusters: Clusters) -> None:
    clusters.joined(project, apps=("one", "two"))
    project.commit("apps")
    project.push()
    ok(project.invoke("deploy", "--app", "all", "-E", "staging"))
    done = ok(project.invoke(*TO_PRODUCTION, "--app", "all"))
    for app in ("one", "two"):
        image = clusters.staging.app("apps", app)["image"]
        assert clusters.production.app("apps", app)["image"] == image
        assert f"{app} {image}" in done.stdout
