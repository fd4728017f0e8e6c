"""The sandbox's registry over `/v2/`, as the OCI distribution spec has it."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.project import SECONDS_A_COMMAND
from tests.sandboxes import SandboxProcess

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def call(
    sandbox: SandboxProcess, method: str, path: str, data: bytes | None = None, **headers: str
) -> requests.Response:
    url = path if path.startswith("http") else f"{sandbox.url}{path}"
    return requests.request(method, url, data=data, headers=headers, timeout=SECONDS_A_COMMAND)


def push_blob(sandbox: SandboxProcess, name: str, content: bytes) -> str:
    location = call(sandbox, "POST", f"/v2/{name}/blobs/uploads/").headers["Location"]
    done = call(sandbox, "PUT", f"{location}?digest={digest_of(content)}", content)
    assert done.status_code == 201
    return digest_of(content)


def push_image(sandbox: SandboxProcess, name: str, tag: str, content: bytes) -> bytes:
    config, layer = push_blob(sandbox, name, b"{}"), push_blob(sandbox, name, content)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
            "layers": [{"mediaType": "application/x", "digest": layer, "size": len(content)}],
        }
    ).encode()
    headers = {"Content-Type": MANIFEST}
    assert call(sandbox, "PUT", f"/v2/{name}/manifests/{tag}", manifest, **headers).status_code == 201
    return manifest


def code_of(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


def test_the_registry_asks_for_no_key(sandbox: SandboxProcess) -> None:
    answer = call(sandbox, "GET", "/v2/")
    assert answer.status_code == 200
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_an_image_comes_back_by_tag_and_by_digest(sandbox: SandboxProcess) -> None:
    manifest = push_image(sandbox, "team/web", "v1", b"layer")
    for reference in ("v1", digest_of(manifest)):
        got = call(sandbox, "GET", f"/v2/team/web/manifests/{reference}")
        assert (got.content, got.headers["Content-Type"]) == (manifest, MANIFEST)
        head = call(sandbox, "HEAD", f"/v2/team/web/manifests/{reference}")
        assert head.headers["Docker-Content-Digest"] == digest_of(manifest)
        assert (head.headers["Content-Length"], head.content) == (str(len(manifest)), b"")
    assert call(sandbox, "GET", f"/v2/team/web/blobs/{digest_of(b'layer')}").content == b"layer"
    assert call(sandbox, "HEAD", f"/v2/team/web/blobs/{digest_of(b'layer')}").headers["Content-Length"] == "5"


def test_a_digest_is_found_only_in_the_repositories_it_was_pushed_to(sandbox: SandboxProcess) -> None:
    manifest = push_image(sandbox, "mine", "v1", b"of mine")
    assert code_of(call(sandbox, "GET", f"/v2/yours/manifests/{digest_of(manifest)}")) == (404, "MANIFEST_UNKNOWN")
    assert code_of(call(sandbox, "GET", f"/v2/yours/blobs/{digest_of(b'of mine')}")) == (404, "BLOB_UNKNOWN")


def test_a_blob_in_chunks(sandbox: SandboxProcess) -> None:
    location = call(sandbox, "POST", "/v2/chunks/blobs/uploads/").headers["Location"]
    first = call(sandbox, "PATCH", location, b"abc", **{"Content-Range": "0-2"})
    assert (first.status_code, first.headers["Range"]) == (202, "0-2")
    skipped = call(sandbox, "PATCH", location, b"x", **{"Content-Range": "7-7"})
    assert skipped.status_code == 416
    call(sandbox, "PATCH", first.headers["Location"], b"def", **{"Content-Range": "3-5"})
    assert call(sandbox, "GET", location).headers["Range"] == "0-5"
    assert call(sandbox, "PUT", f"{location}?digest={digest_of(b'abcdef')}").status_code == 201
    assert call(sandbox, "GET", f"/v2/chunks/blobs/{digest_of(b'abcdef')}").content == b"abcdef"


def test_a_blob_in_one_post(sandbox: SandboxProcess) -> None:
    done = call(sandbox, "POST", f"/v2/one/blobs/uploads/?digest={digest_of(b'one')}", b"one")
    assert done.status_code == 201


def test_bytes_that_do_not_have_the_named_digest_are_refused(sandbox: SandboxProcess) -> None:
    location = call(sandbox, "POST", "/v2/bad/blobs/uploads/").headers["Location"]
    refused = call(sandbox, "PUT", f"{location}?digest={digest_of(b'other')}", b"these")
    assert code_of(refused) == (400, "DIGEST_INVALID")
    assert call(sandbox, "HEAD", f"/v2/bad/blobs/{digest_of(b'other')}").status_code == 404


def test_a_blob_is_mounted_from_another_repository(sandbox: SandboxProcess) -> None:
    digest = push_blob(sandbox, "from-here", b"shared")
    mounted = call(sandbox, "POST", f"/v2/to-here/blobs/uploads/?mount={digest}&from=from-here")
    assert mounted.status_code == 201
    assert call(sandbox, "GET", f"/v2/to-here/blobs/{digest}").content == b"shared"
    for other in (f"mount={digest_of(b'?')}&from=from-here", f"mount={digest}&from=.."):
        assert call(sandbox, "POST", f"/v2/elsewhere/blobs/uploads/?{other}").status_code == 202


def test_an_upload_is_given_up(sandbox: SandboxProcess) -> None:
    location = call(sandbox, "POST", "/v2/given-up/blobs/uploads/").headers["Location"]
    assert call(sandbox, "DELETE", location).status_code == 204
    assert code_of(call(sandbox, "PUT", f"{location}?digest={digest_of(b'')}")) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_an_image_that_is_pushed_again_and_again_is_read_whole_all_the_while(sandbox: SandboxProcess) -> None:
    manifest = push_image(sandbox, "busy", "v1", b"layer")
    torn = []

    def read() -> None:
        for _ in range(100):
            got = call(sandbox, "GET", "/v2/busy/manifests/v1")
            if (got.content, got.headers.get("Content-Type")) != (manifest, MANIFEST):
                torn.append(got)

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(read) for _ in range(3)]
        while not all(reading.done() for reading in done):
            call(sandbox, "PUT", "/v2/busy/manifests/v1", manifest, **{"Content-Type": MANIFEST})
    assert torn == []


def test_a_manifest_needs_its_blobs(sandbox: SandboxProcess) -> None:
    manifest = json.dumps({"config": {"digest": digest_of(b"nowhere")}, "layers": []}).encode()
    assert code_of(call(sandbox, "PUT", "/v2/empty/manifests/v1", manifest)) == (404, "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"config": 1, "layers": []}', b"[" * 100_000])
def test_what_is_no_manifest_is_refused(sandbox: SandboxProcess, content: bytes) -> None:
    assert code_of(call(sandbox, "PUT", "/v2/odd/manifests/v1", content)) == (400, "MANIFEST_INVALID")


def test_a_tag_moves(sandbox: SandboxProcess) -> None:
    push_image(sandbox, "moving", "latest", b"one")
    second = push_image(sandbox, "moving", "latest", b"two")
    push_image(sandbox, "moving", "also", b"one")
    head = call(sandbox, "HEAD", "/v2/moving/manifests/latest")
    assert head.headers["Docker-Content-Digest"] == digest_of(second)
    assert call(sandbox, "GET", "/v2/moving/tags/list").json() == {"name": "moving", "tags": ["also", "latest"]}


@pytest.mark.parametrize("path", ["/v2/Upper/tags/list", "/v2/%2e%2e/tags/list", "/v2/a//b/tags/list", "/v2/nothing"])
def test_what_is_no_repository_is_a_404(sandbox: SandboxProcess, path: str) -> None:
    assert call(sandbox, "GET", path).status_code == 404


def test_tags_of_an_unknown_repository(sandbox: SandboxProcess) -> None:
    assert code_of(call(sandbox, "GET", "/v2/never/tags/list")) == (404, "NAME_UNKNOWN")
