"""Command lines for messages: how the tasks are called here, so that what is named can be run as it stands."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

# The program, and the name of the collection that the tasks are in, with its dot.
_USUAL = ("invoke", "")
_NAMES = "build|wait|digest|reuse-deploy|reuse|rollback|local-deploy|local|logs|history|status|doctor|init"
_COMMAND = rf"(?<![\w/.-])invoke ((?:--dry )?)((?:{_NAMES})(?: (?:{_NAMES}))*)(?![\w-])"
_MAY_BE_SECRET = ("env", "build_arg")
LEFT_OUT = "=…"
"""What stands for a value that is not repeated."""
# The flags of Invoke's own that may stand right before the first task.
_WITHOUT_VALUE = ("-R", "--dry", "-e", "--echo", "-w", "--warn-only", "-p", "--pty", "-d", "--debug", "--no-dedupe")
_called = _USUAL


def with_flags(command: str, flags: Mapping[str, object]) -> str:
    """`command` with `flags`, by their names in Python, as a person would type them; one that is None is left out. Of
    the app's environment and of build args no values, since one may be a secret: `KEY=…`, which no task takes, where
    it was typed."""
    words = [command]
    for key, value in flags.items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            for text in value if isinstance(value, list | tuple) else [value]:
                name, equals, _ = str(text).partition("=")
                shown = f"{name}{equals and LEFT_OUT}" if key in _MAY_BE_SECRET else str(text)
                words.append(f"--{flag} {shlex.quote(shown)}")
    return " ".join(words)


def learn() -> None:
    """Finds out how the tasks are called: by which program, and within which collection."""
    global _called  # noqa: PLW0603 - as one process has one command line
    script = Path(sys.argv[0])
    is_ours = script.stem == "deploy-tasks" or script.parent.name == __package__
    names = (word.rpartition(".") for word in _words(sys.argv[1:]))
    collection = next((within + dot for within, dot, name in names if name in _NAMES.split("|")), _called[1])
    program = "deploy-tasks" if is_ours else "invoke"
    # Without it, the same words would be said to another cluster.
    file = os.environ.get("DEPLOY_ENV_FILE")
    _called = (f"DEPLOY_ENV_FILE={shlex.quote(file)} {program}" if file else program, collection)


def _words(arguments: Sequence[str]) -> Iterator[str]:
    """The words of a command line that may name a task: what follows a flag is taken for its value."""
    for before, word in zip(("", *arguments), arguments, strict=False):
        if not before.startswith("-") or "=" in before or before in _WITHOUT_VALUE:
            yield word


def deploys_later() -> bool:
    """Whether this command line goes on to deploy, with nothing but settings to deploy by: no flag of it says a port or
    a variable."""
    words = [word.rpartition(".")[2] for word in _words(sys.argv[1:])]
    flags = [word.partition("=")[0] for word in sys.argv[1:]]
    return bool({"reuse", "reuse-deploy"} & {*words}) and not {"--port", "--env"} & {*flags}


def as_called(text: str) -> str:
    """`text`, which names tasks as `invoke <task>`, with their commands as they are called here."""
    if _called == _USUAL:
        return text
    program, collection = _called
    return re.sub(_COMMAND, lambda found: f"{program} {found[1]}{_within(collection, found[2])}", text)


def _within(collection: str, tasks: str) -> str:
    return " ".join(f"{collection}{task}" for task in tasks.split(" "))
