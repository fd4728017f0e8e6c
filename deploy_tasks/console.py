"""People read stderr, programs read stdout; no secret leaves by either."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import RLock
from typing import TextIO

from .errors import DeployError
from .models import encode
from .redaction import redact

_warned: set[str] = set()
# On a terminal, what prints above the line that is kept up to date there.
_above_live_line: list[Callable[[str], None]] = []
_SECONDS_BETWEEN_SIGNS = 15.0
# The log of a build comes from a thread of its own, and no line may be torn.
_one_at_a_time = RLock()


def tell(text: str) -> None:
    """One thing that a person wants to know, to stderr."""
    # A terminal that went away must not cost the digest; and without a stderr, print would take stdout.
    with suppress(OSError), _one_at_a_time:
        if _above_live_line:
            _above_live_line[-1](redact(text))
        elif sys.stderr is not None:
            sys.stderr.write(f"{_writable(redact(text), sys.stderr)}\n")
            sys.stderr.flush()


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


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as text for stdout: columns of their width, the first line its titles. Drawn for a person."""
    if _is_drawn_on(sys.stdout):
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
    _print(text)


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
        raise DeployError(f"{before}stdout cannot be written ({error.strerror}){after}") from None


def _writable(text: str, stream: TextIO | None) -> str:
    """`text` as far as the encoding of `stream` has its characters."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, errors="replace").decode(encoding)
