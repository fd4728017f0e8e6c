"""The sandbox's registry on a socket, and what tests push to it."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from pathlib import Path
from typing import Any

import requests
import uvicorn
from starlette.applications import Starlette

from deploy_tasks.server.memory.distribution import routes
from deploy_tasks.server.memory.registry import DiskRegistry
from tests.project import SECONDS_A_COMMAND, wait_until

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def listening() -> socket.socket:
    """A free port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    # asyncio does not set it of a socket made elsewhere, and each second answer would wait 40 ms for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class Served:
    """An ASGI application on a free port of this machine, in a thread."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self.url = f"http://{self.address}"
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],))
        self._thread.start()
        wait_until(lambda: self._server.started)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(SECONDS_A_COMMAND)

    def call(self, method: str, path: str, data: Any = None, **headers: str) -> requests.Response:
        url = path if path.startswith("http") else f"{self.url}{path}"
        return requests.request(method, url, data=data, headers=headers, timeout=SECONDS_A_COMMAND)


class ServedRegistry(Served):
    """A DiskRegistry over `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listener = listening()
        disk = DiskRegistry(folder, f"127.0.0.1:{listener.getsockname()[1]}")
        super().__init__(Starlette(routes=routes(disk)), listener)

    def start_upload(self, name: str) -> str:
        """Where to send the bytes of a blob."""
        started = self.call("POST", f"/v2/{name}/blobs/uploads/")
        assert started.status_code == 202
        return started.headers["Location"]

    def push_blob(self, name: str, content: bytes, algorithm: str = "sha256") -> str:
        digest = digest_of(content, algorithm)
        done = self.call("PUT", f"{self.start_upload(name)}?digest={digest}", content)
        assert (done.status_code, done.headers["Docker-Content-Digest"]) == (201, digest)
        assert self.call("GET", done.headers["Location"]).content == content
        return digest

    def push_manifest(self, name: str, reference: str, manifest: bytes) -> requests.Response:
        media_type = json.loads(manifest)["mediaType"]
        done = self.call("PUT", f"/v2/{name}/manifests/{reference}", manifest, **{"Content-Type": media_type})
        assert done.status_code == 201, done.text
        stored = self.call("GET", done.headers["Location"])
        assert (stored.content, stored.headers["Content-Type"]) == (manifest, media_type)
        return done

    def push_image(self, name: str, tag: str, content: bytes) -> bytes:
        """An image of one layer; returns its manifest."""
        config, layer = self.push_blob(name, b"{}"), self.push_blob(name, content)
        manifest = image(config, layers=[descriptor(LAYER, layer, len(content))])
        self.push_manifest(name, tag, manifest)
        return manifest


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def descriptor(media_type: str, digest: str, size: int, **more: object) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest, "size": size, **more}


def image(config: str, /, layers: list[dict[str, object]], **more: object) -> bytes:
    """A manifest whose config is the blob `{}`."""
    body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, config, 2), "layers": layers}
    return json.dumps({**body, **more}).encode()


def index(manifests: list[dict[str, object]] | None, **more: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, **more}).encode()


def code_of(answer: requests.Response) -> tuple[int, str]:
    """Status and code of an error, which has the form that the spec gives it."""
    [error] = answer.json()["errors"]
    assert set(error) == {"code", "message", "detail"}
    assert error["message"]
    return answer.status_code, error["code"]
