"""Seeing what happens, and undoing it, as real `invoke` processes against a sandbox."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project import Project
from tests.sandboxes import HeldSandbox, SandboxProcess

NOT_THERE = "sha256:" + 64 * "0"
LINE = "Taking snapshot of full filesystem..."


@pytest.fixture(scope="session")
def _slow_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    sandbox = SandboxProcess(tmp_path_factory.mktemp("slow"), "--build-seconds", "2", "--replica-seconds", "0.5")
    yield sandbox
    sandbox.stop()


@pytest.fixture
def slow(_slow_sandbox: SandboxProcess, project: Project) -> SandboxProcess:
    """A sandbox whose builds take two seconds and say something each half of one."""
    project.environment.update(_slow_sandbox.settings, DEPLOY_PORT="3000")
    _slow_sandbox.forget()
    return _slow_sandbox


def deployed(project: Project, *texts: str) -> list[str]:
    """Builds and deploys each of these versions; returns their digests."""
    digests = []
    for text in texts:
        project.change(text)
        done = project.invoke("build", "reuse")
        assert done.returncode == 0, done.stderr
        digests.append(done.stdout.split()[0])
    return digests


def test_the_log_is_shown_while_the_build_runs_and_every_line_once(project: Project, slow: SandboxProcess) -> None:
    built = project.invoke("build")
    assert built.returncode == 0, built.stderr
    job = built.stderr.split()[0]
    log = slow.call("GET", f"/build/{job}/logs").json()["logs"].splitlines()
    assert len(log) > 5
    assert [line for line in built.stderr.splitlines() if line in log] == log
    assert built.stdout.strip() == project.record["buildId"]
    times = [line for line in slow.seen() if line.endswith(f"{job}/logs 200")]
    assert len(times) >= 2


def test_without_logs_there_is_none(project: Project, slow: SandboxProcess) -> None:
    built = project.invoke("build", "--no-logs")
    assert built.returncode == 0
    assert LINE not in built.stderr
    assert [line for line in slow.seen() if "/logs" in line] == []


@pytest.mark.parametrize("flags", [[], ["--no-logs"]], ids=["shown", "not shown"])
def test_a_failed_build_ends_with_the_end_of_its_log_and_the_reason(
    project: Project, sandbox: SandboxProcess, flags: list[str]
) -> None:
    failed = project.invoke("build", "--dockerfile", "Nope", *flags)
    assert failed.returncode == 9
    *_, log, reason = failed.stderr.splitlines()
    assert log.strip() == "error: Dockerfile 'Nope' is not in the repository"
    job = reason.partition(" failed")[0]
    whole = f". Its log: invoke logs --job {job}" if flags else ""
    assert reason.endswith(f"Nothing was recorded, and the last good digest is unchanged{whole}")
    assert failed.stderr.count("error: Dockerfile") == 1


def test_the_log_can_be_read_later_and_followed(project: Project, slow: SandboxProcess) -> None:
    job = project.invoke("build", "--no-wait").stdout.strip()
    followed = project.invoke("logs", "--follow")
    assert followed.returncode == 0, followed.stderr
    assert followed.stderr == f"log of {job}\n{job} succeeded; record its digest: invoke wait\n"
    log = slow.call("GET", f"/build/{job}/logs").json()["logs"]
    assert followed.stdout == log
    assert project.in_flight is not None, "it only looks"
    assert project.invoke("wait").returncode == 0
    later = project.invoke("logs")
    assert later.stdout == project.invoke("logs", "--job", job).stdout == log
    (project.folder / ".deploy" / "build-id.in-flight.json").write_text("{")
    assert project.invoke("logs", "--job", job).stdout == log, "whatever is in the file of the build in flight"


def test_logs_that_are_not_there_say_so(project: Project, any_sandbox: SandboxProcess) -> None:
    nothing = project.invoke("logs")
    assert nothing.returncode == 2
    assert "no build was started from here yet" in nothing.stderr
    gone = project.invoke("logs", "--job", "build-gone")
    assert gone.returncode == 4
    assert "the API has no log of build-gone" in gone.stderr


def test_a_rollout_is_followed_until_all_replicas_are_ready(project: Project, slow: SandboxProcess) -> None:
    project.invoke("build")
    done = project.invoke("reuse", "--replicas", "2", "--domain", "shop.example.com")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^2/2 ready in \d+ s: https://shop\.example\.com$", done.stderr, re.MULTILINE)
    slow.forget()
    assert project.invoke("reuse", "--no-follow").returncode == 0
    assert slow.seen() == ["GET /api/apps/apps/shop 200", "POST /build 200"]


def test_a_server_that_does_not_say_how_it_runs_is_gone_on_without(project: Project) -> None:
    sandbox = SandboxProcess(project.folder.with_name("minimal"), "--minimal")
    try:
        project.environment.update(sandbox.settings, DEPLOY_PORT="3000")
        done = project.invoke("build", "reuse")
        assert done.returncode == 0, done.stderr
        assert "ready" not in done.stderr
        assert project.invoke("status").returncode == 0
        assert project.invoke("doctor").returncode == 0
    finally:
        sandbox.stop()


def test_what_does_not_come_up_is_exit_code_12_with_the_way_back(project: Project) -> None:
    sandbox = SandboxProcess(project.folder.with_name("stuck"), "--replica-seconds", "1000")
    try:
        project.environment.update(sandbox.settings, DEPLOY_PORT="3000")
        first = project.invoke("build", "reuse", "--rollout-timeout", "3")
        assert first.returncode == 12
        assert first.stderr.splitlines()[-1] == (
            "shop is deployed, but only 0/1 ready after 3 s. Nothing ran before, so there is nothing to go back to yet"
        )
        old = first.stdout.split()[0]
        project.change("second")
        second = project.invoke("build", "reuse", "--no-follow")
        assert second.returncode == 0
        project.change("third")
        third = project.invoke("build", "reuse", "--rollout-timeout", "3")
        assert third.returncode == 12
        new = second.stdout.split()[0]
        way_back = f"Go back to {new[:19]}…, commit {project.git('rev-parse', 'HEAD~1')[:7]}: invoke rollback"
        assert way_back in third.stderr
        back = project.invoke("rollback", "--no-follow")
        assert back.returncode == 0, back.stderr
        assert back.stdout.strip().endswith(f"@{new}"), f"{old} did not come up either"
        with project.start("reuse", "--replicas", "2") as process:
            assert process.stderr is not None
            while "0/2 ready" not in (line := process.stderr.readline()):
                assert line, "it ended"
            process.send_signal(signal.SIGINT)
            _, err = process.finish()
        assert process.returncode == 130
        stopped = "stopped. shop is deployed, and its rollout goes on. Check what runs: invoke status"
        assert err.splitlines()[-1] == f"{stopped}. {way_back}"
    finally:
        sandbox.stop()


def test_rollback_goes_to_what_ran_before_and_says_so(project: Project, any_sandbox: SandboxProcess) -> None:
    one, two, three = deployed(project, "one", "two", "three")
    any_sandbox.forget()
    back = project.invoke("rollback")
    assert back.returncode == 0, back.stderr
    assert back.stdout.strip().endswith(f"@{two}")
    assert re.search(rf"going back to {two[:19]}…, commit \w{{7}}, deployed 20\d\d-\S+ by ", back.stderr)
    assert "built 1 commit ago" in back.stderr
    assert f"undo: invoke rollback → {three[7:19]} (commit " in back.stderr
    has_rollback = "POST /api/apps/apps/shop/rollback 200"
    assert any_sandbox.seen("POST") in (["POST /build 200"], [has_rollback])
    assert project.record["buildId"] == three, "the last build is still the last build"
    assert project.invoke("rollback", "--back", "2").stdout.strip().endswith(f"@{one}")
    assert project.invoke("rollback").stdout.strip().endswith(f"@{two}")


def test_a_rollback_with_nothing_to_go_back_to_sends_nothing(project: Project, any_sandbox: SandboxProcess) -> None:
    deployed(project, "one")
    any_sandbox.forget()
    for flags in ([], ["--back", "0"], ["--back", "2"]):
        refused = project.invoke("rollback", *flags)
        assert refused.returncode == 2
    assert any_sandbox.seen("POST") == [], "at the most it was asked what runs"


def test_the_undo_of_a_target_that_was_named_names_it(project: Project, sandbox: SandboxProcess) -> None:
    deployed(project, "one")
    project.invoke("reuse", "--app-class", "non-business")
    project.change("two")
    done = project.invoke("build", "reuse", "--app-class", "non-business")
    undo = done.stderr.split("undo: invoke ")[1].split(" →")[0]
    assert undo == "rollback --namespace non-business-apps"
    back = project.invoke(*undo.split())
    assert back.returncode == 0, back.stderr
    assert "warning: app class" not in back.stderr, "the class is that of then"
    running = sandbox.app("non-business-apps", "shop")
    assert (running["image"], running["deployConfig"]["appClass"]) == (back.stdout.strip(), "non-business")


def test_the_beginning_of_a_digest_is_enough(project: Project, sandbox: SandboxProcess) -> None:
    one, _ = deployed(project, "one", "two")
    done = project.invoke("reuse", "--build-id", one[7:19])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(f"@{one}")
    assert "built 1 commit ago" in done.stderr, "of the digest that is deployed, not of the recorded one"
    sandbox.forget()
    refused = project.invoke("reuse", "--build-id", "0123456789ab")
    assert refused.returncode == 2
    assert "matches no digest in the history" in refused.stderr
    assert sandbox.seen() == []


def test_the_age_of_what_is_deployed_is_said(project: Project, sandbox: SandboxProcess) -> None:
    first = project.change("one")
    assert f"built from HEAD ({first[:7]})" in project.invoke("build", "reuse").stderr
    last = [project.commit(str(number)) for number in range(3)][-1]
    assert f"built 3 commits ago ({first[:7]} → HEAD {last[:7]})" in project.invoke("reuse").stderr
    project.git("checkout", "--quiet", "--orphan", "elsewhere")
    project.commit("unrelated")
    assert f"built from {first[:7]}, which is not in the history of HEAD" in project.invoke("reuse").stderr
    project.write_record({**project.record, "gitRef": 40 * "1"})
    assert "built from 1111111, which is not in this checkout" in project.invoke("reuse").stderr
    project.write_record({**project.record, "dirty": True})
    assert "built from uncommitted changes on 1111111" in project.invoke("reuse").stderr


def test_the_history_has_every_record_and_every_deploy(project: Project, any_sandbox: SandboxProcess) -> None:
    one, two = deployed(project, "one", "two")
    told = project.invoke("history", "--json")
    entries = [json.loads(line) for line in told.stdout.splitlines()]
    assert [(line["what"], line["outcome"], line["buildId"]) for line in entries] == [
        ("reuse", "deployed", two),
        ("build", "recorded", two),
        ("reuse", "deployed", one),
        ("build", "recorded", one),
    ]
    build = entries[1]
    assert (build["built"], build["gitRef"], build["app"], build["imageTag"]) == (
        "cluster",
        project.head,
        "shop",
        project.head,
    )
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", build["time"])
    assert "@" in build["who"]
    assert build["jobName"].startswith("build-shop-")
    table = project.invoke("history", "--limit", "1").stdout.splitlines()
    assert [line.split() for line in table] == [
        ["TIME", "(UTC)", "WHAT", "OUTCOME", "CLUSTER", "APP", "DIGEST", "COMMIT", "BUILT", "WHO", "NAMESPACE"],
        [
            *entries[0]["time"][:16].split("T"),
            "reuse",
            "deployed",
            any_sandbox.url.removeprefix("http://"),
            "shop",
            two[7:19],
            project.head[:7],
            "-",
            build["who"],
            "apps",
        ],
    ]
    assert project.invoke("history", "--limit", "0").returncode == 2


def test_a_history_of_nothing_says_how_to_begin(project: Project) -> None:
    told = project.invoke("history")
    assert (told.returncode, told.stdout) == (0, "")
    assert "nothing was recorded or deployed from here yet" in told.stderr
    assert not (project.folder / ".deploy").exists()


def test_what_is_built_already_is_not_built_again_if_not_needed(project: Project, any_sandbox: SandboxProcess) -> None:
    (one,) = deployed(project, "one")
    project.invoke("build", "--image-tag", "other")
    any_sandbox.forget()
    again = project.invoke("build", "--if-needed", "reuse")
    assert again.returncode == 0, again.stderr
    assert again.stdout.split()[0] == one
    assert "is built already (20" in again.stderr
    assert any_sandbox.seen("POST /build 202") == []
    assert project.record["gitRef"] == project.head
    by_default = project.invoke("build", DEPLOY_BUILD_IF_NEEDED="true")
    assert any_sandbox.seen("POST /build 202") == []
    assert by_default.returncode == 0
    elsewhere = project.invoke(
        "build", "--if-needed", "--app", "o", "--image-name", "shop", "--app-class", "non-business"
    )
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert [project.record[key] for key in ("app", "namespace", "appClass")] == [
        "o",
        "non-business-apps",
        "non-business",
    ]
    for flags in (["--dockerfile", "page.html"], ["--no-cache"], ["--image-name", "other"]):
        any_sandbox.forget()
        project.invoke("build", "--if-needed", *flags)
        assert len(any_sandbox.seen("POST /build 202")) == 1, flags


def test_what_is_gone_from_the_registry_is_built_again(project: Project, sandbox: SandboxProcess) -> None:
    (one,) = deployed(project, "one")
    deleted = sandbox.call("DELETE", f"/v2/shop/manifests/{one}")
    if deleted.status_code >= 400:
        history = project.folder / ".deploy" / "history.jsonl"
        history.write_text(history.read_text().replace(one, NOT_THERE))
    sandbox.forget()
    assert project.invoke("build", "--if-needed").returncode == 0
    assert len(sandbox.seen("POST /build 202")) == 1


def test_status_is_one_screen(project: Project, any_sandbox: SandboxProcess) -> None:
    empty = project.invoke("status")
    assert empty.returncode == 0, empty.stderr
    assert "record   none yet; begin: invoke build, or invoke local" in empty.stdout
    one, two = deployed(project, "one", "two")
    project.invoke("build", "--no-wait", "--image-tag", "next")
    job = (project.in_flight or {})["jobName"]
    shown = project.invoke("status")
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    rows = [re.split(r"  +", line, maxsplit=1) for line in shown.stdout.splitlines()]
    rollout = ["rollout"] if "Deploy-Api-Features" in any_sandbox.call("GET", "/").headers else []
    titles = ["target", "record", "build in flight", "cluster", *rollout, "deployed", "deployed"]
    assert [title for title, _ in rows] == titles
    assert rows[0][1] == f"shop in apps (business nodes) at {any_sandbox.url}"
    assert two[:19] in rows[1][1]
    assert "built from HEAD" in rows[1][1]
    assert job in rows[2][1]
    assert two[:19] in rows[-2][1]
    details = json.loads(project.invoke("status", "--json").stdout)
    assert details["record"]["buildId"] == two
    assert [deploy["buildId"] for deploy in details["deploys"]] == [two, one]


def test_status_says_why_a_rollout_fails_and_who_deployed_what(project: Project, tmp_path: Path) -> None:
    failing = SandboxProcess(tmp_path / "failing", "--fail-rollout", "--replica-seconds", "0.01")
    project.environment.update(failing.settings, DEPLOY_PORT="3000")
    assert project.invoke("build", "reuse", "--rollout-timeout", "1").returncode == 12
    shown = project.invoke("status")
    (rollout,) = [line for line in shown.stdout.splitlines() if line.startswith("rollout")]
    assert re.fullmatch(
        r"rollout   failed \(CrashLoopBackOff: The container of pod shop-\S+ keeps crashing\. Read its log\.\), "
        r"revision 1 of \w{7} by sandbox \(\S+@\S+\) at \S+Z",
        rollout,
    )
    details = json.loads(project.invoke("status", "--json").stdout)["cluster"]
    assert (details["status"], details["deployedBy"].split(" ")[0]) == ("failed", "sandbox")
    failing.stop()


def test_the_build_of_another_app_is_not_this_ones(project: Project, sandbox: SandboxProcess) -> None:
    project.invoke("build", "--no-wait", "--app", "other")
    assert "build in flight" not in project.invoke("status", "--app", "shop").stdout
    assert "build in flight" in project.invoke("status", "--app", "other").stdout


def test_doctor_holds_its_app_for_the_next_task(project: Project, sandbox: SandboxProcess) -> None:
    project.invoke("build", "--app", "one", "build", "--app", "two")
    done = project.invoke("--dry", "doctor", "--app", "one", "status")
    assert f"GET {sandbox.url}/api/apps/apps/one" in done.stderr, done.stderr


def test_doctor_says_what_is_wrong_and_how_to_fix_it(project: Project, any_sandbox: SandboxProcess) -> None:
    project.write(".dockerignore", ".git\n")
    before = project.files()
    well = project.invoke("doctor", DEPLOY_DOCKER="no-such-engine")
    assert well.returncode == 0, well.stdout + well.stderr
    assert f"ok       DEPLOY_API_URL: {any_sandbox.url} (shell variable DEPLOY_API_URL)" in well.stdout
    assert "ok       DEPLOY_API_KEY: set (shell variable DEPLOY_API_KEY)" in well.stdout
    assert any_sandbox.key not in well.stdout
    assert "ok       API: " in well.stdout
    assert "ok       clock: " in well.stdout
    assert "warning  engine: the container engine 'no-such-engine' is not installed" in well.stdout
    assert "warning  .dockerignore: lets .env, .env.local, .deploy/build-id.json into the build context" in well.stdout
    assert "ok       registry: " in well.stdout
    assert project.files() == before, "no side effects"
    half = project.invoke("doctor", DEPLOY_REGISTRY_USERNAME="robot").stdout
    assert "warning  registry login: DEPLOY_REGISTRY_PASSWORD is unset, so there is no login" in half
    ill = project.invoke("doctor", DEPLOY_API_KEY="wr0ng")
    assert ill.returncode == 2
    assert "FAILED   API key: " in ill.stdout
    assert "         → check DEPLOY_API_KEY" in ill.stdout
    assert ill.stderr.startswith("1 check failed. ")
    assert ill.stderr.count("\n") == 1
    podman = project.write("podman", '#!/bin/sh\necho \'{"host": {}, "store": {}}\'\n')
    podman.chmod(0o755)
    (project.folder / ".dockerignore").rename(project.folder / ".containerignore")
    assert "warning  .containerignore: lets .env" in project.invoke("doctor", DEPLOY_DOCKER=str(podman)).stdout
    away = project.invoke("doctor", DEPLOY_API_URL="http://127.0.0.1:9", DEPLOY_API_TIMEOUT="1")
    assert away.returncode == 2
    assert "FAILED   API: could not ask for the digest: no connection" in away.stdout
    bad = project.invoke("doctor", DEPLOY_PORT="0")
    assert bad.returncode == 2
    assert "FAILED   settings: shell variable DEPLOY_PORT" in bad.stdout
    findings = json.loads(project.invoke("doctor", "--json", DEPLOY_API_KEY="").stdout)
    missing = next(finding for finding in findings if finding["what"] == "DEPLOY_API_KEY")
    assert (missing["state"], missing["seen"]) == ("failed", "unset")


def test_init_sets_a_repository_up_so_that_build_reuse_works(project: Project, sandbox: SandboxProcess) -> None:
    for name in ("tasks.py", ".gitignore", ".dockerignore"):
        (project.folder / name).unlink()
    project.write("Dockerfile", "FROM scratch\nEXPOSE 8080/tcp\nCOPY . /\n")
    del project.environment["DEPLOY_PORT"]
    dry = project.run(sys.executable, "-m", "deploy_tasks", "--dry", "init")
    assert "would write tasks.py" in dry.stderr
    assert not (project.folder / "tasks.py").exists()
    done = project.run(sys.executable, "-m", "deploy_tasks", "init")
    assert done.returncode == 0, done.stderr
    assert (project.folder / "invoke.yaml").read_text() == "deploy:\n  app: shop\n  port: 8080\n"
    assert (project.folder / ".env").stat().st_mode & 0o777 == 0o600
    project.change("set up")
    assert ".env" not in project.git("ls-files").split()
    works = project.invoke("build", "reuse")
    assert works.returncode == 0, works.stderr
    assert sandbox.app("apps", "shop")["deployConfig"]["port"] == 8080


def test_init_changes_nothing_that_is_there(project: Project) -> None:
    project.write("tasks.py", "from invoke import task\n")
    project.write("invoke.yaml", "run:\n  echo: true\n")
    project.write(".env", "DEPLOY_APP=mine\n")
    project.write(".gitignore", ".env\nnode_modules")
    done = project.run(sys.executable, "-m", "deploy_tasks", "init")
    assert done.returncode == 0, done.stderr
    assert "tasks.py stays as it is; add at its end: from deploy_tasks.tasks import *\n" in done.stderr
    assert "invoke.yaml stays as it is; add to it:\ndeploy:\n  app: shop\n" in done.stderr
    assert ".env stays as it is" in done.stderr
    assert (project.folder / "tasks.py").read_text() == "from invoke import task\n"
    assert (project.folder / ".env").read_text() == "DEPLOY_APP=mine\n"
    assert (project.folder / ".gitignore").read_text() == ".env\nnode_modules\n.deploy/\n.env.*\n!.env.example\n"
    before = project.files()
    project.run(sys.executable, "-m", "deploy_tasks", "init")
    assert project.files() == before


@pytest.mark.parametrize(
    ("tasks", "name"),
    [
        ("from invoke import task\n\n\n@task\ndef own(c): ...\n", "build"),
        ("from invoke import Collection, task\n\n\n@task\ndef own(c): ...\n\n\nns = Collection(own)\n", "deploy.build"),
    ],
)
@pytest.mark.parametrize("file", ["tasks.py", "tasks/__init__.py"])
def test_what_init_advises_works_beside_what_was_there(project: Project, file: str, tasks: str, name: str) -> None:
    (project.folder / "tasks.py").unlink()
    path = project.write(file, tasks)
    done = project.run(sys.executable, "-m", "deploy_tasks", "init")
    advice = done.stderr.split(f"{file} stays as it is; add at its end: ")[1].splitlines()[0]
    assert path.read_text() == tasks
    path.write_text(f"{tasks}{advice}\n")
    listed = project.invoke("--list")
    assert listed.returncode == 0, listed.stderr
    assert {"own", name} <= {line.split()[0] for line in listed.stdout.splitlines() if line.startswith("  ")}
    again = project.run(sys.executable, "-m", "deploy_tasks", "init")
    assert f"{file} stays as it is\n" in again.stderr


def test_another_file_of_invokes_is_not_hidden(project: Project) -> None:
    project.write("invoke.yml", "deploy: {app: mine, port: 9999}\n")
    assert "invoke.yml stays as it is\n" in project.run(sys.executable, "-m", "deploy_tasks", "init").stderr
    assert not (project.folder / "invoke.yaml").exists()


def given(command: str) -> list[str]:
    """The words of a command to paste, with the value that it leaves to be given."""
    return [word.replace("A=…", "A=b c") for word in shlex.split(command)]


def test_the_next_try_has_the_flags_of_the_deploy(project: Project, sandbox: SandboxProcess) -> None:
    _, two = deployed(project, "one", "two")
    flags = ["--replicas=2", "--domain=shop.example.com", "--no-tls", "--env=A=b c"]
    away = project.invoke("reuse", *flags, DEPLOY_API_URL="http://127.0.0.1:9", DEPLOY_API_TIMEOUT="1")
    assert away.returncode == 5
    again = away.stderr.split("Try again: invoke ")[1].strip()
    assert "b c" not in again, "the value may be a secret"
    assert project.invoke(*shlex.split(again)).returncode == 2, "and nothing is deployed without it"
    tried = project.invoke(*given(again))
    assert tried.returncode == 0, tried.stderr
    assert tried.stdout.strip().endswith(f"@{two}")
    assert sandbox.config("apps", "shop", {"A": "b c"}) == {
        **{"port": 3000, "replicas": 2, "domain": "shop.example.com", "tls": False, "env": {"A": "b c"}},
        "appClass": "business",
    }


def test_what_was_deployed_from_elsewhere_is_seen(project: Project, sandbox: SandboxProcess) -> None:
    one, two = deployed(project, "one", "two")
    config = {"port": 3000, "appClass": "business"}
    body = {"app": "shop", "namespace": "apps", "buildId": one, "deploy": True, "deployConfig": config}
    assert sandbox.call("POST", "/build", body).status_code == 200
    assert "which is not what was deployed from here last" in project.invoke("status").stdout
    back = project.invoke("rollback")
    assert back.returncode == 0, back.stderr
    assert "warning: what runs now was not deployed from here" in back.stderr
    assert back.stdout.strip().endswith(two), "two ran before, whoever deployed one"


def test_a_failed_build_is_in_the_history_and_its_log_is_the_last(project: Project, sandbox: SandboxProcess) -> None:
    deployed(project, "one")
    failed = project.invoke("build", "--no-logs", "--dockerfile", "Nope")
    assert failed.returncode == 9
    newest = json.loads(project.invoke("history", "--json", "--limit", "1").stdout)
    assert (newest["outcome"], newest["gitRef"], newest.get("buildId")) == ("failed", project.head, None)
    log = project.invoke("logs")
    assert log.stderr == f"log of {newest['jobName']}\n"
    assert "Dockerfile 'Nope' is not in the repository" in log.stdout
    other = project.invoke("logs", "--app", "other")
    assert other.returncode == 2, "another app has no build here"


def test_a_reader_that_has_had_enough_is_no_error(project: Project, sandbox: SandboxProcess) -> None:
    deployed(project, "one")
    for task in ("logs", "history --json", "status", "doctor"):
        done = project.run("bash", "-c", f"set -o pipefail; {sys.executable} -m invoke {task} | true")
        assert done.returncode in (0, 141), done.stderr
        assert "Traceback" not in done.stderr
        assert "Errno" not in done.stderr
    full = project.run("sh", "-c", f"{sys.executable} -m invoke history > /dev/full")
    assert (full.returncode, full.stderr) == (1, "stdout cannot be written (No space left on device)\n")


@pytest.mark.parametrize("words", [["history", "--limit", "x"], ["rollback", "--back", "x"]])
def test_a_number_that_is_none_is_one_line(project: Project, sandbox: SandboxProcess, words: list[str]) -> None:
    refused = project.invoke(*words)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1


def test_an_encoding_without_the_characters_is_no_error(project: Project, sandbox: SandboxProcess) -> None:
    deployed(project, "one")
    done = project.invoke("status", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "sha256:" in done.stdout


def test_a_narrow_terminal_loses_columns_and_no_digest(project: Project, sandbox: SandboxProcess) -> None:
    (one,) = deployed(project, "one")
    assert one[7:19] in project.on_a_terminal("history", COLUMNS="80")
    assert "─" not in project.on_a_terminal("history", TERM="dumb")


def test_a_status_that_cannot_be_asked_for_says_so_at_the_end(project: Project, sandbox: SandboxProcess) -> None:
    deployed(project, "one")
    away = project.invoke("status", DEPLOY_API_URL="http://127.0.0.1:9", DEPLOY_API_TIMEOUT="1")
    assert away.returncode == 5
    assert "record   shop:" in away.stdout
    assert "cluster  not known, see below" in away.stdout
    assert "deployed" not in away.stdout, "that was to another cluster"


def test_on_a_terminal_a_line_is_kept_up_to_date(project: Project, tmp_path: Path) -> None:
    held = HeldSandbox(tmp_path / "held")
    project.environment.update(held.settings, DEPLOY_PORT="3000")
    # What an answer says is shown before the next question; the first one takes a second.
    held.let_builds_end_once(lambda: len(held.seen("POST /build/build-shop")) > 1)
    shown = project.on_a_terminal("build", "reuse")
    assert "\x1b[?25l" in shown
    assert re.search(r"build-shop-\w+ \x1b\[1mrunning\x1b\[0m", shown)
    assert re.search(r"0:\d\d:(?!00)\d\d", shown)
    assert f"cloning {project.origin}" in re.sub(r"\s*\r?\n", "", shown)
    assert shown.rstrip().endswith(f"@{project.record['buildId']}")
    assert shown.count("\x1b[?25h") == shown.count("\x1b[?25l"), "the cursor is back"
    table = project.on_a_terminal("history")
    assert "─────" in table
    assert "\x1b[1m" in table
    held.stop()


def test_no_color_is_honoured(project: Project, slow: SandboxProcess) -> None:
    shown = project.on_a_terminal("build", "reuse", NO_COLOR="1")
    assert not re.search(r"\x1b\[3[0-9]m", shown)
    dumb = project.on_a_terminal("reuse", TERM="dumb")
    assert "\x1b" not in dumb


def test_without_a_terminal_there_is_no_control_character(project: Project, slow: SandboxProcess) -> None:
    done = project.invoke("build", "reuse", "history", "status")
    assert done.returncode == 0, done.stderr
    assert all(character.isprintable() or character == "\n" for character in done.stdout + done.stderr)
    loaded = project.run(sys.executable, "-X", "importtime", "-m", "invoke", "build", "reuse", "history", "status")
    assert "rich" not in {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in loaded.stderr.splitlines()}


def test_in_github_actions_there_are_groups_outputs_and_a_summary(
    project: Project, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    files = {name: tmp_path / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    actions = {"GITHUB_ACTIONS": "true", "GITHUB_ACTOR": "octocat", **{name: str(path) for name, path in files.items()}}
    done = project.invoke("build", "reuse", **actions)
    assert done.returncode == 0, done.stderr
    digest, reference = done.stdout.split()
    assert re.search(r"^::group::build build-shop-\w+$", done.stderr, re.MULTILINE)
    assert "::endgroup::" in done.stderr
    outputs = files["GITHUB_OUTPUT"].read_text().splitlines()
    assert outputs[-2:] == [f"build-id={digest}", f"image={reference}"]
    assert f"| image | `{reference}` |" in files["GITHUB_STEP_SUMMARY"].read_text()
    assert json.loads(project.invoke("history", "--json").stdout.splitlines()[0])["who"].startswith("octocat@")
    failed = project.invoke("build", "--dockerfile", "Nope", **actions)
    assert re.search(r"^::error title=build failed::.*build-shop-\w+ failed: ", failed.stderr, re.MULTILINE)
    token = re.search(r"^::stop-commands::(\w{32})$", failed.stderr, re.MULTILINE)
    assert token, "nothing that a build prints is a command"
    assert f"::{token[1]}::" in failed.stderr.splitlines()
    elsewhere = project.invoke("build", "--dockerfile", "Nope")
    assert "::" not in elsewhere.stderr


def test_each_cluster_has_a_way_back_of_its_own(
    project: Project, sandbox: SandboxProcess, _minimal_sandbox: SandboxProcess
) -> None:
    """Two state files in one folder, and one history."""
    one, two = deployed(project, "one", "two")
    production = {**_minimal_sandbox.settings, "DEPLOY_STATE_FILE": ".deploy/production.json"}
    assert project.invoke("build", "reuse", **production).returncode == 0
    refused = project.invoke("rollback", **production)
    assert refused.returncode == 2
    assert "cannot go back by 1: nothing else ran before, as far as is known here" in refused.stderr
    assert "undo:" not in project.invoke("reuse", **production).stderr
    assert project.invoke("rollback").stdout.strip().endswith(one)
    assert two != one


def test_commands_to_paste_name_the_settings_that_they_are_of(project: Project, sandbox: SandboxProcess) -> None:
    settings = "".join(f"{key}={value}\n" for key, value in sandbox.settings.items())
    project.write(".env.production", f"{settings}DEPLOY_PORT=3000\n").chmod(0o600)
    for key in (*sandbox.settings, "DEPLOY_PORT"):
        del project.environment[key]
    done = project.invoke("build", "--no-wait", DEPLOY_ENV_FILE=".env.production")
    command = done.stderr.splitlines()[-1].partition("Pick it up: ")[2]
    assert command == "DEPLOY_ENV_FILE=.env.production invoke wait"
    program = command.replace(" invoke ", f" {shlex.quote(sys.executable)} -m invoke ")
    assert project.run("sh", "-c", program).returncode == 0


def test_a_digest_that_takes_the_place_of_another_build_says_so(project: Project, sandbox: SandboxProcess) -> None:
    project.invoke("build")
    project.change("other")
    project.invoke("build", "--image-tag", "special")
    project.invoke("digest", "--image-tag", project.git("rev-parse", "HEAD~1"))
    told = project.invoke("digest", "--image-tag", "special").stderr
    assert f"warning: the record was of shop:{project.git('rev-parse', 'HEAD~1')} (sha256:" in told
    assert "warning" not in project.invoke("digest", "--image-tag", "special").stderr


def test_a_recorded_namespace_is_not_left_unseen(project: Project, sandbox: SandboxProcess) -> None:
    project.write_record({"app": "shop", "imageName": "shop", "imageTag": "local-1", "namespace": "default"})
    assert "recorded in namespace default, but this command uses apps" in project.invoke("build").stderr
    project.write_record({"app": "shop", "imageName": "shop", "imageTag": "local-1", "namespace": "default"})
    assert "recorded in namespace" not in project.invoke("build", "--namespace", "default").stderr


def test_init_takes_over_what_was_recorded_before(project: Project) -> None:
    project.write_record({"app": "myapp", "imageName": "team/myapp", "namespace": "default", "buildId": NOT_THERE})
    assert project.invoke("init").returncode == 0
    written = (project.folder / "invoke.yaml").read_text()
    assert written == "deploy:\n  app: myapp\n  image_name: team/myapp\n  namespace: default\n  # port: 3000\n"


def test_what_the_app_gets_by_name_is_never_shown(project: Project, sandbox: SandboxProcess) -> None:
    project.write("invoke.yaml", "deploy: {env: {OPEN: shown}, env_from: [PIN]}\n")
    secrets = {"PIN": "12345", "DB": "a-long-secret"}
    flags = ["--build-id", NOT_THERE, "--env", "DB", "--env", "TYPED=too"]
    dry = project.invoke("--dry", "reuse", *flags, **secrets)
    assert '"env":{"OPEN":"shown","PIN":"***","DB":"***","TYPED":"too"}' in dry.stderr, dry.stderr


def test_a_value_that_was_left_out_is_asked_for(project: Project, sandbox: SandboxProcess) -> None:
    deployed(project, "one", "two")
    sandbox.forget()
    for words in (["reuse"], ["rollback"]):
        refused = project.invoke(*words, "--env", "MODE=…", MODE="development")
        assert refused.returncode == 2
        assert "--env MODE=…: replace … with the value. Nothing was sent" in refused.stderr
    assert sandbox.seen() == []


@pytest.mark.parametrize("words", [["--domain"], ["--domain", "--replicas", "2"], ["--env"], ["--app"]])
def test_a_flag_without_its_value_is_refused(project: Project, sandbox: SandboxProcess, words: list[str]) -> None:
    refused = project.invoke("reuse", *words)
    assert refused.returncode != 0
    assert words[0] in refused.stderr
    assert "_Flag" not in refused.stderr
    assert sandbox.seen() == []


def test_a_variable_that_looks_like_a_setting_is_named(project: Project, sandbox: SandboxProcess) -> None:
    said = project.invoke("build", DEPLOY_HEALTHPATH="/h", DEPLOY_STAGE="x").stderr
    assert "warning: DEPLOY_HEALTHPATH is not a setting (did you mean DEPLOY_HEALTH_PATH?)" in said
    assert "DEPLOY_STAGE" not in said


def test_what_a_later_deploy_lacks_is_said_before_the_build(project: Project, sandbox: SandboxProcess) -> None:
    del project.environment["DEPLOY_PORT"]
    refused = project.invoke("build", "reuse")
    assert refused.returncode == 2
    assert "not set: DEPLOY_PORT" in refused.stderr
    assert sandbox.seen() == []
    assert project.invoke("build", "reuse", "--port", "3000").returncode == 0
    assert project.invoke("build").returncode == 0


def test_a_command_to_try_again_has_the_flags_of_the_call(project: Project, sandbox: SandboxProcess) -> None:
    away = project.invoke("build", "--image-tag", "x", "--no-cache", DEPLOY_API_URL="http://127.0.0.1:9")
    assert away.returncode == 5
    assert "Try again: invoke build --image-tag x --no-cache" in away.stderr
    wrong = project.invoke("build", DEPLOY_API_KEY="wr0ng")
    assert "No build was started. Check shell variable DEPLOY_API_KEY" in wrong.stderr


def test_a_configuration_that_is_no_yaml_is_one_line(project: Project) -> None:
    project.write("invoke.yaml", "deploy:\n\tapp: x\n")
    refused = project.run(sys.executable, "-m", "deploy_tasks", "status")
    assert refused.returncode == 2
    assert refused.stderr.startswith("the Invoke configuration ")
    assert len(refused.stderr.splitlines()) == 1
