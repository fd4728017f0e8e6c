"""`digest`: resolves the digest of a tag. Also records and reports every other digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from .. import images
from ..api import paths
from ..config.settings import Settings
from ..errors import DigestNotFound, StateError
from ..invocation.command import FROM_CHECKOUT, Command, Effect
from ..invocation.suggestions import target_flags
from ..invocation.work import Work
from ..next_steps import Step
from ..options import FOLLOWED, HOW_IT_RUNS
from ..state import history
from ..state.records import Record, Target, record_as_json
from ..ui import console

if TYPE_CHECKING:
    from ..api.client import DeployClient


class DigestPlan(Struct, frozen=True):
    """The tag to resolve."""

    target: Target

    def show(self, work: Work) -> None:
        path = paths.DIGEST.format(image_name=self.target.image_name, tag=self.target.image_tag)
        work.would_send("GET", path)
        work.pretend(self.target)

    def execute(self, work: Work) -> Record:
        target, before = self.target, work.record
        try:
            build_id = work.client.digest(target.image_name, tag=target.image_tag)
        except DigestNotFound as error:
            raise DigestNotFound(error.what, error.effect, steps_to_build(work, target.image_tag)) from error
        if before and before.build_id not in (None, build_id) and before.image_tag != target.image_tag:
            was = f"{before.image_name}:{before.image_tag} ({images.shortened(before.build_id)})"
            console.warn(f"the record was of {was}, and now is of {target.image_name}:{target.image_tag}")
        # Whether the image has uncommitted changes is known only from the history.
        of_image = work.state.history.of_image(target.image_name)
        known = next((entry for entry in of_image if entry.build_id == build_id), None)
        return record_and_report(work, target, build_id, dirty=known.dirty if known else None)


def _plan(work: Work) -> DigestPlan:
    """Never resolves the tag of an old record: after new commits, that would deploy the old code."""
    settings, recorded, commit = work.settings, work.recorded_in_chain, work.checkout.commit
    tag = settings.image_tag or (recorded and recorded.image_tag) or commit or settings.needed("image_tag")
    git_ref = commit if tag == commit else None
    if recorded and tag == recorded.image_tag:
        git_ref = recorded.git_ref
    return DigestPlan(target_of(settings, tag, git_ref))


digest = Command("digest", plan=_plan, from_git=FROM_CHECKOUT, uses_record=True, effect=Effect.RECORDS)


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


def digest_of_tag(client: DeployClient, target: Target) -> str | None:
    """The digest of the target's tag; None if the registry has no such tag."""
    try:
        return client.digest(target.image_name, tag=target.image_tag)
    except DigestNotFound:
        return None


def record_and_report(
    work: Work, target: Target, build_id: str, *, dirty: bool | None = None, **built: str | None
) -> Record:
    """Records the digest of `target` (see `save`) and reports it (see `report_recorded`)."""
    return report_recorded(work, *save(work, target, build_id, dirty=dirty, **built))


def save(
    work: Work, target: Target, build_id: str, *, dirty: bool | None = None, **built: str | None
) -> tuple[Record, Record | None]:
    """Records the digest of `target`: for this command line, in the state file and in the history. `built` are the
    HistoryEntry's fields about the build, if there was one. Returns the new record and the one before it. StateError if
    it cannot be written.
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
    return record, earlier


def report_recorded(work: Work, record: Record, earlier: Record | None) -> Record:
    """Reports the record to people and GitHub, with the digest as the task's result. Warns if the same tag was another
    image in the `earlier` record."""
    name, build_id = f"{record.image_name}:{record.image_tag}", str(record.build_id)
    is_same_tag = earlier and (earlier.image_name, earlier.image_tag) == (record.image_name, record.image_tag)
    if earlier and is_same_tag and earlier.build_id != build_id:
        console.warn(f"tag {record.image_tag} points to another image now: {earlier.build_id} → {build_id}")
    console.tell(f"recorded {name} as {build_id}")
    pinned = images.pinned(work.settings.registry, str(record.image_name), build_id)
    work.result(build_id, record_as_json(record, {}), f"recorded {name}", {"build-id": build_id, "image": pinned})
    return record


def steps_to_build(work: Work, ref: str | None) -> list[Step]:
    """The commands that build `ref` if it is a commit, else HEAD. If this call deploys, they deploy the image too: the
    later calls of this command line may be for another environment."""
    target, then, tasks = target_flags(work.settings), None, ["build", "local"]
    if work.call.command.effect is Effect.DEPLOYS:
        repeated = (*HOW_IT_RUNS, *FOLLOWED)
        then = Step("reuse", {key: value for key, value in work.call.given.items() if key in repeated})
    is_commit = images.is_commit(ref)
    says = "Build it" if is_commit else "Build the present commit"
    if is_commit and ref != work.checkout.commit:
        tasks, target = tasks[:1], {**target, "git_ref": ref}
    steps = [Step(task, target, continues=not work.is_of_several, then=then) for task in tasks]
    return [steps[0]._replace(says=says), *steps[1:]]


def flags_of(work: Work, target: Target) -> dict[str, object]:
    """The flags for `target` that a command needs, whatever is recorded."""
    return {"app": target.app, **target_flags(work.settings, target, without_record=True)}
