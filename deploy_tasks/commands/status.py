"""`status`: what runs in all environments, in a line each; or one in full: the target, the record, the build in flight,
the replicas, the last deploys."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice, pairwise
from typing import NamedTuple, TypedDict

from msgspec import Struct

from ..api.client import SECONDS_TO_LOOK
from ..api.schemas import AppState, FullAppState
from ..config.settings import Settings
from ..config.sources import Source
from ..deadline import Deadline
from ..encoding import as_builtins
from ..errors import ApiRefused, DeployError, NothingStarted, SettingsError, SomeFailed
from ..git import Between, counted
from ..hosts import host_of
from ..images import short_ref, shortened
from ..invocation.call import TARGET
from ..invocation.command import API, Command
from ..invocation.running import Running
from ..invocation.work import Work
from ..redaction import excerpt
from ..signals import in_background
from ..state.history import source
from ..state.records import BuildInFlight, HistoryEntry, Record
from ..ui import console

_LAST_DEPLOYS = 3
_TITLES = ("ENVIRONMENT", "HOST", "DIGEST", "COMMIT", "READY", "BY", "SINCE")


class Status(TypedDict, total=False):
    """How things stand, as `--json` prints it; empty with `--dry`. `trouble` says why the API could not be asked."""

    target: dict[str, object]
    record: dict[str, object] | None
    buildInFlight: dict[str, object] | None
    cluster: dict[str, object] | None
    deploys: list[dict[str, object]]
    trouble: str | None


class EnvironmentStatus(TypedDict):
    """What runs in one of all environments. `ahead` and `behind` are how many commits only this one has, and only the
    next one, if that is known; `trouble` says why the API could not be asked."""

    target: dict[str, object] | None
    cluster: dict[str, object] | None
    commit: str | None
    ahead: int | None
    behind: int | None
    trouble: str | None


AllStatus = dict[str, EnvironmentStatus]


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
            ("target", f"{settings.app} in {settings.namespace} ({settings.app_class} nodes) {_where(settings)}"),
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
            what = f"{entry.what} from {entry.promoted_from}" if entry.promoted_from else entry.what
            rows.append(("deployed", f"{entry.time} {what} {digest}{dirty} by {entry.who}: {entry.outcome}"))
        width = max(len(title) for title, _ in rows)
        details: Status = {
            "target": _target(settings),
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


class _Found(NamedTuple):
    """What the API of an environment says of the app."""

    state: AppState | None
    running: Running


class AllPlan(Struct, frozen=True):
    """A look at all environments."""

    works: Mapping[str, Work]
    """By the environments that can be asked."""
    troubles: Mapping[str, DeployError]
    """Why the others cannot."""

    def show(self, _work: Work) -> AllStatus:
        for work in self.works.values():
            work.would_send("GET", f"/api/apps/{work.settings.namespace}/{work.settings.app}")
        return {}

    def execute(self, work: Work) -> AllStatus:
        work.on_interrupt("Nothing else was stopped")
        names, found, troubles = work.settings.environments, dict[str, _Found](), {**self.troubles}
        for there in self.works.values():
            _ = there.client  # imports requests in this thread
        asked = {name: in_background(partial(_look, there)) for name, there in self.works.items()}
        for name, answer in asked.items():
            try:
                found[name] = answer()
            except (ApiRefused, NothingStarted) as error:
                troubles[name] = error
        between = {one: _between(work, found.get(one), found.get(other)) for one, other in pairwise(names)}
        lines = console.table(_TITLES, [_row(name, self.works.get(name), found.get(name)) for name in names])
        lines += [line for one, other in pairwise(names) for line in _between_line(one, other, found, between[one])]
        details: AllStatus = {}
        for name in names:
            known, commits = found.get(name), between.get(name)
            details[name] = {
                "target": _target(self.works[name].settings) if name in self.works else None,
                "cluster": as_builtins(known.state) if known and known.state else None,
                "commit": known.running.ran.git_ref if known and known.running.ran else None,
                "ahead": len(commits.only_in_one) if commits else None,
                "behind": len(commits.only_in_other) if commits else None,
                "trouble": str(troubles[name]) if name in troubles else None,
            }
        work.result(lines, details)
        if troubles:
            raise _summed_up(troubles, len(names))
        return details


def _plan(work: Work) -> StatusPlan | AllPlan:
    settings = work.settings
    if not _is_of_one(settings):
        works, troubles = dict[str, Work](), dict[str, DeployError]()
        for name in settings.environments:
            try:
                works[name] = work.elsewhere(name)
            except SettingsError as error:
                troubles[name] = error
        return AllPlan(works, troubles)
    settings.check(*API)
    build = work.state.in_flight()
    if build and build.app != settings.app:
        build = None  # another app's, of a repository without a table of them
    last = list(islice(work.history.outcomes(settings.app, settings.namespace), _LAST_DEPLOYS))
    return StatusPlan(work.state.record(), build, last)


status: Command[Status | AllStatus] = Command(
    "status", _plan, needs=("app",), uses_record=True, changes=False, all_or_none=False
)


def _is_of_one(settings: Settings) -> bool:
    """Whether one cluster is meant: by a flag or in the shell. A default selects it for other tasks."""
    by_call = (Source.FLAG, Source.VARIABLE)
    is_chosen = settings.origins["environment"].source in by_call or os.environ.get("DEPLOY_ENV_FILE")
    return bool(not settings.environments or is_chosen or any(settings.is_by_flag(key) for key in TARGET[1:]))


def _target(settings: Settings) -> dict[str, object]:
    target = {key: getattr(settings, key) for key in (*TARGET, "environment")}
    return {**as_builtins(Record(**target)), "apiUrl": settings.api_url}


# --- all environments -----------------------------------------------------------------------------------------------


def _look(work: Work) -> _Found:
    """What runs in the environment of `work`. ApiRefused or NothingStarted if its API cannot be asked."""
    state = work.client.app(work.settings.namespace, work.settings.app, within=Deadline(SECONDS_TO_LOOK))
    return _Found(state, work.as_running(state))


def _between(work: Work, one: _Found | None, other: _Found | None) -> Between | None:
    """The commits between what runs in two environments; None if that is not known."""
    refs = [found.running.ran.git_ref if found and found.running.ran else None for found in (one, other)]
    return work.checkout.between(refs[0] or "", refs[1] or "")


def _row(name: str, work: Work | None, found: _Found | None) -> list[str]:
    """The cells of an environment in the table."""
    cells = [name, host_of(work.settings.api_url) if work else ""]
    if found is None:
        cells.append("not known, see below")
    elif found.running.ran is None:
        cells.append("not known" if found.running.why else "nothing")
    else:
        ran = found.running.ran
        digest = (ran.build_id or "")[7:19] or excerpt(ran.image_name or "")
        commit = f"{excerpt(short_ref(ran.git_ref or ''))}{' dirty' if ran.dirty else ''}"
        cells += [digest, commit, _ready(found), ran.deployed_by or "", ran.deployed_at or ""]
    return [cell or "-" for cell in [*cells, *[""] * (len(_TITLES) - len(cells))]]


def _ready(found: _Found) -> str:
    state = found.state
    if state is None:
        return ""
    failed = " failed" if found.running.has_failed else ""
    return f"{state.ready_replicas}/{'?' if state.replicas is None else state.replicas}{failed}"


def _between_line(one: str, other: str, found: Mapping[str, _Found], commits: Between | None) -> Iterator[str]:
    """How many commits lie between what runs in two environments, if something runs in both."""
    here, there = (found[name].running.ran if name in found else None for name in (one, other))
    if here is None or there is None:
        return
    if here.build_id and here.build_id == there.build_id:
        yield f"{one} and {other} run the same image"
    elif commits is None:
        yield f"how many commits lie between {one} and {other} is not known here"
    elif not any(commits):
        yield f"{one} and {other} run different images of the same commit"
    else:
        ways = zip(commits, (f"ahead of {other}", f"behind {other}"), strict=True)
        yield f"{one} is {' and '.join(f'{counted(len(listed))} {way}' for listed, way in ways if listed)}"


def _summed_up(troubles: Mapping[str, DeployError], of: int) -> DeployError:
    """The error of a look at `of` environments, some of which cannot be asked."""
    if len(troubles) == 1:
        ((name, error),) = troubles.items()
        error.what = f"{name} cannot be asked: {error.what}"
        return error
    lines = [f"  {name}: {error.text(with_effect=False)}" for name, error in troubles.items()]
    return SomeFailed(f"{len(troubles)} of {of} environments cannot be asked:", troubles, lines=lines)


# --- one in full ----------------------------------------------------------------------------------------------------


def _where(settings: Settings) -> str:
    return f"in {settings.cluster}" if settings.environment else f"at {settings.api_url}"


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
