"""Runs a command for one app, in four steps: config → lock → plan → execute. `several.py` does the same for several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast

from invoke.context import Context

from ..signals import signal_number
from .call import Call
from .command import Command, Effect, Results
from .confirm import confirm
from .work import Work

R = TypeVar("R")


def run(c: Context, command: Command[R], options: Mapping[str, object]) -> Results[R]:
    """Runs `command` for the apps that `options` select.

    Raises the errors of `errors.py`. If some of several apps fail, raises SomeFailed with the error of each.
    """
    call = Call.of(c, command, options)
    selected = call.project.selected_apps(call.options)
    if selected.is_several:
        from . import several

        found = several.run(call, command, selected.names or [], at_once=selected.jobs or command.at_once)
        return Results(cast("dict[str, R]", found), is_several=True)
    work = Work(call, selected.names[0] if selected.names else None)
    changes = command.effect > Effect.LOOKS and not call.is_dry
    try:
        if changes:
            work.lock(if_used=True)
        work.complete()
        plan = command.plan(work)
        if changes and work.lock():
            # There was no lock file at first, and another run has created one meanwhile: the plan may be outdated.
            work.complete()
            plan = command.plan(work)
        confirm([(work, plan)])
        name = work.name or work.settings.get("app")
        call.keep_target(name)
        return Results({str(name): cast(R, plan.show(work) if call.is_dry else plan.execute(work))})
    except KeyboardInterrupt as interrupt:
        raise work.interrupted(signal_number(interrupt)) from interrupt
