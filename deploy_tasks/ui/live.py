"""What is drawn where a person looks, with rich, which also honours NO_COLOR; loaded only there."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table


@contextmanager
def live_line(what: str, *, to: TextIO) -> Iterator[tuple[Callable[[str], None], Callable[[str], None]]]:
    """A line on the terminal `to` with `what`, how it stands, and the time since it began; gone at the end. Yields a
    function that takes how it stands, and one that prints a text above it."""
    with _live(to) as (lines, print_above):
        task = lines.add_task(escape(what), state="")
        yield lambda state: lines.update(task, state=escape(state)), print_above


@contextmanager
def live_lines(number: int, *, to: TextIO) -> Iterator[tuple[Callable[[str, str], None], Callable[[str], None]]]:
    """Such a line for each of `number` apps that is at work, and one that counts them. Yields a function that takes an
    app's name and how it stands, empty once it is done, and one that prints a text above them."""
    with _live(to) as (lines, print_above):
        tasks: dict[str, TaskID] = {}
        done: set[str] = set()
        count = lines.add_task("", state=f"0/{number} done")

        def show(name: str, state: str) -> None:
            if state and name not in tasks:
                tasks[name] = lines.add_task(escape(name), state="")
            if state:
                lines.update(tasks[name], state=escape(state))
                return
            done.add(name)
            lines.update(count, state=f"{len(done)}/{number} done")
            if name in tasks:
                lines.remove_task(tasks.pop(name))

        yield show, print_above


@contextmanager
def _live(to: TextIO) -> Iterator[tuple[Progress, Callable[[str], None]]]:
    console = Console(file=to)
    texts = (TextColumn("{task.description}"), TextColumn("[bold]{task.fields[state]}[/bold]"))
    columns = (SpinnerColumn(), *texts, TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as lines:
        yield lines, lambda text: console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


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
