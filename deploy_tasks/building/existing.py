"""Finds the image of a commit that is built already, from this machine or from another one."""

from __future__ import annotations

from posixpath import normpath
from typing import NamedTuple

from msgspec.structs import replace

from .. import images
from ..config.schema import BY_KEY
from ..errors import SettingsError
from ..invocation.work import Work
from ..state.records import HistoryEntry, PlannedBuild
from .digest import digest_of_tag

_DOCKERFILE, _CONTEXT = str(BY_KEY["dockerfile"].default), str(BY_KEY["build_context"].default)
_OF_AN_IMAGE = ("app", "image_name", "dockerfile", "build_context")


class Existing(NamedTuple):
    """An image that exists already."""

    build: PlannedBuild
    """The build that would make it, with the tag of the existing image."""
    build_id: str
    earlier: HistoryEntry | None
    """The build's entry in the history here; None if another machine built it."""

    @property
    def says(self) -> str:
        build, earlier = self.build, self.earlier
        how = f"{earlier.time}, {earlier.job_name}" if earlier else f"{build.image_name} has its tag in the registry"
        return f"commit {build.git_ref[:12]} is built already ({how}); nothing was started"


def existing_image(work: Work, build: PlannedBuild) -> Existing | None:
    """The image that `build` would make, if the registry has it; None if it must be built. Asks the API.

    Only images of commits count, since a branch moves. The tag is that of the same build in the history here, else the
    commit, which another machine may have built. Other machines are assumed to use the default Dockerfile and context,
    unless the history here or the configuration of another environment says otherwise.
    """
    tag = work.settings.given("image_tag")
    if not images.is_commit(build.git_ref):
        return None
    entries = work.state.history.of_image(build.image_name)
    # Each cluster may have its own image of the same commit.
    same = [entry for entry in entries.same_builds(build) if tag in (None, entry.image_tag)]
    by_commit = [build.image_tag] if build.image_tag == build.git_ref and _has_default_paths_everywhere(work) else []
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


def _has_default_paths(dockerfile: str | None, build_context: str | None) -> bool:
    return normpath(dockerfile or _DOCKERFILE) == _DOCKERFILE and normpath(build_context or _CONTEXT) == _CONTEXT


def _has_default_paths_everywhere(work: Work) -> bool:
    """Whether the Dockerfile and the context are the defaults here and in each environment with the same image. False
    if the settings of one cannot be read."""
    settings = work.settings
    if not _has_default_paths(settings.dockerfile, settings.build_context):
        return False
    for environment in (name for name in settings.environments if name != settings.environment):
        try:
            there = work.call.project.values_in(environment, work.name, _OF_AN_IMAGE)
        except SettingsError:
            return False
        is_same_image = (there["image_name"] or there["app"]) in (None, settings.image_name)
        if is_same_image and not _has_default_paths(there["dockerfile"], there["build_context"]):
            return False
    return True


def _is_other(entry: HistoryEntry, build: PlannedBuild) -> bool:
    """Whether, by the history, the image of `entry` is not the one that `build` makes: it has uncommitted changes, or
    another commit, Dockerfile or context."""
    if entry.dirty:
        return True
    if entry.built and images.is_commit(entry.git_ref) and entry.git_ref != build.git_ref:
        return True
    if entry.built == "local":
        return not _has_default_paths(entry.dockerfile, entry.build_context)
    names = ("dockerfile", "build_context")
    return entry.built == "cluster" and any(getattr(entry, name) != getattr(build, name) for name in names)
