"""The image of a commit that is built already: on this machine or on another one."""

from __future__ import annotations

from posixpath import normpath
from typing import NamedTuple

from msgspec.structs import replace

from .. import images
from ..config.schema import BY_KEY
from ..encoding import fields_of
from ..invocation.work import Work
from ..state.records import BuildInFlight, HistoryEntry, Record, Target
from .digest import digest_of_tag


class Existing(NamedTuple):
    """The image of a build that is made already."""

    build: BuildInFlight
    """That build, with the tag that its image has."""
    build_id: str
    earlier: HistoryEntry | None
    """Its entry in this history; None if another machine built it."""

    @property
    def record(self) -> Record:
        return Record(**fields_of(self.build, Target), build_id=self.build_id)

    @property
    def says(self) -> str:
        build, earlier = self.build, self.earlier
        how = f"{earlier.time}, {earlier.job_name}" if earlier else f"{build.image_name} has its tag in the registry"
        return f"commit {str(build.git_ref)[:12]} is built already ({how}); nothing was started"


def existing_image(work: Work, build: BuildInFlight) -> Existing | None:
    """The image that `build` would make, if the registry has it; None if it must be built. Asks the API.

    Only a commit can be found, since a branch moves: by the tag of the same build in this history, else by the commit
    as the tag, which another machine may have built. Other machines build with the Dockerfile and the context that are
    the defaults, unless this history says that they did not.
    """
    settings, tag = work.settings, work.settings.given("image_tag")
    if not images.is_commit(build.git_ref):
        return None
    entries = work.state.history().of_image(build.image_name)
    # Each cluster may have an image of its own of the same commit.
    same = [entry for entry in entries.same_builds(build) if tag in (None, entry.image_tag)]
    usual = [BY_KEY[key].default for key in ("dockerfile", "build_context")]
    is_usual = [normpath(settings.dockerfile), normpath(settings.build_context)] == usual
    by_commit = [build.image_tag] if is_usual and build.image_tag == build.git_ref else []
    for name in dict.fromkeys([*(str(entry.image_tag) for entry in same[:1]), *by_commit]):
        made = replace(build, image_tag=name)
        build_id = digest_of_tag(work.client, made)
        if build_id is None:
            continue
        if earlier := next((entry for entry in same if entry.build_id == build_id), None):
            return Existing(made, build_id, earlier)
        if name in by_commit and not any(_is_other(entry, build) for entry in entries if entry.build_id == build_id):
            return Existing(made, build_id, None)
    return None


def _is_other(entry: HistoryEntry, build: BuildInFlight) -> bool:
    """Whether the history says that the image of `entry` is not what `build` makes: of a dirty tree, or from another
    Dockerfile or context."""
    names = ("dockerfile", "build_context")
    return bool(entry.dirty) or (
        entry.built == "cluster" and any(getattr(entry, name) != getattr(build, name) for name in names)
    )
