"""The tasks that look, and change nothing: logs, history, status."""

from __future__ import annotations

from itertools import islice
from typing import Any

from invoke.context import Context

from .. import next_steps
from ..api.build_log import LogFollower
from ..api.polling import wait_for_end
from ..api.schemas import AppState, BuildState
from ..config.values import of_flag, whole_number
from ..encoding import as_dict
from ..errors import ApiRefused, NothingStarted, SettingsError
from ..images import label, short_ref, shortened
from ..invocation.call import TARGET, Call
from ..invocation.work import API, Act, Run, begin
from ..redaction import excerpt
from ..state.history import source
from ..state.records import BuildInFlight, HistoryEntry, Record
from ..ui import console

_TIME = slice(0, 16)
_LAST_DEPLOYS = 3


def logs(call: Call) -> Act:
    """Print the log of a build: the one in flight, or the last one."""
    run = begin(call, needs=API, from_record=True, git=("app",))
    job, follow = call.flags["job"], call.flags["follow"]
    known = None if job is None else of_flag("--job", label, job)

    def act() -> None:
        wanted = known or _last_job(run)
        if run.dry:
            return run.would_send("GET", f"/build/{wanted}/logs")
        console.tell(f"log of {wanted}")
        run.if_interrupted = "stopped looking; nothing else was stopped"
        with run.interruptible():
            served = _follow(run, wanted) if follow else _print(run, wanted)
        if not served:
            raise ApiRefused(f"the API has no log of {wanted}: it keeps none, or does not know the job (any more)", 404)
        return None

    return Act(run, act)


def _print(run: Run, job: str) -> bool:
    """Prints the log as it is; whether the API has one."""
    log = run.client.logs(job)
    if log and log.text:
        console.print_lines(log.text.rstrip("\n"))
    return log is not None


def _follow(run: Run, job: str) -> bool:
    """Prints the log as it grows; whether the API has one."""
    with LogFollower(run.new_client(), job, console.for_other_threads(console.print_lines)) as shown:
        again, seconds = run.command(f"logs --follow --job {job}"), run.settings.timeout
        phase = wait_for_end(run.client, job, seconds=seconds, again=again, tell=console.tell)
    if phase:
        in_flight = run.state.in_flight()
        console.tell(f"{job} {phase}" + (f"; record its digest: {run.command('wait')}" if in_flight else ""))
    return shown.served


def _last_job(run: Run) -> str:
    in_flight, app = run.state.in_flight(), run.settings.require("app")
    if in_flight is not None and in_flight.app == app:
        return in_flight.job_name
    job = next((entry.job_name for entry in run.state.history() if entry.job_name and entry.app == app), None)
    if job is None:
        raise SettingsError("no build was started from here yet; name one: --job JOB")
    return label(job)


def history(c: Context, app: str | None, limit: int | None, json: bool) -> list[HistoryEntry]:
    """Print what was recorded and deployed, newest first."""
    call = Call.of(c, "history", {"app": app})
    calls = call.of_each() if app or not call.table else [call.of_all_apps()]
    runs = [begin(one, from_record=True, git=("app",)) for one in calls]
    call.hold_target()
    most = of_flag("--limit", whole_number("a number of lines", 1, 1_000_000), 20 if limit is None else limit)
    apps = {run.settings.app for run in runs} if app else None
    wanted = (entry for entry in runs[0].state.history() if apps is None or entry.app in apps)
    entries = list(islice(wanted, most))
    if json:
        for entry in entries:
            console.print_json(entry)
    elif entries:
        # Where a terminal is narrow, the last ones are not shown.
        titles = ("TIME (UTC)", "WHAT", "OUTCOME", "APP", "DIGEST", "COMMIT", "BUILT", "WHO", "NAMESPACE")
        console.print_table(titles, [_history_row(entry) for entry in entries])
    else:
        console.tell(f"nothing was recorded or deployed from here yet; begin: {next_steps.line('build reuse')}")
    return entries


def _history_row(entry: HistoryEntry) -> list[str]:
    commit = f"{short_ref(entry.git_ref or '')}{' dirty' if entry.dirty else ''}"
    when, digest = entry.time[_TIME].replace("T", " "), (entry.build_id or "")[7:19]
    made = [entry.what, entry.outcome, entry.app, digest, commit, entry.built]
    cells = [when, *made, entry.who, entry.namespace]
    return [cell or "-" for cell in cells]


def status(call: Call) -> Act:
    """Show how things stand: target, record, build in flight, replicas, last deploys."""
    run = begin(call, needs=API, from_record=True, git=("app",))
    return Act(run, lambda: _status(run))


def _status(run: Run) -> dict[str, Any]:
    settings, record, build = run.settings, run.state.record(), run.state.in_flight()
    if build and build.app != settings.app:
        build = None  # another app's, of a repository without a table of them
    if run.dry:
        run.would_send("GET", f"/api/apps/{settings.namespace}/{settings.app}")
        return {}
    last = list(islice(run.history().outcomes(settings.require("app"), settings.namespace), _LAST_DEPLOYS))
    run.if_interrupted = "stopped looking; nothing else was stopped"
    phase = state = trouble = None
    with run.interruptible():
        try:
            state = run.client.app(settings.namespace, settings.require("app"))
            phase = run.client.status(build.job_name) if build else None
        except (NothingStarted, ApiRefused) as error:
            trouble = error
    text = _screen(
        ("target", f"{settings.app} in {settings.namespace} ({settings.app_class} nodes) at {settings.api_url}"),
        ("record", _record_line(run, record)),
        *([("build in flight", _build_line(run, build, phase))] if build else []),
        ("cluster", _cluster_line(state, last) if trouble is None else "not known, see below"),
        *(("deployed", _deploy_line(entry)) for entry in last),
    )
    details = {
        "target": {
            **as_dict(Record(**{key: getattr(settings, key) for key in TARGET})),
            "apiUrl": settings.api_url,
        },
        "record": record and as_dict(record),
        "buildInFlight": build and {**as_dict(build), "phase": phase and phase.status},
        "cluster": state and as_dict(state),
        "deploys": [as_dict(entry) for entry in last],
        "trouble": trouble and str(trouble),
    }
    run.result(text, details)
    if trouble:
        raise trouble
    return details


def _screen(*rows: tuple[str, str]) -> list[str]:
    width = max(len(title) for title, _ in rows)
    return [f"{title.ljust(width)}  {text}" for title, text in rows]


def _deploy_line(entry: HistoryEntry) -> str:
    dirty = f", {source(entry)}," if entry.dirty else ""
    return f"{entry.time} {entry.what} {shortened(entry.build_id or '')}{dirty} by {entry.who}: {entry.outcome}"


def _build_line(run: Run, build: BuildInFlight, phase: BuildState | None) -> str:
    known = excerpt(phase.status) if phase and phase.status else "phase not known"
    return f"{build.job_name}: {known}, since {build.started_at}; pick it up: {run.command('wait')}"


def _record_line(run: Run, record: Record | None) -> str:
    if record is None or record.build_id is None:
        return f"none yet; begin: {run.command('build')}, or {run.command('local')}"
    age = run.checkout.age(record.git_ref) if record.git_ref and not record.dirty else None
    how = age or f"built from {(source(record) if record.dirty else record.git_ref) or 'no known commit'}"
    return f"{record.image_name}:{record.image_tag} {shortened(record.build_id)}, {how}"


def _cluster_line(state: AppState | None, last: list[HistoryEntry]) -> str:
    if state is None:
        return "the API does not say, or nothing is deployed there"
    wanted = "?" if state.replicas is None else state.replicas
    name, digest = (state.image or "").partition("@")[0], state.digest
    image = f", {name}{f'@{shortened(digest)}' if digest else ''}" if name else ""
    is_elsewheres = digest and last and digest != last[0].build_id
    elsewhere = ", which is not what was deployed from here last" if is_elsewheres else ""
    return f"{state.ready_replicas}/{wanted} ready{image}{elsewhere}"
