"""The command to run next, as data: a task and its flags. `Step.__str__` writes it as a person must type it here."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import NamedTuple

_OF_NO_ENVIRONMENT = ("init", "sandbox")
_MAY_BE_SECRET = ("env", "build_arg")
LEFT_OUT = "=…"
"""Stands for a value that is not repeated."""


class Step(NamedTuple):
    """A command to run next.

    `task` names a task of the kit. Flags have their Python names, and None means "not given". `says` introduces the
    command. The command selects the current environment, unless a flag names another one or None. `then` is the task
    after it, of which only the name and the flags count. With `continues`, the later tasks of this command line follow;
    the first of them gets the flags `target`, unless it names its app.
    """

    task: str
    flags: Mapping[str, object] = {}
    says: str = ""
    continues: bool = False
    is_dry: bool = False
    target: Mapping[str, object] = {}
    then: Step | None = None

    def __str__(self) -> str:
        """The command, as a person must type it here."""
        line, steps = current_command_line.get(), [self, *([self.then] if self.then else [])]
        # A developer's tasks.py may lack some tasks; the program deploy-tasks has all.
        is_here = line.names is None or all(step.task in line.names for step in steps)
        called = [line.names[step.task] if line.names and is_here else step.task for step in steps]
        # Without these variables, the same command would go to another cluster.
        file, environment = os.environ.get("DEPLOY_ENV_FILE"), self.flags.get("environment", line.environment)
        start = [f"DEPLOY_ENV_FILE={shlex.quote(file)}"] if file else []
        if "environment" not in self.flags and environment is None and os.environ.get("DEPLOY_ENVIRONMENT") == "":
            start.append("DEPLOY_ENVIRONMENT=")
        if environment is not None and self.task not in _OF_NO_ENVIRONMENT:
            called[0] += f" --environment {environment}"
        dry = ["--dry"] if self.is_dry else []
        flags = [{key: value for key, value in step.flags.items() if key != "environment"} for step in steps]
        calls = map(_with_flags, called, flags)
        words = " ".join([*start, line.program if is_here else "deploy-tasks", *dry, *calls])
        return words + (later_calls(self.target, after=steps[-1].task) if self.continues else "")


class Parsed(NamedTuple):
    """One call of a command line, as Invoke parsed it: its name there, the name of the kit's task (None for a
    developer's own task), the flags that differ from their defaults, and whether the task has the flag `--yes`."""

    name: str
    task: str | None
    given: Mapping[str, object]
    has_yes: bool


class CommandLine(NamedTuple):
    """The command line of a running task. `program` includes the flags that decide which tasks and settings are loaded;
    `names` maps the kit's tasks to their names there; `later` are the calls after the current one. `follows` says
    whether a repeated call must include those: true if the command line calls this task, false if another task does.
    `defaults` are those of the task's flags. `environment` is the selected one, once it is known."""

    program: str = "invoke"
    names: Mapping[str, str] | None = None
    later: Sequence[Parsed] = ()
    follows: bool = False
    defaults: Mapping[str, object] = {}
    environment: str | None = None


current_command_line: ContextVar[CommandLine] = ContextVar("command line", default=CommandLine())  # noqa: B039 - a frozen tuple
"""The command line of this context. `task_boundary` sets it; threads with a copy of the context share it."""


def later_calls(target: Mapping[str, object] | None = None, *, after: str = "") -> str:
    """The later calls of this command line, to append to a repeated call, with a leading space; "" if there are none.

    `target` are the flags for the first of them, unless it names its app. `after` is the task that runs in place of the
    current call: if the next call is the same task, it is left out, since it would have nothing to do.
    """
    line, words = current_command_line.get(), ""
    later = list(line.later if line.follows else ())
    if later and later[0].task == after and not later[0].given:
        del later[0]
    for call in later:
        flags = call.given
        if call.task is not None and target:
            flags = flags if "app" in flags else {**target, **flags}
            target = None
        words += " " + _with_flags(call.name, flags, are_secret=call.task is None)
    return words


def advice(steps: Sequence[Step | str]) -> str:
    """`steps` as sentences. A command that nothing introduces is an alternative to the one before it."""
    text = ""
    for step in steps:
        if text and isinstance(step, Step) and not step.says:
            text += f", or {step}"
            continue
        if text:
            text += " " if text[-1] in ".!?" else ". "
        text += f"{step.says}: {step}" if isinstance(step, Step) and step.says else str(step)
    return text


def _with_flags(command: str, flags: Mapping[str, object], *, are_secret: bool = False) -> str:
    """`command` with `flags` as a person types them, without those that are None. Values of `--env` and `--build-arg`
    may be secrets and become `KEY=…`, which every task refuses. With `are_secret`, every value is left out: the flags
    of a developer's own task may all be secrets."""
    words = [command]
    for key, value in flags.items():
        flag = key.strip("_").replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None and are_secret:
            words.append(f"--{flag}{LEFT_OUT}")
        elif value is not None:
            for text in value if isinstance(value, list | tuple) else [value]:
                name, equals, _ = str(text).partition("=")
                shown = f"{name}{equals and LEFT_OUT}" if key in _MAY_BE_SECRET else str(text)
                words.append(f"--{flag} {shlex.quote(shown)}")
    return " ".join(words)
