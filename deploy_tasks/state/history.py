"""Queries on the history: earlier deploys and builds, and the digest that an abbreviation or a commit means."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from .. import images
from ..errors import SettingsError
from ..next_steps import Step
from .records import HistoryEntry, PlannedBuild, Ran, Record

# The outcomes of builds, and those of deploys.
RECORDED, FAILED = "recorded", "failed"
DEPLOYED, UNKNOWN, NOT_READY = "deployed", "unknown", "not ready"
_MOST_SEARCHED = 5_000
_SHORTEST_DIGEST = 12
_ABBREVIATION = re.compile(r"(sha256:)?([0-9a-f]{7,64})(?:…|\.\.\.)?")


class History:
    """The entries that `read` returns, newest first. With `api_url`, only those of that cluster and `environment`, and
    those without either, which may be of any. With `image_name`, only those of that image: two images may have the same
    digest."""

    def __init__(
        self,
        read: Callable[[], Iterable[HistoryEntry]],
        api_url: str | None = None,
        environment: str | None = None,
        *,
        image_name: str | None = None,
    ) -> None:
        self._read, self._api_url, self._environment, self._image_name = read, api_url, environment, image_name

    def __iter__(self) -> Iterator[HistoryEntry]:
        for entry in self._read():
            is_here = entry.api_url in (None, self._api_url) and entry.environment in (None, self._environment)
            if (self._api_url is None or is_here) and self._image_name in (None, entry.image_name):
                yield entry

    def of_image(self, image_name: str) -> History:
        return History(self._read, self._api_url, self._environment, image_name=image_name)

    def outcomes(self, app: str, namespace: str) -> Iterator[HistoryEntry]:
        """Each deploy of an app with its outcome. A deploy that did not become ready has two entries; the newer one is
        returned."""
        not_ready: set[str | None] = set()
        for entry in islice(self, _MOST_SEARCHED):
            if (entry.app, entry.namespace) != (app, namespace):
                continue
            if entry.outcome == NOT_READY:
                not_ready.add(entry.build_id)
                yield entry
            elif entry.outcome in (DEPLOYED, UNKNOWN):
                if entry.build_id not in not_ready:
                    yield entry
                not_ready.discard(entry.build_id)

    def deploys(self, app: str, namespace: str) -> Iterator[HistoryEntry]:
        """Each deploy of an app that the API accepted or may have accepted, whether it became ready or not."""
        for entry in islice(self, _MOST_SEARCHED):
            if (entry.app, entry.namespace) == (app, namespace) and entry.outcome in (DEPLOYED, UNKNOWN):
                yield entry

    def digest_for(self, text: str) -> str:
        """The digest that `text` abbreviates: the first 12 or more digits, with or without `sha256:` and an ellipsis,
        or the first 7 or more digits of the commit that it was built from, without uncommitted changes. `text` itself
        if it is not an abbreviation. SettingsError if it matches none or several."""
        short = _ABBREVIATION.fullmatch(text)
        if not short or images.DIGEST.fullmatch(text):
            return text
        algorithm, digits = short.groups()
        found: dict[str, HistoryEntry] = {}
        for entry in self:
            digest, ref = entry.build_id, None if algorithm or entry.dirty else entry.git_ref
            begins_digest = digest and len(digits) >= _SHORTEST_DIGEST and digest.startswith(f"sha256:{digits}")
            if digest and (begins_digest or (images.is_commit(ref) and ref.startswith(digits))):
                found.setdefault(digest, entry)
        if len(found) == 1:
            return next(iter(found))
        what = f"{text} matches no digest in the history, and no commit that one was built from"
        if found:
            several = ", or ".join(described(entry) for entry in found.values())
            what = f"{text} matches {len(found)} digests in the history: {several}"
        raise SettingsError(what, "Nothing was deployed", Step("history", says="Choose one"))

    def failed_build(self, app: str, image_name: str) -> HistoryEntry | None:
        """The last build of an image, if it failed and nothing was recorded for that image since."""
        builds = (entry for entry in self if (entry.app, entry.image_name) == (app, image_name))
        last = next((entry for entry in builds if entry.outcome in (RECORDED, FAILED)), None)
        return last if last and last.outcome == FAILED else None

    def same_builds(self, build: PlannedBuild) -> Iterator[HistoryEntry]:
        """The recorded builds in a cluster that had the same commit, image, Dockerfile and context."""
        names = ("repo_url", "git_ref", "image_name", "dockerfile", "build_context")
        for entry in islice(self, _MOST_SEARCHED):
            is_built = entry.outcome == RECORDED and entry.built == "cluster"
            if is_built and all(getattr(entry, name) == getattr(build, name) for name in names):
                yield entry


def described(entry: Record | Ran) -> str:
    """A shortened digest and what it was built from."""
    digest = images.shortened(entry.build_id) if entry.build_id else ""
    return ", ".join(text for text in (digest, source(entry)) if text)


def source(entry: Record | Ran) -> str:
    """What an image was built from: `commit 1234567` or a branch, with its uncommitted changes; "" if unknown."""
    short = images.short_ref(entry.git_ref) if entry.git_ref else ""
    if entry.dirty:
        return f"uncommitted changes on {short or 'no commit'}"
    return f"commit {short}" if images.is_commit(entry.git_ref) else short
