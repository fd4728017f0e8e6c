"""The command to run next, as data: a task and its flags. It is written out in one place, as it must be typed here."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

_OF_NO_ENVIRONMENT = ("init", "sandbox")
_MAY_BE_SECRET = ("env", "build_arg")
LEFT_OUT = "=…"
"""Stands for a value that is not repeated."""


class Step(NamedTuple):
    """A command to run next.

    `task` is the name of a task of the kit, or several with spaces between them: then the first has `flags`, and the
    last `then`. Flags are by their Python names, and None is "not given"; `says` introduces the command. It is for the
    selected environment, unless a flag names another one or None. With `continues`, the tasks that come after the
    present one on this command line follow, the first of them with the flags `target` unless it names its app.
    """

    task: str
    flags: Mapping[str, object] = {}
    says: str = ""
    continues: bool = False
    is_dry: bool = False
    target: Mapping[str, object] = {}
    then: Mapping[str, object] = {}

    def __str__(self) -> str:
        """The command, as it must be typed here."""
        line, tasks = current.get(), self.task.split(" ")
        # A developer's tasks.py need not have all tasks; the kit's own program has.
        is_here = line.names is None or all(task in line.names for task in tasks)
        called = [line.names[task] if line.names and is_here else task for task in tasks]
        # Without these, the same words would go to another cluster.
        file, environment = os.environ.get("DEPLOY_ENV_FILE"), self.flags.get("environment", line.environment)
        start = [f"DEPLOY_ENV_FILE={shlex.quote(file)}"] if file else []
        if "environment" not in self.flags and environment is None and os.environ.get("DEPLOY_ENVIRONMENT") == "":
            start.append("DEPLOY_ENVIRONMENT=")
        if environment is not None and tasks[0] not in _OF_NO_ENVIRONMENT:
            called[0] += f" --environment {environment}"
        dry = ["--dry"] if self.is_dry else []
        flags = {key: value for key, value in self.flags.items() if key != "environment"}
        called[0] = _with_flags(called[0], flags)
        called[-1] = _with_flags(called[-1], self.then)
        words = " ".join([*start, line.program if is_here else "deploy-tasks", *dry, *called])
        return words + (rest(self.target, after=tasks[-1]) if self.continues else "")


class Parsed(NamedTuple):
    """One call of a command line, as Invoke parsed it: its name there, the name of the kit's task (None where it is a
    developer's own), its flags that are not as declared, and whether it has the flag `--yes`."""

    name: str
    task: str | None
    given: Mapping[str, object]
    has_yes: bool


class CommandLine(NamedTuple):
    """The command line that a task runs on: its program, with the flags that decide which tasks and settings it loads;
    the names of the kit's tasks there; the calls after the present one. `follows` says that those must follow once the
    present call is repeated: it is a call of the command line, and not of a developer's task. `usual` are the values of
    the present task's flags where they are not given. `environment` is the selected one, once it is known."""

    program: str = "invoke"
    names: Mapping[str, str] | None = None
    later: Sequence[Parsed] = ()
    follows: bool = False
    usual: Mapping[str, object] = {}
    environment: str | None = None


current: ContextVar[CommandLine] = ContextVar("command line", default=CommandLine())  # noqa: B039 - a frozen tuple
"""The command line that this context works for."""


@contextmanager
def on(command_line: CommandLine) -> Iterator[None]:
    """Within it, in this thread and those with a copy of its context, commands are written for `command_line`."""
    token = current.set(command_line)
    try:
        yield
    finally:
        current.reset(token)


def rest(target: Mapping[str, object] | None = None, *, after: str = "") -> str:
    """What must follow on this command line once the present call is repeated, with a space before it; else "".

    `target` are flags that the first task of it needs, where it does not have its own. `after` is the task that is run
    in place of the present call: the same task right after it would have nothing left to do.
    """
    line, words = current.get(), ""
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
    """`command` with `flags`, by their names in Python, as a person would type them; one that is None is left out. Of
    the app's environment and of build args no values, since one may be a secret: `KEY=…`, which no task takes, where
    it was typed. Where all flags `are_secret`, they are another's, and no value is known not to be one."""
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
