"""Who may do what: 401 without a known key, 403 without the right, and no word about other namespaces."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import requests

from tests.server.http.implementations import Implementation
from tests.server.http.server import CONFIG, NO_DIGEST, Server, refused


class Call(NamedTuple):
    """A request, and the right that it needs. `{job}` is a job of the namespace `apps`."""

    right: str
    method: str
    path: str
    body: dict[str, object] | None = None


_SHOP: dict[str, object] = {"app": "shop", "namespace": "apps"}
_BUILD = {**_SHOP, "repoUrl": "/nowhere", "gitRef": "main"}
CALLS = {
    "build": Call("build", "POST", "/build", _BUILD),
    "build and deploy": Call("deploy", "POST", "/build", {**_BUILD, "deploy": True, "deployConfig": CONFIG}),
    "digest": Call("deploy", "POST", "/build", {**_SHOP, "buildId": NO_DIGEST, "deploy": True, "deployConfig": CONFIG}),
    "image": Call("deploy", "POST", "/api/deploy", {**_SHOP, "image": "ghcr.io/org/shop:v1", "port": 80}),
    "job": Call("read", "GET", "/build/{job}"),
    "log": Call("read", "GET", "/build/{job}/logs"),
    "wait": Call("read", "POST", "/build/{job}/wait?timeout=0"),
    "cancel": Call("build", "DELETE", "/build/{job}"),
    "app": Call("read", "GET", "/api/apps/apps/shop"),
    "history": Call("read", "GET", "/api/apps/apps/shop/history"),
    "logs": Call("read", "GET", "/api/apps/apps/shop/logs"),
    "rollback": Call("deploy", "POST", "/api/apps/apps/shop/rollback", {}),
    "remove": Call("deploy", "DELETE", "/api/apps/apps/shop"),
    "tag": Call("read", "GET", "/registry/shop/digest?tag=v1"),
}
_RIGHTS = {"read", "build", "deploy"}


def asked(server: Server, call: Call, key: str) -> requests.Response:
    job = server.build() if "{job}" in call.path else ""
    return server.call(call.method, call.path.format(job=job), call.body, key=key)


@pytest.mark.parametrize("name", CALLS)
def test_without_a_known_key_every_operation_is_a_401(server: Server, name: str) -> None:
    refused(asked(server, CALLS[name], ""), 401)
    refused(asked(server, CALLS[name], "wrong"), 401)
    refused(asked(server, CALLS[name], server.key + "x"), 401)


@pytest.mark.parametrize("name", CALLS)
def test_the_right_of_an_operation_is_enough_and_the_others_are_not(implementation: Implementation, name: str) -> None:
    server, call = implementation.start(), CALLS[name]
    only, others = implementation.key(call.right), implementation.key(*_RIGHTS - {call.right})
    assert asked(server, call, only).status_code not in (401, 403)
    refused(asked(server, call, others), 403, "forbidden")


@pytest.mark.parametrize("name", set(CALLS) - {"tag"})
def test_a_key_of_another_namespace_is_refused_and_learns_of_no_job(implementation: Implementation, name: str) -> None:
    server, call = implementation.start(), CALLS[name]
    stranger = implementation.key(*_RIGHTS, namespaces=("other",))
    answer = asked(server, call, stranger)
    if "{job}" not in call.path:
        refused(answer, 403, "forbidden")
        return
    text = refused(answer, 404, "unknown-job")
    nobodys = server.call(call.method, call.path.format(job="build-shop-1"), key=stranger)
    assert refused(nobodys, 404, "unknown-job").replace("build-shop-1", "") == text.replace(
        answer.request.path_url.split("/")[2].split("?")[0], ""
    )


def test_a_key_of_another_namespace_learns_nothing_of_an_app(implementation: Implementation) -> None:
    server = implementation.start()
    stranger = implementation.key(*_RIGHTS, namespaces=("other",))
    unknown = server.call("GET", "/api/apps/apps/shop", key=stranger)
    server.deployed(server.built())
    known = server.call("GET", "/api/apps/apps/shop", key=stranger)
    assert (unknown.status_code, unknown.text) == (known.status_code, known.text)


def test_a_key_of_one_namespace_works_there(implementation: Implementation) -> None:
    server = implementation.start()
    key = implementation.key(*_RIGHTS, namespaces=("apps",))
    job = server.answer("POST", "/build", server.build_body(deploy=True, deployConfig=CONFIG), key=key)["jobName"]
    assert server.answer("POST", f"/build/{job}/wait?timeout=600", key=key)["status"] == "succeeded"
    assert server.answer("GET", "/api/apps/apps/shop", key=key)["app"]["revision"] == 1


def test_reading_in_any_namespace_is_enough_for_the_digest_of_a_tag(implementation: Implementation) -> None:
    server = implementation.start()
    digest = server.built(imageTag="v1")
    key = implementation.key("read", namespaces=("other",))
    assert server.answer("GET", "/registry/shop/digest?tag=v1", key=key)["buildId"] == digest


def test_a_refusal_names_the_key_and_the_right_but_never_the_secret(implementation: Implementation) -> None:
    server = implementation.start()
    key = implementation.key("read")
    text = refused(server.call("DELETE", "/api/apps/apps/shop", key=key), 403)
    assert "deploy" in text
    assert key not in text
    assert "made-up" not in refused(server.call("GET", "/api/apps/apps/shop", key="made-up"), 401)


def test_a_deploy_is_seen_under_the_name_of_its_key_whatever_the_client_says(implementation: Implementation) -> None:
    server = implementation.start()
    key, digest = implementation.key("deploy", name="ci"), server.built()
    body = {**_SHOP, "buildId": digest, "deploy": True, "deployConfig": CONFIG}
    server.answer("POST", "/build", body, key=key, headers={"X-Deploy-By": "admin"})
    assert server.app()["deployedBy"] == "ci (admin)"


def test_every_change_is_one_line_of_the_audit(implementation: Implementation) -> None:
    server = implementation.start()
    token = "t0ken-of-git"
    job = server.build(gitToken=token)
    server.over(job)
    digest = server.built()
    server.deployed(digest, {**CONFIG, "env": {"A": "s3cret"}})
    server.deployed(digest, {**CONFIG, "port": 9})
    server.answer("POST", "/api/apps/apps/shop/rollback")
    server.call("DELETE", "/api/apps/apps/shop")
    server.call("GET", "/api/apps/apps/shop")
    refused(server.deploy(NO_DIGEST), 404)
    audited = implementation.audited(server)
    assert [line["change"] for line in audited] == ["build", "build", "deploy", "deploy", "rollback", "remove"]
    assert {(line["namespace"], line["app"], line["key"]) for line in audited} == {("apps", "shop", "admin")}
    assert audited[0]["job"] == job
    assert audited[2]["image"] == f"{server.registry}/shop@{digest}"
    assert [line.get("revision") for line in audited[2:5]] == [1, 2, 3]
    for secret in (token, "s3cret", server.key):
        assert secret not in str(audited)


def test_the_cancel_and_the_deploy_after_a_build_are_audited_too(implementation: Implementation) -> None:
    server = implementation.start()
    with implementation.held_source() as held:
        cancelled = server.build(repoUrl=held.url)
        server.answer("DELETE", f"/build/{cancelled}")
    job = server.build(deploy=True, deployConfig=CONFIG)
    server.over(job)
    audited = implementation.audited(server)
    assert [line["change"] for line in audited] == ["build", "cancel", "build", "deploy"]
    assert [line["job"] for line in audited[:3]] == [cancelled, cancelled, job]
    assert audited[3]["image"] == server.app()["image"]
