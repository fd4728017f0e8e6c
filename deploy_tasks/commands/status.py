"""`status`: the target, the record, the build in flight, the replicas, the last deploys."""

from __future__ import annotations

from itertools import islice
from typing import TypedDict

from msgspec import Struct

from ..api.schemas import AppState, FullAppState
from ..encoding import as_builtins
from ..errors import ApiRefused, NothingStarted
from ..images import short_ref, shortened
from ..invocation.call import TARGET
from ..invocation.command import Command
from ..invocation.work import Work
from ..redaction import excerpt
from ..state.history import source
from ..state.records import BuildInFlight, HistoryEntry, Record

_LAST_DEPLOYS = 3


class Status(TypedDict, total=False):
    """How things stand, as `--json` prints it; empty with `--dry`. `trouble` says why the API could not be asked."""

    target: dict[str, object]
    record: dict[str, object] | None
    buildInFlight: dict[str, object] | None
    cluster: dict[str, object] | None
    deploys: list[dict[str, object]]
    trouble: str | None


class StatusPlan(Struct, frozen=True):
    """What this checkout knows; the API is asked for the rest."""

    record: Record | None
    build: BuildInFlight | None
    last: list[HistoryEntry]

    def show(self, work: Work) -> Status:
        work.would_send("GET", f"/api/apps/{work.settings.namespace}/{work.settings.app}")
        return {}

    def execute(self, work: Work) -> Status:
        settings, build, last = work.settings, self.build, self.last
        phase = state = trouble = None
        work.on_interrupt("Nothing else was stopped")
        try:
            state = work.client.app(settings.namespace, settings.app)
            phase = work.client.status(build.job_name) if build else None
        except (NothingStarted, ApiRefused) as error:
            trouble = error
        rows = [
            ("target", f"{settings.app} in {settings.namespace} ({settings.app_class} nodes) at {settings.api_url}"),
            ("record", _record_line(work, self.record)),
        ]
        if build:
            known = excerpt(phase.status) if phase and phase.status else "phase not known"
            pick_up = f"pick it up: {work.step_alone('wait')}"
            rows.append(("build in flight", f"{build.job_name}: {known}, since {build.started_at}; {pick_up}"))
        rows.append(("cluster", "not known, see below" if trouble else _cluster_line(work, state, last)))
        if isinstance(state, FullAppState):
            rows.append(("rollout", _rollout_line(state)))
        for entry in last:
            digest, dirty = shortened(entry.build_id or ""), f", {source(entry)}," if entry.dirty else ""
            rows.append(("deployed", f"{entry.time} {entry.what} {digest}{dirty} by {entry.who}: {entry.outcome}"))
        width = max(len(title) for title, _ in rows)
        target = {key: getattr(settings, key) for key in TARGET}
        details: Status = {
            "target": {**as_builtins(Record(**target)), "apiUrl": settings.api_url},
            "record": as_builtins(self.record) if self.record else None,
            "buildInFlight": {**as_builtins(build), "phase": phase.status if phase else None} if build else None,
            "cluster": as_builtins(state) if state else None,
            "deploys": [as_builtins(entry) for entry in last],
            "trouble": str(trouble) if trouble else None,
        }
        work.result([f"{title.ljust(width)}  {text}" for title, text in rows], details)
        if trouble:
            raise trouble
        return details


def _plan(work: Work) -> StatusPlan:
    settings, build = work.settings, work.state.in_flight()
    if build and build.app != settings.app:
        build = None  # another app's, of a repository without a table of them
    last = list(islice(work.history.outcomes(settings.app, settings.namespace), _LAST_DEPLOYS))
    return StatusPlan(work.state.record(), build, last)


status = Command("status", _plan, uses_record=True, changes=False, all_or_none=False)


def _record_line(work: Work, record: Record | None) -> str:
    if record is None or record.build_id is None:
        return f"none yet; begin: {work.step_alone('build')}, or {work.step_alone('local')}"
    age = work.checkout.age(record.git_ref) if record.git_ref and not record.dirty else None
    how = age or f"built from {(source(record) if record.dirty else record.git_ref) or 'no known commit'}"
    return f"{record.image_name}:{record.image_tag} {shortened(record.build_id)}, {how}"


def _cluster_line(work: Work, state: AppState | None, last: list[HistoryEntry]) -> str:
    if state is None:
        says_all = "app-state" in work.client.features
        return "nothing is deployed there" if says_all else "the API does not say, or nothing is deployed there"
    wanted = "?" if state.replicas is None else state.replicas
    name, digest = (state.image or "").partition("@")[0], state.digest
    image = f", {name}{f'@{shortened(digest)}' if digest else ''}" if name else ""
    is_from_elsewhere = digest and last and digest != last[0].build_id
    elsewhere = ", which is not what was deployed from here last" if is_from_elsewhere else ""
    return f"{state.ready_replicas}/{wanted} ready{image}{elsewhere}"


def _rollout_line(state: FullAppState) -> str:
    commit = f" of {excerpt(short_ref(state.commit))}" if state.commit else ""
    why = ": ".join(excerpt(text) for text in (state.reason, state.message) if text)
    revision = f"revision {state.revision}{commit} by {excerpt(state.deployed_by)} at {excerpt(state.deployed_at)}"
    return f"{excerpt(state.status)}{f' ({why})' if why else ''}, {revision}"
