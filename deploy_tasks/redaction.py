"""The one place that knows every secret value, and that makes a text fit to leave: redacted, cut, escaped."""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

LONGEST_LINE = 4000
_LONGEST_EXCERPT = 200
_LONGEST_QUOTE = 100
# At most a quarter of the bytes that the transport keeps of a refusal: a longer text was cut here and not there.
_MOST_LOOKED_AT = 1000
_SHORTEST_SECRET = 6
_SHORTEST_ANYWHERE = 12
_HIDDEN = "***"
# Colours, as Kaniko has them on every line.
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
# Where a log breaks a secret into several lines, and what `plain` replaces in a line.
_BROKEN_AT = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\xa0\u2028\u2029]+")
# As Go writes JSON, so that it can stand in HTML.
_GO_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "&<>"})
_WORD = re.compile(r"[\w-]")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# Every form in which a secret may be shown; those in `_words` count only where they stand as a whole word.
_secrets: set[str] = set()
_words: set[str] = set()


def keep_secret(values: Iterable[str]) -> None:
    """From now on these values are shown as `***` on every way out."""
    for value in values:
        _secrets.update(_forms(value))
        if len(parts := _BROKEN_AT.split(value)) > 1:
            shown = (part.strip() for part in parts)
            _secrets.update(form for part in shown if len(part) >= _SHORTEST_SECRET for form in _forms(part))


def keep_named_secret(values: Iterable[str]) -> None:
    """As `keep_secret`, for what an app or a build gets by name, which may be a secret or not. A value of less than 12
    characters is redacted only where it is a whole word; one of less than 6, and one of letters alone, is a port, a
    switch or a word like `production`, and is not."""
    values = set(values)
    keep_secret(value for value in values if len(value) >= _SHORTEST_ANYWHERE)
    short = (value for value in values if _SHORTEST_SECRET <= len(value) < _SHORTEST_ANYWHERE)
    _words.update(form for value in short if not value.isalpha() for form in _forms(value))


def _forms(value: str) -> Iterator[str]:
    """`value` as it is, and as it looks in JSON, a repr, a URL and base64."""
    if not value:
        return
    raw = value.encode(errors="replace")
    yield value
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False), repr(value)):
        yield from (text[1:-1], text[1:-1].replace("/", "\\/"), text[1:-1].translate(_GO_ESCAPES))
    yield repr(raw)[2:-1]
    for text in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        yield from (text, re.sub("%..", lambda found: found[0].lower(), text))
    # Of base64, what is the same wherever the value stands in what is encoded: it begins at any of three places in a
    # group of three bytes, and its last character depends on what follows.
    for before in range(3):
        text = binascii.b2a_base64(bytes(before) + raw, newline=False).decode()
        text = text[(0, 2, 3)[before] : (before + len(raw)) * 8 // 6]
        if len(text) >= _SHORTEST_SECRET:
            yield from (text, text.replace("+", "-").replace("/", "_"))


def redact(text: str) -> str:
    """`text` with `***` in the place of every secret. Secrets that overlap are redacted together, so that of none of
    them a rest stays."""
    parts, end = [], 0
    for start, stop in sorted(_found(text)):
        if start >= end:
            parts += [text[end:start], _HIDDEN]
        end = max(end, stop)
    return "".join([*parts, text[end:]]) if parts else text


def _found(text: str) -> Iterator[tuple[int, int]]:
    """Where in `text` each secret begins and ends. A digest may have the letters of a short one in it, by chance, and
    stays whole."""
    digests = [found.span() for found in _DIGEST.finditer(text)]
    for forms, is_word in ((_secrets, False), (_words, True)):
        for form in tuple(forms):  # another thread may add to them
            start = text.find(form)
            while start >= 0:
                stop = start + len(form)
                is_part = is_word and (_WORD.match(text[start - 1 : start]) or _WORD.match(text[stop : stop + 1]))
                is_chance = len(form) < _SHORTEST_ANYWHERE and any(a <= start and stop <= b for a, b in digests)
                if not is_part and not is_chance:
                    yield start, stop
                start = text.find(form, start + 1)


def _beginning(text: str, length: int) -> str:
    """The first `length` characters of `text`, redacted; where that cuts it, without what at their end may be the
    beginning of a secret."""
    if len(text) <= length:
        return redact(text)
    head = text[:length]
    cut = len(head) - max((_begun(head, form) for form in (*_secrets, *_words)), default=0)
    # What is redacted is not cut in its middle.
    return redact(head[: max([cut, *(stop for start, stop in _found(head) if start < cut < stop)])])


def _begun(text: str, form: str) -> int:
    """How many of the last characters of `text` may be the first ones of `form`."""
    end = text[-len(form) + 1 :] if len(form) > 1 else ""
    start = end.find(form[0])
    while start >= 0 and not form.startswith(end[start:]):
        start = end.find(form[0], start + 1)
    return 0 if start < 0 else len(end) - start


class _Escapes(dict[int, str]):
    """For `str.translate`: each character that is not printable as Python writes it."""

    def __missing__(self, code: int) -> str:
        self[code] = chr(code) if chr(code).isprintable() else repr(chr(code))[1:-1]
        return self[code]


_escapes = _Escapes()


def escaped(text: str) -> str:
    """`text` with every character escaped that is not printable: control characters, line breaks, what changes the
    direction of a text or has no width."""
    return text if text.isprintable() else text.translate(_escapes)


def fit(text: str) -> str:
    """`text` as one line that may leave: redacted, escaped, and cut at 4000 characters. It is cut first, since
    escaping 60 MB takes half a minute."""
    shown = escaped(_beginning(text, LONGEST_LINE))
    if len(text) <= LONGEST_LINE and len(shown) <= LONGEST_LINE:
        return shown
    return f"{shown[:LONGEST_LINE]}… (cut)"


def plain(line: str) -> str:
    """A line of a log without colours, tabs, and what a progress bar overwrote."""
    text = line.rstrip("\r")
    text = text[text.rfind("\r") + 1 :]
    shown, rest = text[:LONGEST_LINE], text[LONGEST_LINE:]  # nobody sees the rest, however long
    return _STYLE.sub("", shown).expandtabs().replace("\xa0", " ") + rest


def quoted(value: object) -> str:
    """What somebody gave, as an error repeats it: redacted, in quotes, not too long, and `without_login`."""
    text = without_login(_beginning(str(value), _MOST_LOOKED_AT))
    return repr(text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…")


def without_login(text: str) -> str:
    """`text` without what may be a secret in a URL or an address: a user and a password, a query, a fragment."""
    # To the last @, since a password may hold one.
    text = re.sub(r".+@", "***@", text, flags=re.DOTALL)
    return re.sub(r"([?#]).+", r"\1***", text, flags=re.DOTALL)


def excerpt(said: str | bytes) -> str:
    """The first 200 characters of what somebody else said, redacted and escaped."""
    text = said if isinstance(said, str) else said[: 4 * _MOST_LOOKED_AT + 4].decode(errors="replace")
    return escaped(_beginning(text, _MOST_LOOKED_AT).strip())[:_LONGEST_EXCERPT] or "nothing"


class Lines:
    """A text that comes in pieces, as whole lines, so that a secret is in one piece; of a line that is too long to be
    shown, no more is kept than that takes."""

    def __init__(self) -> None:
        self._part = ""

    def feed(self, piece: str) -> list[str]:
        """The lines that end in `piece`."""
        *lines, part = piece.split("\n")
        if lines:
            lines[0] = self._with_part(lines[0])
            self._part = ""
        self._part = self._with_part(part)
        return lines

    def end(self) -> list[str]:
        """The last line, where no line break ends it."""
        part, self._part = self._part, ""
        return [part] if part else []

    def _with_part(self, text: str) -> str:
        return self._part + text[: max(0, LONGEST_LINE + 1 - len(self._part))]
