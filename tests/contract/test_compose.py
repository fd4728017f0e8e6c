"""The ways to bring the tasks into a repository, each as a real process; and chains."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.left_out import need_the_program
from tests.project import Project
from tests.sandboxes import SandboxProcess

# A container engine that is no engine: it says what docker says, its image's id being the reference. What a real one
# does is in tests/engine.
ENGINE = """#!/bin/sh
echo "$@" >> "$ENGINE_LOG"
digest() { echo "sha256:$(printf %s "$1" | sha256sum | cut -d' ' -f1)"; }
case "$1" in
  info) echo '{"ID": "x"}' ;;
  build)
    while [ $# -gt 0 ]; do
      [ "$1" = --tag ] && tag=$2
      [ "$1" = --iidfile ] && file=$2
      shift
    done
    echo "$tag" > "$file" ;;
  push) echo "${2##*:}: digest: $(digest "$2") size: 528" ;;
  image) echo "[\\"shop@$(digest "$5")\\"]" ;;
esac
"""


@pytest.fixture
def engine_log(project: Project) -> Path:
    engine = project.folder.with_name("engine")
    engine.write_text(ENGINE)
    engine.chmod(0o755)
    log = engine.with_name("engine.log")
    log.touch()
    project.environment.update(DEPLOY_DOCKER=str(engine), ENGINE_LOG=str(log))
    return log


def test_the_namespace_in_tasks_py(project: Project, sandbox: SandboxProcess) -> None:
    done = project.invoke("build", "reuse")
    assert done.returncode == 0, done.stderr


def test_as_a_sub_collection_beside_own_tasks(project: Project, sandbox: SandboxProcess) -> None:
    project.write(
        "tasks.py",
        """
from invoke import Collection, task
from deploy_tasks import ns as deploy

@task
def hello(c):
    print("hello")

ns = Collection(hello, deploy=deploy)
ns.configure({"deploy": {"port": 4000}})
""",
    )
    del project.environment["DEPLOY_PORT"]
    done = project.invoke("hello", "deploy.build", "deploy.reuse")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("hello\nsha256:")
    assert sandbox.app("apps", "shop")["deployConfig"]["port"] == 4000


@pytest.mark.parametrize("how", ["a sub-collection", "the program"])
def test_the_command_that_a_message_names_can_be_run(project: Project, sandbox: SandboxProcess, how: str) -> None:
    if how == "the program":
        (project.folder / "tasks.py").unlink()
        started = project.run(sys.executable, "-m", "deploy_tasks", "build", "--no-wait")
        program = [need_the_program()]
    else:
        lines = ("from invoke import Collection", "from deploy_tasks import ns", "ns = Collection(deploy=ns)", "")
        project.write("tasks.py", "\n".join(lines))
        started = project.invoke("deploy.build", "--no-wait")
        program = [sys.executable, "-m", "invoke"]
    assert started.returncode == 0, started.stderr
    _, named, command = started.stderr.strip().splitlines()[-1].partition("Pick it up: ")
    assert named, started.stderr
    assert command.split()[0] == Path(program[-1]).name
    waited = project.run(*program, *command.split()[1:])
    assert waited.returncode == 0, waited.stderr
    refused = project.run(*program, *command.split()[1:])
    assert refused.stderr.startswith(f"no build is in flight. Start one: {command.replace('wait', 'build')}. ")


def test_single_tasks_called_from_an_own_task(project: Project, sandbox: SandboxProcess, engine_log: Path) -> None:
    project.write(
        "tasks.py",
        """
from invoke import task
from deploy_tasks.tasks import local, reuse

@task
def ship(c):
    record = local(c, app="own")
    deployed = reuse(c, port=5000)
    print(record.build_id == deployed.build_id, deployed.app)
""",
    )
    done = project.invoke("ship")
    # There is no such image in the sandbox, which is as far as an engine that is none can come.
    assert done.returncode == 8, done.stderr
    assert "is not in the registry for image own" in done.stderr
    assert engine_log.read_text().splitlines()[-2].startswith(f"push {sandbox.registry}/own:local-")


def test_an_own_task_gets_records_and_can_catch_what_goes_wrong(project: Project, sandbox: SandboxProcess) -> None:
    project.write(
        "tasks.py",
        """
from invoke import task
from deploy_tasks.errors import DigestNotFound
from deploy_tasks.tasks import build, reuse

@task
def ship(c):
    record = build(c)
    print(reuse(c).build_id == record.build_id)
    try:
        reuse(c, build_id="sha256:" + 64 * "0")
    except DigestNotFound as error:
        print("caught", error.code)
""",
    )
    done = project.invoke("ship")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2:] == ["True", "caught 8"]


@pytest.mark.parametrize("program", [["-m", "deploy_tasks"], None])
def test_without_a_tasks_py(project: Project, sandbox: SandboxProcess, program: list[str] | None) -> None:
    (project.folder / "tasks.py").unlink()
    project.write("invoke.yaml", "deploy: {port: 4100}\n")
    del project.environment["DEPLOY_PORT"]
    command = [need_the_program()] if program is None else [sys.executable, *program]
    (project.folder / "sub").mkdir()
    done = project.run(*command, "build", "reuse", at="sub")
    assert done.returncode == 0, done.stderr
    assert sandbox.app("apps", "shop")["deployConfig"]["port"] == 4100


def test_a_chain_with_two_apps_deploys_both(project: Project, sandbox: SandboxProcess) -> None:
    # Two calls of `reuse` that are the same to Invoke, which would drop the second.
    done = project.invoke("build", "--app", "one", "reuse", "build", "--app", "two", "reuse")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert [sandbox.app("apps", app)["image"] for app in ("one", "two")] == [lines[1], lines[3]]


def test_a_chain_with_two_local_apps_runs_every_task(
    project: Project, sandbox: SandboxProcess, engine_log: Path
) -> None:
    done = project.invoke("--dry", "local", "--app", "a", "local", "--app", "b")
    assert done.returncode == 0, done.stderr
    assert engine_log.read_text().splitlines() == ["info --format {{json .}}"] * 2, "asking is no action"
    assert sandbox.seen() == []
    assert not (project.folder / ".deploy").exists()
    engine_log.write_text("")
    done = project.invoke("local", "--app", "a", "local", "--app", "b")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in engine_log.read_text().splitlines()] == ["info", "build", "push", "image"] * 2
    assert "does not find a:local-" in done.stderr, "an engine that is none pushes nothing"
    assert project.record["app"] == "b"


def test_a_chain_deploys_its_own_digest_whatever_another_process_records(
    project: Project, sandbox: SandboxProcess
) -> None:
    project.write(
        "tasks.py",
        """
import json, pathlib
from invoke import Collection, task
from deploy_tasks.tasks import ns

@task
def meddle(c):
    file = pathlib.Path(".deploy/build-id.json")
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "buildId": "sha256:" + 64 * "0"}))

ns.add_task(meddle)
""",
    )
    done = project.invoke("build", "meddle", "reuse")
    assert done.returncode == 0, done.stderr
    built, reference = done.stdout.split()
    assert reference.endswith(f"@{built}")


def test_settings_in_the_invoke_configuration(project: Project, sandbox: SandboxProcess) -> None:
    project.write("invoke.yaml", "deploy:\n  app: configured\n  replicas: 2\n  domain: [a.example.com]\n")
    done = project.invoke("build", "reuse", INVOKE_DEPLOY_REPLICAS="4", INVOKE_DEPLOY_HEALTH_PATH="/up")
    assert done.returncode == 0, done.stderr
    config = sandbox.app("apps", "configured")["deployConfig"]
    assert config == {
        "port": 3000,
        "replicas": 4,
        "domain": "a.example.com",
        "healthPath": "/up",
        "appClass": "business",
    }


@pytest.mark.parametrize("text", ["", "# deploy:\n#   port: 3000\n", "---\n"])
def test_a_configuration_file_may_be_empty(project: Project, sandbox: SandboxProcess, text: str) -> None:
    project.write("invoke.yaml", text)
    done = project.invoke("build", "reuse")
    assert done.returncode == 0, done.stderr
    assert sandbox.app("apps", "shop")["deployConfig"] == {"port": 3000, "appClass": "business"}


def test_a_typo_in_the_configuration_is_refused_with_the_nearest_setting(
    project: Project, sandbox: SandboxProcess
) -> None:
    project.write("invoke.yaml", "deploy: {replcas: 2}\n")
    refused = project.invoke("build")
    assert refused.returncode == 2
    assert "'deploy.replcas' is not a setting (did you mean deploy.replicas?)" in refused.stderr
    assert sandbox.seen() == []


def test_a_task_in_a_chain_that_fails_ends_the_chain(project: Project, sandbox: SandboxProcess) -> None:
    project.invoke("build")
    sandbox.forget()
    done = project.invoke("build", "--dockerfile", "Nope", "reuse")
    assert done.returncode == 9
    assert sandbox.seen("POST /build 200") == []


@pytest.mark.parametrize("words", [["-T", "soon"], ["-T", "", "build"]])
def test_a_flag_of_invokes_own_with_a_bad_value_is_one_line(project: Project, words: list[str]) -> None:
    done = project.run(sys.executable, "-m", "deploy_tasks", *words)
    assert done.returncode == 2
    assert done.stderr.startswith("a flag of Invoke has an invalid value")
    assert len(done.stderr.splitlines()) == 1
