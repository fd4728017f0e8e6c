"""The digest of an image: found by its tag, recorded, told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import console, decide, history, images
from .errors import DigestNotFound, StateError
from .models import BuildInFlight, Record, Target, fields_of, record_as_json
from .parsing import NAMESPACES
from .run import API, TARGET, Act, Call, Run, begin


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
        try:
            build_id = run.client.digest(target.image_name or "", tag=target.image_tag or "")
        except DigestNotFound as error:
            raise DigestNotFound(f"{error}; build it: {run.command('build')}, or {run.command('local')}") from None
        return result(run, keep(run, target, build_id))

    return Act(run, act)


def keep(run: Run, target: Target, build_id: str, **how: Any) -> Record:
    """`save`, and says so."""
    return say(run, *save(run, target, build_id, **how))


def save(
    run: Run,
    target: Target,
    build_id: str,
    *,
    app_class: str | None = None,
    built: Mapping[str, str | None] | None = None,
    dirty: bool | None = None,
) -> tuple[Record, Record | None]:
    """Records the digest of `target`, for this command line, in the state file and in the history. `built` are the
    fields that HistoryEntry has of a build, where this was one. Returns the record and the one before it.

    StateError where it cannot be written.
    """
    chosen = app_class or run.settings.app_class
    record = Record(**fields_of(target, Target), build_id=build_id, app_class=chosen, dirty=dirty or None)
    run.remember(record)
    try:
        earlier = run.state.record()
        run.state.save_record(record)
        run.note(history.RECORDED, record, **(built or {}))
    except StateError as error:
        reuse = f"invoke reuse --build-id {build_id}{flags_of(run, record)}"
        raise StateError(f"{error}. The image is there: {reuse}") from None
    return record, earlier


def say(run: Run, record: Record, earlier: Record | None) -> Record:
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


def flags_of(run: Run, target: BuildInFlight | Record) -> str:
    """The flags that say `target`, as far as they are needed."""
    if run.call.name:
        keys = [key for key in TARGET[1:] if getattr(target, key) not in (None, getattr(run.settings, key))]
        given = [key for key in TARGET[1:] if run.settings.sources[key].startswith("flag") or key in keys]
        values = {key: getattr(target, key) for key in given}
        return "".join(
            f" --{key.replace('_', '-')} {value}" for key, value in [("app", run.call.name), *values.items()]
        )
    image_name = f" --image-name {target.image_name}" if target.image_name != target.app else ""
    app_class = target.app_class or "business"
    of_class = f" --app-class {app_class}" if app_class != "business" else ""
    namespace = f" --namespace {target.namespace}" if target.namespace not in (None, NAMESPACES[app_class]) else ""
    return f" --app {target.app}{image_name}{of_class}{namespace}"
