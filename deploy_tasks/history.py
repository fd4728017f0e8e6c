"""What the history tells: which digest was deployed before, which one a prefix means, which build was made already.

Entries come newest first, as `State.history` gives them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from . import commands
from .errors import SettingsError
from .models import BuildRequest, HistoryEntry

RECORDED, FAILED = "recorded", "failed"
DEPLOYED, UNKNOWN, NOT_READY = "deployed", "unknown", "not ready"
_MOST_LOOKED_THROUGH = 5_000
_PREFIX = re.compile(r"(?:sha256:)?([0-9a-f]{12,63})")


def deploys(entries: Iterable[HistoryEntry], app: str | None, namespace: str | None) -> Iterator[HistoryEntry]:
    """The deploys of one app, newest first; each digest once, and those that did not come up only where they are what
    runs now."""
    seen: set[str | None] = set()
    failed: set[str | None] = set()
    for entry in islice(entries, _MOST_LOOKED_THROUGH):
        if (entry.app, entry.namespace) != (app, namespace):
            continue
        if entry.outcome == NOT_READY:
            failed.add(entry.build_id)
        # What may have been deployed is what may run now.
        if entry.outcome in (DEPLOYED, UNKNOWN) and entry.build_id not in seen:
            if not seen or entry.build_id not in failed:
                yield entry
            seen.add(entry.build_id)


def outcomes(entries: Iterable[HistoryEntry], app: str | None, namespace: str) -> Iterator[HistoryEntry]:
    """What became of the deploys of one app, newest first: what did not come up is not told as deployed as well."""
    unwell = None
    for entry in entries:
        if (entry.app, entry.namespace) == (app, namespace) and entry.outcome in (DEPLOYED, UNKNOWN, NOT_READY):
            if not (entry.outcome == DEPLOYED and unwell == entry.build_id):
                yield entry
            unwell = entry.build_id if entry.outcome == NOT_READY else None


def digest_back(
    entries: Iterable[HistoryEntry], app: str, namespace: str, back: int, running: str | None, *, other: str
) -> HistoryEntry:
    """The deploy that lies `back` digests behind the present one: the newest one of the history, or, where the API says
    what is `running`, that; where this was not deployed from here, the newest one of the history lies one behind it.
    SettingsError where there is none, with the command that deploys another (`other`)."""
    known = list(deploys(entries, app, namespace))
    digests = [entry.build_id for entry in known]
    present = 0 if running is None else digests.index(running) if running in digests else -1
    if present + back < len(known):
        return known[present + back]
    counted = {0: "nothing was", 1: "only one digest was"}.get(len(known), f"only {len(known)} digests were")
    raise SettingsError(
        f"{app} in {namespace} cannot go back by {back}: {counted} deployed from here. Deploy one that you know: "
        f"{other}; nothing was deployed"
    )


def completed_digest(entries: Iterable[HistoryEntry], text: str) -> str:
    """The digest that begins with `text`, where that is 12 digits or more of one in the history; else `text` itself.

    SettingsError where it is several, or none.
    """
    prefix = _PREFIX.fullmatch(text)
    if not prefix:
        return text
    found = {entry.build_id for entry in entries if entry.build_id and entry.build_id[7:].startswith(prefix[1])}
    if len(found) != 1:
        what = f"begins {len(found)} digests" if found else "begins no digest"
        raise SettingsError(f"{text} {what} of the history ({commands.line('history')}); nothing was deployed")
    return str(found.pop())


def same_build(entries: Iterable[HistoryEntry], request: BuildRequest, image_name: str) -> HistoryEntry | None:
    """The build in the cluster that had the same commit, image, Dockerfile and context, or None."""
    for entry in entries:
        what = (entry.repo_url, entry.git_ref, entry.image_name, entry.dockerfile, entry.build_context)
        wanted = (request.repo_url, request.git_ref, image_name, request.dockerfile, request.build_context)
        if entry.outcome == RECORDED and entry.built == "cluster" and what == wanted:
            return entry
    return None
