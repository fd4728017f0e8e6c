"""What goes to the Deploy API and what comes back.

Names are snake_case here and camelCase on the wire. A required field is always sent, an optional one only if it differs
from its default. Unknown fields of an answer are ignored. Source: docs/deploy-api.md.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from msgspec import Meta

from .. import images
from ..encoding import JsonObject


class BuildRequest(JsonObject, kw_only=True):
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


class Port(JsonObject, kw_only=True):
    """One of several ports of an app. Source: docs/deploy-api.md, "Deploy a digest"."""

    port: int
    name: str | None = None


class Metrics(JsonObject, kw_only=True):
    """Where an app's metrics are read; what is None the API decides. Source: docs/deploy-api.md, "Deploy a digest"."""

    port: int
    path: str | None = None
    scrape_interval: str | None = None
    scheme: str | None = None


class DeployConfig(JsonObject, kw_only=True):
    """How the image runs; `ports` stand in the place of `port`. Source: docs/deploy-api.md, "Deploy a
    digest"."""

    port: int | None = None
    ports: list[Port] | None = None
    replicas: int | None = None
    domain: str | None = None
    domains: list[str] | None = None
    health_path: str | None = None
    tls: bool = True
    env: dict[str, str] = {}  # noqa: RUF012 - msgspec copies it
    metrics: Metrics | None = None
    app_class: str

    def __repr__(self) -> str:
        return f"DeployConfig(port={self.port}, app_class={self.app_class})"


class DeployRequest(JsonObject, kw_only=True):
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


class BuildStarted(JsonObject, kw_only=True):
    """The answer to a BuildRequest; `image` is `<registry>/<imageName>:<tag>` where the server says it."""

    job_name: _JobName
    image: str | None = None

    def __post_init__(self) -> None:
        # A job is not lost to the name of its image.
        if self.image is not None and len(self.image) > 512:
            self.image = None


class BuildState(JsonObject, kw_only=True):
    """The answer of a wait or of `GET /build/<job>`; `status` is the phase, None where the server names none."""

    status: _Word | None = None
    error: str | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        # A build that failed is not lost to the length of the reason.
        self.error, self.message = (text and text[:_LONGEST_REASON] for text in (self.error, self.message))


class BuildLogs(JsonObject, kw_only=True):
    logs: str


class Log(NamedTuple):
    """The log of a build so far, and how many bytes came over the wire for it."""

    text: str
    transferred: int


class AppState(JsonObject, kw_only=True):
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


class AppAnswer(JsonObject, kw_only=True):
    app: AppState


class Digest(JsonObject, kw_only=True):
    """The answer to the question for a tag's digest; `image` is the image that it is of, where the server says it."""

    build_id: _Word
    image: _ImageReference | None = None


class Deployed(JsonObject, kw_only=True):
    """The answer to a DeployRequest. `skipped` says that no build was started, `image` what was deployed, as
    `<registry>/<imageName>@<buildId>`, where the server says it. `status` and `build_id` may be of any type, since no
    page says that they are there."""

    skipped: bool = False
    success: bool = True
    status: object = None
    build_id: object = None
    job_name: _JobName | None = None
    image: str | None = None
