"""What the history tells: which digest was deployed before, which one an abbreviation or a commit means, which build
was made already, and whether the last one failed.

Entries come newest first, as `State.history` gives them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from .. import images, next_steps
from ..errors import SettingsError
from .records import BuildInFlight, HistoryEntry, Record

RECORDED, FAILED = "recorded", "failed"
DEPLOYED, UNKNOWN, NOT_READY = "deployed", "unknown", "not ready"
_MOST_LOOKED_THROUGH = 5_000
_SHORTEST_DIGEST = 12
_ABBREVIATION = re.compile(r"(sha256:)?([0-9a-f]{7,64})(?:…|\.\.\.)?")
_MOST_NAMED = 5


def deploys(entries: Iterable[HistoryEntry], app: str | None, namespace: str | None) -> Iterator[HistoryEntry]:
    """The deploys of one app, newest first, each digest once. A deploy that did not come up is left out, unless it is
    the newest, which is what runs now: it says nothing about other deploys of the same digest."""
    told: set[str | None] = set()
    unwell: set[str | None] = set()
    is_newest = True
    for entry in islice(entries, _MOST_LOOKED_THROUGH):
        if (entry.app, entry.namespace) != (app, namespace):
            continue
        if entry.outcome == NOT_READY:
            unwell.add(entry.build_id)
        # What may have been deployed is what may run now.
        if entry.outcome in (DEPLOYED, UNKNOWN):
            if entry.build_id not in told and (is_newest or entry.build_id not in unwell):
                yield entry
                told.add(entry.build_id)
            unwell.discard(entry.build_id)
            is_newest = False


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
    One that did not come up may run all the same: behind it lie those that were deployed before it. SettingsError where
    there is none, with the command that deploys another (`other`)."""
    looked_through = list(islice(entries, _MOST_LOOKED_THROUGH))
    known = list(deploys(looked_through, app, namespace))
    if running not in (None, *(entry.build_id for entry in known)):
        of_running = (app, namespace, running, DEPLOYED)
        marks = [(entry.app, entry.namespace, entry.build_id, entry.outcome) for entry in looked_through]
        place = marks.index(of_running) if of_running in marks else 0
        known = list(deploys(looked_through[place:], app, namespace))
    digests = [entry.build_id for entry in known]
    present = 0 if running is None else digests.index(running) if running in digests else -1
    if present + back < len(known):
        return known[present + back]
    counted = {0: "nothing was", 1: "only one digest was"}.get(len(known), f"only {len(known)} digests were")
    raise SettingsError(
        f"{app} in {namespace} cannot go back by {back}: {counted} deployed from here. Deploy one that you know: "
        f"{other}; nothing was deployed"
    )


def of_image(entries: Iterable[HistoryEntry], image_name: str | None) -> Iterator[HistoryEntry]:
    """The entries of one image: two images may have a digest in common."""
    return (entry for entry in entries if entry.image_name == image_name)


def digest_meant(entries: Iterable[HistoryEntry], text: str) -> str:
    """The digest in the history that `text` means: its first 12 digits or more, with or without `sha256:` and the
    ellipsis of a printed one, or the first 7 or more of the commit that it was built from. `text` itself where it is
    no such abbreviation.

    SettingsError where it means several, or none. A build with uncommitted changes is none of a commit.
    """
    short = _ABBREVIATION.fullmatch(text)
    if not short or images.is_digest(text):
        return text
    algorithm, digits = short.groups()
    found: dict[str, HistoryEntry] = {}
    for entry in entries:
        if entry.build_id is None:
            continue
        begins_digest = len(digits) >= _SHORTEST_DIGEST and entry.build_id[7:].startswith(digits)
        is_commit = not algorithm and not entry.dirty and images.is_commit(entry.git_ref or "")
        if begins_digest or (is_commit and (entry.git_ref or "").startswith(digits)):
            found.setdefault(entry.build_id, entry)
    if not found:
        raise SettingsError(
            f"{text} begins no digest of the history, and no commit that one was built from. Nothing was deployed."
            f" Look for it: {next_steps.line('history')}"
        )
    if len(found) > 1:
        named = [described(entry) for entry in islice(found.values(), _MOST_NAMED)]
        rest = f"; and {len(found) - len(named)} more" if len(found) > len(named) else ""
        raise SettingsError(
            f"{text} means {len(found)} digests of the history: {'; '.join(named)}{rest}. Nothing was deployed. "
            "Give more digits of the one that you mean"
        )
    return next(iter(found))


def described(entry: Record) -> str:
    """A digest and what it was built from, as short as a person needs them."""
    built_from = source(entry)
    return f"{images.shortened(entry.build_id or '')}{f', {built_from}' if built_from else ''}"


def source(entry: Record) -> str:
    """What an image was built from, for a person: `commit 1234567`, or a branch; never without its uncommitted
    changes. Empty where it is not known."""
    ref = entry.git_ref or ""
    is_commit = images.is_commit(ref)
    short = images.short_ref(ref)
    if entry.dirty:
        return f"uncommitted changes on {short or 'no commit'}"
    return f"commit {short}" if is_commit else short


def failed_build(entries: Iterable[HistoryEntry], app: str | None, image_name: str | None) -> HistoryEntry | None:
    """The last build of an image, where it failed and nothing of that image was recorded since."""
    ours = (entry for entry in of_image(entries, image_name) if entry.app == app)
    last = next((entry for entry in ours if entry.outcome in (RECORDED, FAILED)), None)
    return last if last and last.outcome == FAILED else None


def same_build(entries: Iterable[HistoryEntry], build: BuildInFlight) -> HistoryEntry | None:
    """The build in the cluster that had the same commit, image, Dockerfile and context, or None."""
    compared = ("repo_url", "git_ref", "image_name", "dockerfile", "build_context")
    for entry in entries:
        is_same = all(getattr(entry, name) == getattr(build, name) for name in compared)
        if entry.outcome == RECORDED and entry.built == "cluster" and is_same:
            return entry
    return None
