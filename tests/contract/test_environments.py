"""Environments: real processes against two sandboxes, one for staging and one for production."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.project import Project, ok
from tests.sandboxes import HeldSandbox, SandboxProcess


class Two(NamedTuple):
    """A project with two environments, and the sandbox of each."""

    project: Project
    staging: SandboxProcess
    production: SandboxProcess

    def configure(self, **more: object) -> None:
        """Writes the configuration with both environments, and `more` under `deploy`."""
        environments = {
            "staging": {"api_url": self.staging.url, "registry": self.staging.registry, "replicas": 1},
            "production": {"api_url": self.production.url, "registry": self.production.registry, "replicas": 2},
        }
        self.project.write("invoke.yaml", json.dumps({"deploy": {"port": 3000, "environments": environments, **more}}))
        self.project.commit("configure")
        self.project.push()

    @property
    def keys(self) -> dict[str, str]:
        """The keys of both, as CI holds them."""
        return {"DEPLOY_API_KEY_STAGING": self.staging.key, "DEPLOY_API_KEY_PRODUCTION": self.production.key}

    def forget(self) -> None:
        self.staging.forget()
        self.production.forget()

    def untouched(self) -> bool:
        return self.staging.seen() == self.production.seen() == []


def held_in_staging(two: Two, tmp_path: Path) -> HeldSandbox:
    """Makes staging a cluster whose builds run until the test lets them end."""
    held = HeldSandbox(tmp_path / "held")
    Two(two.project, held, two.production).configure()
    two.project.environment.update(DEPLOY_API_KEY_STAGING=held.key)
    return held


def host(sandbox: SandboxProcess) -> str:
    return str(sandbox.url).removeprefix("http://")


@pytest.fixture(scope="session")
def _another_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    sandbox = SandboxProcess(tmp_path_factory.mktemp("another"))
    yield sandbox
    sandbox.stop()


@pytest.fixture
def two(project: Project, _full_sandbox: SandboxProcess, _another_sandbox: SandboxProcess) -> Two:
    """Both environments, with their keys in the shell. Nothing runs in them, and neither has the image."""
    found = Two(project, _full_sandbox, _another_sandbox)
    for sandbox in (_full_sandbox, _another_sandbox):
        for namespace in ("apps", "non-business-apps", "away"):
            sandbox.call("DELETE", f"/api/apps/{namespace}/shop")
    project.write("page.html", str(project.folder))  # so that its digest is that of no other test
    found.configure()
    project.environment.update(found.keys)
    found.forget()
    return found


# --- the right cluster ----------------------------------------------------------------------------------------------


def test_the_address_of_a_sandbox_that_is_still_exported_does_not_redirect_a_deploy(two: Two) -> None:
    """As a developer has it: with a file for production, and later with environments."""
    project, sandbox, production = two
    file = "".join(f"{key}={value}\n" for key, value in production.settings.items())
    project.write(".env.production", file).chmod(0o600)
    project.write("invoke.yaml", "deploy: {port: 3000}\n")
    project.environment.clear()
    project.environment.update(Project(project.folder).environment, **sandbox.settings)
    by_file = project.invoke("reuse", DEPLOY_ENV_FILE=".env.production")
    two.configure()
    by_flag = project.invoke("reuse", "-E", "production")
    places = (".env.production DEPLOY_API_URL", "configuration deploy.environments.production.api_url")
    for done, place in zip((by_file, by_flag), places, strict=True):
        assert done.returncode == 2
        assert "shell variable DEPLOY_API_URL" in done.stderr
        assert place in done.stderr
        assert "Nothing was sent" in done.stderr
        assert "unset DEPLOY_API_URL" in done.stderr
        assert sandbox.key not in done.stderr + done.stdout
        assert production.key not in done.stderr + done.stdout
    assert two.untouched()


def test_a_key_that_is_still_exported_goes_to_no_other_cluster(two: Two) -> None:
    done = two.project.invoke("build", "-E", "production", DEPLOY_API_KEY=two.staging.key)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "shell variable DEPLOY_API_KEY contradicts the API key of production, shell variable DEPLOY_API_KEY_PRODUCTION."
    )
    assert two.staging.key not in done.stderr
    assert two.untouched()


def test_one_ci_job_holds_the_keys_of_two_clusters(two: Two) -> None:
    project, staging, production = two
    assert project.environment.keys() & {"DEPLOY_API_URL", "DEPLOY_API_KEY"} == set()
    ok(project.invoke("build", "-E", "staging", "reuse"))
    assert (staging.seen("POST /build"), production.seen("POST")) != ([], [])
    assert production.seen() == []
    ok(project.invoke("build", "reuse", DEPLOY_ENVIRONMENT="production"))
    assert staging.app("apps", "shop")["replicas"] == 1
    assert production.app("apps", "shop")["replicas"] == 2
    entries = [json.loads(line) for line in ok(project.invoke("history", "--json")).stdout.splitlines()]
    assert [(entry["environment"], entry["apiUrl"]) for entry in entries] == [
        *[("production", production.url)] * 2,
        *[("staging", staging.url)] * 2,
    ]


def test_the_key_in_env_is_not_used_with_an_environment_and_the_error_says_so(two: Two) -> None:
    two.project.environment.pop("DEPLOY_API_KEY_PRODUCTION")
    two.project.write(".env", f"DEPLOY_API_KEY={two.staging.key}\n").chmod(0o600)
    done = two.project.invoke("reuse", "-E", "production")
    assert done.returncode == 2
    assert "not set in production: DEPLOY_API_KEY_PRODUCTION" in done.stderr
    assert (
        ".env has DEPLOY_API_KEY, which is not used with an environment: put it into .env.production, or call it "
        "DEPLOY_API_KEY_PRODUCTION" in done.stderr
    )
    two.project.write(".env.production", f"DEPLOY_API_KEY={two.production.key}\n").chmod(0o600)
    ok(two.project.invoke("build", "-E", "production"))
    assert two.staging.seen() == []


def test_an_unknown_environment_lists_those_that_exist_the_nearest_first(two: Two) -> None:
    done = two.project.invoke("reuse", "-E", "prodution")
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "flag --environment: 'prodution' is not an environment here (did you mean production?). Nothing was sent. "
        "Use --environment NAME (available: production, staging)"
    )
    assert two.untouched()


def test_an_empty_variable_of_ci_selects_no_default(two: Two) -> None:
    two.configure(environment="staging")
    two.forget()
    done = two.project.invoke("reuse", "--environment", "")
    assert (done.returncode, two.untouched()) == (2, True)
    assert done.stderr.startswith("flag --environment: the name is empty. Nothing was sent")


def test_an_empty_deploy_environment_selects_none_in_the_commands_to_run_next_too(two: Two) -> None:
    two.configure(environment="staging")
    with_sandbox = {**two.production.settings, "DEPLOY_ENVIRONMENT": ""}
    done = two.project.invoke("reuse", **with_sandbox)
    assert done.returncode == 2
    assert "Build the present commit: DEPLOY_ENVIRONMENT= invoke build" in done.stderr
    ok(two.project.invoke("build", "reuse", **with_sandbox))
    assert two.staging.seen() == []


def test_without_a_selection_what_is_missing_lists_the_environments(two: Two) -> None:
    done = two.project.invoke("build")
    assert done.returncode == 2
    assert "not set: DEPLOY_API_URL, DEPLOY_API_KEY" in done.stderr
    assert "No environment is selected: use --environment NAME (available: staging, production)" in done.stderr


def test_an_environment_of_the_repository_names_no_program(two: Two) -> None:
    project = two.project
    project.write("trap", "#!/bin/sh\ntouch trapped\n").chmod(0o755)
    project.write("invoke.yaml", "deploy: {port: 3000, environments: {evil: {docker: ./trap}}}\n")
    (project.folder / "tasks.py").unlink()
    done = project.run(sys.executable, "-m", "deploy_tasks", "local", "-E", "evil")
    assert done.returncode == 2
    assert f"deploy.environments.evil.docker in {project.folder}/invoke.yaml names a program" in done.stderr
    assert not (project.folder / "trapped").exists()


# --- chains and what is recorded ------------------------------------------------------------------------------------


def test_a_chain_keeps_its_environment_and_a_call_may_name_another(two: Two) -> None:
    project, staging, production = two
    ok(project.invoke("build", "-E", "staging", "reuse"))
    assert (len(staging.seen("POST /build ")), production.seen()) == (2, [])
    ok(project.invoke("build", "-E", "production"))
    two.forget()
    ok(project.invoke("reuse", "-E", "staging", "--namespace", "of-staging", "reuse", "-E", "production"))
    assert staging.app("of-staging", "shop")["replicas"] == 1
    assert production.app("apps", "shop")["replicas"] == 2
    assert production.call("GET", "/api/apps/of-staging/shop").status_code == 404


def test_a_task_before_the_one_that_names_an_environment_is_warned_of(two: Two) -> None:
    two.configure(environment="staging")
    done = ok(two.project.invoke("--dry", "build", "reuse", "-E", "production"))
    assert (
        "warning: only reuse and what follows it run in production; build runs in staging, the default. To run it in "
        "production too, put -E production after build\n" in done.stderr
    )
    for line in ("build -E production reuse", "build reuse -E staging", "build -E staging reuse -E production"):
        assert "warning: only" not in ok(two.project.invoke("--dry", *line.split())).stderr


def test_a_step_in_a_chain_deploys_to_the_environment_that_failed(two: Two) -> None:
    done = two.project.invoke("reuse", "-E", "staging", "--replicas", "3", "reuse", "-E", "production")
    assert done.returncode == 2
    again = "invoke build --environment staging reuse --replicas 3 reuse --environment production"
    assert f"Build the present commit: {again}, or" in done.stderr
    pasted = two.project.invoke(*again.split()[1:])
    assert pasted.returncode == 8, "production has a registry of its own"
    assert two.staging.app("apps", "shop")["replicas"] == 3
    assert [line.split()[1] for line in two.production.seen("POST")] == ["/build"]


@pytest.mark.parametrize("of_shell", [{"DEPLOY_NAMESPACE": "away"}, {"DEPLOY_APP_CLASS": "non-business"}])
def test_undo_in_a_fresh_shell_means_the_place_that_the_shell_gave(two: Two, of_shell: dict[str, str]) -> None:
    namespace = of_shell.get("DEPLOY_NAMESPACE", "non-business-apps")
    done = ok(two.project.invoke("build", "-E", "staging", "reuse", **of_shell))
    two.project.commit("another")
    two.project.push()
    done = ok(two.project.invoke("build", "-E", "staging", "reuse", "--replicas", "2", **of_shell))
    assert f"undo: invoke rollback --environment staging --namespace {namespace} →" in done.stderr
    two.forget()
    ok(two.project.invoke("rollback", "-E", "staging", "--namespace", namespace))
    assert f"/api/apps/{namespace}/shop/rollback" in str(two.staging.seen("POST"))


def test_undo_means_the_place_of_the_record_once_something_else_is_recorded(two: Two) -> None:
    project = two.project
    ok(project.invoke("build", "-E", "staging", "--namespace", "away"))
    done = ok(project.invoke("reuse", "-E", "staging", "--replicas", "2"))
    done = ok(project.invoke("reuse", "-E", "staging"))
    assert "undo: invoke rollback --environment staging --namespace away →" in done.stderr


def test_undo_says_the_host_where_a_fresh_shell_would_mean_another(two: Two) -> None:
    project, sandbox, production = two
    project.write("invoke.yaml", "deploy: {port: 3000}\n")
    project.write(".env", "".join(f"{key}={value}\n" for key, value in production.settings.items())).chmod(0o600)
    ok(project.invoke("build", "reuse", **sandbox.settings))
    done = ok(project.invoke("reuse", "--replicas", "2", **sandbox.settings))
    says = f", in {host(sandbox)}: without DEPLOY_API_URL in the shell, a file names the cluster\n"
    assert done.stderr.splitlines(keepends=True)[-1].endswith(says)
    assert production.seen() == []


def test_after_a_failed_call_the_next_one_is_for_the_same_environment(two: Two) -> None:
    two.configure(environment="production")
    text = """
from deploy_tasks import build, ns, reuse
from deploy_tasks.errors import SettingsError
from invoke import task

@task
def ship(c):
    try:
        build(c, environment="staging")
    except SettingsError:
        reuse(c)

ns.add_task(ship)
"""
    two.project.write("tasks.py", text)
    ok(two.project.invoke("build", "-E", "staging"))
    two.project.commit("not pushed")
    two.forget()
    ok(two.project.invoke("ship"))
    assert two.production.seen() == []
    assert two.staging.app("apps", "shop")["replicas"] == 1


def test_an_empty_variable_of_invoke_selects_nothing(two: Two) -> None:
    two.configure(environment="staging")
    two.project.write(".env", "".join(f"{key}={value}\n" for key, value in two.production.settings.items()))
    ok(two.project.invoke("build", INVOKE_DEPLOY_ENVIRONMENT=""))
    assert two.production.seen() == []
    assert len(two.staging.seen("POST /build ")) == 1


def test_wait_says_where_a_build_is_in_flight(two: Two) -> None:
    ok(two.project.invoke("build", "-E", "staging", "--no-wait"))
    done = two.project.invoke("wait", "-E", "production")
    assert done.returncode == 2
    assert "no build is in flight here, but build-shop-" in done.stderr
    assert " is in staging. Wait for that one: invoke wait --environment staging\n" in done.stderr


def test_the_record_of_one_environment_does_not_lend_its_namespace_to_another(two: Two) -> None:
    project = two.project
    ok(project.invoke("build", "-E", "production"))
    ok(project.invoke("build", "-E", "staging", "--namespace", "of-staging", "--app-class", "non-business"))
    assert project.record["environment"] == "staging"
    done = ok(project.invoke("--dry", "reuse", "-E", "production"))
    assert '"namespace":"apps"' in done.stderr
    assert '"appClass":"business"' in done.stderr
    same = ok(project.invoke("--dry", "reuse", "-E", "staging"))
    assert '"namespace":"of-staging"' in same.stderr


def test_a_build_in_flight_in_one_environment_survives_a_build_in_another(two: Two, tmp_path: Path) -> None:
    project, held = two.project, held_in_staging(two, tmp_path)
    started = ok(project.invoke("build", "-E", "staging", "--no-wait"))
    assert "invoke wait --environment staging" in started.stderr
    ok(project.invoke("build", "-E", "production"))
    nothing = project.invoke("wait", "-E", "production")
    assert "no build is in flight" in nothing.stderr
    held.let_builds_end()
    waited = ok(project.invoke("wait", "-E", "staging"))
    assert waited.stdout.strip() == project.record["buildId"]
    assert project.record["environment"] == "staging"
    held.stop()


@pytest.mark.parametrize("production", ["says what runs", "says nothing"])
def test_rollback_looks_at_the_selected_environment(
    two: Two, _minimal_sandbox: SandboxProcess, production: str
) -> None:
    project = two.project
    if production == "says nothing":
        two = Two(project, two.staging, _minimal_sandbox)
        two.configure()
        project.environment.update(two.keys)
    digests = []
    for text in ("one", "two"):
        project.write("page.html", text)
        project.commit(text)
        project.push()
        for environment in ("staging", "production"):
            ok(project.invoke("build", "-E", environment, "reuse"))
        digests.append(project.record["buildId"])
    project.write("page.html", "three")
    project.commit("three")
    project.push()
    last = ok(project.invoke("build", "-E", "staging", "reuse"))
    assert "invoke rollback --environment staging" in last.stderr
    back = ok(project.invoke("rollback", "-E", "production"))
    assert back.stdout.strip().endswith(f"@{digests[0]}")
    assert two.staging.app("apps", "shop")["image"].endswith(f"@{project.record['buildId']}")


def test_a_recorded_digest_may_be_deployed_to_any_environment(two: Two) -> None:
    project, staging, production = two
    Two(project, staging, staging).configure()
    project.environment.update(DEPLOY_API_KEY_PRODUCTION=staging.key)
    built = ok(project.invoke("build", "-E", "staging")).stdout.strip()
    assert ok(project.invoke("reuse", "-E", "production")).stdout.strip().endswith(f"@{built}")
    assert staging.app("apps", "shop")["replicas"] == 2
    assert production.seen() == []


# --- what is said ---------------------------------------------------------------------------------------------------


def test_the_commands_to_run_next_name_the_environment_however_it_was_selected(two: Two) -> None:
    project = two.project
    by_flag = project.invoke("reuse", "-E", "staging")
    by_variable = project.invoke("reuse", DEPLOY_ENVIRONMENT="staging")
    two.configure(environment="staging")
    by_default = project.invoke("reuse")
    for done in (by_flag, by_variable, by_default):
        assert done.returncode == 2
        assert "Build the present commit: invoke build --environment staging" in done.stderr
    in_a_chain = project.invoke("digest", "-E", "production", "reuse", "--replicas", "2")
    assert in_a_chain.returncode == 8
    assert "invoke build --environment production reuse --replicas 2" in in_a_chain.stderr
    (project.folder / "tasks.py").write_text("from deploy_tasks.tasks import reuse, digest\n")
    another_program = project.invoke("digest")
    assert "deploy-tasks build --environment staging" in another_program.stderr


def test_the_lock_says_for_which_cluster_its_holder_works(two: Two, tmp_path: Path) -> None:
    project, held = two.project, held_in_staging(two, tmp_path)
    with project.start("build", "-E", "staging") as running:
        assert running.stderr is not None
        while "builds" not in running.stderr.readline():
            pass
        refused = project.invoke("build", "-E", "production")
        assert refused.returncode == 11
        assert f": invoke build in staging ({host(held)}), since " in refused.stderr
        assert "Wait for it: invoke build --environment production --lock-timeout 600" in refused.stderr
        held.let_builds_end()
        running.finish()
    assert running.returncode == 0
    held.stop()


def test_the_history_has_a_column_for_environments_and_a_flag_shows_one(two: Two) -> None:
    project, staging, _ = two
    ok(project.invoke("build", "-E", "staging"))
    ok(project.invoke("build", "-E", "production"))
    ok(project.invoke("build", DEPLOY_ENVIRONMENT="", **staging.settings))
    table = ok(project.invoke("history")).stdout.splitlines()
    where = table[0].split().index("CLUSTER")
    assert [line.split()[where] for line in table[1:]] == [host(staging), "production", "staging"]
    one = ok(project.invoke("history", "-E", "production")).stdout.splitlines()
    assert [line.split()[where] for line in one[1:]] == ["production"]


def found(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    entries: list[dict[str, str]] = json.loads(done.stdout)
    return {entry["what"]: entry for entry in entries}


def test_doctor_says_which_environment_it_looks_at(two: Two) -> None:
    production = found(two.project.invoke("doctor", "--json", "-E", "production"))
    assert production["environment"]["seen"] == (
        f"production ({host(two.production)}) (flag --environment; available: staging, production)"
    )
    assert production["DEPLOY_REPLICAS"]["seen"] == "2 (configuration deploy.environments.production.replicas)"
    assert production["API"]["state"] == "ok"
    none = found(two.project.invoke("doctor", "--json", **two.staging.settings))
    assert none["environment"] == {
        "what": "environment",
        "state": "warning",
        "seen": "none is selected (available: staging, production)",
        "mend": "select one with --environment NAME",
    }
    contradiction = found(two.project.invoke("doctor", "--json", "-E", "production", DEPLOY_API_KEY="x"))
    assert contradiction["settings"]["mend"].startswith("Run: unset DEPLOY_API_KEY")


def test_github_is_told_the_environment(two: Two, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    github = {"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(outputs), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    ok(two.project.invoke("build", "-E", "production", **github))
    assert "environment=production\n" in outputs.read_text()


def test_the_secret_of_an_environment_is_in_no_output_and_no_child(two: Two, tmp_path: Path) -> None:
    project = two.project
    engine = tmp_path / "docker"
    engine.write_text("#!/bin/sh\nenv > seen\nexit 1\n")
    engine.chmod(0o755)
    done = project.invoke("local", "-E", "staging", DEPLOY_DOCKER=str(engine))
    assert done.returncode != 0
    seen = (project.folder / "seen").read_text()
    for key in two.keys.values():
        assert key not in seen + done.stdout + done.stderr
    project.write(".env.example", "")
    refused = project.invoke("reuse", "-E", "staging", "--env", f"A={two.production.key}")
    assert two.production.key not in refused.stderr


def test_several_apps_have_environments_of_their_own(two: Two) -> None:
    project, staging, production = two
    own: dict[str, Any] = {"environments": {"production": {"replicas": 4}}}
    two.configure(apps={"web": own, "worker": {"app": "shop-worker"}})
    for environment in ("staging", "production"):
        ok(project.invoke("build", "--app", "all", "-E", environment, "reuse"))
    replicas = [production.app("apps", app)["replicas"] for app in ("web", "shop-worker")]
    assert (replicas, staging.app("apps", "web")["replicas"]) == ([4, 2], 1)
    files = {path.name for path in (project.folder / ".deploy").glob("*.json")}
    assert files == {"build-id.web.json", "build-id.worker.json"}
