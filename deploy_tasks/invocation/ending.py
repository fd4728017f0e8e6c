"""Wraps every task: handles its signals and errors, and shows its log."""

from __future__ import annotations

import logging
import os
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from invoke.exceptions import Exit
from invoke.tasks import Task

from .. import next_steps, signals
from ..errors import DeployError, Interrupted, SomeFailed
from ..redaction import redact
from ..state import lock
from ..ui import console, github
from .command_line import command_line

_LOG = logging.getLogger("deploy_tasks")


@contextmanager
def task_boundary(task: Task[Any]) -> Iterator[None]:
    """Runs a task within the block: SIGTERM and SIGHUP end it as Ctrl-C does, errors are redacted, and suggested
    commands are written for this command line."""
    try:
        log_shown = _log_shown() if os.environ.get("DEPLOY_DEBUG") else nullcontext()
        with signals.raised(), next_steps.using(command_line(task)), log_shown:
            try:
                yield
            except DeployError as error:
                _finish(error, task.name)
                raise
            except BrokenPipeError as error:
                # The reader of the result has closed the pipe, as `head` does.
                console.give_up_stdout()
                raise Exit(code=128 + signal.SIGPIPE) from error
    except KeyboardInterrupt as interrupt:
        raise Interrupted("stopped", signals.signal_number(interrupt)) from interrupt
    finally:
        lock.free_for_other_threads()


def _finish(error: DeployError, task: str) -> None:
    """Redacts `error` before Invoke prints it, and shows it as an annotation on GitHub."""
    every = error.errors.values() if isinstance(error, SomeFailed) else [error]
    if _LOG.isEnabledFor(logging.DEBUG):
        for one in every:
            _LOG.debug(console.shown("".join(traceback.format_exception(one)).rstrip().split("\n")))
    console.tolerate_broken_stderr()
    for one in {error, *every}:
        if one.shown is None:
            one.shown = console.message_of(one)
            one.what, one.effect = redact(one.what), redact(one.effect)
            one.args = (one.shown,)  # `invoke -d` prints them
    if not isinstance(error, Interrupted) and not error.is_annotated:
        github.annotate(f"{task} failed", error)
        error.is_annotated = True


class _ToStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        console.relay(record.getMessage())


@contextmanager
def _log_shown() -> Iterator[None]:
    """Within the block, the kit's log goes to stderr: HTTP exchanges and the causes of errors."""
    handler, level = _ToStderr(), _LOG.level
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        _LOG.setLevel(level)
        _LOG.removeHandler(handler)
