"""The requests to the Deploy API, and its answers.

Names are snake_case here and camelCase on the wire. A required field is always sent, an optional one only if it differs
from its default. Unknown fields of an answer are ignored. Source: docs/deploy-api.md.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, NamedTuple

from msgspec import Meta

from .. import images
from ..deploy_config import DeployConfig
from ..encoding import JsonObject


class BuildRequest(JsonObject, kw_only=True, frozen=True):
    """`POST /build` to build an image."""

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

    def __repr__(self) -> str:  # without the git token
        return f"BuildRequest({self.app}, {self.repo_url}@{self.git_ref})"


class DeployRequest(JsonObject, kw_only=True, frozen=True):
    """`POST /build` to deploy a digest without a build."""

    app: str
    namespace: str
    image_name: str
    build_id: str
    deploy: bool
    deploy_config: DeployConfig


class RollbackRequest(JsonObject, kw_only=True, frozen=True):
    """`POST /api/apps/<namespace>/<app>/rollback`: restores `revision`, with the fields that `deploy_config` sets."""

    revision: int
    deploy_config: DeployConfig | None = None


# Limits for values in an answer, so that no longer ones are shown.
_Word = Annotated[str, Meta(max_length=100)]
_ImageReference = Annotated[str, Meta(max_length=512)]
_Count = Annotated[int, Meta(ge=0, le=1_000_000)]


class BuildStarted(JsonObject, kw_only=True, frozen=True):
    """The answer to a BuildRequest. `image` is `<registry>/<imageName>:<tag>`, or None if the server does not say."""

    job_name: str
    image: str | None = None

    def __post_init__(self) -> None:
        images.label(self.job_name)

    @property
    def reference(self) -> images.Reference | None:
        """The parts of `image`. None if it is not a valid reference: the job counts anyway."""
        with suppress(ValueError):
            return images.parse(self.image) if self.image else None
        return None


class BuildState(JsonObject, kw_only=True, frozen=True):
    """The answer to a wait or to `GET /build/<job>`. `status` is the phase, or None if the server does not say."""

    status: _Word | None = None
    error: str | None = None
    message: str | None = None


class Refusal(JsonObject, kw_only=True, frozen=True):
    """An error answer of some servers. The specification does not define the field."""

    error: object = None


class BuildLogs(JsonObject, kw_only=True, frozen=True):
    """The answer to `GET /build/<job>/logs`."""

    logs: str


class Log(NamedTuple):
    """The log of a build so far, and its size in bytes on the wire."""

    text: str
    transferred: int


class AppState(JsonObject, kw_only=True, frozen=True):
    """How an app runs: `app` in `GET /api/apps/<namespace>/<app>`. None means that the server does not say."""

    replicas: _Count | None = None
    ready_replicas: _Count = 0
    updated_replicas: _Count | None = None
    image: _ImageReference | None = None

    @property
    def digest(self) -> str | None:
        """The digest that runs, or None if `image` has none."""
        return images.digest_in(self.image)


class Revision(JsonObject, kw_only=True, frozen=True):
    """A deploy, as a server with the feature `app-history` lists it. `commit` may end with `-dirty`; `status` is
    `ready`, `progressing` or `failed`. Source: docs/deploy-api.md, "What the kit's own server adds"."""

    revision: _Count
    image: _ImageReference
    commit: _Word | None = None
    deployed_by: str
    deployed_at: _Word
    deploy_config: DeployConfig | None = None
    status: _Word


class RevisionsAnswer(JsonObject, kw_only=True, frozen=True):
    """The answer to `GET /api/apps/<namespace>/<app>/history`, newest first."""

    history: list[Revision]


class FullAppState(AppState, kw_only=True, frozen=True):
    """How an app runs, from a server with the feature `app-state`: the newest revision, and the `status` of its rollout
    with its `reason` and `message`. Source: see Revision."""

    revision: _Count
    commit: _Word | None = None
    deployed_by: str
    deployed_at: _Word
    deploy_config: DeployConfig | None = None
    status: _Word
    reason: str | None = None
    message: str | None = None


class AppAnswer(JsonObject, kw_only=True, frozen=True):
    """The answer to `GET /api/apps/<namespace>/<app>`."""

    app: AppState


class FullAppAnswer(JsonObject, kw_only=True, frozen=True):
    """The same answer from a server with the feature `app-state`."""

    app: FullAppState


class RevisionChanged(JsonObject, kw_only=True, frozen=True):
    """The answer 412: another revision runs than `If-Match` named. `app` is None if nothing is deployed."""

    app: FullAppState | None = None


class Digest(JsonObject, kw_only=True, frozen=True):
    """The answer to a request for a tag's digest. `image` is the reference of its image, if the server says it."""

    build_id: str
    image: _ImageReference | None = None

    def __post_init__(self) -> None:
        images.digest(self.build_id)


class Deployed(JsonObject, kw_only=True, frozen=True):
    """The answer to a DeployRequest or a RollbackRequest. `skipped`: no build was started. If the server says so,
    `image` is the deployed `<registry>/<imageName>@<buildId>`, `revision` its number, and `unchanged` whether it ran
    already. `status` and `build_id` are not specified, so they may have any type."""

    skipped: bool = False
    success: bool = True
    status: object = None
    build_id: object = None
    job_name: Annotated[str, Meta(max_length=253)] | None = None
    image: str | None = None
    revision: _Count | None = None
    unchanged: bool = False
