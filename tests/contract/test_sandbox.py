"""The sandbox speaks the Deploy API: asked directly, not by way of the kit's client."""

from __future__ import annotations

import base64
import functools
import http.server
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.project import SECONDS_A_COMMAND, Project, clean_environment, completed, wait_until
from tests.sandboxes import HeldSandbox, SandboxProcess


def build_body(project: Project, **more: object) -> dict[str, object]:
    body = {
        "app": "shop",
        "namespace": "apps",
        "repoUrl": str(project.origin),
        "gitRef": project.head,
        "imageTag": "v1",
        "cache": True,
        "deploy": False,
    }
    return {**body, **more}


def built(sandbox: SandboxProcess, body: dict[str, object]) -> dict[str, Any]:
    job = sandbox.call("POST", "/build", body).json()["jobName"]
    state: dict[str, Any] = sandbox.call("POST", f"/build/{job}/wait?timeout=600").json()
    return {**state, "logs": sandbox.call("GET", f"/build/{job}/logs").json()["logs"]}


def test_a_build_answers_with_job_and_image(sandbox: SandboxProcess, project: Project) -> None:
    answer = sandbox.call("POST", "/build", build_body(project, imageName="team/shop"))
    assert answer.status_code == 202
    assert answer.json()["image"] == f"{sandbox.registry}/team/shop:v1"


def test_the_same_commit_has_the_same_digest(sandbox: SandboxProcess, project: Project) -> None:
    digests = set()
    for tag in ("one", "two"):
        assert built(sandbox, build_body(project, imageTag=tag))["status"] == "succeeded"
        digests.add(sandbox.call("GET", f"/registry/shop/digest?tag={tag}").json()["buildId"])
    assert len(digests) == 1


def test_a_build_does_not_deploy_over_what_was_asked_for_later(tmp_path: Path, project: Project) -> None:
    sandbox = HeldSandbox(tmp_path / "held")
    try:
        build = build_body(project, deploy=True, deployConfig={"port": 3000})
        job = sandbox.call("POST", "/build", build).json()["jobName"]
        image = f"registry.example.com/shop@sha256:{64 * '1'}"
        later = {"app": "shop", "namespace": "apps", "image": image, "port": 3000}
        assert sandbox.call("POST", "/api/deploy", later).status_code == 200
        sandbox.let_builds_end()
        state = sandbox.call("POST", f"/build/{job}/wait?timeout=600").json()
        assert (state["status"], state["reason"]) == ("failed", "deploy")
        assert "another deploy since this one was asked for" in state["error"]
        assert (sandbox.app("apps", "shop")["image"], sandbox.app("apps", "shop")["revision"]) == (image, 1)
    finally:
        sandbox.stop()


def test_the_log_says_that_no_run_was_run(sandbox: SandboxProcess, project: Project) -> None:
    project.write("Dockerfile", "FROM scratch\nRUN make\nCOPY . /\n")
    project.commit("with RUN")
    project.push()
    assert "runs no RUN (1 left out)" in built(sandbox, build_body(project))["logs"]


@pytest.mark.parametrize("context", ["../..", "/etc"])
def test_a_build_context_outside_the_repository_is_a_failed_build(
    sandbox: SandboxProcess, project: Project, context: str
) -> None:
    state = built(sandbox, build_body(project, buildContext=context))
    assert (state["status"], state["error"]) == ("failed", f"'{context}' lies outside the repository")


def test_a_branch_and_a_sub_folder_are_built(sandbox: SandboxProcess, project: Project) -> None:
    project.write("web/Dockerfile", "FROM scratch\n")
    project.commit("web")
    project.push()
    body = build_body(project, gitRef="main", buildContext="web", dockerfile="web/Dockerfile")
    assert built(sandbox, body)["status"] == "succeeded"


@pytest.mark.parametrize(
    "wrong",
    [
        {"app": "Not A Label"},
        {"imageTag": "-v"},
        {"imageName": "../up"},
        {"gitRef": "--upload-pack=evil"},
        {"repoUrl": ""},
        {"deploy": True},
        {"buildId": "sha256:1", "deploy": True},
    ],
)
def test_a_malformed_build_is_a_400(sandbox: SandboxProcess, project: Project, wrong: dict[str, object]) -> None:
    assert sandbox.call("POST", "/build", build_body(project, **wrong)).status_code == 400


def test_a_body_that_is_no_object_is_a_400(sandbox: SandboxProcess) -> None:
    assert sandbox.call("POST", "/build", [1]).status_code == 400


def test_a_wrong_or_missing_key_is_a_401(sandbox: SandboxProcess) -> None:
    assert requests.get(f"{sandbox.url}/registry/x/digest?tag=v", timeout=SECONDS_A_COMMAND).status_code == 401
    assert sandbox.call("GET", "/registry/x/digest?tag=v", **{"X-API-Key": "other"}).status_code == 401


def test_a_digest_of_another_image_is_a_404_and_deploys_nothing(sandbox: SandboxProcess, project: Project) -> None:
    built(sandbox, build_body(project))
    digest = sandbox.call("GET", "/registry/shop/digest?tag=v1").json()["buildId"]
    body = {"app": "fresh", "namespace": "apps", "buildId": digest, "deploy": True, "deployConfig": {"port": 1}}
    assert sandbox.call("POST", "/build", body).status_code == 404
    assert sandbox.call("GET", "/api/apps/apps/fresh").status_code == 404
    assert sandbox.call("POST", "/build", {**body, "imageName": "shop"}).json()["skipped"] is True
    assert sandbox.app("apps", "fresh")["image"] == f"{sandbox.registry}/shop@{digest}"


def test_replicas_become_ready_one_after_the_other(sandbox: SandboxProcess, project: Project) -> None:
    built(sandbox, build_body(project))
    digest = sandbox.call("GET", "/registry/shop/digest?tag=v1").json()["buildId"]
    config = {"port": 1, "replicas": 3}
    body = {"app": "shop", "namespace": "apps", "buildId": digest, "deploy": True, "deployConfig": config}
    sandbox.call("POST", "/build", body)
    ready: list[int] = []

    def all_ready() -> bool:
        ready.append(sandbox.app("apps", "shop")["readyReplicas"])
        return ready[-1] == 3

    wait_until(all_ready)
    assert ready == sorted(ready)


@pytest.fixture
def slow_sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    sandbox = SandboxProcess(tmp_path / "slow", "--build-seconds", "2")
    yield sandbox
    sandbox.stop()


def test_fifty_waits_at_once(slow_sandbox: SandboxProcess, project: Project) -> None:
    job = slow_sandbox.call("POST", "/build", build_body(project)).json()["jobName"]
    with ThreadPoolExecutor(50) as pool:
        waits = [pool.submit(slow_sandbox.call, "POST", f"/build/{job}/wait?timeout=600") for _ in range(50)]
        assert {wait.result().json()["status"] for wait in waits} == {"succeeded"}


def test_a_wait_answers_at_its_timeout_that_the_build_runs(tmp_path: Path, project: Project) -> None:
    sandbox = HeldSandbox(tmp_path / "held")
    job = sandbox.call("POST", "/build", build_body(project)).json()["jobName"]
    assert sandbox.call("POST", f"/build/{job}/wait?timeout=0.1").json()["status"] == "running"
    sandbox.let_builds_end()
    assert sandbox.call("POST", f"/build/{job}/wait").json()["status"] == "succeeded"
    sandbox.stop()


def test_minimal_serves_only_what_is_specified(project: Project, _minimal_sandbox: SandboxProcess) -> None:
    started = _minimal_sandbox.call("POST", "/build", build_body(project)).json()
    assert list(started) == ["jobName"]
    job = started["jobName"]
    assert "status" not in _minimal_sandbox.call("POST", f"/build/{job}/wait?timeout=600").json()
    for path in (f"/build/{job}", f"/build/{job}/logs", "/api/apps/apps/shop", "/healthz", "/openapi.json"):
        assert _minimal_sandbox.call("GET", path).status_code in (404, 405)
    digest = _minimal_sandbox.call("GET", "/registry/shop/digest?tag=v1")
    assert list(digest.json()) == ["buildId"]
    assert "Deploy-Api-Features" not in digest.headers
    body = {"app": "shop", "namespace": "apps", "deploy": True, "deployConfig": {"port": 1}, **digest.json()}
    assert _minimal_sandbox.call("POST", "/build", body, **{"If-Match": "99"}).json() == {"skipped": True}
    assert (
        _minimal_sandbox.call(
            "POST", "/build", {**build_body(project), "deploy": True, "deployConfig": {"port": 1}}
        ).status_code
        == 400
    )


def test_a_sandbox_can_fail_every_rollout(tmp_path: Path, project: Project) -> None:
    sandbox = SandboxProcess(tmp_path / "failing", "--fail-rollout", "--replica-seconds", "0.01")
    project.environment.update(sandbox.settings, DEPLOY_PORT="3000")
    done = project.invoke("build", "reuse")
    assert done.returncode == 12, done.stderr
    assert "rollout failed: CrashLoopBackOff" in done.stderr
    app = sandbox.app("apps", "shop")
    assert (app["status"], app["reason"], app["readyReplicas"]) == ("failed", "CrashLoopBackOff", 0)
    assert "--fail-rollout" in sandbox.call("GET", "/api/apps/apps/shop/logs").text
    sandbox.stop()


def test_a_private_repository_is_cloned_with_the_token_over_http(
    sandbox: SandboxProcess, project: Project, tmp_path: Path
) -> None:
    token = "t0ken-of-git"
    project.git("--git-dir", str(project.origin), "update-server-info")
    expected = "Basic " + base64.b64encode(f"x-access-token:{token}".encode()).decode()

    class Private(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") == expected:
                super().do_GET()
            else:
                self.send_error(401)

        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Private, directory=str(project.origin.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/{project.origin.name}"
        refused = built(sandbox, build_body(project, repoUrl=url))
        cloned = built(sandbox, build_body(project, repoUrl=url, gitToken=token))
        by_the_kit = project.invoke("build", "--repo-url", url, DEPLOY_GIT_TOKEN=token)
        server.shutdown()
    assert refused["status"] == "failed"
    assert cloned["status"] == "succeeded", cloned["logs"]
    assert by_the_kit.returncode == 0, by_the_kit.stderr
    assert token not in cloned["logs"] + by_the_kit.stdout + by_the_kit.stderr
    assert token not in str(list((project.folder / ".deploy").iterdir()))
    assert all(token not in path.read_text() for path in (project.folder / ".deploy").iterdir())


def test_a_build_does_not_touch_the_repository_of_whoever_starts_the_sandbox(tmp_path: Path, project: Project) -> None:
    victim = Project.make(tmp_path / "victim")
    before = (victim.git("status", "--short", "--branch"), victim.head)
    sandbox = SandboxProcess(tmp_path / "run", GIT_DIR=str(victim.folder / ".git"))
    try:
        assert built(sandbox, build_body(project))["status"] == "succeeded"
        assert built(sandbox, build_body(project, gitRef="nowhere"))["status"] == "failed"
    finally:
        sandbox.stop()
    assert (victim.git("status", "--short", "--branch"), victim.head) == before


@pytest.mark.parametrize("branch", ["main", "master"])
def test_a_branch_of_any_name_is_cloned_from_a_plain_old_server(
    sandbox: SandboxProcess, project: Project, branch: str
) -> None:
    project.git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    project.git("--git-dir", str(project.origin), "update-server-info")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(project.origin.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/{project.origin.name}"
        state = built(sandbox, build_body(project, repoUrl=url, gitRef=branch))
        server.shutdown()
    assert state["status"] == "succeeded", state["logs"]


def test_ctrl_c_ends_a_build_that_hangs(tmp_path: Path, project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sandbox = SandboxProcess(tmp_path / "run", TMPDIR=str(tmp_path))
        sandbox.call("POST", "/build", build_body(project, repoUrl=f"http://127.0.0.1:{silent.getsockname()[1]}/x"))
        git, _ = silent.accept()  # which gets no answer
        sandbox.process.send_signal(signal.SIGINT)
        assert sandbox.process.wait(SECONDS_A_COMMAND) == 0
        git.close()
    assert not list(tmp_path.glob("sandbox-build-*"))
    sandbox.stop()


@pytest.mark.parametrize("replicas", ["many", [1]])
def test_replicas_that_are_no_number_are_a_400(sandbox: SandboxProcess, project: Project, replicas: object) -> None:
    built(sandbox, build_body(project))
    digest = sandbox.call("GET", "/registry/shop/digest?tag=v1").json()["buildId"]
    config = {"port": 1, "replicas": replicas}
    body = {"app": "shop", "namespace": "apps", "buildId": digest, "deploy": True, "deployConfig": config}
    assert sandbox.call("POST", "/build", body).status_code == 400


def test_an_image_name_of_any_length_is_answered(sandbox: SandboxProcess) -> None:
    assert sandbox.call("GET", f"/registry/{'a' * 300}/digest?tag=v1").status_code == 400


def test_an_outside_registry_that_is_down_is_a_502(tmp_path: Path) -> None:
    sandbox = SandboxProcess(tmp_path / "run", "--registry", "127.0.0.1:9")
    assert sandbox.call("GET", "/registry/shop/digest?tag=v1").status_code == 502
    sandbox.stop()


def test_images_outlive_the_sandbox_where_a_data_folder_is_named(tmp_path: Path, project: Project) -> None:
    digests: list[str] = []
    for _ in range(2):
        sandbox = SandboxProcess(tmp_path / "run", "--data", str(tmp_path / "data"))
        if not digests:
            built(sandbox, build_body(project))
        digests.append(sandbox.call("GET", "/registry/shop/digest?tag=v1").json()["buildId"])
        sandbox.stop()
    assert digests[0] == digests[1]


def test_a_key_is_taken_and_a_random_one_made(tmp_path: Path, sandbox: SandboxProcess) -> None:
    own = SandboxProcess(tmp_path / "own", "--key", "mine")
    assert own.key == "mine"
    assert len(sandbox.key) >= 32
    assert own.stop() == 143


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--builder", "magic"], "'magic' is not a builder: archive or docker"),
        (["--port", "99999"], "'99999' is not a port"),
        (["--port", "abc"], "'abc' is not a port"),
        (["--build-seconds", "-1"], "'-1' is not a time in seconds"),
        (["--key", "a b"], "the key has a space"),
        (["--registry", "http://foo/bar"], "flag --registry: 'http://foo/bar' is not a registry host"),
        (["--port", "99999"], "flag --port: '99999' is not a port"),
        (["--replica-seconds", "-1"], "flag --replica-seconds: '-1' is not a time"),
        (["--data", "/dev/null/x", "--port", "0"], "the sandbox cannot start: Not a directory: /dev/null/x"),
        (["--host", "203.0.113.1"], "cannot listen on 203.0.113.1:8077"),
        (["--host", "nowhere.invalid"], "cannot listen on nowhere.invalid:8077"),
    ],
)
def test_a_sandbox_that_cannot_start_says_why(tmp_path: Path, flags: list[str], says: str) -> None:
    command = [sys.executable, "-m", "deploy_tasks", "sandbox", *flags]
    done = completed(command, cwd=tmp_path, env=clean_environment(), text=True)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_sandbox_that_ends_answers_the_waits_that_are_open(tmp_path: Path, project: Project) -> None:
    sandbox = SandboxProcess(tmp_path / "ending", "--build-seconds", "3600")
    job = sandbox.call("POST", "/build", build_body(project)).json()["jobName"]
    with ThreadPoolExecutor(1) as pool:
        wait = pool.submit(sandbox.call, "POST", f"/build/{job}/wait?timeout=600")
        wait_until(lambda: sandbox.call("GET", f"/build/{job}/logs").json()["logs"])
        sandbox.process.send_signal(signal.SIGINT)
        assert wait.result().json()["status"] == "running"
    assert sandbox.process.wait(SECONDS_A_COMMAND) == 0
    assert "Traceback" not in sandbox.log()
    sandbox.stop()


def test_a_file_with_a_long_name_is_packed(sandbox: SandboxProcess, project: Project) -> None:
    project.write("x" * 150, "long")
    project.commit("long")
    project.push()
    assert built(sandbox, build_body(project))["status"] == "succeeded"


def test_ctrl_c_ends_a_sandbox_quietly_and_leaves_nothing_behind(tmp_path: Path) -> None:
    sandbox = SandboxProcess(tmp_path / "run", TMPDIR=str(tmp_path))
    assert list(tmp_path.glob("deploy-sandbox-*"))
    sandbox.process.send_signal(signal.SIGINT)
    assert sandbox.process.wait(SECONDS_A_COMMAND) == 0
    assert "Traceback" not in sandbox.log()
    assert not list(tmp_path.glob("deploy-sandbox-*"))
    sandbox.stop()


def test_the_apps_of_one_command_line_build_at_once(project: Project, tmp_path: Path) -> None:
    sandbox = HeldSandbox(tmp_path / "held")
    try:
        started = [sandbox.call("POST", "/build", build_body(project, app=f"app-{number}")) for number in range(12)]
        jobs = [answer.json()["jobName"] for answer in started]
        states = [sandbox.call("GET", f"/build/{job}").json()["status"] for job in jobs]
        assert states == ["running"] * 12
    finally:
        sandbox.let_builds_end()
        sandbox.stop()
