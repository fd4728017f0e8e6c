"""What goes over the wire and into the state files, typed; JSON stops here.

Field names are snake_case here and camelCase in JSON. A required field is always sent; an optional one only if it
differs from its default. Unknown keys in what comes in are ignored (the record keeps them, see `state.py`).
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from . import images

T = TypeVar("T")


class _Json(msgspec.Struct, rename="camel", omit_defaults=True):
    """A JSON object with camelCase keys."""


APP_CLASSES = {"business": "apps", "non-business": "non-business-apps"}
"""Which nodes run an app: each class with the namespace that it has unless another is named."""
DEFAULT_APP_CLASS = "business"


class BuildRequest(_Json, kw_only=True):
    """`POST /build` that builds. Source: docs/deploy-api.md, "Start a build"."""

    app: str
    namespace: str
    repo_url: str
    git_ref: str
    git_token: str | None = None
    image_tag: str
    cache: bool
    deploy: bool
    image_name: str | None = None
    dockerfile: str | None = None
    build_context: str | None = None

    def __repr__(self) -> str:
        return f"BuildRequest({self.app}, {self.repo_url}@{self.git_ref})"


class Port(_Json, kw_only=True):
    """One of several ports of an app. Source: docs/deploy-api.md, "Deploy a digest"."""

    port: int
    name: str | None = None


class Metrics(_Json, kw_only=True):
    """Where an app's metrics are read; what is None the API decides. Source: docs/deploy-api.md, "Deploy a digest"."""

    port: int
    path: str | None = None
    scrape_interval: str | None = None
    scheme: str | None = None


class DeployConfig(_Json, kw_only=True):
    """How the image runs; `ports` stand in the place of `port`. Source: docs/deploy-api.md, "Deploy a
    digest"."""

    port: int | None = None
    ports: list[Port] | None = None
    replicas: int | None = None
    domain: str | None = None
    domains: list[str] | None = None
    health_path: str | None = None
    tls: bool = True
    env: dict[str, str] = {}
    metrics: Metrics | None = None
    app_class: str

    def __repr__(self) -> str:
        return f"DeployConfig(port={self.port}, app_class={self.app_class})"


class DeployRequest(_Json, kw_only=True):
    """`POST /build` that deploys a digest and builds nothing. Source: docs/deploy-api.md, "Deploy a digest"."""

    app: str
    namespace: str
    image_name: str
    build_id: str
    deploy: bool
    deploy_config: DeployConfig


# What an answer may hold: no server has longer ones, and what is longer is refused before anybody sees it.
_Word = Annotated[str, Meta(max_length=100)]
_JobName = Annotated[str, Meta(max_length=253)]
_ImageReference = Annotated[str, Meta(max_length=512)]
_Count = Annotated[int, Meta(ge=0, le=1_000_000)]
_LONGEST_REASON = 10_000


class BuildStarted(_Json, kw_only=True):
    """The answer to a BuildRequest; `image` is `<registry>/<imageName>:<tag>` where the server says it."""

    job_name: _JobName
    image: str | None = None

    def __post_init__(self) -> None:
        # A job is not lost to the name of its image.
        if self.image is not None and len(self.image) > 512:
            self.image = None


class BuildState(_Json, kw_only=True):
    """The answer of a wait or of `GET /build/<job>`; `status` is the phase, None where the server names none."""

    status: _Word | None = None
    error: str | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        # A build that failed is not lost to the length of the reason.
        self.error, self.message = (text and text[:_LONGEST_REASON] for text in (self.error, self.message))


class BuildLogs(_Json, kw_only=True):
    logs: str


class Log(NamedTuple):
    """The log of a build so far, and how many bytes came over the wire for it."""

    text: str
    transferred: int


class AppState(_Json, kw_only=True):
    """How an app runs, as `GET /api/apps/<namespace>/<app>` has it under `app`; what a server does not say is None."""

    replicas: _Count | None = None
    ready_replicas: _Count = 0
    updated_replicas: _Count | None = None
    image: _ImageReference | None = None

    @property
    def digest(self) -> str | None:
        """What runs, where the server names it by its digest."""
        digest = (self.image or "").partition("@")[2]
        return digest if images.is_digest(digest) else None


class AppAnswer(_Json, kw_only=True):
    app: AppState


class Digest(_Json, kw_only=True):
    """The answer to the question for a tag's digest; `image` is the image that it is of, where the server says it."""

    build_id: _Word
    image: _ImageReference | None = None


class Deployed(_Json, kw_only=True):
    """The answer to a DeployRequest. `skipped` says that no build was started, `image` what was deployed, as
    `<registry>/<imageName>@<buildId>`, where the server says it. `status` and `build_id` may be of any type, since no
    page says that they are there."""

    skipped: bool = False
    success: bool = True
    status: object = None
    build_id: object = None
    job_name: _JobName | None = None
    image: str | None = None


class Target(_Json, kw_only=True):
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


class LockHolder(_Json, kw_only=True):
    """Who holds the lock: the process, its task, and since when (UTC, ISO 8601)."""

    pid: int
    task: str
    since: str


def timestamp() -> str:
    """The present, as the state files have it: UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def decode(text: bytes, kind: type[T]) -> T:
    """`text` as a `kind`. Raises ValueError with the path of the field that does not fit."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def convert(value: object, kind: type[T]) -> T:
    """A decoded JSON value as a `kind`. Raises ValueError with the path of the field that does not fit."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def encode(value: object) -> bytes:
    """`value` as one line of JSON."""
    return msgspec.json.encode(value)


def as_builtins(value: object) -> Any:
    """`value` as `encode` would see it: dicts, lists, texts, numbers, None."""
    return msgspec.to_builtins(value)


def as_dict(value: msgspec.Struct) -> dict[str, object]:
    """`value` as the JSON object it would be sent as."""
    built = msgspec.to_builtins(value)
    assert isinstance(built, dict)  # noqa: S101 - a Struct is an object
    return built


def fields_of(value: msgspec.Struct, kind: type[msgspec.Struct] | None = None) -> dict[str, Any]:
    """The fields of `value` by their Python names; only those that `kind` has, where one is given."""
    return {name: getattr(value, name) for name in (kind or type(value)).__struct_fields__}


def record_as_json(record: Record, unknown: dict[str, object]) -> dict[str, object]:
    """The record's JSON object: always the seven keys of other scripts, in their order, then ours, then others."""
    fields = dict(sorted(fields_of(record).items(), key=lambda field: field[0] in _ONLY_OURS))
    names = dict(zip(record.__struct_fields__, record.__struct_encode_fields__, strict=True))
    ours = {names[key]: value for key, value in fields.items() if value is not None or key not in _ONLY_OURS}
    return {**ours, **{key: value for key, value in unknown.items() if key not in names.values()}}
