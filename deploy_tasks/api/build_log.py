"""The log of a build while it grows: what of it is new, and when it is worth asking for again.

The API gives the whole text each time (docs/deploy-api.md). For a log that ends at L bytes, less than 4·L are
transferred, however long the build takes and however its lines come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty
from threading import Event, Lock, Thread
from typing import Protocol

from ..errors import ApiRefused, DeployError, NothingStarted
from ..redaction import plain
from ..signals import in_background
from .schemas import Log

_TAIL_LINES = 30
_ANCHOR = 200
_MOST_PLACES = 100
_CUT = "… (the API cut its log here)"
_FIRST_DELAY, _LONGEST_EMPTY_DELAY, _SILENCE_DELAY, _LONG_SILENCE_DELAY = 0.5, 2.0, 4.0, 20.0
_SECONDS_TO_FINISH = 5.0
_SECONDS_BETWEEN_SIZES = 2.0


class LoggingClient(Protocol):
    """The part of DeployClient that logs need."""

    def logs(self, job: str) -> Log | None: ...
    def log_size(self, job: str) -> int | None: ...


class LogText:
    """Turns the whole text, as it comes each time, into the lines that are new; also where it is cut at its front."""

    def __init__(self) -> None:
        self._seen = ""
        self._part = ""

    def feed(self, text: str) -> list[str]:
        """The whole lines that were not there before."""
        if self._seen.startswith(text):
            return []  # an answer that is older than the one before
        added = text[len(self._seen) :] if text.startswith(self._seen) else self._after_cut(text)
        self._seen = text
        *lines, self._part = (self._part + added).split("\n")
        return lines

    def end(self) -> list[str]:
        """The last line, where no line break ends it."""
        part, self._part = self._part, ""
        return [part] if part else []

    def _after_cut(self, text: str) -> str:
        """What follows in `text` on what was seen, the beginning of which it has no more."""
        anchor, place = text[:_ANCHOR], 0
        # In a log of equal lines the anchor is everywhere, and each comparison takes as long as the log is.
        for _ in range(_MOST_PLACES):
            place = self._seen.find(anchor, place)
            if place < 0:
                break
            overlap = len(self._seen) - place
            if self._seen.endswith(text[:overlap]):
                return text[overlap:]
            place += 1
        for overlap in range(min(len(anchor), len(self._seen)), 0, -1):
            if self._seen.endswith(text[:overlap]):
                return text[overlap:]
        return f"\n{_CUT}\n{text}"


class Schedule:
    """When to ask for the log again, so that all that is transferred, the last time included, stays under four times
    its length, even if not another line comes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._transferred = 0
        self._length = self._size = 0
        self._asked = clock()
        self._delay = _FIRST_DELAY

    def next(self, log: Log | None) -> float | None:
        """Seconds until the next time, after `log` came (None: it did not come); None: not before the build is over."""
        now, length = self._clock(), self._length if log is None else len(log.text.encode())
        grown, passed = length - self._length, max(now - self._asked, 1e-3)
        self._length, self._asked = length, now
        if log is not None:
            self._size = log.transferred
            self._transferred += log.transferred if length else 0
        if not length:
            self._delay = min(2 * self._delay, _LONGEST_EMPTY_DELAY)
        elif grown <= 0:
            # Asking in vain is within reach twice, so the second time is for a long silence.
            self._delay = _SILENCE_DELAY if self._delay < _SILENCE_DELAY else _LONG_SILENCE_DELAY
        else:
            # At the pace of now, until the log is longer than all that was transferred: then once more is within reach.
            self._delay = max(_FIRST_DELAY, 1.3 * (self._transferred - length) * passed / grown)
        return self._delay if not length or self._transferred + 2 * self._size <= 4 * length else None

    def affords(self, size: int) -> bool:
        """Whether a log of `size` bytes on the wire is worth asking for: longer than the last time, and long enough."""
        length = size * self._length / max(self._size, 1)
        return size > self._size and self._transferred + 2 * size <= 4 * length


class LogFollower:
    """Shows a build's log beside the wait for it, from a thread of its own, so that neither delays the other."""

    def __init__(self, client: LoggingClient, job: str, show: Callable[[str], None]) -> None:
        self._client = client
        self._job = job
        self._show = show
        self._text = LogText()
        self._one_at_a_time = Lock()
        self._over = Event()
        self._thread = Thread(target=self._follow, daemon=True)
        self.served = True
        """Whether the API has such a log at all."""

    def __enter__(self) -> LogFollower:
        self._thread.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        if error is not None and issubclass(error, KeyboardInterrupt):
            self._show = _ignore  # whoever presses Ctrl-C has seen enough, and the last line says how to go on
            return
        if self.served:
            # In a thread of its own: a request that hangs may still keep the other one.
            with suppress(Empty):
                in_background(self._finish)(_SECONDS_TO_FINISH)
        with self._one_at_a_time:
            self._show = _ignore  # what comes too late would stand after the end of the log

    def _follow(self) -> None:
        schedule = Schedule()
        while self.served and not self._over.is_set():
            self._wait(schedule.next(self._look()), schedule)

    def _finish(self) -> None:
        self._look()
        with self._one_at_a_time:
            self._tell(self._text.end())

    def _look(self) -> Log | None:
        """Shows what is new. None where the log did not come; whoever waits for the build says why."""
        try:
            log = self._client.logs(self._job)
        except (ApiRefused, NothingStarted):
            return None
        if log is None:
            self.served = False
            return None
        with self._one_at_a_time:
            self._tell(self._text.feed(log.text))
        return log

    def _wait(self, delay: float | None, schedule: Schedule) -> None:
        if delay is not None:
            self._over.wait(delay)
            return
        # No more is within reach until the log has grown, which a server that says its size tells for next to nothing.
        while not self._over.wait(_SECONDS_BETWEEN_SIZES):
            with suppress(NothingStarted):
                size = self._client.log_size(self._job)
                if size is None:
                    self._over.wait()
                elif schedule.affords(size):
                    return

    def _tell(self, lines: Sequence[str]) -> None:
        try:
            if lines:
                self._show("\n".join(lines))
        except (OSError, ValueError, DeployError):
            self._show = _ignore  # nobody reads any more


def _ignore(_: str) -> None: ...


def tail(client: LoggingClient, job: str) -> list[str]:
    """The last 30 lines of a build's log, indented; none where there is no log."""
    try:
        log = client.logs(job)
    except (ApiRefused, NothingStarted):
        return []  # the failure is what matters
    lines = log.text.rstrip("\n").split("\n")[-_TAIL_LINES:] if log and log.text else []
    return [f"  {plain(line)}" for line in lines]
