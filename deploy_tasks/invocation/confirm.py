"""Asks a person to confirm builds and deploys in a protected environment, and a deploy over somebody else's new one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol, cast

from ..config.project import Project
from ..errors import ChangedMeanwhile, SettingsError
from ..next_steps import Step, current_command_line, later_calls
from ..ui import console
from .call import Call
from .command import Effect
from .work import Work


class Guarded(Protocol):
    """The plan of a task that builds or deploys. A person must confirm it in a protected environment."""

    def lines(self, work: Work, /) -> Sequence[str]:
        """The lines that describe what would be built or deployed."""


def confirm(planned: Sequence[tuple[Work, object]]) -> None:
    """Asks a person to confirm the plans for protected environments, once for each environment of a command line.
    SettingsError if the answer is no, or if there is no terminal and no `--yes`.

    Keeps what runs now, so that a later deploy of this command line notices if it changes.
    """
    if current_command_line.get().later and planned and not console.can_ask():
        _check_later(planned[0][0])
    guarded = [
        (work, cast(Guarded, plan))
        for work, plan in planned
        if work.settings.protected and work.call.command.effect >= Effect.BUILDS
    ]
    if not guarded or guarded[0][0].call.is_dry:
        return
    first, chain = guarded[0][0], guarded[0][0].call.chain
    cluster, environment = first.settings.cluster, first.settings.environment
    seen = {work.place: work.look.now() for work, _ in guarded}
    if environment not in chain.confirmed:
        if not first.options["yes"]:
            if not console.can_ask():
                call = first.call
                step = Step(call.command.name, {**call.given, "yes": True}, "Confirm it", continues=True)
                raise SettingsError(f"{cluster} is protected, and there is no terminal", "Nothing was changed", step)
            console.tell(f"{cluster} is protected. This is what would happen there:")
            for work, plan in guarded:
                lines = plan.lines(work)
                for line in lines:
                    console.tell(line if len(guarded) == 1 else f"{work.name}: {line}")
                work.shown.update(lines)
            if then := later_calls():
                console.tell(f"then:{then}")
            if not console.ask(f"Go on in {cluster}?"):
                raise SettingsError("the plan was not confirmed", "Nothing was changed")
        chain.confirmed.add(environment)
    chain.seen = {**seen, **chain.seen}


def _check_later(work: Work) -> None:
    """SettingsError if a later task of this command line needs `--yes` for another environment. Checked before anything
    changes in the current one."""
    call = work.call
    if call.is_dry or call.command.effect is Effect.LOOKS:
        return
    environment, confirmed = call.environment, {call.environment, *call.chain.confirmed}
    app = call.options.get("app")
    for later in current_command_line.get().later:
        environment = cast("str | None", later.given.get("environment", environment))
        app = cast("str | None", later.given.get("app", app))
        if later.given.get("yes"):
            confirmed.add(environment)
        if later.task is None or not later.has_yes or environment in confirmed:
            continue
        if cluster := _protected(call, environment, app):
            what = f"{cluster} is protected, and there is no terminal"
            raise SettingsError(what, "Nothing was changed", f"Confirm it with --yes after {later.name}")


def _protected(call: Call, environment: str | None, app: str | None) -> str | None:
    """The cluster of a later task for these apps if it is protected, else None. None also if its settings are invalid:
    an earlier task may still write them, and the later task reports the error."""
    flags = {"app": app}
    with suppress(SettingsError):
        project = Project.of(call.c, environment)
        for name in project.selected_apps(flags).names or (None,):
            settings = project.load(name, flags)
            if settings.protected:
                return settings.cluster
    return None


def confirm_change(work: Work, changed: ChangedMeanwhile, lines: Sequence[str]) -> None:
    """Asks a person whether to deploy over what somebody else deployed meanwhile; `lines` are the new plan. Raises
    `changed` if the answer is no, without a terminal, with several apps, and in a protected environment."""
    if work.settings.protected or work.is_of_several or not console.can_ask():
        raise changed
    console.tell(f"{changed.what}. The new plan:")
    for line in lines:
        console.tell(line)
    if not console.ask("Deploy over that?"):
        raise changed
