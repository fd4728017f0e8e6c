"""Wraps every task: handles its signals and errors."""

from __future__ import annotations

import logging
import os
import signal
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from invoke.exceptions import Exit
from invoke.tasks import Task

from .. import next_steps, signals
from ..errors import DeployError, Interrupted, SomeFailed
from ..redaction import redact
from ..state import lock
from ..ui import console, github
from ..ui.console import LOG
from .command_line import command_line


@contextmanager
def task_boundary(task: Task[Any]) -> Iterator[None]:
    """Runs a task within the block: SIGTERM and SIGHUP end it as Ctrl-C does, errors are redacted, and suggested
    commands are written for this command line."""
    try:
        with signals.raised(), ExitStack() as at_end:
            line = next_steps.current_command_line
            at_end.callback(line.reset, line.set(command_line(task)))
            at_end.callback(console.warned.reset, console.warned.set(set()))
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
    log = console.log if os.environ.get("DEPLOY_DEBUG") else LOG.debug
    if log == console.log or LOG.isEnabledFor(logging.DEBUG):
        for one in every:
            log(console.shown("".join(traceback.format_exception(one)).rstrip().split("\n")))
    console.tolerate_broken_stderr()
    for one in {error, *every}:
        if one.shown is None:
            one.shown = console.message_of(one)
            one.what, one.effect = redact(one.what), redact(one.effect)
            one.args = (one.shown,)  # `invoke -d` prints them
    if not isinstance(error, Interrupted) and not error.is_annotated:
        github.annotate(f"{task} failed", error)
        error.is_annotated = True
