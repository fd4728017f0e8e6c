"""What the Deploy API needs: a builder, a registry and a cluster, and the values that go to them.

`memory/` has those of the sandbox; another implementation must do what these docstrings say.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from .schemas import AppState, DeployConfig, JobState, Revision


class Refused(Exception):
    """The request is refused: HTTP status, a word for programs, and a sentence that says what to do.

    With 412 (another revision runs than the expected one), `app` is what runs now.
    """

    def __init__(self, status: int, code: str, message: str, app: AppState | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.app = status, code, message, app


@dataclass(frozen=True)
class Author:
    """Who asks: the name of the key, and what the client says of itself (`X-Deploy-By`, `X-Deploy-Commit`)."""

    key: str
    by: str | None = None
    commit: str | None = None

    @property
    def shown(self) -> str:
        """The key's name, and the client's word beside it."""
        return f"{self.key} ({self.by})" if self.by else self.key


@dataclass(frozen=True)
class Target:
    """An app in its namespace."""

    namespace: str
    app: str


def unknown_app(target: Target) -> Refused:
    """What answers a request for an app that is not deployed."""
    return Refused(404, "unknown-app", f"Nothing is deployed as {target.app} in {target.namespace}. Deploy it first.")


def unknown_job() -> Refused:
    """What answers a request for a job that the server does not know, or that the key may not know of."""
    return Refused(404, "unknown-job", "There is no such job, or it ended so long ago that it was forgotten.")


@dataclass(frozen=True)
class Deploy:
    """What is to run. `image` has a digest, unless `/api/deploy` names another registry: then it may have a tag.

    `asked` is when the build before it was asked for, in nanoseconds since 1970; None if there was no build.
    """

    target: Target
    image: str
    config: DeployConfig = field(repr=False)
    author: Author
    asked: int | None = None


@dataclass(frozen=True)
class Build:
    """What is to be built. `config` is the deploy that follows, None for a build alone. `git_token` is never shown."""

    target: Target
    author: Author
    repo_url: str
    git_ref: str
    git_token: str | None = field(repr=False)
    dockerfile: str
    build_context: str
    image_name: str
    image_tag: str
    cache: bool
    config: DeployConfig | None = field(repr=False)
    asked: int
    """When, in nanoseconds since 1970."""


@dataclass(frozen=True)
class Started:
    """A job, and whether this request started it. It did not if it repeats an earlier request."""

    job: JobState
    is_new: bool


class Builder(Protocol):
    """Builds images. It owns its jobs, so that a builder in a cluster still has them after a restart of this server."""

    async def start(self, build: Build, idempotency_key: str | None) -> Started:
        """A new job, or the one that this author began with this key. Refused (409) if that was another build.

        A job over the limit of concurrent builds waits as `pending`.
        """

    async def job(self, name: str) -> JobState | None:
        """The job as it stands. `target_of` says whose it is."""

    async def target_of(self, name: str) -> Target | None: ...

    async def log(self, name: str) -> str:
        """The whole log so far: it only ever grows, and ends with a line that says so where it was cut at its limit."""

    async def over(self, name: str, seconds: float) -> JobState:
        """Waits until the job has finished, but at most `seconds`. Returns its state then."""

    async def cancel(self, name: str) -> JobState:
        """Cancels a job: it becomes `failed`, reason `cancelled`. A finished job does not change."""

    async def next_to_deploy(self) -> tuple[str, Build, str]:
        """Waits for a job that is built and is to be deployed: its name, its build, the image's digest."""

    async def deployed(self, name: str, error: str | None) -> None:
        """Ends such a job: well, or as `failed`, reason `deploy`."""

    async def close(self) -> None:
        """Ends what runs, since the server ends; open `over` calls answer with what is known."""


class Registry(Protocol):
    """Knows images. `address` is what a reference begins with: `host[:port]`."""

    address: str

    async def digest(self, name: str, reference: str) -> str | None:
        """The digest of the manifest or index that a tag or a digest names in `name`, or None. Refused (502) if the
        registry cannot be asked."""


class Cluster(Protocol):
    """Runs apps and remembers what ran. `expected` is the revision that must run now (0: none): else Refused (412)."""

    async def deploy(self, deploy: Deploy, expected: int | None) -> Revision:
        """Accepts a deploy: a new revision, or the one that runs where nothing changed, and then no pod is replaced.

        Refused (409, `superseded`) if the deploy follows a build, and what runs was requested after that build was.
        """

    async def state(self, target: Target) -> AppState | None: ...

    async def history(self, target: Target) -> list[Revision]:
        """Newest first, 20 or more; empty where nothing was deployed."""

    async def rollback(
        self, target: Target, revision: int | None, changes: DeployConfig, author: Author, expected: int | None
    ) -> Revision:
        """An earlier revision again, with its commit and the values of its variables, as a new revision. Refused (404,
        409)."""

    def logs(
        self, target: Target, tail: int | None, since: float | None, follow: bool, previous: bool
    ) -> AsyncIterator[str]:
        """Lines of the app's pods, each led by `<pod> `; `since` is in seconds."""

    async def remove(self, target: Target) -> bool:
        """Ends an app; whether there was one."""

    async def problem(self) -> str | None:
        """Why nothing can be deployed now, or None: what `/readyz` answers."""
