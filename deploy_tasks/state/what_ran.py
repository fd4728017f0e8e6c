"""What ran of an app, newest first, from the history of a checkout or from the server's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..deploy_config import DEFAULT_REPLICAS, differences
from .history import UNKNOWN, History
from .records import HistoryEntry, Ran, Record

NOTHING = Ran()
"""That nothing runs, where None means that what runs is not known."""


def ran(entry: HistoryEntry) -> Ran:
    """What a deploy from here let run."""
    shared = {name: getattr(entry, name) for name in Ran.__struct_fields__ if hasattr(entry, name)}
    return Ran(**shared, deployed_by=entry.who, deployed_at=entry.time)


def image_of(ran: Ran, history: Iterable[HistoryEntry]) -> Record:
    """What is known of the image that `ran`, from the `history`, too."""
    same = (one for one in history if one.build_id and one.build_id == ran.build_id)
    known = Record.of(next((one for one in same if ran.image_name in (None, one.image_name)), None))
    return Record.of(
        known,
        build_id=ran.build_id,
        image_name=ran.image_name or known.image_name,
        git_ref=ran.git_ref or known.git_ref,
        dirty=ran.dirty or known.dirty,
    )


def is_same(one: Ran, other: Ran) -> bool | None:
    """Whether both are the same image and run in the same way, but for the values of variables. None if the image is
    the same, and nothing that is known of the way differs."""
    if one.build_id is None or one.build_id != other.build_id:
        return False
    if None not in (one.image_name, other.image_name) and one.image_name != other.image_name:
        return False
    if one.deploy_config and other.deploy_config:
        return not differences(one.deploy_config, other.deploy_config)
    replicas = [
        ran.deploy_config.replicas or DEFAULT_REPLICAS if ran.deploy_config else ran.replicas for ran in (one, other)
    ]
    return None if None in replicas or replicas[0] == replicas[1] else False


def what_ran(history: History, app: str, namespace: str, now: Ran | None) -> Iterator[Ran]:
    """What ran, as the history of a checkout knows it: `now`, which the API says (NOTHING: nothing runs; None: that is
    not known), then each deploy from here and what the API said that it replaced. The same twice in a row is one.

    A deploy with an unknown outcome is left out where the API said that something else ran after it.
    """
    last = after = now
    if now:
        yield now
    for entry in history.deploys(app, namespace):
        deployed, replaced = ran(entry), entry.replaced
        # Earlier versions did not keep how a digest ran.
        if last and deployed.deploy_config is None and deployed.build_id == last.build_id:
            deployed = last
        happened = entry.outcome != UNKNOWN or after is None or after.build_id == entry.build_id
        for one in [*([deployed] if happened else []), *([replaced] if replaced else [])]:
            same = is_same(last, one) if last else False
            if same is None and last:
                same = last.deploy_config is one.deploy_config
            if not same:
                yield one
                last = one
        after = replaced


def rollback_targets(what_ran: Iterable[Ran], *, restores: bool) -> Iterator[Ran]:
    """What `rollback` can go back to, nearest first. What is not known to differ from what runs now is no step back;
    except right before it, where it is not known how it ran, or where a server `restores` revisions with the values of
    variables, which differ then."""
    ones = iter(what_ran)
    now = next(ones, None)
    for place, one in enumerate(ones):
        same = now is not None and is_same(now, one)
        if same is False or (place == 0 and (restores or same is None)):
            yield one
