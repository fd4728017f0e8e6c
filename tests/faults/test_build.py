"""Faults of `POST /build`: at most one build is started, and what is not known is said not to be."""

from __future__ import annotations

import socket
import ssl

import pytest
import trustme

from tests.faults.api import (
    Answer,
    FaultyApi,
    bomb,
    close,
    deep,
    drip,
    faulty_api,
    garbage,
    half_a_body,
    http,
    no_tls,
    page,
    reset,
    silence,
)
from tests.faults.conftest import Saw
from tests.project import Project


def test_1_a_refused_connection_starts_nothing(shop: Project, saw: Saw) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    done = shop.invoke("build", DEPLOY_API_URL=f"http://{address}")
    line = saw("faults", 1, "start: connection refused", done, "none")
    assert done.returncode == 5
    assert "No build was started" in line


UNANSWERED: dict[str, tuple[str, Answer]] = {
    "2": ("start: reset after the request", reset),
    "3": ("start: connection closed after the request", close),
    "4": ("start: no answer", silence),
    "4b": ("start: an answer that drips", drip),
    "5": ("start: half a body", half_a_body),
    "6a": ("start: 502", http(502, b"Bad Gateway")),
    "6b": ("start: 503", http(503, b"", Retry_After="21600")),
    "6c": ("start: 504", http(504)),
    "6d": ("start: 500", http(500, {"error": "boom"})),
    "9a": ("start: 200 with a web page", page()),
    "9b": ("start: 202 without a jobName", http(202, {"message": "queued"})),
    "9c": ("start: a jobName that leads elsewhere", http(202, {"jobName": "../../registry"})),
    "9d": ("start: 292 KB of gzip that grow to 300 MB", bomb),
    "9e": ("start: JSON of a depth of 1,000,000", deep),
}


@pytest.mark.parametrize("number", UNANSWERED)
def test_a_start_without_a_usable_answer_is_one_request_and_may_have_started(
    shop: Project, api: FaultyApi, saw: Saw, number: str
) -> None:
    what, answer = UNANSWERED[number]
    api.always("start", answer)
    # Those that never end are given up after this time; the others have to be read within it.
    done = shop.invoke("build", DEPLOY_API_TIMEOUT="5" if answer in (silence, drip) else "60")
    line = saw("faults", number, what, done, api.summary)
    assert api.summary == "1 start"
    assert done.returncode == 6
    assert "The build may have started, so it was not sent again" in line
    assert done.stdout == ""
    assert shop.in_flight is None


@pytest.mark.parametrize("status", [302, 307])
def test_8_the_key_does_not_follow_a_redirect(shop: Project, api: FaultyApi, saw: Saw, status: int) -> None:
    with faulty_api() as elsewhere:
        api.always("start", http(status, Location=f"{elsewhere.url}/build"))
        done = shop.invoke("build", DEPLOY_GIT_TOKEN="canary-token")
        line = saw("faults", f"8 ({status})", "start: redirect to another server", done, api.summary)
        assert (api.summary, elsewhere.summary) == ("1 start", "none")
    assert done.returncode == 4
    assert "that was not followed, since the key would go along" in line


@pytest.mark.parametrize("status", [401, 403])
def test_10_a_refused_key_names_its_variable(shop: Project, api: FaultyApi, saw: Saw, status: int) -> None:
    api.always("start", http(status, {"error": "canary-key is not a key"}))
    done = shop.invoke("build")
    line = saw("faults", f"10 ({status})", "start: the key is refused", done, api.summary)
    assert api.summary == "1 start"
    assert done.returncode == 4
    assert "Check shell variable DEPLOY_API_KEY" in line


def test_a_refusal_is_quoted_in_an_excerpt_without_control_characters(shop: Project, api: FaultyApi, saw: Saw) -> None:
    api.always("start", http(422, b"\x1b[2J\x07no such repository " + b"x" * 2_000_000))
    done = shop.invoke("build")
    line = saw("faults", "10c", "start: 422 with control characters and 2 MB", done, api.summary)
    assert api.summary == "1 start"
    assert done.returncode == 4
    assert "no such repository" in line
    assert line.isprintable()
    assert len(line) < 600


def tls(trusted: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trusted.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize(
    ("number", "what", "answer"),
    [
        ("7a", "start: garbage over TLS", garbage),
        ("7b", "start: a TLS connection cut after the request", reset),
        ("7e", "start: garbage in the place of TLS after the request", no_tls),
    ],
)
def test_7_garbage_over_tls_is_one_request(shop: Project, saw: Saw, number: str, what: str, answer: Answer) -> None:
    trusted = trustme.CA()
    with trusted.cert_pem.tempfile() as bundle, faulty_api(context=tls(trusted)) as api:
        api.always("start", answer)
        done = shop.invoke("build", DEPLOY_API_URL=api.url, REQUESTS_CA_BUNDLE=bundle)
        saw("faults", number, what, done, api.summary)
        assert api.summary == "1 start"
    assert done.returncode == 6


def test_7_a_certificate_that_nobody_trusts_gets_nothing(shop: Project, saw: Saw) -> None:
    with faulty_api(context=tls(trustme.CA())) as api:
        done = shop.invoke("build", DEPLOY_API_URL=api.url)
        line = saw("faults", "7c", "start: a certificate that is not trusted", done, api.summary)
        assert api.summary == "none"
    assert done.returncode == 5
    assert "its certificate is not trusted" in line


def test_7_a_server_that_speaks_no_tls_gets_nothing(shop: Project, api: FaultyApi, saw: Saw) -> None:
    done = shop.invoke("build", DEPLOY_API_URL=api.url.replace("http:", "https:"), DEPLOY_API_TIMEOUT="5")
    saw("faults", "7d", "start: https to a server that speaks http", done, api.summary)
    assert api.summary == "none"
    assert done.returncode == 6, "whether TLS broke before or after the request is not known here"
