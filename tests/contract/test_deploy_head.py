"""`deploy` makes HEAD run: by the image that the registry has, whoever built it, else by a build in the cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.project import Project, ok
from tests.sandboxes import HeldSandbox, SandboxProcess

BUILDS = "POST /build 202"


@pytest.fixture
def project(project: Project, tmp_path: Path) -> Project:
    """With a commit of its own: an earlier test may have built the first one in the same sandbox."""
    project.change(str(tmp_path))
    return project


def test_head_is_built_waited_for_and_deployed(project: Project, any_sandbox: SandboxProcess) -> None:
    done = ok(project.invoke("deploy", "--replicas", "2"))
    build_id, reference = done.stdout.split()
    assert reference == f"{any_sandbox.registry}/shop@{build_id}"
    assert (project.record["buildId"], project.record["gitRef"]) == (build_id, project.head)
    assert len(any_sandbox.seen(BUILDS)) == 1
    assert len(any_sandbox.seen("POST /build 200")) == 1
    any_sandbox.forget()
    assert "without a build" not in done.stderr
    again = ok(project.invoke("deploy"))
    assert "without a build" in again.stderr
    assert again.stdout == done.stdout
    assert f"commit {project.head[:12]} is built already (20" in again.stderr
    assert any_sandbox.seen(BUILDS) == []
    ok(project.invoke("deploy", "--no-cache"))
    assert len(any_sandbox.seen(BUILDS)) == 1


def test_a_fresh_clone_deploys_what_another_machine_built(project: Project, any_sandbox: SandboxProcess) -> None:
    head = project.change("built elsewhere")
    build_id = ok(project.invoke("build")).stdout.strip()
    clone = project.clone("elsewhere")
    any_sandbox.forget()
    done = ok(clone.invoke("deploy"))
    assert done.stdout.endswith(f"@{build_id}\n")
    assert f"commit {head[:12]} is built already (shop has its tag in the registry); nothing was started" in done.stderr
    assert any_sandbox.seen(BUILDS) == []
    assert (clone.record["buildId"], clone.record["gitRef"]) == (build_id, head)
    assert any_sandbox.seen("POST /build 200") != []


def test_build_if_needed_asks_the_registry_too(project: Project, any_sandbox: SandboxProcess) -> None:
    project.change("needed once")
    build_id = ok(project.invoke("build")).stdout.strip()
    clone = project.clone("elsewhere")
    any_sandbox.forget()
    assert ok(clone.invoke("build", "--if-needed")).stdout.strip() == build_id
    assert any_sandbox.seen("POST") == []
    assert clone.record["buildId"] == build_id


@pytest.mark.parametrize("setting", ["dockerfile: page.Dockerfile", "build_context: web"])
def test_another_dockerfile_or_context_counts_only_where_a_history_says_so(
    project: Project, sandbox: SandboxProcess, setting: str
) -> None:
    project.write("page.Dockerfile", "FROM scratch\nCOPY page.html /\n")
    project.write("web/Dockerfile", "FROM scratch\nCOPY page.html /\n")
    project.write("web/page.html", "web")
    project.write("web/.dockerignore", ".env*\n")
    head = project.change(setting)
    other = ok(project.invoke("build")).stdout.strip()
    clone = project.clone("elsewhere")
    clone.write("invoke.yaml", f"deploy: {{{setting}}}\n")
    (clone.folder / ".git/info/exclude").write_text("invoke.yaml\n")
    sandbox.forget()
    built = ok(clone.invoke("deploy"))
    assert len(sandbox.seen(BUILDS)) == 1, "the image of that tag is of the other Dockerfile"
    assert other not in built.stdout
    sandbox.forget()
    assert ok(clone.invoke("deploy")).stdout == built.stdout
    assert sandbox.seen(BUILDS) == [], "this history says what it was built from"
    # The tag is that of the default no more, and the history knows.
    (clone.folder / "invoke.yaml").unlink()
    assert ok(clone.invoke("deploy")).stdout.split()[0] not in built.stdout
    assert len(sandbox.seen(BUILDS)) == 1
    assert clone.record["gitRef"] == head


def test_an_image_of_another_environments_dockerfile_is_not_that_of_the_commit(
    project: Project, sandbox: SandboxProcess
) -> None:
    project.write("Dockerfile.debug", "FROM scratch\nCOPY page.html /\n")
    environments = {"staging": {"dockerfile": "Dockerfile.debug"}, "production": {}}
    project.write("invoke.yaml", json.dumps({"deploy": {"environments": environments}}))
    project.change("debug")
    debug = ok(project.invoke("build", "-E", "staging")).stdout.strip()
    sandbox.forget()
    assert debug not in ok(project.clone("elsewhere").invoke("deploy", "-E", "production")).stdout
    assert len(sandbox.seen(BUILDS)) == 1


def test_what_is_wrong_with_another_environment_does_not_stop_a_deploy(
    project: Project, sandbox: SandboxProcess
) -> None:
    project.write("invoke.yaml", json.dumps({"deploy": {"environments": {"staging": {}, "production": {}}}}))
    project.change("two environments")
    ok(project.invoke("build", "-E", "staging"))
    clone = project.clone("elsewhere")
    clone.write(".env.production", "DEPLOY_API_KEY=one\n").chmod(0o600)
    sandbox.forget()
    ok(clone.invoke("deploy", "-E", "staging", DEPLOY_API_KEY_PRODUCTION="another"))
    assert sandbox.seen(BUILDS) == []
    clone = project.clone("again")
    (clone.folder / ".env.production").mkdir()
    ok(clone.invoke("deploy", "-E", "staging"))
    assert len(sandbox.seen(BUILDS)) == 1, "with which Dockerfile production builds is not known"


@pytest.mark.parametrize("known", [{"gitRef": 40 * "c"}, {"built": "local", "dockerfile": "Dockerfile.debug"}])
def test_a_tag_that_points_to_another_build_is_not_that_of_the_commit(
    project: Project, sandbox: SandboxProcess, known: dict[str, str]
) -> None:
    project.change("of the tag")
    ok(project.invoke("build"))
    history = project.folder / ".deploy" / "history.jsonl"
    history.write_text(json.dumps({**json.loads(history.read_text()), **known}) + "\n")
    sandbox.forget()
    ok(project.invoke("deploy"))
    assert len(sandbox.seen(BUILDS)) == 1


def test_an_image_of_uncommitted_changes_is_not_that_of_the_commit(project: Project, sandbox: SandboxProcess) -> None:
    head = project.change("of the commit")
    build_id = ok(project.invoke("build")).stdout.strip()
    history = project.folder / ".deploy" / "history.jsonl"
    entry = {**json.loads(history.read_text()), "built": "local", "dirty": True}
    history.write_text(json.dumps(entry) + "\n")
    sandbox.forget()
    ok(project.invoke("deploy"))
    assert len(sandbox.seen(BUILDS)) == 1, f"{build_id} is under the tag {head}, and dirty"


def test_uncommitted_changes_are_warned_of(project: Project, sandbox: SandboxProcess) -> None:
    head = project.change("committed")
    project.write("page.html", "not committed")
    built = ok(project.invoke("deploy"))
    assert f"uncommitted changes are not part of this build: the cluster builds commit {head[:12]}" in built.stderr
    again = ok(project.invoke("deploy"))
    assert f"uncommitted changes are not part of this image: it is that of commit {head[:12]}" in again.stderr
    assert again.stdout == built.stdout


def test_an_unpushed_commit_is_refused_and_can_be_built_here(project: Project, sandbox: SandboxProcess) -> None:
    project.write("page.html", "not pushed")
    head = project.commit("not pushed")
    refused = project.invoke("deploy", "--replicas", "2", "--env", "A=1", "--no-logs")
    assert refused.returncode == 2
    assert f"commit {head[:12]} is on no branch of the remote" in refused.stderr
    assert "Or build here: invoke local-deploy --replicas 2 --env 'A=…'" in refused.stderr
    assert sandbox.seen("POST") == []


def test_an_unpushed_commit_whose_image_is_there_is_deployed(project: Project, sandbox: SandboxProcess) -> None:
    head = project.change("pushed, then taken back")
    build_id = ok(project.invoke("build")).stdout.strip()
    project.git("push", "--quiet", "--force", "origin", "HEAD~1:main")
    sandbox.forget()
    assert build_id in ok(project.invoke("deploy")).stdout
    assert sandbox.seen(BUILDS) == []
    assert project.record["gitRef"] == head


def test_the_build_in_flight_is_joined(project: Project, sandbox: SandboxProcess) -> None:
    project.change("in flight")
    job = ok(project.invoke("build", "--no-wait")).stdout.strip()
    done = ok(project.invoke("deploy"))
    where = sandbox.url.removeprefix("http://")
    assert f"{job} already builds commit {project.head[:12]} in {where}; nothing new was started" in done.stderr
    assert len(sandbox.seen(BUILDS)) == 1
    assert project.in_flight is None
    assert done.stdout.split()[1].endswith(f"@{project.record['buildId']}")


def test_an_interrupted_deploy_is_picked_up_by_the_same_command(project: Project) -> None:
    held = HeldSandbox(project.folder.with_name("held"))
    project.environment.update(held.settings, DEPLOY_PORT="3000")
    with project.start("deploy", "--replicas", "2") as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        while " builds " not in line:
            assert line, "it ended"
            line = process.stderr.readline()
        job = line.split()[0]
        process.send_signal(2)
        _, err = process.finish()
    assert process.returncode == 130, err
    assert f"{job} goes on in the cluster. Pick it up: invoke deploy --replicas 2" in err
    held.let_builds_end()
    done = ok(project.invoke("deploy", "--replicas", "2"))
    assert len(held.seen(BUILDS)) == 1
    assert held.app("apps", "shop")["replicas"] == 2
    assert done.stdout.split()[1].endswith(f"@{project.record['buildId']}")
    assert held.stop() == 143


def test_a_build_that_fails_deploys_nothing(project: Project, sandbox: SandboxProcess) -> None:
    project.write("Dockerfile", "FROM scratch\nCOPY nowhere /\n")
    project.change("broken")
    failed = project.invoke("deploy")
    assert failed.returncode == 9, failed.stderr
    assert sandbox.seen("POST /build 200") == []


def test_what_the_deploy_lacks_is_said_before_anything_is_built(project: Project, sandbox: SandboxProcess) -> None:
    del project.environment["DEPLOY_PORT"]
    refused = project.invoke("deploy")
    assert refused.returncode == 2
    assert "not set: --port or DEPLOY_PORT" in refused.stderr
    for flags in (["--check-health"], ["--env", "=x"], ["--env", "A"]):
        assert project.invoke("deploy", "--port", "1", *flags).returncode == 2
    assert sandbox.seen() == []


def test_a_setting_that_names_another_commit_is_refused(project: Project, sandbox: SandboxProcess) -> None:
    first = project.head
    project.change("second")
    for ref in ("main", first):
        refused = project.invoke("deploy", DEPLOY_GIT_REF=ref)
        assert refused.returncode == 2
        assert f"DEPLOY_GIT_REF is '{ref}', and" in refused.stderr
    assert sandbox.seen() == []
    ok(project.invoke("deploy", DEPLOY_GIT_REF=project.head))


def test_a_dry_run_shows_what_would_be_built_or_deployed(project: Project, sandbox: SandboxProcess) -> None:
    project.change("dry")
    before = project.files()
    dry = ok(project.invoke("--dry", "deploy"))
    assert "dry run, not sent: POST" in dry.stderr
    assert f'"imageTag":"{project.head}"' in dry.stderr
    assert f'"buildId":"<digest of shop:{project.head}>"' in dry.stderr
    assert sandbox.seen("POST") == []
    assert project.files() == before
    build_id = ok(project.invoke("build")).stdout.strip()
    sandbox.forget()
    dry = ok(project.invoke("--dry", "deploy"))
    assert "is built already" in dry.stderr
    assert f'"buildId":"{build_id}"' in dry.stderr
    assert dry.stderr.count("dry run, not sent: POST") == 1
    assert sandbox.seen("POST") == []


def test_a_dry_run_needs_no_api(project: Project) -> None:
    project.environment.update(DEPLOY_API_URL="http://127.0.0.1:1", DEPLOY_API_KEY="k3y", DEPLOY_PORT="3000")
    dry = ok(project.invoke("--dry", "deploy"))
    assert "warning: whether the image exists is not known: could not ask for the digest" in dry.stderr
    assert dry.stderr.count("dry run, not sent: POST") == 2
    refused = project.invoke("deploy")
    assert refused.returncode == 5, refused.stderr


def test_what_is_deployed_while_it_builds_is_not_replaced_unseen(project: Project) -> None:
    held = HeldSandbox(project.folder.with_name("held"))
    project.environment.update(held.settings, DEPLOY_PORT="3000")
    with project.start("deploy") as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        while " builds " not in line:
            assert line, "it ended"
            line = process.stderr.readline()
        other = {"app": "shop", "namespace": "apps", "image": "elsewhere.example.com/shop:v1", "port": 3000}
        assert held.call("POST", "/api/deploy", other).status_code == 200
        held.let_builds_end()
        _, err = process.finish()
    assert process.returncode == 13, err
    assert held.app("apps", "shop")["image"] == "elsewhere.example.com/shop:v1"
    assert "invoke deploy" in err, "the image is there now, and the same command deploys it"
    ok(project.invoke("deploy"))
    assert len(held.seen(BUILDS)) == 1
    held.stop()


def test_a_protected_environment_is_confirmed_before_anything_is_built(
    project: Project, sandbox: SandboxProcess
) -> None:
    config = f"deploy: {{environments: {{live: {{api_url: {sandbox.url}, protected: true}}}}}}\n"
    project.write("invoke.yaml", config)
    project.change("protected")
    for name in ("DEPLOY_API_URL", "DEPLOY_REGISTRY"):
        del project.environment[name]
    refused = project.invoke("deploy", "--environment", "live")
    assert refused.returncode == 2
    assert "Confirm it: invoke deploy --environment live --yes" in refused.stderr
    assert sandbox.seen("POST") == []
    ok(project.invoke("deploy", "--environment", "live", "--yes"))
    assert len(sandbox.seen(BUILDS)) == 1


def test_each_cluster_has_its_own_image_of_a_commit(project: Project, sandbox: SandboxProcess) -> None:
    project.write("page.Dockerfile", "FROM scratch\nCOPY page.html /\n")
    project.change("two clusters")
    ok(project.invoke("deploy", "--dockerfile", "page.Dockerfile"))
    other = SandboxProcess(project.folder.with_name("other"))
    # Another file in the image, so another digest of the same commit.
    history = project.folder / ".deploy" / "history.jsonl"
    entries = [json.loads(line) for line in history.read_text().splitlines()]
    newer = {**next(entry for entry in entries if entry["outcome"] == "recorded"), "apiUrl": other.url}
    newer["buildId"] = "sha256:" + 64 * "0"
    history.write_text("".join(f"{json.dumps(entry)}\n" for entry in [*entries, newer]))
    sandbox.forget()
    ok(project.invoke("deploy", "--dockerfile", "page.Dockerfile"))
    assert sandbox.seen(BUILDS) == []
    ok(project.invoke("deploy", "--dockerfile", "page.Dockerfile", **other.settings))
    assert len(other.seen(BUILDS)) == 1
    other.stop()


def test_several_apps_are_built_where_needed_and_deployed(project: Project, sandbox: SandboxProcess) -> None:
    project.write("invoke.yaml", "deploy: {port: 3000, apps: {one: {}, two: {}, three: {dockerfile: x.Dockerfile}}}\n")
    project.write("x.Dockerfile", "FROM scratch\nCOPY page.html /\n")
    project.change("apps")
    ok(project.invoke("build", "--app", "one"))
    clone = project.clone("elsewhere")
    sandbox.forget()
    done = ok(clone.invoke("deploy", "--app", "all"))
    assert len(sandbox.seen(BUILDS)) == 2
    assert [line.split()[0] for line in done.stdout.splitlines()][::2] == ["one", "two", "three"]
    for app in ("one", "two", "three"):
        assert sandbox.app("apps", app)["status"] == "ready"


def test_an_interrupted_deploy_of_several_apps_is_picked_up_by_the_same_command(project: Project) -> None:
    held = HeldSandbox(project.folder.with_name("held"))
    project.environment.update(held.settings)
    project.write("invoke.yaml", "deploy: {port: 3000, apps: {one: {}, two: {}}}\n")
    project.change("apps")
    with project.start("deploy", "--app", "all") as process:
        assert process.stderr is not None
        started = 0
        while started < 2:
            line = process.stderr.readline()
            assert line, "it ended"
            started += " builds " in line
        process.send_signal(2)
        _, err = process.finish()
    assert process.returncode == 130, err
    assert "Continue: invoke deploy --app one,two" in err
    held.let_builds_end()
    ok(project.invoke("deploy", "--app", "one,two"))
    assert len(held.seen(BUILDS)) == 2
    held.stop()


def test_a_chain_builds_once(project: Project, sandbox: SandboxProcess) -> None:
    project.change("chain")
    done = ok(project.invoke("build", "deploy"))
    assert len(sandbox.seen(BUILDS)) == 1
    assert done.stdout.split()[0] == done.stdout.split()[1]
