"""Tables: drawn on a terminal, aligned text elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from ..redaction import fit
from . import stderr, stdout


def tell_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Writes a table to stderr."""
    stderr.write(table(titles, rows, to=sys.stderr))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table to stdout. Raises as `stdout.print_json` does."""
    stdout.write(table(titles, rows, to=sys.stdout))


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, to: TextIO | None = None) -> list[str]:
    """The lines of a table for the stream `to`, or for any; the first are its titles."""
    rows = [[fit(cell) for cell in row] for row in rows]
    if stderr.is_drawn_on(to):
        from .live import drawn_table

        return drawn_table(titles, rows).split("\n")
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (titles, *rows)]
    return ["  ".join(line).rstrip() for line in lines]
