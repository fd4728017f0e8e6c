"""The operations about the server itself: health, readiness, metrics, openapi.json."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from .builds import Builds
from .interfaces import Cluster, Refused
from .metrics import Measured
from .openapi import document
from .operation import Asked, Operation, answer
from .schemas import Health


class About:
    """`operations` has the `others` and its own: openapi.json describes all of them."""

    def __init__(self, cluster: Cluster, builds: Builds, measured: Measured, others: Sequence[Operation]) -> None:
        self._cluster, self._builds, self._measured = cluster, builds, measured
        self.operations = [
            *others,
            Operation("GET", "/healthz", self._health, "Whether the server runs", {200: Health}, is_open=True),
            Operation(
                "GET", "/readyz", self._ready, "Whether it can deploy", {200: Health}, errors=(503,), is_open=True
            ),
            Operation("GET", "/metrics", self._metrics, "Numbers for Prometheus", {200: None}, is_open=True),
            Operation("GET", "/openapi.json", self._openapi, "This document", {200: dict}, is_open=True),
        ]
        self._document = document(self.operations)

    async def _health(self, _asked: Asked) -> Response:
        return answer(Health())

    async def _ready(self, _asked: Asked) -> Response:
        if problem := self._builds.problem() or await self._cluster.problem():
            raise Refused(503, "not-ready", problem)
        return answer(Health())

    async def _metrics(self, _asked: Asked) -> Response:
        content, media_type = self._measured.text()
        return Response(content, headers={"Content-Type": media_type})

    async def _openapi(self, _asked: Asked) -> Response:
        return answer(self._document)
