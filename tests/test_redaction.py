"""No secret on any way out, whole, encoded or cut, and no character that does something. (For any text:
test_properties.py.)"""

from __future__ import annotations

import base64
import json
import tracemalloc
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from deploy_tasks.redaction import Lines, excerpt, keep_secret, plain, quoted, redact, sanitized

SECRET = "s3cret/+of?the app"


def test_a_secret_is_known_in_every_form_that_it_is_shown_in() -> None:
    keep_secret(['it\'s "quoted"\\'])
    assert redact('a it\'s "quoted"\\ b') == "a *** b"
    assert redact('{"a": "it\'s \\"quoted\\"\\\\"}') == '{"a": "***"}'
    assert "quoted" not in redact(repr('it\'s "quoted"\\'))


@pytest.mark.parametrize(
    "encoded",
    [
        *(quote(SECRET, safe=""), quote(SECRET), quote_plus(SECRET), quote(SECRET, safe="").lower()),
        *(json.dumps(SECRET), json.dumps(SECRET).replace("/", "\\/"), repr(SECRET), repr(SECRET.encode())),
    ],
)
def test_a_secret_is_known_as_it_stands_in_a_url_and_in_json(encoded: str) -> None:
    keep_secret([SECRET])
    assert "s3cret" not in redact(f"a={encoded}&b")
    assert "***" in redact(f"a={encoded}&b")


@pytest.mark.parametrize("user", ["", "r", "ro", "rob", "robot:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_secret_is_known_in_basic_authentication(user: str, encode: Callable[[bytes], bytes]) -> None:
    keep_secret([SECRET])
    for text in (f"{user}{SECRET}", f"{user}{SECRET}\n"):
        encoded = encode(text.encode()).decode()
        for shown in (redact(encoded), redact(encoded.rstrip("="))):
            assert "***" in shown
            left = [part for part in shown.split("***") if part.strip("=")]
            assert sum(map(len, left)) <= len(encoded) - len(SECRET) * 8 // 6 + 2


def test_a_secret_of_several_lines_is_known_line_by_line() -> None:
    keep_secret(["first of the key\nsecond of the key\n"])
    assert redact("a first of the key b\nsecond of the key") == "a *** b\n***"
    assert redact(json.dumps("first of the key\nsecond of the key\n")) == '"***"'


@pytest.mark.parametrize(
    "line", ['\t"private_key": "s3cret-of-the-app",', "the\ts3cret", "the\xa0s3cret", "the old one\rthe s3cret"]
)
def test_a_secret_is_known_in_a_log_whose_lines_are_made_fit_for_a_terminal(line: str) -> None:
    keep_secret([line, f"{{\n{line}\n}}"])
    assert "s3cret" not in sanitized(plain(f"printed: {line}"))


def test_a_secret_that_begins_another_does_not_give_away_the_rest() -> None:
    keep_secret(["secret-abc", "secret-abcdef"])
    assert redact("x secret-abcdef y") == "x *** y"


def test_a_secret_inside_another_leaves_no_rest_of_it() -> None:
    keep_secret(["the-long-secret", "long"])
    assert redact("x the-long-secret y") == "x *** y"


def test_secrets_that_overlap_leave_no_rest() -> None:
    keep_secret(["bcdef", "abc"])
    assert redact("xabcdefx") == "x***x"


def test_a_secret_in_pieces_is_one() -> None:
    keep_secret(["s3cret-of-the-app"])
    lines = Lines()
    whole = [line for piece in ["a s3c", "ret-of", "-the-app b\nc s3cre"] for line in lines.feed(piece)]
    assert [sanitized(line) for line in [*whole, *lines.end()]] == ["a *** b", "c s3cre"]


@pytest.mark.parametrize("place", range(3980, 4002))
def test_a_line_that_is_cut_in_a_secret_ends_before_it(place: int) -> None:
    keep_secret(["s3cret-of-the-app"])
    assert "s3c" not in sanitized("x" * place + "s3cret-of-the-app" + "y" * 100)


@pytest.mark.parametrize("place", [190, 985, 990, 999])
def test_an_excerpt_that_is_cut_in_a_secret_ends_before_it(place: int) -> None:
    keep_secret(["s3cret-of-the-app"])
    assert "s3c" not in excerpt(b" " * place + b"s3cret-of-the-app" + b"y" * 100)
    assert "s3c" not in excerpt("x" * place + "s3cret-of-the-app" + "y" * 4000)


@pytest.mark.parametrize("place", [90, 95, 99, 985, 999])
def test_a_quotation_that_is_cut_in_a_secret_ends_before_it(place: int) -> None:
    keep_secret(["s3cret-of-the-app"])
    assert "s3c" not in sanitized(quoted("x" * place + "s3cret-of-the-app" + "y" * 4000))
    assert "s3c" not in sanitized(quoted("x" * place + "@s3cret-of-the-app" + "y" * 4000))


def test_a_secret_is_known_in_a_quotation_that_has_both_kinds_of_quotes() -> None:
    keep_secret(["it's-s3cret-of-the-app"])
    assert "s3cret" not in sanitized(quoted("\"it's-s3cret-of-the-app"))


def test_a_secret_is_known_in_json_that_is_made_for_html() -> None:
    keep_secret(["a&s3cret<of-the-app>"])
    assert redact('{"key":"a\\u0026s3cret\\u003cof-the-app\\u003e"}') == '{"key":"***"}'


def test_a_cut_between_two_secrets_that_overlap_shows_neither() -> None:
    keep_secret(["abX-long", "long-Xy"])
    shown = sanitized("." * (4000 - len("abX-long")) + "abX-long-Xy")
    assert "ab" not in shown
    assert shown.endswith("***… (cut)")


def test_a_cut_before_the_beginning_of_a_secret_keeps_the_text_before_it() -> None:
    keep_secret(["begins-with-inner-and-goes-on", "inner"])
    assert sanitized("." * 3983 + "begins-with-inner" + "x" * 100) == "." * 3983 + "… (cut)"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("3000", "port 3000"),
        ("production", "--namespace production"),
        ("v1-beta", "build-v1-beta-api-1"),
        ("eu-west-1", "x_eu-west-1"),
    ],
)
def test_what_an_app_gets_by_name_and_is_no_secret_does_not_blot_out_commands(value: str, shown: str) -> None:
    keep_secret([value], is_named=True)
    assert redact(shown) == shown


@pytest.mark.parametrize("text", ["{}", "user:{}@host", '"{}"', "password={}, next", "{}\n"])
def test_a_short_secret_by_name_is_redacted_as_a_whole_word(text: str) -> None:
    keep_secret(["hunter2"], is_named=True)
    assert redact(text.format("hunter2")) == text.format("***")


def test_a_long_secret_by_name_is_redacted_anywhere() -> None:
    keep_secret(["hunter2hunter2"], is_named=True)
    assert redact("xhunter2hunter2x") == "x***x"


@pytest.mark.parametrize(
    "text",
    [
        *("\x1b]52;c;ZXZpbA==\x07", "\x1b[2J", "\x9b2J", "a\rb", "a\nb", "\x7f", "\x00", "a\tb"),
        *(
            "\u202eabc",
            "\u2066a\u2069",
            "a\u200bb",
            "\ufeffa",
            "a\u2028b",
            "a\u2029b",
            "a\x85b",
            "\udcff",
            "\U000e0041",
        ),
    ],
)
def test_no_character_that_does_something_gets_out(text: str) -> None:
    shown = sanitized(text)
    assert shown.isprintable()
    assert "\\" in shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("\x1b[36mINFO\x1b[0m[0001] ok", "INFO[0001] ok"),
        ("10%\r50%\r100%", "100%"),
        ("dos\r", "dos"),
        ("\x1b]0;title\x07x", "\\x1b]0;title\\x07x"),
        ("a\tb\xa0c", "a       b c"),
        ("x" * 5000, "x" * 4000 + "… (cut)"),
        ("y" * 3995 + "s3cret-of-the-app", "y" * 3995 + "… (cut)"),
        ("s3cret\x1b[0m-of-the-app", "***"),
    ],
)
def test_a_line_of_a_log_is_fit_for_a_terminal(line: str, shown: str) -> None:
    keep_secret(["s3cret-of-the-app"])
    assert sanitized(plain(line)) == shown


def test_a_line_of_60_mb_is_cut_before_it_is_escaped() -> None:
    text = 60_000_000 * "\x9b"
    tracemalloc.start()
    shown = sanitized(plain(text))
    lines = Lines()
    lines.feed(text)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(shown) < 5000
    assert len(sanitized(lines.end()[0])) < 5000
    assert most < 3 * len(text), "escaped it would be four times as long"


@pytest.mark.parametrize("secret", ["a", "0", "sha256", "abab"])
def test_a_digest_stays_whole_where_a_short_secret_is_in_it_by_chance(secret: str) -> None:
    digest = "sha256:" + 32 * "ab"
    keep_secret([secret])
    assert redact(f"registry:5000/shop@{digest}").endswith(f"@{digest}")
    assert redact(f"{secret}, {digest}") == f"***, {digest}"


def test_a_long_secret_is_redacted_in_a_digest_too() -> None:
    keep_secret([16 * "ab"])
    assert 16 * "ab" not in redact("sha256:" + 32 * "ab")
