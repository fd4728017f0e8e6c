"""The client: each endpoint's exact request, and what becomes of each answer."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import requests
import requests_mock
from urllib3.exceptions import MaxRetryError, NewConnectionError

from deploy_tasks.api.client import DeployClient
from deploy_tasks.api.schemas import BuildRequest, BuildState, DeployConfig, DeployRequest
from deploy_tasks.errors import ApiRefused, DeployError, DigestNotFound, JobNotFound, MayHaveStarted, NothingStarted

URL = "https://deploy.example.com"
DIGEST = "sha256:" + 64 * "a"
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


def test_a_wait_asks_for_the_slice_and_gives_the_phase(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(f"{URL}/build/build-1/wait?timeout=20", json={"status": "running"})
    assert client.wait("build-1", seconds=20, within=60).status == "running"
    assert api.request_history[0].body is None


def test_a_digest_is_asked_for_by_name_and_tag(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.get(f"{URL}/registry/team/shop/digest?tag=v1", json={"buildId": DIGEST})
    assert client.digest("team/shop", tag="v1") == DIGEST


def test_the_phase_of_a_build_comes_with_what_went_wrong(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.get(f"{URL}/build/build-1", json={"status": "failed", "error": "no"})
    assert client.status("build-1") == BuildState(status="failed", error="no")


def test_a_log_comes_with_what_it_took_to_transfer(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.get(f"{URL}/build/build-1/logs", json={"logs": "a\nb\n"})
    log = client.logs("build-1")
    assert log is not None
    assert (log.text, log.transferred) == ("a\nb\n", len(b'{"logs": "a\\nb\\n"}'))


@pytest.mark.parametrize("status", [404, 405, 501])
def test_an_endpoint_that_a_server_does_not_have_is_none(
    client: DeployClient, api: requests_mock.Mocker, status: int
) -> None:
    api.get(requests_mock.ANY, status_code=status)
    assert client.status("build-1") is None
    assert client.logs("build-1") is None


@pytest.mark.parametrize("body", [b"", b"{}", b'{"jobName": "build-1"}', b" \n"])
def test_a_wait_may_answer_with_no_status(client: DeployClient, api: requests_mock.Mocker, body: bytes) -> None:
    api.post(requests_mock.ANY, content=body)
    assert client.wait("build-1", seconds=1, within=9) == BuildState()


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
    with pytest.raises(MayHaveStarted, match="did not say that it skipped the build"):
        client.deploy(DEPLOY)


def test_a_deploy_of_an_unknown_digest(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(requests_mock.ANY, status_code=404, json={"error": "no"})
    with pytest.raises(DigestNotFound, match=r"buildId sha256:aaaaaaaaaaaa… is not in the registry for image shop;"):
        client.deploy(DEPLOY)
    assert api.call_count == 1


def test_a_digest_that_is_none_is_not_taken(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.get(requests_mock.ANY, json={"buildId": "latest"})
    with pytest.raises(NothingStarted, match="'latest' is not a buildId"):
        client.digest("shop", tag="v1")


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 429])
def test_the_start_of_a_build_is_sent_once_whatever_comes_back(
    client: DeployClient, api: requests_mock.Mocker, status: int
) -> None:
    api.post(requests_mock.ANY, status_code=status)
    with pytest.raises(MayHaveStarted, match=f"answered {status}; the build may have started, so it was not"):
        client.start_build(BUILD)
    assert api.call_count == 1


@pytest.mark.parametrize("status", [502, 503, 504])
def test_what_may_be_said_twice_is_tried_again(client: DeployClient, api: requests_mock.Mocker, status: int) -> None:
    failing = {"status_code": status}
    api.post(requests_mock.ANY, [failing, failing, {"json": {"skipped": True}}])
    client.deploy(DEPLOY)
    api.get(requests_mock.ANY, [failing, failing, {"json": {"buildId": DIGEST}}])
    assert client.digest("shop", tag="v1") == DIGEST
    assert api.call_count == 6


@pytest.mark.parametrize(
    "answer", [{"text": "<html>hello</html>"}, {"json": {}}, {"json": []}, {"json": {"jobName": 5}}]
)
def test_an_answer_of_another_shape_shows_an_excerpt(
    client: DeployClient, api: requests_mock.Mocker, answer: dict[str, Any]
) -> None:
    api.post(requests_mock.ANY, **answer)
    with pytest.raises(MayHaveStarted, match="answered not as it should") as error:
        client.start_build(BUILD)
    assert "\n" not in str(error.value)


def test_a_job_name_that_a_server_makes_up_is_checked(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(requests_mock.ANY, json={"jobName": "../x"})
    with pytest.raises(MayHaveStarted, match="answered not as it should"):
        client.start_build(BUILD)


def test_an_excerpt_is_short_and_harmless(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.get(requests_mock.ANY, status_code=400, content=b"\x1b[2J\x07bad " + b"x" * 100_000)
    with pytest.raises(ApiRefused) as error:
        client.digest("shop", tag="v1")
    assert r"\x1b[2J\x07bad xxx" in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(client: DeployClient, api: requests_mock.Mocker, status: int) -> None:
    api.post(f"{URL}/build", status_code=status, headers={"Location": "https://user:pw@evil.example.com/build"})
    elsewhere = api.post("https://evil.example.com/build", json={"jobName": "x"})
    with pytest.raises(ApiRefused, match=r"redirect to 'evil\.example\.com', not followed"):
        client.start_build(BUILD)
    assert not elsewhere.called


def test_a_redirect_that_says_that_the_request_was_taken_is_not_a_refusal(
    client: DeployClient, api: requests_mock.Mocker
) -> None:
    api.post(f"{URL}/build", status_code=303, headers={"Location": "https://evil.example.com/build"})
    with pytest.raises(MayHaveStarted, match="answered 303; the build may have started"):
        client.start_build(BUILD)
    assert api.call_count == 1


@pytest.mark.parametrize("location", ["http://[::1", "http://x/\xff", "/build", "//h:1/x?y#z", ""])
def test_a_redirect_to_anywhere_is_a_refusal(client: DeployClient, api: requests_mock.Mocker, location: str) -> None:
    api.post(requests_mock.ANY, status_code=302, headers={"Location": location})
    with pytest.raises(ApiRefused, match="answered 302, a redirect to"):
        client.start_build(BUILD)


def test_the_server_waits_less_long_than_its_answer_is_waited_for(
    client: DeployClient, api: requests_mock.Mocker
) -> None:
    api.post(requests_mock.ANY, json={})
    client.wait("build-1", seconds=20, within=60)
    client.wait("build-1", seconds=5, within=5)
    timeouts: list[Any] = [call.timeout for call in api.request_history]
    assert timeouts[0] == (10.0, 30)
    assert 0 < timeouts[1][0] < timeouts[1][1] <= 5


def test_all_tries_of_a_look_together_take_no_longer_than_it_may(
    client: DeployClient, api: requests_mock.Mocker
) -> None:
    api.get(requests_mock.ANY, status_code=503)
    for look in (client.status, lambda job, within: client.app("apps", job, within=within)):
        with pytest.raises(NothingStarted):
            look("build-1", within=6)
    timeouts: list[Any] = [call.timeout for call in api.request_history]
    assert len(timeouts) > 1
    assert all(0 < seconds <= 6 for _, seconds in timeouts), "what is left of the six seconds"


def test_a_deploy_that_says_it_did_not_succeed(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(requests_mock.ANY, json={"skipped": True, "success": False})
    with pytest.raises(ApiRefused, match="did not succeed"):
        client.deploy(DEPLOY)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_names_its_variable(client: DeployClient, api: requests_mock.Mocker, status: int) -> None:
    api.post(requests_mock.ANY, status_code=status)
    with pytest.raises(ApiRefused, match="check DEPLOY_API_KEY") as error:
        client.start_build(BUILD)
    assert (error.value.status, error.value.code) == (status, 4)


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
    with pytest.raises(NothingStarted, match="no build was started") as raised:
        client.start_build(BUILD)
    assert raised.value.code == 5


@pytest.mark.parametrize(
    "error", [requests.ReadTimeout("x"), requests.ConnectionError("reset"), requests.exceptions.SSLError("garbage")]
)
def test_a_request_that_went_out_may_have_started_a_build(
    client: DeployClient, api: requests_mock.Mocker, error: Exception
) -> None:
    api.post(requests_mock.ANY, exc=error)
    with pytest.raises(MayHaveStarted, match="may have started, so it was not sent again") as raised:
        client.start_build(BUILD)
    assert raised.value.code == 6
    assert api.call_count == 1


def test_an_error_of_the_system_may_have_come_after_the_request(
    client: DeployClient, api: requests_mock.Mocker
) -> None:
    api.post(requests_mock.ANY, exc=ConnectionResetError(104, "reset"))
    with pytest.raises(MayHaveStarted):
        client.start_build(BUILD)


def test_a_job_that_is_not_known_is_told_apart(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(requests_mock.ANY, status_code=404)
    with pytest.raises(JobNotFound, match="knows no build job build-1"):
        client.wait("build-1", seconds=1, within=9)


@pytest.mark.parametrize("status", [400, 401])
def test_a_refused_wait_does_not_deny_the_build(client: DeployClient, api: requests_mock.Mocker, status: int) -> None:
    api.post(requests_mock.ANY, status_code=status)
    with pytest.raises(ApiRefused, match=r"the build goes on$"):
        client.wait("build-1", seconds=1, within=9)


def test_a_wait_that_is_cut_is_not_the_builds_end(client: DeployClient, api: requests_mock.Mocker) -> None:
    api.post(requests_mock.ANY, exc=requests.ConnectionError("reset"))
    with pytest.raises(NothingStarted, match="the build goes on"):
        client.wait("build-1", seconds=1, within=9)
    assert api.call_count == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.wait("../x", seconds=1, within=9),
        lambda client: client.status("a/b"),
        lambda client: client.logs("a?b"),
        lambda client: client.digest("../../build", tag="v1"),
        lambda client: client.digest("shop", tag="v1&x=y"),
    ],
)
def test_a_name_outside_the_grammar_reaches_no_path(client: DeployClient, api: requests_mock.Mocker, call: Any) -> None:
    api.register_uri(requests_mock.ANY, requests_mock.ANY)
    with pytest.raises(DeployError):
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


def test_what_a_server_asks_for_before_a_deploy_is_said_again_is_bounded(api: requests_mock.Mocker) -> None:
    slept: list[float] = []
    client = DeployClient(URL, "k3y", timeout=7, sleep=slept.append)
    api.post(f"{URL}/build", status_code=503, headers={"Retry-After": "21600"})
    with pytest.raises(MayHaveStarted):
        client.deploy(DEPLOY)
    assert len(slept) == 2
    assert all(7 < pause <= 7 + 1.5 for pause in slept)


def test_a_page_in_the_place_of_the_api_does_not_say_that_a_digest_is_gone(
    client: DeployClient, api: requests_mock.Mocker
) -> None:
    api.post(f"{URL}/build", status_code=404, text="<html>default backend - 404</html>")
    with pytest.raises(ApiRefused) as refused:
        client.deploy(DEPLOY)
    assert not isinstance(refused.value, DigestNotFound)
    assert refused.value.exit_code == 4
