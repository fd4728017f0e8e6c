"""What an app ran, newest first: from the history of a checkout or from that of the server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..deploy_config import DEFAULT_REPLICAS, differences
from .history import UNKNOWN, History
from .records import HistoryEntry, Ran, Record

NOTHING = Ran()
"""Nothing runs. (None means that it is not known what runs.)"""


def ran(entry: HistoryEntry) -> Ran:
    """What runs after a deploy from here."""
    shared = {name: getattr(entry, name) for name in Ran.__struct_fields__ if hasattr(entry, name)}
    return Ran(**shared, deployed_by=entry.who, deployed_at=entry.time)


def image_of(ran: Ran, history: Iterable[HistoryEntry]) -> Record:
    """The image that `ran`, with its other fields from the `history`."""
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
    """Whether both are the same image with the same config, apart from the values of variables. None if the image is
    the same, but the config is known only in part and shows no difference."""
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
    """What ran, by the history of a checkout: `now`, from the API (NOTHING: nothing runs; None: not known), then each
    deploy from here, followed by what it replaced. Repetitions in a row are left out.

    A deploy with an unknown outcome is left out if the API said that something else ran after it.
    """
    last = after = now
    if now:
        yield now
    for entry in history.deploys(app, namespace):
        deployed, replaced = ran(entry), entry.replaced
        # Earlier versions did not record the deploy config.
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
    """What `rollback` can go back to, newest first. A deploy counts only if it is known to differ from what runs now.
    The last one before that also counts if its config is not known, or if the server `restores` revisions with their
    values of variables, which may differ."""
    ones = iter(what_ran)
    now = next(ones, None)
    for place, one in enumerate(ones):
        same = now is not None and is_same(now, one)
        if same is False or (place == 0 and (restores or same is None)):
            yield one
