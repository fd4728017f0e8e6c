"""JSON: decoding checks types, encoding writes one line."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

encode = msgspec.json.encode
as_builtins = msgspec.to_builtins
"""The JSON of a value as dicts, lists, strings, numbers, booleans and None."""


class JsonObject(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """An immutable JSON object with camelCase keys."""


def decode(value: object, kind: type[T]) -> T:
    """The JSON in `value` (bytes, or already decoded) as a `kind`. ValueError names the field with the wrong type."""
    try:
        if isinstance(value, bytes):
            return msgspec.json.decode(value, type=kind)
        return msgspec.convert(value, kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def fields_of(value: msgspec.Struct, kind: type[msgspec.Struct] | None = None) -> dict[str, Any]:
    """The fields of `value` by their Python names; with `kind`, only those that `kind` has too."""
    # Any: the fields are passed on as keyword arguments, whose types mypy cannot compare.
    return {name: getattr(value, name) for name in (kind or type(value)).__struct_fields__}
