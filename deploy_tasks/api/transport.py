"""One exchange with an HTTP server, with limits on time and size. For the effect of each fault, see
docs/reliability.md.

Imported only when a client is created, since importing requests is slow.
"""

from __future__ import annotations

import os
import socket
import ssl
import stat
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from queue import Empty
from typing import NamedTuple
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from requests.utils import get_environ_proxies, select_proxy
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, NewConnectionError

from ..hosts import is_loopback
from ..signals import in_background

_READ_AT_ONCE = 65_536
# An API may report a failed build with an error status, and with the end of its log in the body.
_MOST_BYTES_OF_ERROR = 65_536
_SECONDS_TO_CONNECT = 10.0
# The connection of a wait is idle. These options detect a lost peer after 30 + 3 * 10 seconds.
_KEEPALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] + [
    (socket.IPPROTO_TCP, getattr(socket, name), value)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
]
_NO_HEADERS: Mapping[str, str | None] = {}
_FAILURES = (requests.RequestException, HTTPError, OSError)


class NotSent(Exception):
    """The connection was never opened, so no byte of the request can have arrived. The message is the reason, or empty;
    `advice` is a sentence that says how to fix it, or empty."""

    def __init__(self, why: str = "", advice: str = "") -> None:
        super().__init__(why)
        self.advice = advice


class NoAnswer(Exception):
    """The request was sent, and no complete answer came back. The message follows the name of the host."""


class Answer(NamedTuple):
    """An HTTP answer. `body` is complete for 2xx, otherwise only its beginning; `transferred` is its size on the wire,
    in bytes. `is_repeat`: it answers a retry, and the outcome of the first request is not known."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    transferred: int = 0
    is_repeat: bool = False


class Transport(requests.Session):
    """A session with a server at `url`, with the key in `X-API-Key`. It uses the proxies and CA bundles of the
    environment, but neither netrc nor redirects."""

    def __init__(self, url: str, key: str | None = None) -> None:
        super().__init__()
        self._url = url
        if key is not None:
            self.headers.update({"X-API-Key": key, "Accept": "application/json"})
        # Without an auth of its own, requests adds Basic authentication from netrc.
        self.auth = lambda request: request
        # Plain http is allowed to this machine. A proxy from the environment could then read the key.
        self.trust_env = not is_loopback(urlsplit(url).hostname or "")
        adapter = HTTPAdapter()
        options = [*HTTPConnection.default_socket_options, *_KEEPALIVE]
        adapter.poolmanager.connection_pool_kw["socket_options"] = options
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        *,
        seconds: float,
        most: int,
        headers: Mapping[str, str | None] = _NO_HEADERS,
    ) -> Answer:
        """Sends one request, once, with `headers` in addition to the session's. `seconds` limits the whole exchange,
        `most` the bytes of the unpacked body. Raises NotSent or NoAnswer, never an exception of requests, which would
        contain the key and the body. After NoAnswer, use a new Transport: an abandoned request may still use this one.
        """
        # The timeout of requests starts again with every byte. So a thread runs the request and this one waits for it.
        # An abandoned thread ends with its connection or with the program.
        headers = {"Content-Type": None if body is None else "application/json", **headers}
        attempt = partial(self._attempt, method, path, body, headers, seconds, most)
        try:
            return in_background(attempt)(seconds)
        except Empty as error:
            raise NoAnswer("did not finish its answer in time") from error

    def _attempt(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str | None], seconds: float, most: int
    ) -> Answer:
        url = self._url + path
        bundle = _ca_bundle() if url.startswith("https:") else None
        try:
            with self.request(
                method,
                url,
                data=body,
                headers=headers,
                # The connect timeout must be the shorter one: after it, nothing was sent.
                timeout=(min(_SECONDS_TO_CONNECT, 0.8 * seconds), seconds),
                # requests would send X-API-Key to any host that a redirect names.
                allow_redirects=False,
                stream=True,
                verify=bundle or True,
            ) as response:
                is_success = 200 <= response.status_code < 300
                content, most = bytearray(), most if is_success else _MOST_BYTES_OF_ERROR
                with nullcontext() if is_success else suppress(*_FAILURES):
                    while len(content) <= most and (piece := response.raw.read1(_READ_AT_ONCE, decode_content=True)):
                        content += piece
                # 292 KB of gzip grew to 300 MB.
                if is_success and len(content) > most:
                    raise NoAnswer(f"answered with more than {most} bytes")
                return Answer(response.status_code, response.headers, bytes(content), response.raw.tell())
        except _FAILURES as error:
            # Without the cause: an exception of requests contains the key and the body.
            if (not_sent := _not_sent(error, url)) is not None:
                raise not_sent from None
            raise NoAnswer("sent no complete answer") from None

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: requests would read the body of a redirect and parse its target even if it does not follow it."""


def _ca_bundle() -> str | None:
    """The file or folder of CA certificates from REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE. NotSent if it cannot be used."""
    # requests reads the same variables, but only together with those for proxies. Its error, in the middle of an
    # exchange, would not say whether the request was sent.
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if path := os.environ.get(name):
            try:
                # A pipe can be read only once.
                if stat.S_ISREG(Path(path).stat().st_mode):
                    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
            except OSError as error:
                why = "no certificates in it" if isinstance(error, ssl.SSLError) else error.strerror
                raise NotSent(f"{name} names {path}: {why}") from error
            return path
    return None


def _not_sent(error: Exception, url: str) -> NotSent | None:
    """`error` as NotSent if no byte of the request can have arrived, else None."""
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        # The URL of the proxy is not shown: it may hold a password.
        proxy = select_proxy(url, get_environ_proxies(url)) or ""
        why = "HTTPS_PROXY or ALL_PROXY is not the URL of a proxy" if proxy else "invalid URL"
        if isinstance(error, requests.exceptions.InvalidSchema) and proxy.startswith("socks"):
            why = "HTTPS_PROXY or ALL_PROXY names a SOCKS proxy, which needs PySocks: pip install pysocks"
        return NotSent(why)
    if not isinstance(error, requests.RequestException | HTTPError):
        return None  # an OSError can occur before or after the request was sent
    reason = getattr(next(iter(error.args), None), "reason", None)
    cause = next(iter(getattr(reason, "args", ())), None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return NotSent(
            "its certificate is not trusted", "Set REQUESTS_CA_BUNDLE to a file with the certificate of its authority"
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return NotSent("the proxy is unreachable or refused the request")
    is_refused = isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError)
    return NotSent() if is_refused else None


def look(url: str, seconds: float, login: tuple[str, str] | None = None) -> Answer | None:
    """The answer to a GET of `url` without its body, with `login` over Basic authentication; None without an answer
    within `seconds`. No key is sent."""
    try:
        return _seen(url, seconds, login)
    except (*_FAILURES, Empty):
        return None


def answers(url: str, seconds: float) -> bool:
    """Whether `url` answers anything within `seconds`. No key is sent."""
    try:
        return _seen(url, seconds, None) is not None
    except requests.exceptions.SSLError:
        return True  # something answers, and the engine has its own certificates and exceptions
    except (*_FAILURES, Empty):
        return False


def _seen(url: str, seconds: float, login: tuple[str, str] | None) -> Answer:
    # Engines send UTF-8; requests would encode a str as Latin-1.
    auth = HTTPBasicAuth(login[0].encode(), login[1].encode()) if login else None
    get = partial(Transport(url).get, url, auth=auth, timeout=seconds, allow_redirects=False, stream=True)
    with in_background(get)(seconds) as response:
        return Answer(response.status_code, response.headers, b"")
