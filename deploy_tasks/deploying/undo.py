"""The way back from a deploy: what `rollback` can go back to, and the `undo:` line that says it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from msgspec.structs import replace

from ..app_class import APP_CLASSES, DEFAULT_APP_CLASS
from ..config.sources import Source
from ..deploy_config import differences
from ..errors import ApiRefused, ChangedMeanwhile, NothingStarted
from ..invocation.running import Running, ran_of
from ..invocation.work import Work
from ..next_steps import Step
from ..state import history
from ..state.records import Ran
from ..state.what_ran import NOTHING, is_same, ran, rollback_targets, what_ran
from .image_lines import digits, how_known


class RollbackTargets(NamedTuple):
    """What `rollback` can go back to, nearest first; the revisions that it passes over; and who says so."""

    ones: Iterator[Ran]
    failed: Sequence[int]
    is_of_server: bool

    @property
    def source(self) -> str:
        return "as the API says" if self.is_of_server else "as far as is known here"


def find_targets(work: Work, now: Running) -> RollbackTargets:
    """From the history of the server, if it has one and something may run, else from the history here.

    ChangedMeanwhile if the newest of the server is not what runs `now`. NothingStarted if the API may say later
    what runs: from the history here alone, a rollback could pass over what others deployed."""
    features, revisions, again = work.client.features, None, work.step(work.call.command.name, "Try again")
    if now.was_unanswered and not work.call.is_dry:
        raise NothingStarted(now.why, "Nothing was deployed", [again, step_to_another(work)])
    if now.ran or now.why:
        try:
            revisions = work.client.history(work.settings.namespace, work.settings.app)
        except (ApiRefused, NothingStarted):
            if not now.why:
                raise
    if not revisions:
        return _by_history_here(work, now)
    revisions = sorted(revisions, key=lambda one: one.revision, reverse=True)
    newest = Running(ran_of(revisions[0]))
    if now.ran and newest.differs_from(now):
        raise ChangedMeanwhile(
            f"something else was deployed meanwhile: {history.described(ran_of(revisions[0]))} is the newest revision",
            next=[work.step("status", "Look"), again],
        )
    failed = [one.revision for one in revisions[1:] if one.status == "failed"]
    succeeded = [ran_of(one) for one in revisions if one.revision not in failed]
    # Only a revision brings the values of variables back, and only those of the one right before can differ alone.
    restores = "rollback" in features and len(revisions) > 1 and revisions[1].revision not in failed
    return RollbackTargets(rollback_targets(succeeded, restores=restores), failed, is_of_server=True)


def step_to_another(work: Work) -> Step:
    return work.step("reuse", "Deploy one that you know", build_id="DIGEST")


def _by_history_here(work: Work, now: Running) -> RollbackTargets:
    runs = now.ran or (None if now.why else NOTHING)
    ran_here = what_ran(work.history, work.settings.app, work.settings.namespace, runs)
    return RollbackTargets(rollback_targets(ran_here, restores=False), [], is_of_server=False)


class Undo(NamedTuple):
    """A `line` that says how to undo a deploy, or why nobody can."""

    line: str
    steps: tuple[Step, ...] = ()
    """The command that goes back, as the next step of a deploy that does not come up."""


def undo_of(work: Work, new: Ran, now: Running, *, is_unchanged: bool) -> Undo:
    """How to undo the deploy of `new`, which replaced what ran `now`: what `rollback` goes back to, if that is
    what ran. `is_unchanged`: the API says that the same ran before."""
    if is_unchanged:
        return Undo("nothing changed: the same ran before")
    if now.why:
        return _undo_of_unknown(work, new, now)
    if now.ran is None:
        return Undo("nothing ran before, so there is nothing to go back to yet")
    if now.has_failed and "app-history" in work.client.features:
        return _undo_of_failed(work, new)
    return _undo_of_known(work, new, now.ran)


def _undo_of_known(work: Work, new: Ran, before: Ran) -> Undo:
    features = work.client.features
    restores = {"app-history", "rollback"} <= features and new.revision is not None
    if restores and new.revision != before.revision:
        return _undo(work, new, before, restores=True)
    if before.build_id is None:
        return Undo(f"what ran before ({before.image_name}) has no digest, so it cannot be deployed again")
    if is_same(before, new):
        known = "" if "app-state" in features else ", as far as is known here"
        line = f"nothing changed{known}: the same ran before"
        if not restores and new.deploy_config and new.deploy_config.env:
            values = "other values of variables, which are not kept"
            line = f"there is no way back: the same ran before, perhaps with {values}"
        return Undo(line)
    if is_same(_as_rollback_lets_it_run(work, before, restores=False), new):
        line = "there is no way back: the same ran before, but for variables, whose values are not kept"
        return Undo(line)
    return _undo(work, new, before, restores=False)


def _undo_of_unknown(work: Work, new: Ran, now: Running) -> Undo:
    """Of a deploy over what is not known: from the server's history, or else from the deploys from here."""
    try:
        ways = find_targets(work, Running(new))
    except (ApiRefused, NothingStarted, ChangedMeanwhile):
        ways = _by_history_here(work, Running(new))
    before = next(ways.ones, None)
    if before and ways.is_of_server:
        return _undo(work, new, before, restores="rollback" in work.client.features)
    deploys = work.history.deploys(work.settings.app, work.settings.namespace)
    last = next((ran(entry) for entry in islice(deploys, 1, None)), None)
    if last and is_same(last, new) is not False:
        return Undo(f"there is no way back: {now.why}, and the same was deployed from here before")
    if before is None:
        none = "nothing else was deployed from here, so there is nothing to go back to yet"
        return Undo(f"{now.why}, and {none}")
    return _undo(work, new, before, restores=False, source=ways.source)


def _undo_of_failed(work: Work, new: Ran) -> Undo:
    """Of a deploy over a revision whose rollout failed, which `rollback` passes over."""
    try:
        before = next(find_targets(work, Running(new)).ones, None)
    except (ApiRefused, NothingStarted, ChangedMeanwhile) as error:
        return Undo(f"the way back is not known: {error.what}")
    if before is None:
        return Undo("no rollout before this one succeeded, so there is nothing to go back to yet")
    return _undo(work, new, before, restores="rollback" in work.client.features)


def _undo(work: Work, new: Ran, before: Ran, *, restores: bool, source: str = "") -> Undo:
    step = Step("rollback", _target(work))
    known = [text for text in (history.source(before), how_known(before), source) if text]
    text = f"{digits(before)} ({', '.join(known)})" if known else digits(before)
    then = _as_rollback_lets_it_run(work, before, restores=restores).deploy_config
    if before.build_id == new.build_id and then and new.deploy_config:
        changes = differences(new.deploy_config, then, with_old=False)
        text += f", with {', '.join(changes)}" if changes else ""
    files = (file.variables for file in work.settings.env_files.values())
    is_of_shell = "api_url" in work.settings.of_call and not work.settings.environment
    if is_of_shell and any(variables.get("DEPLOY_API_URL") for variables in files):
        text += f", in {work.settings.cluster}: without DEPLOY_API_URL in the shell, a file names the cluster"
    return Undo(f"undo: {step} → {text}", (step._replace(says=f"Go back to {history.described(before)}"),))


def _as_rollback_lets_it_run(work: Work, before: Ran, *, restores: bool) -> Ran:
    """`before`, with the variables of the settings, unless the server `restores` those that it had."""
    config = before.deploy_config
    if restores or config is None:
        return before
    return replace(before, deploy_config=replace(config, env=dict.fromkeys(work.settings.configured_environment)))


def _target(work: Work) -> dict[str, object]:
    """The flags that name the app and its place, as far as a command without them would mean another, in another shell
    and once something else is recorded."""
    settings = work.settings
    by_call = [key for key in ("app", "namespace", "app_class") if key in settings.of_call]
    app, namespace = (settings.origins[key].source for key in ("app", "namespace"))
    has_app = "app" in by_call or (app is Source.RECORD and settings.app != work.checkout.app)
    # What it is if only the configuration says.
    is_recorded = settings.origins["app_class"].source is Source.RECORD
    usual = APP_CLASSES[DEFAULT_APP_CLASS if is_recorded else settings.app_class]
    follows = namespace in (Source.RECORD, Source.DEFAULT)
    has_place = "namespace" in by_call or (follows and ("app_class" in by_call or settings.namespace != usual))
    return {
        "app": work.name or (settings.app if has_app else None),
        "namespace": settings.namespace if has_place else None,
    }
