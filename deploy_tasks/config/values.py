"""What the value of a setting must be.

Each function takes text, or what Python and YAML give, and returns the value or raises ValueError with what is wrong
with it, never repeating a secret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from .. import images
from ..app_class import APP_CLASSES
from ..hosts import is_loopback
from ..redaction import quoted
from .sources import Origin, Source

T = TypeVar("T")

_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")
_KEY = re.compile(r"[\x21-\x7e]+")
# A day: longer than any build, short enough for every clock and socket option.
_LONGEST_SECONDS = 86_400.0
# Engines build for any name, and no node runs that. Source: `go tool dist list`, whose names images have.
_ARCHITECTURES = {
    "linux": "386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x",
    "windows": "386 amd64 arm arm64",
    "freebsd": "386 amd64 arm arm64 riscv64",
    "wasi": "wasm",
    "wasip1": "wasm",
}
_VARIANT = re.compile(r"v[1-9]")


def of_flag(flag: str, parse: Callable[[Any], T], value: object) -> T:
    """The value of a flag that is no setting."""
    return Origin(Source.FLAG, flag).parsed(parse, value)


def as_text(value: object) -> str:
    """A text, or a whole number as its digits. What a person wrote of a switch, of a number with a point and of a date
    cannot be known any more: True may have been `yes`, and 1.1 `1.10`."""
    if isinstance(value, list | tuple | Mapping):
        raise ValueError("that is a list or a table, where a text is needed")
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ValueError(f"that is a {type(value).__name__}, where a text is needed; put it in quotes")
    text = str(value)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("there is a byte in it that is no UTF-8 text")
    return text


def label(value: object) -> str:
    return images.label(as_text(value))


def image_name(value: object) -> str:
    return images.image_name(as_text(value))


def image_tag(value: object) -> str:
    return images.tag(as_text(value))


def printable(value: object) -> str:
    text = as_text(value)
    if not text.isprintable():
        raise ValueError("there is a control character in it")
    return text


def secret(value: object) -> str:
    # Never quotes the value. A password may hold spaces; a line break in it would end a header or a prompt early.
    text = as_text(value)
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        raise ValueError("the secret has a line break or another control character in it")
    return text


def api_key(value: object) -> str:
    text = as_text(value)
    if not _KEY.fullmatch(text):
        raise ValueError("the key has a space, a line break or a character outside ASCII in it")
    return text


def api_url(value: object) -> str:
    """An https URL, or http to loopback, without user, query or fragment; without its trailing slash."""
    text = as_text(value)
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        # Not from the cause: it quotes what may be a password.
        raise ValueError("the URL of the API is not a URL; it looks like https://deploy.example.com") from None
    if "@" in url.netloc:
        raise ValueError("the URL of the API holds a user or a password; the key goes into DEPLOY_API_KEY")
    if url.scheme not in ("http", "https") or not text.isprintable() or " " in text:
        raise ValueError(f"{quoted(text)} is not an http(s) URL; it looks like https://deploy.example.com")
    if port == 0 or not (is_loopback(host) or _is_host(host)):
        raise ValueError(f"{quoted(text)} has no valid host and port; it looks like https://deploy.example.com")
    if url.scheme == "http" and not is_loopback(host):
        raise ValueError(f"{quoted(text)} would send the key unencrypted; use https://")
    if "?" in text or "#" in text:
        raise ValueError(f"{quoted(text)} has a query or a fragment; the URL of the API ends before those")
    return text.rstrip("/")


def _is_host(host: str) -> bool:
    is_ipv6 = ":" in host and re.fullmatch(r"[0-9a-f:.]+", host) is not None
    return len(host) <= 253 and (is_ipv6 or _HOST.fullmatch(host) is not None)


def registry_host(value: object) -> str:
    text = as_text(value)
    host, colon, port = text.partition(":")
    if not _HOST.fullmatch(host) or (colon and not (port.isdecimal() and port.isascii() and 0 < int(port) < 65536)):
        good = "registry.example.com or localhost:5000"
        raise ValueError(f"{quoted(text)} is not a registry host; it looks like {good}")
    return text


def seconds(value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not 0 < number <= _LONGEST_SECONDS:
        raise ValueError(f"{quoted(value)} is not a time in seconds, above 0 and at most {_LONGEST_SECONDS:.0f}")
    return number


def seconds_or_zero(value: object) -> float:
    """As `seconds`, and 0 for not at all."""
    return 0.0 if str(value) in ("0", "0.0") else seconds(value)


def switch(value: object) -> bool:
    text = str(value).lower()
    if text not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
        raise ValueError(f"{quoted(value)} is neither true nor false")
    return text in ("true", "1", "yes", "on")


def whole_number(what: str, lowest: int, highest: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        text = str(value)
        # YAML reads 010 as eight, a person as ten.
        if not re.fullmatch(r"0|[1-9][0-9]{0,8}", text) or not lowest <= int(text) <= highest:
            hint = ", without a zero before it" if re.fullmatch(r"0[0-9]+", text) else ""
            raise ValueError(f"{quoted(text)} is not {what}: a whole number from {lowest} to {highest}{hint}")
        return int(text)

    return parse


def build_args(value: object) -> tuple[str, ...]:
    """`KEY=VALUE` and `KEY` from a table (a value of null is KEY alone), a list, or text with commas."""
    if isinstance(value, Mapping):
        value = [str(key) if item is None else f"{key}={_part(key, as_text, item)}" for key, item in value.items()]
    arguments = _several(value)
    for text in arguments:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*(=.*)?", text, re.DOTALL):
            shown = re.sub("=.+", "=…", text, flags=re.DOTALL)
            raise ValueError(f"build arg {quoted(shown)} has no name: KEY=VALUE, or KEY")
    return arguments


def variable_names(value: object) -> tuple[str, ...]:
    """Names of environment variables, from a list or from text with commas."""
    names = _several(value)
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"{quoted(name)} is not the name of an environment variable")
    return names


def environment(value: object) -> dict[str, str]:
    """The variables of an app and their values, from a table."""
    if not isinstance(value, Mapping):
        raise ValueError("that is no table of names and values")
    for name, item in value.items():
        if not str(name) or "=" in str(name) or isinstance(item, list | tuple | Mapping):
            raise ValueError(f"{quoted(name)} is not a name with one value")
        if item is None:
            raise ValueError(f"{name} has no value; one from the environment or .env is named in env_from")
    return {str(name): _part(name, as_text, item) for name, item in value.items()}


def _several(value: object) -> tuple[str, ...]:
    """The texts of a list, or of one text with commas."""
    texts = value if isinstance(value, list | tuple) else as_text(value).split(",")
    return tuple(as_text(text).strip() for text in texts)


def _part(key: object, parse: Callable[[Any], T], value: object) -> T:
    """The value of `key` in a table."""
    try:
        return parse(value)
    except ValueError as error:
        raise ValueError(f"{quoted(key)}: {error}") from error


def ports(value: object) -> tuple[dict[str, Any], ...]:
    """Several ports of one app: a list of tables with `port` and `name`."""
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("that is no list of tables with port and name")
    return tuple(_table(entry, {"port": whole_number("a port", 1, 65535), "name": printable}) for entry in value)


def metrics(value: object) -> dict[str, Any]:
    """Where metrics are read: a table with `port`, and if wanted `path`, `scrape_interval`, `scheme`."""
    parts = {"path": path_on_site, "scrape_interval": _duration, "scheme": _scheme}
    return _table(value, {"port": whole_number("a port", 1, 65535), **parts})


def _table(value: object, parts: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """A table with the first of `parts` and, if wanted, the others."""
    if not isinstance(value, Mapping):
        raise ValueError(f"that is no table with {', '.join(parts)}")
    for key in value:
        if key not in parts:
            raise ValueError(f"{unknown('key', str(key), parts)}; it may hold {', '.join(parts)}")
    needed = next(iter(parts))
    if needed not in value:
        raise ValueError(f"{needed} is missing in it")
    return {str(key): _part(key, parts[key], item) for key, item in value.items()}


def _duration(value: object) -> str:
    text = as_text(value)
    if not re.fullmatch(r"([0-9]{1,6}(ms|s|m|h))+", text):
        raise ValueError(f"{quoted(text)} is not a duration; it looks like 30s")
    return text


def _scheme(value: object) -> str:
    if value not in ("http", "https"):
        raise ValueError(f"{quoted(value)} is not a scheme: http or https")
    return str(value)


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Says that there is no `what` called `name`, and which of the `known` ones is the nearest."""
    there = nearest(name, known)
    return f"{quoted(name)} is no {what}{f'; did you mean {there}?' if there else ''}"


def nearest(name: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """Which of the `known` names is most like `name`; None where none is, by difflib's measure from 0 to 1."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, list(known), n=1, cutoff=likeness)), None)


def app_or_apps(value: object) -> str:
    """A Kubernetes name; or several with commas, and `all`, which are names in a table of apps."""
    return ",".join(label(name.strip()) for name in as_text(value).split(","))


def app_class(value: object) -> str:
    if value not in APP_CLASSES:
        raise ValueError(f"{quoted(value)} is not an app class: {' or '.join(APP_CLASSES)}")
    return str(value)


def domains(value: object) -> tuple[str, ...]:
    # One text may hold several, so that DEPLOY_DOMAIN can: `a.example.com, *.example.com`.
    texts: Iterable[object] = value if isinstance(value, list | tuple) else [value]
    domains = tuple(part.strip() for text in texts for part in as_text(text).split(","))
    for domain in domains:
        if not _HOST.fullmatch(domain.removeprefix("*.")) or len(domain) > 253:
            raise ValueError(f"{quoted(domain)} is not a domain; it looks like app.example.com or *.example.com")
    return domains


def path_on_site(value: object) -> str:
    text = printable(value)
    if not text.startswith("/") or " " in text:
        raise ValueError(f"{quoted(text)} is not a path on the site; it looks like /health")
    return text


def file_path(value: object) -> str:
    text = printable(value)
    if text.endswith(("/", "/.", "/..")) or text in (".", ".."):
        raise ValueError(f"{quoted(text)} is not the path of a file")
    return text


def not_a_flag(value: object) -> str:
    """Text that becomes one word of a command or of a request: a leading - would be read as a flag."""
    text = printable(value)
    if text.startswith("-"):
        raise ValueError(f"{quoted(text)} starts with - and would be read as a flag")
    return text


def repo_url(value: object) -> str:
    """What the cluster clones. Only ssh has a user, and nothing has a password or a query: they may be secrets."""
    text = not_a_flag(value)
    if text.startswith(("/", ".", "file:")):
        return text
    scheme, _, rest = text.partition("://") if re.match("[A-Za-z0-9+.-]+://", text) else ("", "", text)
    user, at, host = rest.partition("/")[0].rpartition("@")
    is_ssh = scheme.lower() in ("ssh", "git+ssh") or (not scheme and ":" in host)
    if (at and (":" in user or not is_ssh)) or "?" in text or "#" in text:
        raise ValueError("the repository URL holds a user, a password or a query; a token goes into DEPLOY_GIT_TOKEN")
    if scheme and not re.fullmatch(r"(\[[0-9a-f:.]+\]|[^:]+)(:[0-9]+)?", host, re.IGNORECASE):
        raise ValueError("the repository URL has no valid host and port")
    return text


def platforms(value: object) -> str:
    text = as_text(value)
    for name in text.split(","):
        system, _, rest = name.partition("/")
        architecture, slash, variant = rest.partition("/")
        if architecture not in _ARCHITECTURES.get(system, "").split() or (slash and not _VARIANT.fullmatch(variant)):
            raise ValueError(f"{quoted(name)} is no known platform; it looks like linux/amd64 or linux/arm64")
    return text
