"""One exchange with an HTTP server, bounded in time and size. What happens when it misbehaves: docs/reliability.md.

Loaded with the first request, since requests takes its time to import.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any, NamedTuple
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
# A failed build may come as an error, with the end of its log in it.
_MOST_QUOTED = 65_536
_SECONDS_TO_CONNECT = 10.0
# A wait is idle for most of a minute: a peer that vanished is noticed after 30 + 3 * 10 seconds.
_KEEPALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] + [
    (socket.IPPROTO_TCP, getattr(socket, name), value)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
]


class NotSent(Exception):
    """The connection never opened, so that not a byte of the request can have arrived; the message says why, if that is
    known."""


class NoAnswer(Exception):
    """The request went out, and no whole answer came back; the message says what came."""


class Answer(NamedTuple):
    """What came back: the HTTP status, where a redirect points (or ""), the body (of no 2xx only its beginning), for
    how many seconds the server asks to be left alone, how many bytes of body came, and how many were announced."""

    status: int
    location: str
    body: bytes
    retry_after: float = 0.0
    transferred: int = 0
    announced: int = 0


class Transport:
    """Sends requests with the key in `X-API-Key`; keeps proxies and CA bundles, reads no netrc, follows no redirect."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._session = self._new_session()

    def _new_session(self) -> requests.Session:
        session = _Session()
        session.headers["X-API-Key"] = self._key
        session.headers["Accept"] = "application/json"
        # An entry in netrc would add Basic authentication; an auth of one's own keeps it from being looked up.
        session.auth = lambda request: request
        for scheme in ("https://", "http://"):
            session.mount(scheme, _KeepAliveAdapter())
        return session

    def exchange(self, method: str, url: str, body: bytes | None, *, seconds: float, most: int) -> Answer:
        """Sends one request, once. `seconds` bounds all of it, `most` the bytes of the body when unpacked.

        Raises NotSent or NoAnswer; no exception of requests, since those hold the key and the body.
        """
        # The timeout of requests starts anew with every byte that drips in, of the headers too; so a thread waits for
        # it, and this one for that thread. A thread that is left behind ends with its connection or with the program.
        session = self._session
        answer = in_background(lambda: _attempt(session, method, url, body, seconds, most))
        try:
            return answer(seconds)
        except Empty as error:
            # The thread that was left behind goes on with the old one.
            self._session = self._new_session()
            raise NoAnswer("did not finish its answer in time") from error


def _attempt(session: requests.Session, method: str, url: str, body: bytes | None, seconds: float, most: int) -> Answer:
    # A proxy is for what is elsewhere, and would read the key of plain http.
    session.trust_env = not is_loopback(urlsplit(url).hostname or "")
    bundle = _bundle() if url.startswith("https:") else None
    try:
        with session.request(
            method,
            url,
            data=body,
            headers={"Content-Type": "application/json"} if body is not None else None,
            # A connection that does not open is told from an answer that does not come, so it must time out first.
            timeout=(min(_SECONDS_TO_CONNECT, 0.8 * seconds), seconds),
            # requests takes X-API-Key along to whatever host a redirect names.
            allow_redirects=False,
            stream=True,
            verify=bundle or True,
        ) as response:
            is_success, headers = 200 <= response.status_code < 300, response.headers
            content = _read(response, most) if is_success else _beginning(response)
            retry_after = _number_of(headers.get("Retry-After", ""))
            location, transferred = headers.get("Location", ""), response.raw.tell()
            announced = int(_number_of(headers.get("Content-Length", "")))
            return Answer(response.status_code, location, content, retry_after, transferred, announced)
    except (requests.RequestException, HTTPError, OSError) as error:
        # Not from the cause: a request of `requests` holds the key and the body.
        why_not_sent = _why_not_sent(error, url)
        if why_not_sent is not None:
            raise NotSent(why_not_sent) from None
        raise NoAnswer("gave no whole answer") from None


def _bundle() -> str | None:
    """The file or folder of certificates that the environment names; requests reads these variables, but only where it
    reads those of proxies too. NotSent where it cannot be used: in the middle of an exchange, nobody could tell."""
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


def answers(url: str, seconds: float) -> bool:
    """Whether somebody answers at `url`, whatever the answer. No key is sent."""
    try:
        return _get(url, seconds, None) is not None
    except requests.exceptions.SSLError:
        return True  # the engine has certificates and exceptions of its own


class Seen(NamedTuple):
    """The HTTP status of an answer, its Date, and how it asks for a login, in lower case."""

    status: int
    date: str
    challenge: str


def look(url: str, seconds: float, login: tuple[str, str] | None = None) -> Seen | None:
    """What is at `url`, None where there is no answer within the seconds; with a `login` over Basic. No key is sent."""
    try:
        return _get(url, seconds, login)
    except requests.exceptions.SSLError:
        return None


def health_of(url: str, seconds: float) -> int | None:
    """The HTTP status of `url`, None where there is no answer; a certificate, too, may take its time."""
    seen = look(url, seconds)
    return None if seen is None else seen.status


def _get(url: str, seconds: float, login: tuple[str, str] | None) -> Seen | None:
    try:
        return in_background(lambda: _seen(url, seconds, login))(seconds)
    except requests.exceptions.SSLError:
        raise
    except (requests.RequestException, HTTPError, OSError, Empty):
        return None


def _seen(url: str, seconds: float, login: tuple[str, str] | None) -> Seen:
    session = _Session()
    session.trust_env = not is_loopback(urlsplit(url).hostname or "")
    session.auth = lambda request: request  # no netrc
    if login:
        # In UTF-8, as engines send it: of texts, requests takes Latin-1 alone.
        session.auth = HTTPBasicAuth(login[0].encode(), login[1].encode())
    with session.get(url, timeout=seconds, allow_redirects=False, stream=True) as response:
        headers = response.headers
        challenge = headers.get("WWW-Authenticate", "").lower()
        return Seen(response.status_code, headers.get("Date", ""), challenge)


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: even where it follows no redirect, requests would read its whole body and take its target apart."""


class _KeepAliveAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        options = [*HTTPConnection.default_socket_options, *_KEEPALIVE]
        super().init_poolmanager(*args, **kwargs, socket_options=options)


def _number_of(text: str) -> float:
    """The number that a header holds; 0 where that is none, as a Retry-After with a date."""
    return float(text) if re.fullmatch(r"[0-9]{1,12}", text) else 0.0


def _read(response: requests.Response, most: int) -> bytes:
    # 292 KB of gzip grew to 300 MB.
    content = bytearray()
    for piece in _pieces(response):
        content += piece
        if len(content) > most:
            raise NoAnswer(f"answered with more than {most} bytes")
    return bytes(content)


def _beginning(response: requests.Response) -> bytes:
    # What is not a success says so by its status; its body is quoted, and need be neither whole nor short.
    content = b""
    with suppress(requests.RequestException, HTTPError, OSError):
        for piece in _pieces(response):
            content += piece
            if len(content) > _MOST_QUOTED:
                break
    return content


def _pieces(response: requests.Response) -> Iterator[bytes]:
    while piece := response.raw.read1(_READ_AT_ONCE, decode_content=True):
        yield piece


def _why_not_sent(error: Exception, url: str) -> str | None:
    """Why not a byte of the request can have arrived (empty: nobody listens), or None where some may have."""
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return _invalid(error, select_proxy(url, get_environ_proxies(url)) or "")
    if not isinstance(error, requests.RequestException | HTTPError):
        return None  # an error of the system: it can come before the request and after it
    reason = getattr(next(iter(error.args), None), "reason", None)
    cause = next(iter(getattr(reason, "args", ())), None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "its certificate is not trusted; trust its authority: REQUESTS_CA_BUNDLE=FILE"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy did not let the request through"
    if isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError):
        return ""
    return None


def _invalid(error: Exception, proxy: str) -> str:
    """What of the two is invalid, the proxy or the URL. The proxy's is not shown: it may hold a password."""
    if isinstance(error, requests.exceptions.InvalidSchema) and proxy.startswith("socks"):
        return "HTTPS_PROXY or ALL_PROXY names a SOCKS proxy, which needs PySocks: pip install pysocks"
    return "HTTPS_PROXY or ALL_PROXY is not the URL of a proxy" if proxy else "invalid URL"
