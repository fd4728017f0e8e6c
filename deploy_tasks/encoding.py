"""JSON with types: what is decoded becomes a struct with constraints; what is encoded is one line."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class JsonObject(msgspec.Struct, rename="camel", omit_defaults=True):
    """A JSON object with camelCase keys."""


def decode(text: bytes, kind: type[T]) -> T:
    """`text` as a `kind`. Raises ValueError with the path of the field that does not fit."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def convert(value: object, kind: type[T]) -> T:
    """A decoded JSON value as a `kind`. Raises ValueError with the path of the field that does not fit."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def encode(value: object) -> bytes:
    """`value` as one line of JSON."""
    return msgspec.json.encode(value)


def as_builtins(value: object) -> Any:
    """`value` as `encode` would see it: dicts, lists, texts, numbers, None."""
    return msgspec.to_builtins(value)


def as_dict(value: msgspec.Struct) -> dict[str, object]:
    """`value` as the JSON object it would be sent as."""
    built = msgspec.to_builtins(value)
    assert isinstance(built, dict)  # noqa: S101 - a Struct is an object
    return built


def fields_of(value: msgspec.Struct, kind: type[msgspec.Struct] | None = None) -> dict[str, Any]:
    """The fields of `value` by their Python names; only those that `kind` has, where one is given."""
    return {name: getattr(value, name) for name in (kind or type(value)).__struct_fields__}
