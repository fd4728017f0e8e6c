"""Follows the log of a build: finds the new lines, and decides when to request the log again.

The API sends the whole text each time (docs/deploy-api.md). For a log of L bytes in the end, less than 4·L are
transferred, however long the build takes and whenever its lines appear.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import Empty
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from ..errors import ApiRefused, DeployError, NothingStarted
from ..redaction import plain
from ..signals import in_background
from .schemas import Log

if TYPE_CHECKING:
    from .client import DeployClient

_TAIL_LINES = 30
_ANCHOR = 200
_MOST_PLACES = 100
_CUT = "… (the API cut its log here)"
_FIRST_DELAY, _LONGEST_EMPTY_DELAY, _SILENCE_DELAY, _LONG_SILENCE_DELAY = 0.5, 2.0, 4.0, 20.0
_SECONDS_TO_FINISH = 5.0
_SECONDS_TO_SHOW = 1.0
_SECONDS_BETWEEN_SIZES = 2.0


class LogText:
    """Finds the new lines in a text that is sent as a whole each time, even if the server drops its beginning."""

    def __init__(self) -> None:
        self._seen = ""
        self._part = ""

    def feed(self, text: str) -> list[str]:
        """The new complete lines in `text`."""
        if self._seen.startswith(text):
            return []  # older than the answer before
        added = text[len(self._seen) :] if text.startswith(self._seen) else self._after_cut(text)
        self._seen = text
        *lines, self._part = (self._part + added).split("\n")
        return lines

    def end(self) -> list[str]:
        """The last line, if no line break ends it."""
        part, self._part = self._part, ""
        return [part] if part else []

    def _after_cut(self, text: str) -> str:
        """The new part of `text`, whose beginning the server has dropped."""
        anchor, place = text[:_ANCHOR], 0
        # Limited: in a log of equal lines the anchor is everywhere, and each comparison takes time in proportion to
        # the log.
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
    """Decides when to request the log again, so that all transfers together stay under four times its length."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._transferred = 0
        self._length = self._size = 0
        self._asked = clock()
        self._delay = _FIRST_DELAY

    def next(self, log: Log | None) -> float | None:
        """Seconds until the next request, after one that returned `log` (None: it failed). None if the next request
        must wait for the end of the build."""
        now, length = self._clock(), self._length if log is None else len(log.text.encode())
        grown, passed = length - self._length, max(now - self._asked, 1e-3)
        self._length, self._asked = length, now
        if log is not None:
            self._size = log.transferred
            self._transferred += log.transferred if length else 0
        if not length:
            self._delay = min(2 * self._delay, _LONGEST_EMPTY_DELAY)
        elif grown <= 0:
            # Two requests without new lines are affordable. The second one is for a long silence.
            self._delay = _SILENCE_DELAY if self._delay < _SILENCE_DELAY else _LONG_SILENCE_DELAY
        else:
            # The time, at the current pace, until the log is longer than all transfers. Then one more request is
            # affordable.
            self._delay = max(_FIRST_DELAY, 1.3 * (self._transferred - length) * passed / grown)
        return self._delay if not length or self._transferred + 2 * self._size <= 4 * length else None

    def affords(self, size: int) -> bool:
        """Whether a log of `size` bytes on the wire is worth a request: longer than the last one, and affordable."""
        length = size * self._length / max(self._size, 1)
        return size > self._size and self._transferred + 2 * size <= 4 * length


class LogFollower:
    """Shows the log of a build from its own thread, so that the log and the wait do not delay each other."""

    def __init__(self, client: DeployClient, job: str, show: Callable[[str], None]) -> None:
        self._client, self._job = client, job
        self._show: Callable[[str], None] | None = show
        self._text = LogText()
        self._one_at_a_time = Lock()
        self._over = Event()
        self._thread = Thread(target=copy_context().run, args=(self._follow,), daemon=True)
        self.served = True
        """Whether the API serves this log."""

    def __enter__(self) -> LogFollower:
        try:
            self._thread.start()
        except KeyboardInterrupt:  # the thread may run already
            self._stop()
            raise
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        if error and issubclass(error, KeyboardInterrupt):
            self._stop()
            return
        if self.served:
            with suppress(Empty):  # the request may hang, and so may the one in the other thread
                in_background(self._finish)(_SECONDS_TO_FINISH)
        with self._one_at_a_time:
            self._show = None  # later lines would come after the end of the log

    def _stop(self) -> None:
        """Shows no more lines: the last line must be the one that says how to continue."""
        self._over.set()
        self._show = None
        if self._one_at_a_time.acquire(timeout=_SECONDS_TO_SHOW):  # the other thread may be showing some
            self._one_at_a_time.release()

    def _follow(self) -> None:
        schedule = Schedule()
        while self.served and not self._over.is_set():
            delay = schedule.next(self._look())
            if delay is not None:
                self._over.wait(delay)
                continue
            # Wait until the log has grown enough for another request.
            while not self._over.wait(_SECONDS_BETWEEN_SIZES):
                with suppress(NothingStarted):
                    size = self._client.log_size(self._job)
                    if size is None:
                        self._over.wait()
                    elif schedule.affords(size):
                        break

    def _finish(self) -> None:
        self._look()
        self._tell(self._text.end)

    def _look(self) -> Log | None:
        """Requests the log and shows the new lines. None if the request failed; the wait for the build says why."""
        try:
            log = self._client.logs(self._job)
        except (ApiRefused, NothingStarted):
            return None
        if log is None:
            self.served = False
        else:
            self._tell(partial(self._text.feed, log.text))
        return log

    def _tell(self, new_lines: Callable[[], list[str]]) -> None:
        with self._one_at_a_time:
            try:
                if (lines := new_lines()) and (show := self._show):
                    show("\n".join(lines))
            except (OSError, ValueError, DeployError):
                self._show = None  # the reader has closed the stream


def tail(client: DeployClient, job: str) -> list[str]:
    """The last 30 lines of a build's log, indented; none if there is no log."""
    try:
        log = client.logs(job)
    except (ApiRefused, NothingStarted):
        return []  # the failure of the build is what matters
    lines = log.text.rstrip("\n").split("\n")[-_TAIL_LINES:] if log and log.text else []
    return [f"  {plain(line)}" for line in lines]
