"""A Deploy API on loopback whose builds end when they are told to, and which takes down when it was asked for what.

It is the clock of what is measured here: when a build ended, and when the client knew.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

DIGEST = "sha256:" + 64 * "a"
_LONGEST_WAIT = 60.0


@dataclass
class Build:
    """One build: it ends `seconds` after it was started, and its log grows to `log_bytes` until then."""

    seconds: float
    log_bytes: int = 0
    started: float = field(default_factory=time.monotonic)
    noticed: float | None = None
    """When its digest was asked for, in seconds after it ended."""
    requests: Counter[str] = field(default_factory=Counter)
    log_bytes_sent: int = 0

    @property
    def left(self) -> float:
        return self.started + self.seconds - time.monotonic()

    def log(self) -> bytes:
        line = (
            b"INFO[0042] RUN pip install --requirement requirements.txt, as builds in life go on and on "
            + 11 * b"."
            + b"\n"
        )
        share = 1.0 if self.left <= 0 else 1 - self.left / self.seconds
        return line * int(self.log_bytes * share / len(line))


class BuildServer:
    """`plan` says of each app how its build goes."""

    def __init__(self, plan: dict[str, Build]) -> None:
        self.builds = plan
        self.url = ""

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, Any]:
        url = urlsplit(target)
        parts = url.path.strip("/").split("/")
        if (method, url.path) == ("POST", "/build"):
            app = json.loads(body)["app"]
            self.builds[app].started = time.monotonic()
            return 202, {"jobName": f"build-{app}"}
        if parts[0] == "registry":
            build = self.builds[parts[1]]
            build.noticed = -build.left
            return 200, {"buildId": DIGEST}
        build = self.builds[parts[1].removeprefix("build-")]
        build.requests[f"{method} {parts[-1]}"] += 1
        if parts[-1] == "wait":
            seconds = float(parse_qs(url.query)["timeout"][0])
            time.sleep(max(0.0, min(seconds, build.left, _LONGEST_WAIT)))
            return 200, {"status": "running" if build.left > 0 else "succeeded"}
        if parts[-1] == "logs" and build.log_bytes:
            return 200, {"logs": build.log().decode()}
        return 404, {"error": "not served"}


@contextmanager
def serving(plan: dict[str, Build]) -> Iterator[BuildServer]:
    """The server, with a thread for each connection, until the block ends."""
    api = BuildServer(plan)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = api.answer("GET" if self.command == "HEAD" else self.command, self.path, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
                if self.path.endswith("/logs") and status == 200:
                    api.builds[self.path.split("/")[2].removeprefix("build-")].log_bytes_sent += len(content)

        do_GET = do_POST = do_HEAD = _respond  # noqa: N815 - names that http.server looks for

        def log_message(self, *_: object) -> None:
            """Nothing: it is counted."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        api.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()
