"""The way back from a deploy: what `rollback` can go back to, and the `undo:` line that says it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from ..app_class import APP_CLASSES, DEFAULT_APP_CLASS
from ..config.sources import Source
from ..deploy_config import differences
from ..errors import ApiRefused, NothingStarted
from ..invocation.running import Running, ran_of
from ..invocation.work import Work
from ..next_steps import Step
from ..state import history
from ..state.records import Ran
from ..state.what_ran import goes_back, is_same, ran, what_ran
from .deploy_lines import digits, how_known


class WaysBack(NamedTuple):
    """What `rollback` can go back to, nearest first; the revisions that it passes over; and who says so."""

    ones: Iterator[Ran]
    failed: Sequence[int]
    source: str


def ways_back(work: Work, now: Ran | None) -> WaysBack:
    """From the history of the server, if it has one, else from the history here. `now` is what runs, if it is known."""
    app, namespace = work.settings.app, work.settings.namespace
    revisions = work.client.history(namespace, app) if now else None
    if revisions is None:
        ran_here = what_ran(work.history, app, namespace, now)
        return WaysBack(goes_back(ran_here, is_numbered=False), [], "as far as is known here")
    failed = [one.revision for one in revisions[1:] if one.status == "failed"]
    well = [one for one in revisions if one.revision not in failed]
    is_numbered = well[:2] == revisions[:2]
    return WaysBack(goes_back(map(ran_of, well), is_numbered=is_numbered), failed, "as the API says")


class Undo(NamedTuple):
    """The command that goes back to what ran before a deploy, None if there is nothing to go back to; what that is, if
    it is known; and a line that says it."""

    step: Step | None
    to: Ran | None
    line: str


def undo_of(work: Work, new: Ran, now: Running, *, is_unchanged: bool) -> Undo:
    """How to undo the deploy of `new` in the place of what ran until `now`. It is the choice that `rollback` makes.
    `is_unchanged`: the API says that the same ran before."""
    before, deploys = now.ran, work.history.deploys(work.settings.app, work.settings.namespace)
    if now.why:
        # The deploy before this one, as far as is known here.
        before = next((ran(entry) for entry in islice(deploys, 1, None)), None)
    elif before is None:
        return Undo(None, None, "nothing ran before, so there is nothing to go back to yet")
    if before and (is_unchanged or (is_same(before, new) and new.revision in (None, before.revision))):
        said = "the same was deployed from here before" if now.why else "the same ran before"
        return Undo(None, None, f"nothing changed: {said}")
    if now.why or now.has_failed or "app-history" not in work.client.features:
        try:
            before = next(ways_back(work, None if now.why else new).ones, None)
        except (ApiRefused, NothingStarted):
            before = None
    if before is None and now.why:
        none = "nothing else was deployed from here, so there is nothing to go back to yet"
        return Undo(None, None, f"{now.why}, and {none}")
    step = Step("rollback", _target(work))
    if before is None:
        return Undo(step, None, f"undo: {step}")
    known = [history.source(before), how_known(before), "as far as is known here" if now.why else ""]
    text = f"{digits(before)} ({', '.join(text for text in known if text)})" if any(known) else digits(before)
    if before.build_id == new.build_id and before.deploy_config and new.deploy_config:
        text = ", ".join([text, *differences(new.deploy_config, before.deploy_config)])
    return Undo(step, before, f"undo: {step} → {text}")


def _target(work: Work) -> dict[str, object]:
    """The flags that name the app and its place, as far as a command without them would mean another, in another shell
    and once something else is recorded."""
    settings = work.settings
    by_call = [key for key in ("app", "namespace", "app_class") if settings.is_of_call(key)]
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
