"""The tasks that look and change nothing of a build or a deploy: logs, history, status, doctor; and init, the first."""

from __future__ import annotations

from itertools import islice
from typing import Any

from invoke.context import Context

from . import console, doctoring, starting
from . import history as told
from .errors import ApiRefused, DeployError, NothingStarted, SettingsError, escaped
from .images import label
from .logs import LogFollower, plain
from .models import HistoryEntry, as_dict, encode
from .parsing import of_flag, whole_number
from .run import Run, begin
from .task import API, deploy_task
from .waiting import wait_for_end

_TIME = slice(0, 16)
_LAST_DEPLOYS = 3


@deploy_task()
def logs(
    c: Context,
    app: str | None = None,
    job: str | None = None,
    follow: bool = False,
    timeout: float | None = None,
) -> None:
    """Print the log of a build: the one in flight, or the last one."""
    run = begin(c, "logs", needs=API, from_record=True, git=("app",), app=app, timeout=timeout)
    job = of_flag("--job", label, job) if job is not None else _last_job(run)
    if run.dry:
        return run.would_send("GET", f"/build/{job}/logs")
    with run.interruptible():
        if follow:
            with LogFollower(run.second_client, job, console.print_result) as shown:
                wait_for_end(run.client, job, seconds=run.settings.timeout)
            served = shown.served
        else:
            log = run.client.logs(job)
            served = log is not None
            if log and log.text:
                console.print_result("\n".join(map(plain, log.text.splitlines())))
    if not served:
        raise ApiRefused(f"the API has no log of {job}: it keeps none, or does not know the job (any more)", 404)
    return None


def _last_job(run: Run) -> str:
    in_flight = run.state.in_flight()
    if in_flight is not None:
        return in_flight.job_name
    job = next((entry.job_name for entry in run.state.history() if entry.job_name), None)
    if job is None:
        raise SettingsError("no build was started from here yet; name one: --job JOB; nothing was sent")
    return label(job)


@deploy_task(help={"limit": "How many lines (20)", "json": "Print one JSON object a line"})
def history(c: Context, app: str | None = None, limit: int = 20, json: bool = False) -> list[HistoryEntry]:
    """Print what was recorded and deployed, newest first."""
    run = begin(c, "history", from_record=True, git=("app",), app=app)
    most = of_flag("--limit", whole_number("a number of lines", 1, 1_000_000), limit)
    wanted = (entry for entry in run.state.history() if app is None or entry.app == app)
    entries = list(islice(wanted, most))
    if json:
        for entry in entries:
            console.print_result(encode(entry).decode())
    elif entries:
        console.print_result(_history_table(entries))
    else:
        console.tell("nothing was recorded or deployed from here yet; begin: invoke build reuse")
    return entries


def _history_table(entries: list[HistoryEntry]) -> str:
    titles = ("TIME (UTC)", "WHAT", "OUTCOME", "APP", "DIGEST", "COMMIT", "BUILT", "WHO")
    return console.table(titles, [_history_row(entry) for entry in entries])


def _history_row(entry: HistoryEntry) -> list[str]:
    commit = f"{(entry.git_ref or '')[:7]}{' dirty' if entry.dirty else ''}"
    when, where = entry.time[_TIME].replace("T", " "), f"{entry.namespace}/{entry.app}"
    cells = [when, entry.what, entry.outcome, where, (entry.build_id or "")[7:19], commit, entry.built, entry.who]
    return [escaped(cell or "-") for cell in cells]


@deploy_task()
def status(
    c: Context,
    app: str | None = None,
    namespace: str | None = None,
    image_name: str | None = None,
    app_class: str | None = None,
    json: bool = False,
) -> dict[str, Any]:
    """Show how things stand: target, record, build in flight, replicas, last deploys."""
    target = {"app": app, "namespace": namespace, "image_name": image_name, "app_class": app_class}
    run = begin(c, "status", needs=API, from_record=True, git=("app",), **target)
    settings, record, build = run.settings, run.state.record(), run.state.in_flight()
    entries = told.deploys(run.state.history(), settings.require("app"), settings.namespace)
    last = list(islice(entries, _LAST_DEPLOYS))
    if run.dry:
        run.would_send("GET", f"/api/apps/{settings.namespace}/{settings.app}")
        return {}
    with run.interruptible():
        phase = _asked(lambda: run.client.status(build.job_name) if build else None)
        state = _asked(lambda: run.client.app(settings.namespace, settings.require("app")))
    target_line = f"{settings.app} in {settings.namespace} ({settings.app_class} nodes) at {settings.api_url}"
    rows = [("target", target_line), ("record", _record_line(run, record))]
    if build:
        known = phase if isinstance(phase, str) else (phase.status if phase else None) or "running"
        rows.append(
            ("build in flight", f"{build.job_name}: {known}, since {build.started_at}; pick it up: invoke wait")
        )
    rows.append(("cluster", _cluster_line(state)))
    rows += [("deployed", f"{entry.time} {entry.what} {(entry.build_id or '')[:19]}… by {entry.who}") for entry in last]
    width = max(len(title) for title, _ in rows)
    details = {
        "target": {key: getattr(settings, key) for key in (*target, "api_url")},
        "record": record and as_dict(record),
        "buildInFlight": build and {**as_dict(build), "phase": getattr(phase, "status", None)},
        "cluster": as_dict(state) if state is not None and not isinstance(state, str) else None,
        "deploys": [as_dict(entry) for entry in last],
    }
    console.result("\n".join(f"{title.ljust(width)}  {text}" for title, text in rows), details, as_json=json)
    return details


def _asked(ask: Any) -> Any:
    """What the API answered, or in a line why it did not."""
    try:
        return ask()
    except (NothingStarted, ApiRefused) as error:
        return str(error)


def _record_line(run: Run, record: Any) -> str:
    if record is None or record.build_id is None:
        return "none yet; begin: invoke build, or invoke local"
    age = run.checkout.age(record.git_ref) if record.git_ref and not record.dirty else None
    how = (
        "built from uncommitted changes" if record.dirty else age or f"built from {record.git_ref or 'no known commit'}"
    )
    return f"{record.image_name}:{record.image_tag} {record.build_id[:19]}…, {how}"


def _cluster_line(state: Any) -> str:
    if state is None:
        return "the API does not say, or nothing is deployed there"
    if isinstance(state, str):
        return state
    wanted = "?" if state.replicas is None else state.replicas
    name, at, digest = (state.image or "").partition("@")
    image = f", {escaped(name)}{at}{f'{digest[:19]}…' if at else ''}" if name else ""
    return f"{state.ready_replicas}/{wanted} ready{image}"


@deploy_task()
def doctor(c: Context, json: bool = False) -> list[doctoring.Finding]:
    """Check settings, git, engine, registry and API, and say what mends what is wrong."""
    findings = doctoring.examine(c)
    mark = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}
    lines = [f"{mark[finding.state]}  {finding.what}: {finding.seen}" for finding in findings]
    lines = [
        f"{line}\n         → {finding.mend}" if finding.mend else line
        for line, finding in zip(lines, findings, strict=True)
    ]
    console.result("\n".join(lines), [finding._asdict() for finding in findings], as_json=json)
    failed = sum(finding.state == "failed" for finding in findings)
    if failed:
        raise SettingsError(f"{failed} check{'s' * (failed > 1)} failed; what mends each is beside it")
    return findings


@deploy_task()
def init(c: Context) -> None:
    """Set up this repository: tasks.py, invoke.yaml, .env, ignore files. Changes nothing that is there."""
    try:
        for line in starting.set_up(dry=bool(c.config.run.dry)):
            console.tell(line)
    except OSError as error:
        raise DeployError(f"this repository cannot be set up ({error.strerror}: {error.filename})") from None
