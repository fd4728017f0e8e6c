"""`history`: what was recorded and deployed from this checkout."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import islice

from invoke.context import Context

from ..config.sources import of_flag
from ..config.values import whole_number
from ..hosts import host_of
from ..images import short_ref
from ..invocation.call import Call
from ..invocation.command import Command, no_plan
from ..invocation.work import Work
from ..next_steps import Step
from ..state.records import HistoryEntry
from ..ui import console


def history(c: Context, app: str | None, environment: str | None, limit: int | None, json: bool) -> list[HistoryEntry]:
    """Prints what was recorded and deployed, newest first; returns it: of all environments, or of the one that a flag
    names. `app` is one app or several."""
    call = Call.of(c, _HISTORY, {"app": app, "environment": environment})
    names = call.project.chosen(call.options).names if app and call.project.table else None
    works = [Work(call, name) for name in names] if names else [Work.of_all_apps(call)]
    for work in works:
        work.complete()
    call.keep_target(works[0].settings.known("app"))
    most = of_flag("--limit", partial(whole_number, "a number of lines", 1, 1_000_000), 20 if limit is None else limit)
    apps = {work.settings.known("app") for work in works} if app else None
    if apps is not None and not works[0].settings.is_by_flag("environment"):
        # An app may have another name in another environment.
        of_apps = [(call.project.table[name], call.project.configuration.own[name]) for name in names or ()]
        apps |= {str(entry["app"]) for of_all, own in of_apps for entry in (of_all, *own.values()) if "app" in entry}
    settings = works[0].settings
    entries: Iterable[HistoryEntry] = (one for one in works[0].state.history() if apps is None or one.app in apps)
    if settings.is_by_flag("environment"):
        entries = (one for one in entries if one.environment == settings.environment)
    entries = list(islice(entries, most))
    if json:
        for entry in entries:
            console.print_json(entry)
    elif entries:
        console.print_table(_TITLES, [_row(entry) for entry in entries])
    else:
        console.tell(f"nothing was recorded or deployed from here yet; begin: {Step('build reuse')}")
    return entries


# Where a terminal is narrow, the last ones are not shown.
_TITLES = ("TIME (UTC)", "WHAT", "OUTCOME", "CLUSTER", "APP", "DIGEST", "COMMIT", "BUILT", "WHO", "NAMESPACE")
_HISTORY = Command("history", no_plan, needs=(), uses_record=True, changes=False)


def _row(entry: HistoryEntry) -> list[str]:
    when, digest = entry.time[:16].replace("T", " "), (entry.build_id or "")[7:19]
    commit = f"{short_ref(entry.git_ref or '')}{' dirty' if entry.dirty else ''}"
    where = entry.environment or host_of(entry.api_url or "")
    what = [entry.what, entry.outcome, where, entry.app, digest, commit, entry.built, entry.who, entry.namespace]
    return [cell or "-" for cell in (when, *what)]
