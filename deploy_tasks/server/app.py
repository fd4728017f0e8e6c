"""The sandbox's routes: the Deploy API as `docs/deploy-api.md` has it, and the registry beside it, on one port."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import os
import re
import secrets
import shlex
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .builder import ArchiveBuilder, Builder, BuildFailure, EngineBuilder, Source, end_builds, run_build
from .cluster import Cluster
from .registry import DIGEST, NAME, TAG, DiskRegistry, OutsideRegistry, Registry, RegistryError, body_of, routes

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_WAIT = 3600.0
_SECONDS_A_LINE = 0.5
_MOST_JSON_BYTES = 1024 * 1024
_ALL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104 - compared
_BUILDERS: dict[str, Callable[[Registry], Builder]] = {"archive": ArchiveBuilder, "docker": EngineBuilder}


class SandboxError(Exception):
    """The sandbox cannot start; the message says why."""


@dataclass(frozen=True)
class Options:
    """How to run. `key` None makes a random one, `data` None a temporary folder; `build_seconds` is the least that a
    build takes, `replica_seconds` what each replica takes to be ready; `minimal` serves what the specification has."""

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
    minimal: bool = False


@dataclass
class Job:
    """A build. `over` is set when `status` is final."""

    name: str
    status: str = "pending"
    error: str | None = None
    lines: list[str] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Sandbox:
    """The API's endpoints over a registry, a builder and a cluster."""

    def __init__(self, options: Options, registry: Registry, builder: Builder) -> None:
        self._options = options
        self._registry = registry
        self._builder = builder
        self._cluster = Cluster(options.replica_seconds)
        self._jobs: dict[str, Job] = {}
        self._running: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        specified = [
            Route("/build", self._build, methods=["POST"]),
            Route("/build/{job}/wait", self._wait, methods=["POST"]),
            Route("/registry/{name:path}/digest", self._digest, methods=["GET"]),
        ]
        known = [
            Route("/build/{job}", self._status, methods=["GET"]),
            Route("/build/{job}/logs", self._logs, methods=["GET"]),
            Route("/api/apps/{namespace}/{app}", self._app, methods=["GET"]),
        ]
        return specified if self._options.minimal else specified + known

    def end_waits(self) -> None:
        """Lets every open wait answer with what is known, since the sandbox ends."""
        for job in self._jobs.values():
            job.over.set()
        end_builds()

    async def _build(self, request: Request) -> Response:
        body = await _json_object(request)
        name = _text(body, "imageName", default=_text(body, "app", _LABEL), pattern=re.compile(NAME))
        _text(body, "namespace", _LABEL)
        if "buildId" in body:
            return await self._deploy(body, name)
        if body.get("deploy") is not False:
            raise HTTPException(400, "the sandbox builds with deploy: false, and deploys by buildId")
        source = Source(
            repo_url=_text(body, "repoUrl"),
            git_ref=_text(body, "gitRef"),
            git_token=_text(body, "gitToken", default="") or None,
            dockerfile=_text(body, "dockerfile", default="Dockerfile"),
            build_context=_text(body, "buildContext", default="."),
        )
        if source.git_ref.startswith("-") or source.repo_url.startswith("-"):
            raise HTTPException(400, "gitRef and repoUrl do not start with -")
        tag = _text(body, "imageTag", re.compile(TAG), default="latest")
        job = Job(f"build-{_text(body, 'app', _LABEL)[:40].rstrip('-')}-{secrets.token_hex(4)}")
        self._jobs[job.name] = job
        task = asyncio.create_task(self._run(job, source, name, tag))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        answer = {"jobName": job.name}
        if not self._options.minimal:
            answer["image"] = f"{self._registry.address}/{name}:{tag}"
        return JSONResponse(answer, status_code=202)

    async def _run(self, job: Job, source: Source, name: str, tag: str) -> None:
        job.status = "running"
        start = time.monotonic()
        try:
            await run_in_threadpool(run_build, source, self._builder, name, tag, job.lines.append)
            while (left := self._options.build_seconds - (time.monotonic() - start)) > 0:
                await asyncio.sleep(min(_SECONDS_A_LINE, left))
                job.lines.append(f"INFO[{time.monotonic() - start:06.1f}] taking its time, as a build in life does")
            job.status = "succeeded"
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in a build is that build's failure
            job.error = (
                str(error) if isinstance(error, BuildFailure | RegistryError) else f"{type(error).__name__}: {error}"
            )
            job.lines.append(f"error: {job.error}")
            job.status = "failed"
        job.over.set()

    async def _deploy(self, body: dict[str, Any], name: str) -> Response:
        build_id = _text(body, "buildId", re.compile(DIGEST))
        config = body.get("deployConfig")
        if (
            body.get("deploy") is not True
            or not isinstance(config, dict)
            or not ("port" in config or "ports" in config)
        ):
            raise HTTPException(400, "a buildId needs deploy: true and a deployConfig with port or ports")
        if not isinstance(config.get("replicas", 1), int):
            raise HTTPException(400, "replicas is a whole number")
        if await run_in_threadpool(self._registry.digest, name, build_id) is None:
            raise HTTPException(404, f"manifest {build_id} is not in the registry for {name}; nothing was built")
        image = f"{self._registry.address}/{name}@{build_id}"
        self._cluster.deploy(body["namespace"], body["app"], image, config)
        if self._options.minimal:
            return JSONResponse({"skipped": True})
        return JSONResponse({"success": True, "skipped": True, "status": "succeeded", "image": image})

    async def _wait(self, request: Request) -> Response:
        job = self._job(request)
        try:
            seconds = min(float(request.query_params.get("timeout", "1800")), _LONGEST_WAIT)
        except ValueError as error:
            raise HTTPException(400, "timeout is a number of seconds") from error
        try:
            await asyncio.wait_for(job.over.wait(), seconds)
        except asyncio.TimeoutError as error:
            if self._options.minimal:
                raise HTTPException(408, "the build is not over") from error
        # The specification has no status; without one in this case, nobody could tell a failed build from a good one.
        is_plain = self._options.minimal and job.status != "failed"
        return JSONResponse({"jobName": job.name} if is_plain else self._described(job))

    async def _status(self, request: Request) -> Response:
        return JSONResponse(self._described(self._job(request)))

    async def _logs(self, request: Request) -> Response:
        return JSONResponse({"logs": "".join(f"{line}\n" for line in self._job(request).lines)})

    async def _digest(self, request: Request) -> Response:
        name, tag = request.path_params["name"], request.query_params.get("tag", "")
        if len(name) > 255 or not re.fullmatch(NAME, name) or not re.fullmatch(TAG, tag):
            raise HTTPException(400, "not an image name or not a tag")
        digest = await run_in_threadpool(self._registry.digest, name, tag)
        if digest is None:
            raise HTTPException(404, f"{name} has no tag {tag}")
        return JSONResponse({"buildId": digest})

    async def _app(self, request: Request) -> Response:
        namespace, app = request.path_params["namespace"], request.path_params["app"]
        described = self._cluster.describe(namespace, app)
        if described is None:
            raise HTTPException(404, f"no app {app} in {namespace}")
        return JSONResponse({"app": described})

    def _job(self, request: Request) -> Job:
        job = self._jobs.get(request.path_params["job"])
        if job is None:
            raise HTTPException(404, "no such job")
        return job

    @staticmethod
    def _described(job: Job) -> dict[str, Any]:
        described = {"jobName": job.name, "status": job.status}
        return {**described, "error": job.error} if job.error else described


class _Door:
    """Checks each request before the routes see it, and logs it on stderr: whether it is for this machine, and the key
    (the registry asks for none). `host` is what the sandbox listens on."""

    def __init__(self, app: Any, key: str, host: str) -> None:
        self._app = app
        self._key = key.encode()
        self._host = host

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                query = b"?" + scope["query_string"] if scope["query_string"] else b""
                target = _printable(scope["raw_path"] + query)
                print(f"{scope['method']} {target} {message['status']}", file=sys.stderr, flush=True)  # noqa: T201
            await send(message)

        headers = dict(scope["headers"])
        is_registry = scope["path"] == "/v2" or scope["path"].startswith("/v2/")
        answer = self._app
        if not self._is_for_this_machine(headers):
            answer = JSONResponse({"error": "the sandbox is for programs on this machine; see --host"}, status_code=403)
        elif not is_registry and not hmac.compare_digest(headers.get(b"x-api-key", b""), self._key):
            answer = JSONResponse({"error": "the key is missing or wrong"}, status_code=401)
        await answer(scope, receive, sending)

    def _is_for_this_machine(self, headers: dict[bytes, bytes]) -> bool:
        """Whether no web page of elsewhere asks by way of a browser on this machine. The browser names the page in
        `Origin`, and in `Host` if the page's name leads here (DNS rebinding)."""
        origin = headers.get(b"origin")
        host = _host_of(b"//" + headers.get(b"host", b""))
        return (self._host in _ALL_ADDRESSES or self._is_ours(host)) and (
            origin is None or self._is_ours(_host_of(origin))
        )

    def _is_ours(self, host: str) -> bool:
        return host in ("localhost", self._host) or _is_loopback(host)


def _host_of(url: bytes) -> str:
    try:
        return urlsplit(url.decode("latin-1")).hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _printable(target: bytes) -> str:
    """A request's target with every byte escaped that is no visible ASCII."""
    return "".join(chr(byte) if 0x20 < byte < 0x7F else f"\\x{byte:02x}" for byte in target)


def serve(options: Options) -> None:
    """Runs the sandbox until SIGINT or SIGTERM. Prints, once it listens, the lines to paste. Raises SandboxError."""
    # The server restores this handler when it is done and sends itself the signal again: time to tidy up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with suppress(KeyboardInterrupt):
            _serve(options)
    except OSError as error:
        raise SandboxError(f"{error.strerror}: {error.filename or 'stdout'}") from error


def _serve(options: Options) -> None:
    if options.builder not in _BUILDERS:
        raise SandboxError(f"{options.builder!r} is not a builder: {' or '.join(_BUILDERS)}")
    key = options.key or secrets.token_urlsafe(24)
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(options))
        port = listener.getsockname()[1]
        data = options.data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deploy-sandbox-")))
        registry: Registry
        api_routes: list[Route] = []
        if options.registry:
            registry = OutsideRegistry(options.registry, options.registry_username, options.registry_password)
        else:
            # No image reference has brackets in it, so an IPv6 loopback is named.
            host = "localhost" if options.host in ("::", "::1") else _printed_host(options.host)
            registry = DiskRegistry(data, f"{host}:{port}")
            api_routes = routes(registry)
        sandbox = Sandbox(options, registry, _BUILDERS[options.builder](registry))
        app = Starlette(
            routes=[*sandbox.routes(), *api_routes],
            exception_handlers={HTTPException: _refusal, RegistryError: _registry_refusal, ClientDisconnect: _cut},
        )
        config = uvicorn.Config(
            _Door(app, key, options.host.lower()),
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        server = _AnnouncingServer(config)
        server.sandbox = sandbox
        if not _is_loopback(listener.getsockname()[0]):
            server.warning = (
                f"warning: {options.host} is not only this machine: whoever reaches port {port} can push and pull "
                "images without a key"
            )
        server.lines = _lines_to_paste(f"http://{_printed_host(options.host)}:{port}", key, registry.address)
        server.run(sockets=[listener])


class _AnnouncingServer(uvicorn.Server):
    """Prints its lines once it answers and its signal handlers are in place, not before."""

    sandbox: Sandbox
    lines: list[str]
    warning = ""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.sandbox.end_waits()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print("Deploy API sandbox. Paste this into a shell or a .env; Ctrl-C ends it.", file=sys.stderr)  # noqa: T201
        if self.warning:
            print(self.warning, file=sys.stderr, flush=True)  # noqa: T201
        for line in self.lines:
            print(line, flush=True)  # noqa: T201


def _lines_to_paste(url: str, key: str, registry: str) -> list[str]:
    settings = {"DEPLOY_API_URL": url, "DEPLOY_API_KEY": key, "DEPLOY_REGISTRY": registry}
    return [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]


def _listen(options: Options) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        listener = socket.create_server((options.host, options.port), family=family, backlog=256)
        # asyncio does not set it of a socket made elsewhere, and each second answer would wait 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(getattr(error, "errno", 0) or 22)
        raise SandboxError(
            f"cannot listen on {options.host}:{options.port}: {reason}; --port 0 takes a free one"
        ) from error


def _printed_host(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - compared


async def _refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    return JSONResponse({"error": error.detail}, status_code=error.status_code)


async def _registry_refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RegistryError)  # noqa: S101 - what it is registered for
    return JSONResponse({"error": error.message}, status_code=error.status)


async def _cut(_request: Request, _error: Exception) -> Response:
    # Nobody reads it: the client went away before the end of its request.
    return JSONResponse({"error": "the request ended early"}, status_code=400)


async def _json_object(request: Request) -> dict[str, Any]:
    content = await body_of(request, _MOST_JSON_BYTES)
    if content is None:
        raise HTTPException(413, "the body has at most 1 MiB")
    try:
        body = _without_nulls(json.loads(content))
        # What comes in is what an answer repeats: half a surrogate pair and NaN cannot be sent.
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise HTTPException(400, "the body is not a JSON object")
    return body


def _without_nulls(value: Any) -> Any:
    """`value` without the fields of objects that are null: such a field is absent."""
    if not isinstance(value, dict):
        return value
    return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}


def _text(body: dict[str, Any], key: str, pattern: re.Pattern[str] | None = None, default: str | None = None) -> str:
    value = body.get(key, default)
    if not isinstance(value, str) or (default is None and not value) or (pattern and not pattern.fullmatch(value)):
        raise HTTPException(400, f"{key} is missing or malformed")
    return value
