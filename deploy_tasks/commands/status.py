"""`status`: shows what runs in all environments, one line each; or one environment in detail: the target, the record,
the build in flight, the replicas, the last deploys."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice, pairwise
from typing import NamedTuple, TypedDict
from urllib.parse import urlsplit

from msgspec import Struct

from ..api import paths
from ..api.client import SECONDS_TO_LOOK
from ..api.schemas import AppState, FullAppState
from ..config.settings import Settings
from ..deadline import Deadline
from ..deploying.image_lines import age, commit_cell, digits
from ..encoding import as_builtins
from ..errors import ApiRefused, DeployError, NothingStarted, SettingsError, SomeFailed
from ..git import Between, counted
from ..images import short_ref, shortened
from ..invocation.command import API, Command, Effect
from ..invocation.running import Running
from ..invocation.work import Work
from ..options import TARGET
from ..redaction import excerpt
from ..signals import in_background
from ..state.history import source
from ..state.records import BuildInFlight, HistoryEntry, Record
from ..ui import console

_LAST_DEPLOYS = 3
_TITLES = ("ENVIRONMENT", "HOST", "DIGEST", "COMMIT", "READY", "BY", "SINCE")


class Status(TypedDict, total=False):
    """The status of one environment, as `--json` prints it; empty with `--dry`. `trouble` says why the API could not be
    asked."""

    target: dict[str, object]
    record: dict[str, object] | None
    buildInFlight: dict[str, object] | None
    cluster: dict[str, object] | None
    deploys: list[dict[str, object]]
    trouble: str | None


class EnvironmentStatus(TypedDict):
    """The status of one of several environments. `ahead` is how many commits only this one has, `behind` how many only
    the next one has; None if that is not known. `trouble` says why the API could not be asked."""

    target: dict[str, object] | None
    cluster: dict[str, object] | None
    commit: str | None
    ahead: int | None
    behind: int | None
    trouble: str | None


AllStatus = dict[str, EnvironmentStatus]


def _plan(work: Work) -> StatusPlan | AllPlan:
    settings = work.settings
    # One environment, if a flag or the shell selects it. A default environment counts only for other tasks.
    is_chosen = "environment" in settings.of_call or any(map(settings.is_by_flag, TARGET[1:]))
    if not settings.environments or is_chosen or os.environ.get("DEPLOY_ENV_FILE"):
        settings.check(*API)
        build = work.state.in_flight()
        if build and build.app != settings.app:
            build = None  # of another app, in a repository without a table of apps
        last = list(islice(work.history.outcomes(settings.app, settings.namespace), _LAST_DEPLOYS))
        return StatusPlan(work.state.record(), build, last)
    return AllPlan(tuple(settings.environments))


class StatusPlan(Struct, frozen=True):
    """What this checkout knows; `execute` asks the API for the rest."""

    record: Record | None
    build: BuildInFlight | None
    last: list[HistoryEntry]

    def show(self, work: Work) -> Status:
        _show(work)
        return {}

    def execute(self, work: Work) -> Status:
        settings, build = work.settings, self.build
        phase = state = trouble = None
        work.on_interrupt("Nothing else was stopped")
        try:
            state = work.client.app(settings.namespace, settings.app)
            phase = work.client.status(build.job_name) if build else None
        except (NothingStarted, ApiRefused) as error:
            trouble = error
        rows = list(self._rows(work, state, phase.status if phase else None, trouble))
        width = max(len(title) for title, _ in rows)
        details: Status = {
            "target": _target(settings),
            "record": as_builtins(self.record) if self.record else None,
            "buildInFlight": {**as_builtins(build), "phase": phase.status if phase else None} if build else None,
            "cluster": as_builtins(state) if state else None,
            "deploys": as_builtins(self.last),
            "trouble": str(trouble) if trouble else None,
        }
        work.result([f"{title.ljust(width)}  {text}" for title, text in rows], details)
        if trouble:
            raise trouble
        return details

    def _rows(
        self, work: Work, state: AppState | None, phase: str | None, trouble: DeployError | None
    ) -> Iterator[tuple[str, str]]:
        """The title and the text of each line."""
        settings, record, build = work.settings, self.record, self.build
        where = f"in {settings.cluster}" if settings.environment else f"at {settings.api_url}"
        yield "target", f"{settings.app} in {settings.namespace} ({settings.app_class} nodes) {where}"
        if record is None or record.build_id is None:
            yield "record", f"none yet; begin: {work.step('build')}, or {work.step('local')}"
        else:
            how = age(work, record) or "built from no known commit"
            yield "record", f"{record.image_name}:{record.image_tag} {shortened(record.build_id)}, {how}"
        if build:
            known, pick_up = excerpt(phase) if phase else "phase not known", work.step("wait")
            yield "build in flight", f"{build.job_name}: {known}, since {build.started_at}; pick it up: {pick_up}"
        if trouble:
            yield "cluster", "not known, see below"
        elif state is None:
            why = work.look.read(state).why
            yield (
                "cluster",
                "the API does not say, or nothing is deployed there" if why else "nothing is deployed there",
            )
        else:
            name, digest = (state.image or "").partition("@")[0], state.digest
            image = f", {name}{f'@{shortened(digest)}' if digest else ''}" if name else ""
            is_from_elsewhere = digest and self.last and digest != self.last[0].build_id
            elsewhere = ", which is not what was deployed from here last" if is_from_elsewhere else ""
            yield "cluster", f"{_ready(state)} ready{image}{elsewhere}"
        if isinstance(state, FullAppState):
            commit = f" of {excerpt(short_ref(state.commit))}" if state.commit else ""
            why = ": ".join(excerpt(text) for text in (state.reason, state.message) if text)
            revision = (
                f"revision {state.revision}{commit} by {excerpt(state.deployed_by)} at {excerpt(state.deployed_at)}"
            )
            yield "rollout", f"{excerpt(state.status)}{f' ({why})' if why else ''}, {revision}"
        for entry in self.last:
            digest, dirty = shortened(entry.build_id or ""), f", {source(entry)}," if entry.dirty else ""
            what = f"{entry.what} from {entry.promoted_from}" if entry.promoted_from else entry.what
            yield "deployed", f"{entry.time} {what} {digest}{dirty} by {entry.who}: {entry.outcome}"


class AllPlan(Struct, frozen=True):
    """The status of all environments."""

    environments: tuple[str, ...]

    def show(self, work: Work) -> AllStatus:
        for there in self._works(work).values():
            if isinstance(there, Work):
                _show(there)
        return {}

    def execute(self, work: Work) -> AllStatus:
        work.on_interrupt("Nothing else was stopped")
        works = self._works(work)
        asked = {name: in_background(partial(_ask, there)) for name, there in works.items() if isinstance(there, Work)}
        found = [
            _found(name, there, asked[name]) if isinstance(there, Work) else _Found(name, error=there)
            for name, there in works.items()
        ]
        lines = console.table(_TITLES, [_row(one) for one in found])
        between: list[Between | None] = []
        for one, other in pairwise(found):
            between.append(commits := work.checkout.between(one.commit, other.commit))
            lines += _between_line(one, other, commits)
        details: AllStatus = {}
        for one, next_ones in zip(found, [*between, None], strict=True):
            details[one.name] = {
                "target": _target(one.settings) if one.settings else None,
                "cluster": as_builtins(one.state) if one.state else None,
                "commit": one.commit,
                "ahead": len(next_ones.only_in_one) if next_ones else None,
                "behind": len(next_ones.only_in_other) if next_ones else None,
                "trouble": str(one.error) if one.error else None,
            }
        work.result(lines, details)
        if errors := {one.name: one.error for one in found if one.error}:
            raise _summed_up(errors, len(found))
        return details

    def _works(self, work: Work) -> dict[str, Work | SettingsError]:
        """The work in each environment, or why its API cannot be asked."""
        works: dict[str, Work | SettingsError] = {}
        for name in self.environments:
            try:
                works[name] = there = work.elsewhere(name)
                _ = there.client  # imports requests in this thread
            except SettingsError as error:
                works[name] = error
        return works


class _Found(NamedTuple):
    """What runs in an environment. `error` says why its API cannot be asked."""

    name: str
    settings: Settings | None = None
    state: AppState | None = None
    running: Running = Running()
    error: DeployError | None = None

    @property
    def commit(self) -> str | None:
        return self.running.ran.git_ref if self.running.ran else None


def _show(work: Work) -> None:
    work.would_send("GET", paths.APP.format(namespace=work.settings.namespace, app=work.settings.app))


def _ask(work: Work) -> AppState | None:
    return work.client.app(work.settings.namespace, work.settings.app, within=Deadline(SECONDS_TO_LOOK))


def _found(name: str, work: Work, asked: Callable[[], AppState | None]) -> _Found:
    try:
        state = asked()
    except (ApiRefused, NothingStarted) as error:
        return _Found(name, work.settings, error=error)
    return _Found(name, work.settings, state, work.look.read(state))


def _row(found: _Found) -> list[str]:
    """The cells of an environment in the table."""
    cells = [found.name, urlsplit(found.settings.api_url).netloc if found.settings else ""]
    if found.error:
        cells.append("not known, see below")
    elif ran := found.running.ran:
        ready = f"{_ready(found.state)}{' failed' if found.running.has_failed else ''}" if found.state else ""
        cells += [digits(ran), commit_cell(ran), ready, ran.deployed_by or "", ran.deployed_at or ""]
    else:
        cells.append("not known" if found.running.why else "nothing")
    return [cell or "-" for cell in [*cells, *[""] * (len(_TITLES) - len(cells))]]


def _between_line(one: _Found, other: _Found, commits: Between | None) -> list[str]:
    """A line that says how many commits lie between two environments; none unless something runs in both."""
    here, there = one.running.ran, other.running.ran
    if here is None or there is None:
        return []
    if here.build_id and here.build_id == there.build_id:
        return [f"{one.name} and {other.name} run the same image"]
    if commits is None:
        return [f"how many commits lie between {one.name} and {other.name} is not known here"]
    if not any(commits):
        return [f"{one.name} and {other.name} run different images of the same commit"]
    ways = zip(commits, (f"ahead of {other.name}", f"behind {other.name}"), strict=True)
    return [f"{one.name} is {' and '.join(f'{counted(len(listed))} {way}' for listed, way in ways if listed)}"]


def _summed_up(errors: Mapping[str, DeployError], of: int) -> DeployError:
    """The error if some of `of` environments cannot be asked."""
    if len(errors) == 1:
        ((name, error),) = errors.items()
        error.what = f"the status of {name} is not known: {error.what}"
        return error
    return SomeFailed(f"the status of {len(errors)} of {of} environments is not known:", errors, is_list=True)


def _target(settings: Settings) -> dict[str, object]:
    target = {key: getattr(settings, key) for key in (*TARGET, "environment")}
    return {**as_builtins(Record(**target)), "apiUrl": settings.api_url}


def _ready(state: AppState) -> str:
    return f"{state.ready_replicas}/{'?' if state.replicas is None else state.replicas}"


status: Command[Status | AllStatus] = Command(
    "status", plan=_plan, needs=("app",), uses_record=True, effect=Effect.LOOKS, all_or_none=False
)
