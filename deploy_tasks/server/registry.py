"""The sandbox's registry: images on disk, and `/v2/` of the OCI distribution spec over them; or an outside registry.

Source: OCI distribution-spec v1.1 ("Endpoints", "Error Codes"), as far as docker, podman and skopeo need it.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import requests
from requests.auth import HTTPBasicAuth
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
TAG = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"
DIGEST = r"sha256:[0-9a-f]{64}"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_LONGEST_NAME = 255
_MOST_MANIFEST_BYTES = 4 * 1024 * 1024


class RegistryError(Exception):
    """A request that the spec refuses: one of its error codes, and the HTTP status that goes with it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Registry(Protocol):
    """What the sandbox needs of a registry; both methods block."""

    address: str

    def digest(self, name: str, reference: str) -> str | None:
        """The digest of the manifest that a tag or a digest names in `name`, or None."""

    def push(self, name: str, tag: str, blobs: list[bytes], manifest: bytes) -> str:
        """Stores blobs and manifest, points `tag` at it, returns its digest."""


def digest_of(content: bytes) -> str:
    """The content address of `content`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class DiskRegistry:
    """Images under one folder: `blobs/<hex>`, `repositories/<name>/{tags/<tag>,manifests/<hex>,blobs/<hex>}`.

    Links under a repository, so that a digest is found only in the repositories it was pushed to.
    """

    def __init__(self, folder: Path, address: str) -> None:
        self.address = address
        self._blobs = folder / "blobs"
        self._repositories = folder / "repositories"
        self._uploads = folder / "uploads"
        for place in (self._blobs, self._repositories, self._uploads):
            place.mkdir(parents=True, exist_ok=True)

    def digest(self, name: str, reference: str) -> str | None:
        if re.fullmatch(DIGEST, reference):
            return reference if self._link(name, "manifests", reference).exists() else None
        try:
            return (self._place(name) / "tags" / reference).read_text()
        except FileNotFoundError:
            return None

    def push(self, name: str, tag: str, blobs: list[bytes], manifest: bytes) -> str:
        for blob in blobs:
            self.put_blob(name, blob)
        return self.put_manifest(name, tag, manifest, MANIFEST_TYPE)

    def blob(self, name: str, digest: str) -> Path | None:
        return self._stored(digest) if self._link(name, "blobs", digest).exists() else None

    def put_blob(self, name: str, content: bytes) -> None:
        upload = self.start_upload()
        self.append(upload, content)
        self.finish_upload(name, upload, digest_of(content))

    def start_upload(self) -> str:
        upload = uuid.uuid4().hex
        (self._uploads / upload).touch()
        return upload

    def append(self, upload: str, content: bytes) -> int:
        """Adds to an upload; returns its size so far, in bytes."""
        with self._upload(upload).open("ab") as file:
            file.write(content)
            return file.tell()

    def forget_upload(self, upload: str) -> None:
        self._upload(upload).unlink(missing_ok=True)

    def size(self, upload: str) -> int:
        return self._upload(upload).stat().st_size

    def finish_upload(self, name: str, upload: str, digest: str) -> None:
        path = self._upload(upload)
        with path.open("rb") as file:
            actual = hashlib.sha256()
            while piece := file.read(1 << 20):
                actual.update(piece)
        if f"sha256:{actual.hexdigest()}" != digest:
            path.unlink()
            raise RegistryError(400, "DIGEST_INVALID", "the bytes do not have the digest that was named")
        try:
            path.replace(self._stored(digest))
        except FileNotFoundError as error:
            raise _unknown_upload() from error
        self._touch(self._link(name, "blobs", digest))

    def mount(self, name: str, digest: str, source: str) -> bool:
        """Links a blob of another repository; whether it was there."""
        if not re.fullmatch(NAME, source) or self.blob(source, digest) is None:
            return False
        self._touch(self._link(name, "blobs", digest))
        return True

    def manifest(self, name: str, reference: str) -> tuple[str, str, bytes]:
        """Digest, media type and bytes of a manifest."""
        digest = self.digest(name, reference)
        if digest is None:
            raise RegistryError(404, "MANIFEST_UNKNOWN", f"{name} has no manifest {reference}")
        return digest, self._link(name, "manifests", digest).read_text(), self._stored(digest).read_bytes()

    def put_manifest(self, name: str, reference: str, content: bytes, media_type: str) -> str:
        digest = digest_of(content)
        by_digest = re.fullmatch(DIGEST, reference) is not None
        if by_digest and reference != digest:
            raise RegistryError(400, "DIGEST_INVALID", "the manifest does not have the digest that was named")
        self._check_parts(name, content)
        self._replace(self._stored(digest), content)
        self._replace(self._link(name, "manifests", digest), media_type.encode())
        if not by_digest:
            self._replace(self._place(name) / "tags" / reference, digest.encode())
        return digest

    def tags(self, name: str) -> list[str]:
        if not self._place(name).is_dir():
            raise RegistryError(404, "NAME_UNKNOWN", f"there is no repository {name}")
        folder = self._place(name) / "tags"
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []

    def _check_parts(self, name: str, content: bytes) -> None:
        try:
            manifest = json.loads(content)
            parts = [manifest["config"], *manifest["layers"]] if "config" in manifest else []
            missing = [part["digest"] for part in parts if not self._link(name, "blobs", part["digest"]).exists()]
            indexed = [part["digest"] for part in manifest.get("manifests", [])]
            missing += [digest for digest in indexed if not self._link(name, "manifests", digest).exists()]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RegistryError(400, "MANIFEST_INVALID", "this is not a manifest") from error
        if missing:
            raise RegistryError(404, "MANIFEST_BLOB_UNKNOWN", f"not pushed yet: {', '.join(missing)}")

    def _replace(self, path: Path, content: bytes) -> None:
        """Writes so that a reader sees the old content or the new."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._uploads / f"{uuid.uuid4().hex}.new"
        temporary.write_bytes(content)
        temporary.replace(path)

    def _place(self, name: str) -> Path:
        if len(name) > _LONGEST_NAME:
            raise RegistryError(400, "NAME_INVALID", f"a repository name has at most {_LONGEST_NAME} characters")
        # `/` in a name would nest one repository in another's folders; `+` is in no name.
        return self._repositories / name.replace("/", "+")

    def _link(self, name: str, kind: str, digest: str) -> Path:
        if not re.fullmatch(DIGEST, digest):
            raise RegistryError(400, "DIGEST_INVALID", f"{digest!r} is not a sha256 digest")
        return self._place(name) / kind / digest.removeprefix("sha256:")

    def _stored(self, digest: str) -> Path:
        return self._blobs / digest.removeprefix("sha256:")

    def _upload(self, upload: str) -> Path:
        path = self._uploads / upload
        if not re.fullmatch(r"[0-9a-f]{32}", upload) or not path.is_file():
            raise _unknown_upload()
        return path

    @staticmethod
    def _touch(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _unknown_upload() -> RegistryError:
    return RegistryError(404, "BLOB_UPLOAD_UNKNOWN", "there is no such upload")


class OutsideRegistry:
    """A registry that runs elsewhere, spoken to over `/v2/`, with Basic authentication where credentials are given."""

    def __init__(self, address: str, username: str | None, password: str | None) -> None:
        self.address = address
        host = address.partition(":")[0]
        self._base = f"{'http' if host in ('127.0.0.1', 'localhost') else 'https'}://{address}/v2"
        self._session = requests.Session()
        self._session.auth = HTTPBasicAuth(username.encode(), password.encode()) if username and password else None

    def digest(self, name: str, reference: str) -> str | None:
        accepted = ", ".join(
            [
                MANIFEST_TYPE,
                "application/vnd.oci.image.index.v1+json",
                "application/vnd.docker.distribution.manifest.v2+json",
                "application/vnd.docker.distribution.manifest.list.v2+json",
            ]
        )
        answer = self._ask("HEAD", f"/{name}/manifests/{reference}", headers={"Accept": accepted})
        return None if answer is None else str(answer.headers["Docker-Content-Digest"])

    def push(self, name: str, tag: str, blobs: list[bytes], manifest: bytes) -> str:
        for blob in blobs:
            started = self._ask("POST", f"/{name}/blobs/uploads/")
            location = "" if started is None else str(started.headers["Location"])
            url = location if "://" in location else self._base.removesuffix("/v2") + location
            # Through params, which keeps the upload's own query (`?_state=…`).
            self._ask("PUT", url, params={"digest": digest_of(blob)}, data=blob)
        self._ask("PUT", f"/{name}/manifests/{tag}", data=manifest, headers={"Content-Type": MANIFEST_TYPE})
        return digest_of(manifest)

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        url = path if "://" in path else self._base + path
        try:
            answer = self._session.request(method, url, timeout=30, **options)
        except requests.RequestException as error:
            # Not from the cause: a request of `requests` holds the registry's password.
            raise RegistryError(502, "UNAVAILABLE", f"{self.address}: {type(error).__name__}") from None
        if answer.status_code == 404 and method == "HEAD":
            return None
        if not 200 <= answer.status_code < 300:
            raise RegistryError(502, "UNAVAILABLE", f"{self.address} answered {answer.status_code} to {method}")
        return answer


def routes(registry: DiskRegistry) -> list[Route]:
    """`/v2/` over `registry`."""
    return [
        Route("/v2/", _version, methods=["GET", "HEAD"]),
        Route("/v2/{rest:path}", _Endpoints(registry), methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
    ]


async def body_of(request: Request, most: int) -> bytes | None:
    """The body of a request; None, with the rest of it unread, where it has more than `most` bytes."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            return None
    return bytes(body)


async def _version(_request: Request) -> Response:
    return JSONResponse({}, headers={"Docker-Distribution-Api-Version": "registry/2.0"})


class _Endpoints:
    """The endpoints with a repository's name amid their path: taken apart here, since it may hold `/`."""

    def __init__(self, registry: DiskRegistry) -> None:
        self._registry = registry
        self._patterns: list[tuple[re.Pattern[str], Callable[..., Awaitable[Response]]]] = [
            (re.compile(rf"({NAME})/manifests/({TAG}|{DIGEST})"), self._manifest),
            (re.compile(rf"({NAME})/blobs/uploads/"), self._start_upload),
            (re.compile(rf"({NAME})/blobs/uploads/([0-9a-f]+)"), self._upload),
            (re.compile(rf"({NAME})/blobs/({DIGEST})"), self._blob),
            (re.compile(rf"({NAME})/tags/list"), self._tags),
        ]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request)
        except RegistryError as error:
            response = JSONResponse(
                {"errors": [{"code": error.code, "message": error.message, "detail": None}]}, status_code=error.status
            )
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        for pattern, endpoint in self._patterns:
            if match := pattern.fullmatch(request.path_params["rest"]):
                return await endpoint(request, *match.groups())
        raise RegistryError(404, "NAME_INVALID", "no such endpoint, or not a repository name")

    async def _manifest(self, request: Request, name: str, reference: str) -> Response:
        if request.method == "PUT":
            content = await body_of(request, _MOST_MANIFEST_BYTES)
            if content is None:
                raise RegistryError(413, "SIZE_INVALID", "a manifest has at most 4 MiB")
            media_type = request.headers.get("Content-Type", MANIFEST_TYPE)
            digest = self._registry.put_manifest(name, reference, content, media_type)
            location = f"/v2/{name}/manifests/{digest}"
            return Response(status_code=201, headers={"Location": location, "Docker-Content-Digest": digest})
        self._only(request, "GET", "HEAD")
        digest, media_type, content = self._registry.manifest(name, reference)
        headers = {"Docker-Content-Digest": digest, "Content-Type": media_type, "Content-Length": str(len(content))}
        return Response(content if request.method == "GET" else b"", headers=headers)

    async def _blob(self, request: Request, name: str, digest: str) -> Response:
        self._only(request, "GET", "HEAD")
        path = self._registry.blob(name, digest)
        if path is None:
            raise RegistryError(404, "BLOB_UNKNOWN", f"{name} has no blob {digest}")
        return FileResponse(path, media_type="application/octet-stream", headers={"Docker-Content-Digest": digest})

    async def _start_upload(self, request: Request, name: str) -> Response:
        self._only(request, "POST")
        query = request.query_params
        if "mount" in query and self._registry.mount(name, query["mount"], query.get("from", "")):
            return self._stored(name, query["mount"])
        upload = self._registry.start_upload()
        if "digest" in query:
            return await self._finish(request, name, upload)
        return self._accepted(name, upload)

    async def _upload(self, request: Request, name: str, upload: str) -> Response:
        self._only(request, "PATCH", "PUT", "GET", "DELETE")
        if request.method == "DELETE":
            self._registry.forget_upload(upload)
            return Response(status_code=204)
        size = self._registry.size(upload)
        if request.method == "PATCH":
            begins = re.match(r"(?:bytes )?(\d+)-", request.headers.get("Content-Range", ""))
            if begins and begins[1] != str(size):
                raise RegistryError(416, "BLOB_UPLOAD_INVALID", f"the upload has {size} bytes so far")
            await self._receive(request, upload)
        if request.method == "PUT":
            return await self._finish(request, name, upload)
        return self._accepted(name, upload, 204 if request.method == "GET" else 202)

    async def _finish(self, request: Request, name: str, upload: str) -> Response:
        await self._receive(request, upload)
        digest = request.query_params.get("digest", "")
        await run_in_threadpool(self._registry.finish_upload, name, upload, digest)
        return self._stored(name, digest)

    async def _receive(self, request: Request, upload: str) -> None:
        async for piece in request.stream():
            if piece:
                self._registry.append(upload, piece)

    async def _tags(self, request: Request, name: str) -> Response:
        self._only(request, "GET")
        return JSONResponse({"name": name, "tags": self._registry.tags(name)})

    def _accepted(self, name: str, upload: str, status: int = 202) -> Response:
        size = self._registry.size(upload)
        headers = {
            "Location": f"/v2/{name}/blobs/uploads/{upload}",
            "Docker-Upload-UUID": upload,
            "Range": f"0-{max(0, size - 1)}",
        }
        return Response(status_code=status, headers=headers)

    def _stored(self, name: str, digest: str) -> Response:
        location = f"/v2/{name}/blobs/{digest}"
        return Response(status_code=201, headers={"Location": location, "Docker-Content-Digest": digest})

    @staticmethod
    def _only(request: Request, *methods: str) -> None:
        if request.method not in methods:
            raise RegistryError(405, "UNSUPPORTED", f"{request.method} is not served here")
