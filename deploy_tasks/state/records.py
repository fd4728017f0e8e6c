"""What the files under `.deploy/` hold. Names are snake_case here and camelCase in JSON."""

from __future__ import annotations

from datetime import datetime, timezone

from ..encoding import JsonObject, fields_of


class Target(JsonObject, kw_only=True):
    """Which image of which app: what a build in flight and a record have in common.

    Every field may be null: other scripts write such files.
    """

    repo_url: str | None = None
    git_ref: str | None = None
    app: str | None = None
    namespace: str | None = None
    image_name: str | None = None
    image_tag: str | None = None
    app_class: str | None = None
    """Which nodes run the app: from `invoke build` to a later `invoke reuse`."""


class Record(Target, kw_only=True):
    """What `.deploy/build-id.json` holds: the seven keys that other scripts write there, too, then ours. `dirty` says
    that the build had uncommitted changes in it."""

    build_id: str | None = None
    dirty: bool | None = None


class BuildInFlight(Target, kw_only=True):
    """A build that was started and whose digest is not recorded yet. `api_url` says which server knows the job;
    `dockerfile`, `build_context` and `asked_image` (`name:tag`, before the server had its say) tell one build of a
    commit from another; `started_at` is UTC, ISO 8601."""

    dockerfile: str | None = None
    build_context: str | None = None
    asked_image: str | None = None
    job_name: str
    api_url: str
    started_at: str


class HistoryEntry(Record, kw_only=True):
    """A line of `.deploy/history.jsonl`: what became of which image, when (UTC, ISO 8601), by whom and by what task.

    `outcome` is one of those in `history.py`; `built` is `cluster` or `local`, None where the task did not
    build; a build in the cluster has its job, its Dockerfile and its context. `api_url` says in which cluster: several
    state files of a folder share one history.
    """

    time: str
    who: str
    what: str
    outcome: str
    api_url: str | None = None
    built: str | None = None
    job_name: str | None = None
    dockerfile: str | None = None
    build_context: str | None = None


_ONLY_OURS = ("app_class", "dirty")


class LockHolder(JsonObject, kw_only=True):
    """Who holds the lock: the process, its task, and since when (UTC, ISO 8601)."""

    pid: int
    task: str
    since: str


def timestamp() -> str:
    """The present, as the state files have it: UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def record_as_json(record: Record, unknown: dict[str, object]) -> dict[str, object]:
    """The record's JSON object: always the seven keys of other scripts, in their order, then ours, then others."""
    fields = dict(sorted(fields_of(record).items(), key=lambda field: field[0] in _ONLY_OURS))
    names = dict(zip(record.__struct_fields__, record.__struct_encode_fields__, strict=True))
    ours = {names[key]: value for key, value in fields.items() if value is not None or key not in _ONLY_OURS}
    return {**ours, **{key: value for key, value in unknown.items() if key not in names.values()}}
