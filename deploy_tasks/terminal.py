"""What is drawn where a person looks, with rich, which also honours NO_COLOR; loaded only there."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table


@contextmanager
def live_line(what: str) -> Iterator[tuple[Callable[[str], None], Callable[[str], None]]]:
    """A line on stderr with `what`, how it stands, and the time since it began; gone at the end. Yields a function that
    takes how it stands, and one that prints a text above it."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as line:
        task = line.add_task(escape(what))
        yield (
            lambda state: line.update(task, description=f"{escape(what)} [bold]{escape(state)}[/bold]"),
            lambda text: console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True),
        )


def drawn_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table as text with its colours, without the last columns where the terminal is too narrow for all."""
    width = Console().width
    widths = [max(map(len, column)) + 3 for column in zip(titles, *rows, strict=True)]
    fits = max(1, sum(sum(widths[: number + 1]) <= width for number in range(len(widths))))
    titles, rows = titles[:fits], [row[:fits] for row in rows]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(title, no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text.rstrip("\n")
