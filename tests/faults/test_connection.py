"""Certificates and proxies of the environment, and connections: an error names the reason why nothing was sent."""

from __future__ import annotations

import gc
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from deploy_tasks.api.client import DeployClient
from deploy_tasks.api.transport import Transport, answers, look
from deploy_tasks.deadline import Deadline
from deploy_tasks.errors import NothingStarted
from tests.faults.api import Connection, FaultyApi, faulty_api, http
from tests.faults.conftest import Saw
from tests.project import Project

CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_api(authority: trustme.CA) -> Iterator[FaultyApi]:
    """A server whose certificate only `authority` vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with faulty_api(context=context) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CERTIFICATES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def tls_shop(project: Project, tls_api: FaultyApi) -> Project:
    for name in CERTIFICATES:
        project.environment.pop(name, None)
    project.environment.update(DEPLOY_API_URL=tls_api.url, DEPLOY_API_KEY="canary-key", DEPLOY_PORT="3000")
    return project


BROKEN = "-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("variable", CERTIFICATES)
@pytest.mark.parametrize(
    ("what", "text"),
    [("an empty file", ""), ("a broken file", BROKEN), ("a file that is not there", None)],
    ids=["empty", "broken", "not there"],
)
def test_certificates_that_cannot_be_loaded_are_named_and_nothing_was_sent(
    tls_shop: Project, tls_api: FaultyApi, saw: Saw, tmp_path: Path, variable: str, what: str, text: str | None
) -> None:
    bundle = tmp_path / "bundle.pem"
    if text is not None:
        bundle.write_text(text)
    done = tls_shop.invoke("build", **{variable: str(bundle)})
    line = saw("faults", f"1b ({variable})", f"start: {variable} names {what}", done, tls_api.summary)
    assert done.returncode == 5
    why = "No such file or directory" if text is None else "no certificates in it"
    assert f"({variable} names {bundle}: {why}). No build was started" in line
    assert tls_api.summary == "none"


@pytest.mark.parametrize("variable", CERTIFICATES)
def test_the_certificates_of_the_environment_are_trusted(
    tls_shop: Project, tls_api: FaultyApi, authority: trustme.CA, tmp_path: Path, variable: str
) -> None:
    bundle = tmp_path / "bundle.pem"
    authority.cert_pem.write_to_path(bundle)
    done = tls_shop.invoke("build", "--no-wait", **{variable: str(bundle)})
    assert done.returncode == 0, done.stderr
    assert tls_api.summary == "1 start"


def test_an_empty_variable_names_no_certificates(
    tls_api: FaultyApi, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "bundle.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "bundle.pem"))
    assert Transport(tls_api.url, "k3y").exchange("GET", "", None, seconds=20, most=10).status == 404


def test_plain_http_needs_no_certificates(api: FaultyApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nowhere.pem"))
    assert Transport(api.url, "k3y").exchange("GET", "", None, seconds=20, most=10).status == 404


def test_a_look_with_missing_certificates_is_no_answer(
    tls_api: FaultyApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nowhere.pem"))
    assert look("https://deploy.example.com/", 5) is None
    assert not answers("https://deploy.example.com/", 5)


# A program that has no PySocks, wherever the tests run.
WITHOUT_SOCKS = "import sys; sys.modules['socks'] = None; from deploy_tasks import __main__; __main__.main()"
SOCKS = "HTTPS_PROXY or ALL_PROXY names a SOCKS proxy, which needs PySocks: pip install pysocks"
NO_PROXY_URL = "HTTPS_PROXY or ALL_PROXY is not the URL of a proxy"


@pytest.mark.parametrize(
    ("what", "proxy", "why"),
    [
        ("a SOCKS proxy, and PySocks is not there", "socks5://user:canary@127.0.0.1:9", SOCKS),
        ("a proxy of another kind", "ftp://user:canary@127.0.0.1:9", NO_PROXY_URL),
        ("a proxy with an impossible port", "http://user:canary@127.0.0.1:99999", NO_PROXY_URL),
        ("a proxy at half an address", "http://[::1", NO_PROXY_URL),
        (
            "a proxy where nobody listens",
            "http://user:canary@127.0.0.1:9",
            "the proxy is unreachable or refused the request",
        ),
    ],
    ids=["SOCKS", "kind", "port", "address", "nobody"],
)
def test_a_proxy_that_cannot_be_used_is_blamed_and_nothing_was_sent(
    shop: Project, api: FaultyApi, saw: Saw, what: str, proxy: str, why: str
) -> None:
    done = shop.run(
        *(sys.executable, "-c", WITHOUT_SOCKS, "build"),
        DEPLOY_API_URL="https://deploy.example.com",
        ALL_PROXY=proxy,
        all_proxy=proxy,
        HTTPS_PROXY="",
        https_proxy="",
        NO_PROXY="",
        no_proxy="",
    )
    line = saw("faults", "1c", f"start: ALL_PROXY names {what}", done, api.summary)
    assert done.returncode == 5
    assert line == (
        f"could not start the build: no connection to deploy.example.com ({why}). No build was started. "
        "Try again: deploy-tasks build"
    )


def test_a_connection_that_idles_is_probed(api: FaultyApi) -> None:
    transport = Transport(api.url, "k3y")
    transport.exchange("GET", "", None, seconds=20, most=10)
    port = int(api.address.rpartition(":")[2])
    found = [thing for thing in gc.get_objects() if isinstance(thing, socket.socket) and _leads_to(thing, port)]
    assert found, "the connection is kept for the next request"
    assert all(connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) for connection in found)


def _leads_to(connection: socket.socket, port: int) -> bool:
    try:
        peer: tuple[str, int] = connection.getpeername()
    except OSError:
        return False
    return connection.family == socket.AF_INET and peer[1] == port


def test_a_request_after_one_that_was_given_up_has_a_connection_of_its_own(api: FaultyApi) -> None:
    given_up, ports = threading.Event(), list[int]()

    def late(connection: Connection) -> object:
        ports.append(connection.socket.getpeername()[1])
        given_up.wait(30)
        return http(404)(connection)

    api.always("app", late)
    client, before = DeployClient(api.url, "k3y"), set(threading.enumerate())
    with pytest.raises(NothingStarted, match=r"did not finish its answer in time|sent no complete answer"):
        client.app("apps", "shop", within=Deadline(1.0))
    left_behind = set(threading.enumerate()) - before
    given_up.set()
    for thread in left_behind - set(api._threads):
        thread.join(30)  # its connection is free for the next request of the same session
    assert client.app("apps", "shop") is None
    assert len(set(ports)) == 2


def drips(connection: Connection) -> None:
    """A header that takes 20 seconds, a byte every 50 ms, and then the rest of the answer."""
    connection.socket.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    for _ in range(400):
        if connection.ended.wait(0.05):
            return
        connection.socket.sendall(b"x")
    connection.socket.sendall(b"\r\nContent-Length: 0\r\n\r\n")


def test_a_look_at_a_server_that_drips_ends_at_its_deadline(api: FaultyApi) -> None:
    api.always("other", drips)
    assert look(api.url, 1.0) is None
    assert not answers(api.url, 1.0)


def test_a_look_reads_no_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login me password canary\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with faulty_api() as proxy:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        # Of this machine no netrc would be read in any case.
        assert look("http://registry.example.com/v2/", 20) is not None
        assert look("http://registry.example.com/v2/", 20, ("robot", "pw")) is not None
        without, with_login = [request.headers.get("authorization") for request in proxy.requests]
    assert without is None
    assert with_login == "Basic cm9ib3Q6cHc="
