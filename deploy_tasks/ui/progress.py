"""How a wait, or several apps at work, stand: lines kept up to date on a terminal; elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from . import console

_SECONDS_BETWEEN_LINES = 15.0


class Board:
    """The state of several apps. `show` shows the state of one; once the board `is_over`, nothing more is written or
    started for its apps."""

    def __init__(self, names: Sequence[str], show: Callable[[str, str], None]) -> None:
        self._width = max(map(len, names))
        self._show = show
        self.is_over = False

    @contextmanager
    def output_of(self, name: str) -> Iterator[None]:
        """Within it, every line that this thread writes begins with `name`."""
        token = console.current_app.set(console.CurrentApp(name, f"{name:<{self._width}} | ", self))
        try:
            yield
        finally:
            console.current_app.reset(token)

    def set(self, name: str, state: str) -> None:
        """Shows the state of `name`; an empty one means that it is done."""
        with console.one_at_a_time:
            if not self.is_over:
                self._show(name, state)


@contextmanager
def board_of(names: Sequence[str], *, is_shown: bool) -> Iterator[Board]:
    """Shows the state of the apps `names`, if that `is_shown`: on a terminal a line for each app at work, elsewhere one
    line for all, at most every 15 s."""
    console.warnings()  # so that the apps' threads share them
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
    """Yields a function that shows the state of `what`: on a terminal as one line with the time that has passed,
    elsewhere as a line at most every 15 s, so that CI does not take the job for dead."""
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
    """A function that takes an app's name and state, and says of all apps together which are at work."""
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
