"""`history`: what was recorded and deployed from this checkout."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import islice

from invoke.context import Context

from ..config.sources import of_flag
from ..config.values import whole_number
from ..deploying.image_lines import commit_cell, digits
from ..invocation.call import Call
from ..invocation.command import Effect, Traits
from ..invocation.work import Work
from ..next_steps import Step
from ..state.records import HistoryEntry
from ..ui import console

# On a narrow terminal, the last columns are not shown.
_TITLES = ("TIME (UTC)", "WHAT", "OUTCOME", "CLUSTER", "APP", "DIGEST", "COMMIT", "BUILT", "WHO", "NAMESPACE")
_HISTORY = Traits("history", needs=(), uses_record=True, effect=Effect.LOOKS)


def history(c: Context, app: str | None, environment: str | None, limit: int | None, json: bool) -> list[HistoryEntry]:
    """Prints and returns the builds and deploys from this checkout, newest first: of all environments, or of the one
    that a flag names. `app` is one app or several."""
    call = Call.of(c, _HISTORY, {"app": app, "environment": environment})
    project = call.project
    names = project.selected_apps(call.options).names if app and project.table else None
    works = [Work(call, name) for name in names] if names else [Work.of_all_apps(call)]
    for work in works:
        work.complete()
    settings = works[0].settings
    call.keep_target(settings.get("app"))
    most = of_flag("--limit", partial(whole_number, "a number of lines", 1, 1_000_000), 20 if limit is None else limit)
    entries: Iterable[HistoryEntry] = works[0].state.history
    is_of_one = settings.is_by_flag("environment")
    if is_of_one:
        entries = (one for one in entries if one.environment == settings.environment)
    if app:
        apps = {work.settings.get("app") for work in works}
        for name in () if is_of_one else names or ():
            # An app may have another name in another environment.
            places = (project.table[name], *project.configuration.own[name].values())
            apps |= {str(place["app"]) for place in places if "app" in place}
        entries = (one for one in entries if one.app in apps)
    shown = list(islice(entries, most))
    if json:
        for entry in shown:
            console.print_json(entry)
    elif shown:
        console.print_table(_TITLES, [_row(entry) for entry in shown])
    else:
        console.tell(f"nothing was recorded or deployed from here yet; begin: {Step('build', then=Step('reuse'))}")
    return shown


def _row(entry: HistoryEntry) -> list[str]:
    when, digest = entry.time[:16].replace("T", " "), digits(entry) if entry.build_id else ""
    where = entry.environment or (entry.api_url or "").partition("://")[2].partition("/")[0]
    what = (when, entry.what, entry.outcome, where, entry.app, digest, commit_cell(entry))
    return [cell or "-" for cell in (*what, entry.built, entry.who, entry.namespace)]
