"""Lines for people, to stderr: redacted, escaped, one at a time, and never read as a command by GitHub Actions."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable
from contextvars import ContextVar, copy_context
from io import StringIO
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, cast

from ..errors import DeployError, SomeFailed
from ..redaction import fit, plain

if TYPE_CHECKING:
    from .progress import Board

# Threads write too (the log of a build, the output of an engine), and no line may be torn.
one_at_a_time = RLock()
# While a live line is drawn on the terminal: the function that prints above it. A process has one terminal, so this is
# not by context; the thread that draws and the threads that write are different ones.
above_live_line: list[Callable[[str], None]] = []
# Texts that this context was warned of.
_warned: ContextVar[set[str]] = ContextVar("warned")


class Speaker(NamedTuple):
    """One of several apps at work at the same time."""

    name: str
    prefix: str
    board: Board


speaker: ContextVar[Speaker | None] = ContextVar("speaker", default=None)


def for_other_threads(say: Callable[[str], None]) -> Callable[[str], None]:
    """`say`, to be called by other threads: its lines belong to the app of the present thread."""
    context = copy_context()
    return lambda text: context.copy().run(say, text)


def nobody_waits() -> Callable[[], bool]:
    """A function that returns whether the present app's board is over: then nothing new must be started for it."""
    current = speaker.get()
    return lambda: current is not None and current.board.is_over


def tell(text: str) -> None:
    """Writes one line."""
    write([fit(text)])


def warn(text: str) -> None:
    """Writes a warning, once, even if several tasks notice it."""
    if text not in warnings():
        warnings().add(text)
        tell(f"warning: {text}")


def warnings() -> set[str]:
    """The warnings that were written in this context. Threads that copy the context share them."""
    if _warned.get(None) is None:
        _warned.set(set())
    return _warned.get()


def can_ask() -> bool:
    """Whether there is a person to ask: both stdin and stderr are a terminal."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def ask(question: str) -> bool:
    """Whether a person answers `question` with y or yes."""
    with one_at_a_time:
        tell(f"{question} [y/N]")
        return sys.stdin.readline().strip().lower() in ("y", "yes")


def pass_on(text: str) -> None:
    """Writes third-party output, the log of a build or of an engine, line by line."""
    write(fit(plain(line)) for line in text.split("\n"))


def shown(lines: Iterable[str]) -> str:
    """`lines` as `tell` would write them, for text that Invoke or `logging` writes."""
    return safe(map(fit, lines), None).removesuffix("\n")


def message_of(error: DeployError) -> str:
    """The text of `error` as it may be printed; of several apps, with the lines below it."""
    if error.shown is not None:
        return error.shown
    return shown([str(error), *(error.lines if isinstance(error, SomeFailed) else ())])


def is_on_github() -> bool:
    """Whether this process runs in GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def is_drawn_on(stream: TextIO | None) -> bool:
    """Whether `stream` is a terminal that can draw."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def safe(lines: Iterable[str], stream: TextIO | None, *, is_command: bool = False) -> str:
    """The text of printable `lines` for `stream`, with `?` for the characters that its encoding does not have.

    With several apps, each line begins with the name; there is none if the app's board is over. Unless it `is_command`,
    GitHub Actions reads no command in it: `::` at the beginning of a line, also after white space, or `##[` anywhere.
    Source: actions/runner, ActionCommand.cs.
    """
    current = None if is_command else speaker.get()
    if current and current.board.is_over:
        return ""
    prefix = current.prefix if current else ""
    text = "".join(f"{prefix}{line}\n" for line in lines)
    if is_on_github() and not is_command:
        text = re.sub(r"^(\s*):(?=:)", r"\1: ", text, flags=re.MULTILINE).replace("##[", "## [")
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, errors="replace").decode(encoding)


def write(lines: Iterable[str], *, is_command: bool = False) -> None:
    """Writes printable `lines`, above the live line if there is one. What `is_command` is for GitHub Actions."""
    text = safe(lines, sys.stderr, is_command=is_command)
    with one_at_a_time:
        if text and above_live_line:
            above_live_line[-1](text.removesuffix("\n"))
        elif text and sys.stderr is not None:
            try:
                sys.stderr.write(text)
                sys.stderr.flush()
            except (OSError, ValueError):
                forgive_stderr()


class _Forgiving:
    """A stderr that drops text that cannot be written: a closed terminal must not cost the digest."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = StringIO() if stream is None else stream

    def write(self, text: str) -> int:
        self._forgive(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._forgive(self._stream.flush)

    def _forgive(self, do: Callable[[], object]) -> None:
        try:
            do()
        except (OSError, ValueError):
            # Python would fail again at exit when it flushes the rest, with exit code 120.
            sys.stderr = cast(TextIO, self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def stderr() -> TextIO:
    """The stderr of this process; text that cannot be written to it is dropped."""
    return cast(TextIO, sys.stderr if isinstance(sys.stderr, _Forgiving) else _Forgiving(sys.stderr))


def forgive_stderr() -> None:
    """Makes `sys.stderr` drop text that cannot be written. Invoke prints errors there: without a stderr it would print
    them to stdout, and a failure there, or when Python flushes at exit, would change the exit code."""
    sys.stderr = stderr()
