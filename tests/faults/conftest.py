from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.api import FaultyApi, faulty_api
from tests.faults.table import Tables
from tests.project import Process, Project

Saw = Callable[..., str]
_TABLES = pytest.StashKey[Tables]()
# The program itself, but for the pauses before it says something again.
WITHOUT_PAUSES = (
    "from deploy_tasks import __main__; from deploy_tasks.api import request; "
    "request._PAUSES = (0.0, 0.0); __main__.main()"
)
_HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TABLES] = Tables(write=config.getoption("--write-tables"))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    tables = session.config.stash[_TABLES]
    if hasattr(session.config, "workeroutput"):
        # One of several processes: what they all saw is put together by the one that started them.
        session.config.workeroutput["rows"] = [key for rows in tables.seen.values() for key in rows]
        return
    if exitstatus != 0 or session.testsfailed:
        return
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    ran = {item.path for item in session.items}
    left_out = reporter.stats.get("skipped") or reporter.stats.get("deselected") or "::" in str(session.config.args)
    complete = ran >= set(_HERE.glob("test_*.py")) and not left_out
    if tables.write:
        tables.save(complete=complete)
    elif complete and tables.stale():
        reporter.write_line(f"docs/reliability.md has rows that no test saw: {tables.stale()}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def api() -> Iterator[FaultyApi]:
    """A server that misbehaves; it gives the usual answers until a test sets others."""
    earlier = len(Process.started)
    with faulty_api() as server:
        yield server
        # A client that a failed test left waiting would keep the server.
        for process in Process.started[earlier:]:
            process.end()


@pytest.fixture
def shop(project: Project, api: FaultyApi) -> Project:
    """The project, set up for `api`."""
    project.environment.update(
        DEPLOY_API_URL=api.url,
        DEPLOY_API_KEY="canary-key",
        DEPLOY_REGISTRY=api.address,
        DEPLOY_PORT="3000",
        DEPLOY_API_TIMEOUT="60",
    )
    return project


@pytest.fixture
def saw(request: pytest.FixtureRequest, project: Project) -> Saw:
    """Takes down what a process came to, in one of the tables; returns its last line on stderr."""
    tables = request.config.stash[_TABLES]

    def take_down(
        table: str, of: object, what: str, done: subprocess.CompletedProcess[str], requests: object, **hidden: str
    ) -> str:
        assert "Traceback" not in done.stderr, done.stderr
        assert "canary" not in done.stderr + done.stdout, "a secret"
        last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
        tables.saw(table, of, what, done.returncode, requests, steady(last, project, **hidden))
        return last

    return take_down


def steady(line: str, project: Project, **hidden: str) -> str:
    """`line` without what differs from run to run."""
    for name, text in {**hidden, "FOLDER": str(project.folder), "HOME": str(project.folder.parent)}.items():
        line = line.replace(text, name)
    line = re.sub(r"127\.0\.0\.1:\d{5}|10\.213\.\d+\.1:\d+", "HOST", line)
    line = re.sub(r"local-\d{8}T\d{6}Z-[0-9a-f]{12}(-dirty)?-[0-9a-f]{6}", "TAG", line)
    line = line.replace(project.head, "COMMIT").replace(project.head[:12], "COMMIT")
    line = re.sub(r"sha256:([0-9a-f])\1{63}", r"sha256:\1…", line)
    return re.sub(r"pid \d+", "pid PID", re.sub(r"since [-0-9T:+]+", "since TIME", line))
