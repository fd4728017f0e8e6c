"""How an app runs: `deployConfig`, in requests, in answers of a server and in the history."""

from __future__ import annotations

from msgspec.structs import replace

from .encoding import JsonObject, encode

APP_CLASSES = {"business": "apps", "non-business": "non-business-apps"}
"""Which nodes run an app, with the namespace of its apps, unless they name another. Source: docs/deploy-api.md."""
DEFAULT_APP_CLASS, DEFAULT_REPLICAS = "business", 1
"""The API's defaults."""
# In bytes: two configs fit into a line of the history (`state/files.py`).
_LONGEST_KEPT = 16_384


class Port(JsonObject, kw_only=True, frozen=True):
    """One of several ports of an app."""

    port: int
    name: str | None = None


class Metrics(JsonObject, kw_only=True, frozen=True):
    """Where metrics are scraped. None means the API's default."""

    port: int
    path: str | None = None
    scrape_interval: str | None = None
    scheme: str | None = None


class DeployConfig(JsonObject, kw_only=True, frozen=True):
    """How the image runs; `ports` replaces `port`, and `domains` replaces `domain`. None means the API's default, which
    is true for `tls`. A variable that is None has a value that is not known: a server's answers and the history have
    only the names."""

    port: int | None = None
    ports: list[Port] | None = None
    replicas: int | None = None
    domain: str | None = None
    domains: list[str] | None = None
    health_path: str | None = None
    tls: bool | None = None
    env: dict[str, str | None] = {}  # noqa: RUF012 - msgspec copies it
    metrics: Metrics | None = None
    app_class: str | None = None

    def __repr__(self) -> str:  # without the app's variables
        return f"DeployConfig(port={self.port}, app_class={self.app_class})"

    @property
    def for_history(self) -> DeployConfig | None:
        """The config without the values of variables; None if even that is too long for the history."""
        config = replace(self, env=dict.fromkeys(self.env))
        return config if len(encode(config)) <= _LONGEST_KEPT else None

    @property
    def all_domains(self) -> list[str]:
        return self.domains or ([self.domain] if self.domain else [])

    @property
    def in_words(self) -> dict[str, str]:
        """The config by topic, without the variables. Configs with the same meaning have the same words."""
        ports = self.ports or ([Port(port=self.port)] if self.port else [])
        metrics = "none"
        if of := self.metrics:
            path, interval = of.path or "/metrics", of.scrape_interval or "30s"
            metrics = f"{of.scheme or 'http'}, port {of.port}, {path}, every {interval}"
        return {
            "replicas": "default" if self.replicas is None else str(self.replicas),
            "domain": " ".join(self.all_domains) or "none",
            "port": " ".join(f"{one.port} ({one.name})" if one.name else str(one.port) for one in ports) or "none",
            "health path": self.health_path or "none",
            "TLS": "off" if self.tls is False else "on",
            "class": self.app_class or DEFAULT_APP_CLASS,
            "metrics": metrics,
        }


def differences(old: DeployConfig, new: DeployConfig, *, with_old: bool = True) -> list[str]:
    """What changes from `old` to `new`: `replicas 1 → 2`, or `replicas 2` without `with_old`, and `variables +A -B`.
    Empty if both mean the same, apart from the values of variables."""
    before = old.in_words
    arrow = {what: f"{text} → " if with_old else "" for what, text in before.items()}
    changed = [f"{what} {arrow[what]}{now}" for what, now in new.in_words.items() if now != before[what]]
    return [*changed, *names_that_change(old, new)]


def names_that_change(old: DeployConfig, new: DeployConfig) -> list[str]:
    """`variables +A -B`: the variables that `new` adds and removes. Empty if there are none."""
    added = [f"+{name}" for name in new.env if name not in old.env]
    removed = [f"-{name}" for name in old.env if name not in new.env]
    return [f"variables {' '.join([*added, *removed])}"] if added or removed else []


def merged(config: DeployConfig, changes: DeployConfig) -> DeployConfig:
    """`config` with the fields that `changes` sets; its variables are added to those of `config`. A server does the
    same when it restores a revision."""
    named = {name: value for name in changes.__struct_fields__ if (value := getattr(changes, name)) not in (None, {})}
    for one, other in (("port", "ports"), ("domain", "domains")):
        if one in named or other in named:
            named = {one: None, other: None, **named}
    return replace(config, **{**named, "env": {**config.env, **changes.env}})
