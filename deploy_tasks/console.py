"""People read stderr, programs read stdout; no secret leaves by either."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from threading import RLock
from typing import NamedTuple, TextIO

from .errors import DeployError
from .models import encode
from .redaction import redact

_warned: set[str] = set()
# On a terminal, what prints above the line that is kept up to date there.
_above_live_line: list[Callable[[str], None]] = []
_SECONDS_BETWEEN_SIGNS = 15.0
_MOST_NAMED = 5
# The log of a build comes from a thread of its own, and no line may be torn.
_one_at_a_time = RLock()
# With several apps at once: whose lines those of this thread are, with what each line begins, and where they stand.
_speaker: ContextVar[Speaker | None] = ContextVar("speaker", default=None)


class Speaker(NamedTuple):
    """One of several apps that a person hears of at once."""

    name: str
    begins: str
    board: Board


class Board:
    """How several apps stand. `show` draws it; once it `is_over`, nothing of theirs is told or begun any more."""

    def __init__(self, names: Sequence[str], show: Callable[[str, str], None]) -> None:
        self._width = max(map(len, names))
        self._show = show
        self.is_over = False

    @contextmanager
    def speaking(self, name: str) -> Iterator[None]:
        """Within it, in this thread, every line that is told begins with `name`."""
        token = _speaker.set(Speaker(name, f"{name:<{self._width}} | ", self))
        try:
            yield
        finally:
            _speaker.reset(token)

    def set(self, name: str, state: str) -> None:
        """How `name` stands; an empty text: it is done."""
        with suppress(OSError), _one_at_a_time:
            if not self.is_over:
                self._show(name, state)


@contextmanager
def board(names: Sequence[str], *, is_shown: bool) -> Iterator[Board]:
    """Shows how the apps `names` stand while they are worked on, if that `is_shown`: on a terminal a line for each at
    work, elsewhere one for all, every 15 s at the most."""
    if not is_shown:
        yield Board(names, lambda _name, _state: None)
        return
    if not _is_drawn_on(sys.stderr):
        yield Board(names, _counts(len(names)))
        return
    from .terminal import live_lines

    with live_lines(len(names)) as (show, print_above):
        _above_live_line.append(print_above)
        try:
            yield Board(names, lambda name, state: show(name, redact(state)))
        finally:
            _above_live_line.pop()


def _counts(number: int) -> Callable[[str, str], None]:
    at_work: dict[str, str] = {}
    done: set[str] = set()
    sign = for_other_threads(_signs_of_life(f"{number} apps"))

    def show(name: str, state: str) -> None:
        at_work.pop(name, None)
        if state:
            at_work[name] = state
        else:
            done.add(name)
        named = ", ".join(list(at_work)[:_MOST_NAMED])
        more = f" and {len(at_work) - _MOST_NAMED} more" if len(at_work) > _MOST_NAMED else ""
        sign(f"{len(done)} done, at work: {named or 'none'}{more}")

    return show


def for_other_threads(say: Callable[[str], None]) -> Callable[[str], None]:
    """`say`, for other threads than this one: it speaks for the app that this one speaks for."""
    speaker = _speaker.get()

    def said(text: str) -> None:
        token = _speaker.set(speaker)
        try:
            say(text)
        finally:
            _speaker.reset(token)

    return said


def is_one_of_several() -> bool:
    """Whether this thread speaks for one of several apps, so that its lines need a name."""
    return _speaker.get() is not None


def nobody_waits() -> Callable[[], bool]:
    """Tells whether nobody waits any more for the app that this thread speaks for: then it is to begin nothing new."""
    speaker = _speaker.get()
    return lambda: speaker is not None and speaker.board.is_over


def tell(text: str) -> None:
    """One thing that a person wants to know, to stderr."""
    pass_on(redact(text))


def pass_on(text: str) -> None:
    """What somebody else said, a build or an engine, to stderr."""
    shown = _said_by(redact(text))
    # A terminal that went away must not cost the digest; and without a stderr, print would take stdout.
    with suppress(OSError), _one_at_a_time:
        if shown is None:
            return
        if _above_live_line:
            _above_live_line[-1](shown)
        elif sys.stderr is not None:
            sys.stderr.write(f"{_writable(shown, sys.stderr)}\n")
            sys.stderr.flush()


def _said_by(text: str) -> str | None:
    """`text` with the name of the app on every line, where there are several; None where nobody listens to it now."""
    speaker = _speaker.get()
    if speaker is None:
        return text
    return None if speaker.board.is_over else "\n".join(speaker.begins + line for line in text.split("\n"))


def warn(text: str) -> None:
    """Something that a person should look at, to stderr; once, however many tasks notice it."""
    if text not in _warned:
        _warned.add(text)
        tell(f"warning: {text}")


def _is_drawn_on(stream: TextIO | None) -> bool:
    """Whether a person looks at `stream`, on a terminal that can be drawn on."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def progress(what: str) -> Iterator[Callable[[str], None]]:
    """Yields a function that takes how `what` stands. A person sees one line with it and the time that has passed, kept
    up to date; elsewhere it is a line every 15 s at the most, so that no CI takes the job for dead."""
    speaker = _speaker.get()
    if speaker is not None:
        yield lambda state: speaker.board.set(speaker.name, state if what == speaker.name else f"{what} {state}")
        return
    if not _is_drawn_on(sys.stderr):
        yield _signs_of_life(what)
        return
    from .terminal import live_line

    with live_line(what) as (update, print_above):
        _above_live_line.append(print_above)
        try:
            yield lambda state: update(redact(state))
        finally:
            _above_live_line.pop()


def _signs_of_life(what: str) -> Callable[[str], None]:
    start = told = time.monotonic()

    def sign(state: str) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= 0.9 * _SECONDS_BETWEEN_SIGNS:
            told = now
            tell(f"{what}: {state}, {now - start:.0f} s")

    return sign


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, to: TextIO | None) -> str:
    """A table as text for the stream `to`: columns of their width, the first line its titles. Drawn for a person."""
    if _is_drawn_on(to):
        from .terminal import drawn_table

        return drawn_table(titles, rows)
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (titles, *rows)]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def result(text: str, details: object, *, as_json: bool) -> None:
    """A task's result to stdout: `text` alone on its line, or `details` as one JSON object. By then the task has done
    what it does and recorded it; DeployError where nobody can read it."""
    line = encode(details).decode() if as_json else text
    _print(line, "done, but ", f"; the result: {line}")


def print_result(text: str) -> None:
    """A part of a result to stdout. BrokenPipeError where its reader has had enough, DeployError where it cannot be
    written."""
    shown = _said_by(text)
    if shown is not None:
        with _one_at_a_time:
            _print(shown)


def _print(text: str, before: str = "", after: str = "") -> None:
    try:
        if sys.stdout is not None:
            sys.stdout.write(f"{_writable(text, sys.stdout)}\n")
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # What Python still holds of it would fail once more at its end.
        sys.stdout = None
        raise DeployError(f"{before}stdout cannot be written ({error.strerror}){after}") from error


def _writable(text: str, stream: TextIO | None) -> str:
    """`text` as far as the encoding of `stream` has its characters."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, errors="replace").decode(encoding)
