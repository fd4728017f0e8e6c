"""What the Deploy API takes and answers: one type for each body, from which openapi.json is made.

Source: docs/deploy-api.md. Fields that a type does not name are ignored. An empty text and null mean that a field is
absent: they are taken out before a body is converted (`body.py`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, ValidationError

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
IMAGE_NAME = rf"^{_PART}(?:/{_PART})*\Z"
TAG = r"^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\Z"
DIGEST = r"^sha256:[0-9a-f]{64}\Z"
LABEL = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z"

ImageName = Annotated[str, Meta(pattern=IMAGE_NAME, max_length=255)]
Tag = Annotated[str, Meta(pattern=TAG)]
Digest = Annotated[str, Meta(pattern=DIGEST)]
Label = Annotated[str, Meta(pattern=LABEL)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Replicas = Annotated[int, Meta(ge=0, le=1000)]
_KEY_NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z"
_KEY_NAMESPACE = rf"^\*\Z|{LABEL}"
# No leading dash: these reach a git command line.
_OPERAND = r"^[^-\x00-\x1f\x7f][^\x00-\x1f\x7f]*\Z"
Operand = Annotated[str, Meta(pattern=_OPERAND, max_length=2048)]
AppClass = Literal["business", "non-business"]
BuildStatus = Literal["pending", "running", "succeeded", "failed"]
FailureReason = Literal["build", "cancelled", "deploy"]
RolloutStatus = Literal["ready", "progressing", "failed"]
KeyName = Annotated[str, Meta(pattern=_KEY_NAME)]
KeyNamespace = Annotated[str, Meta(pattern=_KEY_NAMESPACE)]
_IN_WORDS = {
    IMAGE_NAME: "an image name: lower-case words joined by . _ - and /, without a host",
    TAG: "a tag: up to 128 letters, digits, . _ -, not starting with . or -",
    DIGEST: "a digest: sha256: and 64 lower-case hex digits",
    LABEL: "a Kubernetes name: up to 63 lower-case letters, digits and -",
    _OPERAND: "a text without control characters, not starting with -",
    _KEY_NAME: "a name: up to 64 letters, digits, . _ @ -, not starting with . _ @ or -",
    _KEY_NAMESPACE: "a namespace, or * for all of them",
}


def in_words(error: ValidationError) -> str:
    """What is wrong with a value, with the grammar in words in place of its pattern."""
    text = str(error)
    for pattern, words in _IN_WORDS.items():
        text = text.replace(f"`str` matching regex {pattern!r}", words)
    return text


class JsonObject(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A JSON object with keys in camelCase; what has its default is left out of an answer."""


class NamedPort(JsonObject, frozen=True):
    port: Port
    name: str = ""


class Metrics(JsonObject, frozen=True):
    port: Port
    path: str = "/metrics"
    scrape_interval: str = "30s"
    scheme: Literal["http", "https"] = "http"


class DeployConfig(JsonObject, frozen=True):
    """How an app runs. All is optional, since a rollback names only what it changes. A deploy needs `port` or `ports`.

    `env` has texts in a request; in an answer each name has null, since no value ever leaves the server.
    """

    port: Port | None = None
    ports: list[NamedPort] | None = None
    replicas: Replicas | None = None
    domain: str | None = None
    domains: list[str] | None = None
    tls: bool | None = None
    health_path: str | None = None
    app_class: AppClass | None = None
    env: dict[str, str | None] | None = None
    metrics: Metrics | None = None

    def __repr__(self) -> str:  # without the values of variables
        return f"{type(self).__name__}(port={self.port}, replicas={self.replicas})"


class BuildRequest(JsonObject, frozen=True):
    """`POST /build`: a build (`repoUrl` and `gitRef`), a build and then its deploy (`deploy: true`), or the deploy of
    an image that exists (`buildId`)."""

    app: Label
    namespace: Label
    repo_url: Operand | None = None
    git_ref: Operand | None = None
    git_token: str | None = None
    dockerfile: str = "Dockerfile"
    build_context: str = "."
    image_name: ImageName | None = None
    image_tag: Tag | None = None
    cache: bool = True
    deploy: bool = False
    build_id: Digest | None = None
    deploy_config: DeployConfig | None = None

    def __repr__(self) -> str:  # without the token
        return f"BuildRequest({self.app}, {self.namespace})"


class DeployRequest(DeployConfig, frozen=True, kw_only=True):
    """`POST /api/deploy`: the fields of a deployConfig, the app, and its image: a full reference by tag or digest."""

    app: Label
    namespace: Label
    image: Annotated[str, Meta(max_length=512)]


class RollbackRequest(JsonObject, frozen=True):
    """`POST /api/apps/<namespace>/<app>/rollback`: the revision before, unless one is named, with `deployConfig` put
    over it."""

    revision: Annotated[int, Meta(ge=1)] | None = None
    deploy_config: DeployConfig | None = None


class BuildStarted(JsonObject, frozen=True):
    job_name: str
    image: str
    status: BuildStatus


class Deployed(JsonObject, frozen=True):
    """A deploy was accepted. `skipped`: nothing was built. `unchanged`: it ran already; no pod was replaced."""

    image: str
    revision: int
    success: bool
    skipped: bool
    status: Literal["succeeded"]
    unchanged: bool = False


class JobState(JsonObject, frozen=True):
    """A build. `buildId` is the digest of its image once it is over. If it failed, `reason` is `cancelled`, `build`
    or `deploy`, and `error` says why."""

    job_name: str
    status: BuildStatus
    image: str | None = None
    build_id: str | None = None
    reason: FailureReason | None = None
    error: str | None = None


class Logs(JsonObject, frozen=True, omit_defaults=False):
    logs: str


class DigestOfTag(JsonObject, frozen=True):
    build_id: Digest
    image: str


class AppState(JsonObject, frozen=True, omit_defaults=False):
    """What runs. `readyReplicas`, `updatedReplicas` and `availableReplicas` count pods of the newest revision only."""

    name: str
    namespace: str
    image: str
    revision: int
    replicas: int
    ready_replicas: int
    updated_replicas: int
    available_replicas: int
    status: RolloutStatus
    reason: str | None
    message: str | None
    commit: str | None
    deployed_by: str
    deployed_at: str
    deploy_config: DeployConfig


class App(JsonObject, frozen=True):
    app: AppState


class Revision(JsonObject, frozen=True, omit_defaults=False):
    """An accepted deploy. `status` of the newest one is as in AppState, of an earlier one the last that it had."""

    revision: int
    image: str
    commit: str | None
    deployed_by: str
    deployed_at: str
    deploy_config: DeployConfig
    status: RolloutStatus


class History(JsonObject, frozen=True, omit_defaults=False):
    history: list[Revision]


class Refusal(JsonObject, frozen=True):
    """Every error: what happened and what to do, and a word for programs. With 412, `app` is what runs now."""

    error: str
    code: str
    app: AppState | None = None


class Removed(JsonObject, frozen=True):
    """The app and its pods were removed."""

    success: bool


class Health(JsonObject, frozen=True, omit_defaults=False):
    status: Literal["ok"] = "ok"


class AppPath(JsonObject, frozen=True):
    namespace: Label
    app: Label


class JobPath(JsonObject, frozen=True):
    job: str


class ImagePath(JsonObject, frozen=True):
    name: ImageName


class WaitQuery(JsonObject, frozen=True):
    """`timeout` is in seconds; an hour is the most."""

    timeout: Annotated[float, Meta(ge=0)] = 1800.0


class DigestQuery(JsonObject, frozen=True):
    tag: Tag


class LogsQuery(JsonObject, frozen=True):
    """`tail`: the number of lines, counted from the last one. `since`: how many seconds back. `follow`: lines that come
    later as well. `previous`: what containers logged before they were restarted."""

    tail: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    since: Annotated[float, Meta(ge=0)] | None = None
    follow: bool = False
    previous: bool = False
