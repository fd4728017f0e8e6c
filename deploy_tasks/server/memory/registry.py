"""The sandbox's registry: one of its own on disk, or one that runs elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urljoin

import requests
from requests.auth import HTTPBasicAuth
from starlette.concurrency import run_in_threadpool

from ..interfaces import Refused, Registry
from .manifests import ACCEPTED_TYPES, MANIFEST_TYPE, digest_of
from .store import Store

_SECONDS_TO_CONNECT_AND_READ = (10, 30)


class WritableRegistry(Registry, Protocol):
    """A registry that a builder can push to."""

    async def push(self, name: str, tag: str, blobs: list[bytes], manifest: bytes) -> str:
        """Stores blobs and manifest, points `tag` at it, returns its digest. Refused (502) if it cannot be asked."""


class DiskRegistry:
    """Images in a folder. `distribution.py` serves `store` over `/v2/`."""

    def __init__(self, folder: Path, address: str) -> None:
        self.address = address
        self.store = Store(folder)

    async def digest(self, name: str, reference: str) -> str | None:
        return await run_in_threadpool(self.store.find, name, reference)

    async def push(self, name: str, tag: str, blobs: list[bytes], manifest: bytes) -> str:
        def push() -> str:
            for blob in blobs:
                self.store.put_blob(name, blob)
            return self.store.put_manifest(name, tag, manifest, MANIFEST_TYPE)[0]

        return await run_in_threadpool(push)


class OutsideRegistry:
    """A registry that runs elsewhere, spoken to over `/v2/`, with Basic authentication where credentials are given."""

    def __init__(self, address: str, username: str | None, password: str | None) -> None:
        self.address = address
        host = address.partition(":")[0]
        self._base = f"{'http' if host in ('127.0.0.1', 'localhost') else 'https'}://{address}/v2"
        self._session = requests.Session()
        self._session.auth = HTTPBasicAuth(username.encode(), password.encode()) if username and password else None

    async def digest(self, name: str, reference: str) -> str | None:
        return await run_in_threadpool(self._digest, name, reference)

    async def push(self, name: str, tag: str, blobs: list[bytes], manifest: bytes) -> str:
        return await run_in_threadpool(self._push, name, tag, blobs, manifest)

    def _digest(self, name: str, reference: str) -> str | None:
        path, headers = f"/{name}/manifests/{reference}", {"Accept": ACCEPTED_TYPES}
        answer = self._ask("HEAD", path, 404, headers=headers)
        if answer.status_code == 200 and "Docker-Content-Digest" not in answer.headers:
            # The header is optional; the bytes are not.
            answer = self._ask("GET", path, 404, headers=headers)
        if answer.status_code == 404:
            return None
        return answer.headers.get("Docker-Content-Digest") or digest_of(answer.content)

    def _push(self, name: str, tag: str, blobs: list[bytes], manifest: bytes) -> str:
        for blob in blobs:
            url = urljoin(self._base, self._ask("POST", f"/{name}/blobs/uploads/").headers.get("Location", ""))
            # Through params, which keeps the upload's own query (`?_state=…`).
            self._ask("PUT", url, params={"digest": digest_of(blob)}, data=blob)
        self._ask("PUT", f"/{name}/manifests/{tag}", data=manifest, headers={"Content-Type": MANIFEST_TYPE})
        return digest_of(manifest)

    def _ask(self, method: str, path: str, *also: int, **options: Any) -> requests.Response:
        """The answer. Refused (502) where there is none, or one whose status is neither 2xx nor among `also`."""
        url = path if "://" in path else self._base + path
        try:
            answer = self._session.request(method, url, timeout=_SECONDS_TO_CONNECT_AND_READ, **options)
        except requests.RequestException as error:
            # Without the cause: a request of `requests` holds the registry's password.
            raise self._unavailable(f"cannot be reached ({type(error).__name__})") from None
        if not 200 <= answer.status_code < 300 and answer.status_code not in also:
            raise self._unavailable(f"answered {answer.status_code} to {method}")
        return answer

    def _unavailable(self, why: str) -> Refused:
        return Refused(502, "registry-unavailable", f"the registry {self.address} {why}")
