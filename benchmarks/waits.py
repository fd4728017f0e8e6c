"""Many waits on one server: a Deploy API in a process of its own, and those who wait.

As a program (`python -m benchmarks.waits FOLDER`) it is that server: a build clones, and then runs until a line on
stdin has its tag. It prints its URL and its key.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import requests

from benchmarks.measuring import Measured
from tests.project import SECONDS_A_COMMAND, Process, Project, clean_environment, wait_until

WAITS = 200
_ENDS_A_SECOND = 20
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class Server:
    """The process, and a repository that it builds."""

    def __init__(self, folder: Path) -> None:
        self.project = Project.make(folder / "shop")
        self.process = Process(
            [sys.executable, "-m", "benchmarks.waits", str(folder / "data")],
            env=clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url, self.key = self.process.stdout.readline().split()

    def start(self, tag: str) -> str:
        """Starts a build; returns its job."""
        repository = {"repoUrl": str(self.project.origin), "gitRef": self.project.head}
        body = {"app": "shop", "namespace": "apps", "imageTag": tag, **repository}
        return str(self._asked("POST", "/build", body)["jobName"])

    def is_built(self, job: str) -> bool:
        """Whether all is done of a build but its end."""
        return "cloned" in self._asked("GET", f"/build/{job}/logs")["logs"]

    def let_end(self, tag: str) -> float:
        """Lets a build end; returns when."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{tag}\n")
        self.process.stdin.flush()
        return time.monotonic()

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND

    @property
    def most_megabytes(self) -> float:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0

    def _asked(self, method: str, path: str, body: object = None) -> dict[str, str]:
        headers = {"X-API-Key": self.key}
        answer = requests.request(method, self.url + path, json=body, headers=headers, timeout=SECONDS_A_COMMAND)
        answer.raise_for_status()
        found: dict[str, str] = answer.json()
        return found


def many_waits(folder: Path, seconds: float) -> Iterator[Measured]:
    """So many waits at once, all silent for `seconds`, before their builds end one after the other."""
    server = Server(folder)
    try:
        jobs = {f"v{number}": server.start(f"v{number}") for number in range(WAITS)}
        wait_until(lambda: all(map(server.is_built, jobs.values())))
        share, late = asyncio.run(_waited(server, jobs, seconds))
        megabytes = server.most_megabytes
    finally:
        server.process.end()
    row = f"{WAITS} waits at once, {seconds:g} s long"
    yield Measured(row, "the server's memory", megabytes, megabytes, megabytes, 150, " MB")
    yield Measured(row, "one core", share, share, share, 5, " %")
    half = statistics.quantiles(late, n=4)
    row = f"{WAITS} waits, {_ENDS_A_SECOND} of them answered a second: the slowest"
    yield Measured(row, "the end of its build", max(late), half[0], half[2], 1, " s")


async def _waited(server: Server, jobs: dict[str, str], seconds: float) -> tuple[float, list[float]]:
    """Percent of a core that the server took while all waited; seconds from each build's end to its wait's answer."""
    waits = {tag: asyncio.create_task(_answered(server, job)) for tag, job in jobs.items()}
    await asyncio.sleep(1)  # all of them are open
    before, began = server.cpu_seconds, time.monotonic()
    await asyncio.sleep(seconds)
    share = 100 * (server.cpu_seconds - before) / (time.monotonic() - began)
    ended = {}
    for tag in jobs:
        ended[tag] = server.let_end(tag)
        await asyncio.sleep(1 / _ENDS_A_SECOND)
    return share, [await wait - ended[tag] for tag, wait in waits.items()]


async def _answered(server: Server, job: str) -> float:
    """Waits for a build on a connection of its own; returns when the answer was whole."""
    url = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(
        f"POST /build/{job}/wait?timeout=3600 HTTP/1.1\r\nHost: {url.netloc}\r\nX-API-Key: {server.key}\r\n"
        "Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
    )
    answer = await reader.read(-1)
    assert b'"succeeded"' in answer, answer
    writer.close()
    return time.monotonic()


def _serve(folder: Path) -> None:
    from deploy_tasks.server import serving
    from deploy_tasks.server.app import create_app
    from deploy_tasks.server.audit import Audit
    from deploy_tasks.server.auth import Keys
    from deploy_tasks.server.interfaces import Build
    from deploy_tasks.server.memory.builder import Limits, MemoryBuilder
    from deploy_tasks.server.memory.cluster import MemoryCluster
    from deploy_tasks.server.memory.processes import Log
    from deploy_tasks.server.memory.registry import DiskRegistry

    may_end: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
    unread = b""

    def read() -> None:
        nonlocal unread
        *lines, unread = (unread + os.read(0, 65536)).split(b"\n")
        for line in lines:
            may_end[line.decode()].set()

    class Images:
        async def build(self, build: Build, _context: Path, _dockerfile: Path, log: Log) -> str:
            asyncio.get_running_loop().add_reader(0, read)
            log("cloned")
            await may_end[build.image_tag].wait()
            return f"sha256:{64 * '0'}"

    listener = serving.listen("127.0.0.1", 0)
    url, key = f"127.0.0.1:{listener.getsockname()[1]}", secrets.token_hex(32)
    registry = DiskRegistry(folder, url)
    builder = MemoryBuilder(registry, Images(), limits=Limits(running=WAITS))
    app = create_app(builder, registry, MemoryCluster(0.2), Keys.single("bench", key), Audit(None))
    serving.run(app, listener, announce=lambda: print(f"http://{url} {key}", flush=True), end=app.end)  # noqa: T201


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
