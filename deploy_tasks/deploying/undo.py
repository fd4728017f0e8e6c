"""How to undo a deploy: what `rollback` can go back to, and the `undo:` line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from msgspec.structs import replace

from ..config.sources import Source
from ..deploy_config import differences
from ..errors import ApiRefused, ChangedMeanwhile, NothingStarted
from ..invocation.running import Running, ran_of
from ..invocation.suggestions import target_flags
from ..invocation.work import Work
from ..next_steps import Step
from ..state import history
from ..state.records import Ran
from ..state.what_ran import NOTHING, is_same, ran, rollback_targets, what_ran
from .image_lines import digits, how_known


class RollbackTargets(NamedTuple):
    """What `rollback` can go back to, newest first; the `failed` revisions that it skips; and whether the server or the
    history here says so."""

    ones: Iterator[Ran]
    failed: Sequence[int]
    is_of_server: bool

    @property
    def source(self) -> str:
        return "as the API says" if self.is_of_server else "as far as is known here"


def find_targets(work: Work, now: Running) -> RollbackTargets:
    """The targets from the server's history, if it has one and something may run, else from the history here.

    ChangedMeanwhile if the server's newest revision is not what runs `now`. NothingStarted if the API did not answer
    this time: from the history here alone, a rollback could skip what others deployed."""
    features, revisions = work.client.features, None
    if now.was_unanswered and not work.call.is_dry:
        raise NothingStarted(now.why, "Nothing was deployed", [work.again, step_to_another(work)])
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
            next=[work.step("status", "Check what runs"), work.again],
        )
    failed = [one.revision for one in revisions[1:] if one.status == "failed"]
    succeeded = [ran_of(one) for one in revisions if one.revision not in failed]
    # Restoring a revision also restores the values of its variables. So the one right before counts even if it looks
    # the same: the values may differ.
    restores = "rollback" in features and len(revisions) > 1 and revisions[1].revision not in failed
    return RollbackTargets(rollback_targets(succeeded, restores=restores), failed, is_of_server=True)


def step_to_another(work: Work) -> Step:
    return work.step("reuse", "Deploy one that you know", build_id="DIGEST")


def _by_history_here(work: Work, now: Running) -> RollbackTargets:
    runs = now.ran or (None if now.why else NOTHING)
    ran_here = what_ran(work.history, work.settings.app, work.settings.namespace, runs)
    return RollbackTargets(rollback_targets(ran_here, restores=False), [], is_of_server=False)


class Undo(NamedTuple):
    """A `line` that says how to undo a deploy, or why that is not possible."""

    line: str
    steps: tuple[Step, ...] = ()
    """The command that goes back, as the next step of a deploy that does not come up."""

    @property
    def effect(self) -> str:
        """Why nobody can go back, as the effect of a deploy that does not come up; "" if there are `steps`."""
        return "" if self.steps else self.line[:1].upper() + self.line[1:]


def undo_of(work: Work, new: Ran, replaced: Running, *, is_unchanged: bool) -> Undo:
    """How to undo the deploy of `new`, which `replaced` what ran before. `is_unchanged`: the API says that the same ran
    before."""
    if is_unchanged:
        return Undo("nothing changed: the same ran before")
    if replaced.why:
        return _undo_of_unknown(work, new, replaced)
    if replaced.ran is None:
        return Undo("nothing ran before, so there is nothing to go back to yet")
    if replaced.has_failed and "app-history" in work.client.features:
        return _undo_of_failed(work, new)
    return _undo_of_known(work, new, replaced.ran)


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
            line = f"this cannot be undone: the same ran before, perhaps with {values}"
        return Undo(line)
    if is_same(_after_rollback(work, before, restores=False), new):
        line = "this cannot be undone: the same ran before, but for variables, whose values are not kept"
        return Undo(line)
    return _undo(work, new, before, restores=False)


def _undo_of_unknown(work: Work, new: Ran, replaced: Running) -> Undo:
    """How to undo a deploy if it is not known what ran before: from the server's history, else from the history
    here."""
    try:
        targets = find_targets(work, Running(new))
    except (ApiRefused, NothingStarted, ChangedMeanwhile):
        targets = _by_history_here(work, Running(new))
    before = next(targets.ones, None)
    if before and targets.is_of_server:
        return _undo(work, new, before, restores="rollback" in work.client.features)
    deploys = work.history.deploys(work.settings.app, work.settings.namespace)
    last = next((ran(entry) for entry in islice(deploys, 1, None)), None)
    if last and is_same(last, new) is not False:
        return Undo(f"this cannot be undone: {replaced.why}, and the same was deployed from here before")
    if before is None:
        none = "nothing else was deployed from here, so there is nothing to go back to yet"
        return Undo(f"{replaced.why}, and {none}")
    return _undo(work, new, before, restores=False, source=targets.source)


def _undo_of_failed(work: Work, new: Ran) -> Undo:
    """How to undo a deploy over a revision whose rollout failed. `rollback` skips that revision."""
    try:
        before = next(find_targets(work, Running(new)).ones, None)
    except (ApiRefused, NothingStarted, ChangedMeanwhile) as error:
        return Undo(f"how to undo this is not known: {error.what}")
    if before is None:
        return Undo("no rollout before this one succeeded, so there is nothing to go back to yet")
    return _undo(work, new, before, restores="rollback" in work.client.features)


def _undo(work: Work, new: Ran, before: Ran, *, restores: bool, source: str = "") -> Undo:
    settings = work.settings
    # `rollback` takes the image and the app class from what ran. An app that git names, too, makes the line longer.
    is_usual = settings.origins["app"].source is Source.RECORD and settings.app == work.checkout.app
    keys = ["namespace"] if is_usual else ["app", "namespace"]
    step = Step("rollback", target_flags(settings, keys=keys, without_record=True))
    known = [text for text in (history.source(before), how_known(before), source) if text]
    text = f"{digits(before)} ({', '.join(known)})" if known else digits(before)
    then = _after_rollback(work, before, restores=restores).deploy_config
    if before.build_id == new.build_id and then and new.deploy_config:
        changes = differences(new.deploy_config, then, with_old=False)
        text += f", with {', '.join(changes)}" if changes else ""
    files = (file.variables for file in work.settings.env_files.values())
    is_of_shell = "api_url" in work.settings.of_call and not work.settings.environment
    if is_of_shell and any(variables.get("DEPLOY_API_URL") for variables in files):
        text += f", in {work.settings.cluster}: without DEPLOY_API_URL in the shell, a file names the cluster"
    return Undo(f"undo: {step} → {text}", (step._replace(says=f"Go back to {history.described(before)}"),))


def _after_rollback(work: Work, before: Ran, *, restores: bool) -> Ran:
    """`before` with the current variables, unless the server `restores` the old ones."""
    config = before.deploy_config
    if restores or config is None:
        return before
    return replace(before, deploy_config=replace(config, env=dict.fromkeys(work.settings.configured_environment)))
