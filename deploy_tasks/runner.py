"""How an engine command runs under `c.run`: output to stderr as it comes, and an end when we end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from subprocess import PIPE, Popen, TimeoutExpired
from typing import IO, Any

from invoke.context import Context
from invoke.runners import Local

from .errors import Interrupted
from .redaction import Redactor, redact
from .signals import Signalled, held_back, signal_number

# Enough for the last lines of any push.
_KEPT_CHARACTERS = 65_536
_SECONDS_TO_STOP = 10.0
_SECONDS_BETWEEN_LOOKS = 0.05


class AtOnce:
    """A stdin whose `read()` gives everything at once: Invoke feeds a StringIO at 10 ms a character."""

    def __init__(self, text: str) -> None:
        self._text = text

    def read(self, _size: int = -1) -> str:
        text, self._text = self._text, ""
        return text


@contextmanager
def streaming(c: Context) -> Iterator[None]:
    """Within it, `c.run` uses the runner below: the runner's class is Invoke's own extension point."""
    runners = c.config.runners
    usual = runners.local
    runners.local = _StreamingRunner
    try:
        yield
    finally:
        runners.local = usual


class _StreamingRunner(Local):
    """Shows all output on stderr, stdout being for results, and keeps only the end of it.

    Invoke's own runner joins all output so far with every piece that arrives: 16 MB took 22.8 s. The command has a
    process group of its own, so that it gets each signal once, from here, and whatever it started gets it too.
    """

    read_chunk_size = 65_536

    def echo(self, command: str) -> None:
        line = redact(self.opts["echo_format"].format(command=command))
        self.write_our_output(stream=sys.stderr, string=f"{line}\n")

    def write_our_output(self, stream: IO[str], string: str) -> None:
        # A terminal that went away must not end the command: what it pushes would be lost.
        with suppress(OSError, ValueError):
            if stream is not None:
                super().write_our_output(stream=stream, string=string)

    def start(self, command: str, shell: str, env: dict[str, Any]) -> None:
        # An exception out of Popen would leave a command running that nobody knows of.
        with held_back() as arrived:
            self.process = Popen(
                [shell, "-c", command], env=env, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
            )
        if arrived:
            raise Signalled(arrived[0])

    def run(self, command: str, **options: Any) -> Any:
        try:
            return super().run(command, **options)
        except KeyboardInterrupt as interrupt:
            number = signal_number(interrupt)
            self._end(number)
            raise Interrupted("stopped, and the engine with it; nothing was recorded or deployed", number) from None

    def send_interrupt(self, interrupt: KeyboardInterrupt) -> None:
        # Invoke would type ^C into the command's stdin and wait on.
        self._end(signal_number(interrupt))
        raise interrupt

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        super().stop()
        # Invoke leaves the pipes to the garbage collector.
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr) if hasattr(self, "process") else ():
            if pipe is not None:
                pipe.close()

    def _handle_output(self, buffer_: list[str], hide: bool, output: IO[str], reader: Any) -> None:  # noqa: ARG002
        # A step of a Dockerfile may print the build arg that it got.
        redactor = Redactor()
        for text in self.read_proc_output(reader):
            if not hide:
                self.write_our_output(stream=self.streams["err"], string=redactor.feed(text))
            buffer_[:] = ["".join([*buffer_, text])[-_KEPT_CHARACTERS:]]
        if not hide:
            self.write_our_output(stream=self.streams["err"], string=redactor.end())

    def _end(self, number: int) -> None:
        """Lets the command end by the signal that we got, then sees to it that nothing of it is left."""
        while hasattr(self, "process") and self.process.returncode is None:
            with suppress(KeyboardInterrupt), held_back() as arrived:
                self._signal(number)
                until = time.monotonic() + _SECONDS_TO_STOP
                # A second signal is impatience: no more waiting then.
                while not arrived and time.monotonic() < until:
                    with suppress(TimeoutExpired):
                        self.process.wait(_SECONDS_BETWEEN_LOOKS)
                        break
                self._signal(signal.SIGKILL)
                self.process.wait()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
