"""The operations on builds and their images: start, wait, state, log, cancel; a tag's digest; a deploy by digest."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec
from starlette.responses import Response, StreamingResponse

from .. import images
from . import body
from .apps import Apps, deployable
from .audit import Audit
from .auth import Right
from .interfaces import Author, Build, Builder, Deploy, Refused, Registry, Target, unknown_job
from .metrics import Measured
from .operation import Asked, Operation, answer
from .schemas import (
    BuildRequest,
    BuildStarted,
    Deployed,
    DigestOfTag,
    DigestQuery,
    ImagePath,
    JobState,
    Logs,
    WaitQuery,
)

_LONGEST_WAIT = 3600.0
_FINAL = ("succeeded", "failed")

_log = logging.getLogger(__name__)


class Builds:
    """The operations on builds. While a wait is open, a space is sent every `seconds_a_space` seconds.

    `minimal`: answers have only the fields of the specification.
    """

    def __init__(
        self,
        builder: Builder,
        registry: Registry,
        apps: Apps,
        audit: Audit,
        measured: Measured,
        *,
        seconds_a_space: float,
        minimal: bool,
    ) -> None:
        self._builder, self._registry, self._apps, self._audit = builder, registry, apps, audit
        self._measured, self._seconds_a_space, self._minimal = measured, seconds_a_space, minimal
        self._deploying: asyncio.Task[None] | None = None

    def operations(self) -> list[Operation]:
        job = "/build/{job}"
        return [
            Operation(
                "POST",
                "/build",
                self._build,
                "Build an image, build and deploy it, or deploy one by its digest (buildId)",
                {200: Deployed, 202: BuildStarted},
                errors=(404, 409, 412, 502, 503),
                body=BuildRequest,
                headers=("If-Match", "Idempotency-Key"),
                is_specified=True,
            ),
            Operation(
                "POST",
                f"{job}/wait",
                self._wait,
                "Wait for a build to finish. White space is sent until then, before the JSON",
                {200: JobState},
                errors=(404, 408) if self._minimal else (404,),
                query=WaitQuery,
                is_specified=True,
            ),
            Operation("GET", job, self._status, "How a build stands", {200: JobState}, errors=(404,)),
            Operation("GET", f"{job}/logs", self._logs, "The whole log of a build so far", {200: Logs}, errors=(404,)),
            Operation("DELETE", job, self._cancel, "Cancel a build that is not over", {200: JobState}, errors=(404,)),
            Operation(
                "GET",
                "/registry/{name}/digest",
                self._digest,
                "The digest of an image's tag",
                {200: DigestOfTag},
                errors=(404, 502),
                query=DigestQuery,
                is_specified=True,
            ),
        ]

    @asynccontextmanager
    async def deploying(self) -> AsyncIterator[None]:
        """Within it, each build with `deploy: true` is deployed once it has succeeded, whether or not anyone waits."""
        self._deploying = asyncio.create_task(self._deploy_what_is_built())
        try:
            yield
        finally:
            self._deploying.cancel()
            await asyncio.gather(self._deploying, return_exceptions=True)

    def problem(self) -> str | None:
        """Why no build is deployed now, or None."""
        if self._deploying is None or self._deploying.done():
            return "Builds are not deployed any more. Restart the server."
        return None

    async def end(self) -> None:
        """Ends what runs. Open waits answer with what is known."""
        await self._builder.close()

    async def _deploy_what_is_built(self) -> None:
        while True:
            job, build, digest = await self._builder.next_to_deploy()
            error = None
            try:
                image = images.pinned(self._registry.address, build.image_name, digest)
                deploy = Deploy(build.target, image, deployable(build.config), build.author, build.asked)
                await self._apps.deploy(deploy, None)
            except Refused as refused:
                error = refused.message
            except Exception as unexpected:  # noqa: BLE001 - the next build is deployed all the same
                _log.exception("The deploy after build %s failed", job)
                error = f"The server failed: {type(unexpected).__name__}. Its log says more."
            await self._builder.deployed(job, error)

    async def _build(self, asked: Asked) -> Response:
        request = await asked.body(BuildRequest)
        asked.must("deploy" if request.deploy or request.build_id else "build", request.namespace)
        if request.build_id:
            return await self._deploy(asked, request, request.build_id)
        if self._minimal and request.deploy:
            raise Refused(400, "malformed", "This server builds with deploy: false, and deploys by buildId.")
        if not self._minimal and asked.expected is not None:
            raise Refused(
                400,
                "malformed",
                "If-Match is for a deploy by buildId. Nothing was built. Build with deploy: false first.",
            )
        build = self._asked_for(request, asked.author)
        started = await self._builder.start(build, None if self._minimal else asked.idempotency_key)
        job = started.job.job_name
        if started.is_new:
            self._audit.record("build", build.author, build.target, job=job)
        image = f"{self._registry.address}/{build.image_name}:{build.image_tag}"
        # "pending" even where the job runs by now: a repeated request is answered as the first one was.
        return answer({"jobName": job} if self._minimal else BuildStarted(job, image, "pending"), 202)

    @staticmethod
    def _asked_for(request: BuildRequest, author: Author) -> Build:
        if request.repo_url is None or request.git_ref is None:
            raise Refused(
                400, "malformed", "A build needs repoUrl and gitRef, a deploy needs buildId. Nothing was done."
            )
        commit = request.git_ref if images.is_commit(request.git_ref) else None
        return Build(
            target=Target(request.namespace, request.app),
            author=replace(author, commit=author.commit or commit),
            repo_url=request.repo_url,
            git_ref=request.git_ref,
            git_token=request.git_token,
            dockerfile=request.dockerfile,
            build_context=request.build_context,
            image_name=request.image_name or request.app,
            image_tag=request.image_tag or "latest",
            cache=request.cache,
            config=deployable(request.deploy_config) if request.deploy else None,
            asked=time.time_ns(),
        )

    async def _deploy(self, asked: Asked, request: BuildRequest, digest: str) -> Response:
        if not request.deploy:
            raise Refused(400, "malformed", "A buildId needs deploy: true and a deployConfig. Nothing was done.")
        config, expected = deployable(request.deploy_config), None if self._minimal else asked.expected
        name = request.image_name or request.app
        if await self._registry.digest(name, digest) is None:
            raise Refused(
                404,
                "unknown-digest",
                f"The registry has no manifest {digest} of {name}. Nothing was built, and nothing was deployed. "
                "Build or push it first.",
            )
        image = images.pinned(self._registry.address, name, digest)
        deploy = Deploy(Target(request.namespace, request.app), image, config, asked.author)
        deployed = await self._apps.deploy(deploy, expected)
        return answer({"skipped": True} if self._minimal else deployed)

    async def _wait(self, asked: Asked) -> Response:
        job = await self._job(asked, "read")
        seconds = min(asked.query(WaitQuery).timeout, _LONGEST_WAIT)
        if self._minimal:
            return self._minimal_end(await self._builder.over(job.job_name, seconds))
        if job.status in _FINAL:
            return answer(job)
        return StreamingResponse(self._waiting(job.job_name, seconds), media_type="application/json")

    async def _waiting(self, job: str, seconds: float) -> AsyncIterator[bytes]:
        """White space while the build runs, then its state. Clients and proxies give up on a silent connection."""
        over = asyncio.ensure_future(self._builder.over(job, seconds))
        try:
            with self._measured.open_wait():
                while not (await asyncio.wait({over}, timeout=self._seconds_a_space))[0]:
                    yield b" "
            yield msgspec.json.encode(over.result())
        finally:
            over.cancel()

    @staticmethod
    def _minimal_end(job: JobState) -> Response:
        if job.status not in _FINAL:
            raise Refused(408, "not-over", "The build is not over. Ask again.")
        # The specification has no status; without one in this case, nobody could tell a failed build from a good one.
        return answer(job if job.status == "failed" else {"jobName": job.job_name})

    async def _status(self, asked: Asked) -> Response:
        return answer(await self._job(asked, "read"))

    async def _logs(self, asked: Asked) -> Response:
        job = await self._job(asked, "read")
        return answer(Logs(await self._builder.log(job.job_name)))

    async def _cancel(self, asked: Asked) -> Response:
        job = await self._job(asked, "build")
        cancelled = await self._builder.cancel(job.job_name)
        target = await self._builder.target_of(job.job_name)
        if target and job.status not in _FINAL and cancelled.reason == "cancelled":
            self._audit.record("cancel", asked.author, target, job=job.job_name)
        return answer(cancelled)

    async def _digest(self, asked: Asked) -> Response:
        asked.must("read", None)
        name = body.of_query({"name": asked.path("name")}, ImagePath).name
        tag = asked.query(DigestQuery).tag
        digest = await self._registry.digest(name, tag)
        if digest is None:
            raise Refused(404, "unknown-tag", f"The registry has no tag {tag} of {name}. Build or push it first.")
        if self._minimal:
            return answer({"buildId": digest})
        return answer(DigestOfTag(digest, images.pinned(self._registry.address, name, digest)))

    async def _job(self, asked: Asked, right: Right) -> JobState:
        """The job that the path names. Raises Refused (403; 404 also where the key must not know of it)."""
        name = asked.path("job")
        job, target = await self._builder.job(name), await self._builder.target_of(name)
        if job is None or target is None or not asked.key.sees(target.namespace):
            raise unknown_job()
        asked.must(right, target.namespace)
        return job
