"""The registry behind a gateway that fails at a chosen request."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_BETWEEN_HOPS = {"connection", "transfer-encoding", "keep-alive"}


@contextmanager
def failing_at(address: str, fails: Callable[[str, str], bool]) -> Iterator[tuple[str, list[str]]]:
    """A gateway to the registry at `address` that answers 500 where `fails(method, path)`; yields its own address and
    the requests that it failed."""
    failed: list[str] = []

    class Gateway(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # The answer to a TLS handshake begins with HTTP/1.1 then, by which an engine knows that this is plain http.
        default_request_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.body()
            if fails(self.command, self.path):
                failed.append(f"{self.command} {self.path}")
                self.answer(500, [("Content-Type", "application/json")], b'{"errors": [{"code": "UNKNOWN"}]}')
                return
            backend = HTTPConnection(address, timeout=600)
            # Host and all: the registry makes the places that it names out of it.
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _BETWEEN_HOPS}
            backend.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
            answer = backend.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _BETWEEN_HOPS]
            self.answer(answer.status, kept, answer.read())
            backend.close()

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = forward  # noqa: N815 - as http.server has them

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            if not any(name.lower() == "content-length" for name, _ in headers):
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", failed
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def at_the_manifest_of(tag: str) -> Callable[[str, str], bool]:
    """Fails a push at its last request, when all layers are there already."""
    place = re.compile(rf"/v2/.*/manifests/({re.escape(tag)}|sha256:.*)")
    return lambda method, path: method == "PUT" and place.fullmatch(path) is not None
