"""This repository's own namespace: the kit's tasks, and those of whoever works on the kit."""

from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

from deploy_tasks import ns

__all__ = ["ns"]


@task(help={"folder": "Where to put them (docs/pictures)"})
def pictures(_c: Context, folder: str = "docs/pictures") -> None:
    """Draw the README's pictures anew, from real runs."""
    from docs.draw import draw

    for path in draw(Path(folder)):
        print(path)  # noqa: T201 - the result


ns.add_task(pictures)
