"""Runs an application with uvicorn: listens, announces that it answers, and answers open waits before it ends."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Awaitable, Callable

import uvicorn
from starlette.types import ASGIApp

_SECONDS_TO_END = 1


class CannotListen(Exception):
    """The address cannot be listened on; the message says why."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 picks a free one. Raises CannotListen."""
    if not host or not 0 <= port <= 65535:  # "" would be every address
        raise CannotListen(f"cannot listen on {host}:{port}: name an address, and a port up to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        # Python adds its own words, and makes of a name that nobody knows an error with a number below 0.
        reason = (error.strerror or str(error)).partition(" (while")[0]
        hint = ". Use another port; 0 picks a free one" if error.errno in (errno.EADDRINUSE, errno.EACCES) else ""
        raise CannotListen(f"cannot listen on {host}:{port}: {reason}{hint}") from error
    # asyncio does not set it of a socket made elsewhere, and each second answer would wait 40 ms for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def run(
    app: ASGIApp, listener: socket.socket, *, announce: Callable[[], None], end: Callable[[], Awaitable[None]]
) -> None:
    """Serves `app` until SIGINT or SIGTERM, which it sends on to this process when it is done.

    Calls `announce` once it answers. `end` lets what is open come to its end. The rest is cut a second later.
    """
    config = uvicorn.Config(
        app,
        http="h11",  # bounds the headers of a request, also where another parser is installed
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=_SECONDS_TO_END,
    )
    _Server(config, announce, end).run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, announce: Callable[[], None], end: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(config)
        self._announce, self._end = announce, end

    async def main_loop(self) -> None:
        # Not at the end of `startup`: where a signal comes then, uvicorn ends without `shutdown`, and with a traceback.
        self._announce()
        await super().main_loop()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._end()
        await super().shutdown(sockets)


def is_loopback(host: str) -> bool:
    """Whether `host` is an address of this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def printed_host(host: str) -> str:
    """`host` as a URL has it; the loopback address in place of all addresses."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - compared
