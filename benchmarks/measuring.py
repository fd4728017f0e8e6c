"""How it is measured: whole processes, two commands in turn, the ratio pair by pair."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

_SECONDS_BETWEEN_LOOKS = 0.2


class Command(NamedTuple):
    """A command line, where it runs, and its environment."""

    argv: Sequence[str]
    folder: Path
    environment: Mapping[str, str]


class Usage(NamedTuple):
    """What one run took: seconds of wall clock and of processor time, megabytes at its largest."""

    seconds: float
    cpu_seconds: float
    megabytes: float


@dataclass
class Measured:
    """A row: the figure, between which others it lay, the bound that it must keep, and how both read."""

    row: str
    against: str
    figure: float
    low: float
    high: float
    bound: float
    unit: str = " x"
    detail: str = ""
    is_ours: bool = True
    """Whether what it is over its bound by can be the kit's; otherwise it is not checked."""

    @property
    def is_met(self) -> bool:
        return self.figure <= self.bound

    def shown(self, value: float) -> str:
        return f"{value:.2f}{self.unit}" if self.unit == " x" else f"{value:.3g}{self.unit}"


def run(command: Command) -> Usage:
    """Runs a command to its end. RuntimeError where it fails."""
    begun = time.perf_counter()
    process = start(command)
    return ended(process, begun)


def start(command: Command) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command.argv,
        cwd=command.folder,
        env=command.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def ended(process: subprocess.Popen[bytes], begun: float) -> Usage:
    """Waits for the end of a process that was started at `begun`. RuntimeError where it fails."""
    assert process.stderr is not None
    memory = _Memory(process.pid)
    memory.start()
    said = process.stderr.read()
    memory.over.set()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise RuntimeError(f"{process.args!r} ended with {process.returncode}: {said.decode()[-2000:]}")
    memory.join()
    return Usage(seconds, usage.ru_utime + usage.ru_stime, memory.megabytes)


class _Memory(Thread):
    """Looks at the largest size of a process, as long as it runs. Its usage at the end would not do: that counts what
    its parent was when it started it, too (getrusage(2), ru_maxrss)."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{pid}/status")
        self.over = Event()
        self.megabytes = 0.0

    def run(self) -> None:
        while not self.over.wait(_SECONDS_BETWEEN_LOOKS):
            with suppress(OSError):
                found = re.search(r"VmHWM:\s+(\d+) kB", self._status.read_text())
                self.megabytes = max(self.megabytes, int(found[1]) / 1024 if found else 0.0)


def ratio(
    row: str, against: str, one: Command, other: Command, *, bound: float, pairs: int, is_ours: bool = True
) -> Measured:
    """The wall clock of `one` over that of `other`: the median over pairs in turn, after one of each that is not
    counted; the spread is that of the middle half."""
    run(one), run(other)
    taken = [(run(one).seconds, run(other).seconds) for _ in range(pairs)]
    ratios = sorted(first / second for first, second in taken)
    medians = [statistics.median(column) for column in zip(*taken, strict=True)]
    return Measured(
        row,
        against,
        statistics.median(ratios),
        ratios[len(ratios) // 4],
        ratios[(3 * len(ratios)) // 4],
        bound,
        detail=f"{medians[0]:.3f} s, {medians[1]:.3f} s",
        is_ours=is_ours,
    )
