"""Measures every row, and writes docs/benchmarks.md or checks against it."""

from __future__ import annotations

import compileall
import os
import platform
import re
import tempfile
from collections.abc import Collection, Iterator
from importlib.metadata import version
from pathlib import Path

import deploy_tasks
from benchmarks.measuring import Measured
from benchmarks.rows import PAIRED, waiting
from benchmarks.waits import many_waits

DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"
_MARKS = ("<!-- measured: begin -->\n", "<!-- measured: end -->\n")
_LOOSE = 2.0
_LIBRARIES = ("invoke", "requests", "urllib3", "msgspec", "python-dotenv", "rich")


def measured(only: Collection[str], *, quick: bool) -> Iterator[Measured]:
    """Every row, or those of the groups that `only` names. `quick` takes few pairs and short waits."""
    known = [*PAIRED, "waiting", "server"]
    groups = only or known
    if strange := [name for name in groups if name not in known]:
        raise SystemExit(f"{', '.join(strange)} is no group of rows; there are {', '.join(known)}")
    # As pip does where it installs; Invoke keeps its process from writing any.
    compileall.compile_dir(Path(deploy_tasks.__file__).parent, quiet=1)
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        for name in groups:
            folder = Path(place) / name
            if name == "waiting":
                yield from waiting(folder, 30.0 if quick else 600.0)
            elif name == "server":
                yield from many_waits(folder, 15.0 if quick else 60.0)
            else:
                yield from PAIRED[name](folder, (3 if name == "many" else 5) if quick else 15)


def line(row: Measured) -> str:
    """The row as one of a Markdown table."""
    spread = "" if row.low == row.high else f"{row.shown(row.low)} to {row.shown(row.high)}"
    met = "yes" if row.is_met else "**no**"
    cells = (row.row, row.against, row.shown(row.bound), row.shown(row.figure), spread, row.detail, met)
    return f"| {' | '.join(cells)} |"


def write(rows: Collection[Measured]) -> None:
    """Puts the table and what it was measured with into docs/benchmarks.md."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    table = [
        f"Python {platform.python_version()} on {platform.system()}, {os.cpu_count()} cores; {libraries}.",
        "",
        "| what | against | at most | measured | middle half | medians, counts | met |",
        "|---|---|---|---|---|---|---|",
        *map(line, rows),
    ]
    begin, end = _MARKS
    text = DOCUMENT.read_text()
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    DOCUMENT.write_text(pattern.sub(lambda _: begin + "\n".join(["", *table, "", ""]) + end, text))


def worse(rows: Collection[Measured]) -> list[Measured]:
    """The rows whose figure is over twice what it may be, by the kit's doing: more than a machine's noise explains."""
    return [row for row in rows if row.is_ours and row.figure > _LOOSE * row.bound]
