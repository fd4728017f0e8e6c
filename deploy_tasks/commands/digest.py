"""The digest of an image: found by its tag, recorded, told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import images, next_steps
from ..app_class import APP_CLASSES, DEFAULT_APP_CLASS
from ..encoding import fields_of
from ..errors import DigestNotFound, StateError
from ..invocation.call import TARGET, Call
from ..invocation.work import API, Act, Run, begin
from ..state import history
from ..state.records import Record, Target, record_as_json
from ..ui import console
from . import decide


def digest(call: Call) -> Act:
    """Resolves the digest of a tag, records it, and prints it."""
    run = begin(call, needs=API, from_record=True, git=("app", "repo_url", "git_ref"))

    def act() -> Record | None:
        run.lock_before_deciding()
        target = decide.target_of_tag(run.settings, run.checkout, run.recorded_here)
        if run.dry:
            run.would_send("GET", f"/registry/{target.image_name}/digest?tag={target.image_tag}")
            run.pretend(target)
            return None
        run.lock()
        before = run.record
        try:
            build_id = run.client.digest(target.image_name or "", tag=target.image_tag or "")
        except DigestNotFound as error:
            raise DigestNotFound(f"{error}. {ways_to_build(run, target.image_tag)}") from error
        if before and before.build_id not in (None, build_id) and before.image_tag != target.image_tag:
            was, now = (f"{one.image_name}:{one.image_tag}" for one in (before, target))
            console.warn(f"the record was of {was} ({images.shortened(before.build_id or '')}), and now is of {now}")
        # A tag says of no build here what was uncommitted; the history does.
        ours = run.state.history().of_image(target.image_name)
        known = next((entry for entry in ours if entry.build_id == build_id), None)
        return result(run, keep(run, target, build_id, dirty=known.dirty if known else None))

    return Act(run, act)


def keep(run: Run, target: Target, build_id: str, **how: Any) -> Record:
    """Records the digest of `target` (see `save`) and tells of it."""
    return say(run, *save(run, target, build_id, **how))


def save(
    run: Run,
    target: Target,
    build_id: str,
    *,
    built: Mapping[str, str | None] | None = None,
    dirty: bool | None = None,
) -> tuple[Record, Record | None]:
    """Records the digest of `target`, for this command line, in the state file and in the history. `built` are the
    fields that HistoryEntry has of a build, where this was one. Returns the record and the one before it.

    StateError where it cannot be written.
    """
    record = Record(**fields_of(target, Target), build_id=build_id, dirty=dirty or None)
    run.remember(record)
    try:
        earlier = run.state.record()
        run.state.save_record(record)
        run.note(history.RECORDED, record, **(built or {}))
    except StateError as error:
        reuse = next_steps.line("reuse", {"build_id": build_id, **flags_of(run, record)})
        raise StateError(f"{error}. The image is there: {reuse}") from error
    return record, earlier


def say(run: Run, record: Record, earlier: Record | None) -> Record:
    """Tells what is recorded now, people and GitHub; and where its tag was another image's in the `earlier` record."""
    build_id = record.build_id or ""
    same_tag = earlier and (earlier.image_name, earlier.image_tag) == (record.image_name, record.image_tag)
    if earlier and same_tag and earlier.build_id != build_id:
        console.warn(f"tag {record.image_tag} points to another image now: {earlier.build_id} → {build_id}")
    console.tell(f"recorded {record.image_name}:{record.image_tag} as {build_id}")
    pinned = images.pinned(run.settings.registry, record.image_name or "", build_id)
    run.output(f"recorded {record.image_name}:{record.image_tag}", {"build-id": build_id, "image": pinned})
    return record


def result(run: Run, record: Record) -> Record:
    """Makes `record` the task's result."""
    run.result(record.build_id or "", record_as_json(record, {}))
    return record


def ways_to_build(run: Run, ref: str | None) -> str:
    """The commands that build what is not in the registry, as a sentence: the commit `ref`, where that is one."""
    by_flag = {key: getattr(run.settings, key) for key in TARGET if run.settings.is_by_flag(key)}
    target = {"app": run.call.name, **by_flag}
    build, here = (f"{next_steps.line(task, target)}{run.rest}" for task in ("build", "local"))
    if not ref or not images.is_commit(ref):
        return f"Build the present commit: {build}, or {here}"
    if ref == run.checkout.commit:
        return f"Build it: {build}, or {here}"
    return f"Build it: {next_steps.line('build', {**target, 'git_ref': ref})}{run.rest}"


def flags_of(run: Run, target: Target | Record) -> dict[str, object]:
    """The flags that say `target`, as far as they are needed."""
    if run.call.name:
        own = TARGET[1:]
        said = [key for key in own if run.settings.is_by_flag(key)]
        differs = [key for key in own if getattr(target, key) not in (None, getattr(run.settings, key))]
        return {"app": run.call.name, **{key: getattr(target, key) for key in own if key in (*said, *differs)}}
    app_class = target.app_class or DEFAULT_APP_CLASS
    usual = {"image_name": target.app, "app_class": DEFAULT_APP_CLASS, "namespace": APP_CLASSES[app_class]}
    needed = {key: getattr(target, key) for key, value in usual.items() if getattr(target, key) not in (None, value)}
    return {"app": target.app, **needed}
