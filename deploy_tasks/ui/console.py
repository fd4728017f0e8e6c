"""All output: lines for people (stderr), results for programs (stdout), commands for GitHub Actions.

Every line is redacted, escaped, cut, and written in one piece. GitHub Actions can read only the kit's own commands.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar, copy_context
from io import StringIO
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, cast

from .. import next_steps
from ..encoding import as_builtins
from ..errors import DeployError, SomeFailed
from ..redaction import plain, redact, sanitized

if TYPE_CHECKING:
    from .progress import Board

LOG = logging.getLogger("deploy_tasks")
# Several threads write (the log of a build, the output of an engine), and their lines must not mix.
one_at_a_time = RLock()
# While a live line is drawn on the terminal: the function that prints above it. Global, since a process has one
# terminal, and one thread draws while others write.
above_live_line: list[Callable[[str], None]] = []
warned: ContextVar[set[str]] = ContextVar("warned")
"""The warnings that the present command line, or program, has seen."""


class CurrentApp(NamedTuple):
    """The app that a thread works for, with the prefix of its lines."""

    name: str
    prefix: str
    board: Board


current_app: ContextVar[CurrentApp | None] = ContextVar("current_app", default=None)


class Printable(str):
    """A line that is already redacted and escaped, such as JSON or a row of a table."""

    __slots__ = ()


def safe(lines: Iterable[str], stream: TextIO | None, *, is_command: bool = False) -> str:
    """The text of `lines` that is safe to write to `stream`, with `?` for characters that its encoding lacks. With
    several apps, each line begins with the app's name.

    Unless it `is_command`, the text is changed where GitHub Actions would read a command: `::` at the beginning of a
    line, also after white space, or `##[` anywhere. Source: actions/runner, ActionCommand.cs.
    """
    current = current_app.get()
    prefix = current.prefix if current and not is_command else ""
    text = "".join(f"{prefix}{line if isinstance(line, Printable) else sanitized(line)}\n" for line in lines)
    if not is_command and is_on_github():
        text = re.sub(r"^(\s*):(?=:)", r"\1: ", text, flags=re.MULTILINE).replace("##[", "## [")
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, errors="replace").decode(encoding)


def shown(lines: Iterable[str]) -> str:
    """`lines` as `tell` writes them, for text that Invoke or `logging` writes."""
    return safe(lines, None).removesuffix("\n")


def message_of(error: DeployError) -> str:
    """The text of `error` that is safe to print, with a line below it for each error that it lists."""
    if error.shown is not None:
        return error.shown
    listed = error.errors if isinstance(error, SomeFailed) and error.is_list else {}
    return shown([str(error), *(f"  {name}: {one.text(with_effect=False)}" for name, one in listed.items())])


def is_on_github() -> bool:
    """Whether this process runs in GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def is_drawn_on(stream: TextIO | None) -> bool:
    """Whether `stream` is a terminal that can draw."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def is_over() -> bool:
    """Whether this call of several apps was interrupted. Then nothing more is written or started for its apps."""
    current = current_app.get()
    return current is not None and current.board.is_over


def for_other_threads(say: Callable[[str], None]) -> Callable[[str], None]:
    """`say` for use in other threads: its lines still belong to the app of the current thread."""
    context = copy_context()
    return lambda text: context.copy().run(say, text)


# --- to people ------------------------------------------------------------------------------------------------------


def tell(*lines: str, is_command: bool = False) -> None:
    """Writes `lines` to stderr, above the live line if there is one. With `is_command`, they are commands for GitHub
    Actions."""
    text = safe(lines, sys.stderr, is_command=is_command)
    with one_at_a_time:
        if is_over():
            return
        if above_live_line:
            above_live_line[-1](text.removesuffix("\n"))
        elif sys.stderr is not None:
            try:
                sys.stderr.write(text)
                sys.stderr.flush()
            except (OSError, ValueError):
                tolerate_broken_stderr()


def relay(text: str) -> None:
    """Relays third-party output (the log of a build or an engine) to stderr, line by line."""
    tell(*map(plain, text.split("\n")))


def warn(text: str) -> None:
    """Writes a warning, unless it is one of those that were `warned` of."""
    before = warned.get(set())
    if text not in before:
        before.add(text)
        tell(f"warning: {text}")


def log(text: str) -> None:
    """Logs a detail that helps to find the cause of an error, and writes it to stderr, as DEPLOY_DEBUG asks for. No
    handler of `logging` does that: all threads would share it, and the level that it needs."""
    LOG.debug(text)
    relay(text)


def can_ask() -> bool:
    """Whether a person can be asked: both stdin and stderr are a terminal."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def ask(question: str) -> bool:
    """Asks a person; returns whether the answer is y or yes."""
    with one_at_a_time:
        tell(f"{question} [y/N]")
        return sys.stdin.readline().strip().lower() in ("y", "yes")


class _TolerantStream:
    """A stderr that drops text that cannot be written: a closed terminal must not stop the task before it records."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = StringIO() if stream is None else stream

    def write(self, text: str) -> int:
        self._tolerate(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._tolerate(self._stream.flush)

    def _tolerate(self, do: Callable[[], object]) -> None:
        try:
            do()
        except (OSError, ValueError):
            tolerate_broken_stderr()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def stderr() -> TextIO:
    """The stderr of this process; text that cannot be written to it is dropped."""
    return cast(TextIO, sys.stderr if isinstance(sys.stderr, _TolerantStream) else _TolerantStream(sys.stderr))


def tolerate_broken_stderr() -> None:
    """Makes `sys.stderr` of a process of Invoke drop text that cannot be written. Invoke prints errors there: without a
    stderr it would print them to stdout, and a failure there, or when Python flushes at exit, would change the exit
    code."""
    if _is_run_by_invoke():
        sys.stderr = stderr()


def give_up_stdout() -> None:
    """Removes `sys.stdout`, which cannot be written, from a process of Invoke: at exit, Python would flush the rest,
    fail again, and exit with 120."""
    if _is_run_by_invoke():
        sys.stdout = None


def _is_run_by_invoke() -> bool:
    """Whether Invoke runs a command line, and its process ends with it. Any other program keeps its streams."""
    return next_steps.current_command_line.get().names is not None


# --- to programs ----------------------------------------------------------------------------------------------------


def result(lines: Sequence[str], details: object = None, *, as_json: bool = False, is_part: bool = False) -> None:
    """Prints a task's result to stdout: its `lines`, or `details` as one JSON object. BrokenPipeError if the reader has
    closed the pipe. DeployError if stdout cannot be written; its text contains the result, unless it `is_part` of one,
    since the task itself is done by then."""
    printed = [_json(details)] if as_json else lines
    try:
        with one_at_a_time:
            if sys.stdout is not None and not is_over():
                sys.stdout.write(safe(printed, sys.stdout))
                sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        give_up_stdout()
        what = f"stdout cannot be written ({error.strerror})"
        if is_part:
            raise DeployError(what) from error
        raise DeployError(what, "The task itself is done", f"Its result: {'; '.join(printed)}") from error


def print_json(value: object) -> None:
    """Prints a part of a result as one line of JSON."""
    result((), value, as_json=True, is_part=True)


def print_lines(text: str) -> None:
    """Prints third-party output (the log of a build) to stdout."""
    result([plain(line) for line in text.split("\n")], is_part=True)


def _json(value: object) -> Printable:
    """`value` as one line of JSON with redacted strings. Escapes characters that are not printable, and `##[`, which
    GitHub Actions reads as a command."""
    text = json.dumps(_redacted(as_builtins(value)), ensure_ascii=False, separators=(",", ":"))
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)
    return Printable(text.replace("##[", "#\\u0023["))


def _redacted(value: Any) -> Any:  # any JSON value
    """`value` with redacted strings. The JSON text is not redacted as a whole: a secret may be `true` or a number."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(key): _redacted(item) for key, item in value.items()}
    return [_redacted(item) for item in value] if isinstance(value, list) else value


# --- tables ---------------------------------------------------------------------------------------------------------


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, to: TextIO | None = None) -> list[str]:
    """The lines of a table with its `titles`: drawn if `to` is a terminal, else aligned text."""
    rows = [[sanitized(cell) for cell in row] for row in rows]
    if is_drawn_on(to):
        from .live import drawn_table

        return [Printable(line) for line in drawn_table(titles, rows).split("\n")]
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (titles, *rows)]
    return [Printable("  ".join(line).rstrip()) for line in lines]


def tell_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Writes a table to stderr."""
    tell(*table(titles, rows, to=sys.stderr))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table to stdout."""
    result(table(titles, rows, to=sys.stdout), is_part=True)
