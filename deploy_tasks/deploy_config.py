"""How an app runs: `deployConfig`, as it is sent, as a server says it, and as the history keeps it."""

from __future__ import annotations

from .encoding import JsonObject


class Port(JsonObject, kw_only=True, frozen=True):
    """One of several ports of an app."""

    port: int
    name: str | None = None


class Metrics(JsonObject, kw_only=True, frozen=True):
    """Where metrics are scraped; the API decides what is None."""

    port: int
    path: str | None = None
    scrape_interval: str | None = None
    scheme: str | None = None


class DeployConfig(JsonObject, kw_only=True, frozen=True):
    """How the image runs; `ports` replaces `port`, and `domains` replaces `domain`. A variable of None has a value that
    is not said: a server and the history keep the names alone."""

    port: int | None = None
    ports: list[Port] | None = None
    replicas: int | None = None
    domain: str | None = None
    domains: list[str] | None = None
    health_path: str | None = None
    tls: bool = True
    env: dict[str, str | None] = {}  # noqa: RUF012 - msgspec copies it
    metrics: Metrics | None = None
    app_class: str | None = None

    def __repr__(self) -> str:  # without the app's environment
        return f"DeployConfig(port={self.port}, app_class={self.app_class})"
