"""Every test starts in an empty folder without a setting; only those that say so may open a socket."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import pytest_socket

from deploy_tasks import redaction
from deploy_tasks.state import lock
from tests.clusters import Clusters, two_clusters
from tests.faults.table import stale
from tests.project import Process, Project
from tests.sandboxes import SandboxProcess

# The same examples in every run: what they find is found by everybody.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")

WITH_SOCKETS = {"contract", "faults", "engine", "server"}
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def pytest_xdist_auto_num_workers() -> int:
    """Two for each core, since most tests wait for a process that they have started."""
    return 2 * (os.cpu_count() or 1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if WITH_SOCKETS & set(item.path.parts):
        pytest_socket.socket_allow_hosts(["127.0.0.1", "localhost", "::1"], allow_unix_socket=True)
    else:
        pytest_socket.disable_socket(allow_unix_socket=True)


def pytest_runtest_teardown() -> None:
    pytest_socket.enable_socket()


@pytest.fixture(scope="session", autouse=True)
def _signals_reach_children() -> Iterator[None]:
    """A shell starts `make test &` with SIGINT ignored, and nohup ignores SIGHUP; children inherit that. A handler that
    does nothing is not inherited, so the children of a test start as they do in a terminal."""
    ignored = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(autouse=True)
def _blank(_signals_reach_children: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    earlier = len(Process.started)
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    for name in list(os.environ):
        if name == "CI" or name.startswith(("DEPLOY_", "INVOKE_", "GIT_", "GITHUB_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setattr(redaction, "_secrets", set())
    monkeypatch.setattr(redaction, "_words", set())
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    yield
    lock.release()
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for process in Process.started[earlier:]:
        process.end()
    del Process.started[earlier:]


@pytest.fixture(scope="session")
def _pushed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project.make(tmp_path_factory.mktemp("pushed") / "shop")


@pytest.fixture
def project(_pushed: Project, tmp_path: Path) -> Project:
    """A pushed repository called `shop`."""
    return _pushed.copy(tmp_path / "shop")


@pytest.fixture(scope="session")
def _full_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    sandbox = SandboxProcess(tmp_path_factory.mktemp("full"))
    yield sandbox
    sandbox.stop()


@pytest.fixture(scope="session")
def _minimal_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    sandbox = SandboxProcess(tmp_path_factory.mktemp("minimal"), "--minimal")
    yield sandbox
    sandbox.stop()


@pytest.fixture
def sandbox(_full_sandbox: SandboxProcess, project: Project) -> SandboxProcess:
    """A sandbox that serves all of the API; `project` is set up for it."""
    return _joined(_full_sandbox, project)


@pytest.fixture(params=["full", "minimal"])
def any_sandbox(
    request: pytest.FixtureRequest, _full_sandbox: SandboxProcess, _minimal_sandbox: SandboxProcess, project: Project
) -> SandboxProcess:
    """A sandbox that serves all of the API, then one that serves only what is specified."""
    return _joined(_full_sandbox if request.param == "full" else _minimal_sandbox, project)


@pytest.fixture(scope="session")
def _clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clusters]:
    yield from two_clusters(tmp_path_factory.mktemp("clusters"), is_registry_shared=True)


@pytest.fixture
def clusters(_clusters: Clusters, project: Project) -> Clusters:
    """Two clusters with one registry; `project` has both as its environments."""
    return _clusters.joined(project)


def _joined(sandbox: SandboxProcess, project: Project) -> SandboxProcess:
    project.environment.update(sandbox.settings, DEPLOY_PORT="3000")
    for namespace in ("apps", "non-business-apps"):  # what an earlier test has left
        sandbox.call("DELETE", f"/api/apps/{namespace}/shop")
    sandbox.forget()
    return sandbox


_SEEN_BY_ALL = pytest.StashKey[set[str]]()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    seen = node.config.stash.setdefault(_SEEN_BY_ALL, set())
    seen |= set(getattr(node, "workeroutput", {}).get("rows", []))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where the tests ran in several processes: the check that tests/faults/conftest.py makes in one."""
    seen = session.config.stash.get(_SEEN_BY_ALL, None)
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    left_out = reporter and (reporter.stats.get("skipped") or session.config.args != session.config.getini("testpaths"))
    if not seen or exitstatus != 0 or left_out:
        return
    if rows := stale(seen):
        reporter.write_line(f"docs/reliability.md has rows that no test saw: {rows}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-tables", action="store_true", help="write what is seen into docs/reliability.md")
