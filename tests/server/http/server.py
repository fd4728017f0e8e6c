"""What a test knows of a server: its address, its keys, and requests as any HTTP client sends them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests

from tests.project import SECONDS_A_COMMAND, wait_until

FEATURES = "app-state, app-history, app-logs, rollback, idempotency-key, cancel, revision-check, remove"
NO_DIGEST = f"sha256:{64 * '0'}"
CONFIG = {"port": 3000, "replicas": 2}


@dataclass(frozen=True)
class Source:
    """A repository that the server can clone, and a commit of it."""

    url: str
    commit: str


class Server:
    """`url` and `registry` are where it answers, `key` may do everything, `source` can be built."""

    def __init__(self, url: str, key: str, registry: str, source: Source) -> None:
        self.url, self.key, self.registry, self.source = url, key, registry, source

    def call(
        self, method: str, path: str, json: object = None, *, key: str | None = None, **options: Any
    ) -> requests.Response:
        """A request with `key`, or with the one that may do everything; `options` are those of requests."""
        headers = {"X-API-Key": self.key if key is None else key, **options.pop("headers", {})}
        timeout = options.pop("timeout", SECONDS_A_COMMAND)
        return requests.request(method, self.url + path, json=json, headers=headers, timeout=timeout, **options)

    def answer(self, method: str, path: str, json: object = None, **options: Any) -> dict[str, Any]:
        """The JSON object of an answer, which must be 2xx."""
        answer = self.call(method, path, json, **options)
        assert answer.ok, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def build_body(self, **more: object) -> dict[str, object]:
        body = {"app": "shop", "namespace": "apps", "repoUrl": self.source.url, "gitRef": self.source.commit}
        return {**body, **more}

    def build(self, **more: object) -> str:
        """Starts a build; returns its job."""
        return str(self.answer("POST", "/build", self.build_body(**more))["jobName"])

    def over(self, job: str) -> dict[str, Any]:
        """The state of a job that is over."""
        return self.answer("POST", f"/build/{job}/wait?timeout=600")

    def built(self, **more: object) -> str:
        """Builds an image; returns its digest."""
        state = self.over(self.build(**more))
        assert state["status"] == "succeeded", state
        return str(state["buildId"])

    def deploy(
        self, digest: str, config: object = None, headers: dict[str, str] | None = None, **more: object
    ) -> requests.Response:
        body = {"app": "shop", "namespace": "apps", "buildId": digest, "deploy": True, **more}
        return self.call("POST", "/build", {**body, "deployConfig": config or CONFIG}, headers=headers or {})

    def deployed(self, digest: str, config: object = None) -> int:
        """Deploys an image; returns the revision."""
        answer = self.deploy(digest, config)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["revision"])

    def app(self, app: str = "shop") -> dict[str, Any]:
        found: dict[str, Any] = self.answer("GET", f"/api/apps/apps/{app}")["app"]
        return found

    def wait_for(self, status: str, app: str = "shop") -> dict[str, Any]:
        """The app once it has this status."""
        wait_until(lambda: self.app(app)["status"] == status)
        return self.app(app)

    def status(self, job: str) -> str:
        return str(self.answer("GET", f"/build/{job}")["status"])

    def log(self, job: str) -> str:
        return str(self.answer("GET", f"/build/{job}/logs")["logs"])


def refused(answer: requests.Response, status: int, code: str | None = None) -> str:
    """Checks that an answer is an error, as every error is; returns its text."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert answer.headers["Deploy-Api-Features"] == FEATURES
    assert body.keys() - {"app"} == {"error", "code"}
    assert code is None or body["code"] == code
    return str(body["error"])
