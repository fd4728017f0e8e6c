"""Around every call of a task: from its flags to what is done for one app or several, and how it ends."""

from __future__ import annotations

import logging
import os
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from inspect import signature
from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.executor import Executor
from invoke.program import Program
from invoke.tasks import Call as InvokesCall
from invoke.tasks import Task

from .. import next_steps, signals
from ..config import apps
from ..errors import DeployError, Interrupted, SettingsError, SomeFailed, StateError
from ..state import lock
from ..ui import console, github
from .call import Call
from .work import Act

_NOT_ALL_CAN = "nothing was sent, since not all of the apps have what they need:"


# The flags of Invoke's own that decide which tasks and settings are loaded.
_LOADS = ("collection", "search-root", "config")


@contextmanager
def ended_well(task: Task[Any]) -> Iterator[None]:
    """Within it, a task runs: a signal ends it as Ctrl-C does, its errors show no secret, and the commands in its
    messages are written as they must be typed here."""
    # Errors are rendered within it, so that their steps are too.
    with next_steps.on(_command_line(task)), _shown_well(task):
        yield


@contextmanager
def _shown_well(task: Task[Any]) -> Iterator[None]:
    try:
        with signals.raised():
            yield
    except DeployError as error:
        _show_causes(error)
        console.forgive_stderr()
        if error.shown is None:
            error.shown = console.message_of(error)
            error.args = (error.message,)  # which `invoke -d` prints
        if not isinstance(error, Interrupted) and not error.is_annotated:
            github.annotate(f"{task.name} failed", error.message)
            error.is_annotated = True
        raise
    except BrokenPipeError as error:
        # Whoever reads a result may have had enough of it, as `head` has.
        sys.stdout = None
        raise Exit(code=128 + signal.SIGPIPE) from error
    except KeyboardInterrupt as interrupt:
        raise Interrupted("stopped", signals.signal_number(interrupt)) from interrupt
    finally:
        lock.let_go()


def _show_causes(error: DeployError) -> None:
    """Shows the causes of an error, redacted: with DEPLOY_DEBUG on stderr, else in the log, which `invoke -d` shows."""
    log = logging.getLogger("deploy_tasks")
    is_asked_for = bool(os.environ.get("DEPLOY_DEBUG"))
    if is_asked_for or log.isEnabledFor(logging.DEBUG):
        every = error.errors.values() if isinstance(error, SomeFailed) else [error]
        lines = "".join("".join(traceback.format_exception(one)) for one in every).rstrip().split("\n")
        (console.pass_on if is_asked_for else log.debug)(console.shown(lines))


def _command_line(task: Task[Any]) -> next_steps.CommandLine:
    """The command line that `task` runs on. Invoke hands its parsed calls to nobody but the executor, so they are read
    from the frame of `Executor.execute`. Without one, as in a program, a task has no command line."""
    frame = sys._getframe()
    while frame.f_code is not Executor.execute.__code__:
        if frame.f_back is None:
            return next_steps.CommandLine()
        frame = frame.f_back
    executor, calls, direct, call = (frame.f_locals.get(name) for name in ("self", "calls", "direct", "call"))
    if not isinstance(executor, Executor) or call is None or not calls:
        return next_steps.CommandLine()
    caller = frame.f_back.f_locals.get("self") if frame.f_back else None
    within = (call.called_as or "").rpartition(".")[0]
    names: dict[str, str] = {}
    for name, found in sorted(_tasks(executor.collection), key=lambda item: item[0].count(".")):
        own = _own_name(found)
        # Of several names, that beside the task that is called.
        if own and (own not in names or name.rpartition(".")[0] == within):
            names[own] = name
    place = next(place for place, one in enumerate(calls) if one is call)
    later = [one for one in calls[place + 1 :] if any(one is other for other in direct or ())]
    return next_steps.CommandLine(
        _program(executor, caller),
        names,
        [next_steps.Parsed(one.called_as or one.name, _own_name(one.task), _given(one)) for one in later],
        follows=call.task is task and any(call is other for other in direct or ()),
    )


def _program(executor: Executor, caller: object) -> str:
    """The program, by the name that it has in its own help, with its flags that must be given again."""
    name = re.sub(r"[\[\]]", "", caller.binary) if isinstance(caller, Program) else "invoke"
    core = executor.core[0].args if executor.core else {}
    given = [(flag, core[flag].value) for flag in _LOADS if flag in core and core[flag].value]
    return " ".join([name, *(f"--{flag} {shlex.quote(str(value))}" for flag, value in given)])


def _tasks(collection: Collection, within: str = "") -> Iterator[tuple[str, Task[Any]]]:
    """Every task of `collection` by the name that it has on a command line."""
    for name, task in collection.tasks.items():
        yield within + name, task
    for name, inner in collection.collections.items():
        yield from _tasks(inner, f"{within}{name}.")


def _own_name(task: Task[Any]) -> str | None:
    """The name of a task of the kit, whatever a developer's collection calls it; None of another task."""
    return task.__name__.replace("_", "-") if task.__module__ == "deploy_tasks.tasks" else None


def _given(call: InvokesCall) -> dict[str, Any]:
    """The flags of `call` that are not as declared."""
    declared = {key: parameter.default for key, parameter in signature(call.task.body).parameters.items()}
    return {key: value for key, value in call.kwargs.items() if value not in (None, [], declared.get(key))}


def call_once(
    c: Context, declared: Callable[..., Any], room: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Calls a task that is about the whole checkout (history, doctor, init, sandbox, demo), with the flags as given."""
    return _function_of(declared, room)(c, **_flags_of(c, declared, args, kwargs))


def _function_of(declared: Callable[..., Any], room: str) -> Callable[..., Any]:
    """What the declared task does: the function of its name in the module `room`."""
    function: Callable[..., Any] = getattr(import_module(f"deploy_tasks.commands.{room}"), declared.__name__)
    return function


def _flags_of(
    c: Context, declared: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    bound = signature(declared).bind(c, *args, **kwargs)
    bound.apply_defaults()
    return dict(list(bound.arguments.items())[1:])


def call_for_apps(
    c: Context,
    declared: Callable[..., Any],
    room: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    jobs: int,
    changes: bool,
) -> Any:
    """Calls a task for the apps that its flags mean; returns its value, of several apps a dict of them by name."""
    name, decide = declared.__name__.replace("_", "-"), _function_of(declared, room)
    defaults = {key: parameter.default for key, parameter in signature(declared).parameters.items()}
    call = Call.of(c, name, _flags_of(c, declared, args, kwargs), defaults)
    calls = call.of_each()
    if not calls[0].is_of_several:
        act = decide(calls[0])
        call.hold_target(calls[0].name or act.run.settings.app)
        return act.do()
    from . import several as parallel

    acts = _decided(decide, calls)
    if changes:
        apps.check_apart(act.run.settings for act in acts.values())
    call.hold_target(",".join(acts))
    is_dry = bool(c.config.run.dry)
    at_once = 1 if is_dry else calls[0].jobs or jobs
    return parallel.each(call, acts, jobs=at_once, changes=changes and not is_dry)


def _decided(decide: Callable[[Call], Act], calls: Sequence[Call]) -> dict[str, Act]:
    """What is to be done for each app. SettingsError says all that keeps any of them from it."""
    acts: dict[str, Act] = {}
    errors: dict[str, DeployError] = {}
    for call in calls:
        name = call.name or ""
        try:
            acts[name] = decide(call)
        except (SettingsError, StateError) as error:
            errors[name] = error
    if errors:
        lines = [f"  {name}: {error.what}" for name, error in errors.items()]
        raise SomeFailed(_NOT_ALL_CAN, errors, lines=lines)
    return acts
