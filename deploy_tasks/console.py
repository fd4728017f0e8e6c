"""People read stderr, programs read stdout; no secret leaves by either."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from .models import encode

_secrets: set[str] = set()


def keep_secret(values: Iterable[str]) -> None:
    """From now on these values are shown as `***` on every way out."""
    _secrets.update(value for value in values if value)


def redact(text: str) -> str:
    """`text` without any secret value; longer ones first, since one may be part of another."""
    for value in sorted(_secrets, key=len, reverse=True):
        text = text.replace(value, "***")
    return text


def tell(text: str) -> None:
    """One thing that a person wants to know, to stderr."""
    print(redact(text), file=sys.stderr, flush=True)  # noqa: T201 - the one place that prints for people


def warn(text: str) -> None:
    """Something that a person should look at, to stderr."""
    tell(f"warning: {text}")


def result(text: str, details: object, *, as_json: bool) -> None:
    """A task's result to stdout: `text` alone on its line, or `details` as one JSON object."""
    print(redact(encode(details).decode() if as_json else text), flush=True)  # noqa: T201 - the one place for results
