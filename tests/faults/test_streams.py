"""Exit codes are kept where stdout or stderr is closed, full or gone, and nothing is written to the other one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.api import DIGEST, JOB, FaultyApi, http, reset, silence
from tests.project import SECONDS_A_COMMAND, Project

INVOKE = [sys.executable, "-m", "invoke"]
# A session leader: the end of its terminal ends it, whatever signal handlers it inherited.
ON_A_TERMINAL_OF_ITS_OWN = (
    "import fcntl, os, signal, sys, termios; terminal = os.open(sys.argv[1], os.O_RDWR);"
    "fcntl.ioctl(terminal, termios.TIOCSCTTY, 0); [os.dup2(terminal, number) for number in range(3)];"
    "signal.signal(signal.SIGHUP, signal.SIG_DFL); os.execv(sys.argv[2], sys.argv[2:])"
)


@pytest.fixture(autouse=True)
def _buffered(shop: Project) -> None:
    # Unbuffered output leaves nothing that fails again when Python flushes at exit.
    shop.environment["PYTHONUNBUFFERED"] = ""


@contextmanager
def without_a_reader() -> Iterator[int]:
    """A pipe whose other end is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def through_a_shell(project: Project, where: str, *task: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return project.run("sh", "-c", f'exec "$0" "$@" {where}', *INVOKE, *task, **environment)


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize("github", [{}, {"GITHUB_ACTIONS": "true"}], ids=["", "on GitHub"])
def test_an_error_keeps_its_exit_code_without_a_stderr(
    shop: Project, api: FaultyApi, where: str, github: dict[str, str]
) -> None:
    api.always("start", reset)
    done = through_a_shell(shop, where, "build", **github)
    assert (done.returncode, done.stdout, done.stderr) == (6, "", "")


def test_a_success_is_exit_code_0_without_a_stderr(shop: Project, api: FaultyApi) -> None:
    for where in ("2>&-", "2>/dev/full"):
        done = through_a_shell(shop, where, "build")
        assert (done.returncode, done.stdout) == (0, f"{DIGEST}\n")


def test_a_closed_pipe_at_stderr_does_not_change_the_exit_code(shop: Project, api: FaultyApi) -> None:
    api.always("start", reset)
    with without_a_reader() as stderr:
        done = subprocess.run(
            [*INVOKE, "build"],
            cwd=shop.folder,
            env=shop.environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            check=False,
        )
    assert (done.returncode, done.stdout) == (6, b"")


def test_several_apps_keep_their_exit_code_without_a_stderr(shop: Project, api: FaultyApi) -> None:
    shop.write("invoke.yaml", "deploy:\n  apps: {one: {}, two: {}}\n")
    api.always("start", reset)
    for where in ("2>&-", "2>/dev/full"):
        done = through_a_shell(shop, where, "build", "--app", "all")
        assert (done.returncode, done.stdout) == (6, "")


@pytest.mark.parametrize("task", [["history"], ["status"], ["logs", "--job", JOB], ["history", "--json"]])
def test_a_closed_pipe_at_stdout_is_exit_code_141(shop: Project, api: FaultyApi, task: list[str]) -> None:
    api.always("logs", http(200, {"logs": "a line\n" * 10_000}))
    assert shop.invoke("build").returncode == 0
    with without_a_reader() as stdout:
        done = subprocess.run(
            [*INVOKE, *task], cwd=shop.folder, env=shop.environment, stdout=stdout, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 141, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


@pytest.mark.parametrize("task", [["history"], ["status"], ["logs", "--job", JOB], ["reuse", "--no-follow"]])
def test_a_full_stdout_is_exit_code_1(shop: Project, api: FaultyApi, task: list[str]) -> None:
    api.always("logs", http(200, {"logs": "a line\n" * 10_000}))
    assert shop.invoke("build").returncode == 0
    done = through_a_shell(shop, ">/dev/full", *task)
    assert done.returncode == 1
    assert os.strerror(errno.ENOSPC) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flags", [[], ["--no-logs"]])
def test_a_terminal_that_is_closed_is_exit_code_129(shop: Project, api: FaultyApi, flags: list[str]) -> None:
    api.always("wait", silence)
    terminal, inside = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL_OF_ITS_OWN, os.ttyname(inside), *INVOKE, "build", *flags],
        cwd=shop.folder,
        env={**shop.environment, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            api.until("wait")
        finally:
            os.close(inside)
            os.close(terminal)
        assert process.wait(SECONDS_A_COMMAND) == 129
    assert (shop.in_flight or {})["jobName"] == JOB


def test_a_full_disk_at_githubs_files_does_not_fail_a_deploy(shop: Project, api: FaultyApi) -> None:
    files = {"GITHUB_OUTPUT": "/dev/full", "GITHUB_STEP_SUMMARY": "/dev/full"}
    done = shop.invoke("build", "reuse", "--no-follow", GITHUB_ACTIONS="true", **files)
    assert done.returncode == 0, done.stderr
    assert api.count("deploy") == 1
    assert f"GITHUB_OUTPUT cannot be written ({os.strerror(errno.ENOSPC)})" in done.stderr


def test_a_percent_sign_in_an_annotation_is_escaped(shop: Project, api: FaultyApi) -> None:
    api.always("start", http(422, b"100%0A::error::of the quota"))
    done = shop.invoke("build", GITHUB_ACTIONS="true")
    assert "::error title=build failed::could not start the build: " in done.stderr
    assert "answered 422: 100%250A::error::of the quota" in done.stderr


def test_an_output_with_a_line_break_is_left_out(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    say = (
        "from deploy_tasks.ui import github; github.outputs('title <b>|', "
        "{'image': 'a@b', 'build-id': 'sha256:x\\nimage=evil'})"
    )
    environment = {**os.environ, "GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(outputs)}
    summary = tmp_path / "summary"
    done = subprocess.run(
        [sys.executable, "-c", say],
        env={**environment, "GITHUB_STEP_SUMMARY": str(summary)},
        capture_output=True,
        timeout=SECONDS_A_COMMAND,
        check=True,
    )
    assert outputs.read_text() == "image=a@b\n"
    assert b"build-id is not an output of this step" in done.stderr
    assert summary.read_text() == "| title ?b?? | |\n|---|---|\n| image | `a@b` |\n\n"
