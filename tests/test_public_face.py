"""What `deploy_tasks` offers to a developer's own tasks: every name, loaded when it is asked for, and typed."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
from contextvars import copy_context
from io import StringIO
from pathlib import Path

import pytest
from invoke.config import Config
from invoke.context import Context
from invoke.exceptions import Exit

import deploy_tasks
from deploy_tasks import errors, tasks
from tests.project import Project, clean_environment

OWN_TASKS = """
from typing import assert_type

from invoke.context import Context

from deploy_tasks import BuildFailed, DeployError, build, deploy, local_deploy, promote, reuse, status, wait
from deploy_tasks.state.records import BuildInFlight, Record


def ship(c: Context) -> str:
    try:
        built = build(c, app="api", namespace="own", cache=False, timeout=30.0)
    except BuildFailed as error:
        return str(error.exit_code)
    except DeployError:
        raise
    assert_type(built, Record | BuildInFlight | None)
    assert_type(wait(c), Record | None)
    assert_type(deploy(c, replicas=2), Record | None)
    assert_type(build.each(c, app="api,web", cache=False), dict[str, Record | BuildInFlight | None])
    assert_type(reuse.each(c, app="all"), dict[str, Record | None])
    assert_type(promote(c, from_="staging", environment="production"), Record | None)
    deployed = reuse(c, port=3000, domain=["a.example.com"])
    return (deployed.build_id or "") if deployed else ""
"""


def python(*arguments: str, at: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=at, env=clean_environment(), capture_output=True, text=True, check=False
    )


def test_a_developers_tasks_are_typed(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(OWN_TASKS.replace("from typing import", "from typing_extensions import"))
    cache = str(Path(deploy_tasks.__file__).parent.parent / ".mypy_cache")
    mypy = ["-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir", cache]
    good = python(*mypy, "own.py", at=tmp_path)
    assert good.returncode == 0, good.stdout + good.stderr
    own.write_text(own.read_text().replace("cache=False", "cache='no'").replace("port=3000", "prot=3000"))
    own.write_text(own.read_text().replace('reuse.each(c, app="all")', 'reuse.each(c, apps="all")'))
    bad = python(*mypy, "own.py", at=tmp_path)
    assert bad.returncode == 1
    assert '"cache"' in bad.stdout or 'expected "bool"' in bad.stdout, bad.stdout
    assert 'Unexpected keyword argument "prot"' in bad.stdout
    assert 'Unexpected keyword argument "apps"' in bad.stdout


def test_every_name_that_is_offered_is_there() -> None:
    for name in deploy_tasks.__all__:
        found = getattr(deploy_tasks, name)
        assert name == "__version__" or found is getattr(tasks, name, None) or found is getattr(errors, name)


def test_every_error_is_offered() -> None:
    classes = {name for name, found in vars(errors).items() if isinstance(found, type)}
    ours = {name for name in classes if issubclass(getattr(errors, name), errors.DeployError)}
    assert ours <= {*deploy_tasks.__all__}


def test_no_task_that_is_offered_has_the_name_of_a_module() -> None:
    folder = Path(deploy_tasks.__file__).parent
    modules = {path.stem for path in folder.iterdir()}
    assert {*deploy_tasks.__all__} & modules == set(), "once it is loaded, the module would take the task's place"
    assert {*tasks.__all__} <= {*deploy_tasks.__all__}


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'deploy_tasks' has no attribute 'bild'"):
        _ = deploy_tasks.bild


def test_an_error_is_imported_without_the_tasks(tmp_path: Path) -> None:
    shown = python("-c", "from deploy_tasks import DeployError; import sys; print(*sys.modules)", at=tmp_path)
    assert "deploy_tasks.errors" in shown.stdout.split()
    assert "deploy_tasks.tasks" not in shown.stdout.split()


def test_a_file_in_a_reference_cycle_of_the_program_keeps_its_buffer(tmp_path: Path) -> None:
    program = (
        "import deploy_tasks.tasks\n"
        "class Log: pass\n"
        "log = Log(); log.file = open('log.txt', 'w'); log.me = log\n"
        "log.file.write('the last line')\n"
    )
    assert python("-c", program, at=tmp_path).returncode == 0
    assert (tmp_path / "log.txt").read_text() == "the last line"


def test_what_is_imported_freezes_no_object_of_the_program(tmp_path: Path) -> None:
    program = (
        "import gc\n"
        "before = gc.get_freeze_count()  # Python 3.12 has some from its start\n"
        "import deploy_tasks.invocation.run, deploy_tasks.tasks\n"
        "print(gc.get_freeze_count() - before)\n"
    )
    assert python("-c", program, at=tmp_path).stdout == "0\n"


class Broken(StringIO):
    """A stream whose terminal is gone, or whose disk is full."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


class WithoutReader(StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


def of_the_process() -> dict[str, object]:
    """What a program shares with the kit."""
    logger = logging.getLogger("deploy_tasks")
    return {
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "log": (logger.level, [*logger.handlers], logging.getLogger().level, [*logging.getLogger().handlers]),
        "place": (Path.cwd(), dict(os.environ)),
        "context": dict(copy_context()),
    }


@pytest.mark.parametrize("debug", ["", "1"])
@pytest.mark.parametrize(
    ("streams", "task"),
    [
        ({}, "reuse"),
        ({"stderr": Broken()}, "reuse"),
        ({"stdout": Broken()}, "history"),
        ({"stdout": WithoutReader()}, "history"),
    ],
    ids=["a refusal", "no stderr", "no stdout", "no reader"],
)
def test_an_error_that_a_program_catches_leaves_its_process_as_it_was(
    monkeypatch: pytest.MonkeyPatch, project: Project, streams: dict[str, StringIO], task: str, debug: str
) -> None:
    entry = {"imageName": "shop", "buildId": f"sha256:{64 * 'a'}", "what": "build", "outcome": "recorded"}
    project.write(".deploy/history.jsonl", json.dumps({**entry, "time": "now", "who": "me"}) + "\n")
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("DEPLOY_DEBUG", debug)
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    before = of_the_process()
    c = Context(Config(overrides={"deploy": {"api_url": "http://127.0.0.1:9", "api_key": "k3y", "port": 3000}}))
    with pytest.raises(Exit):
        getattr(tasks, task)(c)
    assert of_the_process() == before
