"""One frozen `Settings`, resolved in one place; every value knows where it came from.

Precedence: flag, environment, `.env.local`, `.env`, Invoke configuration (`deploy:` in invoke.yaml, `INVOKE_DEPLOY_*`),
the record, git, default. `None` and the empty string are "not given". `TABLE` is the one list of settings: its key is
the flag's name, `deploy.<key>` in the configuration and `DEPLOY_<KEY>` in the environment.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from . import images
from .errors import SettingsError

NAMESPACES = {"business": "apps", "non-business": "non-business-apps"}
_LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1")
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")
_KEY = re.compile(r"[\x21-\x7e]+")
# A day: longer than any build, short enough for every clock and socket option.
_LONGEST_SECONDS = 86_400.0


@dataclass(frozen=True)
class Settings:
    """What a task works with. A value that nobody gave is None; `sources` says where each of the others is from."""

    root: Path
    state_file: Path
    api_url: str | None
    api_key: str | None = field(repr=False)
    api_timeout: float
    registry: str
    registry_username: str | None
    registry_password: str | None = field(repr=False)
    git_token: str | None = field(repr=False)
    app: str | None
    namespace: str
    image_name: str | None
    app_class: str
    port: int | None
    replicas: int | None
    domain: tuple[str, ...]
    health_path: str | None
    docker: str
    platform: str
    dockerfile: str
    build_context: str
    repo_url: str | None
    git_ref: str | None
    image_tag: str | None
    timeout: float
    sources: Mapping[str, str] = field(repr=False)
    flags: frozenset[str] = field(repr=False)
    """The settings that the task has a flag for."""

    def require(self, *keys: str) -> Any:
        """The value of the first of `keys`. Where nobody gave one of them, SettingsError says how to give all that
        are missing."""
        missing = [row for row in TABLE if row.key in keys and getattr(self, row.key) is None]
        if missing:
            ways = [f"{row.flag} or {row.variable}" if row.key in self.flags else row.variable for row in missing]
            raise SettingsError(
                f"not set: {', '.join(ways)}; put variables into the environment or into .env at the project's root; "
                "nothing was sent"
            )
        return getattr(self, keys[0])

    def given(self, key: str) -> Any:
        """The value of `key` if somebody chose it, None if it is a default: what a request may leave to the server."""
        return None if self.sources[key].startswith("default") else getattr(self, key)

    @property
    def secrets(self) -> list[str]:
        """Every secret value, to be redacted on every way out."""
        return [value for row in TABLE if row.secret and (value := getattr(self, row.key))]


class Setting(NamedTuple):
    """One row of the table. `parse` takes the text (or, from Python and YAML, the value) and raises SettingsError."""

    key: str
    parse: Callable[[Any], Any]
    default: Any
    reason: str
    secret: bool = False
    """Secrets have no flag."""

    @property
    def variable(self) -> str:
        return f"DEPLOY_{self.key.upper()}"

    @property
    def flag(self) -> str:
        return f"--{self.key.replace('_', '-')}"


def resolve(
    flags: Mapping[str, object],
    *,
    config: Mapping[str, object],
    environ: Mapping[str, str] = os.environ,
    folder: Path | None = None,
    record: Callable[[Path], Mapping[str, object]] | None = None,
    git: Mapping[str, Callable[[], str | None]] | None = None,
) -> Settings:
    """Settles every setting once.

    `flags` are this call's, by key; `config` is the `deploy` part of the Invoke configuration; `record` tells what an
    earlier build left in a state file, and `git` what the checkout knows, asked only for what nobody gave. The
    project's root is looked for from `folder` up, the current one unless given. Raises SettingsError.
    """
    root = project_root(folder or Path.cwd())
    files = env_files(root, environ.get("DEPLOY_ENV_FILE"))
    _check_known(config)
    recorded: Mapping[str, object] = {}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for row in TABLE:
        found = [
            (f"flag {row.flag}", flags.get(row.key)),
            (f"environment {row.variable}", environ.get(row.variable)),
            *((f"{name} {row.variable}", content.get(row.variable)) for name, content in files.items()),
            (f"configuration deploy.{row.key}", _configured(config, row.key, environ)),
            ("the record", recorded.get(row.key)),
        ]
        source, value = next(((source, value) for source, value in found if _is_given(value)), ("git", None))
        if value is None and git and row.key in git:
            value = git[row.key]()
        if value is None:
            source, value = "default", row.default
        values[row.key] = None if value is None else _parsed(row, value, source)
        sources[row.key] = source
        if row.key == "state_file":
            values["state_file"] = root / values["state_file"]
            recorded = record(values["state_file"]) if record else {}
        if row.key == "app" and recorded.get("app") not in (None, values["app"]):
            recorded = {}  # another app's record says nothing about this one
    if sources["namespace"] == "the record" and sources["app_class"] not in ("the record", "default"):
        values["namespace"] = None  # a class that was just chosen outweighs where an earlier build went
    if values["namespace"] is None:
        values["namespace"], sources["namespace"] = NAMESPACES[values["app_class"]], "default of app_class"
    if values["image_name"] is None:
        values["image_name"], sources["image_name"] = values["app"], "default of app"
    return Settings(root=root, sources=sources, flags=frozenset(flags), **values)


def project_root(folder: Path) -> Path:
    """The nearest folder, from `folder` up, that has a `tasks.py` or a `.git`; `folder` itself where none has."""
    candidates = (folder, *folder.parents)
    return next((place for place in candidates if (place / "tasks.py").is_file() or (place / ".git").exists()), folder)


def env_files(root: Path, named: str | None) -> dict[str, Mapping[str, str]]:
    """The `.env` files that count, strongest first, each by its name with its values; `os.environ` is left alone.

    `named` (DEPLOY_ENV_FILE) takes the place of `.env.local` and `.env` at the project's root.
    """
    if named:
        path = Path(named).expanduser()
        if not path.exists():
            raise SettingsError(f"DEPLOY_ENV_FILE names {named}, which is not there; nothing was sent")
        return {named: _read_env_file(path)}
    paths = (root / ".env.local", root / ".env")
    return {path.name: _read_env_file(path) for path in paths if path.exists() or path.is_symlink()}


def _read_env_file(path: Path) -> Mapping[str, str]:
    # Parsed and never loaded: a loaded .env has set HTTPS_PROXY, DOCKER_HOST and LD_PRELOAD. Without interpolation,
    # which eats ${…} even in single quotes. A parse warning is an error, since a dropped key goes unnoticed.
    from dotenv.parser import parse_stream

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SettingsError(f"{path} is not a regular file; nothing was sent")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}); nothing was sent") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text; save it as UTF-8; nothing was sent") from None
    values = {}
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            # The statement itself may hold a secret, so only its place is told.
            raise SettingsError(f"{path}, line {binding.original.line}: not KEY=value (a quote that is not closed?)")
        if binding.key is not None and binding.value:
            values[binding.key] = binding.value
    return values


def _check_known(config: Mapping[str, object]) -> None:
    known = [row.key for row in TABLE]
    for key in config:
        if key not in known:
            nearest = next(iter(get_close_matches(key, known, n=1)), None)
            hint = f"; did you mean deploy.{nearest}?" if nearest else ""
            raise SettingsError(f"configuration deploy.{key} is no setting{hint}; nothing was sent")


def _configured(config: Mapping[str, object], key: str, environ: Mapping[str, str]) -> object:
    # Invoke reads INVOKE_DEPLOY_* only for keys that its configuration holds already, and ours are not put there: a
    # shallow merge at a developer's root collection would delete them.
    return config[key] if key in config else environ.get(f"INVOKE_DEPLOY_{key.upper()}")


def _is_given(value: object) -> bool:
    return value is not None and value not in ("", [], ())


def _parsed(row: Setting, value: object, source: str) -> Any:
    if row.secret and source.startswith("flag"):
        raise SettingsError(f"a secret has no flag, since a command line is no place for one: set {row.variable}")
    try:
        return row.parse(value)
    except SettingsError as error:
        raise SettingsError(f"{source}: {error}; nothing was sent") from None


# --- what a value must be -------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    text = str(value)
    if not text.isprintable():
        raise SettingsError("there is a control character in it")
    return text


def _secret(value: object) -> str:
    # Never quotes the value. A password may hold spaces; a line break in it would end a header or a prompt early.
    text = str(value)
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        raise SettingsError("the secret has a line break or another control character in it")
    return text


def _api_key(value: object) -> str:
    text = str(value)
    if not _KEY.fullmatch(text):
        raise SettingsError("the key has a space, a line break or a character outside ASCII in it")
    return text


def _api_url(value: object) -> str:
    """An https URL, or http to loopback, without user, query or fragment; without its trailing slash."""
    text = str(value)
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        raise SettingsError("the URL of the API is not a URL; it looks like https://deploy.example.com") from None
    if "@" in url.netloc:
        raise SettingsError("the URL of the API holds a user or a password; the key goes into DEPLOY_API_KEY")
    if url.scheme not in ("http", "https") or not text.isprintable() or " " in text:
        raise SettingsError(f"{text!r} is not an http(s) URL; it looks like https://deploy.example.com")
    if port == 0 or not (_LOOPBACK.fullmatch(host) or _is_host(host)):
        raise SettingsError(f"{text!r} has no valid host and port; it looks like https://deploy.example.com")
    if url.scheme == "http" and not _LOOPBACK.fullmatch(host):
        raise SettingsError(f"{text!r} would send the key unencrypted; use https://")
    if url.query or url.fragment:
        raise SettingsError(f"{text!r} has a query or a fragment; the URL of the API ends before those")
    return text.rstrip("/")


def _is_host(host: str) -> bool:
    is_ipv6 = ":" in host and re.fullmatch(r"[0-9a-f:.]+", host) is not None
    return len(host) <= 253 and (is_ipv6 or _HOST.fullmatch(host) is not None)


def _registry(value: object) -> str:
    text = str(value)
    host, colon, port = text.partition(":")
    if not _HOST.fullmatch(host) or (colon and not (port.isdecimal() and port.isascii() and 0 < int(port) < 65536)):
        raise SettingsError(f"{text!r} is not a registry host; it looks like registry.example.com or localhost:5000")
    return text


def _seconds(value: object) -> float:
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise SettingsError(f"{str(value)!r} is not a time in seconds, above 0 and at most {_LONGEST_SECONDS:.0f}")
    return seconds


def _whole_number(what: str, lowest: int, highest: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        text = str(value)
        if not re.fullmatch(r"[0-9]{1,9}", text) or not lowest <= int(text) <= highest:
            raise SettingsError(f"{text!r} is not {what}: a whole number from {lowest} to {highest}")
        return int(text)

    return parse


def _app_class(value: object) -> str:
    if value not in NAMESPACES:
        raise SettingsError(f"{str(value)!r} is not an app class: {' or '.join(NAMESPACES)}")
    return str(value)


def _domains(value: object) -> tuple[str, ...]:
    # One text may hold several, so that DEPLOY_DOMAIN can: `a.example.com, *.example.com`.
    texts: Iterable[object] = value if isinstance(value, list | tuple) else str(value).split(",")
    domains = tuple(str(text).strip() for text in texts)
    for domain in domains:
        if not _HOST.fullmatch(domain.removeprefix("*.")) or len(domain) > 253:
            raise SettingsError(f"{domain!r} is not a domain; it looks like app.example.com or *.example.com")
    return domains


def _path_on_site(value: object) -> str:
    text = _text(value)
    if not text.startswith("/") or " " in text:
        raise SettingsError(f"{text!r} is not a path on the site; it looks like /health")
    return text


def _not_a_flag(value: object) -> str:
    """Text that becomes one word of a command or of a request: a leading - would be read as a flag."""
    text = _text(value)
    if text.startswith("-"):
        raise SettingsError(f"{text!r} starts with - and would be read as a flag")
    return text


def _repo_url(value: object) -> str:
    text = _not_a_flag(value)
    if re.match(r"[a-z+]+://[^/@]*:[^/@]*@", text):
        raise SettingsError("the repository URL holds a password; it goes into DEPLOY_GIT_TOKEN")
    return text


def _platform(value: object) -> str:
    text = str(value)
    if not re.fullmatch(r"[a-z0-9]+(/[a-z0-9]+){1,2}(,[a-z0-9]+(/[a-z0-9]+){1,2})*", text):
        raise SettingsError(f"{text!r} is not a platform; it looks like linux/amd64")
    return text


TABLE = (
    Setting("state_file", _text, ".deploy/build-id.json", "where the digest is kept, relative to the project's root"),
    Setting("api_url", _api_url, None, "where the Deploy API answers"),
    Setting("api_key", _api_key, None, "what the API knows you by (header X-API-Key)", secret=True),
    Setting("api_timeout", _seconds, 30.0, "seconds one request may take"),
    Setting("registry", _registry, "registry.kubernetes.crianex.com", "the registry that images are pushed to"),
    Setting("registry_username", _text, None, "given with the password, `local` logs the engine in"),
    Setting("registry_password", _secret, None, "goes to the engine over stdin, never on a command line", secret=True),
    Setting("git_token", _secret, None, "lets the cluster clone a private repository", secret=True),
    Setting("app", images.label, None, "the app's name in the cluster; unset: the repository's name"),
    Setting("namespace", images.label, None, "unset: the app class decides (apps, non-business-apps)"),
    Setting("image_name", images.image_name, None, "the repository in the registry; unset: the app's name"),
    Setting("app_class", _app_class, "business", "which nodes run it: business or non-business"),
    Setting("port", _whole_number("a port", 1, 65535), None, "the port the app listens on; `reuse` needs it"),
    Setting("replicas", _whole_number("a number of replicas", 0, 1000), None, "unset: the API's own default"),
    Setting("domain", _domains, (), "where the app is reached; several with commas between them"),
    Setting("health_path", _path_on_site, None, "answers 2xx once the app is well"),
    Setting("docker", _not_a_flag, "docker", "the container engine's program: docker or podman"),
    Setting(
        "platform", _platform, "linux/amd64", "the cluster's: a Mac must not push an image that cannot start there"
    ),
    Setting("dockerfile", _not_a_flag, "Dockerfile", "relative to the project's root"),
    Setting("build_context", _not_a_flag, ".", "relative to the project's root; a sub-folder for monorepos"),
    Setting("repo_url", _repo_url, None, "what the cluster clones; unset: the git remote, as https"),
    Setting("git_ref", _not_a_flag, None, "what the cluster checks out; unset: the commit of HEAD"),
    Setting("image_tag", images.tag, None, "unset: the commit (`build`), the time and the commit (`local`)"),
    Setting("timeout", _seconds, 1800.0, "seconds to wait for a build"),
)
assert [row.key for row in TABLE] == [f.name for f in fields(Settings) if f.name not in ("root", "sources", "flags")]  # noqa: S101 - one list
