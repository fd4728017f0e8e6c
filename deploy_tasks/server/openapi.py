"""`openapi.json`, made from the operations and from the types of what they take and answer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec.structs import FieldInfo, fields

from .operation import Operation
from .schemas import AppPath, ImagePath, JobPath, Refusal

_REASONS = {
    200: "Done",
    202: "Accepted: the build goes on after this answer",
    400: "Malformed; nothing was done",
    401: "The key is missing or unknown",
    403: "The key does not have this right in this namespace",
    404: "What the request names does not exist",
    408: "Not over yet",
    409: "In conflict with an earlier request, or no earlier revision",
    412: "Another revision runs than the one that If-Match names; `app` says what runs",
    413: "The body is too long",
    502: "The registry does not answer",
    503: "Not possible now: `error` says why",
}
_HEADERS = {
    "If-Match": "The revision that must run now; 0 means that the app is not deployed yet",
    "Idempotency-Key": "A repeated request with this key is the same build, and is answered alike",
}
_EVERYWHERE = {
    "X-Deploy-By": "Who deploys, as the client knows it; noted beside the key's name",
    "X-Deploy-Commit": "The commit that is deployed: 40 hex digits, and -dirty where files were changed",
}


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """The OpenAPI document of `operations`."""
    listed = list(operations)
    types = {part for one in listed for part in (one.body, *one.answers.values()) if part is not None}
    paths: dict[str, dict[str, Any]] = {}
    for one in listed:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    _, components = msgspec.json.schema_components(
        [*sorted(types, key=lambda part: part.__name__), Refusal], ref_template="#/components/schemas/{name}"
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Deploy API", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": _of_ecma(components),
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
        },
        "security": [{"key": []}],
    }


def _operation(one: Operation) -> dict[str, Any]:
    errors = {400, *one.errors} if one.is_open is False else set(one.errors)
    if not one.is_open:
        errors |= {401, 403}
    if one.body:
        errors.add(413)
    described: dict[str, Any] = {
        "summary": one.summary,
        "operationId": re.sub(r"\W+", "-", f"{one.method.lower()}{one.path}").strip("-"),
        "responses": {
            **{str(status): _answer(status, answered) for status, answered in one.answers.items()},
            **{str(status): _answer(status, Refusal) for status in sorted(errors)},
            "default": _answer(0, Refusal),
        },
    }
    if parameters := [*_path_parameters(one.path), *_query_parameters(one.query), *_header_parameters(one)]:
        described["parameters"] = parameters
    if one.body:
        described["requestBody"] = {
            "required": any(field.required for field in fields(one.body)),
            "content": {"application/json": {"schema": _schema(one.body)}},
        }
    if one.is_open:
        described["security"] = []
    return described


def _answer(status: int, answered: type | None) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    if answered is not None:
        content = {"application/json": {"schema": _schema(answered)}}
    return {"description": _REASONS.get(status, "Any other error"), "content": content}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    parts = {part.name: part for kind in (AppPath, JobPath, ImagePath) for part in fields(kind)}
    return [_parameter(parts[name], "path") for name in re.findall(r"{(\w+)}", path)]


def _query_parameters(query: type | None) -> list[dict[str, Any]]:
    return [_parameter(field, "query") for field in fields(query)] if query else []


def _header_parameters(one: Operation) -> list[dict[str, Any]]:
    texts = {name: _HEADERS[name] for name in one.headers} | (_EVERYWHERE if one.method != "GET" and one.body else {})
    return [
        {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
        for name, text in texts.items()
    ]


def _parameter(field: FieldInfo, place: str) -> dict[str, Any]:
    described = {"name": field.encode_name, "in": place, "schema": _schema(field.type)}
    return {**described, "required": True} if field.required else described


def _schema(kind: Any) -> Any:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
    return _of_ecma(schema)


def _of_ecma(schema: Any) -> Any:
    r"""`schema` with patterns for JavaScript, which has `$` for the end of the text and no `\Z`."""
    if isinstance(schema, dict):
        return {
            key: value.replace(r"\Z", "$") if key == "pattern" and isinstance(value, str) else _of_ecma(value)
            for key, value in schema.items()
        }
    return [_of_ecma(value) for value in schema] if isinstance(schema, list) else schema
