"""JSON: decoding checks types, encoding writes one line."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class JsonObject(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """A JSON object with camelCase keys that is never changed."""


def decode(text: bytes, kind: type[T]) -> T:
    """`text` as a `kind`. Raises ValueError that names the field with the wrong type."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def convert(value: object, kind: type[T]) -> T:
    """A decoded JSON value as a `kind`. Raises ValueError that names the field with the wrong type."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def encode(value: object) -> bytes:
    """`value` as one line of JSON."""
    return msgspec.json.encode(value)


def as_builtins(value: object) -> object:
    """`value` as dicts, lists, strings, numbers, booleans and None, as `encode` would write it."""
    return msgspec.to_builtins(value)


def as_dict(value: msgspec.Struct) -> dict[str, object]:
    """`value` as a JSON object."""
    fields: dict[str, object] = msgspec.to_builtins(value)
    return fields


def fields_of(value: msgspec.Struct, kind: type[msgspec.Struct] | None = None) -> dict[str, Any]:
    """The fields of `value` by their Python names; with `kind`, only those that `kind` has too."""
    # Any: the fields are passed on as keyword arguments, whose types mypy cannot compare.
    return {name: getattr(value, name) for name in (kind or type(value)).__struct_fields__}
