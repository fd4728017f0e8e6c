"""The sandbox's registry over `/v2/`: the cases of the OCI distribution spec v1.1."""

from __future__ import annotations

import gzip
import http.client
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests

from tests.left_out import leave_out
from tests.project import SECONDS_A_COMMAND, clean_environment, completed
from tests.registries import (
    CONFIG,
    INDEX,
    LAYER,
    MANIFEST,
    ServedRegistry,
    code_of,
    descriptor,
    digest_of,
    image,
    index,
)
from tests.sandboxes import SandboxProcess

ABSENT = digest_of(b"nowhere")
ARTIFACT = "application/vnd.example.signature"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedRegistry]:
    served = ServedRegistry(tmp_path_factory.mktemp("registry") / "data")
    yield served
    served.stop()


def test_the_sandbox_serves_it_and_asks_for_no_key(sandbox: SandboxProcess) -> None:
    answer = requests.get(f"{sandbox.url}/v2/", timeout=SECONDS_A_COMMAND)
    assert (answer.status_code, answer.headers["Docker-Distribution-Api-Version"]) == (200, "registry/2.0")


# Pull


def test_an_image_comes_back_by_tag_and_by_digest(registry: ServedRegistry) -> None:
    manifest = registry.push_image("team/web", "v1", b"layer")
    for reference in ("v1", digest_of(manifest)):
        got = registry.call("GET", f"/v2/team/web/manifests/{reference}")
        assert (got.content, got.headers["Content-Type"]) == (manifest, MANIFEST)
        head = registry.call("HEAD", f"/v2/team/web/manifests/{reference}")
        assert (head.status_code, head.content, head.headers["Content-Type"]) == (200, b"", MANIFEST)
        assert head.headers["Docker-Content-Digest"] == got.headers["Docker-Content-Digest"] == digest_of(manifest)
        assert head.headers["Content-Length"] == got.headers["Content-Length"] == str(len(manifest))


@pytest.mark.parametrize("content", [b"", b"{}", b"layer", b"x" * 3_000_000])
def test_a_blob_comes_back(registry: ServedRegistry, content: bytes) -> None:
    digest = registry.push_blob("blobs", content)
    got = registry.call("GET", f"/v2/blobs/blobs/{digest}")
    head = registry.call("HEAD", f"/v2/blobs/blobs/{digest}")
    assert (got.status_code, head.status_code) == (200, 200)
    assert (got.content, head.content) == (content, b"")
    for answer in (got, head):
        assert answer.headers["Docker-Content-Digest"] == digest
        assert answer.headers["Content-Length"] == str(len(content))
        assert answer.headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize("reference", ["never", ABSENT, digest_of(b"nowhere", "sha512")])
def test_an_unknown_manifest_is_a_404(registry: ServedRegistry, reference: str) -> None:
    registry.push_image("known", "v1", b"layer")
    for name in ("known", "unknown"):
        assert code_of(registry.call("GET", f"/v2/{name}/manifests/{reference}")) == (404, "MANIFEST_UNKNOWN")
        assert registry.call("HEAD", f"/v2/{name}/manifests/{reference}").status_code == 404


def test_an_unknown_blob_is_a_404(registry: ServedRegistry) -> None:
    assert code_of(registry.call("GET", f"/v2/known/blobs/{ABSENT}")) == (404, "BLOB_UNKNOWN")
    assert registry.call("HEAD", f"/v2/known/blobs/{ABSENT}").status_code == 404


def test_a_digest_is_found_only_in_the_repositories_it_was_pushed_to(registry: ServedRegistry) -> None:
    manifest = registry.push_image("mine", "v1", b"of mine")
    assert code_of(registry.call("GET", f"/v2/yours/manifests/{digest_of(manifest)}")) == (404, "MANIFEST_UNKNOWN")
    assert code_of(registry.call("GET", f"/v2/yours/blobs/{digest_of(b'of mine')}")) == (404, "BLOB_UNKNOWN")


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [
        ("bytes=500-1499", 500, 1500),
        ("bytes=500-", 500, 2048),
        ("bytes=-500", 1548, 2048),
        ("bytes=2000-5000", 2000, 2048),
        ("bytes=0-0", 0, 1),
    ],
)
def test_a_range_of_a_blob(registry: ServedRegistry, asked: str, begin: int, end: int) -> None:
    content = bytes(range(256)) * 8
    path = f"/v2/ranges/blobs/{registry.push_blob('ranges', content)}"
    got = registry.call("GET", path, Range=asked)
    assert (got.status_code, got.content) == (206, content[begin:end])
    assert got.headers["Content-Range"] == f"bytes {begin}-{end - 1}/2048"
    assert got.headers["Content-Length"] == str(end - begin)
    head = registry.call("HEAD", path, Range=asked)
    assert (head.status_code, head.headers["Content-Length"]) == (200, "2048")


@pytest.mark.parametrize("asked", ["bytes=500-0", "bytes=5000-10000", "bytes=2048-"])
def test_a_range_that_no_byte_is_in_is_a_416(registry: ServedRegistry, asked: str) -> None:
    path = f"/v2/ranges/blobs/{registry.push_blob('ranges', bytes(2048))}"
    got = registry.call("GET", path, Range=asked)
    assert code_of(got) == (416, "SIZE_INVALID")
    assert got.headers["Content-Range"] == "bytes */2048"


# Push: blobs


def test_a_blob_in_one_post(registry: ServedRegistry) -> None:
    done = registry.call("POST", f"/v2/one/blobs/uploads/?digest={digest_of(b'one')}", b"one")
    assert done.status_code == 201
    assert registry.call("GET", done.headers["Location"]).content == b"one"


def test_a_blob_as_a_stream_of_unknown_length(registry: ServedRegistry) -> None:
    pieces = [bytes([number]) * 300_000 for number in range(10)]
    content = b"".join(pieces)
    sent = registry.call("PATCH", registry.start_upload("stream"), iter(pieces))
    assert (sent.status_code, sent.headers["Range"]) == (202, f"0-{len(content) - 1}")
    done = registry.call("PUT", f"{sent.headers['Location']}?digest={digest_of(content)}")
    assert done.status_code == 201
    assert registry.call("GET", done.headers["Location"]).content == content


@pytest.mark.parametrize("form", ["{}-{}", "bytes {}-{}", "bytes={}-{}/*"])
@pytest.mark.parametrize("last", ["PATCH", "PUT"])
def test_a_blob_in_chunks(registry: ServedRegistry, form: str, last: str) -> None:
    first = registry.call("PATCH", registry.start_upload("chunks"), b"abc", **{"Content-Range": form.format(0, 2)})
    assert (first.status_code, first.headers["Range"]) == (202, "0-2")
    location, finish = first.headers["Location"], f"{first.headers['Location']}?digest={digest_of(b'abcdef')}"
    done = registry.call(last, finish if last == "PUT" else location, b"def", **{"Content-Range": form.format(3, 5)})
    if last == "PATCH":
        assert (done.status_code, done.headers["Range"]) == (202, "0-5")
        done = registry.call("PUT", finish)
    assert done.status_code == 201
    assert registry.call("GET", done.headers["Location"]).content == b"abcdef"


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize(("begins", "size"), [(0, 3), (7, 3), (7, 3_000_000)])
def test_a_chunk_out_of_order_is_a_416_and_the_upload_goes_on(
    registry: ServedRegistry, method: str, begins: int, size: int
) -> None:
    location = registry.start_upload("disorder")
    registry.call("PATCH", location, b"abc", **{"Content-Range": "0-2"})
    chunk = {"Content-Range": f"{begins}-{begins + size - 1}"}
    skipped = registry.call(method, f"{location}?digest={digest_of(b'abcdef')}", bytes(size), **chunk)
    assert code_of(skipped) == (416, "BLOB_UPLOAD_INVALID")
    so_far = registry.call("GET", location)
    assert (so_far.status_code, so_far.headers["Range"], so_far.headers["Location"]) == (204, "0-2", location)
    done = registry.call("PUT", f"{location}?digest={digest_of(b'abcdef')}", b"def", **{"Content-Range": "3-5"})
    assert done.status_code == 201


@pytest.mark.parametrize("words", ["first-last", "", "-5", "9" * 5000 + "-1"])
def test_a_chunk_with_a_range_of_another_form_is_a_416(registry: ServedRegistry, words: str) -> None:
    refused = registry.call("PATCH", registry.start_upload("odd-range"), b"x", **{"Content-Range": words})
    assert code_of(refused) == (416, "BLOB_UPLOAD_INVALID")


def test_an_upload_without_bytes_says_where_it_stands(registry: ServedRegistry) -> None:
    location = registry.start_upload("nothing-yet")
    skipped = registry.call("PATCH", location, b"x", **{"Content-Range": "7-7"})
    assert skipped.status_code == 416
    answer = registry.call("GET", location)
    assert (answer.status_code, answer.content, answer.headers["Range"]) == (204, b"", "0-0")


@pytest.mark.parametrize("way", ["post", "put", "stream", "chunks"])
@pytest.mark.parametrize("named", [digest_of(b"other"), digest_of(b"other", "sha512"), "sha256:short", "md5:00", ""])
def test_bytes_that_do_not_have_the_named_digest_are_refused(registry: ServedRegistry, way: str, named: str) -> None:
    if way == "post":
        if not named:
            return  # then it starts an upload
        refused = registry.call("POST", f"/v2/bad/blobs/uploads/?digest={named}", b"these")
    else:
        location, content = registry.start_upload("bad"), b"these"
        if way != "put":
            headers = {"Content-Range": "0-4"} if way == "chunks" else {}
            assert registry.call("PATCH", location, iter([content]), **headers).status_code == 202
            content = b""
        refused = registry.call("PUT", f"{location}?digest={named}", content)
    assert code_of(refused) == (400, "DIGEST_INVALID")
    assert registry.call("HEAD", f"/v2/bad/blobs/{digest_of(b'other')}").status_code == 404


def test_an_upload_is_given_up(registry: ServedRegistry) -> None:
    location = registry.start_upload("given-up")
    assert registry.call("DELETE", location).status_code == 204
    for method, path in (("PUT", f"{location}?digest={digest_of(b'')}"), ("PATCH", location), ("DELETE", location)):
        assert code_of(registry.call(method, path)) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_a_blob_is_mounted_from_another_repository(registry: ServedRegistry) -> None:
    digest = registry.push_blob("from-here", b"shared")
    for query in (f"mount={digest}&from=from-here", f"mount={digest}"):
        mounted = registry.call("POST", f"/v2/to-here/blobs/uploads/?{query}")
        assert (mounted.status_code, mounted.headers["Docker-Content-Digest"]) == (201, digest)
        assert registry.call("GET", mounted.headers["Location"]).content == b"shared"
        registry.call("DELETE", f"/v2/to-here/blobs/{digest}")


def test_a_blob_that_cannot_be_mounted_is_uploaded(registry: ServedRegistry) -> None:
    digest = registry.push_blob("from-here", b"shared")
    for source in (f"{ABSENT}&from=from-here", ABSENT, f"{digest}&from=nobody", f"{digest}&from=.."):
        started = registry.call("POST", f"/v2/elsewhere/blobs/uploads/?mount={source}")
        assert started.status_code == 202
        assert registry.call("GET", started.headers["Location"]).status_code == 204


def test_a_deleted_blob_is_not_mounted(registry: ServedRegistry) -> None:
    digest = registry.push_blob("was-here", b"deleted everywhere")
    registry.call("DELETE", f"/v2/was-here/blobs/{digest}")
    assert registry.call("POST", f"/v2/to-here/blobs/uploads/?mount={digest}").status_code == 202


# Push: manifests


def test_a_manifest_needs_its_blobs(registry: ServedRegistry) -> None:
    manifest = image(ABSENT, layers=[])
    answer = registry.call("PUT", "/v2/empty/manifests/v1", manifest)
    assert code_of(answer) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert ABSENT in answer.json()["errors"][0]["message"]
    answer = registry.call("PUT", "/v2/empty/manifests/v1", index([descriptor(MANIFEST, ABSENT, 2)]))
    assert code_of(answer) == (404, "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ],
)
def test_a_layer_that_is_fetched_from_elsewhere_is_not_needed(registry: ServedRegistry, media_type: str) -> None:
    config = registry.push_blob("foreign", b"{}")
    elsewhere = descriptor(media_type, ABSENT, 12345, urls=["https://store.example.com/layer"])
    registry.push_manifest("foreign", "v1", image(config, layers=[elsewhere]))
    needed = image(config, layers=[elsewhere, descriptor(LAYER, ABSENT, 12345)])
    assert code_of(registry.call("PUT", "/v2/foreign/manifests/v2", needed)) == (404, "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"config": 1, "layers": []}', b"[" * 100_000, b'{"a": ' + b"[" * 100_000, b'{"layers": [{}]}'],
)
def test_what_is_no_manifest_is_refused(registry: ServedRegistry, content: bytes) -> None:
    assert code_of(registry.call("PUT", "/v2/odd/manifests/v1", content)) == (400, "MANIFEST_INVALID")


@pytest.mark.parametrize("more", [{}, {"org.example": {"unknown": [1, None]}}, {"annotations": {"note": "a word"}}])
def test_an_image_without_layers(registry: ServedRegistry, more: dict[str, object]) -> None:
    config = registry.push_blob("no-layers", b"{}")
    registry.push_manifest("no-layers", "v1", image(config, layers=[], **more))


def test_an_index_and_an_index_of_it(registry: ServedRegistry) -> None:
    one, two = registry.push_image("fat", "one", b"1"), registry.push_image("fat", "two", b"2")
    inner = index([descriptor(MANIFEST, digest_of(each), len(each)) for each in (one, two)])
    registry.push_manifest("fat", digest_of(inner), inner)
    registry.push_manifest("fat", "outer", index([descriptor(INDEX, digest_of(inner), len(inner))]))
    for nothing in (index([]), index(None)):
        registry.push_manifest("fat", "nothing", nothing)


def test_a_manifest_that_does_not_have_the_named_digest_is_refused(registry: ServedRegistry) -> None:
    manifest = registry.push_image("named", "v1", b"layer")
    for named in (ABSENT, digest_of(manifest + b" "), "sha256:baddigeststring"):
        assert code_of(registry.call("PUT", f"/v2/named/manifests/{named}", manifest)) == (400, "DIGEST_INVALID")
    assert code_of(registry.call("GET", "/v2/named/manifests/sha256:baddigeststring")) == (400, "DIGEST_INVALID")


def test_a_manifest_of_4_mib_is_taken_and_a_larger_one_is_not(registry: ServedRegistry) -> None:
    config = registry.push_blob("large", b"{}")
    largest = image(config, layers=[]).ljust(4 * 1024 * 1024)
    registry.push_manifest("large", "v1", largest)
    for too_large in (largest + b" ", largest * 5):
        assert code_of(registry.call("PUT", "/v2/large/manifests/v2", too_large)) == (413, "SIZE_INVALID")


def test_a_tag_moves(registry: ServedRegistry) -> None:
    first, second = registry.push_image("moving", "latest", b"one"), registry.push_image("moving", "latest", b"two")
    assert registry.call("GET", "/v2/moving/manifests/latest").content == second
    assert registry.call("GET", f"/v2/moving/manifests/{digest_of(first)}").content == first


@pytest.mark.parametrize("tag", ["v1.0_x-y", "_", "9", "T" * 128])
def test_a_tag_of_the_grammar_is_taken(registry: ServedRegistry, tag: str) -> None:
    registry.push_image("tagged", tag, b"layer")


@pytest.mark.parametrize("tag", [".v1", "-v1", "v 1", "v+1", "T" * 129, "é", "v1\n"])
def test_another_tag_is_refused(registry: ServedRegistry, tag: str) -> None:
    manifest = image(registry.push_blob("tagged", b"{}"), layers=[])
    assert code_of(registry.call("PUT", f"/v2/tagged/manifests/{quote(tag)}", manifest)) == (400, "TAG_INVALID")


def test_digests_by_sha512(registry: ServedRegistry) -> None:
    config, layer = (registry.push_blob("long", content, "sha512") for content in (b"{}", b"layer"))
    manifest = image(config, layers=[descriptor(LAYER, layer, 5)])
    digest = digest_of(manifest, "sha512")
    assert registry.push_manifest("long", digest, manifest).headers["Docker-Content-Digest"] == digest
    registry.push_manifest("long", "v1", index([descriptor(MANIFEST, digest, len(manifest))]))
    assert registry.call("DELETE", f"/v2/long/manifests/{digest}").status_code == 202


# Content discovery


def test_tags_are_listed_in_order(registry: ServedRegistry) -> None:
    for tag in ("b", "a", "C", "10", "9"):
        registry.push_image("listed", tag, b"layer")
    assert registry.call("GET", "/v2/listed/tags/list").json() == {
        "name": "listed",
        "tags": ["10", "9", "C", "a", "b"],
    }


@pytest.mark.parametrize(
    ("query", "tags"),
    [
        ("n=2", ["t1", "t2"]),
        ("n=9", ["t1", "t2", "t3", "t4", "t5"]),
        ("n=0", []),
        ("last=t3", ["t4", "t5"]),
        ("n=1&last=t3", ["t4"]),
        ("last=t", ["t1", "t2", "t3", "t4", "t5"]),
        ("n=2&last=t2x", ["t3", "t4"]),
        ("last=t5", []),
    ],
)
def test_some_of_the_tags(registry: ServedRegistry, query: str, tags: list[str]) -> None:
    for number in range(1, 6):
        registry.push_image("some", f"t{number}", b"layer")
    answer = registry.call("GET", f"/v2/some/tags/list?{query}")
    assert answer.json() == {"name": "some", "tags": tags}
    goes_on = bool(tags) and tags[-1] != "t5"
    assert ("Link" in answer.headers) == goes_on


@pytest.mark.parametrize(("path", "key"), [("/v2/pages/tags/list", "tags"), ("/v2/_catalog", "repositories")])
def test_link_leads_through_all_pages(tmp_path: Path, path: str, key: str) -> None:
    registry = ServedRegistry(tmp_path)
    try:
        for number in range(5):
            registry.push_image("pages", f"t{number}", b"layer")
            registry.push_image(f"team-{number}/web", "v1", b"layer")
        every = registry.call("GET", path).json()[key]
        assert len(every) >= 5
        seen, following = [], f"{path}?n=2"
        while following:
            answer = registry.call("GET", following)
            seen += answer.json()[key]
            following = answer.links["next"]["url"] if "Link" in answer.headers else ""
        assert seen == every
    finally:
        registry.stop()


@pytest.mark.parametrize("number", ["-1", "two", "1.5", ""])
def test_a_number_of_tags_that_is_none_is_refused(registry: ServedRegistry, number: str) -> None:
    registry.push_image("some", "t1", b"layer")
    for path in ("/v2/some/tags/list", "/v2/_catalog"):
        assert code_of(registry.call("GET", f"{path}?n={number}")) == (400, "PAGINATION_NUMBER_INVALID")


def test_tags_of_an_unknown_repository(registry: ServedRegistry) -> None:
    assert code_of(registry.call("GET", "/v2/never/tags/list")) == (404, "NAME_UNKNOWN")


def test_the_catalog_has_the_repositories_with_images(registry: ServedRegistry) -> None:
    manifest = registry.push_image("catalog/with-one", "v1", b"layer")
    registry.push_blob("catalog/without", b"layer")
    names = registry.call("GET", "/v2/_catalog").json()["repositories"]
    assert "catalog/with-one" in names
    assert "catalog/without" not in names
    assert names == sorted(names)
    registry.call("DELETE", f"/v2/catalog/with-one/manifests/{digest_of(manifest)}")
    assert "catalog/with-one" not in registry.call("GET", "/v2/_catalog").json()["repositories"]


def referrers(registry: ServedRegistry, name: str, subject: str, query: str = "") -> tuple[requests.Response, Any]:
    answer = registry.call("GET", f"/v2/{name}/referrers/{subject}{query}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, INDEX)
    body = answer.json()
    assert (body["schemaVersion"], body["mediaType"]) == (2, INDEX)
    return answer, body["manifests"]


def test_what_refers_to_an_image_is_listed(registry: ServedRegistry) -> None:
    subject = registry.push_image("signed", "v1", b"layer")
    about = {"subject": descriptor(MANIFEST, digest_of(subject), len(subject))}
    config = registry.push_blob("signed", b"{}")
    plain = image(config, layers=[], **about)
    signature = image(config, layers=[], artifactType=ARTIFACT, annotations={"by": "us"}, **about)
    several = index([], artifactType=ARTIFACT, **about)
    for manifest in (plain, signature, several):
        pushed = registry.push_manifest("signed", digest_of(manifest), manifest)
        assert pushed.headers["OCI-Subject"] == digest_of(subject)
    expected = [
        descriptor(MANIFEST, digest_of(plain), len(plain), artifactType=CONFIG),
        descriptor(MANIFEST, digest_of(signature), len(signature), artifactType=ARTIFACT, annotations={"by": "us"}),
        descriptor(INDEX, digest_of(several), len(several), artifactType=ARTIFACT),
    ]

    def by_digest(each: Any) -> str:
        return str(each["digest"])

    answer, listed = referrers(registry, "signed", digest_of(subject))
    assert sorted(listed, key=by_digest) == sorted(expected, key=by_digest)
    assert "OCI-Filters-Applied" not in answer.headers

    answer, listed = referrers(registry, "signed", digest_of(subject), f"?artifactType={ARTIFACT}")
    assert sorted(listed, key=by_digest) == sorted(expected[1:], key=by_digest)
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"

    registry.call("DELETE", f"/v2/signed/manifests/{digest_of(signature)}")
    assert len(referrers(registry, "signed", digest_of(subject))[1]) == 2


def test_a_subject_that_is_not_there_is_accepted_and_its_referrers_are_listed(registry: ServedRegistry) -> None:
    config = registry.push_blob("early", b"{}")
    manifest = image(config, layers=[], subject=descriptor(MANIFEST, ABSENT, 123))
    assert registry.push_manifest("early", "v1", manifest).headers["OCI-Subject"] == ABSENT
    assert [each["digest"] for each in referrers(registry, "early", ABSENT)[1]] == [digest_of(manifest)]


def test_a_subject_that_no_digest_names_is_refused_and_nothing_is_stored(registry: ServedRegistry) -> None:
    config = registry.push_blob("odd-subject", b"{}")
    manifest = image(config, layers=[], subject=descriptor(MANIFEST, "sha256:../../escaped", 123))
    assert code_of(registry.call("PUT", "/v2/odd-subject/manifests/v1", manifest)) == (400, "DIGEST_INVALID")
    assert registry.call("GET", f"/v2/odd-subject/manifests/{digest_of(manifest)}").status_code == 404
    assert registry.call("GET", "/v2/odd-subject/tags/list").json()["tags"] == []


def test_nothing_refers_to_what_is_unknown(registry: ServedRegistry) -> None:
    assert referrers(registry, "never-pushed-to", ABSENT)[1] == []
    assert code_of(registry.call("GET", "/v2/never/referrers/sha256:short")) == (400, "DIGEST_INVALID")


def test_an_image_without_a_subject_has_no_header_for_one(registry: ServedRegistry) -> None:
    manifest = registry.push_image("plain", "v1", b"layer")
    assert "OCI-Subject" not in registry.push_manifest("plain", "v2", manifest).headers


# Content management


def test_a_deleted_tag_leaves_the_manifest_and_its_other_tags(registry: ServedRegistry) -> None:
    manifest = registry.push_image("untagged", "v1", b"layer")
    registry.push_manifest("untagged", "v2", manifest)
    assert registry.call("DELETE", "/v2/untagged/manifests/v1").status_code == 202
    assert registry.call("HEAD", "/v2/untagged/manifests/v1").status_code == 404
    assert registry.call("GET", "/v2/untagged/tags/list").json()["tags"] == ["v2"]
    assert registry.call("GET", f"/v2/untagged/manifests/{digest_of(manifest)}").content == manifest
    assert code_of(registry.call("DELETE", "/v2/untagged/manifests/v1")) == (404, "MANIFEST_UNKNOWN")


def test_a_deleted_manifest_takes_its_tags_with_it(registry: ServedRegistry) -> None:
    manifest, other = registry.push_image("gone", "v1", b"1"), registry.push_image("gone", "other", b"2")
    registry.push_manifest("gone", "v2", manifest)
    registry.push_image("gone-too", "v1", b"1")
    path = f"/v2/gone/manifests/{digest_of(manifest)}"
    assert registry.call("DELETE", path).status_code == 202
    assert registry.call("HEAD", path).status_code == 404
    assert code_of(registry.call("DELETE", path)) == (404, "MANIFEST_UNKNOWN")
    assert registry.call("GET", "/v2/gone/tags/list").json()["tags"] == ["other"]
    assert registry.call("GET", "/v2/gone/manifests/other").content == other
    assert registry.call("GET", "/v2/gone-too/manifests/v1").content == manifest


def test_a_deleted_blob_is_gone_from_its_repository_alone(registry: ServedRegistry) -> None:
    for name in ("emptied", "full"):
        digest = registry.push_blob(name, b"of both")
    assert registry.call("DELETE", f"/v2/emptied/blobs/{digest}").status_code == 202
    assert registry.call("HEAD", f"/v2/emptied/blobs/{digest}").status_code == 404
    assert code_of(registry.call("DELETE", f"/v2/emptied/blobs/{digest}")) == (404, "BLOB_UNKNOWN")
    assert registry.call("GET", f"/v2/full/blobs/{digest}").content == b"of both"


def test_what_was_deleted_can_be_pushed_again(registry: ServedRegistry) -> None:
    manifest = registry.push_image("again", "v1", b"layer")
    registry.call("DELETE", f"/v2/again/manifests/{digest_of(manifest)}")
    registry.call("DELETE", f"/v2/again/blobs/{digest_of(b'layer')}")
    answer = registry.call("PUT", "/v2/again/manifests/v1", manifest)
    assert code_of(answer) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert registry.push_image("again", "v1", b"layer") == manifest


def test_a_blob_that_is_deleted_while_it_is_read_is_read_to_its_end(registry: ServedRegistry) -> None:
    content = bytes(20_000_000)
    digest = registry.push_blob("read", content)
    with requests.get(f"{registry.url}/v2/read/blobs/{digest}", stream=True, timeout=SECONDS_A_COMMAND) as reading:
        pieces = reading.iter_content(1000)
        begin = next(pieces)
        assert registry.call("DELETE", f"/v2/read/blobs/{digest}").status_code == 202
        assert begin + b"".join(pieces) == content


# Several at once


def test_one_blob_uploaded_by_several_at_once(registry: ServedRegistry) -> None:
    content = bytes(range(256)) * 10_000
    with ThreadPoolExecutor(8) as pool:
        digests = {pushed.result() for pushed in [pool.submit(registry.push_blob, "crowd", content) for _ in range(16)]}
    assert digests == {digest_of(content)}


def test_a_tag_that_moves_all_the_while_is_never_missing_and_always_whole(registry: ServedRegistry) -> None:
    """Each manifest is deleted once the tag has left it."""
    manifests = [registry.push_image("busy", "v1", content) for content in (b"one", b"two")]
    torn = []

    def read() -> None:
        for _ in range(50):
            got = registry.call("GET", "/v2/busy/manifests/v1")
            if got.content not in manifests or got.headers["Docker-Content-Digest"] != digest_of(got.content):
                torn.append(got)

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(read) for _ in range(3)]
        while not all(reading.done() for reading in done):
            for manifest, other in (manifests, manifests[::-1]):
                registry.push_manifest("busy", "v1", manifest)
                assert registry.call("DELETE", f"/v2/busy/manifests/{digest_of(other)}").status_code in (202, 404)
    assert torn == []


# Paths


def raw(registry: ServedRegistry, method: str, target: str) -> int:
    """The status of a request whose target nobody tidies up on the way."""
    connection = http.client.HTTPConnection(urlsplit(registry.url).netloc, timeout=SECONDS_A_COMMAND)
    connection.putrequest(method, target, skip_accept_encoding=True)
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize(
    "name", ["..", "%2e%2e", "../..", "a/../..", "%2Fetc", "Upper", "a//b", "a+b", "a%00b", "a%0A", "-a", "n" * 256]
)
def test_no_name_leads_out_of_the_folder(registry: ServedRegistry, name: str) -> None:
    before = sorted((registry.folder / "repositories").iterdir())
    digest = digest_of(b"")
    for method, rest in (
        ("GET", "tags/list"),
        ("GET", f"manifests/{digest}"),
        ("PUT", "manifests/v1"),
        ("DELETE", "manifests/v1"),
        ("GET", f"blobs/{digest}"),
        ("DELETE", f"blobs/{digest}"),
        ("POST", "blobs/uploads/"),
        ("POST", f"blobs/uploads/?digest={digest}"),
        ("GET", f"referrers/{digest}"),
    ):
        assert raw(registry, method, f"/v2/{name}/{rest}") in (400, 404), (method, rest)
    assert sorted((registry.folder / "repositories").iterdir()) == before
    assert list(registry.folder.parent.iterdir()) == [registry.folder]
    assert sorted(entry.name for entry in registry.folder.iterdir()) == ["blobs", "repositories", "uploads"]


@pytest.mark.parametrize("upload", ["..", "%2e%2e%2fblobs", "0" * 31, "x" * 32])
def test_no_upload_leads_out_of_the_folder(registry: ServedRegistry, upload: str) -> None:
    for method in ("GET", "PATCH", "DELETE"):
        assert raw(registry, method, f"/v2/paths/blobs/uploads/{upload}") in (400, 404, 405)
    assert raw(registry, "PUT", f"/v2/paths/blobs/uploads/{upload}?digest={digest_of(b'')}") in (400, 404, 405)


def test_a_method_that_is_not_served_names_those_that_are(registry: ServedRegistry) -> None:
    answer = registry.call("POST", "/v2/team/web/tags/list")
    assert code_of(answer) == (405, "UNSUPPORTED")
    assert answer.headers["Allow"] == "GET"
    assert code_of(registry.call("GET", "/v2/nothing")) == (404, "UNSUPPORTED")


# Clients


def test_skopeo_pushes_lists_pulls_and_deletes(registry: ServedRegistry, tmp_path: Path) -> None:
    """podman has its library; docker is in tests/engine."""
    if shutil.which("skopeo") is None:
        leave_out("skopeo is not installed")
    archive = completed(["tar", "-cf", "-", "-C", str(tmp_path), "empty"]).stdout
    layer = gzip.compress(archive)  # one that skopeo pushes as it is
    rootfs = {"type": "layers", "diff_ids": [digest_of(archive)]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
    layers = [descriptor(f"{LAYER}+gzip", digest_of(layer), len(layer))]
    manifest = image(ABSENT, layers, config=descriptor(CONFIG, digest_of(config), len(config)))
    pushed, pulled = tmp_path / "pushed", tmp_path / "pulled"
    (pushed / "blobs" / "sha256").mkdir(parents=True)
    for content in (layer, config, manifest):
        (pushed / "blobs" / "sha256" / digest_of(content).removeprefix("sha256:")).write_bytes(content)
    (pushed / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (pushed / "index.json").write_bytes(index([descriptor(MANIFEST, digest_of(manifest), len(manifest))]))

    def skopeo(command: str, *arguments: str) -> bytes:
        done = completed(
            ["skopeo", "--insecure-policy", command, *arguments], env=clean_environment(HOME=str(tmp_path))
        )
        assert done.returncode == 0, done.stderr
        out: bytes = done.stdout
        return out

    image_name = f"docker://{registry.address}/of-skopeo/web"
    skopeo("copy", "--dest-tls-verify=false", f"oci:{pushed}", f"{image_name}:v1")
    skopeo("copy", "--dest-tls-verify=false", f"oci:{pushed}", f"{image_name}:v2")
    assert json.loads(skopeo("list-tags", "--tls-verify=false", image_name))["Tags"] == ["v1", "v2"]
    assert skopeo("inspect", "--raw", "--tls-verify=false", f"{image_name}:v1") == manifest
    skopeo("copy", "--src-tls-verify=false", f"{image_name}@{digest_of(manifest)}", f"oci:{pulled}")
    for content in (layer, config, manifest):
        stored = pulled / "blobs" / "sha256" / digest_of(content).removeprefix("sha256:")
        assert stored.read_bytes() == content
    skopeo("delete", "--tls-verify=false", f"{image_name}:v1")
    assert registry.call("GET", "/v2/of-skopeo/web/tags/list").json()["tags"] == []
