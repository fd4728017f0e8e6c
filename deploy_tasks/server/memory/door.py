"""Refuses requests that are not from this machine, since the registry needs no key."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from ..operation import answer
from ..schemas import Refusal
from ..serving import is_loopback

_ALL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104 - compared


class Door:
    """Middleware that answers 403 to requests from elsewhere. `host` is what the server listens on."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and not self._is_for_this_machine(dict(scope["headers"])):
            text = "This server answers only requests from its own machine. --host allows others."
            app = answer(Refusal(text, "not-this-machine"), 403)
        await app(scope, receive, send)

    def _is_for_this_machine(self, headers: dict[bytes, bytes]) -> bool:
        """Whether no web page of elsewhere asks by way of a browser on this machine. The browser names the page in
        `Origin`, and in `Host` if the page's name leads here (DNS rebinding)."""
        origin = headers.get(b"origin")
        host = _host_of(b"//" + headers.get(b"host", b""))
        return (self._host in _ALL_ADDRESSES or self._is_ours(host)) and (
            origin is None or self._is_ours(_host_of(origin))
        )

    def _is_ours(self, host: str) -> bool:
        return host in ("localhost", self._host) or is_loopback(host)


def _host_of(url: bytes) -> str:
    try:
        return urlsplit(url.decode("latin-1")).hostname or ""
    except ValueError:
        return ""
