"""The tasks as real `invoke` processes against a sandbox over a socket."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys

import pytest

from tests.project import SECONDS_A_COMMAND, Process, Project, wait_until
from tests.sandboxes import HeldSandbox, SandboxProcess

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
NOT_SET = "not set: {}. Nothing was sent. Set variables in the shell, or in .env at the project's root\n"
NOT_THERE = "sha256:" + 64 * "0"


def test_build_records_the_digest_and_a_new_process_deploys_it(project: Project, any_sandbox: SandboxProcess) -> None:
    built = project.invoke("build")
    assert built.returncode == 0, built.stderr
    digest = built.stdout.strip()
    assert DIGEST.fullmatch(digest)
    assert list(project.record) == [
        "repoUrl",
        "gitRef",
        "app",
        "namespace",
        "imageName",
        "imageTag",
        "buildId",
        "appClass",
    ]
    assert project.record["buildId"] == digest
    assert project.record["gitRef"] == project.record["imageTag"] == project.head
    assert project.in_flight is None
    any_sandbox.forget()
    reused = project.invoke("reuse")
    assert reused.returncode == 0, reused.stderr
    image = project.record["imageName"]
    assert reused.stdout == f"{any_sandbox.registry}/{image}@{digest}\n"
    assert any_sandbox.seen("POST") == ["POST /build 200"]


def test_a_build_without_waiting_is_picked_up_by_a_new_process(project: Project, any_sandbox: SandboxProcess) -> None:
    started = project.invoke("build", "--no-wait")
    assert started.returncode == 0, started.stderr
    job = started.stdout.strip()
    assert project.in_flight is not None
    assert project.in_flight["jobName"] == job
    assert not (project.folder / ".deploy" / "build-id.json").exists()
    chained = project.invoke("wait", "reuse")
    assert chained.returncode == 0, chained.stderr
    digest, reference = chained.stdout.split()
    assert reference.endswith(f"@{digest}")
    assert project.in_flight is None
    assert len(any_sandbox.seen("POST /build 202")) == 1


def test_wait_then_digest_then_reuse_in_one_command_line(project: Project, any_sandbox: SandboxProcess) -> None:
    project.invoke("build", "--no-wait")
    chained = project.invoke("wait", "digest", "reuse")
    assert chained.returncode == 0, chained.stderr
    waited, resolved, reference = chained.stdout.split()
    assert waited == resolved
    assert reference.endswith(f"@{waited}")


def test_wait_by_job_name_where_another_machine_started_the_build(project: Project, sandbox: SandboxProcess) -> None:
    job = project.invoke("build", "--no-wait").stdout.strip()
    (project.folder / ".deploy" / "build-id.in-flight.json").unlink()
    asked = project.invoke("wait", "--job", job)
    assert asked.returncode == 2, "HEAD's commit may be another build's"
    assert asked.stderr.startswith(f"{job} is not the build in flight here. ")
    assert asked.stderr.endswith("Name its tag too: --image-tag TAG\n")
    waited = project.invoke("wait", "--job", job, "--image-tag", project.head)
    assert waited.returncode == 0, waited.stderr
    assert project.record["buildId"] == waited.stdout.strip()


def test_the_advice_on_a_build_that_is_left_behind_gets_at_its_image(project: Project, sandbox: SandboxProcess) -> None:
    first = project.invoke("build", "--no-wait", "--image-tag", "first").stdout.strip()
    project.write("page.html", "changed")
    project.commit("second")
    project.push()
    second = project.invoke("build", "--no-wait", "--image-tag", "second")
    advice = second.stderr.split("To get its image: invoke ")[1].splitlines()[0]
    assert advice == f"wait --job {first} --app shop --image-tag first"
    waited = project.invoke(*advice.split())
    assert waited.returncode == 0, waited.stderr
    assert waited.stdout.strip() == sandbox.call("GET", "/registry/shop/digest?tag=first").json()["buildId"]
    assert project.record["imageTag"] == "first"


def test_a_job_that_is_gone_does_not_stand_in_the_way(project: Project, sandbox: SandboxProcess) -> None:
    project.invoke("build", "--no-wait")
    state = {**(project.in_flight or {}), "jobName": "build-gone", "imageTag": "gone"}
    project.write(".deploy/build-id.in-flight.json", json.dumps(state))
    gone = project.invoke("wait")
    assert gone.returncode == 4
    assert gone.stderr == (
        "the API knows no build job build-gone (any more), and the registry has no shop:gone. Nothing was recorded. If "
        "the build still runs, look for its image later: invoke digest --app shop --image-tag gone. Or build again: "
        "invoke build\n"
    )
    built = project.invoke("build")
    assert built.returncode == 0, built.stderr


def test_a_build_without_the_cache_does_not_join_one_with_it(project: Project, sandbox: SandboxProcess) -> None:
    project.invoke("build", "--no-wait")
    project.invoke("build", "--no-cache")
    assert len(sandbox.seen("POST /build 202")) == 2


def test_a_stderr_that_is_full_does_not_cost_the_job(project: Project, sandbox: SandboxProcess) -> None:
    started = project.run("sh", "-c", f"{sys.executable} -m invoke build --no-wait 2>/dev/full")
    assert started.returncode == 0
    assert (project.in_flight or {})["jobName"] == started.stdout.strip()


def test_a_stdout_that_is_full_is_told_with_the_result(project: Project, sandbox: SandboxProcess) -> None:
    done = project.run("sh", "-c", f"{sys.executable} -m invoke build >/dev/full")
    assert done.returncode == 1
    digest = project.record["buildId"]
    assert done.stderr.splitlines()[-1] == (
        f"stdout cannot be written (No space left on device). The task itself is done. Its result: {digest}"
    )


def test_a_state_folder_that_cannot_be_written_is_noticed_before_a_build_is_started(
    project: Project, sandbox: SandboxProcess
) -> None:
    (project.folder / "elsewhere").mkdir()
    (project.folder / ".deploy").symlink_to("elsewhere")
    for task in ("build", "digest"):
        refused = project.invoke(task)
        assert refused.returncode == 10
        assert "is reached through a symbolic link" in refused.stderr
    assert sandbox.seen() == []


def test_a_digest_that_is_malformed_in_the_record_names_the_file(project: Project, sandbox: SandboxProcess) -> None:
    project.write_record({"app": "shop", "imageName": "shop", "buildId": "sha256:ABC"})
    refused = project.invoke("reuse")
    assert refused.returncode == 10
    assert ".deploy/build-id.json is not a state file of deploy-tasks ('sha256:ABC' is not a buildId" in refused.stderr


def test_an_empty_build_id_is_not_the_last_one(project: Project, sandbox: SandboxProcess) -> None:
    project.invoke("build")
    sandbox.forget()
    assert project.invoke("reuse", "--build-id", "").returncode == 2
    assert sandbox.seen() == []


def test_a_project_in_a_sub_folder_of_its_repository_builds_that_folder(
    project: Project, sandbox: SandboxProcess
) -> None:
    (project.folder / "Dockerfile").unlink()
    project.write("services/api/tasks.py", "from deploy_tasks import ns\n")
    project.write("services/api/Dockerfile", "FROM scratch\n")
    project.commit("api")
    project.push()
    built = project.invoke("build", at="services/api")
    assert built.returncode == 0, built.stderr
    dry = project.invoke("--dry", "build", at="services/api")
    assert '"dockerfile":"services/api/Dockerfile","buildContext":"services/api"' in dry.stderr


def test_a_commit_that_only_another_remote_holds_is_not_clonable(project: Project, sandbox: SandboxProcess) -> None:
    fork = project.folder.with_name("fork.git")
    project.git("clone", "--quiet", "--bare", str(project.origin), str(fork))
    project.git("remote", "add", "fork", str(fork))
    commit = project.commit("for the fork")
    project.git("push", "--quiet", "fork", "main")
    for flags in ([], ["--git-ref", commit]):
        refused = project.invoke("build", *flags)
        assert refused.returncode == 2
        assert "is on no branch of the remote" in refused.stderr
    assert sandbox.seen() == []


def test_why_git_does_not_know_is_told(project: Project, sandbox: SandboxProcess) -> None:
    shutil.rmtree(project.folder / ".git")
    project.write(".git", "gitdir: /nowhere\n")
    refused = project.invoke("build")
    assert refused.returncode == 2
    assert refused.stderr.rstrip().endswith("(git says: fatal: not a git repository: /nowhere). Nothing was sent")


def test_a_dry_chain_shows_what_each_task_would_send(project: Project, sandbox: SandboxProcess) -> None:
    dry = project.invoke("--dry", "build", "wait", "digest", "reuse", DEPLOY_GIT_TOKEN='to"ken')
    assert dry.returncode == 0, dry.stderr
    assert sandbox.seen() == ["GET /api/apps/apps/shop 404"], "what runs; nothing that changes anything"
    assert not (project.folder / ".deploy").exists()
    lines = dry.stderr.splitlines()
    shown = [line.removeprefix("dry run, not sent: ") for line in lines if line.startswith("dry run")]
    assert [line.split("http")[0] for line in shown] == ["POST ", "POST ", "GET ", "POST "]
    assert '"gitToken":"***"' in shown[0]
    assert f'"buildId":"<digest of shop:{project.head}>"' in shown[3], "nobody knows the digest of what is not built"


def test_a_dry_wait_names_the_build_in_flight(project: Project, sandbox: SandboxProcess) -> None:
    job = project.invoke("build", "--no-wait").stdout.strip()
    sandbox.forget()
    dry = project.invoke("--dry", "wait", "reuse")
    assert dry.returncode == 0, dry.stderr
    assert f"/build/{job}/wait" in dry.stderr
    assert f'"buildId":"<digest of shop:{project.head}>"' in dry.stderr
    assert {line.split()[0] for line in sandbox.seen()} == {"GET"}


@pytest.mark.parametrize(("flag", "sent"), [("--tls", None), ("--no-tls", False), ("", False)])
def test_a_switch_on_the_command_line_wins(
    project: Project, sandbox: SandboxProcess, flag: str, sent: bool | None
) -> None:
    done = project.invoke("build", "reuse", *flag.split(), DEPLOY_TLS="false")
    assert done.returncode == 0, done.stderr
    assert sandbox.app("apps", "shop")["deployConfig"].get("tls") is sent


def test_what_a_build_prints_is_passed_on_as_it_is(project: Project, sandbox: SandboxProcess) -> None:
    elsewhere = project.origin.with_name("run invoke build")
    elsewhere.symlink_to(project.origin)
    project.write(
        "tasks.py", "from invoke import Collection\nfrom deploy_tasks import ns\nns = Collection(deploy=ns)\n"
    )
    done = project.invoke("deploy.build", "--no-wait", "--repo-url", str(elsewhere))
    assert "Pick it up: invoke deploy.wait" in done.stderr
    waited = project.invoke("deploy.wait")
    assert f"cloning {elsewhere} at" in waited.stderr, "the builder's own words"


def test_everything_works_from_a_sub_folder(project: Project, any_sandbox: SandboxProcess) -> None:
    (project.folder / "deep" / "down").mkdir(parents=True)
    done = project.invoke("build", "reuse", at="deep/down")
    assert done.returncode == 0, done.stderr
    assert project.record["buildId"] == done.stdout.split()[0]
    assert not (project.folder / "deep" / "down" / ".deploy").exists()


def test_stdout_of_digest_is_the_digest_alone(project: Project, any_sandbox: SandboxProcess) -> None:
    built = project.invoke("build")
    shell = f'echo "<$({sys.executable} -m invoke digest)>"'
    asked = project.run("sh", "-c", shell)
    assert asked.stdout == f"<{built.stdout.strip()}>\n"


def test_digest_of_a_tag_that_is_not_there_says_what_to_do(project: Project, any_sandbox: SandboxProcess) -> None:
    asked = project.invoke("digest", "--image-tag", "v9")
    assert asked.returncode == 8
    assert asked.stdout == ""
    assert asked.stderr == (
        "tag v9 is not in the registry for image shop. Build the present commit: invoke build, or invoke local\n"
    )


def test_digest_does_not_deploy_old_code_after_new_commits(project: Project, sandbox: SandboxProcess) -> None:
    project.invoke("build")
    project.commit("second")
    asked = project.invoke("digest", "reuse")
    assert asked.returncode == 8
    assert sandbox.seen("POST /build 200") == []


def test_reuse_of_an_unknown_digest_builds_and_deploys_nothing(project: Project, any_sandbox: SandboxProcess) -> None:
    project.invoke("build")
    before = project.record
    any_sandbox.forget()
    refused = project.invoke("reuse", "--build-id", NOT_THERE)
    assert refused.returncode == 8
    assert refused.stdout == ""
    assert "Nothing was built or deployed. Build the present commit: invoke build" in refused.stderr
    assert any_sandbox.seen("POST") == ["POST /build 404"]
    assert project.record == before


def test_reuse_of_another_images_record_sends_nothing(project: Project, sandbox: SandboxProcess) -> None:
    project.invoke("build")
    sandbox.forget()
    refused = project.invoke("reuse", "--app", "other")
    assert refused.returncode == 2
    assert "the recorded digest is of image shop, not of other. Nothing was deployed. " in refused.stderr
    assert sandbox.seen() == []


def test_reuse_without_a_record_says_how_to_get_one(project: Project, sandbox: SandboxProcess) -> None:
    refused = project.invoke("reuse")
    assert refused.returncode == 2
    assert refused.stderr.startswith("no digest is recorded yet. ")
    assert "Build the present commit: invoke build reuse, or invoke local reuse\n" in refused.stderr
    assert sandbox.seen() == []


@pytest.mark.parametrize("task", ["build", "local", "wait", "reuse", "rollback", "deploy", "promote"])
def test_a_refused_command_leaves_the_checkout_as_it_was(project: Project, sandbox: SandboxProcess, task: str) -> None:
    project.write("page.html", "not pushed")
    project.commit("not pushed")
    (project.folder / "Dockerfile").unlink()
    before = sorted(project.folder.iterdir())
    refused = project.invoke(task)
    assert refused.returncode == 2, refused.stderr
    assert sorted(project.folder.iterdir()) == before


def test_reuse_works_with_the_reference_clients_state_file(project: Project, any_sandbox: SandboxProcess) -> None:
    digest = project.invoke("build").stdout.strip()
    project.write_record(
        {
            "repoUrl": None,
            "gitRef": None,
            "app": "shop",
            "namespace": "apps",
            "imageName": "shop",
            "imageTag": None,
            "buildId": digest,
        }
    )
    reused = project.invoke("reuse")
    assert reused.returncode == 0, reused.stderr
    assert reused.stdout.strip().endswith(f"/shop@{digest}")


def test_the_alias_of_the_users_document(project: Project, sandbox: SandboxProcess) -> None:
    project.invoke("build")
    assert project.invoke("reuse-deploy").returncode == 0


def test_the_app_class_decides_namespace_and_nodes(project: Project, sandbox: SandboxProcess) -> None:
    done = project.invoke("build", "reuse", "--app-class", "non-business", "--replicas", "2")
    assert done.returncode == 0, done.stderr
    app = sandbox.app("non-business-apps", "shop")
    assert app["deployConfig"]["appClass"] == "non-business"
    assert app["replicas"] == 2


def test_a_target_of_an_earlier_task_holds_for_the_later_ones(project: Project, sandbox: SandboxProcess) -> None:
    done = project.invoke("build", "--app", "api", "--app-class", "non-business", "reuse")
    assert done.returncode == 0, done.stderr
    assert sandbox.app("non-business-apps", "api")["image"] == done.stdout.split()[1]


def test_the_record_carries_the_target_to_the_next_process(project: Project, sandbox: SandboxProcess) -> None:
    project.invoke("build", "--app", "carried", "--app-class", "non-business")
    reused = project.invoke("reuse")
    assert reused.returncode == 0, reused.stderr
    assert sandbox.app("non-business-apps", "carried")["image"] == reused.stdout.strip()


def test_everything_of_the_deploy_reaches_the_cluster(project: Project, sandbox: SandboxProcess) -> None:
    project.invoke("build")
    flags = ["--port=8080", "--replicas=3", "--domain=a.example.com", "--domain=*.example.com", "--health-path=/ok"]
    reused = project.invoke("reuse", *flags, "--no-tls", "--env", "MODE=fast", "--env", "URL=http://x/?a=b")
    assert reused.returncode == 0, reused.stderr
    env = {"MODE": "fast", "URL": "http://x/?a=b"}
    assert sandbox.config("apps", "shop", env) == {
        "port": 8080,
        "replicas": 3,
        "domains": ["a.example.com", "*.example.com"],
        "healthPath": "/ok",
        "tls": False,
        "env": env,
        "appClass": "business",
    }


def test_json_prints_one_object_a_task(project: Project, any_sandbox: SandboxProcess) -> None:
    done = project.invoke("build", "--json", "digest", "--json", "reuse", "--json")
    assert done.returncode == 0, done.stderr
    built, resolved, reused = [json.loads(line) for line in done.stdout.splitlines()]
    assert built == project.record == resolved
    assert reused["image"] == f"{any_sandbox.registry}/shop@{built['buildId']}"


def test_an_unpushed_commit_is_not_built_unless_told_so(project: Project, sandbox: SandboxProcess) -> None:
    project.commit("only here")
    refused = project.invoke("build")
    assert refused.returncode == 2
    assert "is on no branch of the remote" in refused.stderr
    assert "invoke local" in refused.stderr
    assert sandbox.seen() == []
    failed = project.invoke("build", "--allow-unpushed")
    assert failed.returncode == 9, failed.stderr


def test_uncommitted_changes_are_a_warning(project: Project, sandbox: SandboxProcess) -> None:
    project.write("page.html", "changed")
    built = project.invoke("build")
    assert built.returncode == 0
    assert "warning: uncommitted changes are not part of this build" in built.stderr


def test_our_own_state_does_not_make_the_tree_dirty(project: Project, sandbox: SandboxProcess) -> None:
    project.invoke("build")
    assert "warning" not in project.invoke("build").stderr


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--git-ref", "no-such-branch"], "no-such-branch"),
        (["--dockerfile", "Nope"], "Dockerfile 'Nope' is not in the repository"),
        (["--build-context", "nope"], "build context 'nope' is not a folder"),
    ],
)
def test_a_build_that_fails_shows_why_and_keeps_the_last_good_digest(
    project: Project, any_sandbox: SandboxProcess, flags: list[str], says: str
) -> None:
    project.invoke("build")
    before = project.record
    failed = project.invoke("build", *flags)
    assert failed.returncode == 9
    assert failed.stdout == ""
    assert says in failed.stderr
    assert "Nothing was recorded, and the last good digest is unchanged" in failed.stderr
    assert project.record == before
    assert project.in_flight is None


def test_a_moved_tag_is_told(project: Project, sandbox: SandboxProcess) -> None:
    old = project.invoke("build", "--image-tag", "same").stdout.strip()
    project.write("page.html", "changed")
    project.commit("second")
    project.push()
    built = project.invoke("build", "--image-tag", "same")
    assert f"tag same points to another image now: {old} → {built.stdout.strip()}" in built.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_the_build_running_and_says_how_to_pick_it_up(
    project: Project, number: signal.Signals
) -> None:
    sandbox = HeldSandbox(project.folder.with_name("slow"))
    try:
        project.environment.update(sandbox.settings)
        with Process(
            [sys.executable, "-m", "invoke", "build"],
            cwd=project.folder,
            env=project.environment,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            job = process.stderr.readline().split()[0]
            wait_until(lambda: project.in_flight)
            process.send_signal(number)
            said = process.stderr.read()
            assert process.wait(SECONDS_A_COMMAND) == 128 + number
        *logged, last = said.splitlines()
        assert last == f"stopped. {job} goes on in the cluster. Pick it up: invoke wait"
        assert all(line.startswith("cloning ") for line in logged)
        sandbox.let_builds_end()
        waited = project.invoke("wait")
        assert waited.returncode == 0, waited.stderr
        assert len(sandbox.seen("POST /build 202")) == 1
    finally:
        sandbox.stop()


def test_the_same_build_is_joined_and_not_started_twice(project: Project) -> None:
    sandbox = HeldSandbox(project.folder.with_name("slow"))
    try:
        project.environment.update(sandbox.settings)
        job = project.invoke("build", "--no-wait").stdout.strip()
        sandbox.let_builds_end_once(lambda: sandbox.seen(f"POST /build/{job}/wait"))
        again = project.invoke("build")
        assert again.returncode == 0, again.stderr
        assert f"{job} already builds commit" in again.stderr
        assert len(sandbox.seen("POST /build 202")) == 1
    finally:
        sandbox.stop()


def test_at_the_deadline_the_build_is_said_to_run_on(project: Project) -> None:
    sandbox = SandboxProcess(project.folder.with_name("slow"), "--build-seconds", "3600")
    try:
        project.environment.update(sandbox.settings)
        late = project.invoke("build", "--timeout", "1")
        assert late.returncode == 7
        job = (project.in_flight or {})["jobName"]
        assert late.stderr.splitlines()[-1] == (
            f"{job} still runs after 1 s. The build goes on. Pick it up: invoke wait"
        )
    finally:
        sandbox.stop()


def test_a_stopped_server_is_one_line(project: Project) -> None:
    project.environment.update(DEPLOY_API_URL="http://127.0.0.1:9", DEPLOY_API_KEY="k3y")
    failed = project.invoke("build")
    assert failed.returncode == 5
    assert failed.stderr == (
        "could not start the build: no connection to 127.0.0.1:9. No build was started. Try again: invoke build\n"
    )


def test_a_wrong_key_names_its_variable(project: Project, any_sandbox: SandboxProcess) -> None:
    failed = project.invoke("build", DEPLOY_API_KEY="wr0ng")
    assert failed.returncode == 4
    assert "does not accept the key. No build was started. Check shell variable DEPLOY_API_KEY" in failed.stderr
    assert "wr0ng" not in failed.stderr


@pytest.mark.parametrize("task", ["build", "wait", "digest", "reuse"])
def test_a_missing_key_names_its_variable_before_anything_is_sent(
    project: Project, sandbox: SandboxProcess, task: str
) -> None:
    project.invoke("build", "--no-wait")
    project.write_record({"app": "shop", "imageName": "shop", "buildId": NOT_THERE})
    sandbox.forget()
    failed = project.invoke(task, DEPLOY_API_KEY="")
    assert failed.returncode == 2
    assert failed.stderr == NOT_SET.format("DEPLOY_API_KEY (it is empty)")
    assert sandbox.seen() == []


def test_all_that_is_missing_is_said_at_once(project: Project) -> None:
    failed = project.invoke("reuse")
    assert failed.returncode == 2
    assert failed.stderr == NOT_SET.format(
        "DEPLOY_API_URL, DEPLOY_API_KEY, --port or DEPLOY_PORT or port under deploy: in invoke.yaml"
    )


def test_settings_come_from_the_env_file_at_the_root(project: Project, sandbox: SandboxProcess) -> None:
    lines = "".join(f"export {key}={value}\n" for key, value in sandbox.settings.items())
    project.write(".env", lines)
    for key in sandbox.settings:
        del project.environment[key]
    (project.folder / "sub").mkdir()
    done = project.invoke("build", "reuse", at="sub")
    assert done.returncode == 0, done.stderr


def test_a_state_file_that_is_not_ours_is_refused_before_anything_is_sent(
    project: Project, sandbox: SandboxProcess
) -> None:
    project.write(".deploy/build-id.json", "{")
    failed = project.invoke("build")
    assert failed.returncode == 10
    assert ".deploy/build-id.json is not a state file of deploy-tasks" in failed.stderr
    assert sandbox.seen() == []
    assert (project.folder / ".deploy" / "build-id.json").read_text() == "{"


def test_a_dry_run_sends_and_writes_nothing(project: Project, sandbox: SandboxProcess) -> None:
    project.write_record({"app": "shop", "imageName": "shop", "buildId": NOT_THERE})
    dry = project.invoke("--dry", "build", "digest", "reuse")
    assert dry.returncode == 0, dry.stderr
    assert {line.split()[0] for line in sandbox.seen()} == {"GET"}
    posts = [line for line in dry.stderr.splitlines() if line.startswith("dry run, not sent: ")]
    assert len(posts) == 3
    assert f'"buildId":"<digest of shop:{project.head}>"' in posts[2]
    assert project.in_flight is None
