"""The content of the files under `.deploy/`. Names are snake_case here and camelCase in JSON. Times are UTC, ISO
8601."""

from __future__ import annotations

import getpass
import os
from datetime import datetime, timezone

from ..deploy_config import DeployConfig
from ..encoding import JsonObject, as_builtins

# The keys that other scripts read and write too, in the order that they use.
_SHARED_KEYS = ("repoUrl", "gitRef", "app", "namespace", "imageName", "imageTag", "buildId")


class Target(JsonObject, frozen=True, kw_only=True):
    """The target of a build: the app, the image, and the source if it is known."""

    repo_url: str | None = None
    git_ref: str | None = None
    app: str
    namespace: str
    image_name: str
    image_tag: str
    app_class: str


class Record(JsonObject, frozen=True, kw_only=True):
    """The content of `.deploy/build-id.json`. Every field may be None, since other scripts write such files. `dirty`:
    the image was built with uncommitted changes. `environment`: where it was built, or deployed to."""

    repo_url: str | None = None
    git_ref: str | None = None
    app: str | None = None
    namespace: str | None = None
    image_name: str | None = None
    image_tag: str | None = None
    app_class: str | None = None
    build_id: str | None = None
    dirty: bool | None = None
    environment: str | None = None

    @classmethod
    def of(cls, image: Target | Record | Ran | None, **fields: object) -> Record:
        """A record with the fields of `image`, replaced by `fields`."""
        known = {name: getattr(image, name) for name in cls.__struct_fields__ if hasattr(image, name)}
        return cls(**{**known, **fields})


class PlannedBuild(Target, frozen=True, kw_only=True):
    """A build in the cluster at `api_url`. `asked_image` is the `name:tag` to request; the server may use another."""

    git_ref: str
    dockerfile: str | None
    build_context: str | None
    asked_image: str
    environment: str | None
    api_url: str

    def started(self, job_name: str, **fields: str) -> BuildInFlight:
        """This build once it has started as `job_name`, with `fields` in place of its own."""
        own = {name: getattr(self, name) for name in self.__struct_fields__}
        return BuildInFlight(**{"started_at": timestamp(), **own, **fields}, job_name=job_name)


class BuildInFlight(Target, frozen=True, kw_only=True):
    """A build that was started and is not recorded yet. Only the server at `api_url` knows the job. `asked_image` is
    the `name:tag` that was requested; the server may use another."""

    dockerfile: str | None = None
    build_context: str | None = None
    asked_image: str | None = None
    environment: str | None = None
    job_name: str
    api_url: str
    started_at: str


class Ran(JsonObject, frozen=True, kw_only=True):
    """What ran in a cluster at some time; unknown fields are None. `deploy_config` has no values of variables;
    `replicas` is how many were wanted."""

    build_id: str | None = None
    image_name: str | None = None
    git_ref: str | None = None
    dirty: bool | None = None
    deployed_by: str | None = None
    deployed_at: str | None = None
    revision: int | None = None
    deploy_config: DeployConfig | None = None
    replicas: int | None = None


class HistoryEntry(Record, frozen=True, kw_only=True):
    """A line of `.deploy/history.jsonl`: the `outcome` (see `history.py`) of the task `what`, run by `who`.

    `built` is `cluster` or `local`, or None if the task did not build. `api_url` names the cluster, since several state
    files in one folder share a history.
    """

    time: str
    who: str
    what: str
    outcome: str
    api_url: str | None = None
    deploy_config: DeployConfig | None = None
    revision: int | None = None
    replaced: Ran | None = None
    promoted_from: str | None = None
    built: str | None = None
    job_name: str | None = None
    dockerfile: str | None = None
    build_context: str | None = None


class LockHolder(JsonObject, frozen=True, kw_only=True):
    """The process that holds the lock, its task, the time it took the lock, and the cluster (`Settings.cluster`)."""

    pid: int
    task: str
    since: str
    cluster: str | None = None


def timestamp() -> str:
    """The current time, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def who() -> str:
    """The user and the machine: `ann@laptop`."""
    try:
        person = os.environ.get("GITHUB_ACTOR") or getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        person = str(os.getuid())
    # A name with invalid bytes could not be written to a file.
    return f"{person}@{os.uname().nodename}".encode(errors="replace").decode()


def record_as_json(record: Record, found: dict[str, object]) -> dict[str, object]:
    """The JSON object of `record`: the shared keys, which may be null, then the kit's own, then the unknown keys of
    `found`, the object in the file."""
    unknown = {key: value for key, value in found.items() if key not in Record.__struct_encode_fields__}
    return {**dict.fromkeys(_SHARED_KEYS), **as_builtins(record), **unknown}
