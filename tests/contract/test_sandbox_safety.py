"""What the sandbox does with requests and repositories that mean it no good, and with those of other machines."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import requests

from tests.contract.test_sandbox import build_body, built
from tests.project import SECONDS_A_COMMAND, Project, wait_until
from tests.sandboxes import SandboxProcess


def said_to(sandbox: SandboxProcess, request: bytes) -> bytes:
    """The first bytes of the answer to `request`, which need not be a whole one."""
    host, _, port = sandbox.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), SECONDS_A_COMMAND) as connection:
        connection.sendall(request)
        return connection.recv(65_536)


def status_of(sandbox: SandboxProcess, method: str, path: str, **headers: str) -> int:
    headers = {"X-API-Key": sandbox.key, **headers}
    return requests.request(method, sandbox.url + path, headers=headers, timeout=SECONDS_A_COMMAND).status_code


def test_the_log_escapes_control_characters_of_a_request(sandbox: SandboxProcess) -> None:
    said_to(sandbox, b"GET /v2/%1b]52;c;eA==%07?q=%0aGET%20/faked HTTP/1.1\r\nHost: localhost\r\n\r\n")
    said_to(sandbox, b"GET /v2/%c2%9b31m?q=\xc2\x9b31m HTTP/1.1\r\nHost: localhost\r\n\r\n")
    log = sandbox.log()
    assert "GET /v2/%1b]52;c;eA==%07?q=%0aGET%20/faked 404" in log
    assert all(character.isprintable() or character == "\n" for character in log)
    assert "Traceback" not in log


@pytest.mark.parametrize("host", ["evil.example.com", "127.0.0.1.example.com:80", "localhost.", "[", "10.0.0.1"])
def test_a_name_that_leads_here_from_elsewhere_is_refused(sandbox: SandboxProcess, host: str) -> None:
    assert status_of(sandbox, "POST", "/v2/shop/blobs/uploads/", Host=host) == 403
    assert status_of(sandbox, "GET", "/build/build-1", Host=host) == 403


@pytest.mark.parametrize(
    "origin", ["https://evil.example.com", "null", "http://[", "https://127.0.0.1@evil.example.com"]
)
def test_a_web_page_of_elsewhere_cannot_push(sandbox: SandboxProcess, origin: str) -> None:
    assert status_of(sandbox, "POST", "/v2/shop/blobs/uploads/", Origin=origin) == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:5", "127.1.2.3", "[::1]:80"])
def test_every_name_of_this_machine_is_served(sandbox: SandboxProcess, host: str) -> None:
    assert status_of(sandbox, "POST", "/v2/shop/blobs/uploads/", Host=host, Origin=f"http://{host}") == 202


def test_a_sandbox_for_other_machines_says_who_can_push(tmp_path: Path, sandbox: SandboxProcess) -> None:
    assert "warning" not in sandbox.log()
    for_all = SandboxProcess(tmp_path / "all", "--host", "0.0.0.0")  # noqa: S104
    assert "0.0.0.0 is not only this machine: whoever reaches port" in for_all.log()
    assert status_of(for_all, "POST", "/v2/shop/blobs/uploads/", Host="build-machine:8077") == 202
    assert status_of(for_all, "POST", "/v2/shop/blobs/uploads/", Host="a.example", Origin="http://a.example") == 403
    for_all.stop()


@pytest.mark.parametrize(
    "line", ["PUT /v2/shop/manifests/v1", "POST /build"], ids=["a manifest", "the body of a build"]
)
def test_a_body_that_is_too_long_is_refused_before_its_end(sandbox: SandboxProcess, line: str) -> None:
    head = f"{line} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {sandbox.key}\r\nContent-Length: 300000000\r\n\r\n"
    assert said_to(sandbox, head.encode() + bytes(5_000_000)).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("url", ["fd::17", "ext::sh -c true"])
def test_git_uses_no_transport_but_files_http_and_ssh(sandbox: SandboxProcess, project: Project, url: str) -> None:
    state = built(sandbox, build_body(project, repoUrl=url))
    assert state["status"] == "failed"
    assert f"transport '{url.partition(':')[0]}' not allowed" in state["error"]


@pytest.mark.parametrize("more", [{}, {"gitToken": "t0ken"}], ids=["without a token", "with a token"])
def test_git_is_configured_by_the_environment_of_the_sandbox(
    tmp_path: Path, project: Project, more: dict[str, str]
) -> None:
    name = f"url.{project.origin.parent}/.insteadOf"
    configured = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": name, "GIT_CONFIG_VALUE_0": "https://127.0.0.1:9/"}
    sandbox = SandboxProcess(tmp_path / "run", **configured)
    state = built(sandbox, build_body(project, repoUrl="https://127.0.0.1:9/shop.git", **more))
    assert state["status"] == "succeeded", state
    sandbox.stop()


@pytest.mark.parametrize(
    ("dockerfile", "error"),
    [
        ("COPY page.html nope.txt /", "/nope.txt: no such file or directory"),
        ('ADD ["nope 1.txt", "/"]', "/nope 1.txt: no such file or directory"),
        ("COPY --chown=1 \\\n  # why\n  nope.txt \\\n  /", "/nope.txt: no such file or directory"),
        ("copy nope*.txt /", "copy failed: no source files specified"),
        ("COPY nope/../../nope.txt /", "/nope.txt: no such file or directory"),
    ],
)
def test_a_copy_of_a_missing_file_fails_the_build(
    project: Project, sandbox: SandboxProcess, dockerfile: str, error: str
) -> None:
    project.write("Dockerfile", f"FROM scratch\n{dockerfile}\n")
    project.commit("copy")
    project.push()
    failed = project.invoke("build")
    assert failed.returncode == 9
    assert "error building image: error building stage: failed to get files used from context: " in failed.stderr
    assert error in failed.stderr


def test_a_copy_of_what_is_there_or_of_what_only_a_build_knows_is_no_failure(
    project: Project, sandbox: SandboxProcess
) -> None:
    project.write(
        "Dockerfile",
        "FROM scratch AS first\nARG FILE\n# COPY comment.txt /\nRUN <<END cat\nCOPY within.txt /\nEND\n"
        "COPY <<'A.TXT' <<B /in/\nCOPY within.txt /\nA.TXT\nCOPY within.txt /\nB\n"
        "FROM scratch\nCOPY --from=first /made/there /\nADD https://example.com/x.tar.gz /\nCOPY $FILE ${FILE}.txt /\n"
        'COPY . /\nCOPY / /all/\nCOPY ./page.html /web/*.css *.html /\nCOPY --chmod=600 ["page.html", "/"]\nCOPY\n',
    )
    project.write("web/a.css", "")
    project.commit("copy")
    project.push()
    built = project.invoke("build")
    assert built.returncode == 0, built.stderr


def test_null_is_the_same_as_no_value(sandbox: SandboxProcess, project: Project) -> None:
    nothing = {"gitToken": None, "imageName": None, "dockerfile": None, "buildContext": None, "buildId": None}
    assert built(sandbox, build_body(project, **nothing))["status"] == "succeeded"
    digest = sandbox.call("GET", "/registry/shop/digest?tag=v1").json()["buildId"]
    config = {"port": 1, "ports": None, "replicas": None, "appClass": None}
    body = {"app": "shop", "namespace": "nulls", "buildId": digest, "deploy": True, "deployConfig": config}
    assert sandbox.call("POST", "/build", body).status_code == 200
    assert sandbox.app("nulls", "shop")["replicas"] == 1
    body["deployConfig"] = {"port": None}
    assert sandbox.call("POST", "/build", body).status_code == 400


def test_a_request_that_ends_early_is_no_traceback(sandbox: SandboxProcess) -> None:
    place = requests.post(f"{sandbox.url}/v2/shop/blobs/uploads/", timeout=SECONDS_A_COMMAND).headers["Location"]
    host, _, port = sandbox.url.removeprefix("http://").rpartition(":")
    head = f"Host: localhost\r\nX-API-Key: {sandbox.key}\r\nContent-Length: 100\r\n\r\n"
    for target in (f"PATCH {place}", "PUT /v2/shop/manifests/cut", "POST /build"):
        with socket.create_connection((host, int(port)), SECONDS_A_COMMAND) as connection:
            connection.sendall(f"{target} HTTP/1.1\r\n{head}part".encode())
    wait_until(lambda: sandbox.log().count(" 400\n") >= 3)
    assert "Traceback" not in sandbox.log()


def test_a_name_that_no_file_can_have_is_no_repository(sandbox: SandboxProcess) -> None:
    name, digest = 256 * "a", f"sha256:{64 * 'a'}"
    assert status_of(sandbox, "GET", f"/v2/{name}/manifests/v1") == 404
    assert status_of(sandbox, "GET", f"/v2/{name}/tags/list") == 404
    assert status_of(sandbox, "POST", f"/v2/shop/blobs/uploads/?mount={digest}&from={name}") == 202


def test_a_range_of_thousands_of_digits_is_refused(sandbox: SandboxProcess) -> None:
    place = requests.post(f"{sandbox.url}/v2/shop/blobs/uploads/", timeout=SECONDS_A_COMMAND).headers["Location"]
    assert status_of(sandbox, "PATCH", place, **{"Content-Range": f"{5000 * '9'}-1"}) == 416


@pytest.mark.parametrize("value", [r'"\ud800"', "NaN"])
def test_what_no_answer_could_repeat_is_refused(sandbox: SandboxProcess, project: Project, value: str) -> None:
    body = json.dumps(build_body(project, more=0)).replace('"more": 0', f'"more": {value}')
    headers = {"X-API-Key": sandbox.key}
    answer = requests.post(f"{sandbox.url}/build", body, headers=headers, timeout=SECONDS_A_COMMAND)
    assert answer.status_code == 400
