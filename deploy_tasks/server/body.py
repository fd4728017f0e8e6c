"""What a request carries, as one of the types of `schemas.py`: its JSON, or its query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request

from .interfaces import Refused
from .schemas import problem

MOST_BYTES = 1024 * 1024

T = TypeVar("T")


async def read(request: Request, body_type: type[T], most_bytes: int) -> T:
    """The body. Raises Refused: 413 as soon as it has more than `most_bytes`, 400 if it is malformed."""
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > most_bytes:
            raise Refused(413, "body-too-large", f"A body has at most {most_bytes} bytes. Nothing was done.")
    return of_json(bytes(content), body_type)


def of_json(content: bytes, body_type: type[T]) -> T:
    """The object in `content`; one without a field where it is empty. Raises Refused (400)."""
    try:
        # msgspec refuses what no answer could repeat: NaN, numbers without end, half a surrogate pair.
        body = _present(msgspec.json.decode(content or b"{}"))
        if isinstance(body, dict):
            return msgspec.convert(body, body_type)
    except msgspec.ValidationError as error:
        raise _malformed(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, "bad-json", f"The body is not JSON: {error}. Nothing was done.") from error
    raise Refused(400, "bad-json", "The body is not a JSON object. Nothing was done.")


def of_query(query: Mapping[str, str], query_type: type[T]) -> T:
    """A query, or the parts of a path. Raises Refused (400)."""
    try:
        return msgspec.convert(_present(dict(query)), query_type, strict=False)
    except msgspec.ValidationError as error:
        raise _malformed(error) from error


def _present(value: Any, *, is_env: bool = False) -> Any:
    """`value` without null and empty texts, which clients send for what they lack. A variable may be empty."""
    if isinstance(value, list):
        return [_present(inner) for inner in value if inner not in (None, "")]
    if isinstance(value, dict):
        return {
            key: _present(inner, is_env=key == "env")
            for key, inner in value.items()
            if inner is not None and (inner != "" or is_env)
        }
    return value


def _malformed(error: msgspec.ValidationError) -> Refused:
    what, where = problem(error)
    return Refused(
        400,
        "malformed",
        f"{where or 'The request'}: {what}. Nothing was done. GET /openapi.json describes every field.",
    )
