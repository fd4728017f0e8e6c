"""What ran of an app, newest first: from the history of a checkout, or from the server's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..deploy_config import differences
from .history import UNKNOWN, History
from .records import HistoryEntry, Ran


def ran(entry: HistoryEntry) -> Ran:
    """What a deploy from here let run."""
    shared = {name: getattr(entry, name) for name in Ran.__struct_fields__ if hasattr(entry, name)}
    return Ran(**shared, deployed_by=entry.who, deployed_at=entry.time)


def is_same(one: Ran, other: Ran) -> bool:
    """Whether both are the same image and run in the same way, but for the values of variables."""
    if one.build_id is None or one.build_id != other.build_id:
        return False
    if None not in (one.image_name, other.image_name) and one.image_name != other.image_name:
        return False
    if one.deploy_config is None or other.deploy_config is None:
        return one.deploy_config is other.deploy_config
    return not differences(one.deploy_config, other.deploy_config)


def what_ran(history: History, app: str, namespace: str, now: Ran | None) -> Iterator[Ran]:
    """What ran, as the history of a checkout knows it: `now`, which the API says, then each deploy from here and what
    the API said that it replaced. The same twice in a row is one.

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
        for one in [deployed] * happened + [replaced] * (replaced is not None):
            if one and not (last and is_same(last, one)):
                yield one
                last = one
        after = replaced


def goes_back(what_ran: Iterable[Ran], *, is_numbered: bool) -> Iterator[Ran]:
    """What `rollback` can go back to, nearest first. What is the same as what runs now is no step back; except that of
    two revisions in a row, which the server numbers, the values of variables differ."""
    ones = iter(what_ran)
    now = next(ones, None)
    for place, one in enumerate(ones):
        if now is None or not is_same(now, one) or (is_numbered and place == 0):
            yield one
