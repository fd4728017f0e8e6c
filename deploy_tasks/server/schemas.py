"""What the Deploy API takes and answers: one type for each body, from which openapi.json is made.

Source: docs/deploy-api.md. Fields that a type does not name are ignored. An empty text and null mean that a field is
absent: they are taken out before a body is converted (`body.py`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, ValidationError

from .. import images

IMAGE_NAME = rf"^{images.REPOSITORY}\Z"
TAG = rf"^{images.TAG}\Z"
DIGEST = rf"^{images.DIGEST.pattern}\Z"
LABEL = rf"^{images.LABEL}\Z"

_DURATION = "".join(f"(?:[0-9]{{1,9}}{unit})?" for unit in ("y", "w", "d", "h", "m", "s", "ms"))

_SAYS: dict[str, str] = {}


def matching(pattern: str, says: str, max_length: int | None = None) -> Meta:
    """A text that matches `pattern`; `says` is what it is, for people."""
    _SAYS[repr(pattern)] = says
    return Meta(pattern=pattern, max_length=max_length, description=says)


def problem(error: ValidationError) -> tuple[str, str]:
    """What is wrong, in words in place of a pattern, and the path of the field; the path is empty at the top."""
    text, _, place = str(error).partition(" - at `")
    is_name = place.startswith("key` in `")
    path = place.removeprefix("key` in `").strip("`").removeprefix("$").strip(".")
    _, _, pattern = text.partition(" matching regex ")
    what = f"this is not {_SAYS[pattern]}" if pattern in _SAYS else text
    return what, f"a name in {path}" if is_name else path


ImageName = Annotated[
    str, matching(IMAGE_NAME, "an image name: lower-case words joined by . _ - and /, without a host", 255)
]
Tag = Annotated[str, matching(TAG, "an image tag: up to 128 letters, digits, . _ -, not starting with . or -")]
Digest = Annotated[str, matching(DIGEST, "a digest: sha256: and 64 lower-case hex digits")]
Label = Annotated[
    str, matching(LABEL, "a Kubernetes name: up to 63 lower-case letters, digits and -, not - at either end")
]
# What Kubernetes refuses later, when the answer has long said that the deploy is accepted.
# Source: k8s.io/apimachinery/pkg/util/validation, IsValidPortName, IsEnvVarName (relaxed), IsWildcardDNS1123Subdomain.
PortName = Annotated[
    str,
    matching(
        r"^(?=.*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*\Z",
        "the name of a port: up to 15 lower-case letters, digits and single -, with a letter among them",
        15,
    ),
]
Domain = Annotated[
    str,
    matching(
        rf"^(?:\*\.)?{images.LABEL}(?:\.{images.LABEL})*\Z",
        "a domain in lower case, such as app.example.com or *.example.com",
        253,
    ),
]
VariableName = Annotated[str, matching(r"^[ -<>-~]+\Z", "the name of a variable: visible ASCII characters without =")]
VariableValue = Annotated[str, matching(r"^[^\x00]*\Z", "the value of a variable, which may hold anything but NUL")]
# The field of a ServiceMonitor. Source: prometheus-operator, pkg/apis/monitoring/v1, Duration.
Interval = Annotated[str, matching(rf"^(?:0|{_DURATION})\Z", "an interval, such as 30s or 1m30s", 64)]
PathOnSite = Annotated[str, matching(r"^[^\x00-\x20\x7f]+\Z", "a path on the site, such as /health, without spaces")]
Port = Annotated[int, Meta(ge=1, le=65535)]
Replicas = Annotated[int, Meta(ge=0, le=1000)]
# No leading dash: these reach a git command line.
Operand = Annotated[
    str,
    matching(
        r"^[^-\x00-\x1f\x7f][^\x00-\x1f\x7f]*\Z", "a text in one line that does not begin with -, as git takes it", 2048
    ),
]
AppClass = Literal["business", "non-business"]
BuildStatus = Literal["pending", "running", "succeeded", "failed"]
FailureReason = Literal["build", "cancelled", "deploy"]
RolloutStatus = Literal["ready", "progressing", "failed"]


class JsonObject(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A JSON object with keys in camelCase; what has its default is left out of an answer."""


class NamedPort(JsonObject, frozen=True):
    port: Port
    name: PortName = ""


class Metrics(JsonObject, frozen=True):
    port: Port
    path: str = "/metrics"
    scrape_interval: Interval = "30s"
    scheme: Literal["http", "https"] = "http"


class DeployConfig(JsonObject, frozen=True):
    """How an app runs. All is optional, since a rollback names only what it changes. A deploy needs `port` or `ports`.

    `env` has texts in a request; in an answer each name has null, since no value ever leaves the server.
    """

    port: Port | None = None
    ports: list[NamedPort] | None = None
    replicas: Replicas | None = None
    domain: Domain | None = None
    domains: list[Domain] | None = None
    tls: bool | None = None
    health_path: PathOnSite | None = None
    app_class: AppClass | None = None
    env: dict[VariableName, VariableValue | None] | None = None
    metrics: Metrics | None = None

    def __post_init__(self) -> None:
        # A Service has neither two ports of one number nor of one name.
        for what in ("port", "name"):
            values = [value for port in self.ports or () if (value := getattr(port, what))]
            if twice := [value for value in values if values.count(value) > 1]:
                raise ValueError(f"ports has the {what} {twice[0]} twice")

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
