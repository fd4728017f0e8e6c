"""From a call of a task to plans that run: config → lock → plan → execute. Each step once, always forward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from invoke.context import Context

from ..errors import DeployError, SettingsError, SomeFailed
from .call import Call
from .command import Command, Plan
from .work import Work

R = TypeVar("R")


def run(c: Context, command: Command[R], options: Mapping[str, object]) -> R:
    """Runs `command` for the apps that `options` mean; returns its result, of several apps a dict of them by name.

    Raises the errors of `errors.py`; of several apps SomeFailed, with the error of each.
    """
    call = Call.of(c, command, options)
    chosen = call.project.chosen(call.options)
    if chosen.is_several:
        from . import several

        works = load_all(call, chosen.names or [])
        at_once = 1 if call.is_dry else chosen.jobs or command.at_once
        return cast(R, several.run(call, works, at_once))
    work = Work(call, chosen.names[0] if chosen.names else None)
    with work.interruptible():
        changes = command.changes and not call.is_dry
        if changes:
            work.lock(if_used=True)
        plan = make_plan(work)
        if changes and work.lock():
            plan = make_plan(work)  # the first run here had to wait for another first one
        call.keep_target(work.name or work.settings.known("app"))
        return cast(R, plan.show(work) if call.is_dry else plan.execute(work))


def load_all(call: Call[R], names: list[str]) -> dict[str, Work]:
    """The settings of all apps. SomeFailed has all that is missing for any of them."""
    works: dict[str, Work] = {}
    errors: dict[str, DeployError] = {}
    for name in names:
        try:
            works[name] = Work(call, name, is_of_several=True)
        except SettingsError as error:
            errors[name] = error
    refuse_all(errors)
    return works


def make_plan(work: Work) -> Plan[Any]:
    """What is to be done for one app: the record and git complete its settings, then its command decides."""
    work.complete()
    return work.call.command.plan(work)


def refuse_all(errors: Mapping[str, DeployError]) -> None:
    """SomeFailed if one of several apps cannot be built or deployed: then none is begun."""
    if errors:
        lines = [f"  {name}: {error.text(with_effect=False)}" for name, error in errors.items()]
        raise SomeFailed("nothing was sent, since not all of the apps have what they need:", errors, lines=lines)
