"""This repository's own namespace: the kit's tasks, and those of whoever works on the kit."""

from pathlib import Path

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from deploy_tasks import ns as kit

__all__ = ["ns"]


@task(help={"folder": "Where to put them (docs/pictures)"})
def pictures(_c: Context, folder: str = "docs/pictures") -> None:
    """Draw the README's pictures anew, from real runs."""
    from docs.draw import draw

    for path in draw(Path(folder)):
        print(path)  # noqa: T201 - the result


@task
def pages(_c: Context) -> None:
    """Write the pages of docs/ that say what the code says: tasks and flags, settings."""
    from docs.pages import write

    for path in write(Path("docs")):
        print(path)  # noqa: T201 - the result


@task(
    help={
        "check": "Take few pairs, write nothing, and fail where a row is over twice what it may be",
        "only": "A group of rows: reuse, listing, history, local, many, waiting; repeatable",
    },
    iterable=["only"],
)
def bench(_c: Context, check: bool = False, only: list[str] | None = None) -> None:
    """Measure what the kit costs, and write docs/benchmarks.md."""
    from benchmarks import report

    rows = []
    for row in report.measured(only or [], quick=check):
        print(report.line(row), flush=True)  # noqa: T201 - the result
        rows.append(row)
    if check and (worse := report.worse(rows)):
        raise Exit(f"over twice what it may be: {', '.join(row.row for row in worse)}", 1)
    if not check and not only:
        report.write(rows)


ns = Collection(*kit.tasks.values(), bench, pages, pictures)
