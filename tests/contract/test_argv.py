"""Any command line, through the real program: a result or one line, and no traceback."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy_tasks.program import program
from deploy_tasks.tasks import ns
from tests.faults.api import FaultyApi, faulty_api
from tests.project import Project, completed

# A sandbox serves until it is stopped, and a demo takes a while; their flags have tests of their own.
TASKS = [name for name in ns.task_names if name not in ("sandbox", "demo")]
# Copies, since to parse a command line takes the help texts out of the tasks.
PROGRAM = copy.deepcopy(program)
FLAGS = sorted({f"--{argument.name}" for name in TASKS for argument in copy.deepcopy(ns[name]).get_arguments()})
WORDS = st.one_of(
    st.sampled_from(TASKS),
    st.sampled_from(FLAGS),
    st.tuples(st.sampled_from(FLAGS), st.text(max_size=20)).map("=".join),
    st.sampled_from(["-w", "-e", "--dry", "--no-such", "--", "-", "", "--help", "sha256:" + 64 * "a", "-T", "1"]),
    st.text(max_size=20),
)


@given(words=st.lists(WORDS, max_size=6))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_words_end_in_a_known_exit_code_without_a_traceback_or_a_secret(
    shop: Project,
    api: FaultyApi,
    capsys: pytest.CaptureFixture[str],
    in_the_shop: Callable[[], object],
    words: list[str],
) -> None:
    in_the_shop()
    with pytest.raises(SystemExit) as ended:
        PROGRAM.run(["deploy-tasks", *words], exit=True)
        raise SystemExit(0)
    assert ended.value.code in (None, *range(12)), words
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert "canary" not in shown.err + shown.out


@pytest.fixture
def api() -> Iterator[FaultyApi]:
    with faulty_api() as server:
        yield server


@pytest.fixture
def shop(project: Project, api: FaultyApi) -> Project:
    """The project, set up for a server that counts."""
    settings = {"API_URL": api.url, "API_KEY": "canary-key", "PORT": "3000", "API_TIMEOUT": "5"}
    project.environment.update({f"DEPLOY_{name}": value for name, value in settings.items()})
    return project


@pytest.fixture
def in_the_shop(shop: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    """Makes this process one that a user started in the shop's folder; no API and no engine answers."""

    def enter() -> None:
        from deploy_tasks.state import lock

        lock.release()
        monkeypatch.chdir(shop.folder)
        for name, value in shop.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("DEPLOY_DOCKER", "/bin/false")
        monkeypatch.setenv("DEPLOY_API_URL", "http://127.0.0.1:9")

    return enter


@pytest.mark.parametrize("word", [b"\xff", b"--app=\xff\xfe", b"\xf0\x28", b"--env=A=\xff"], ids=repr)
def test_words_that_are_no_utf8(shop: Project, api: FaultyApi, word: bytes) -> None:
    done = completed(
        [os.fsencode(sys.executable), b"-m", b"invoke", b"reuse", b"--build-id=sha256:" + 64 * b"a", word],
        cwd=shop.folder,
        env=shop.environment,
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode in (1, 2)
    assert api.summary == "none"
