"""The one way out: people read stderr, programs read stdout, GitHub reads both.

Whatever leaves passes `fit` line by line (JSON: `_json`), so that no text of others moves the cursor, adds a line or
shows a secret; on GitHub no line is read as a workflow command but those of `to_runner`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from threading import RLock
from typing import Any, NamedTuple, TextIO, cast

from ..encoding import as_builtins
from ..errors import DeployError, SomeFailed
from ..redaction import fit, plain, redact

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
        with _one_at_a_time:
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
    from .live import live_lines

    with live_lines(len(names), to=_stderr()) as (show, print_above):
        _above_live_line.append(print_above)
        try:
            yield Board(names, lambda name, state: show(name, fit(state)))
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


def nobody_waits() -> Callable[[], bool]:
    """Tells whether nobody waits any more for the app that this thread speaks for: then it is to begin nothing new."""
    speaker = _speaker.get()
    return lambda: speaker is not None and speaker.board.is_over


def tell(text: str) -> None:
    """One line that a person wants to know, to stderr."""
    _to_stderr([fit(text)])


def pass_on(text: str) -> None:
    """Lines of somebody else, a build or an engine, to stderr."""
    _to_stderr(fit(plain(line)) for line in text.split("\n"))


def tell_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for people, to stderr."""
    _to_stderr(table(titles, rows, to=sys.stderr).split("\n"))


def to_runner(command: str) -> None:
    """A workflow command, for the runner of GitHub Actions, to stderr."""
    _to_stderr([fit(command)], is_command=True)


def message_of(error: DeployError) -> str:
    """What `tell` would show of an error, for Invoke to print: it has a way out of its own."""
    return shown([str(error), *(error.lines if isinstance(error, SomeFailed) else ())])


def shown(lines: Iterable[str]) -> str:
    """What `tell` would show of `lines`, for what is written by somebody else."""
    return "\n".join(_no_command(fit(line)) for line in lines)


def warn(text: str) -> None:
    """Something that a person should look at, to stderr; once, however many tasks notice it."""
    if text not in _warned:
        _warned.add(text)
        tell(f"warning: {text}")


def _to_stderr(lines: Iterable[str], *, is_command: bool = False) -> None:
    shown = list(lines) if is_command else _said(lines)
    # A terminal that went away must not cost the digest.
    with _one_at_a_time:
        if shown and _above_live_line:
            _above_live_line[-1]("\n".join(shown))
        elif shown:
            stderr = _stderr()
            stderr.write("".join(f"{_writable(line, stderr)}\n" for line in shown))
            stderr.flush()


def _said(lines: Iterable[str]) -> list[str]:
    """`lines` with the name of the app before each, where there are several; none where nobody listens to it now."""
    speaker = _speaker.get()
    if speaker and speaker.board.is_over:
        return []
    begins = speaker.begins if speaker else ""
    return [_no_command(begins + line) for line in lines]


def is_on_github() -> bool:
    """Whether this process runs in GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def _no_command(line: str) -> str:
    """`line` as the runner of GitHub Actions reads no command in it. It takes `::` at the beginning of a line, after
    white space too, and `##[` anywhere (actions/runner, ActionCommand.cs)."""
    if not is_on_github():
        return line
    return re.sub(r"^(\s*):(?=:)", r"\1: ", line).replace("##[", "## [")


class _Forgiving:
    """A stderr that drops what cannot be written, or all where there is none."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._forgiving():
            if self._stream is not None:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._forgiving():
            if self._stream is not None:
                self._stream.flush()

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):
            # What Python still holds of it would fail once more at its end, and the exit code would be 120.
            sys.stderr = cast(TextIO, self)

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _stderr() -> TextIO:
    """The stderr of this process, forgiving."""
    return cast(TextIO, sys.stderr if isinstance(sys.stderr, _Forgiving) else _Forgiving(sys.stderr))


def forgive_stderr() -> None:
    """From now on, what cannot be written to stderr is dropped. Invoke prints our errors there itself: without a stderr
    it would take stdout, and where that fails, and where Python empties its buffers at its end, the exit code would be
    lost."""
    sys.stderr = _stderr()


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
    from .live import live_line

    with live_line(fit(what), to=_stderr()) as (update, print_above):
        _above_live_line.append(print_above)
        try:
            yield lambda state: update(fit(state))
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
    rows = [[fit(cell) for cell in row] for row in rows]
    if _is_drawn_on(to):
        from .live import drawn_table

        return drawn_table(titles, rows)
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (titles, *rows)]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def result(lines: list[str], details: object, *, as_json: bool) -> None:
    """A task's result to stdout: its `lines`, or `details` as one JSON object. By then the task has done what it does
    and recorded it; DeployError where nobody can read it."""
    shown = [_json(details)] if as_json else [_no_command(fit(line)) for line in lines]
    _print(shown, "done, but ", f"; the result: {'; '.join(shown)}")


def print_json(value: object) -> None:
    """A part of a result to stdout, as one line of JSON. BrokenPipeError where its reader has had enough, DeployError
    where it cannot be written."""
    _print([_json(value)])


def print_lines(text: str) -> None:
    """Lines of somebody else, the log of a build, to stdout. Raises as `print_json` does."""
    _print(_said(fit(plain(line)) for line in text.split("\n")))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table to stdout. Raises as `print_json` does."""
    _print(map(_no_command, table(titles, rows, to=sys.stdout).split("\n")))


def _json(value: object) -> str:
    """`value` as one line of JSON, its texts redacted. What is not printable is escaped as JSON does it, and `##[`,
    which can stand only in a text there, so that it is no command on GitHub."""
    text = json.dumps(_redacted(as_builtins(value)), ensure_ascii=False, separators=(",", ":"))
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)
    return text.replace("##[", "#\\u0023[")


def _redacted(value: Any) -> Any:
    """A JSON value without secrets in its texts; a secret in the text that it becomes might be `true`, or a number."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(key): _redacted(item) for key, item in value.items()}
    return [_redacted(item) for item in value] if isinstance(value, list) else value


def _print(lines: Iterable[str], before: str = "", after: str = "") -> None:
    try:
        with _one_at_a_time:
            if sys.stdout is not None:
                for line in lines:
                    sys.stdout.write(f"{_writable(line, sys.stdout)}\n")
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
