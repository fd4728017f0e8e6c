"""What holds of every answer, limits of a request, and what the server says of itself."""

from __future__ import annotations

import json

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.project import SECONDS_A_COMMAND, wait_until
from tests.server.http.implementations import Implementation
from tests.server.http.server import CONFIG, FEATURES, Server, refused


def posted(server: Server, body: bytes, path: str = "/build") -> requests.Response:
    headers = {"X-API-Key": server.key, "Content-Type": "application/json"}
    return requests.post(server.url + path, data=body, headers=headers, timeout=SECONDS_A_COMMAND)


def test_every_answer_lists_the_features(server: Server) -> None:
    digest = server.built()
    answers = [
        server.deploy(digest),
        server.call("GET", "/api/apps/apps/shop"),
        server.call("GET", "/api/apps/apps/shop/logs"),
        server.call("POST", "/build", server.build_body()),
        server.call("POST", "/build", {}),
        server.call("GET", "/nowhere"),
        server.call("PUT", "/build"),
        server.call("GET", "/healthz"),
        server.call("GET", "/metrics"),
        server.call("GET", "/openapi.json"),
        server.call("GET", "/api/apps/apps/shop", key="wrong"),
        posted(server, b"{" + 2 * 1024 * 1024 * b" "),
    ]
    assert [answer.headers["Deploy-Api-Features"] for answer in answers] == len(answers) * [FEATURES]
    assert sorted({answer.status_code for answer in answers}) == [200, 202, 400, 401, 404, 405, 413]


@pytest.mark.parametrize("path", ["/", "/nowhere", "/api/apps/apps", "/api/apps/apps/shop/nothing", "/build/x/y/z"])
def test_a_path_that_is_not_served_is_a_404_with_a_code(server: Server, path: str) -> None:
    refused(server.call("GET", path), 404)


def test_a_method_that_is_not_served_is_a_405_that_names_the_others(server: Server) -> None:
    for method, path, allowed in (("PUT", "/build", "POST"), ("POST", "/api/apps/apps/shop", "DELETE, GET, HEAD")):
        answer = server.call(method, path)
        refused(answer, 405)
        assert set(answer.headers["Allow"].split(", ")) >= set(allowed.split(", ")) - {"HEAD"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", ""),
        (b"[1]", "object"),
        (b'"text"', "object"),
        (b"null", "object"),
        (b"{", "JSON"),
        (b'{"app": NaN}', "JSON"),
        (b'{"app": "\\ud800"}', ""),
        (b"\xff\xfe", "JSON"),
        (100_000 * b"[", "JSON"),
        (b'{"app": 1' + 5000 * b"0" + b"}", ""),
    ],
)
def test_a_body_that_is_no_json_object_is_a_400_that_says_why(server: Server, body: bytes, says: str) -> None:
    assert says in refused(posted(server, body), 400)


def test_the_words_of_the_json_parser_reach_the_client(server: Server) -> None:
    assert "byte" in refused(posted(server, b'{"app": "shop", }'), 400)


def test_a_body_over_a_mebibyte_is_a_413(server: Server) -> None:
    refused(posted(server, json.dumps(server.build_body(gitToken=1024 * 1024 * "x")).encode()), 413, "body-too-large")
    body = json.dumps({"app": "shop", "unheardOf": (1024 * 1024 - 100) * "x"}).encode()
    refused(posted(server, body), 400, "malformed")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("name", ["Apps", "-apps", "a" * 64, "a.b", "%2e%2e", "%0a"])
def test_a_namespace_or_app_that_is_no_name_is_refused(server: Server, method: str, name: str) -> None:
    assert server.call(method, f"/api/apps/{name}/shop").status_code in (400, 404)
    assert server.call(method, f"/api/apps/apps/{name}").status_code in (400, 404)


def test_the_server_is_alive_and_ready_without_a_key(server: Server) -> None:
    for path in ("/healthz", "/readyz"):
        answer = requests.get(server.url + path, timeout=SECONDS_A_COMMAND)
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_metrics_count_requests_without_a_key_and_name_no_app(server: Server) -> None:
    server.deployed(server.built(), {**CONFIG, "env": {"TOKEN": "s3cret"}})
    server.call("GET", "/nowhere/at/all")
    answer = requests.get(f"{server.url}/metrics", timeout=SECONDS_A_COMMAND)
    assert answer.headers["Content-Type"].startswith("text/plain")
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    assert any("request" in sample.name and sample.value for sample in samples)
    assert "nowhere" not in answer.text
    assert "s3cret" not in answer.text


def test_a_wait_ends_when_its_client_goes_away(implementation: Implementation) -> None:
    server = implementation.start(white_space_seconds=0.02)

    def open_waits() -> float:
        families = text_string_to_metric_families(server.call("GET", "/metrics").text)
        (waits,) = [sample for family in families for sample in family.samples if "waits" in sample.name]
        return waits.value

    with implementation.held_source() as held:
        job = server.build(repoUrl=held.url)
        with server.call("POST", f"/build/{job}/wait", stream=True) as answer:
            pieces = answer.iter_content(1)  # a client that lets go of it goes away
            next(pieces)
            assert open_waits() == 1
        wait_until(lambda: open_waits() == 0)


def test_a_head_is_a_get_without_its_body(server: Server) -> None:
    server.deployed(server.built(imageTag="v1"))
    for path in ("/api/apps/apps/shop", "/api/apps/apps/shop/history", "/registry/shop/digest?tag=v1", "/healthz"):
        head, get = server.call("HEAD", path), server.call("GET", path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["Content-Length"] == str(len(get.content))


def test_the_description_of_the_api_names_every_operation_and_needs_no_key(server: Server) -> None:
    described = requests.get(f"{server.url}/openapi.json", timeout=SECONDS_A_COMMAND).json()
    assert described["openapi"].startswith("3.")
    operations = {
        f"{method.upper()} {path}"
        for path, methods in described["paths"].items()
        for method in methods
        if method in ("get", "post", "delete", "put", "patch")
    }
    assert operations >= {
        "POST /build",
        "POST /build/{job}/wait",
        "GET /build/{job}",
        "GET /build/{job}/logs",
        "DELETE /build/{job}",
        "GET /registry/{name}/digest",
        "POST /api/deploy",
        "GET /api/apps/{namespace}/{app}",
        "DELETE /api/apps/{namespace}/{app}",
        "GET /api/apps/{namespace}/{app}/history",
        "GET /api/apps/{namespace}/{app}/logs",
        "POST /api/apps/{namespace}/{app}/rollback",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
    }


def test_no_secret_is_written_to_a_log(
    implementation: Implementation, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    server = implementation.start()
    token = "t0ken-of-git"
    job = server.build(gitToken=token, deploy=True, deployConfig={**CONFIG, "env": {"A": "s3cret"}})
    server.over(job)
    seen = server.log(job) + "".join(capfd.readouterr()) + caplog.text
    for secret in (token, "s3cret", server.key):
        assert secret not in seen
