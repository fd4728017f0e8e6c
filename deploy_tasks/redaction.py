"""The one place that knows every secret value; what others said, made fit to be shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

_LONGEST_EXCERPT = 200
_MOST_LOOKED_AT = 10_000
_LONGEST_QUOTE = 100
_secrets: set[str] = set()


def keep_secret(values: Iterable[str]) -> None:
    """From now on these values are shown as `***` on every way out."""
    # As they are, and as they look inside a JSON text and inside a repr.
    forms = (form for value in values for form in (value, json.dumps(value)[1:-1], repr(value)[1:-1]))
    _secrets.update(form for form in forms if form)


def redact(text: str) -> str:
    """`text` without any secret value; longer ones first, since one may be part of another."""
    for value in sorted(_secrets, key=len, reverse=True):
        text = text.replace(value, "***")
    return text


def escaped(text: str) -> str:
    """What somebody else said, fit for a terminal: control characters escaped."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def quoted(value: object) -> str:
    """What somebody gave, as an error repeats it: in quotes, not too long, and `without_login`."""
    text = without_login(str(value)[:_MOST_LOOKED_AT])
    return repr(text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…")


def without_login(text: str) -> str:
    """`text` without what may be a secret in a URL or an address: a user and a password, a query, a fragment."""
    # To the last @, since a password may hold one.
    text = re.sub(r".+@", "***@", text, flags=re.DOTALL)
    return re.sub(r"([?#]).+", r"\1***", text, flags=re.DOTALL)


def excerpt(said: str | bytes) -> str:
    """The first 200 characters of what somebody else said, escaped; redacted first, since half a secret is not known
    for one."""
    text = (said if isinstance(said, str) else said.decode(errors="replace"))[:_MOST_LOOKED_AT]
    return escaped(redact(text).strip())[:_LONGEST_EXCERPT] or "nothing"


class Redactor:
    """Redacts a text that comes in pieces: what may be the beginning of a secret waits for the next piece."""

    def __init__(self) -> None:
        self._waiting = ""

    def feed(self, piece: str) -> str:
        """What of the text up to now can be shown, and was not yet."""
        text = self._waiting + piece
        shown = _safe_length(text)
        self._waiting = text[shown:]
        return redact(text[:shown])

    def end(self) -> str:
        """What was still waiting when the text ended."""
        text, self._waiting = self._waiting, ""
        return redact(text)


def _safe_length(text: str) -> int:
    """How much of `text` can be redacted by itself: no secret begins in it and may end behind it."""
    length = len(text) - max((_begun(text, secret) for secret in _secrets), default=0)
    while True:
        windows = ((max(0, length - len(secret) + 1), length + len(secret) - 1, secret) for secret in _secrets)
        across = [start for low, high, secret in windows if 0 <= (start := text.find(secret, low, high)) < length]
        if not across:
            return length
        length = min(across)


def _begun(text: str, secret: str) -> int:
    """How many of the last characters of `text` may be the first ones of `secret`."""
    return next((size for size in range(min(len(secret) - 1, len(text)), 0, -1) if text.endswith(secret[:size])), 0)
