"""How long a whole wait may take, however many requests it is made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator


class Deadline:
    """Passes `seconds` after it was made. Requests, repeats and pauses all count."""

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
        """Seconds since it was made."""
        return self._clock() - self._start

    def left(self) -> float:
        """Seconds until it passes, 0 afterwards."""
        return max(0.0, self._start + self.seconds - self._clock())

    def pause(self, seconds: float) -> None:
        """Sleeps for `seconds`, but not beyond the deadline."""
        self._sleep(min(seconds, self.left()))

    def turns(self, first: float, longest: float) -> Iterator[None]:
        """A turn now, others after pauses that grow from `first` to `longest` seconds, and the last at the deadline."""
        yield
        pause = first
        while left := self.left():
            self._sleep(min(pause, left))
            yield
            pause = min(1.5 * pause, longest)
