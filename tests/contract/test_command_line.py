"""What a task knows of the command line that it runs on: what follows it, and what its messages say to run next."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.api import faulty_api, http
from tests.project import Project
from tests.sandboxes import SandboxProcess

AS_DOCS = "from invoke import Collection\nfrom deploy_tasks import ns\nns = Collection(docs=ns)\n"


@pytest.mark.parametrize(
    "words",
    [
        "build --if-needed reuse",
        "build --allow-unpushed --no-logs reuse",
        "build --image-tag=v1 --if-needed reuse-deploy",
        "build --no-wait wait --no-logs reuse",
        "build --image-tag reuse reuse",
        "-e build --if-needed reuse --replicas 2",
    ],
)
def test_nothing_is_built_for_a_deploy_that_lacks_its_port(
    project: Project, sandbox: SandboxProcess, words: str
) -> None:
    del project.environment["DEPLOY_PORT"]
    done = project.invoke(*words.split())
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("not set: DEPLOY_PORT or port under deploy: in invoke.yaml. ")
    assert sandbox.seen() == []


@pytest.mark.parametrize(
    "words",
    [
        "build --if-needed reuse --port 3000",
        "build --image-tag reuse",
        "build --image-tag reuse digest --image-tag=reuse",
        "reuse --build-id {digest} --port 1 build",
    ],
)
def test_a_port_is_asked_for_only_where_a_deploy_follows_without_one(
    project: Project, sandbox: SandboxProcess, words: str
) -> None:
    del project.environment["DEPLOY_PORT"]
    digest = project.invoke("build").stdout.strip()
    done = project.invoke(*words.format(digest=digest).split())
    assert done.returncode == 0, done.stderr


def test_a_collection_of_another_name_is_in_the_command_to_go_on(project: Project, sandbox: SandboxProcess) -> None:
    project.write("tasks.py", AS_DOCS)
    started = project.invoke("docs.build", "--no-wait")
    assert started.stderr.endswith("Pick it up: invoke docs.wait\n")
    refused = project.invoke("docs.wait", "docs.wait")
    assert refused.stderr.endswith("Start one: invoke docs.build. Or name one: --job JOB --image-tag TAG\n")


def test_tasks_of_another_file_are_named_with_that_file(project: Project, sandbox: SandboxProcess) -> None:
    project.write("ops.py", AS_DOCS)
    started = project.invoke("-c", "ops", "docs.build", "--no-wait")
    _, _, command = started.stderr.strip().rpartition("Pick it up: ")
    assert command == "invoke --collection ops docs.wait"
    assert project.run(sys.executable, "-m", *command.split()).returncode == 0


def test_a_task_that_is_not_in_the_collection_is_named_for_the_program_that_has_it(
    project: Project, sandbox: SandboxProcess
) -> None:
    project.write("tasks.py", "from deploy_tasks.tasks import build\n")
    started = project.invoke("build", "--no-wait")
    assert started.stderr.endswith("Pick it up: deploy-tasks wait\n")
    waited = project.run(str(Path(sys.executable).with_name("deploy-tasks")), "wait")
    assert waited.returncode == 0, waited.stderr


@pytest.mark.parametrize(
    ("words", "then"),
    [
        ("build", "invoke wait"),
        ("build reuse", "invoke wait reuse"),
        ("build --namespace own reuse --replicas 2", "invoke wait --namespace own reuse --replicas 2"),
        ("build --image-tag v1 --no-cache reuse status", "invoke wait reuse status"),
    ],
)
def test_what_must_follow_an_interrupted_build_is_in_the_command_to_go_on(
    project: Project, slow_sandbox: SandboxProcess, words: str, then: str
) -> None:
    with project.start(*words.split()) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if " builds " in line:
                break
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
        assert process.wait() == 143
    assert said.splitlines()[-1].endswith(f" goes on in the cluster. Pick it up: {then}")
    went_on = project.invoke(*then.split()[1:])
    assert went_on.returncode == 0, went_on.stderr
    assert ("deployed" in went_on.stderr) == ("reuse" in then)


@pytest.fixture
def slow_sandbox(project: Project, tmp_path: Path) -> Iterator[SandboxProcess]:
    sandbox = SandboxProcess(tmp_path / "slow", "--build-seconds", "2")
    project.environment.update(sandbox.settings, DEPLOY_PORT="3000")
    yield sandbox
    sandbox.stop()


def test_a_deadline_names_what_must_follow(project: Project, slow_sandbox: SandboxProcess) -> None:
    late = project.invoke("build", "--timeout", "1", "reuse", "--replicas", "2")
    assert late.returncode == 7
    assert late.stderr.endswith("Pick it up: invoke wait reuse --replicas 2\n")


def test_a_build_request_that_is_not_sent_names_the_whole_chain(project: Project) -> None:
    project.environment.update(DEPLOY_API_URL="http://127.0.0.1:9", DEPLOY_API_KEY="a-key", DEPLOY_PORT="3000")
    away = project.invoke("build", "--no-cache", "reuse", "--domain", "a.example.com")
    assert away.returncode == 5
    assert away.stderr.endswith("Try again: invoke build --no-cache reuse --domain a.example.com\n")


def test_a_digest_that_is_not_there_names_what_must_follow(project: Project, sandbox: SandboxProcess) -> None:
    missing = project.invoke("digest", "--image-tag", "not-there", "reuse")
    assert missing.returncode == 8
    assert missing.stderr.endswith("Build the present commit: invoke build reuse, or invoke local reuse\n")


def test_of_several_apps_what_must_follow_is_for_all_of_them(project: Project) -> None:
    project.write("invoke.yaml", "deploy: {port: 3000, apps: {a: {}, b: {}}}\n")
    project.commit("two apps")
    project.push()
    with faulty_api() as api:
        project.environment.update(DEPLOY_API_URL=api.url, DEPLOY_API_KEY="a-key")
        api.answers["start"] = [http(400, {"error": "no"})]
        words = ["build", "--app", "all", "--jobs", "1", "--namespace", "own", "reuse", "--replicas", "2"]
        done = project.invoke(*words)
    assert done.returncode == 4, done.stderr
    assert done.stderr.splitlines()[-1].endswith(
        ". Retry only that app: invoke build --app a --namespace own --jobs 1 "
        "reuse --app all --namespace own --jobs 1 --replicas 2"
    )


def test_of_several_apps_what_must_follow_is_said_once(project: Project) -> None:
    project.write("invoke.yaml", "deploy: {port: 3000, apps: {a: {}, b: {}}}\n")
    project.commit("two apps")
    project.push()
    with faulty_api() as api:
        project.environment.update(DEPLOY_API_URL=api.url, DEPLOY_API_KEY="a-key")
        api.always("wait", http(200, {"status": "running"}))
        done = project.invoke("build", "--app", "all", "--timeout", "1", "reuse")
    assert done.returncode == 7, done.stderr
    assert "a | build-shop-1 still runs after 1 s. The build goes on. Pick it up: invoke wait --app a\n" in done.stderr
    assert done.stderr.splitlines()[-1].endswith(". Pick up the builds in flight: invoke wait --app a,b reuse")
