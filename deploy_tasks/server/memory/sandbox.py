"""The sandbox: the Deploy API in memory, with a registry beside it, for programs on this machine."""

from __future__ import annotations

import secrets
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import serving
from ..app import create_app
from ..audit import Audit
from ..auth import Keys
from .builder import Limits, MemoryBuilder
from .cluster import MemoryCluster
from .distribution import routes
from .door import Door
from .images import ArchiveImageBuilder, DockerImageBuilder, ImageBuilder
from .registry import DiskRegistry, OutsideRegistry, WritableRegistry

# Nobody else waits for a sandbox, so all apps of one command line may build at once.
_LIMITS = Limits(running=32)
_BUILDERS: dict[str, Callable[[WritableRegistry], ImageBuilder]] = {
    "archive": ArchiveImageBuilder,
    "docker": DockerImageBuilder,
}


class SandboxError(Exception):
    """The sandbox cannot start; the message says why."""


@dataclass(frozen=True)
class Options:
    """How to run. `key` None makes a random one, `data` None a temporary folder. `build_seconds` is the least that a
    build takes, `replica_seconds` what each replica takes to be ready. With `fail_rollout` no new replica ever is.
    `minimal` serves what the specification has."""

    port: int = 0
    host: str = "127.0.0.1"
    registry: str | None = None
    registry_username: str | None = None
    registry_password: str | None = field(default=None, repr=False)
    builder: str = "archive"
    key: str | None = field(default=None, repr=False)
    data: Path | None = None
    build_seconds: float = 0.0
    replica_seconds: float = 0.2
    fail_rollout: bool = False
    minimal: bool = False


def serve(options: Options) -> None:
    """Runs the sandbox until SIGINT or SIGTERM. Prints, once it listens, the lines to paste. Raises SandboxError."""
    # uvicorn restores this handler when it is done, then repeats the signal. The exit removes temporary files.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with suppress(KeyboardInterrupt):
            _serve(options)
    except serving.CannotListen as error:
        raise SandboxError(str(error)) from error
    except OSError as error:
        raise SandboxError(f"{error.strerror}: {error.filename or 'stdout'}") from error


def _serve(options: Options) -> None:
    if options.builder not in _BUILDERS:
        raise SandboxError(f"{options.builder!r} is not a builder: {' or '.join(_BUILDERS)}")
    key = options.key or secrets.token_urlsafe(24)
    with ExitStack() as stack:
        listener = stack.enter_context(serving.listen(options.host, options.port))
        port = listener.getsockname()[1]
        data = options.data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deploy-sandbox-")))
        registry: WritableRegistry
        beside: list[Route] = []
        if options.registry:
            registry = OutsideRegistry(options.registry, options.registry_username, options.registry_password)
        else:
            # No image reference has brackets in it, so an IPv6 loopback is named.
            host = "localhost" if options.host in ("::", "::1") else serving.printed_host(options.host)
            disk = DiskRegistry(data, f"{host}:{port}")
            registry, beside = disk, routes(disk)
        app = create_app(
            MemoryBuilder(registry, _BUILDERS[options.builder](registry), options.build_seconds, limits=_LIMITS),
            registry,
            MemoryCluster(options.replica_seconds, fail_rollout=options.fail_rollout),
            Keys.single("sandbox", key),
            Audit(None),
            routes=beside,
            middleware=[Middleware(Door, options.host.lower())],
            minimal=options.minimal,
        )
        lines = ["Deploy API sandbox. Paste this into a shell or a .env; Ctrl-C ends it."]
        if not serving.is_loopback(listener.getsockname()[0]):
            lines.append(
                f"warning: {options.host} is not only this machine: whoever reaches port {port} can push and pull "
                "images without a key"
            )
        settings = {
            "DEPLOY_API_URL": f"http://{serving.printed_host(options.host)}:{port}",
            "DEPLOY_API_KEY": key,
            "DEPLOY_REGISTRY": registry.address,
        }

        def announce() -> None:
            print(*lines, sep="\n", file=sys.stderr, flush=True)  # noqa: T201
            for name, value in settings.items():
                print(f"export {name}={shlex.quote(value)}", flush=True)  # noqa: T201

        serving.run(_Log(app), listener, announce=announce, end=app.end)


class _Log:
    """Writes each request and its status to stderr."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                query = b"?" + scope["query_string"] if scope["query_string"] else b""
                target = _printable(scope["raw_path"] + query)
                print(f"{scope['method']} {target} {message['status']}", file=sys.stderr, flush=True)  # noqa: T201
            await send(message)

        await self._app(scope, receive, sending)


def _printable(target: bytes) -> str:
    """A request's target with every byte escaped that is no visible ASCII."""
    return "".join(chr(byte) if 0x20 < byte < 0x7F else f"\\x{byte:02x}" for byte in target)
