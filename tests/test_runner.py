"""Engine commands run under `c.run` with a runner of the kit; other commands and other contexts are left alone."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest
from invoke.config import Config
from invoke.context import Context
from invoke.runners import Local

from deploy_tasks.engine.runner import end_all, streaming
from deploy_tasks.redaction import keep_secret
from deploy_tasks.ui.progress import Board


def test_the_output_of_an_engine_is_redacted_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    keep_secret(["s3cret-value"])
    streaming(Context(Config())).run("echo s3cret-value", in_stream=False)
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "***\n")


def test_a_context_keeps_its_runner_while_an_engine_runs_for_it() -> None:
    c = Context(Config())
    copied = streaming(c)
    assert c.config.runners.local is Local
    assert copied.config.runners.local is not Local


def test_the_end_of_one_call_ends_no_command_of_another(tmp_path: Path) -> None:
    ours, theirs = (Board(["one", "two"], lambda _name, _state: None) for _ in range(2))
    boards = {"ours": ours, "theirs": theirs, "of one app": None}
    has_started = tmp_path / "has started"
    os.mkfifo(has_started)

    def run(name: str) -> int:
        """The exit code of a command that says when it has started, and ends with 7 once its own file has a line."""
        board, command = boards[name], f"echo started > '{has_started}'; read line < '{tmp_path / name}'; exit 7"
        with board.output_of("one") if board else nullcontext():
            return streaming(Context(Config())).run(command, in_stream=False, warn=True).exited

    with ExitStack() as files, ThreadPoolExecutor(3) as threads:
        exits = {}
        for name in boards:
            os.mkfifo(tmp_path / name)
            exits[name] = threads.submit(run, name)
            assert has_started.read_text() == "started\n"
        end_all(ours, signal.SIGTERM)
        for name in boards:
            # Opened for both, so that it does not wait for a reader.
            files.callback(os.close, file := os.open(tmp_path / name, os.O_RDWR))
            os.write(file, b"a line\n")
        assert {name: found.result(30) for name, found in exits.items()} == {
            "ours": -signal.SIGTERM,
            "theirs": 7,
            "of one app": 7,
        }
