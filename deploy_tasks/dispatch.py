"""Around every call of a task: from its flags to what is done for one app or several, and how it ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from inspect import signature
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit

from . import apps, commands, github, lock, signals
from .call import Call
from .errors import DeployError, Interrupted, SettingsError, SomeFailed, StateError
from .redaction import redact
from .run import Act

_NOT_ALL_CAN = "nothing was sent, since not all of the apps have what they need:"


@contextmanager
def ended_well(task: str) -> Iterator[None]:
    """Within it, a task runs: a signal ends it as Ctrl-C does, and its errors show no secret."""
    commands.learn()
    try:
        with signals.raised():
            yield
    except DeployError as error:
        error.message = commands.as_called(redact(error.message or ""))
        error.args = (error.message,)  # which `invoke -d` prints
        if not isinstance(error, Interrupted) and not error.is_annotated:
            github.annotate(f"{task} failed", error.message)
            error.is_annotated = True
        raise
    except BrokenPipeError:
        # Whoever reads a result may have had enough of it, as `head` has.
        sys.stdout = None
        raise Exit(code=128 + signal.SIGPIPE) from None
    except KeyboardInterrupt as interrupt:
        raise Interrupted("stopped", signals.signal_number(interrupt)) from None
    finally:
        lock.let_go()


def call_once(
    c: Context, declared: Callable[..., Any], room: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Calls a task that is about the whole checkout (history, doctor, init, sandbox, demo), with the flags as given."""
    return _function_of(declared, room)(c, **_flags_of(c, declared, args, kwargs))


def _function_of(declared: Callable[..., Any], room: str) -> Callable[..., Any]:
    """What the declared task does: the function of its name in the module `room`."""
    function: Callable[..., Any] = getattr(import_module(f".{room}", __package__), declared.__name__)
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
        call.hold_target()
        return act.do()
    from . import parallel

    acts = _decided(decide, calls)
    if changes:
        apps.check_apart(act.run.settings for act in acts.values())
    call.hold_target()
    is_dry = bool(c.config.run.dry)

    def again(names: Sequence[str]) -> str:
        return commands.with_flags(f"invoke {'--dry ' if is_dry else ''}{name}", {**call.given, "app": ",".join(names)})

    at_once = 1 if is_dry else calls[0].jobs or jobs
    return parallel.each(call, acts, jobs=at_once, again=again, changes=changes and not is_dry)


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
        lines = [f"{name}: {str(error).removesuffix('; nothing was sent')}" for name, error in errors.items()]
        raise SomeFailed("\n  ".join([_NOT_ALL_CAN, *lines]), errors)
    return acts
