"""No secret on any way out, whole or in pieces. (For any pieces of any text: test_properties.py.)"""

from __future__ import annotations

import pytest

from deploy_tasks.redaction import Redactor, keep_secret, redact


def in_pieces(*pieces: str) -> str:
    redactor = Redactor()
    return "".join([*(redactor.feed(piece) for piece in pieces), redactor.end()])


def test_a_secret_is_known_in_every_form_that_it_is_shown_in() -> None:
    keep_secret(['it\'s "quoted"\\'])
    assert redact('a it\'s "quoted"\\ b') == "a *** b"
    assert redact('{"a": "it\'s \\"quoted\\"\\\\"}') == '{"a": "***"}'
    assert "quoted" not in redact(repr('it\'s "quoted"\\'))


def test_a_secret_that_begins_another_does_not_give_away_the_rest() -> None:
    keep_secret(["secret-abc", "secret-abcdef"])
    assert redact("secret-abcdef") == "***"
    assert in_pieces("x secret-abc", "def y") == "x *** y"


def test_secrets_that_overlap() -> None:
    keep_secret(["abX", "Xy"])
    assert in_pieces("ab", "X", "z") == "***z"


@pytest.mark.parametrize("pieces", [["s3cr", "et"], ["s", "3", "c", "r", "e", "t"], ["s3cret"], ["a s3", "cret b"]])
def test_a_secret_in_pieces_is_one(pieces: list[str]) -> None:
    keep_secret(["s3cret"])
    assert "***" in in_pieces(*pieces)
    assert "s3" not in in_pieces(*pieces)


def test_what_only_looked_like_a_secret_comes_in_the_end() -> None:
    keep_secret(["s3cret"])
    assert in_pieces("a s3", "b", "c s3cre") == "a s3bc s3cre"
