"""`Operation`, one row of the API, from which routes and openapi.json are made; `Asked`, a request with a known key."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from . import body
from .auth import Key, Right
from .interfaces import Author, Refused

_REVISION = re.compile(r'"?(0|[1-9][0-9]{0,14})"?')
_COMMIT = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})(?:-dirty)?")
_LONGEST_HEADER = 255

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """A request, and the key that it came with."""

    request: Request
    key: Key
    most_bytes: int

    @property
    def author(self) -> Author:
        """Who asks. Malformed `X-Deploy-By` and `X-Deploy-Commit` are ignored."""
        by, commit = (self.request.headers.get(name, "") for name in ("X-Deploy-By", "X-Deploy-Commit"))
        is_shown = by.isprintable() and 0 < len(by) <= _LONGEST_HEADER
        return Author(self.key.name, by if is_shown else None, commit if _COMMIT.fullmatch(commit) else None)

    @property
    def expected(self) -> int | None:
        """The revision that `If-Match` names: 0 is "not deployed yet". Raises Refused (400)."""
        text = self.request.headers.get("If-Match")
        if text is None:
            return None
        found = _REVISION.fullmatch(text.strip())
        if found is None:
            raise Refused(400, "malformed", 'If-Match is one revision, such as "7". Nothing was done.')
        return int(found[1])

    @property
    def idempotency_key(self) -> str | None:
        """`Idempotency-Key`, or None. Raises Refused (400)."""
        text = self.request.headers.get("Idempotency-Key")
        if not text:
            return None
        if len(text) > _LONGEST_HEADER:
            raise Refused(
                400, "malformed", f"Idempotency-Key has at most {_LONGEST_HEADER} characters. Nothing was done."
            )
        return text

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])

    async def body(self, body_type: type[T]) -> T:
        """The body as `body_type`. Raises Refused (400, 413)."""
        return await body.read(self.request, body_type, self.most_bytes)

    def query(self, query_type: type[T]) -> T:
        """The query as `query_type`. Raises Refused (400)."""
        return body.of_query(self.request.query_params, query_type)

    def must(self, right: Right, namespace: str | None) -> None:
        """Raises Refused (403) if the key does not have `right` in `namespace`; None: in any namespace."""
        if not self.key.may(right, namespace):
            where = "any namespace" if namespace is None else f"namespace {namespace}"
            raise Refused(
                403,
                "forbidden",
                f"The key {self.key.name} has no right to {right} in {where}. Nothing was done. Use another key, or "
                "ask whoever runs the server for this right.",
            )


@dataclass(frozen=True)
class Operation:
    """`answers` maps each status of success to the type of its body, None for text. `errors` are the statuses of errors
    beyond those that every operation has. `is_specified`: a minimal server has it too. `is_open`: it needs no key."""

    method: str
    path: str
    handler: Callable[[Asked], Awaitable[Response]]
    summary: str
    answers: Mapping[int, type | None]
    errors: tuple[int, ...] = ()
    body: type | None = None
    query: type | None = None
    headers: tuple[str, ...] = ()
    is_specified: bool = False
    is_open: bool = False


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON."""
    return Response(msgspec.json.encode(value), status, dict(headers or {}), "application/json")
