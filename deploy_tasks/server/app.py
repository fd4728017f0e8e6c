"""The Deploy API as one application, over a builder, a registry and a cluster: docs/deploy-api.md."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import body
from .about import About
from .apps import Apps
from .audit import Audit
from .auth import Key, Keys
from .builds import Builds
from .interfaces import Builder, Cluster, Refused, Registry
from .metrics import Measured
from .operation import Asked, Operation, answer
from .schemas import Refusal

FEATURES = "app-state, app-history, app-logs, rollback, idempotency-key, cancel, revision-check, remove"

_NOBODY = Key("nobody", (), ())
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class DeployApi(Starlette):
    """The application, made by `create_app`. Call `end` before the server stops, while it still answers."""

    def __init__(
        self,
        operations: Sequence[Operation],
        builds: Builds,
        ending: asyncio.Event,
        routes: Sequence[BaseRoute],
        middleware: Sequence[Middleware],
    ) -> None:
        self.operations = operations
        self._builds, self._ending = builds, ending
        super().__init__(
            routes=routes,
            middleware=middleware,
            exception_handlers={Refused: _refusal, HTTPException: _not_served, ClientDisconnect: _cut},
            lifespan=self._life,
        )
        self.router.redirect_slashes = False

    async def end(self) -> None:
        """Ends builds, and lets open waits and logs answer with what is known."""
        self._ending.set()
        await self._builds.end()

    @asynccontextmanager
    async def _life(self, _app: Starlette) -> AsyncIterator[None]:
        async with self._builds.deploying():
            yield
            if not self._ending.is_set():
                await self.end()


def create_app(
    builder: Builder,
    registry: Registry,
    cluster: Cluster,
    keys: Keys,
    audit: Audit,
    *,
    routes: Sequence[BaseRoute] = (),
    middleware: Sequence[Middleware] = (),
    minimal: bool = False,
    most_body_bytes: int = body.MOST_BYTES,
    seconds_a_space: float = 10.0,
) -> DeployApi:
    """The Deploy API.

    `routes` are served too, without a key. `middleware` sees each request first. With `minimal`, only the operations
    and fields of the specification are served. While a wait is open, a space is sent every `seconds_a_space` seconds.
    """
    measured, ending = Measured(), asyncio.Event()
    apps = Apps(registry, cluster, audit, ending)
    builds = Builds(builder, registry, apps, audit, measured, seconds_a_space=seconds_a_space, minimal=minimal)
    operations = About(cluster, builds, measured, [*builds.operations(), *apps.operations()]).operations
    if minimal:
        operations = [operation for operation in operations if operation.is_specified]
    return DeployApi(
        operations,
        builds,
        ending,
        [*_routes(operations, keys, most_body_bytes), *routes],
        [Middleware(_Envelope, measured, ending, None if minimal else FEATURES), *middleware],
    )


def _routes(operations: Iterable[Operation], keys: Keys, most_body_bytes: int) -> list[Route]:
    of_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        of_path.setdefault(operation.path, {})[operation.method] = operation
    return [
        # The name of an image may have slashes.
        Route(path.replace("{name}", "{name:path}"), _Path(path, methods, keys, most_body_bytes), methods=[*methods])
        for path, methods in of_path.items()
    ]


class _Path:
    """The operations of one path, by their methods: finds the key, then hands the request on."""

    def __init__(self, path: str, operations: dict[str, Operation], keys: Keys, most_body_bytes: int) -> None:
        self.path = path
        self._operations, self._keys, self._most_body_bytes = operations, keys, most_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        operation = self._operations["GET" if request.method == "HEAD" else request.method]
        key = _NOBODY if operation.is_open else self._keys.find(request.headers.get("X-API-Key"))
        if key is None:
            raise Refused(
                401,
                "unknown-key",
                "X-API-Key is missing or unknown. Send a key of this server.",
            )
        response = await operation.handler(Asked(request, key, self._most_body_bytes))
        await response(scope, receive, send)


class _Envelope:
    """Adds the header with the features to every answer, counts it in the metrics, and answers a bug with JSON."""

    def __init__(self, app: ASGIApp, measured: Measured, ending: asyncio.Event, features: str | None) -> None:
        self._app, self._measured, self._ending = app, measured, ending
        self._headers = [(b"deploy-api-features", features.encode())] if features else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *self._headers]}
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            if not status:
                refusal = Refusal("The server failed. Its log says more. The change may have begun.", "internal")
                await answer(refusal, 500)(scope, receive, sending)
            raise  # to the server's log
        except asyncio.CancelledError:
            if not self._ending.is_set():
                raise
            # What is still open is cut: a client that does not send its whole body, or does not read its answer.
            if not status:
                refusal = Refusal("The server is shutting down, and the change may have begun. Ask again.", "ending")
                await answer(refusal, 503)(scope, receive, sending)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            path = getattr(scope.get("endpoint"), "path", "other")
            if status:
                self._measured.answered(method, path, status, time.monotonic() - began)


async def _refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101 - what it is registered for
    return answer(Refusal(error.message, error.code, error.app), error.status)


async def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    if error.status_code == 405:
        message = f"This path does not serve {request.method}. Check the method."
        return answer(Refusal(message, "method-not-allowed"), 405, error.headers)
    return answer(Refusal("Nothing is served at this path. Check the URL.", "unknown-path"), error.status_code)


async def _cut(_request: Request, _error: Exception) -> Response:
    # Nobody reads it: the client went away before the end of its request.
    return answer(Refusal("The request ended early.", "cut"), 400)
