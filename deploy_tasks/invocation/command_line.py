"""The command line that a task runs on, as Invoke parsed it."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from invoke.collection import Collection
from invoke.executor import Executor
from invoke.program import Program
from invoke.tasks import Call, Task

from ..next_steps import CommandLine, Parsed
from .task import DeployTask

# The flags of Invoke's own that decide which tasks and settings are loaded.
_LOADS = ("collection", "search-root", "config")


def command_line(task: Task[Any]) -> CommandLine:
    """The command line that `task` runs on. Invoke gives its parsed calls only to the executor, so they are read
    from the frame of `Executor.execute`. Without one, as in a program, a task has no command line."""
    usual = _usual(task)
    frame: FrameType | None = sys._getframe()
    while frame and frame.f_code is not Executor.execute.__code__:
        frame = frame.f_back
    known = frame.f_locals if frame else {}
    executor, calls, direct, call = (known.get(name) for name in ("self", "calls", "direct", "call"))
    if not isinstance(executor, Executor) or call is None or not calls:
        return CommandLine(usual=usual)
    caller = frame.f_back.f_locals.get("self") if frame and frame.f_back else None
    # The program has the name of its own help, and its flags that must be given again.
    program = re.sub(r"[\[\]]", "", caller.binary) if isinstance(caller, Program) else "invoke"
    core = executor.core[0].args if executor.core else {}
    loads = [(flag, core[flag].value) for flag in _LOADS if flag in core and core[flag].value]
    within = (call.called_as or "").rpartition(".")[0]
    names: dict[str, str] = {}
    for name, found in sorted(_tasks(executor.collection), key=lambda item: item[0].count(".")):
        own = _own_name(found)
        # Of several names, the one beside the task that is called.
        if own and (own not in names or name.rpartition(".")[0] == within):
            names[own] = name
    place = next(place for place, one in enumerate(calls) if one is call)
    later = [one for one in calls[place + 1 :] if any(one is other for other in direct or ())]
    return CommandLine(
        " ".join([program, *(f"--{flag} {shlex.quote(str(value))}" for flag, value in loads)]),
        names,
        [_parsed(one) for one in later],
        follows=call.task is task and any(call is other for other in direct or ()),
        usual=usual,
    )


def _tasks(collection: Collection, within: str = "") -> Iterator[tuple[str, Task[Any]]]:
    """Every task of `collection` by the name that it has on a command line."""
    for name, task in collection.tasks.items():
        yield within + name, task
    for name, inner in collection.collections.items():
        yield from _tasks(inner, f"{within}{name}.")


def _own_name(task: Task[Any]) -> str | None:
    """The name of a task of the kit, whatever a developer's collection calls it; None of another task."""
    return task.__name__.replace("_", "-") if isinstance(task, DeployTask) else None


def _parsed(call: Call) -> Parsed:
    usual = _usual(call.task)
    given = {key: value for key, value in call.kwargs.items() if value not in (None, [], usual.get(key))}
    return Parsed(call.called_as or call.name, _own_name(call.task), given)


def _usual(task: Task[Any]) -> dict[str, object]:
    return {name: parameter.default for name, parameter in task.argspec(task.body).parameters.items()}
