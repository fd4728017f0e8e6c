"""The command line that a task runs on, as Invoke parsed it."""

from __future__ import annotations

import re
import shlex
import sys
from types import FrameType
from typing import Any

from invoke.executor import Executor
from invoke.program import Program
from invoke.tasks import Task

from ..next_steps import CommandLine, Parsed
from .task import DeployTask

# Invoke's own flags that decide which tasks and settings it loads.
_LOADS = ("collection", "search-root", "config")


def command_line(task: Task[Any]) -> CommandLine:
    """The command line that `task` runs on; empty if a program calls the task. Only Invoke's executor has the parsed
    calls, so they are read from the stack frame of `Executor.execute`."""
    frame: FrameType | None = sys._getframe()
    while frame and frame.f_code is not Executor.execute.__code__:
        frame = frame.f_back
    if not frame or "call" not in frame.f_locals:
        return CommandLine(defaults=_defaults(task))
    executor, calls, direct, call = (frame.f_locals[name] for name in ("self", "calls", "direct", "call"))
    caller = frame.f_back.f_locals.get("self") if frame.f_back else None
    # The program's name is the one in its help. A suggested command must repeat its flags.
    program = re.sub(r"[\[\]]", "", caller.binary) if isinstance(caller, Program) else "invoke"
    core = executor.core[0].args if executor.core else {}
    loads = [(flag, core[flag].value) for flag in _LOADS if flag in core and core[flag].value]
    within = (call.called_as or "").rpartition(".")[0]
    names: dict[str, str] = {}
    for name in sorted(executor.collection.task_names, key=lambda name: name.count(".")):
        found = executor.collection[name]
        # If a task has several names, the one in the collection of the called task.
        if isinstance(found, DeployTask) and (found.own_name not in names or name.rpartition(".")[0] == within):
            names[found.own_name] = name
    later = []
    for one in calls[next(place for place, one in enumerate(calls) if one is call) + 1 :]:
        if any(one is other for other in direct):
            defaults = _defaults(one.task)
            given = {key: value for key, value in one.kwargs.items() if value not in (None, [], defaults.get(key))}
            own_name = getattr(one.task, "own_name", None)
            later.append(Parsed(one.called_as or one.name, own_name, given, has_yes="yes" in one.kwargs))
    return CommandLine(
        " ".join([program, *(f"--{flag} {shlex.quote(str(value))}" for flag, value in loads)]),
        names,
        later,
        follows=call.task is task and any(call is other for other in direct),
        defaults=_defaults(task),
    )


def _defaults(task: Task[Any]) -> dict[str, object]:
    return {name: parameter.default for name, parameter in task.argspec(task.body).parameters.items()}
