"""How the tasks are called here, so that a command which a message names can be run as it stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path

# The program, and the name of the collection that the tasks are in, with its dot.
_USUAL = ("invoke", "")
_NAMES = "build|wait|digest|reuse-deploy|reuse|rollback|local-deploy|local|logs|history|status|doctor|init"
_COMMAND = rf"\binvoke ((?:--dry )?)((?:{_NAMES})(?: (?:{_NAMES}))*)(?![\w-])"
_called = _USUAL


def learn_from(task: str) -> None:
    """Finds out how `task` was called: by which program, and within which collection."""
    global _called  # noqa: PLW0603 - as one process has one command line
    script = Path(sys.argv[0])
    is_ours = script.stem == "deploy-tasks" or script.parent.name == __package__
    words = (word.rpartition(".") for word in sys.argv[1:])
    collection = next((f"{names}." for names, dot, name in words if dot and name == task), _called[1])
    _called = ("deploy-tasks" if is_ours else "invoke", collection)


def as_called(text: str) -> str:
    """`text`, which names tasks as `invoke <task>`, with their commands as they are called here."""
    if _called == _USUAL:
        return text
    program, collection = _called
    return re.sub(_COMMAND, lambda found: f"{program} {found[1]}{_within(collection, found[2])}", text)


def _within(collection: str, tasks: str) -> str:
    return " ".join(f"{collection}{task}" for task in tasks.split(" "))
