"""The client: the exact request of each endpoint, and the result or the error of each answer."""

from __future__ import annotations

import logging
import math
import re
import ssl
from collections.abc import Callable
from typing import Any, cast

import pytest
import requests
import requests_mock
from msgspec import structs
from urllib3.exceptions import MaxRetryError, NewConnectionError

from deploy_tasks.api.client import DeployClient
from deploy_tasks.api.schemas import (
    AppState,
    BuildRequest,
    BuildState,
    DeployRequest,
    FullAppState,
    RollbackRequest,
)
from deploy_tasks.deadline import Deadline
from deploy_tasks.deploy_config import DeployConfig
from deploy_tasks.errors import (
    ApiRefused,
    ChangedMeanwhile,
    DeployError,
    DigestNotFound,
    JobNotFound,
    MayHaveStarted,
    NothingStarted,
)
from deploy_tasks.next_steps import Step
from deploy_tasks.redaction import keep_secret
from tests.clock import Clock

URL = "https://deploy.example.com"
DIGEST, OTHER = "sha256:" + 64 * "a", "sha256:" + 64 * "b"
BUILD = BuildRequest(
    app="shop",
    namespace="apps",
    repo_url="https://github.com/org/shop",
    git_ref="abc",
    git_token="t0ken",
    image_tag="abc",
    cache=True,
    deploy=False,
)
DEPLOY = DeployRequest(
    app="shop",
    namespace="apps",
    image_name="shop",
    build_id=DIGEST,
    deploy=True,
    deploy_config=DeployConfig(port=3000, app_class="business"),
)


AGAIN = Step("build", {"app": "api", "git_ref": "main"}, continues=True)


@pytest.fixture
def client() -> DeployClient:
    return DeployClient(URL, "k3y", sleep=lambda _: None)


@pytest.fixture
def api() -> Any:
    with requests_mock.Mocker() as mocker:
        yield mocker


def test_start_build_sends_the_specified_fields(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(f"{URL}/build", status_code=202, json={"jobName": "build-1", "image": "r:1/shop:abc", "more": 1})
    started = client.start_build(BUILD)
    assert (started.job_name, started.image) == ("build-1", "r:1/shop:abc")
    assert started.reference == ("r:1", "shop", "abc", None)
    (request,) = api.request_history
    assert request.json() == {
        "app": "shop",
        "namespace": "apps",
        "repoUrl": "https://github.com/org/shop",
        "gitRef": "abc",
        "gitToken": "t0ken",
        "imageTag": "abc",
        "cache": True,
        "deploy": False,
    }
    assert request.headers["X-API-Key"] == "k3y"
    assert request.headers["Content-Type"] == "application/json"


def test_a_wait_requests_a_slice_and_returns_the_phase(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(f"{URL}/build/build-1/wait?timeout=20", json={"status": "running"})
    assert client.wait("build-1", seconds=20).status == "running"
    assert api.request_history[0].body is None


def test_a_digest_is_requested_by_name_and_tag(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.get(f"{URL}/registry/team/shop/digest?tag=v1", json={"buildId": DIGEST})
    assert client.digest("team/shop", tag="v1") == DIGEST


def test_the_phase_of_a_failed_build_comes_with_the_reason(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.get(f"{URL}/build/build-1", json={"status": "failed", "error": "no"})
    assert client.status("build-1") == BuildState(status="failed", error="no")


def test_a_log_comes_with_its_size_on_the_wire(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.get(f"{URL}/build/build-1/logs", json={"logs": "a\nb\n"})
    log = client.logs("build-1")
    assert log is not None
    assert (log.text, log.transferred) == ("a\nb\n", len(b'{"logs": "a\\nb\\n"}'))


def test_the_state_of_an_app_is_read_as_the_features_of_the_server_say(
    client: DeployClient, api: requests_mock.Mocker
) -> None:
    numbers = {"replicas": 2, "readyReplicas": 1}
    more = {"revision": 7, "deployedBy": "ci", "deployedAt": "2026-10-06T12:30:00Z", "status": "failed"}
    api.get(f"{URL}/api/apps/apps/shop", json={"app": {**numbers, **more}})
    assert client.app("apps", "shop") == AppState(replicas=2, ready_replicas=1)
    headers = {"Deploy-Api-Features": "rollback, app-state"}
    api.get(f"{URL}/api/apps/apps/shop", json={"app": {**numbers, **more}}, headers=headers)
    full = FullAppState(
        replicas=2,
        ready_replicas=1,
        revision=7,
        deployed_by="ci",
        deployed_at="2026-10-06T12:30:00Z",
        status="failed",
    )
    assert client.app("apps", "shop") == full
    api.get(f"{URL}/api/apps/apps/shop", json={"app": {**numbers, **more, "revision": "seven"}}, headers=headers)
    assert client.app("apps", "shop") == AppState(replicas=2, ready_replicas=1)


@pytest.mark.parametrize("status", [404, 405, 501])
def test_an_endpoint_that_the_server_does_not_have_returns_none(
    client: DeployClient, api: requests_mock.Mocker, status: int
) -> None:
    api.get(requests_mock.ANY, status_code=status)
    assert client.status("build-1") is None
    assert client.logs("build-1") is None


@pytest.mark.parametrize("body", [b"", b"{}", b'{"jobName": "build-1"}', b" \n"])
def test_a_wait_may_answer_with_no_status(client: DeployClient, api: requests_mock.Mocker, body: bytes) -> None:
    api.post(requests_mock.ANY, content=body)
    assert client.wait("build-1", seconds=1) == BuildState()


def test_deploy_sends_the_specified_fields(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(f"{URL}/build", json={"skipped": True, "jobName": "some-job"})
    client.deploy(DEPLOY)
    (request,) = api.request_history
    assert request.json() == {
        "app": "shop",
        "namespace": "apps",
        "imageName": "shop",
        "buildId": DIGEST,
        "deploy": True,
        "deployConfig": {"port": 3000, "appClass": "business"},
    }


@pytest.mark.parametrize(
    "answer", [{}, {"skipped": False}, {"jobName": "build-9"}, {"status": "running", "jobName": "build-9"}]
)
def test_a_deploy_that_did_not_skip_the_build_is_an_error(
    client: DeployClient, api: requests_mock.Mocker, answer: dict[str, object]
) -> None:
    api.post(requests_mock.ANY, json=answer)
    with pytest.raises(MayHaveStarted, match="did not say that it skipped the build") as raised:
        client.deploy(DEPLOY)
    assert raised.value.effect == "A build may be running, and what is deployed is not certain"


def test_a_deploy_of_an_unknown_digest(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(requests_mock.ANY, status_code=404, json={"error": "no"})
    with pytest.raises(DigestNotFound) as raised:
        client.deploy(DEPLOY)
    assert raised.value.what == "buildId sha256:aaaaaaaaaaaa… is not in the registry for image shop"
    assert raised.value.effect == "Nothing was built or deployed"
    assert api.call_count == 1


def test_an_answer_that_is_not_a_digest_is_refused(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.get(requests_mock.ANY, json={"buildId": "latest"})
    with pytest.raises(NothingStarted, match="'latest' is not a buildId"):
        client.digest("shop", tag="v1")


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 429])
def test_a_build_request_is_sent_once_whatever_the_answer(
    client: DeployClient, api: requests_mock.Mocker, status: int
) -> None:
    api.post(requests_mock.ANY, status_code=status)
    with pytest.raises(MayHaveStarted) as raised:
        client.start_build(BUILD, unsure=["Look first.", AGAIN])
    assert raised.value.what == f"could not start the build: deploy.example.com answered {status}"
    assert raised.value.effect == "The build may have started, so it was not sent again"
    assert raised.value.next == ("Look first.", AGAIN)
    assert api.call_count == 1


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_deploy_and_a_look_are_tried_three_times(
    client: DeployClient, api: requests_mock.Mocker, status: int
) -> None:
    failing = {"status_code": status}
    api.post(requests_mock.ANY, [failing, failing, {"json": {"skipped": True}}])
    client.deploy(DEPLOY)
    api.get(requests_mock.ANY, [failing, failing, {"json": {"buildId": DIGEST}}])
    assert client.digest("shop", tag="v1") == DIGEST
    assert api.call_count == 6


@pytest.mark.parametrize(
    "answer", [{"text": "<html>hello</html>"}, {"json": {}}, {"json": []}, {"json": {"jobName": 5}}]
)
def test_an_unexpected_answer_is_quoted_in_one_line(
    client: DeployClient, api: requests_mock.Mocker, answer: dict[str, Any]
) -> None:
    api.post(requests_mock.ANY, **answer)
    with pytest.raises(MayHaveStarted, match="unexpected answer of the API") as error:
        client.start_build(BUILD)
    assert "\n" not in error.value.what


def test_a_job_name_outside_the_grammar_is_refused(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(requests_mock.ANY, json={"jobName": "../x"})
    with pytest.raises(MayHaveStarted, match=r"'\.\./x' is not a Kubernetes name"):
        client.start_build(BUILD)


def test_an_excerpt_is_short_and_escaped(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.get(requests_mock.ANY, status_code=400, content=b"\x1b[2J\x07bad " + b"x" * 100_000)
    with pytest.raises(ApiRefused) as error:
        client.digest("shop", tag="v1")
    assert r"\x1b[2J\x07bad xxx" in error.value.what
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(client: DeployClient, api: requests_mock.Mocker, status: int) -> None:
    api.post(f"{URL}/build", status_code=status, headers={"Location": "https://user:pw@evil.example.com/build"})
    elsewhere = api.post("https://evil.example.com/build", json={"jobName": "x"})
    with pytest.raises(ApiRefused) as raised:
        client.start_build(BUILD)
    assert "a redirect to 'evil.example.com' that was not followed" in raised.value.what
    assert (raised.value.effect, raised.value.next) == ("No build was started", ("Correct DEPLOY_API_URL",))
    assert not elsewhere.called


def test_a_303_says_that_the_request_was_accepted(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(f"{URL}/build", status_code=303, headers={"Location": "https://evil.example.com/build"})
    with pytest.raises(MayHaveStarted, match="answered 303"):
        client.start_build(BUILD)
    assert api.call_count == 1


@pytest.mark.parametrize("location", ["http://[::1", "http://x/\xff", "/build", "//h:1/x?y#z", ""])
def test_a_redirect_is_a_refusal_wherever_it_points(
    client: DeployClient, api: requests_mock.Mocker, location: str
) -> None:
    api.post(requests_mock.ANY, status_code=302, headers={"Location": location})
    with pytest.raises(ApiRefused, match="answered 302, a redirect to"):
        client.start_build(BUILD)


def test_the_client_waits_longer_for_an_answer_than_the_server_holds_it_back(
    client: DeployClient, api: requests_mock.Mocker
) -> None:
    api.post(requests_mock.ANY, json={})
    client.wait("build-1", seconds=20)
    client.wait("build-1", seconds=5, within=Deadline(5, Clock()))
    timeouts: list[Any] = [call.timeout for call in api.request_history]
    assert timeouts == [(10.0, 30), (4.0, 5)]


def test_a_deploy_that_did_not_succeed_is_an_error(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(requests_mock.ANY, json={"skipped": True, "success": False})
    with pytest.raises(ApiRefused, match="did not succeed"):
        client.deploy(DEPLOY)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_names_its_variable(client: DeployClient, api: requests_mock.Mocker, status: int) -> None:
    api.post(requests_mock.ANY, status_code=status)
    with pytest.raises(ApiRefused, match="does not accept the key") as error:
        client.start_build(BUILD)
    assert (error.value.status, error.value.code) == (status, 4)
    assert (error.value.effect, error.value.next) == ("No build was started", ("Check DEPLOY_API_KEY",))
    with pytest.raises(ApiRefused) as error:
        DeployClient(URL, "k3y", key_from=".env DEPLOY_API_KEY").start_build(BUILD)
    assert error.value.next == ("Check .env DEPLOY_API_KEY",)


def test_a_key_that_lacks_a_right_is_refused_in_the_words_of_the_server(
    client: DeployClient, api: requests_mock.Mocker
) -> None:
    api.post(requests_mock.ANY, status_code=403, json={"error": "The key ci has no right to deploy in namespace apps."})
    with pytest.raises(ApiRefused, match="The key ci has no right to deploy in namespace apps") as error:
        client.deploy(DEPLOY)
    assert (error.value.status, error.value.next) == (403, ("Check DEPLOY_API_KEY",))


NEVER_OPENED = requests.ConnectionError(
    MaxRetryError(None, "/build", NewConnectionError(None, "refused"))  # type: ignore[arg-type]
)
UNTRUSTED = requests.exceptions.SSLError(
    MaxRetryError(None, "/build", requests.exceptions.SSLError(ssl.SSLCertVerificationError("self-signed")))  # type: ignore[arg-type]
)


@pytest.mark.parametrize(
    "error", [NEVER_OPENED, UNTRUSTED, requests.ConnectTimeout(), requests.exceptions.ProxyError()]
)
def test_a_connection_that_never_opened_started_nothing(
    client: DeployClient, api: requests_mock.Mocker, error: Exception
) -> None:
    api.post(requests_mock.ANY, exc=error)
    with pytest.raises(NothingStarted, match="could not start the build: no connection to") as raised:
        client.start_build(BUILD, again=AGAIN)
    assert (raised.value.code, raised.value.effect) == (5, "No build was started")
    assert raised.value.next[-1] == AGAIN
    assert not raised.value.reached
    assert api.call_count == 1


@pytest.mark.parametrize(
    "error", [requests.ReadTimeout("x"), requests.ConnectionError("reset"), requests.exceptions.SSLError("garbage")]
)
def test_a_request_that_went_out_may_have_started_a_build(
    client: DeployClient, api: requests_mock.Mocker, error: Exception
) -> None:
    api.post(requests_mock.ANY, exc=error)
    with pytest.raises(MayHaveStarted, match="sent no complete answer") as raised:
        client.start_build(BUILD)
    assert raised.value.code == 6
    assert api.call_count == 1


def test_a_system_error_may_come_after_the_request(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(requests_mock.ANY, exc=ConnectionResetError(104, "reset"))
    with pytest.raises(MayHaveStarted):
        client.start_build(BUILD)


def test_a_job_that_the_api_does_not_know_has_its_own_error(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(requests_mock.ANY, status_code=404)
    with pytest.raises(JobNotFound, match="knows no build job build-1"):
        client.wait("build-1", seconds=1)


@pytest.mark.parametrize("status", [400, 401])
def test_a_refused_wait_does_not_end_the_build(client: DeployClient, api: requests_mock.Mocker, status: int) -> None:
    api.post(requests_mock.ANY, status_code=status)
    with pytest.raises(ApiRefused) as raised:
        client.wait("build-1", seconds=1)
    assert raised.value.effect == "The build goes on"


def test_a_wait_that_is_cut_does_not_end_the_build(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(requests_mock.ANY, exc=requests.ConnectionError("reset"))
    with pytest.raises(NothingStarted) as raised:
        client.wait("build-1", seconds=1)
    assert raised.value.effect == "The build goes on"
    assert api.call_count == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.wait("../x", seconds=1),
        lambda client: client.status("a/b"),
        lambda client: client.logs("a?b"),
        lambda client: client.digest("../../build", tag="v1"),
        lambda client: client.digest("shop", tag="v1&x=y"),
    ],
)
def test_a_name_outside_the_grammar_is_never_sent(client: DeployClient, api: requests_mock.Mocker, call: Any) -> None:
    api.register_uri(requests_mock.ANY, requests_mock.ANY)
    with pytest.raises(ValueError, match="is not a"):
        call(client)
    assert not api.called


def test_netrc_is_not_read(client: DeployClient, api: requests_mock.Mocker, monkeypatch: Any, tmp_path: Any) -> None:
    (tmp_path / "netrc").write_text("machine deploy.example.com login me password pw\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    api.get(requests_mock.ANY, json={"buildId": DIGEST})
    client.digest("shop", tag="v1")
    assert "Authorization" not in api.request_history[0].headers


def test_no_error_of_any_kind_holds_a_secret(client: DeployClient, api: requests_mock.Mocker) -> None:
    for error in (NEVER_OPENED, requests.ReadTimeout("t0ken k3y"), requests.ConnectionError("k3y")):
        api.post(requests_mock.ANY, exc=error)
        with pytest.raises(DeployError) as raised:
            client.start_build(BUILD)
        chain = [raised.value, raised.value.__context__, raised.value.__cause__]
        assert not any(secret in repr(link) for link in chain[::2] for secret in ("k3y", "t0ken"))
        assert raised.value.__suppress_context__


def test_a_retry_after_is_bounded_by_the_timeout(api: requests_mock.Mocker) -> None:
    slept: list[float] = []
    client = DeployClient(URL, "k3y", timeout=7, sleep=slept.append)
    api.post(f"{URL}/build", status_code=503, headers={"Retry-After": "21600"})
    with pytest.raises(MayHaveStarted):
        client.deploy(DEPLOY)
    assert len(slept) == 2
    assert all(7 < pause <= 7 + 1.5 for pause in slept)


def test_a_404_with_a_web_page_does_not_say_that_a_digest_is_missing(
    client: DeployClient, api: requests_mock.Mocker
) -> None:
    api.post(f"{URL}/build", status_code=404, text="<html>default backend - 404</html>")
    with pytest.raises(ApiRefused) as refused:
        client.deploy(DEPLOY)
    assert not isinstance(refused.value, DigestNotFound)
    assert refused.value.exit_code == 4


def test_a_deploy_whose_outcome_is_not_known_can_be_repeated(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(requests_mock.ANY, status_code=504)
    unsure = Step("reuse", {"build_id": DIGEST})
    with pytest.raises(MayHaveStarted) as raised:
        client.deploy(DEPLOY, unsure=unsure)
    assert raised.value.effect == "The deploy may have happened"
    assert raised.value.next == (unsure,)


def test_a_deploy_returns_the_reference_that_the_api_deployed(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(requests_mock.ANY, json={"skipped": True, "image": f"other.example.com/shop@{DIGEST}"})
    assert client.deploy(DEPLOY).image == f"other.example.com/shop@{DIGEST}"
    api.post(requests_mock.ANY, json={"skipped": True, "image": "other.example.com/shop:v1"})
    assert client.deploy(DEPLOY).image is None


def test_a_deploy_of_another_image_suggests_to_look_at_the_app(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(requests_mock.ANY, json={"skipped": True, "image": f"r/other@{DIGEST}"})
    with pytest.raises(MayHaveStarted) as raised:
        client.deploy(DEPLOY, look=Step("status"))
    assert raised.value.what == f"the API says that it deployed r/other@{DIGEST}, not shop@{DIGEST}"
    assert raised.value.effect == "Another image may run now"
    assert raised.value.next == (Step("status"),)


@pytest.fixture
def exchanges(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Returns the lines of the log so far, with `T` in place of the time that an exchange took."""
    caplog.set_level(logging.DEBUG, "deploy_tasks")
    return lambda: [
        re.sub(r"\d+\.\d s$", "T", record.getMessage()) for record in caplog.records if record.name == "deploy_tasks"
    ]


def test_each_exchange_is_logged(
    client: DeployClient, api: requests_mock.Mocker, exchanges: Callable[[], list[str]]
) -> None:
    answers: list[Any] = [{"status_code": 503}, {"exc": NEVER_OPENED}, {"text": f'{{"buildId": "{DIGEST}"}}'}]
    api.get(requests_mock.ANY, answers)
    client.digest("shop", tag="v1")
    path = "GET /registry/shop/digest?tag=v1"
    assert exchanges() == [
        f"{path}: 503, 0 bytes, T",
        f"{path}: no connection to deploy.example.com, T",
        f"{path}: 200, 86 bytes, T",
    ]


def test_the_log_of_exchanges_has_no_headers_bodies_or_secrets(
    client: DeployClient, api: requests_mock.Mocker, exchanges: Callable[[], list[str]]
) -> None:
    keep_secret(["k3y", "t0ken", "tag-with-secret"])
    api.post(requests_mock.ANY, json={"jobName": "build-1"}, headers={"Set-Cookie": "session"})
    client.start_build(BUILD)
    api.get(requests_mock.ANY, status_code=404)
    with pytest.raises(DigestNotFound):
        client.digest("shop", tag="tag-with-secret")
    assert exchanges() == ["POST /build: 200, 22 bytes, T", "GET /registry/shop/digest?tag=***: 404, 0 bytes, T"]


# --- what runs, and who deploys -------------------------------------------------------------------------------------

FEATURES = {"Deploy-Api-Features": "app-state, app-history, rollback, revision-check"}
RUNS = {
    **{"revision": 8, "image": f"r:1/shop@{OTHER}", "commit": 40 * "c", "deployedBy": "ann", "status": "ready"},
    **{"deployedAt": "2026-11-26T06:00:00Z", "deployConfig": {"port": 3000, "replicas": 2, "env": {"A": None}}},
}


def sent(api: requests_mock.Mocker) -> Any:
    """The last request."""
    return api.request_history[-1]


def test_every_start_and_deploy_says_who_asks_for_which_commit(api: requests_mock.Mocker) -> None:
    client = DeployClient(URL, "k3y", by="Zo\xeb\n@laptop")
    api.post(f"{URL}/build", json={"jobName": "build-1", "skipped": True})
    client.start_build(structs.replace(BUILD, git_ref=40 * "a"))
    client.start_build(BUILD)
    client.deploy(DEPLOY, commit=40 * "b", is_dirty=True)
    client.deploy(DEPLOY, commit="main", is_dirty=True)
    commits = [request.headers.get("X-Deploy-Commit") for request in api.request_history]
    assert commits == [40 * "a", None, f"{40 * 'b'}-dirty", None]
    assert {request.headers["X-Deploy-By"] for request in api.request_history} == {"Zo??@laptop"}


def test_a_revision_is_expected_only_of_a_server_that_checks_it(
    client: DeployClient, api: requests_mock.Mocker
) -> None:
    api.post(f"{URL}/build", json={"skipped": True, "revision": 9})
    api.get(f"{URL}/api/apps/apps/shop", status_code=404)
    client.app("apps", "shop")
    client.deploy(DEPLOY, expected=8)
    api.get(f"{URL}/api/apps/apps/shop", status_code=404, headers=FEATURES)
    for expected in (8, 0, None):
        client.app("apps", "shop")
        assert client.deploy(DEPLOY, expected=expected).revision == 9
    sent = [request.headers.get("If-Match") for request in api.request_history if request.method == "POST"]
    assert sent == [None, '"8"', '"0"', None]


def test_another_revision_than_the_expected_one_is_an_error_that_says_what_runs(
    client: DeployClient, api: requests_mock.Mocker
) -> None:
    api.get(f"{URL}/api/apps/apps/shop", status_code=404, headers=FEATURES)
    client.app("apps", "shop")
    api.post(f"{URL}/build", status_code=412, json={"error": "no", "app": RUNS}, headers=FEATURES)
    with pytest.raises(ChangedMeanwhile) as raised:
        client.deploy(DEPLOY, expected=7)
    assert raised.value.what == (
        "something else was deployed meanwhile: revision 8 runs now, sha256:bbbbbbbbbbbb…, deployed "
        "2026-11-26T06:00:00Z by ann"
    )
    assert (raised.value.exit_code, raised.value.effect) == (13, "Nothing was deployed")
    for body, says in (({"error": "no"}, "nothing is deployed now"), (None, "what runs now is not known")):
        api.post(f"{URL}/build", status_code=412, json=body, headers=FEATURES)
        with pytest.raises(ChangedMeanwhile) as raised:
            client.deploy(DEPLOY, expected=7)
        assert raised.value.what == f"something else was deployed meanwhile: {says}"


def test_the_own_deploy_is_not_taken_for_another_where_its_answer_was_lost(
    client: DeployClient, api: requests_mock.Mocker
) -> None:
    api.get(f"{URL}/api/apps/apps/shop", status_code=404, headers=FEATURES)
    client.app("apps", "shop")
    ours = {**RUNS, "image": f"r:1/shop@{DIGEST}", "deployConfig": {"port": 3000}}
    api.post(f"{URL}/build", [{"status_code": 502}, {"status_code": 412, "json": {"app": ours}, "headers": FEATURES}])
    assert client.deploy(DEPLOY, expected=7).revision == 8
    for theirs in (RUNS, {**ours, "deployConfig": {"port": 3000, "replicas": 5}}):
        api.post(
            f"{URL}/build", [{"status_code": 502}, {"status_code": 412, "json": {"app": theirs}, "headers": FEATURES}]
        )
        with pytest.raises(MayHaveStarted) as raised:
            client.deploy(DEPLOY, expected=7)
        assert raised.value.effect == "The deploy may have happened, and something else after it"
        assert "revision 8 runs now" in raised.value.what


def test_a_revision_returns_with_what_is_put_over_it(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.get(f"{URL}/api/apps/apps/shop", status_code=404, headers=FEATURES)
    client.app("apps", "shop")
    place = f"{URL}/api/apps/apps/shop/rollback"
    answer = {"skipped": True, "success": True, "revision": 9, "image": f"r:1/shop@{DIGEST}", "status": "succeeded"}
    api.post(place, json=answer)
    changes = DeployConfig(replicas=3, tls=True)
    request = RollbackRequest(revision=7, deploy_config=changes)
    done = client.deploy(DEPLOY, restores=request, expected=8)
    assert (done.revision, done.image) == (9, f"r:1/shop@{DIGEST}")
    assert sent(api).json() == {"revision": 7, "deployConfig": {"replicas": 3, "tls": True}}
    assert sent(api).headers["If-Match"] == '"8"'
    client.deploy(structs.replace(DEPLOY, build_id=""), restores=RollbackRequest(revision=7))
    assert sent(api).json() == {"revision": 7}
    api.post(place, json={**answer, "image": f"r:1/shop@{OTHER}"})
    with pytest.raises(MayHaveStarted, match="not shop@"):
        client.deploy(DEPLOY, restores=request, unsure=Step("status"))
    api.post(place, status_code=502)
    with pytest.raises(MayHaveStarted) as raised:
        client.deploy(DEPLOY, restores=request, unsure=Step("status"))
    assert [step.task for step in raised.value.next if isinstance(step, Step)] == ["status"], "not the same again"


def test_the_history_is_asked_for_only_where_the_server_has_it(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.get(f"{URL}/api/apps/apps/shop/history", json={"history": [RUNS]}, headers=FEATURES)
    assert client.history("apps", "shop") is None
    assert not api.called
    api.get(f"{URL}/api/apps/apps/shop", status_code=404, headers=FEATURES)
    client.app("apps", "shop")
    found = client.history("apps", "shop")
    assert found is not None
    assert (found[0].revision, found[0].image, found[0].status) == (8, f"r:1/shop@{OTHER}", "ready")
    assert found[0].deploy_config == DeployConfig(port=3000, replicas=2, env={"A": None})


def test_the_history_is_not_waited_for_longer_than_what_runs(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.get(f"{URL}/api/apps/apps/shop", status_code=404, headers=FEATURES)
    api.get(f"{URL}/api/apps/apps/shop/history", json={"history": []}, headers=FEATURES)
    client.app("apps", "shop", before=AGAIN)
    client.history("apps", "shop")
    seconds = [cast("tuple[float, float]", request.timeout)[1] for request in api.request_history]
    assert [math.ceil(read) for read in seconds] == [10, 10]


def test_a_look_before_a_deploy_is_repeated_once(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.get(f"{URL}/api/apps/apps/shop", status_code=503)
    with pytest.raises(NothingStarted) as raised:
        client.app("apps", "shop", before=AGAIN)
    assert len(api.request_history) == 2
    assert (raised.value.effect, raised.value.next) == ("Nothing was deployed", (AGAIN,))
