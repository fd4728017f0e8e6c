"""A Deploy API on loopback that misbehaves where it is told to, and counts every request that arrives."""

from __future__ import annotations

import gzip
import json
import os
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

DIGEST = "sha256:" + 64 * "a"
JOB = "build-shop-1"
# It only ends a test that hangs.
SECONDS_TO_END = 600


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def kind(self) -> str:
        """`start`, `deploy`, `wait`, `status`, `logs`, `digest`, `app`, or `other`."""
        place = self.path.partition("?")[0]
        if (self.method, place) == ("POST", "/build"):
            return "deploy" if b'"buildId"' in self.body else "start"
        if place.startswith("/api/apps/"):
            return "app"
        if place.startswith("/registry/"):
            return "digest"
        if place.startswith("/build/"):
            return {"wait": "wait", "logs": "logs"}.get(place.rsplit("/", 1)[-1], "status")
        return "other"


class Connection(NamedTuple):
    """What an answer works with: the socket, what was asked on it, and an event that ends the answer."""

    socket: socket.socket
    request: Request
    ended: threading.Event


Answer = Callable[[Connection], object]
"""Answers on a connection; the connection is closed after it, unless it returns True."""


def http(status: int = 200, body: object = None, /, **headers: str) -> Answer:
    """A whole HTTP answer; `body` is JSON unless it is bytes."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    text = "\r\n".join([*lines, "", ""]).encode() + content

    def answer(connection: Connection) -> bool:
        connection.socket.sendall(text)
        return True

    return answer


def reset(connection: Connection) -> None:
    """A TCP reset in the place of an answer."""
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def close(_: Connection) -> None:
    """The end of the connection in the place of an answer."""


def silence(connection: Connection) -> None:
    """No answer, and the connection stays open until the server ends it."""
    connection.ended.wait()


def half_a_body(connection: Connection) -> None:
    connection.socket.sendall(b'HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{"jobName": "bui')


def drip(connection: Connection) -> None:
    """A byte of an endless body every 50 ms."""
    connection.socket.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not connection.ended.wait(0.05):
        connection.socket.sendall(b" ")


def garbage(connection: Connection) -> None:
    connection.socket.sendall(b"\x00\xff\x17 no HTTP at all\r\n\r\n")


def no_tls(connection: Connection) -> None:
    """Bytes past the TLS that the connection speaks."""
    with socket.socket(fileno=os.dup(connection.socket.fileno())) as raw:
        raw.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    connection.ended.wait(1)


def idle_cut(connection: Connection) -> None:
    """What an ingress does with a connection on which nothing happens, here after a second."""
    connection.ended.wait(1)


def page() -> Answer:
    return http(200, b"<html><body>Welcome to the ingress</body></html>", Content_Type="text/html")


def bomb(connection: Connection) -> bool:
    """About 300 KB that unpack to 300 MB: one megabyte of zeros is packed once, and sent as 300 members of a file."""
    member = gzip.compress(bytes(1_000_000))
    return http(200, 300 * member, Content_Encoding="gzip")(connection) is True


def deep(connection: Connection) -> bool:
    return http(200, b"[" * 1_000_000)(connection) is True


USUAL: dict[str, Answer] = {
    "start": http(202, {"jobName": JOB}),
    "wait": http(200, {"status": "succeeded"}),
    "digest": http(200, {"buildId": DIGEST}),
    "deploy": http(200, {"skipped": True, "success": True}),
    "status": http(404),
    "logs": http(404),
    "app": http(404),
    "other": http(404),
}


class FaultyApi:
    """Listens on a free port of `host` until `end`. `answers[kind]` are the answers to the first, second, …request of
    that kind; after them come the usual ones. Speaks TLS with a `context`."""

    def __init__(self, *, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[Request] = []
        self.arrived = threading.Condition()
        self._context = context
        self._ending = False
        self._connections: list[socket.socket] = []
        self._ends: dict[str, threading.Event] = {}
        self._listener = socket.create_server((host, 0))
        self.address = f"{host}:{self._listener.getsockname()[1]}"
        self.url = f"{'https' if context else 'http'}://{self.address}"
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        self._threads[0].start()

    def always(self, kind: str, answer: Answer) -> None:
        self.answers[kind] = [answer] * 10_000

    def count(self, kind: str) -> int:
        return sum(request.kind == kind for request in self.requests)

    @property
    def summary(self) -> str:
        """Every request that arrived, by kind: `1 start, 3 wait`."""
        # Whoever looks at the log and the replicas changes nothing by it, and does so more or less often.
        counted = Counter(request.kind for request in self.requests if request.kind not in ("logs", "app"))
        return ", ".join(f"{number} {kind}" for kind, number in counted.items()) or "none"

    def until(self, kind: str, number: int = 1) -> None:
        """Returns once so many requests of the kind have arrived."""
        with self.arrived:
            arrived = self.arrived.wait_for(lambda: self.count(kind) >= number, SECONDS_TO_END)
        assert arrived, f"no {kind}: {self.summary}"

    def leave(self, connection: Connection) -> None:
        """Resets; then nobody listens until `come_back`."""
        self._stop_listening()
        reset(connection)

    def come_back(self) -> None:
        """Listens again at the same address."""
        host, _, port = self.address.rpartition(":")
        self._listener = socket.create_server((host, int(port)))
        self._threads.append(threading.Thread(target=self._listen, daemon=True))
        self._threads[-1].start()

    def let_go(self, kind: str) -> None:
        """Ends the answers to requests of that kind which are not over, as `silence` is not."""
        self._ends.pop(kind).set()

    def end(self) -> None:
        self._ending = True
        for ended in self._ends.values():
            ended.set()
        self._stop_listening()
        # A client may keep one open for its next request.
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SECONDS_TO_END)
        assert not any(thread.is_alive() for thread in self._threads)

    def _stop_listening(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self) -> None:
        listener = self._listener
        with suppress(OSError):
            while not self._ending:
                connection, _ = listener.accept()
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError), plain:
            plain.settimeout(SECONDS_TO_END)
            with self._context.wrap_socket(plain, server_side=True) if self._context else plain as connection:
                self._connections.append(connection)
                while (request := _read(connection)) and self._answer(connection, request):
                    pass

    def _answer(self, connection: socket.socket, request: Request) -> bool:
        with self.arrived:
            self.requests.append(request)
            planned = self.answers.get(request.kind)
            answer = planned.pop(0) if planned else USUAL[request.kind]
            ended = self._ends.setdefault(request.kind, threading.Event())
            self.arrived.notify_all()
        return not self._ending and answer(Connection(connection, request, ended)) is True


@contextmanager
def faulty_api(*, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> Iterator[FaultyApi]:
    api = FaultyApi(host=host, context=context)
    try:
        yield api
    finally:
        api.end()


def _read(connection: socket.socket) -> Request | None:
    """The next whole request on a connection, or None at its end."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(65_536)
        if not piece:
            return None
        head += piece
    head, _, body = head.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65_536)
    return Request(method, path, headers, body)
