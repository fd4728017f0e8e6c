"""`/v2/`: a store of images, served as the OCI distribution spec has it.

Source: OCI distribution-spec v1.1 ("Endpoints", "Error Codes"); `_catalog` is of docker's registry, whose other clients
expect it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ..interfaces import Refused
from .manifests import INDEX_TYPE, MANIFEST_TYPE, checked
from .registry import DiskRegistry

_MOST_MANIFEST_BYTES = 4 * 1024 * 1024
_BYTES_AT_ONCE = 1024 * 1024
_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}

_Endpoint = Callable[..., Awaitable[Response]]


def routes(registry: DiskRegistry) -> list[Route]:
    """`/v2/` over `registry`. It asks for no key."""
    return [
        Route("/v2/", _version, methods=["GET", "HEAD"]),
        # Not a function, so the route lets every method through: a refused one is answered as the spec has it.
        Route("/v2/{rest:path}", _Endpoints(registry)),
    ]


async def _version(_request: Request) -> Response:
    return JSONResponse({}, headers=_VERSION)


class _Endpoints:
    """The endpoints with a repository's name amid their path: taken apart here, since it may hold `/`."""

    def __init__(self, registry: DiskRegistry) -> None:
        self._store = registry.store
        endpoints: dict[str, dict[str, _Endpoint]] = {
            r"/v2/(.+)/manifests/([^/]+)": {
                "GET": self._manifest,
                "HEAD": self._manifest,
                "PUT": self._put_manifest,
                "DELETE": self._delete_manifest,
            },
            r"/v2/(.+)/blobs/uploads/": {"POST": self._start_upload},
            r"/v2/(.+)/blobs/uploads/([^/]+)": {
                "GET": self._upload,
                "PATCH": self._add_to_upload,
                "PUT": self._finish_upload,
                "DELETE": self._give_up_upload,
            },
            r"/v2/(.+)/blobs/([^/]+)": {"GET": self._blob, "HEAD": self._blob, "DELETE": self._delete_blob},
            r"/v2/(.+)/tags/list": {"GET": self._tags},
            r"/v2/(.+)/referrers/([^/]+)": {"GET": self._referrers},
            r"/v2/_catalog": {"GET": self._catalog},
        }
        self._endpoints = [(re.compile(pattern), methods) for pattern, methods in endpoints.items()]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request)
        except Refused as refused:
            response = _refusal(refused)
        except ClientDisconnect:
            response = _refusal(Refused(400, "BLOB_UPLOAD_INVALID", "the request ended early"))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        # Not from the route's parameters: a route also matches a path with a line break at its end, and drops that.
        path = request.scope["path"]
        for pattern, methods in self._endpoints:
            if match := pattern.fullmatch(path):
                if endpoint := methods.get(request.method):
                    return await endpoint(request, *match.groups())
                refused = _refusal(Refused(405, "UNSUPPORTED", f"{request.method} is not served here"))
                refused.headers["Allow"] = ", ".join(methods)
                return refused
        raise Refused(404, "UNSUPPORTED", "there is no such endpoint")

    async def _manifest(self, request: Request, name: str, reference: str) -> Response:
        found = await run_in_threadpool(self._store.manifest, name, reference)
        size = str(len(found.content))
        headers = {"Content-Type": found.media_type, "Content-Length": size, "Docker-Content-Digest": found.digest}
        return Response(b"" if request.method == "HEAD" else found.content, headers=headers)

    async def _put_manifest(self, request: Request, name: str, reference: str) -> Response:
        content = bytearray()
        async for piece in request.stream():
            content += piece
            if len(content) > _MOST_MANIFEST_BYTES:
                raise Refused(413, "SIZE_INVALID", "a manifest has at most 4 MiB")
        media_type = request.headers.get("Content-Type", MANIFEST_TYPE)
        digest, manifest = await run_in_threadpool(
            self._store.put_manifest, name, reference, bytes(content), media_type
        )
        created = _created(f"/v2/{name}/manifests/{digest}", digest)
        if manifest.subject:
            created.headers["OCI-Subject"] = manifest.subject.digest
        return created

    async def _delete_manifest(self, _request: Request, name: str, reference: str) -> Response:
        await run_in_threadpool(self._store.delete_manifest, name, reference)
        return Response(status_code=202)

    async def _referrers(self, request: Request, name: str, subject: str) -> Response:
        manifests = await run_in_threadpool(self._store.referrers, name, subject)
        headers = {}
        if wanted := request.query_params.get("artifactType"):
            manifests = [manifest for manifest in manifests if manifest.get("artifactType") == wanted]
            headers = {"OCI-Filters-Applied": "artifactType"}
        index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests}
        return JSONResponse(index, media_type=INDEX_TYPE, headers=headers)

    async def _blob(self, request: Request, name: str, digest: str) -> Response:
        path = await run_in_threadpool(self._store.blob, name, digest)
        size = (await run_in_threadpool(path.stat)).st_size
        headers = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        if request.method == "HEAD":
            return Response(headers={**headers, "Content-Length": str(size), "Accept-Ranges": "bytes"})
        wanted = re.fullmatch(r"bytes=(\d{1,18})-(\d{0,18})", request.headers.get("Range", ""))
        if wanted and not int(wanted[1]) <= min(size - 1, int(wanted[2] or size)):
            refused = _refusal(Refused(416, "SIZE_INVALID", f"this range is not in a blob of {size} bytes"))
            refused.headers["Content-Range"] = f"bytes */{size}"
            return refused
        return FileResponse(path, headers=headers)

    async def _delete_blob(self, _request: Request, name: str, digest: str) -> Response:
        await run_in_threadpool(self._store.delete_blob, name, digest)
        return Response(status_code=202)

    async def _start_upload(self, request: Request, name: str) -> Response:
        query = request.query_params
        if "mount" in query:
            digest = checked(query["mount"])
            if await run_in_threadpool(self._store.mount, name, digest, query.get("from")):
                return _created(f"/v2/{name}/blobs/{digest}", digest)
        if "digest" not in query:
            upload = await run_in_threadpool(self._store.start_upload, name)
            return _uploaded(name, upload, 0, 202)
        checked(query["digest"])
        upload = await run_in_threadpool(self._store.start_upload, name)
        try:
            return await self._finish_upload(request, name, upload)
        except ClientDisconnect:
            await run_in_threadpool(self._store.forget_upload, upload)
            raise

    async def _upload(self, _request: Request, name: str, upload: str) -> Response:
        return _uploaded(name, upload, await run_in_threadpool(self._store.size, upload), 204)

    async def _add_to_upload(self, request: Request, name: str, upload: str) -> Response:
        return _uploaded(name, upload, await self._receive(request, upload), 202)

    async def _finish_upload(self, request: Request, name: str, upload: str) -> Response:
        digest = checked(request.query_params.get("digest", ""))
        await self._receive(request, upload)
        await run_in_threadpool(self._store.finish_upload, name, upload, digest)
        return _created(f"/v2/{name}/blobs/{digest}", digest)

    async def _give_up_upload(self, _request: Request, _name: str, upload: str) -> Response:
        await run_in_threadpool(self._store.forget_upload, upload)
        return Response(status_code=204)

    async def _receive(self, request: Request, upload: str) -> int:
        """Adds the body to an upload, at the place that `Content-Range` names if any; returns the size so far."""
        size = None
        if "Content-Range" in request.headers:
            begins = re.match(r"(?:bytes[ =])?(\d{1,18})-", request.headers["Content-Range"])
            if begins is None:
                raise Refused(416, "BLOB_UPLOAD_INVALID", "the Content-Range of a chunk is START-END, in bytes")
            size = int(begins[1])
        pieces = bytearray()
        async for piece in request.stream():
            pieces += piece
            if len(pieces) >= _BYTES_AT_ONCE:
                size = await run_in_threadpool(self._store.append, upload, bytes(pieces), size)
                pieces.clear()
        return await run_in_threadpool(self._store.append, upload, bytes(pieces), size)

    async def _tags(self, request: Request, name: str) -> Response:
        tags = await run_in_threadpool(self._store.tags, name)
        return _page(request, {"name": name}, "tags", tags)

    async def _catalog(self, request: Request) -> Response:
        return _page(request, {}, "repositories", await run_in_threadpool(self._store.names))


def _page(request: Request, body: dict[str, Any], key: str, entries: list[str]) -> Response:
    """Of the sorted `entries` those after `last`, at most `n`; `Link` names the page that follows."""
    query, headers = request.query_params, {}
    if "last" in query:
        entries = entries[bisect_right(entries, query["last"]) :]
    if "n" in query:
        if not re.fullmatch(r"[0-9]{1,9}", query["n"]):
            raise Refused(400, "PAGINATION_NUMBER_INVALID", "n is a whole number, 0 or more")
        number = int(query["n"])
        if 0 < number < len(entries):
            following = urlencode({"n": number, "last": entries[number - 1]})
            headers = {"Link": f'<{request.url.path}?{following}>; rel="next"'}
        entries = entries[:number]
    return JSONResponse({**body, key: entries}, headers=headers)


def _created(location: str, digest: str) -> Response:
    return Response(status_code=201, headers={"Location": location, "Docker-Content-Digest": digest})


def _uploaded(name: str, upload: str, size: int, status: int) -> Response:
    headers = {
        "Location": f"/v2/{name}/blobs/uploads/{upload}",
        "Docker-Upload-UUID": upload,
        # Both ends count, so that one byte and none look the same; docker's registry writes it so too.
        "Range": f"0-{max(0, size - 1)}",
    }
    return Response(status_code=status, headers=headers)


def _refusal(refused: Refused) -> Response:
    error = {"code": refused.code, "message": refused.message, "detail": None}
    return JSONResponse({"errors": [error]}, status_code=refused.status)
