"""Several apps at once, as real `invoke` processes against a sandbox: the three of `tests/three_apps`, and twelve."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy_tasks.state import lock
from tests.project import Project, completed, last_line, three_apps
from tests.sandboxes import HeldSandbox, SandboxProcess

INVOKE = [sys.executable, "-m", "invoke"]
NAMES = ["backend", "frontend", "mcp-agent"]
KEY = "a-service-role-key-that-nobody-shall-see"
TWELVE = [f"app-{number:02}" for number in range(12)]


@pytest.fixture(scope="session")
def _slow_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    sandbox = SandboxProcess(tmp_path_factory.mktemp("slow"), "--build-seconds", "3", "--replica-seconds", "0.2")
    yield sandbox
    sandbox.stop()


@pytest.fixture
def shop(tmp_path: Path, _full_sandbox: SandboxProcess) -> Project:
    """The three apps, set up for the sandbox that serves all of the API."""
    project = three_apps(tmp_path / "shop", SUPABASE_SERVICE_ROLE_KEY=KEY)
    project.environment.update(_full_sandbox.settings)
    _full_sandbox.forget()
    return project


@pytest.fixture
def sandbox(_full_sandbox: SandboxProcess) -> SandboxProcess:
    return _full_sandbox


@pytest.fixture
def held(twelve: Project, tmp_path: Path) -> Iterator[HeldSandbox]:
    """A sandbox that builds the twelve apps and holds each build until it is let go."""
    sandbox = HeldSandbox(tmp_path / "held")
    twelve.environment.update(sandbox.settings)
    yield sandbox
    sandbox.let_builds_end()
    sandbox.stop()


@pytest.fixture
def twelve(tmp_path: Path, _slow_sandbox: SandboxProcess) -> Project:
    """Twelve apps of one Dockerfile, whose builds take three seconds."""
    table = "".join(f"    {name}: {{image_name: twelve/{name}}}\n" for name in TWELVE)
    project = Project.make(tmp_path / "twelve", {"invoke.yaml": f"deploy:\n  port: 3000\n  apps:\n{table}"})
    project.environment.update(_slow_sandbox.settings)
    _slow_sandbox.forget()
    return project


def records(project: Project) -> dict[str, Any]:
    paths = sorted((project.folder / ".deploy").glob("build-id.*.json"))
    return {path.name.split(".")[1]: json.loads(path.read_text()) for path in paths if path.name.count(".") == 2}


def repeated(project: Project, line: str) -> subprocess.CompletedProcess[str]:
    """Runs the command that ends the line."""
    return project.invoke(*shlex.split(line[line.index("invoke ") :])[1:])


def test_all_apps_are_built_and_deployed_each_with_its_own_settings(shop: Project, sandbox: SandboxProcess) -> None:
    done = shop.invoke("build", "--app", "all", "reuse")
    assert done.returncode == 0, done.stderr
    assert list(records(shop)) == NAMES
    digests = {name: record["buildId"] for name, record in records(shop).items()}
    built, deployed = done.stdout.splitlines()[:3], done.stdout.splitlines()[3:]
    assert built == [f"{name} {digests[name]}" for name in NAMES]
    assert deployed == [f"{name} {sandbox.registry}/shop-{name}@{digests[name]}" for name in NAMES]
    env = {
        "NODE_ENV": "production",
        "PORT": "3325",
        "SUPABASE_URL": "https://supabase.example.com",
        "SUPABASE_SERVICE_ROLE_KEY": KEY,
    }
    assert sandbox.config("non-business-apps", "shop-backend", env) == {
        "port": 3325,
        "domain": "api.example.com",
        "env": env,
        "appClass": "non-business",
    }
    configs = {name: sandbox.app("non-business-apps", f"shop-{name}")["deployConfig"] for name in NAMES[1:]}
    assert configs == {
        "frontend": {
            "port": 3000,
            "domains": ["*.example.com", "example.com"],
            "healthPath": "/health.json",
            "metrics": {"port": 9090},
            "appClass": "non-business",
        },
        "mcp-agent": {
            "ports": [{"port": 8080, "name": "http"}, {"port": 8081, "name": "sse"}],
            "tls": False,
            "appClass": "non-business",
        },
    }
    assert KEY not in done.stderr + done.stdout
    assert "warning: frontend: the cluster builds without the build args PUBLIC_API_URL, PUBLIC_SUPABASE_URL" in (
        done.stderr
    )


def test_what_goes_over_is_shown_by_dry_and_nothing_is_sent(shop: Project, sandbox: SandboxProcess) -> None:
    done = shop.invoke("--dry", "build", "--app", "all", "reuse")
    assert done.returncode == 0, done.stderr
    assert {line.split()[0] for line in sandbox.seen()} == {"GET"}, "what runs"
    assert not (shop.folder / ".deploy").exists()
    shown = [line for line in done.stderr.splitlines() if "dry run, not sent: POST" in line]
    assert [line.split(" ")[0] for line in shown] == NAMES * 2
    body = json.loads(shown[3][shown[3].index("{") :])
    assert body["deployConfig"]["env"]["SUPABASE_SERVICE_ROLE_KEY"] == "***"
    assert body["deployConfig"]["env"]["NODE_ENV"] == "production"


@pytest.mark.parametrize("task", ["build", "local", "local-deploy"])
def test_all_that_is_missing_is_said_before_anything_is_sent(shop: Project, sandbox: SandboxProcess, task: str) -> None:
    (shop.folder / "frontend" / ".env").unlink()
    (shop.folder / "mcp-agent" / "Dockerfile").unlink()
    (shop.folder / ".env").write_text("SUPABASE_URL=\n")
    config = shop.folder / "invoke.yaml"
    config.write_text(config.read_text().replace("      port: 3000\n", ""))
    refused = shop.invoke(task, "--app", "all")
    assert refused.returncode == 2
    assert sandbox.seen() == []
    assert not (shop.folder / ".deploy").exists()
    first, backend, frontend, agent = refused.stderr.splitlines()
    assert first == "nothing was sent, because some of the apps have errors:"
    assert backend.startswith("  backend: no value for SUPABASE_URL (it is empty), SUPABASE_SERVICE_ROLE_KEY")
    assert "  frontend: not set: " in frontend
    assert f"there is no env_file at {shop.folder}/frontend/.env" in frontend
    assert "deploy.apps.frontend.port in invoke.yaml" in frontend
    assert ("--port or" in frontend) == (task == "local-deploy"), "the others have no such flag"
    assert ("PUBLIC_SUPABASE_URL" in frontend) == (task != "build"), "the API takes no build args"
    assert agent.startswith(f"  mcp-agent: there is no Dockerfile at {shop.folder}/mcp-agent/Dockerfile")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["build"], "no app is selected. Nothing was sent. Use --app NAME, "),
        (["reuse", "--app", "front"], "flag --app: 'front' is not an app here (did you mean frontend?)"),
        (["status", "--app", "backend,shop-frontend"], "flag --app: 'shop-frontend' is called frontend here"),
        (["history", "--app", "front"], "flag --app: 'front' is not an app here (did you mean frontend?)"),
        (["wait", "--app", "all", "--job", "x"], "--job can be used for one app only"),
        (["reuse", "--app", "a,b", "--build-id", "sha256:" + 64 * "0"], "--build-id can be used for one app only"),
    ],
)
def test_a_call_that_does_not_say_which_app_sends_nothing(
    shop: Project, sandbox: SandboxProcess, words: list[str], says: str
) -> None:
    refused = shop.invoke(*words)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(says)
    assert refused.stderr.count("\n") == 1
    assert sandbox.seen() == []


def test_the_environment_can_choose_the_app(shop: Project) -> None:
    (shop.folder / ".env.local").write_text("DEPLOY_APP=backend\n")
    done = shop.invoke("build", "reuse")
    assert done.returncode == 0, done.stderr
    assert list(records(shop)) == ["backend"]
    assert done.stdout.startswith("sha256:"), "one app's result stands alone"
    (shop.folder / ".env.local").write_text("DEPLOY_APP=all\n")
    assert shop.invoke("reuse").returncode == 2, "two of them have no record"
    assert shop.invoke("build").returncode == 0
    assert list(records(shop)) == NAMES


@pytest.mark.parametrize("words", [["build"], ["init"], ["history"], ["doctor"], ["--dry", "reuse", "--app", "all"]])
def test_a_key_that_is_no_setting_ends_every_task_that_reads_them(shop: Project, words: list[str]) -> None:
    config = shop.folder / "invoke.yaml"
    config.write_text(config.read_text().replace("health_path", "healthpath"))
    done = shop.invoke(*words)
    if words == ["init"]:
        return  # which is what writes such a file, and reads none
    says = "'deploy.apps.frontend.healthpath' is not a setting (did you mean deploy.apps.frontend.health_path?)"
    assert says in done.stderr + done.stdout
    assert done.returncode == 2


def test_one_that_fails_does_not_stop_the_others(shop: Project, sandbox: SandboxProcess) -> None:
    config = shop.folder / "invoke.yaml"
    good = config.read_text()
    (shop.folder / "empty").mkdir()  # which git does not keep
    config.write_text(good.replace("env_file: frontend/.env", "env_file: frontend/.env\n      build_context: empty"))
    failed = shop.invoke("build", "--app", "all", "--no-cache", "reuse")
    assert failed.returncode == 9, failed.stderr
    assert list(records(shop)) == ["backend", "mcp-agent"]
    assert [line.split(" ")[0] for line in failed.stdout.splitlines()] == ["backend", "mcp-agent"]
    assert re.search(
        r"^frontend +failed \(9\) +[0-9.]+ s  .*build context 'empty' is not a folder", failed.stderr, re.M
    )
    assert re.search(r"^backend +done +[0-9.]+ s$", failed.stderr, re.M)
    again = "1 of 3 apps failed: frontend. Retry only that app: invoke build --app frontend --no-cache"
    assert last_line(failed) == f"{again} reuse --app all", "no app of the three is deployed yet"
    assert sandbox.seen("GET /api/apps") == [], "the chain ends with a task that failed"
    config.write_text(good)
    assert repeated(shop, last_line(failed)).returncode == 0
    assert list(records(shop)) == NAMES


def test_ctrl_c_lets_go_of_all_and_each_can_be_picked_up(twelve: Project, held: HeldSandbox) -> None:
    process = twelve.start("build", "--app", "all", "--no-logs")
    assert process.stderr is not None
    said = [process.stderr.readline() for _ in TWELVE]
    process.send_signal(signal.SIGINT)
    out, rest = process.finish()
    assert (process.returncode, out) == (130, "")
    *each, last = rest.strip().splitlines()
    resumable = [line for line in each if re.match(r"app-\d\d \| stopped\. build-app-\d\d-\w+ goes on", line)]
    assert len(resumable) == 12, rest
    assert all(re.search(r"\. Pick it up: invoke wait --app app-\d\d$", line) for line in resumable)
    assert last == f"stopped. 0 of 12 are done. Pick up the builds in flight: invoke wait --app {','.join(TWELVE)}"
    assert len(said) == 12
    assert records(twelve) == {}
    held.let_builds_end()
    one = twelve.invoke(*shlex.split(resumable[3].partition("Pick it up: ")[2])[1:])
    assert one.returncode == 0, one.stderr
    assert list(records(twelve)) == ["app-03"]
    rest_of_them = repeated(twelve, last)
    assert (
        f"app-03 | no build is in flight; the recorded digest is {records(twelve)['app-03']['buildId']}"
        in rest_of_them.stderr
    )
    assert rest_of_them.returncode == 0, rest_of_them.stderr
    assert list(records(twelve)) == TWELVE
    assert len(held.seen("POST /build 202")) == 12


def test_a_killed_run_loses_nothing_and_no_build_is_started_twice(twelve: Project, held: HeldSandbox) -> None:
    process = twelve.start("build", "--app", "all")
    held.let_builds_end_once(lambda: len([*(twelve.folder / ".deploy").glob("*.in-flight.json")]) == 12)
    assert process.stderr is not None
    for line in process.stderr:
        if "recorded" in line:
            break
    process.kill()
    process.finish()
    done = twelve.invoke("build", "--app", "all", "--if-needed", "reuse")
    assert done.returncode == 0, done.stderr
    assert list(records(twelve)) == TWELVE
    assert len(held.seen("POST /build 202")) == 12
    for name, record in records(twelve).items():
        assert held.app("apps", name)["image"].endswith(f"/twelve/{name}@{record['buildId']}")


def test_no_line_is_torn_and_every_one_says_whose_it_is(twelve: Project) -> None:
    done = twelve.invoke("build", "--app", "all")
    assert done.returncode == 0, done.stderr
    logs = [line for line in done.stderr.splitlines() if "|" in line]
    for line in logs:
        name, said = line.split(" | ", 1)
        assert name in TWELVE
        assert re.fullmatch(
            r"build-\S+ builds \S+ at \w{12} in \S+|cloning \S+ at \w{40}|builder archive: packs .* left out\)"
            r"|pushed \S+ sha256:\w{64}|INFO\[\d{4}\.\d\] Taking snapshot of full filesystem\.\.\."
            r"|recorded twelve/app-\d\d:\w{40} as sha256:\w{64}",
            said,
        ), line
    assert len(logs) > 12 * 7


@pytest.mark.parametrize("jobs", [1, 3])
def test_no_more_apps_than_jobs_are_worked_on_at_once(twelve: Project, held: HeldSandbox, jobs: int) -> None:
    chosen = TWELVE[: 2 * jobs]
    held.let_builds_end_once(lambda: len(held.seen("POST /build 202")) == jobs)
    done = twelve.invoke("build", "--app", ",".join(chosen), "--jobs", str(jobs), "--no-logs")
    assert done.returncode == 0, done.stderr
    started = recorded = most = 0
    for line in done.stderr.splitlines():
        started += " builds " in line
        recorded += " recorded " in line
        most = max(most, started - recorded)
    assert (started, most) == (len(chosen), jobs)


def test_a_build_of_each_is_looked_at_on_a_terminal(twelve: Project, held: HeldSandbox) -> None:
    # What an answer says is shown before the next question.
    held.let_builds_end_once(lambda: all(len(held.seen(f"POST /build/build-app-0{app}")) > 1 for app in "12"))
    shown = twelve.on_a_terminal("build", "--app", "app-01,app-02", "--no-logs")
    assert "0/2 done" in shown
    assert re.search(r"app-01 +\x1b\[1mbuild-app-01-\w+ running", shown)
    assert re.search(r"app-02 +\x1b\[1mbuild-app-02-\w+ running", shown)
    end = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert re.search(r"app-01 +done +[0-9.]+ s", end)
    assert end.rstrip().splitlines()[-2].startswith("app-01 sha256:")


def test_the_files_of_earlier_scripts_are_read(shop: Project, sandbox: SandboxProcess) -> None:
    assert shop.invoke("build", "--app", "backend").returncode == 0
    made = records(shop)["backend"]
    theirs = {key: value for key, value in made.items() if key != "appClass"}
    (shop.folder / ".deploy" / "build-id.backend.json").write_text(json.dumps(theirs))
    (shop.folder / ".deploy" / "history.jsonl").unlink()
    done = shop.invoke("reuse", "--app", "backend")
    assert done.returncode == 0, done.stderr
    assert sandbox.app("non-business-apps", "shop-backend")["image"].endswith(made["buildId"])
    assert json.loads((shop.folder / ".deploy" / "build-id.backend.json").read_text()) == theirs


def test_no_apps_record_reaches_another_app(shop: Project, sandbox: SandboxProcess) -> None:
    assert shop.invoke("build", "--app", "backend,mcp-agent").returncode == 0
    folder = shop.folder / ".deploy"
    (folder / "build-id.frontend.json").write_text((folder / "build-id.backend.json").read_text())
    sandbox.forget()
    done = shop.invoke("reuse", "--app", "all")
    assert done.returncode == 2
    assert last_line(done) == (
        "  frontend: the recorded digest is of image shop-backend, not of shop-frontend. "
        "Build the present commit: invoke build --app frontend reuse, or invoke local --app frontend reuse"
    )
    assert sandbox.seen() == [], "nothing is deployed by halves that can be known not to be"


def test_an_app_that_another_run_works_on_does_not_hold_up_the_others(shop: Project) -> None:
    held = shop.folder / ".deploy" / "build-id.backend.json.lock"
    held.parent.mkdir()
    lock.take(held, "local", seconds=0, tell=print)
    done = shop.invoke("build", "--app", "all")
    lock.release()
    assert done.returncode == 11
    assert f"backend   | another run (pid {os.getpid()}: invoke local, since " in done.stderr
    assert list(records(shop)) == ["frontend", "mcp-agent"]


@pytest.mark.parametrize("task", ["wait", "reuse", "rollback"])
def test_what_is_refused_for_all_apps_leaves_the_checkout_as_it_was(shop: Project, task: str) -> None:
    assert shop.invoke(task, "--app", "all").returncode == 2
    assert not (shop.folder / ".deploy").exists()


def test_json_is_one_object_by_the_apps_names(shop: Project) -> None:
    built = shop.invoke("build", "--app", "backend,frontend", "--json")
    assert json.loads(built.stdout) == {name: records(shop)[name] for name in ("backend", "frontend")}
    partly = shop.invoke("wait", "--app", "backend,mcp-agent", "--json")
    told = json.loads(partly.stdout)
    assert partly.returncode == 2
    assert told["backend"]["buildId"] == records(shop)["backend"]["buildId"]
    assert told["mcp-agent"]["exitCode"] == 2
    assert told["mcp-agent"]["error"].startswith("no build is in flight. Start one: invoke build --app mcp-agent.")
    assert last_line(partly) == "1 of 2 apps failed: mcp-agent", "which the same once more would not mend"


def test_a_file_that_is_not_in_the_commit_is_not_built(shop: Project, sandbox: SandboxProcess) -> None:
    shop.git("rm", "--quiet", "--cached", "k8s.frontend.Dockerfile")
    shop.git("commit", "--quiet", "--message", "forgotten")
    shop.push()
    refused = shop.invoke("build", "--app", "all")
    assert refused.returncode == 2
    assert "  frontend: k8s.frontend.Dockerfile is not in commit" in refused.stderr
    assert sandbox.seen() == []


def test_what_still_builds_is_said_where_what_was_before_it_is_deployed(twelve: Project) -> None:
    assert twelve.invoke("build", "--app", "app-00").returncode == 0
    twelve.commit("next")
    twelve.push()
    done = twelve.invoke("build", "--app", "app-00", "--no-wait", "reuse")
    assert done.returncode == 0
    assert "and not picked up: what is deployed is older" in done.stderr
    assert "for that one: invoke wait --app app-00, then reuse" in done.stderr


def test_flags_of_an_earlier_task_and_dry_are_in_the_command_to_repeat(shop: Project) -> None:
    shop.git("rm", "--quiet", "--cached", "--", "backend/server.txt")
    config = shop.folder / "invoke.yaml"
    config.write_text(config.read_text().replace("dockerfile: k8s.backend.Dockerfile", "dockerfile: ."))
    done = shop.invoke(
        "local", "--app", "all", "--jobs", "3", "--build-arg", "TOKEN=x-secret-value", DEPLOY_DOCKER="nope"
    )
    assert done.returncode == 2
    config.write_text(config.read_text().replace("dockerfile: .", "dockerfile: k8s.backend.Dockerfile"))
    done = shop.invoke(
        "local", "--app", "all", "--jobs", "3", "--build-arg", "TOKEN=x-secret-value", DEPLOY_DOCKER="nope"
    )
    assert done.returncode == 3
    again = f"invoke local --app {','.join(NAMES)} --jobs 3 --build-arg 'TOKEN=…'"
    assert last_line(done).endswith(f". Retry only those apps: {again}")
    assert "x-secret-value" not in done.stderr
    dry = shop.invoke("--dry", "local", "--app", "all", "--jobs", "3", DEPLOY_DOCKER="nope")
    assert last_line(dry).endswith(f". Retry only those apps: invoke --dry local --app {','.join(NAMES)} --jobs 3")
    chain = shop.invoke("build", "--app", "all", "--namespace", "other", "local", DEPLOY_DOCKER="nope")
    assert last_line(chain).endswith(f"invoke local --app {','.join(NAMES)} --namespace other")


def test_a_chain_may_look_at_all_apps(shop: Project) -> None:
    done = shop.invoke("build", "--app", "backend,frontend", "history", "doctor")
    assert "shop-frontend" in done.stdout
    assert "is not a Kubernetes name" not in done.stderr + done.stdout


def test_a_result_that_nobody_can_read_does_not_hide_what_failed(shop: Project) -> None:
    with Path("/dev/full").open("w") as full:
        process = completed(
            [*INVOKE, "build", "--app", "all"],
            cwd=shop.folder,
            env=shop.environment,
            stdout=full,
            text=True,
        )
    assert process.returncode == 1
    digest = records(shop)["mcp-agent"]["buildId"]
    assert "stdout cannot be written (No space left on device). The task itself is done" in process.stderr
    assert "Its result: backend sha256:" in process.stderr
    assert process.stderr.endswith(f"mcp-agent {digest}\n")


def test_a_program_gets_the_records_by_app(shop: Project) -> None:
    shop.write(
        "tasks.py",
        """
from invoke import task
from deploy_tasks.errors import SomeFailed
from deploy_tasks.tasks import build, reuse

@task
def ship(c):
    records = build.each(c, app="backend,frontend,mcp-agent")
    print("built", {name: record.app for name, record in records.items()})
    print("alone", build(c, app="backend").app, [*build.each(c, app="backend")])
    print("all", build(c, app="all"))
    print("listed", [*build.each(c, app=["backend", "frontend"])], reuse(c, app="backend").app)
    try:
        reuse(c, app="backend,frontend", jobs=1, domain=None, check_health=False, replicas=2)
        reuse(c, app="all", rollout_timeout=0.001)
    except SomeFailed as error:
        print("failed", sorted(error.errors), error.exit_code)
""",
    )
    done = shop.invoke("ship")
    assert done.returncode == 0, done.stderr
    assert (
        "built {'backend': 'shop-backend', 'frontend': 'shop-frontend', 'mcp-agent': 'shop-mcp-agent'}" in done.stdout
    )
    assert "alone shop-backend ['backend']" in done.stdout
    assert "all None" in done.stdout
    assert "listed ['backend', 'frontend'] shop-backend" in done.stdout


def test_a_chain_goes_on_with_the_same_apps_until_another_is_named(shop: Project, sandbox: SandboxProcess) -> None:
    done = shop.invoke("build", "--app", "backend,frontend", "digest", "reuse", "--app", "backend", "status")
    assert done.returncode == 0, done.stderr
    assert [line.split(" ")[0] for line in done.stdout.splitlines()[:4]] == ["backend", "frontend"] * 2
    assert len(sandbox.seen("POST /build 200")) == 1
    assert "target    shop-backend in non-business-apps" in "\n".join(done.stdout.splitlines()[-6:]).replace("  ", "  ")


def test_rollback_and_undo_name_the_app(shop: Project, sandbox: SandboxProcess) -> None:
    digests = []
    for text in ("one", "two"):
        shop.write("backend/server.txt", text)
        shop.commit(text)
        shop.push()
        done = shop.invoke("build", "--app", "backend", "reuse")
        digests.append(done.stdout.split()[0])
    assert f"undo: invoke rollback --app backend → {digests[0][7:19]}" in done.stderr
    assert shop.invoke("rollback", "--app", "backend").returncode == 0
    assert sandbox.app("non-business-apps", "shop-backend")["image"].endswith(digests[0])


def test_what_looks_shows_each_app(shop: Project) -> None:
    assert shop.invoke("build", "--app", "backend,frontend", "reuse").returncode == 0
    shown = shop.invoke("status", "--app", "backend,frontend")
    assert shown.returncode == 0
    assert [line for line in shown.stdout.splitlines() if not line.startswith(" ")] == ["backend:", "frontend:"]
    logs = shop.invoke("logs", "--app", "all")
    assert {line.split(" | ")[0].strip() for line in logs.stdout.splitlines()} == {"backend", "frontend"}
    assert (logs.returncode, last_line(logs)) == (2, "1 of 3 apps failed: mcp-agent"), "it was never built"
    every = shop.invoke("history").stdout
    assert every.count("shop-backend") == every.count("shop-frontend") == 2
    assert "shop-frontend" not in shop.invoke("history", "--app", "backend").stdout


def test_the_doctor_looks_at_every_app(shop: Project) -> None:
    (shop.folder / "frontend" / ".env").unlink()
    seen = shop.invoke("doctor")
    assert seen.returncode == 2
    assert "backend settings: app shop-backend; namespace non-business-apps" in seen.stdout
    assert "FAILED   frontend needs: no value for PUBLIC_SUPABASE_URL, and there is no env_file at" in seen.stdout
    assert "frontend needs" not in shop.invoke("doctor", "--app", "backend").stdout


def test_outputs_in_github_have_the_apps_name(shop: Project, tmp_path: Path) -> None:
    output = tmp_path / "output"
    done = shop.invoke("build", "--app", "all", GITHUB_ACTIONS="true", GITHUB_OUTPUT=str(output))
    assert done.returncode == 0, done.stderr
    for name, record in records(shop).items():
        assert f"{name}-build-id={record['buildId']}\n" in output.read_text()
    assert "::group::" not in done.stderr


def test_without_a_table_all_is_no_app(project: Project, sandbox: SandboxProcess) -> None:
    project.environment.update(sandbox.settings)
    sandbox.forget()
    refused = project.invoke("build", "--app", "all")
    assert refused.returncode == 2
    assert refused.stderr.startswith("app all needs a table of apps, deploy.apps in invoke.yaml")
    assert project.invoke("build", DEPLOY_APP="a,b").returncode == 2
    assert sandbox.seen() == []
