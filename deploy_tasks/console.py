"""People read stderr, programs read stdout; no secret leaves by either."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress

from .errors import DeployError
from .models import encode

_secrets: set[str] = set()
_warned: set[str] = set()


def keep_secret(values: Iterable[str]) -> None:
    """From now on these values are shown as `***` on every way out."""
    # As they are, and as they look inside a JSON text.
    _secrets.update(form for value in values for form in (value, encode(value).decode()[1:-1]))


def redact(text: str) -> str:
    """`text` without any secret value; longer ones first, since one may be part of another."""
    for value in sorted(_secrets, key=len, reverse=True):
        text = text.replace(value, "***")
    return text


class Redactor:
    """Redacts a text that comes in pieces: what may be the beginning of a secret waits for the next piece."""

    def __init__(self) -> None:
        self._waiting = ""

    def feed(self, piece: str) -> str:
        """What of the text up to now can be shown, and was not yet."""
        text = redact(self._waiting + piece)
        kept = max((_overlap(text, secret) for secret in _secrets), default=0)
        self._waiting = text[len(text) - kept :]
        return text[: len(text) - kept]

    def end(self) -> str:
        """What was still waiting when the text ended."""
        return self._waiting


def _overlap(text: str, secret: str) -> int:
    """How many of the last characters of `text` may be the first ones of `secret`."""
    return next((size for size in range(min(len(secret) - 1, len(text)), 0, -1) if text.endswith(secret[:size])), 0)


def tell(text: str) -> None:
    """One thing that a person wants to know, to stderr."""
    # A terminal that went away must not cost the digest; and without a stderr, print would take stdout.
    with suppress(OSError):
        if sys.stderr is not None:
            print(redact(text), file=sys.stderr, flush=True)  # noqa: T201 - the one place that prints for people


def warn(text: str) -> None:
    """Something that a person should look at, to stderr; once, however many tasks notice it."""
    if text not in _warned:
        _warned.add(text)
        tell(f"warning: {text}")


def result(text: str, details: object, *, as_json: bool) -> None:
    """A task's result to stdout: `text` alone on its line, or `details` as one JSON object. By then the task has done
    what it does and recorded it; DeployError where nobody can read it."""
    line = encode(details).decode() if as_json else text
    try:
        print(line, flush=True)  # noqa: T201 - the one place for results
    except OSError as error:
        # What Python still holds of it would fail once more at its end.
        sys.stdout = None
        raise DeployError(f"done, but stdout cannot be written ({error.strerror}); the result: {line}") from None
