"""Engine commands run under `c.run` with a runner of the kit, and other commands do not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from invoke.config import Config
from invoke.context import Context
from invoke.runners import Local

from deploy_tasks.engine.runner import streaming
from deploy_tasks.redaction import keep_secret


@contextmanager
def streaming_in_another_thread(c: Context) -> Iterator[None]:
    """Within it, another thread is in `streaming(c)`."""
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with streaming(c):
            entered.set()
            leave.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    entered.wait()
    try:
        yield
    finally:
        leave.set()
        thread.join()


def test_output_of_a_second_context_is_redacted_while_the_first_one_runs(capfd: pytest.CaptureFixture[str]) -> None:
    keep_secret(["s3cret-value"])
    first, second = Context(Config()), Context(Config())
    with streaming_in_another_thread(first), streaming(second):
        second.run("echo s3cret-value", in_stream=False)
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "***\n")


def test_each_context_gets_its_runner_back() -> None:
    first, second = Context(Config()), Context(Config())
    with streaming(first):
        with streaming(second), streaming(second):
            assert second.config.runners.local is not Local
        assert second.config.runners.local is Local
        assert first.config.runners.local is not Local
    assert first.config.runners.local is Local


def test_the_end_of_another_thread_does_not_take_the_runner_away() -> None:
    c = Context(Config())
    with streaming(c):
        with streaming_in_another_thread(c):
            pass
        assert c.config.runners.local is not Local
    assert c.config.runners.local is Local
