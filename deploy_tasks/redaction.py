"""Redaction of everything that is printed or sent to GitHub: secrets become `***`, control characters are escaped, and
long texts are cut."""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

LONGEST_LINE = 4000
_LONGEST_EXCERPT, _LONGEST_QUOTE = 200, 100
# How many characters of a text are quoted or excerpted at most. A quarter of the bytes that the transport keeps of an
# error answer, so that `redact` makes the cut and can leave out the beginning of a secret there.
_MOST_READ = 1000
_SHORTEST_SECRET, _SHORTEST_ANYWHERE = 6, 12
_HIDDEN = "***"
# The colors on every line of Kaniko's log.
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
# Where a log breaks a secret into lines, and the characters that `plain` replaces.
_BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\xa0\u2028\u2029]+")
# Go escapes these in JSON, for use in HTML.
_GO_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "&<>"})
_WORD = re.compile(r"[\w-]")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# Every form in which a secret may appear, anywhere or as a whole word. Global on purpose: a secret that one part of a
# program knows must not be printed by any other part.
_secrets: set[str] = set()
_words: set[str] = set()


def keep_secret(values: Iterable[str], *, is_named: bool = False) -> None:
    """Redacts these values from now on, in every form; a value of several lines also line by line.

    `is_named`: an app or a build reads the values from named variables, so they may be secrets or not. Then values of
    less than 12 characters are redacted only as whole words, and not at all if they have less than 6 characters or only
    letters: those are ports, switches, and words like `production`.
    """
    for value in values:
        is_word = is_named and len(value) < _SHORTEST_ANYWHERE
        if not value or (is_word and (len(value) < _SHORTEST_SECRET or value.isalpha())):
            continue
        lines = [] if is_word else [line.strip() for line in _BREAKS.split(value)]
        for text in {value, *(line for line in lines if len(line) >= _SHORTEST_SECRET)}:
            raw = text.encode(errors="replace")
            forms = {text, repr(raw)[2:-1]}
            for form in (json.dumps(text), json.dumps(text, ensure_ascii=False), repr(text)):
                forms |= {form[1:-1], form[1:-1].replace("/", "\\/"), form[1:-1].translate(_GO_ESCAPES)}
            for form in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
                forms |= {form, re.sub("%..", lambda found: found[0].lower(), form)}
            # In base64, the characters that do not depend on the surrounding text. The secret starts at one of three
            # positions in a group of three bytes.
            for before in range(3):
                form = binascii.b2a_base64(bytes(before) + raw, newline=False).decode()
                form = form[(0, 2, 3)[before] : (before + len(raw)) * 8 // 6]
                if len(form) >= _SHORTEST_SECRET:
                    forms |= {form, form.replace("+", "-").replace("/", "_")}
            (_words if is_word else _secrets).update(forms)


def redact(text: str, length: int | None = None) -> str:
    """`text` with `***` in place of each secret; secrets that overlap are replaced together. A text longer than
    `length` is cut, before what may be the beginning of a secret. Digests are not redacted for a short secret, whose
    characters they may contain by chance."""
    is_cut = length is not None and len(text) > length
    text = text[:length]
    digests = [found.span() for found in _DIGEST.finditer(text)]
    secrets, cut = list[tuple[int, int]](), len(text)
    for forms, is_word in ((_secrets, False), (_words, True)):
        for form in tuple(forms):  # a copy, since another thread may add to them
            start = text.find(form)
            while start >= 0:
                stop = start + len(form)
                is_part = is_word and (_WORD.match(text[start - 1 : start]) or _WORD.match(text[stop : stop + 1]))
                is_chance = len(form) < _SHORTEST_ANYWHERE and any(a <= start and stop <= b for a, b in digests)
                if not is_part and not is_chance:
                    secrets.append((start, stop))
                start = text.find(form, start + 1)
            if is_cut:
                begun = [size for size in range(1, len(form)) if text.endswith(form[:size])]
                cut = min(cut, len(text) - max(begun, default=0))
    # A secret across the cut is kept whole, and redacted.
    text = text[: max([cut, *(stop for start, stop in secrets if start < cut < stop)])]
    parts, end = [], 0
    for start, stop in sorted(span for span in secrets if span[0] < len(text)):
        if start >= end:
            parts += [text[end:start], _HIDDEN]
        end = max(end, stop)
    return "".join([*parts, text[end:]])


def sanitized(text: str) -> str:
    """`text` as one line that is safe to print: redacted, cut at 4000 characters, and with escapes for characters that
    are not printable, such as control characters, line breaks, and those that change the text's direction."""
    shown = redact(text, LONGEST_LINE)
    if not shown.isprintable():
        shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in shown)
    is_whole = len(text) <= LONGEST_LINE and len(shown) <= LONGEST_LINE
    return shown if is_whole else f"{shown[:LONGEST_LINE]}… (cut)"


def plain(line: str) -> str:
    """A line of a log without colors and tabs, and without text that a progress bar has overwritten."""
    text = line.rstrip("\r")
    text = text[text.rfind("\r") + 1 :]
    shown, rest = text[:LONGEST_LINE], text[LONGEST_LINE:]  # the rest is not shown, and may be huge
    return _STYLE.sub("", shown).expandtabs().replace("\xa0", " ") + rest


def quoted(value: object) -> str:
    """`value` for an error message: in quotes, redacted, without a login, at most 100 characters."""
    text = without_login(redact(str(value), _MOST_READ))
    return repr(text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…")


def without_login(text: str) -> str:
    """A URL or an address without the parts that may be secret: user and password, query, and fragment."""
    # Up to the last @, since a password may contain one.
    text = re.sub(r".+@", "***@", text, flags=re.DOTALL)
    return re.sub(r"([?#]).+", r"\1***", text, flags=re.DOTALL)


def excerpt(output: str | bytes) -> str:
    """The first 200 characters of a response or of a program's output, redacted and escaped."""
    text = output if isinstance(output, str) else output[: 4 * _MOST_READ + 4].decode(errors="replace")
    return sanitized(redact(text, _MOST_READ).strip())[:_LONGEST_EXCERPT] or "nothing"


class Lines:
    """Joins pieces of text into whole lines, so that no secret is split. Of a line that is too long to be shown, it
    keeps one character more than is shown, so that `sanitized` marks the cut."""

    def __init__(self) -> None:
        self._part = ""

    def feed(self, piece: str) -> list[str]:
        """The lines that end in `piece`."""
        first, *others = piece.split("\n")
        lines = [self._part + first[: LONGEST_LINE + 1 - len(self._part)], *others]
        self._part = lines.pop()[: LONGEST_LINE + 1]
        return lines

    def end(self) -> list[str]:
        """The last line, if no line break ended it."""
        part, self._part = self._part, ""
        return [part] if part else []
