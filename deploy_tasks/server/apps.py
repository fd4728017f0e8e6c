"""The operations on apps: deploy, state, history, rollback, logs, remove."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from msgspec.structs import fields, replace
from starlette.responses import Response, StreamingResponse

from .. import images
from .audit import Audit, Change
from .auth import Right
from .interfaces import Author, Cluster, Deploy, Refused, Registry, Target, unknown_app
from .operation import Asked, Operation, answer
from .schemas import (
    App,
    AppState,
    DeployConfig,
    Deployed,
    DeployRequest,
    History,
    LogsQuery,
    Removed,
    Revision,
    RollbackRequest,
)


def deployable(config: DeployConfig | None) -> DeployConfig:
    """`config`, if an app can run with it. Raises Refused (400)."""
    if config is None or not (config.port or config.ports):
        raise Refused(
            400, "no-port", "A deploy needs a deployConfig with port or ports: where the app listens. Nothing was done."
        )
    return config


class Apps:
    """The operations on apps. Streams of logs end when `ending` is set."""

    def __init__(self, registry: Registry, cluster: Cluster, audit: Audit, ending: asyncio.Event) -> None:
        self._registry, self._cluster, self._audit, self._ending = registry, cluster, audit, ending

    def operations(self) -> list[Operation]:
        app = "/api/apps/{namespace}/{app}"
        deployed, if_match = {200: Deployed}, ("If-Match",)
        return [
            Operation(
                "POST",
                "/api/deploy",
                self._deploy_image,
                "Deploy an image by its reference",
                deployed,
                errors=(404, 412, 502),
                body=DeployRequest,
                headers=if_match,
            ),
            Operation("GET", app, self._state, "What runs of an app", {200: App}, errors=(404,)),
            Operation(
                "DELETE", app, self._remove, "End an app, with all that runs of it", {200: Removed}, errors=(404,)
            ),
            Operation("GET", f"{app}/history", self._history, "What ran, newest first", {200: History}, errors=(404,)),
            Operation(
                "POST",
                f"{app}/rollback",
                self._rollback,
                "Deploy an earlier revision again, with the values of its variables",
                deployed,
                errors=(404, 409, 412),
                body=RollbackRequest,
                headers=if_match,
            ),
            Operation(
                "GET",
                f"{app}/logs",
                self._logs,
                "Lines of the app's pods, each led by the pod's name",
                {200: None},
                errors=(404,),
                query=LogsQuery,
            ),
        ]

    async def deploy(self, deploy: Deploy, expected: int | None) -> Deployed:
        """Deploys a checked config and audits it: every deploy except a rollback. Raises Refused (412)."""
        before = await self._cluster.state(deploy.target)
        revision = await self._cluster.deploy(deploy, expected)
        return self._accepted("deploy", deploy.author, deploy.target, revision, before)

    async def _deploy_image(self, asked: Asked) -> Response:
        request = await asked.body(DeployRequest)
        asked.must("deploy", request.namespace)
        config = deployable(DeployConfig(*(getattr(request, field.name) for field in fields(DeployConfig))))
        image = await self._pinned(request.image)
        target = Target(request.namespace, request.app)
        return answer(await self.deploy(Deploy(target, image, config, asked.author), asked.expected))

    async def _pinned(self, image: str) -> str:
        """`image`, by its digest if it is in this server's registry. Raises Refused (400, 404, 502)."""
        try:
            reference = images.parse(image)
        except ValueError as error:
            raise Refused(400, "malformed", f"image: {error}. Nothing was deployed.") from error
        if reference.registry != self._registry.address:
            return image
        named = reference.digest or reference.tag or "latest"
        digest = await self._registry.digest(reference.name, named)
        if digest is None:
            raise Refused(
                404,
                "unknown-digest" if reference.digest else "unknown-tag",
                f"The registry has no {named} of {reference.name}. Nothing was deployed. Build or push it first.",
            )
        return images.pinned(self._registry.address, reference.name, digest)

    async def _state(self, asked: Asked) -> Response:
        _, state = await self._known(asked, "read")
        return answer(App(state))

    async def _history(self, asked: Asked) -> Response:
        target, _ = await self._known(asked, "read")
        return answer(History(await self._cluster.history(target)))

    async def _rollback(self, asked: Asked) -> Response:
        request = await asked.body(RollbackRequest)
        target, before = await self._known(asked, "deploy")
        changes = request.deploy_config or DeployConfig()
        if changes.ports == []:  # an app without a port cannot run
            changes = replace(changes, ports=None)
        revision = await self._cluster.rollback(target, request.revision, changes, asked.author, asked.expected)
        return answer(self._accepted("rollback", asked.author, target, revision, before))

    async def _remove(self, asked: Asked) -> Response:
        target, _ = await self._known(asked, "deploy")
        if not await self._cluster.remove(target):
            raise unknown_app(target)
        self._audit.record("remove", asked.author, target)
        return answer(Removed(success=True))

    async def _logs(self, asked: Asked) -> Response:
        target, _ = await self._known(asked, "read")
        query = asked.query(LogsQuery)
        # The answer to HEAD has no body, so its lines would be awaited for nothing.
        follow = query.follow and asked.request.method == "GET"
        lines = self._cluster.logs(target, query.tail, query.since, follow, query.previous)
        return StreamingResponse(self._until_the_end(lines), media_type="text/plain")

    async def _until_the_end(self, lines: AsyncIterator[str]) -> AsyncIterator[str]:
        """Each of `lines` as it comes, until the server ends."""
        end = asyncio.ensure_future(self._ending.wait())
        try:
            while True:
                line = asyncio.ensure_future(anext(lines, None))
                try:
                    await asyncio.wait({line, end}, return_when=asyncio.FIRST_COMPLETED)
                    text = line.result() if line.done() else None
                finally:
                    line.cancel()
                if text is None:
                    return
                yield f"{text}\n"
        finally:
            end.cancel()

    def _accepted(
        self, change: Change, author: Author, target: Target, revision: Revision, before: AppState | None
    ) -> Deployed:
        is_unchanged = before is not None and before.revision == revision.revision
        if not is_unchanged:
            self._audit.record(change, author, target, image=revision.image, revision=revision.revision)
        return Deployed(revision.image, revision.revision, True, True, "succeeded", is_unchanged)

    async def _known(self, asked: Asked, right: Right) -> tuple[Target, AppState]:
        """The app that the path names, and its state. Raises Refused (403, 404)."""
        target = Target(asked.path("namespace"), asked.path("app"))
        asked.must(right, target.namespace)
        state = await self._cluster.state(target)
        if state is None:
            raise unknown_app(target)
        return target, state
