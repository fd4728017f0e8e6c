"""The three clients that are known to use the Deploy API: their requests, and their own rules for the answers.

The reference client `deploy_client` and the script `deploy_local.py` use requests, with a timeout of 30 s for each. The
workflow uses curl and jq. What each of them sends and believes is read from its public source.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import requests

from tests.project import wait_until
from tests.server.http.implementations import Implementation
from tests.server.http.server import Server, refused


class Client:
    """What `deploy_client` and `deploy_local.py` share: each answer must be 2xx, and JSON unless it is a 204."""

    def __init__(self, server: Server, timeout: float = 30.0) -> None:
        self.url, self.timeout = server.url, timeout
        self.session = requests.Session()
        self.session.headers.update({"X-API-Key": server.key})

    def ask(self, method: str, path: str, params: dict[str, Any] | None = None, body: object = None) -> Any:
        answer = self.session.request(method, self.url + path, params=params, json=body, timeout=self.timeout)
        assert answer.ok, answer.text
        return None if answer.status_code == 204 else answer.json()


def name_and_tag(image: str) -> tuple[str, str]:
    """Name and tag of an image, as `deploy_client` reads them."""
    without_tag, _, tag = image.rpartition(":")
    return without_tag.split("/", 1)[1], tag


@pytest.mark.parametrize("optional", [{}, {"imageName": "team/shop", "imageTag": "v1"}])
def test_the_reference_client_builds_waits_and_deploys_by_digest(server: Server, optional: dict[str, str]) -> None:
    client = Client(server)
    body = {
        "app": "shop",
        "namespace": "default",
        "repoUrl": server.source.url,
        "gitRef": "main",
        "dockerfile": "Dockerfile",
        "buildContext": ".",
        "cache": True,
        "deploy": False,
        **optional,
    }
    started = client.ask("POST", "/build", body=body)
    assert isinstance(started["jobName"], str)
    assert client.ask("POST", f"/build/{started['jobName']}/wait", {"timeout": 1800})["status"] == "succeeded"
    name, tag = name_and_tag(started["image"])
    build_id = client.ask("GET", f"/registry/{name}/digest", {"tag": tag})["buildId"]
    deployed = client.ask(
        "POST",
        "/build",
        body={
            "app": "shop",
            "namespace": "default",
            "buildId": build_id,
            "deploy": True,
            "deployConfig": {
                "port": 3000,
                "replicas": 1,
                "healthPath": "/health",
                "tls": True,
                "appClass": "business",
                "domains": ["*.shop.example.com", "shop.example.com"],
                "env": {"KEY": "a=b"},
            },
            "imageName": name,
        },
    )
    assert deployed["skipped"] is True
    assert client.ask("GET", "/api/apps/default/shop")["app"]["image"].endswith(f"/{name}@{build_id}")


def test_the_reference_client_waits_longer_than_its_own_timeout(implementation: Implementation) -> None:
    server = implementation.start(white_space_seconds=0.05)
    client = Client(server, timeout=3.0)
    with implementation.held_source() as held:
        job = client.ask("POST", "/build", body=server.build_body(repoUrl=held.url))["jobName"]
        threading.Timer(1.5 * client.timeout, held.release).start()
        assert client.ask("POST", f"/build/{job}/wait", {"timeout": 1800})["status"] == "succeeded"


def test_the_reference_client_prints_the_text_of_an_error(server: Server) -> None:
    answer = server.call("POST", "/build", server.build_body(imageTag="not a tag"))
    assert "imageTag" in refused(answer, 400)
    assert answer.text.startswith("{")


def test_the_local_script_deploys_what_was_pushed_and_sees_at_once_that_nothing_is_to_wait_for(server: Server) -> None:
    client, tag = Client(server), f"local-{int(time.time())}"
    server.built(imageName="backend", imageTag=tag)
    build_id = client.ask("GET", "/registry/backend/digest", {"tag": tag})["buildId"]
    body = {
        "app": "backend",
        "namespace": "non-business-apps",
        "imageName": "backend",
        "buildId": build_id,
        "deploy": True,
        "deployConfig": {
            "port": 8080,
            "replicas": 1,
            "healthPath": "/health.json",
            "tls": True,
            "domain": "api.example.com",
            "env": {"SUPABASE_URL": "https://supabase.example.com", "GIT_SHA": 40 * "a"},
            "appClass": "non-business",
        },
    }
    deployed = client.ask("POST", "/build", body=body)
    if deployed.get("jobName"):
        wait_until(lambda: client.ask("GET", f"/build/{deployed['jobName']}")["status"] == "succeeded")
    else:
        assert deployed["status"] == "succeeded" or deployed["success"] is True
    assert client.ask("GET", "/api/apps/non-business-apps/backend")["app"]["replicas"] == 1


def test_the_local_script_prints_each_line_of_a_log_once(implementation: Implementation) -> None:
    server = implementation.start()
    client = Client(server)
    with implementation.held_source() as held:
        job = client.ask("POST", "/build", body=server.build_body(repoUrl=held.url))["jobName"]
        printed: list[str] = []

        def over() -> bool:
            log = client.ask("GET", f"/build/{job}/logs").get("logs")
            printed.extend(log.splitlines()[len(printed) :] if isinstance(log, str) else [])
            held.release()
            return client.ask("GET", f"/build/{job}")["status"] in ("succeeded", "failed")

        wait_until(over)
    whole = client.ask("GET", f"/build/{job}/logs")["logs"].splitlines()
    assert printed == whole[: len(printed)]


class Workflow:
    """The curl and jq of the workflow: what `curl -f` cannot get reads as not yet known."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def found(self, path: str, otherwise: dict[str, Any]) -> dict[str, Any]:
        answer = self.server.call("GET", path)
        found: dict[str, Any] = answer.json() if answer.status_code < 400 else otherwise
        return found

    def is_over(self, job: str) -> bool:
        return self.found(f"/build/{job}", {"status": "pending"})["status"] in ("succeeded", "failed")

    def is_ready(self) -> bool:
        app = self.found("/api/apps/apps/shop", {"app": {}})["app"]
        ready = app.get("readyReplicas") or 0
        return bool(ready == (app.get("replicas") or 0) and ready > 0)

    def start(self, config: dict[str, object]) -> str:
        """Starts the build and its deploy in one request; returns the job."""
        body = {
            "app": "shop",
            "namespace": "apps",
            "repoUrl": self.server.source.url,
            "gitRef": self.server.source.commit,
            "gitToken": "",  # what a secret that is not set becomes
            "imageTag": self.server.source.commit,
            "cache": True,
            "deploy": True,
            "deployConfig": {"port": 3000, "replicas": 2, "healthPath": "/health", **config},
        }
        answer = self.server.call("POST", "/build", body)
        assert 200 <= answer.status_code < 300
        assert answer.json()["image"].endswith(f":{self.server.source.commit}")
        return str(answer.json()["jobName"])


@pytest.mark.parametrize(
    "config",
    [
        {"domain": "shop.example.com"},
        {"domain": ""},
        {
            "domains": ["*.shop.example.com", "shop.example.com"],
            "metrics": {"port": 9090, "path": "/metrics", "scrapeInterval": "30s", "scheme": "http"},
        },
    ],
    ids=["domain", "without a domain", "domains and metrics"],
)
def test_the_workflow_builds_and_deploys_with_one_request(
    implementation: Implementation, config: dict[str, object]
) -> None:
    workflow = Workflow(implementation.start())
    job = workflow.start(config)
    assert not workflow.is_ready()
    wait_until(lambda: workflow.is_over(job))
    assert workflow.server.status(job) == "succeeded"
    implementation.let_pods_start(workflow.server)
    wait_until(workflow.is_ready)


def test_the_workflow_is_not_ready_while_old_pods_serve(implementation: Implementation) -> None:
    workflow = Workflow(implementation.start())
    first = workflow.start({"domain": "shop.example.com"})
    wait_until(lambda: workflow.is_over(first))
    implementation.let_pods_start(workflow.server)
    wait_until(workflow.is_ready)
    second = workflow.start({"domain": "shop.example.com", "env": {"GIT_SHA": "2"}})
    wait_until(lambda: workflow.is_over(second))
    assert not workflow.is_ready()
    implementation.let_pods_start(workflow.server)
    wait_until(workflow.is_ready)


def test_a_deploy_by_curl_of_the_documentation(server: Server) -> None:
    body = {
        "app": "my-app",
        "namespace": "apps",
        "image": "ghcr.io/org/my-app:v1.0.0",
        "ports": [{"port": 3000, "name": "http"}, {"port": 9090, "name": "metrics"}],
        "domain": "my-app.example.com",
        "metrics": {"port": 9090},
    }
    assert server.answer("POST", "/api/deploy", body)["success"] is True
    assert server.answer("GET", "/api/apps/apps/my-app")["app"]["deployConfig"]["metrics"]["port"] == 9090
    assert server.call("POST", "/api/deploy", {**body, "image": "ghcr.io/org/my-app:v2"}).ok
    assert server.call("POST", "/api/apps/apps/my-app/rollback").ok
    assert server.answer("GET", "/api/apps/apps/my-app")["app"]["image"] == body["image"]
    assert server.call("DELETE", "/api/apps/apps/my-app").ok
