"""The program `deploy-api`, in processes of its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from deploy_tasks.server.auth import Keys, add
from tests.project import SECONDS_A_COMMAND, Process, Project, clean_environment, completed

_PROGRAM = [sys.executable, "-c", "import sys; from deploy_tasks.server.program import main; sys.exit(main())"]


def program(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return completed([*_PROGRAM, *arguments], cwd=folder, env=clean_environment(), text=True)


def new_key(folder: Path, *arguments: str) -> str:
    done = program(folder, "keys", "add", *arguments, "--keys", "keys.json")
    assert done.returncode == 0, done.stderr
    return str(done.stdout.strip())


class ServeProcess:
    """`deploy-api serve` on a free port."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.process = Process(
            [*_PROGRAM, "serve", "--keys", "keys.json", "--port", "0", *arguments],
            cwd=folder,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        first = self.process.stderr.readline()
        assert first.startswith("Deploy API on http://"), first + self.process.stderr.read()
        self.url = first.split()[-1]
        self.second_line = self.process.stderr.readline()

    def call(self, method: str, path: str, key: str, json: object = None) -> requests.Response:
        return requests.request(
            method, self.url + path, json=json, headers={"X-API-Key": key}, timeout=SECONDS_A_COMMAND
        )

    def end(self, number: int = signal.SIGINT) -> tuple[int, list[dict[str, Any]], str]:
        """Sends the signal; returns exit code, the lines of the audit, and the rest of stderr."""
        self.process.send_signal(number)
        out, err = self.process.finish()
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], err


def test_a_key_is_printed_once_and_its_file_holds_the_hash(tmp_path: Path) -> None:
    done = program(tmp_path, "keys", "add", "ci", "--keys", "keys.json", "--namespace", "apps", "--right", "read")
    assert done.returncode == 0
    key = done.stdout.strip()
    assert len(done.stdout.splitlines()) == 1
    assert "ci may read in apps" in done.stderr
    assert key not in done.stderr
    stored = json.loads((tmp_path / "keys.json").read_text())["keys"][0]
    assert (stored["name"], stored["namespaces"], stored["rights"]) == ("ci", ["apps"], ["read"])
    assert key not in (tmp_path / "keys.json").read_text()


def test_a_key_may_do_everything_unless_it_is_limited(tmp_path: Path) -> None:
    new_key(tmp_path, "admin")
    stored = json.loads((tmp_path / "keys.json").read_text())["keys"][0]
    assert (stored["namespaces"], stored["rights"]) == (["*"], ["read", "build", "deploy"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["keys", "add", "a b", "--keys", "keys.json"], "No key was added"),
        (["keys", "add", "ci", "--keys", "missing/keys.json"], "No such file or directory"),
        (["keys", "add", "ci", "--keys", "keys.json", "--right", "all"], "invalid choice: 'all'"),
        (["keys", "add", "ci"], "--keys"),
        (["serve", "--keys", "missing.json"], "Run: deploy-api keys add NAME --keys missing.json"),
        (["serve", "--keys", "/dev/null"], "/dev/null is not a file of keys"),
        (["serve", "--keys", "good.json", "--port", "99999"], "99999: name an address, and a port up to 65535"),
        (["serve", "--keys", "good.json", "--host", ""], "cannot listen on :8080: name an address"),
        (["serve", "--keys", "good.json", "--host", "nowhere.invalid"], "cannot listen on nowhere.invalid:8080: "),
        (["serve", "--keys", "good.json", "--port", "0", "--data", "/dev/null/x"], "Not a directory: /dev/null/x"),
        ([], "COMMAND"),
    ],
)
def test_what_cannot_be_done_says_why_without_a_traceback(tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "good.json").write_text('{"keys": []}')
    done = program(tmp_path, *arguments)
    assert done.returncode == 2
    assert "Unknown error" not in done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_server_asks_for_a_key_of_the_file_and_takes_one_that_is_added_later(tmp_path: Path) -> None:
    first = new_key(tmp_path, "first")
    server = ServeProcess(tmp_path)
    assert server.call("GET", "/api/apps/apps/shop", first).status_code == 404
    assert server.call("GET", "/api/apps/apps/shop", "other").status_code == 401
    second = new_key(tmp_path, "second", "--namespace", "other")
    assert server.call("GET", "/api/apps/apps/shop", second).status_code == 403
    assert requests.get(f"{server.url}/healthz", timeout=SECONDS_A_COMMAND).ok
    assert server.end()[0] == 0


def test_a_build_and_its_deploy_are_served_and_audited_on_stdout(tmp_path: Path, project: Project) -> None:
    key = new_key(tmp_path, "ci")
    server = ServeProcess(tmp_path, "--data", "images")
    body = {"app": "shop", "namespace": "apps", "repoUrl": str(project.origin), "gitRef": project.head}
    job = server.call("POST", "/build", key, {**body, "deploy": True, "deployConfig": {"port": 1}}).json()["jobName"]
    assert server.call("POST", f"/build/{job}/wait", key).json()["status"] == "succeeded"
    assert server.call("GET", "/api/apps/apps/shop", key).json()["app"]["deployedBy"] == "ci"
    code, audited, err = server.end(signal.SIGTERM)
    assert code == 143
    assert [(line["change"], line["key"]) for line in audited] == [("build", "ci"), ("deploy", "ci")]
    assert "in memory only" in server.second_line
    assert key not in err + str(audited)
    assert list((tmp_path / "images").iterdir())


def test_keys_that_are_added_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda number: add(path, f"key-{number}", ["*"], ["read"]), range(40)))
    keys = Keys.of_file(path)
    assert all(keys.find(key) for key in added)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_that_never_ends_is_refused_in_json_when_the_server_ends(tmp_path: Path, number: int) -> None:
    key = new_key(tmp_path, "ci")
    server = ServeProcess(tmp_path)
    address = urlsplit(server.url)
    with socket.create_connection((str(address.hostname), address.port or 0), SECONDS_A_COMMAND) as slow:
        head = f"POST /build HTTP/1.1\r\nHost: {address.netloc}\r\nX-API-Key: {key}\r\nContent-Length: 100\r\n\r\n"
        slow.sendall(f"{head}{{".encode())
        # The next request is answered, so the server has begun with this one.
        assert requests.get(f"{server.url}/healthz", timeout=SECONDS_A_COMMAND).ok
        _, _, err = server.end(number)
        answer = b"".join(iter(lambda: slow.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"deploy-api-features: " in answer
    assert b'"code":"ending"' in answer
    assert "Traceback" not in err


def test_a_page_of_another_host_is_refused_through_a_browser_here(tmp_path: Path) -> None:
    key = new_key(tmp_path, "ci")
    server = ServeProcess(tmp_path)
    for headers in ({"Origin": "https://evil.example.com"}, {"Host": "evil.example.com"}):
        answer = requests.get(f"{server.url}/v2/", headers={"X-API-Key": key, **headers}, timeout=SECONDS_A_COMMAND)
        assert answer.status_code == 403
    server.end()


def test_ctrl_c_ends_a_server_quietly_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    new_key(tmp_path, "ci")
    server = ServeProcess(tmp_path)
    assert list(tmp_path.glob("deploy-api-*"))
    code, audited, err = server.end()
    assert (code, audited) == (0, [])
    assert "Traceback" not in err
    assert not list(tmp_path.glob("deploy-api-*"))
