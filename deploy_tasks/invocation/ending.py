"""How every task ends: its signals, errors and log."""

from __future__ import annotations

import logging
import os
import signal
import sys
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
def ended_well(task: Task[Any]) -> Iterator[None]:
    """Runs a task within it: every signal ends the task as Ctrl-C does, its errors are redacted, and commands in its
    messages are written as they must be typed here."""
    try:
        log_shown = _log_shown() if os.environ.get("DEPLOY_DEBUG") else nullcontext()
        with signals.raised(), next_steps.on(command_line(task)), log_shown:
            try:
                yield
            except DeployError as error:
                _finish(error, task.name)
                raise
    except BrokenPipeError as error:
        # The reader of a result may have read enough, as `head` does.
        sys.stdout = None
        raise Exit(code=128 + signal.SIGPIPE) from error
    except KeyboardInterrupt as interrupt:
        raise Interrupted("stopped", signals.signal_number(interrupt)) from interrupt
    finally:
        lock.let_go()


def _finish(error: DeployError, task: str) -> None:
    """Makes `error` fit for Invoke, which prints it, and shows it at the head of a run on GitHub."""
    every = error.errors.values() if isinstance(error, SomeFailed) else [error]
    if _LOG.isEnabledFor(logging.DEBUG):
        for one in every:
            _LOG.debug(console.shown("".join(traceback.format_exception(one)).rstrip().split("\n")))
    console.forgive_stderr()
    for one in {error, *every}:
        if one.shown is None:
            one.shown = console.message_of(one)
            one.what, one.effect = redact(one.what), redact(one.effect)
            one.args = (one.shown,)  # which `invoke -d` prints
    if not isinstance(error, Interrupted) and not error.is_annotated:
        github.annotate(f"{task} failed", error)
        error.is_annotated = True


class _ToStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        console.pass_on(record.getMessage())


@contextmanager
def _log_shown() -> Iterator[None]:
    """Within it, the log of the kit is shown on stderr: HTTP exchanges, and causes of errors."""
    handler, level = _ToStderr(), _LOG.level
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        _LOG.setLevel(level)
        _LOG.removeHandler(handler)
