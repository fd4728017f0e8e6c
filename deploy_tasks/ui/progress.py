"""Progress of a wait or of several apps: live lines on a terminal, elsewhere a line every 15 s at most."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from . import console

_SECONDS_BETWEEN_LINES = 15.0


class Stoppable(Protocol):
    """A command that runs for an app."""

    def signal(self, number: int, /) -> None:
        """Sends it the signal `number`."""

    def end(self, number: int, /) -> None:
        """Sends it the signal `number`, waits for its end, and kills the processes that are left."""


class Board:
    """Shows the states of several apps, for which `commands` run; `show` shows one. Once `is_over` is set, nothing more
    is written or started for these apps."""

    def __init__(self, names: Sequence[str], show: Callable[[str, str], None]) -> None:
        self._width = max(map(len, names))
        self._show = show
        self.is_over = False
        self.commands: set[Stoppable] = set()

    @contextmanager
    def output_of(self, name: str) -> Iterator[None]:
        """Within the block, every line of this thread begins with `name`."""
        token = console.current_app.set(console.CurrentApp(name, f"{name:<{self._width}} | ", self))
        try:
            yield
        finally:
            console.current_app.reset(token)

    def set(self, name: str, state: str) -> None:
        """Shows the state of the app `name`; "" means done."""
        with console.one_at_a_time:
            if not self.is_over:
                self._show(name, state)


@contextmanager
def board_of(names: Sequence[str], *, is_shown: bool) -> Iterator[Board]:
    """A board for the apps `names`. If it `is_shown`: on a terminal a line for each running app, elsewhere one line for
    all, at most every 15 s."""
    if not is_shown:
        yield Board(names, lambda _name, _state: None)
    elif console.is_drawn_on(sys.stderr):
        from .live import live_lines

        with live_lines(len(names)) as show:
            yield Board(names, show)
    else:
        with progress_of(f"{len(names)} apps") as say:
            yield Board(names, _summary(console.for_other_threads(say)))


@contextmanager
def progress_of(what: str) -> Iterator[Callable[[str], None]]:
    """Yields a function that shows the state of `what`: on a terminal as a live line with the elapsed time, elsewhere
    as a line at most every 15 s, so that CI does not stop a silent job."""
    if current := console.current_app.get():
        name, of_all = current.name, current.board
        yield lambda state: of_all.set(name, state if what == name else f"{what} {state}")
    elif console.is_drawn_on(sys.stderr):
        from .live import live_line

        with live_line(what) as show:
            yield show
    else:
        start = last = time.monotonic()

        def say(state: str) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= 0.9 * _SECONDS_BETWEEN_LINES:
                last = now
                console.tell(f"{what}: {state}, {now - start:.0f} s")

        yield say


def _summary(say: Callable[[str], None]) -> Callable[[str, str], None]:
    """A function that takes an app's name and its state, and passes to `say` which apps are running."""
    at_work: dict[str, None] = {}  # in the order in which they began
    done: set[str] = set()

    def show(name: str, state: str) -> None:
        if state:
            at_work[name] = None
        else:
            at_work.pop(name, None)
            done.add(name)
        say(f"{len(done)} done, at work: {', '.join(at_work) or 'none'}")

    return show
