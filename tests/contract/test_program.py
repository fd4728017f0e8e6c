"""The program `deploy-tasks` in a repository without a tasks.py, which need not be trusted; and how it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import Project
from tests.sandboxes import SandboxProcess

PROGRAM = [str(Path(sys.executable).with_name("deploy-tasks"))]
ANOTHER_USER = 54321
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


@pytest.fixture
def cloned(project: Project, sandbox: SandboxProcess) -> Project:
    """A repository without a tasks.py."""
    (project.folder / "tasks.py").unlink()
    return project


def trap(project: Project) -> str:
    """A file in the repository that leaves a trace where it is run; its path."""
    path = project.write("trap", "#!/bin/sh\ntouch trapped\n")
    path.chmod(0o755)
    return str(path)


def is_trapped(project: Project) -> bool:
    return (project.folder / "trapped").exists()


@pytest.mark.parametrize("program", [PROGRAM, [sys.executable, "-m", "deploy_tasks"]])
def test_no_configuration_file_in_python_is_run(cloned: Project, program: list[str]) -> None:
    cloned.write("invoke.py", "open('trapped', 'w').close()\ndeploy = {'app': 'evil'}\n")
    cloned.write("home/.invoke.py", "open('trapped', 'w').close()\n")
    done = cloned.run(*program, "--dry", "build", HOME=str(cloned.folder / "home"))
    assert done.returncode == 0, done.stderr
    assert not is_trapped(cloned)
    assert f"warning: {cloned.folder}/invoke.py is not run; write it as YAML" in done.stderr
    assert '"app":"shop"' in done.stderr
    named = cloned.run(*program, "-f", "invoke.py", "--dry", "build")
    assert not is_trapped(cloned)
    assert '"app":"shop"' in named.stderr


@pytest.mark.parametrize("name", ["invoke.yaml", "invoke.yml", "invoke.json", "-f given.yaml"])
def test_nothing_but_settings_is_read_from_a_configuration_file(cloned: Project, name: str) -> None:
    content = '{{"deploy": {{"app": "own"}}, "run": {{"shell": "{0}", "dry": false}}, "runners": {{"local": "{0}"}}, '
    content += '"tasks": {{"executor_class": "trap.Executor"}}}}'
    flag, _, file = name.rpartition(" ")
    cloned.write(file, content.format(trap(cloned)))
    cloned.write("trap.py", "open('trapped', 'w').close()\n")
    flags = [flag, file] if flag else []
    engine = cloned.folder.with_name("engine")
    engine.write_text('#!/bin/sh\necho \'{"ServerVersion": "28"}\'\n')
    engine.chmod(0o755)
    done = cloned.run(*PROGRAM, *flags, "--dry", "local", DEPLOY_DOCKER=str(engine))
    assert not is_trapped(cloned)
    assert "own:local-" in done.stderr, done.stderr


@pytest.mark.parametrize("value", ["./trap", "{path}", "sh", "../shop/trap", "[./trap]", "env ./trap"])
def test_an_engine_that_the_repository_names_is_not_run(cloned: Project, sandbox: SandboxProcess, value: str) -> None:
    named = value.format(path=trap(cloned))
    cloned.write("info", "touch trapped\n")  # what `sh info` would run
    cloned.write("invoke.yaml", f"deploy: {{docker: {named}}}\n")
    done = cloned.run(*PROGRAM, "local")
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"deploy.docker in {cloned.folder}/invoke.yaml names a program that deploy-tasks does not run"
    )
    assert len(done.stderr.splitlines()) == 1
    assert not is_trapped(cloned)
    assert sandbox.seen() == []


@pytest.mark.parametrize("file", [".env", ".env.local", "app.env"])
@pytest.mark.parametrize("task", ["local", "local-deploy", "doctor"])
def test_an_engine_that_an_env_file_names_is_not_run(
    cloned: Project, sandbox: SandboxProcess, file: str, task: str
) -> None:
    cloned.write(file, f"DEPLOY_DOCKER={trap(cloned)}\n").chmod(0o600)
    cloned.write("invoke.yaml", "deploy: {env_file: app.env}\n")
    done = cloned.run(*PROGRAM, task)
    assert not is_trapped(cloned)
    assert done.returncode == 2, done.stderr
    assert "names a program that deploy-tasks does not run" in done.stdout + done.stderr


def test_an_engine_of_the_users_own_choice_is_used(cloned: Project) -> None:
    cloned.write("home/.invoke.yaml", f"deploy: {{docker: {trap(cloned)}}}\n")
    cloned.run(*PROGRAM, "local", HOME=str(cloned.folder / "home"))
    assert is_trapped(cloned)


@as_root
def test_a_configuration_file_of_another_user_is_not_read(cloned: Project) -> None:
    path = cloned.write("invoke.yaml", "deploy: {app: evil}\n")
    os.chown(path, ANOTHER_USER, ANOTHER_USER)
    done = cloned.run(*PROGRAM, "--dry", "build")
    assert done.returncode == 0, done.stderr
    assert f"warning: {path} belongs to another user and is not read" in done.stderr
    assert '"app":"shop"' in done.stderr


@as_root
def test_the_files_of_another_users_parent_folder_are_not_applied(cloned: Project, tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    own = open_to_all / "own"
    own.mkdir(parents=True)
    for name, text in {"tasks.py": "", "invoke.yaml": "deploy: {app: evil}", ".env": "DEPLOY_NAMESPACE=evil\n"}.items():
        (open_to_all / name).write_text(text)
        os.chown(open_to_all / name, ANOTHER_USER, ANOTHER_USER)
    words = ["--dry", "build", "--app", "own", "--repo-url", "https://git.example.com/o/r", "--git-ref", "main"]
    done = subprocess.run(
        [*PROGRAM, *words], cwd=own, env=cloned.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "evil" not in done.stderr
    assert '"namespace":"apps"' in done.stderr


@as_root
def test_a_repository_that_is_another_users_as_a_whole_has_its_root_where_it_is(
    cloned: Project, sandbox: SandboxProcess
) -> None:
    cloned.write("tasks.py", "from deploy_tasks import ns\n")
    (cloned.folder / "sub").mkdir()
    for path in [cloned.folder, *cloned.folder.rglob("*")]:
        os.chown(path, ANOTHER_USER, ANOTHER_USER)
    cloned.environment.update(GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*")
    done = cloned.invoke("build", at="sub")
    assert done.returncode == 0, done.stderr
    assert (cloned.folder / ".deploy").exists()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("invoke.yaml", "deploy: [", "cannot be read: while parsing"),
        ("invoke.json", "{", "cannot be read: Expecting property name"),
        ("invoke.yaml", "- a\n", "is not a table of settings"),
    ],
)
def test_a_configuration_file_that_cannot_be_read_is_one_line(
    cloned: Project, sandbox: SandboxProcess, name: str, text: str, says: str
) -> None:
    cloned.write(name, text)
    done = cloned.run(*PROGRAM, "build")
    assert done.returncode == 2
    assert f"the Invoke configuration {cloned.folder}/{name} {says}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sandbox.seen() == []


# A table of ten entries, each of which is that of the line before: 10^12 entries when it is copied.
_BOMB = ["deploy: {a0: &a0 {x: 1}"] + [
    f"  a{n}: &a{n} {{{', '.join(f'k{k}: *a{n - 1}' for k in range(10))}}}" for n in range(1, 13)
]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("invoke.yaml", f"deploy: {'[' * 5000}", "is nested too deeply"),
        ("invoke.json", f'{{"deploy": {"[" * 200_000}', "is nested too deeply"),
        ("invoke.yaml", "deploy: &a {apps: *a}", "has too many settings"),
        ("invoke.yaml", ",\n".join(_BOMB) + "}\n", "has too many settings"),
        ("invoke.yaml", "deploy: {apps: {1: {port: 3000}}}", "has a name that is not text: 1"),
    ],
    ids=["deep YAML", "deep JSON", "itself", "a bomb", "a number"],
)
def test_a_configuration_file_that_would_break_invoke_is_one_line(
    cloned: Project, sandbox: SandboxProcess, name: str, text: str, says: str
) -> None:
    cloned.write(name, text)
    done = cloned.run("timeout", "60", *PROGRAM, "build")
    assert done.returncode == 2, done.stderr[-3000:]
    assert done.stderr == f"the Invoke configuration {cloned.folder}/{name} {says}. Nothing was sent\n"
    assert sandbox.seen() == []


def test_a_configuration_file_that_is_a_pipe_is_not_waited_for(cloned: Project) -> None:
    os.mkfifo(cloned.folder / "invoke.yaml")
    done = cloned.run("timeout", "60", *PROGRAM, "build")
    assert done.returncode == 2, done.stderr
    assert done.stderr == f"the Invoke configuration {cloned.folder}/invoke.yaml is not a file. Nothing was sent\n"


@pytest.mark.parametrize("text", ["deploy: [", "- a\n", "deploy: {docker: ./trap}\n"])
def test_a_folder_with_a_hostile_name_is_no_more_than_a_name_in_what_is_refused(project: Project, text: str) -> None:
    name = "a\x1b[2J\n::error::forged\u202e"
    (project.folder / name / ".git").mkdir(parents=True)
    project.write(f"{name}/invoke.yaml", text)
    done = project.run(*PROGRAM, "build", at=name, GITHUB_ACTIONS="true")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.rstrip("\n").isprintable()


# Ctrl-C comes when the module that the second argument names is imported, also where a shell made SIGINT ignored.
INTERRUPTED = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
program, at = sys.argv[1:3]
del sys.argv[1:3]
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == at:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
runpy.run_module(program, run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    "at",
    [
        *(
            "deploy_tasks.program",
            "invoke",
            "invoke.runners",
            "deploy_tasks.config.paths",
            "deploy_tasks.invocation.task",
        ),
        *(
            "deploy_tasks.invocation.ending",
            "deploy_tasks.redaction",
            "deploy_tasks.invocation.run",
            "deploy_tasks.building.build",
            "deploy_tasks.api.client",
            "dotenv",
        ),
    ],
)
def test_ctrl_c_while_the_program_is_loaded_is_one_line(cloned: Project, sandbox: SandboxProcess, at: str) -> None:
    cloned.write(".env", "DEPLOY_APP=shop\n")
    done = cloned.run(sys.executable, "-c", INTERRUPTED, "deploy_tasks", at, "build")
    assert done.returncode == 130, done.stderr
    assert done.stderr.startswith("stopped")
    assert len(done.stderr.splitlines()) == 1
    assert sandbox.seen() == []


@pytest.mark.parametrize(
    "at",
    [
        "deploy_tasks.invocation.ending",
        "deploy_tasks.redaction",
        "deploy_tasks.invocation.run",
        "deploy_tasks.building.build",
    ],
)
def test_ctrl_c_while_a_task_of_invoke_is_loaded_is_one_line(
    project: Project, sandbox: SandboxProcess, at: str
) -> None:
    done = project.run(sys.executable, "-c", INTERRUPTED, "invoke", at, "build")
    assert done.returncode == 130, done.stderr
    assert done.stderr.startswith("stopped")
    assert len(done.stderr.splitlines()) == 1
    assert sandbox.seen() == []


def test_ctrl_c_while_invoke_loads_a_tasks_py_is_silent(project: Project, sandbox: SandboxProcess) -> None:
    """Invoke itself ends then, with exit code 1; no task has a say in it."""
    done = project.run(sys.executable, "-c", INTERRUPTED, "invoke", "deploy_tasks.tasks", "build")
    assert (done.returncode, done.stderr) == (1, "")


def test_a_run_that_was_started_with_ctrl_c_ignored_goes_on(project: Project, sandbox: SandboxProcess) -> None:
    """As under nohup, and for a job that a script started in the background."""
    process = subprocess.Popen(
        ["sh", "-c", "trap '' INT; exec \"$0\" -m invoke build", sys.executable],
        cwd=project.folder,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert " builds " in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.startswith("sha256:")


@pytest.mark.parametrize("name", ["invoke.yaml", "invoke.yml", "invoke.json"])
def test_a_folder_with_settings_of_its_own_is_a_project(cloned: Project, name: str) -> None:
    cloned.write(f"services/api/{name}", '{"deploy": {"app": "the-api", "port": 4000}}\n')
    cloned.write("services/api/Dockerfile", "FROM scratch\n")
    (cloned.folder / "services/api/src").mkdir()
    cloned.commit("api")
    cloned.push()
    dry = cloned.run(*PROGRAM, "--dry", "build", at="services/api/src")
    assert dry.returncode == 0, dry.stderr
    assert '"app":"the-api"' in dry.stderr
    assert '"dockerfile":"services/api/Dockerfile","buildContext":"services/api"' in dry.stderr
