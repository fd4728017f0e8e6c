"""Parsers for the values of settings.

Each takes text, or a value from Python or YAML, and returns the parsed value. ValueError says what is wrong and never
contains a secret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from .. import images
from ..deploy_config import APP_CLASSES
from ..hosts import is_loopback
from ..redaction import quoted, sanitized

_HOST = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?"
_PORT = r"(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
# A day: longer than any build, short enough for every clock and socket option.
_LONGEST_SECONDS = 86_400.0
# Engines accept any name, but no node runs an unknown one. Source: `go tool dist list`, which image platforms follow.
_LINUX = "386|amd64|arm|arm64|loong64|mips|mips64|mips64le|mipsle|ppc64|ppc64le|riscv64|s390x"
_PLATFORM = (
    rf"(?:linux/(?:{_LINUX})|windows/(?:386|amd64|arm|arm64)|freebsd/(?:386|amd64|arm|arm64|riscv64)|wasip?1?/wasm)"
    r"(?:/v[1-9])?"
)


def as_text(value: object, check: Callable[[str], str] = str, *, any_type: bool = False) -> str:
    """The result of `check` for a text or a whole number. ValueError for a list or a table; without `any_type`, also
    for other types, whose original text is lost: True may have been `yes`, and 1.1 `1.10`."""
    if isinstance(value, list | tuple | Mapping):
        raise ValueError("a list or a table is not allowed here, only one value")
    if not any_type and (not isinstance(value, str | int) or isinstance(value, bool)):
        raise ValueError(f"this is a {type(value).__name__}, but a text is needed, so put it in quotes")
    text = str(value)
    if re.search("[\ud800-\udfff]", text):
        raise ValueError("the text has a byte that is not UTF-8")
    return check(text)


def matching(pattern: str, says: str, value: object, *, is_secret: bool = False) -> str:
    """`value` as a printable text that matches `pattern` as a whole. The error is the quoted text and `says`; for a
    secret, only `says`."""
    text = as_text(value)
    if not is_secret and not text.isprintable():
        raise ValueError("the text has a control character")
    if not re.fullmatch(pattern, text):
        raise ValueError(says if is_secret else f"{quoted(text)} {says}")
    return text


_secret = partial(matching, is_secret=True)
# A password may have spaces, but a line break would end a header or a prompt early.
secret = partial(_secret, r"[^\x00-\x1f\x7f]*", "the secret has a line break or another control character")
api_key = partial(_secret, r"[\x21-\x7e]+", "the key has a space, a line break or a character outside ASCII")
printable = partial(matching, ".*", "")
registry_host = partial(
    matching, rf"{_HOST}(?::{_PORT})?", "is not a registry host (it looks like registry.example.com or localhost:5000)"
)
path_on_site = partial(matching, "/[^ ]*", "is not a path on the site (it looks like /health)")
file_path = partial(matching, r"(?:.*/)?(?!\.{1,2}$)[^/]+", "is not the path of a file")
# The text becomes an argument of a command.
not_a_flag = partial(matching, "(?!-).*", "starts with - and would be read as a flag")
platforms = partial(
    matching,
    rf"{_PLATFORM}(?:,{_PLATFORM})*",
    "is not a known platform (it looks like linux/amd64 or linux/amd64,linux/arm64)",
)
app_class = partial(matching, "|".join(APP_CLASSES), f"is not an app class: {' or '.join(APP_CLASSES)}")
_DOMAIN = rf"(?!.{{256}})(?:\*\.)?{_HOST}"
_domain = partial(matching, _DOMAIN, "is not a domain (it looks like app.example.com or *.example.com)")
_variable_name = partial(matching, _NAME, "is not the name of an environment variable")


def api_url(value: object) -> str:
    """An https URL, or http to loopback, without user, query or fragment. Normalized: the host in lower case, no
    default port, no trailing slash."""
    text = as_text(value)
    example = "(it looks like https://deploy.example.com)"
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        # Without the cause: it quotes what may be a password.
        raise ValueError(f"the URL of the API is invalid {example}") from None
    if "@" in url.netloc:
        raise ValueError("the URL of the API has a user or a password, but the key belongs in DEPLOY_API_KEY")
    if url.scheme not in ("http", "https") or not text.isprintable() or " " in text:
        raise ValueError(f"{quoted(text)} is not an http(s) URL {example}")
    is_ipv6 = ":" in host and re.fullmatch(r"[0-9a-f:.]+", host)
    if port == 0 or len(host) > 253 or not (is_loopback(host) or is_ipv6 or re.fullmatch(_HOST, host)):
        raise ValueError(f"{quoted(text)} has no valid host and port {example}")
    if url.scheme == "http" and not is_loopback(host):
        raise ValueError(f"{quoted(text)} would send the key unencrypted, so use https://")
    if "?" in text or "#" in text:
        raise ValueError(f"{quoted(text)} has a query or a fragment, which the URL of the API cannot have")
    # Normalized, so that URLs can be compared.
    netloc = url.netloc.lower().removesuffix(":443" if url.scheme == "https" else ":80")
    return f"{url.scheme}://{netloc}{url.path}".rstrip("/")


def repo_url(value: object) -> str:
    """The URL or path of a repository to clone. A user is allowed only for ssh; a password or a query, which may be a
    secret, never."""
    text = not_a_flag(value)
    if text.startswith(("/", ".", "file:")):
        return text
    scheme, _, rest = text.partition("://") if re.match("[A-Za-z0-9+.-]+://", text) else ("", "", text)
    user, at, host = rest.partition("/")[0].rpartition("@")
    is_ssh = scheme.lower() in ("ssh", "git+ssh") or (not scheme and ":" in host)
    if (at and (":" in user or not is_ssh)) or "?" in text or "#" in text:
        raise ValueError(
            "the repository URL has a user, a password or a query, but a token belongs in DEPLOY_GIT_TOKEN"
        )
    if scheme and not re.fullmatch(r"(\[[0-9a-f:.]+\]|[^:]+)(:[0-9]+)?", host, re.IGNORECASE):
        raise ValueError("the repository URL has no valid host and port")
    return text


def seconds(value: object, *, or_zero: bool = False) -> float:
    """Seconds, above 0 and at most a day; 0 only with `or_zero`."""
    try:
        number = float(as_text(value, any_type=True))
    except ValueError:
        number = math.nan
    if not 0 < number <= _LONGEST_SECONDS and not (or_zero and number == 0):
        raise ValueError(f"{quoted(value)} is not a time in seconds, above 0 and at most {_LONGEST_SECONDS:.0f}")
    return number


seconds_or_zero = partial(seconds, or_zero=True)


def switch(value: object) -> bool:
    text = as_text(value, any_type=True).lower()
    if text not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
        raise ValueError(f"{quoted(value)} is neither true nor false")
    return text in ("true", "1", "yes", "on")


def whole_number(what: str, lowest: int, highest: int, value: object) -> int:
    """A whole number in decimal digits, without a leading zero: YAML reads 010 as eight, a person as ten."""
    text = as_text(value, any_type=True)
    if not re.fullmatch(r"0|[1-9][0-9]{0,8}", text) or not lowest <= int(text) <= highest:
        hint = ", without a leading zero" if re.fullmatch(r"0[0-9]+", text) else ""
        raise ValueError(f"{quoted(text)} is not {what}: a whole number from {lowest} to {highest}{hint}")
    return int(text)


class Port(Struct, frozen=True, forbid_unknown_fields=True):
    """One of several ports of an app."""

    port: Annotated[int, Meta(ge=1, le=65535)]
    name: Annotated[str, Meta(pattern=r"^[ -~]+\Z")] | None = None


class Metrics(Struct, frozen=True, forbid_unknown_fields=True):
    """Where an app's metrics are scraped."""

    port: Annotated[int, Meta(ge=1, le=65535)]
    path: Annotated[str, Meta(pattern=r"^/[!-~]*\Z")] | None = None
    scrape_interval: Annotated[str, Meta(pattern=r"^([0-9]{1,6}(ms|s|m|h))+\Z")] | None = None
    scheme: Literal["http", "https"] | None = None


def _table(kind: Any, keys: Iterable[str], value: object) -> object:  # Any: a type such as tuple[Port, ...]
    try:
        return msgspec.convert(value, kind, strict=False)  # numbers arrive as text
    except msgspec.ValidationError as error:
        raise ValueError(f"{sanitized(str(error))} (allowed keys: {', '.join(keys)})") from error


ports = partial(_table, tuple[Port, ...], Port.__struct_fields__)
metrics = partial(_table, Metrics, Metrics.__struct_fields__)


def several(each: Callable[[str], str], value: object) -> tuple[str, ...]:
    """The texts of a list, or of one text with commas (a list may hold texts with commas), each parsed by `each`."""
    texts = value if isinstance(value, list | tuple) else [value]
    return tuple(each(part.strip()) for text in texts for part in as_text(text).split(","))


domains = partial(several, _domain)
variable_names = partial(several, _variable_name)


def app_names(value: object) -> str:
    """The names of one or more apps (a list, or text with commas), joined with commas."""
    return ",".join(several(images.label, value))


def environment(value: object) -> dict[str, str]:
    """An app's variables, from a table of names and values."""
    if not isinstance(value, Mapping):
        raise ValueError("this is not a table of names and values")
    if wrong := [name for name in value if not str(name) or "=" in str(name)]:
        raise ValueError(f"{quoted(wrong[0])} is not the name of a variable")
    if empty := [name for name, item in value.items() if item is None]:
        raise ValueError(f"{quoted(empty[0])} has no value (to take it from the shell or .env, name it in env_from)")
    return {str(name): _of_key(name, item) for name, item in value.items()}


def build_args(value: object) -> tuple[str, ...]:
    """`KEY=VALUE` and `KEY` from a table (a value of null is KEY alone), a list, or text with commas."""
    if isinstance(value, Mapping):
        arguments = [str(key) if item is None else f"{key}={_of_key(key, item)}" for key, item in value.items()]
    else:
        # A value in a list may have a comma.
        items = value if isinstance(value, list | tuple) else as_text(value).split(",")
        arguments = [as_text(item).strip() for item in items]
    for argument in arguments:
        if not re.fullmatch(rf"{_NAME}(=.*)?", argument, re.DOTALL):
            shown = re.sub("=.+", "=…", argument, flags=re.DOTALL)
            raise ValueError(f"build arg {quoted(shown)} is neither KEY=VALUE nor KEY")
    return tuple(arguments)


def _of_key(key: object, value: object) -> str:
    try:
        return as_text(value)
    except ValueError as error:
        raise ValueError(f"{quoted(key)}: {error}") from error


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """A message that `name` is not `what`, with the most similar of the `known` names."""
    hint = nearest(name, known)
    return f"{quoted(name)} is not {what}{f' (did you mean {hint}?)' if hint else ''}"


def nearest(name: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """The `known` name that is most like `name`, or None; `likeness` is difflib's measure from 0 to 1."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, list(known), n=1, cutoff=likeness)), None)
