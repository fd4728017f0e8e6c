"""The runner for `c.run`: streams a command's output to stderr, and ends the command on a signal to the task."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import suppress
from copy import copy
from io import StringIO
from subprocess import PIPE, Popen, TimeoutExpired
from threading import Lock
from typing import IO, Any

from invoke.context import Context
from invoke.runners import Local, Result

from ..deadline import Deadline
from ..errors import Interrupted
from ..redaction import Lines
from ..signals import Signalled, deferred_signals, signal_number
from ..ui import console
from ..ui.progress import Board, Stoppable

# Enough for the last lines of any push.
_KEPT_CHARACTERS = 65_536
_SECONDS_TO_STOP = 10.0
_SECONDS_BETWEEN_CHECKS = 0.05

# So that no command starts between the two steps of `end_all`.
_lock = Lock()


def end_all(board: Board, number: int) -> None:
    """Sends the signal `number` to every command of the apps of `board`, then kills the processes that are left. Call
    it once the board `is_over`: from then on, no new command starts for these apps."""
    with _lock:
        running = list(board.commands)
    for command in running:
        command.signal(number)
    for command in running:
        command.end(number)


class WholeInput(StringIO):
    """A stdin that returns everything in one `read()`: Invoke reads a StringIO at 10 ms per character."""

    def read(self, _size: int | None = -1) -> str:
        return super().read()


def streaming(c: Context) -> Context:
    """A copy of `c` whose `run` uses the runner below, by Invoke's setting `runners.local`."""
    copied: Context = copy(c)
    copied.config = c.config.clone()
    copied.config.runners.local = _StreamingRunner
    return copied


class _StreamingRunner(Local):
    """Shows all output on stderr, since stdout is for results, and keeps only its end.

    Invoke's own runner joins all output so far with each new piece: 16 MB took 22.8 s. The command gets its own process
    group, so that it receives each signal once, from here, along with every process that it started.
    """

    read_chunk_size = 65_536

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._relay = console.for_other_threads(console.relay)
        current = console.current_app.get()
        self._commands: set[Stoppable] = current.board.commands if current else set()

    def echo(self, command: str) -> None:
        self._relay(self.opts["echo_format"].format(command=command))

    def start(self, command: str, shell: str, env: dict[str, Any]) -> None:
        # Invoke's default, /bin/bash, does not exist everywhere; the quoted command means the same to any shell.
        shell = shutil.which(shell) or "/bin/sh"
        # A signal within Popen would leave a command running that is not in `_running`.
        with _lock, deferred_signals() as arrived:
            if console.is_over():
                raise Interrupted("stopped")
            self.process = Popen(
                [shell, "-c", command], env=env, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
            )
            self._commands.add(self)
        if arrived:
            raise Signalled(arrived[0])

    def run(self, command: str, **options: Any) -> Result:
        try:
            return super().run(command, **options)
        except KeyboardInterrupt as interrupt:
            number = signal_number(interrupt)
            self.end(number)
            raise Interrupted("stopped the container engine", number, "Nothing was recorded or deployed") from interrupt

    def send_interrupt(self, interrupt: KeyboardInterrupt) -> None:
        # Invoke would write ^C to the command's stdin and keep waiting.
        self.end(signal_number(interrupt))
        raise interrupt

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def stop(self) -> None:
        interrupt = sys.exc_info()[1]
        if isinstance(interrupt, KeyboardInterrupt):
            # Before the pipes are closed: otherwise the command's last output would fail with SIGPIPE.
            self.end(signal_number(interrupt))
        super().stop()
        self._commands.discard(self)
        # Invoke leaves the pipes to the garbage collector.
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr) if hasattr(self, "process") else ():
            if pipe is not None:
                pipe.close()

    def _handle_output(self, buffer_: list[str], hide: bool, output: IO[str], reader: Any) -> None:  # noqa: ARG002
        lines = Lines()

        def show(whole: list[str]) -> None:
            if whole and not hide:
                self._relay("\n".join(whole))

        for text in self.read_proc_output(reader):
            show(lines.feed(text))
            buffer_[:] = ["".join([*buffer_, text])[-_KEPT_CHARACTERS:]]
        show(lines.end())

    def end(self, number: int) -> None:
        """Sends the signal `number` to the command, waits for its end, and kills the processes that are left."""
        while hasattr(self, "process") and self.process.returncode is None:
            with suppress(KeyboardInterrupt), deferred_signals() as arrived:
                self.signal(number)
                deadline = Deadline(_SECONDS_TO_STOP)
                # A second signal ends the wait.
                while not arrived and deadline.left():
                    with suppress(TimeoutExpired):
                        self.process.wait(_SECONDS_BETWEEN_CHECKS)
                        break
                self.signal(signal.SIGKILL)
                self.process.wait()

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError, AttributeError):  # it has ended, or has not started
            os.killpg(self.process.pid, number)
