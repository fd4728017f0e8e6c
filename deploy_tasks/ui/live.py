"""Drawing on a terminal with rich, which honors NO_COLOR. Imported only if there is a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..redaction import sanitized
from .console import above_live_line, stderr


@contextmanager
def live_line(what: str) -> Iterator[Callable[[str], None]]:
    """Within the block, a line on stderr with `what`, its state and the elapsed time. Yields a function that sets the
    state."""
    with _live() as lines:
        task = lines.add_task(escape(sanitized(what)), state="")
        yield lambda state: lines.update(task, state=escape(sanitized(state)), refresh=True)


@contextmanager
def live_lines(number: int) -> Iterator[Callable[[str, str], None]]:
    """Within the block, a line like that for each running app, and one that counts how many of `number` apps are done.
    Yields a function that takes an app's name and its state (empty: done)."""
    with _live() as lines:
        tasks: dict[str, TaskID] = {}
        done: set[str] = set()
        count = lines.add_task("", state=f"0/{number} done")

        def show(name: str, state: str) -> None:
            if state and name not in tasks:
                tasks[name] = lines.add_task(escape(name), state="")
            if state:
                # Drawn now: on a busy machine, the thread that redraws may not run before the next state.
                lines.update(tasks[name], state=escape(sanitized(state)), refresh=True)
                return
            done.add(name)
            lines.update(count, state=f"{len(done)}/{number} done")
            if name in tasks:
                lines.remove_task(tasks.pop(name))

        yield show


@contextmanager
def _live() -> Iterator[Progress]:
    """Live lines on stderr. Within the block, `tell` prints above them."""
    console = Console(file=stderr())
    texts = (TextColumn("{task.description}"), TextColumn("[bold]{task.fields[state]}[/bold]"))
    columns = (SpinnerColumn(), *texts, TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as lines:
        print_above = partial(console.print, markup=False, emoji=False, highlight=False, soft_wrap=True)
        above_live_line.append(print_above)
        try:
            yield lines
        finally:
            above_live_line.remove(print_above)


def drawn_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table as text with colors. If the terminal is too narrow, the last columns are left out."""
    width = Console().width
    widths = [max(map(len, column)) + 3 for column in zip(titles, *rows, strict=True)]
    fits = max(1, sum(sum(widths[: number + 1]) <= width for number in range(len(widths))))
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in titles[:fits]:
        drawn.add_column(title, no_wrap=True)
    for row in rows:
        drawn.add_row(*map(escape, row[:fits]))
    console = Console(force_terminal=True, width=width)
    with console.capture() as capture:
        console.print(drawn)
    return capture.get().rstrip("\n")
