"""The implementations that this suite runs against, and what a test can make each of them do."""

from __future__ import annotations

import abc
import functools
import http.server
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, get_args

import uvicorn

from deploy_tasks.server import serving
from deploy_tasks.server.app import DeployApi, create_app
from deploy_tasks.server.audit import Audit
from deploy_tasks.server.auth import RIGHTS, Keys, Right, add
from deploy_tasks.server.interfaces import Target
from deploy_tasks.server.memory.builder import Limits, MemoryBuilder
from deploy_tasks.server.memory.cluster import MemoryCluster
from deploy_tasks.server.memory.distribution import routes
from deploy_tasks.server.memory.images import ArchiveImageBuilder
from deploy_tasks.server.memory.registry import DiskRegistry
from tests.clock import Clock
from tests.project import SECONDS_A_COMMAND, Project
from tests.server.http.server import Server, Source


@dataclass(frozen=True)
class HeldSource:
    """A repository that is cloned only once `release` was called."""

    url: str
    release: Callable[[], None]


class Implementation(abc.ABC):
    """Starts servers. `cannot` says of a test why this implementation has no part in it."""

    cannot: ClassVar[dict[str, str]] = {}

    def __init__(self, project: Project, folder: Path) -> None:
        self.project, self.folder = project, folder
        self.keys = folder / "keys.json"
        self._named = 0
        self.admin = self.key(*RIGHTS, name="admin")

    def key(self, *rights: str, namespaces: tuple[str, ...] = ("*",), name: str = "") -> str:
        """A new key, which the servers know from now on."""
        self._named += 1
        known: list[Right] = [right for right in get_args(Right) if right in rights]
        return add(self.keys, name or f"key-{self._named}", list(namespaces), known)

    @abc.abstractmethod
    def start(
        self,
        *,
        white_space_seconds: float = 10.0,
        concurrent_builds: int = 4,
        log_bytes: int = 16 * 1024 * 1024,
        fail_rollouts: bool = False,
    ) -> Server:
        """A server on a free port. Its pods start when `let_pods_start` says so."""

    @abc.abstractmethod
    def held_source(self) -> Any:
        """A context manager of a HeldSource, which is released at its end."""

    @abc.abstractmethod
    def let_pods_start(self, server: Server) -> None:
        """From now on, every pod of what is deployed has had the time to become ready or to fail."""

    @abc.abstractmethod
    def values(self, server: Server, app: str) -> dict[str, str | None]:
        """The variables that the app's pods get, in the namespace `apps`."""

    @abc.abstractmethod
    def audited(self, server: Server) -> list[dict[str, Any]]:
        """The lines of the audit."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Ends every server that was started."""


class Memory(Implementation):
    """The sandbox's builder, registry and cluster, each server in a thread with a socket of its own."""

    def __init__(self, project: Project, folder: Path) -> None:
        super().__init__(project, folder)
        self._running: dict[Server, _Running] = {}

    def start(
        self,
        *,
        white_space_seconds: float = 10.0,
        concurrent_builds: int = 4,
        log_bytes: int = 16 * 1024 * 1024,
        fail_rollouts: bool = False,
    ) -> Server:
        listener = serving.listen("127.0.0.1", 0)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        clock, audited = Clock(), io.StringIO()
        registry = DiskRegistry(self.folder / f"data-{len(self._running)}", address)
        cluster = MemoryCluster(1.0, fail_rollouts, clock)

        def made() -> DeployApi:
            limits = Limits(running=concurrent_builds, log_bytes=log_bytes)
            return create_app(
                MemoryBuilder(registry, ArchiveImageBuilder(registry), limits=limits),
                registry,
                cluster,
                Keys.of_file(self.keys),
                Audit(audited),
                routes=routes(registry),
                seconds_a_space=white_space_seconds,
            )

        source = Source(str(self.project.origin), self.project.head)
        server = Server(f"http://{address}", self.admin, address, source)
        self._running[server] = _Running(ServingThread(made, listener), cluster, clock, audited)
        return server

    @contextmanager
    def held_source(self) -> Iterator[HeldSource]:
        may_go_on = threading.Event()

        class Held(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                may_go_on.wait(SECONDS_A_COMMAND)
                super().do_GET()

            def log_message(self, *_: object) -> None:
                pass

        class Cloned(http.server.ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Nothing: a clone that is cancelled goes away."""

        origin = self.project.origin
        with Cloned(("127.0.0.1", 0), functools.partial(Held, directory=str(origin.parent))) as cloned:
            thread = threading.Thread(target=cloned.serve_forever)
            thread.start()
            try:
                yield HeldSource(f"http://127.0.0.1:{cloned.server_address[1]}/{origin.name}", may_go_on.set)
            finally:
                may_go_on.set()
                cloned.shutdown()
                thread.join()

    def let_pods_start(self, server: Server) -> None:
        self._running[server].clock.now += 100.0

    def values(self, server: Server, app: str) -> dict[str, str | None]:
        return self._running[server].cluster._apps[Target("apps", app)].newest.config.env or {}

    def audited(self, server: Server) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._running[server].audited.getvalue().splitlines()]

    def stop(self) -> None:
        for running in self._running.values():
            running.thread.end()


class ServingThread(threading.Thread):
    """Serves an application, which is made in the thread since it holds queues of its event loop."""

    def __init__(self, make: Callable[[], DeployApi], listener: Any) -> None:
        super().__init__()
        self._make, self._listener = make, listener
        self._answers = threading.Event()
        self._server: _Uvicorn
        self.start()
        assert self._answers.wait(SECONDS_A_COMMAND)

    def run(self) -> None:
        app = self._make()
        # Without a configuration of its own its log goes where pytest sees it.
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
        self._server = _Uvicorn(config, app, self._answers)
        with self._listener:
            self._server.run(sockets=[self._listener])

    def end(self) -> None:
        self._server.should_exit = True
        self.join()


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: DeployApi, answers: threading.Event) -> None:
        super().__init__(config)
        self._app, self._answers = app, answers

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self._answers.set()

    async def shutdown(self, sockets: Any = None) -> None:
        await self._app.end()
        await super().shutdown(sockets)


@dataclass
class _Running:
    thread: ServingThread
    cluster: MemoryCluster
    clock: Clock
    audited: io.StringIO


IMPLEMENTATIONS: dict[str, type[Implementation]] = {"memory": Memory}
