"""This repository's own namespace: the kit's tasks, and those of whoever works on the kit."""

import re
import shlex
from pathlib import Path

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from deploy_tasks import __version__
from deploy_tasks import ns as kit

__all__ = ["ns"]


@task(help={"folder": "Where to put them (docs/pictures)"})
def pictures(_c: Context, folder: str = "docs/pictures") -> None:
    """Draw the README's pictures from real runs."""
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
        "only": "A group of rows: reuse, listing, history, local, many, waiting, server; repeatable",
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


@task
def release(c: Context) -> None:
    """Tag the version that deploy_tasks/__init__.py names; CI publishes what is tagged."""
    tag = f"v{__version__}"
    entry = re.search(
        rf"^## \[{re.escape(__version__)}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)",
        Path("CHANGELOG.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    if entry is None or not entry[1].strip():
        raise Exit(f"CHANGELOG.md says nothing of {__version__}: give it a heading, ## [{__version__}] - YYYY-MM-DD", 1)
    if changes := _git(c, "status", "--porcelain"):
        raise Exit(f"the tree is dirty; commit or stash first:\n{changes}", 1)
    if _git(c, "ls-remote", "--tags", "origin", tag):
        raise Exit(f"{tag} is released already; a new version goes into deploy_tasks/__init__.py", 1)
    _git(c, "fetch", "--quiet", "origin", "main")
    if _git(c, "rev-parse", "HEAD") != _git(c, "rev-parse", "origin/main"):
        raise Exit("HEAD is not what main is at origin; push, or pull, and let CI have its say first", 1)
    message = f"{__version__}\n\n{entry[1].strip()}\n"
    # Verbatim, since a changelog's headings look like git's comments.
    c.run(shlex.join(["git", "tag", "--force", "--annotate", "--cleanup=verbatim", tag, "--message", message]))
    c.run(shlex.join(["git", "push", "origin", f"refs/tags/{tag}"]))


def _git(c: Context, *words: str) -> str:
    """What git says; with `--dry` too, since it changes nothing."""
    asked = c.run(shlex.join(["git", *words]), hide=True, dry=False)
    return str(asked.stdout).strip() if asked else ""


ns = Collection(*kit.tasks.values(), bench, pages, pictures, release)
