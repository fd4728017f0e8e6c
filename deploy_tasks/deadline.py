"""The time limit of a whole wait, however many requests it makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator


class Deadline:
    """A time limit of `seconds` from now. Requests, retries and pauses all count."""

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.seconds = seconds
        self._clock, self._sleep = clock, sleep
        self._start = clock()

    def passed(self) -> float:
        """Seconds since the deadline was set."""
        return self._clock() - self._start

    def left(self) -> float:
        """Seconds until it passes, 0 afterwards."""
        return max(0.0, self._start + self.seconds - self._clock())

    def pause(self, seconds: float) -> None:
        """Sleeps for `seconds`, but not beyond the deadline."""
        self._sleep(min(seconds, self.left()))

    def turns(self, first: float, longest: float) -> Iterator[None]:
        """Yields now, then after pauses that grow from `first` to `longest` seconds, and last at the deadline."""
        yield
        pause = first
        while left := self.left():
            self._sleep(min(pause, left))
            yield
            pause = min(1.5 * pause, longest)
