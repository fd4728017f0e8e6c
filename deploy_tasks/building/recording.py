"""How the digest of an image is recorded and reported."""

from __future__ import annotations

from typing import NamedTuple

from .. import images
from ..config.settings import Settings
from ..errors import StateError
from ..invocation.work import Work
from ..next_steps import Step
from ..state import history
from ..state.records import Record, Target, record_as_json
from ..ui import console
from .steps import flags_of


class Recorded(NamedTuple):
    """What `save` has recorded: the digest of `target`, in place of the `earlier` record."""

    record: Record
    target: Target
    build_id: str
    earlier: Record | None


def target_of(settings: Settings, tag: str, git_ref: str | None) -> Target:
    """The target to record for an image: the app of the settings, the `tag`, and the commit or branch."""
    return Target(
        repo_url=settings.get("repo_url"),
        git_ref=git_ref,
        app=settings.app,
        namespace=settings.namespace,
        image_name=settings.image_name,
        image_tag=tag,
        app_class=settings.app_class,
    )


def record_and_report(
    work: Work, target: Target, build_id: str, *, dirty: bool | None = None, **built: str | None
) -> Record:
    """Records the digest of `target` (see `save`) and reports it (see `report_recorded`)."""
    return report_recorded(work, save(work, target, build_id, dirty=dirty, **built))


def save(work: Work, target: Target, build_id: str, *, dirty: bool | None = None, **built: str | None) -> Recorded:
    """Records the digest of `target`: for this command line, in the state file and in the history. `built` are the
    HistoryEntry's fields about the build, if there was one. StateError if it cannot be
    written.
    """
    environment = work.settings.environment
    record = Record.of(target, build_id=build_id, dirty=dirty or None, environment=environment)
    work.remember(record)
    try:
        earlier = work.state.save_record(record)
        work.note(history.RECORDED, record, **built)
    except StateError as error:
        reuse = Step("reuse", {"build_id": build_id, **flags_of(work, target)}, "The image is there")
        raise StateError(error.what, error.effect, [*error.next, reuse]) from error
    return Recorded(record, target, build_id, earlier)


def report_recorded(work: Work, recorded: Recorded) -> Record:
    """Reports the record to people and GitHub, with the digest as the task's result. Warns if the same tag was another
    image before."""
    record, target, build_id, earlier = recorded
    name = f"{target.image_name}:{target.image_tag}"
    is_same_tag = earlier and (earlier.image_name, earlier.image_tag) == (target.image_name, target.image_tag)
    if earlier and is_same_tag and earlier.build_id != build_id:
        console.warn(f"tag {target.image_tag} points to another image now: {earlier.build_id} → {build_id}")
    console.tell(f"recorded {name} as {build_id}")
    pinned = images.pinned(work.settings.registry, target.image_name, build_id)
    work.result(build_id, record_as_json(record, {}), f"recorded {name}", {"build-id": build_id, "image": pinned})
    return record
