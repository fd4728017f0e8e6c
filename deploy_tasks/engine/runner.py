"""How an engine command runs under `c.run`: output to stderr as it comes, and an end when we end."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from subprocess import PIPE, Popen, TimeoutExpired
from threading import Lock
from typing import IO, Any

from invoke.context import Context
from invoke.runners import Local

from ..errors import Interrupted
from ..redaction import Lines
from ..signals import Signalled, held_back, signal_number
from ..ui import console

# Enough for the last lines of any push.
_KEPT_CHARACTERS = 65_536
_SECONDS_TO_STOP = 10.0
_SHORTEST_NAP, _LONGEST_NAP = 0.0005, 0.01
_SECONDS_BETWEEN_LOOKS = 0.05


_one_at_a_time = Lock()
# By the id of an Invoke configuration: the runner that it named, and how many are within `streaming` with it. Only the
# first and the last of them change it, since nobody else can read Invoke's configuration while it is changed.
_changed: dict[int, tuple[Any, int]] = {}
_running: set[_StreamingRunner] = set()


def end_all(number: int) -> None:
    """Ends every command that runs by the signal `number`, and sees to it that nothing of them is left. Where nobody
    waits for them any more (`console.Board`), no other begins."""
    with _one_at_a_time:
        running = list(_running)
    for runner in running:
        runner.signal(number)
    for runner in running:
        runner.end(number)


class AtOnce:
    """A stdin whose `read()` gives everything at once: Invoke feeds a StringIO at 10 ms a character."""

    def __init__(self, text: str) -> None:
        self._text = text

    def read(self, _size: int = -1) -> str:
        text, self._text = self._text, ""
        return text


@contextmanager
def streaming(c: Context) -> Iterator[None]:
    """Within it, `c.run` uses the runner below: the runner's class is Invoke's own extension point. Several threads may
    be within it with one context, where one has been since before they began, or with contexts of their own."""
    runners, key = c.config.runners, id(c.config)
    with _one_at_a_time:
        usual, within = _changed.get(key, (runners.local, 0))
        _changed[key] = usual, within + 1
        if not within:
            runners.local = _StreamingRunner
    try:
        yield
    finally:
        with _one_at_a_time:
            usual, within = _changed.pop(key)
            if within > 1:
                _changed[key] = usual, within - 1
            else:
                runners.local = usual


class _StreamingRunner(Local):
    """Shows all output on stderr, stdout being for results, and keeps only the end of it.

    Invoke's own runner joins all output so far with every piece that arrives: 16 MB took 22.8 s. The command has a
    process group of its own, so that it gets each signal once, from here, and whatever it started gets it too.
    """

    read_chunk_size = 65_536

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._nobody_waits = console.nobody_waits()
        self._pass_on = console.for_other_threads(console.pass_on)

    @property
    def input_sleep(self) -> float:
        """How long Invoke sleeps between its looks at the command: its own 10 ms, less where the command is young, so
        that the end of a short one is not slept through."""
        return min(_LONGEST_NAP, (time.monotonic() - self._made) / 20 + _SHORTEST_NAP)

    @input_sleep.setter
    def input_sleep(self, _seconds: float) -> None:
        self._made = time.monotonic()

    def echo(self, command: str) -> None:
        self._pass_on(self.opts["echo_format"].format(command=command))

    def start(self, command: str, shell: str, env: dict[str, Any]) -> None:
        # Invoke's own default is /bin/bash, which not every system has; a quoted argv means the same to any shell.
        shell = shutil.which(shell) or "/bin/sh"
        # An exception out of Popen would leave a command running that nobody knows of.
        with _one_at_a_time, held_back() as arrived:
            if self._nobody_waits():
                raise Interrupted("stopped")
            self.process = Popen(
                [shell, "-c", command], env=env, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
            )
            _running.add(self)
        if arrived:
            raise Signalled(arrived[0])

    def run(self, command: str, **options: Any) -> Any:
        try:
            return super().run(command, **options)
        except KeyboardInterrupt as interrupt:
            number = signal_number(interrupt)
            self.end(number)
            raise Interrupted(
                "stopped, and the engine with it; nothing was recorded or deployed", number
            ) from interrupt

    def send_interrupt(self, interrupt: KeyboardInterrupt) -> None:
        # Invoke would type ^C into the command's stdin and wait on.
        self.end(signal_number(interrupt))
        raise interrupt

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def stop(self) -> None:
        interrupt = sys.exc_info()[1]
        if isinstance(interrupt, KeyboardInterrupt):
            # Before its pipes are closed: the command may say something at its end, and would die of that.
            self.end(signal_number(interrupt))
        super().stop()
        _running.discard(self)
        # Invoke leaves the pipes to the garbage collector.
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr) if hasattr(self, "process") else ():
            if pipe is not None:
                pipe.close()

    def _handle_output(self, buffer_: list[str], hide: bool, output: IO[str], reader: Any) -> None:  # noqa: ARG002
        lines = Lines()
        for text in self.read_proc_output(reader):
            if not hide:
                self._show(lines.feed(text))
            buffer_[:] = ["".join([*buffer_, text])[-_KEPT_CHARACTERS:]]
        if not hide:
            self._show(lines.end())

    def _show(self, lines: list[str]) -> None:
        if lines:
            self._pass_on("\n".join(lines))

    def end(self, number: int) -> None:
        """Lets the command end by the signal that we got, then sees to it that nothing of it is left."""
        while hasattr(self, "process") and self.process.returncode is None:
            with suppress(KeyboardInterrupt), held_back() as arrived:
                self.signal(number)
                until = time.monotonic() + _SECONDS_TO_STOP
                # A second signal is impatience: no more waiting then.
                while not arrived and time.monotonic() < until:
                    with suppress(TimeoutExpired):
                        self.process.wait(_SECONDS_BETWEEN_LOOKS)
                        break
                self.signal(signal.SIGKILL)
                self.process.wait()

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError, AttributeError):  # ended, or not started yet
            os.killpg(self.process.pid, number)
