"""Apps: deployed, seen, rolled out, rolled back and removed."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

from tests.project import wait_until
from tests.server.http.implementations import Implementation
from tests.server.http.server import CONFIG, NO_DIGEST, Server, refused

COMMIT = 40 * "c"


def test_a_deploy_by_digest_is_accepted_at_once(server: Server) -> None:
    digest = server.built()
    answer = server.deploy(digest)
    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "skipped": True,
        "status": "succeeded",
        "image": f"{server.registry}/shop@{digest}",
        "revision": 1,
    }


def test_an_app_says_what_runs_and_who_deployed_it(server: Server) -> None:
    digest = server.built()
    config = {"port": 3000, "replicas": 2, "domain": "shop.example.com", "healthPath": "/health", "tls": False}
    author = {"X-Deploy-Commit": f"{COMMIT}-dirty", "X-Deploy-By": "octocat"}
    assert server.deploy(digest, config, author).ok
    app = server.app()
    assert {name: app[name] for name in ("name", "namespace", "image", "revision", "replicas", "commit")} == {
        "name": "shop",
        "namespace": "apps",
        "image": f"{server.registry}/shop@{digest}",
        "revision": 1,
        "replicas": 2,
        "commit": f"{COMMIT}-dirty",
    }
    assert "octocat" in app["deployedBy"]
    assert app["deployConfig"].items() >= config.items()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", app["deployedAt"])
    assert datetime.fromisoformat(app["deployedAt"].replace("Z", "+00:00")).utcoffset() is not None
    assert {"readyReplicas", "updatedReplicas", "availableReplicas", "status", "reason", "message"} <= app.keys()


@pytest.mark.parametrize("header", ["X-Deploy-By", "X-Deploy-Commit"])
def test_what_a_client_says_of_itself_is_left_out_if_malformed(server: Server, header: str) -> None:
    digest = server.built()
    assert server.deploy(digest, headers={header: "\x1b[2J" + 9000 * "x"}).status_code in (200, 400, 431)
    if server.call("GET", "/api/apps/apps/shop").ok:
        assert "\x1b" not in server.call("GET", "/api/apps/apps/shop/history").json()["history"][0]["deployedBy"]
        assert server.app()["commit"] is None


def test_an_app_that_was_never_deployed_is_a_404(server: Server) -> None:
    for method, path in (("GET", ""), ("GET", "/history"), ("GET", "/logs"), ("POST", "/rollback"), ("DELETE", "")):
        refused(server.call(method, f"/api/apps/apps/shop{path}"), 404, "unknown-app")


def test_values_of_variables_never_leave_the_server(implementation: Implementation) -> None:
    server = implementation.start()
    digest = server.built()
    secret = "s3cret-of-the-app"
    server.deployed(digest, {**CONFIG, "env": {"TOKEN": secret, "EMPTY": ""}})
    app = server.app()
    assert app["deployConfig"]["env"] == {"TOKEN": None, "EMPTY": None}
    seen = [server.call("GET", f"/api/apps/apps/shop{path}").text for path in ("", "/history", "/logs")]
    seen += [server.call("GET", "/metrics").text, *map(str, implementation.audited(server))]
    assert secret not in "".join(seen)
    assert implementation.values(server, "shop") == {"TOKEN": secret, "EMPTY": ""}


def test_an_app_is_progressing_until_every_pod_is_ready(implementation: Implementation) -> None:
    server = implementation.start()
    server.deployed(server.built())
    app = server.app()
    assert (app["status"], app["readyReplicas"]) == ("progressing", 0)
    implementation.let_pods_start(server)
    app = server.wait_for("ready")
    numbers = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")
    assert [app[number] for number in numbers] == [2, 2, 2, 2]


def test_only_pods_of_the_newest_revision_are_counted_as_ready(implementation: Implementation) -> None:
    server = implementation.start()
    digest = server.built()
    server.deployed(digest)
    implementation.let_pods_start(server)
    server.wait_for("ready")
    server.deployed(digest, {**CONFIG, "env": {"NEW": "1"}})
    app = server.app()
    assert (app["status"], app["readyReplicas"], app["availableReplicas"]) == ("progressing", 0, 0)
    implementation.let_pods_start(server)
    assert server.wait_for("ready")["readyReplicas"] == 2


def test_a_rollout_that_fails_says_why_and_counts_no_old_pod(implementation: Implementation) -> None:
    server = implementation.start(fail_rollouts=True)
    server.deployed(server.built())
    implementation.let_pods_start(server)
    app = server.wait_for("failed")
    assert app["readyReplicas"] == 0
    assert app["reason"]
    assert app["message"]
    assert server.answer("GET", "/api/apps/apps/shop/history")["history"][0]["status"] == "failed"


def test_a_deploy_that_changes_nothing_is_accepted_and_replaces_no_pod(implementation: Implementation) -> None:
    server = implementation.start()
    digest = server.built()
    server.deployed(digest, {**CONFIG, "env": {"A": "1"}})
    implementation.let_pods_start(server)
    before = server.wait_for("ready")
    answer = server.deploy(digest, {**CONFIG, "env": {"A": "1"}}, {"X-Deploy-By": "somebody else"})
    assert answer.status_code == 200
    assert (answer.json()["unchanged"], answer.json()["revision"]) == (True, before["revision"])
    assert server.app()["readyReplicas"] == 2
    assert len(server.answer("GET", "/api/apps/apps/shop/history")["history"]) == 1


@pytest.mark.parametrize(
    "changed", [{"env": {"A": "2"}}, {"env": {"A": "1", "B": ""}}, {"port": 81}, {"appClass": "non-business"}]
)
def test_a_deploy_that_changes_pods_is_a_new_revision_with_new_pods(
    implementation: Implementation, changed: dict[str, object]
) -> None:
    server = implementation.start()
    digest, config = server.built(), {**CONFIG, "env": {"A": "1"}}
    server.deployed(digest, config)
    implementation.let_pods_start(server)
    server.wait_for("ready")
    assert server.deployed(digest, config | changed) == 2
    assert server.app()["readyReplicas"] == 0


def test_another_domain_is_a_new_revision_with_the_same_pods(implementation: Implementation) -> None:
    server = implementation.start()
    digest = server.built()
    server.deployed(digest)
    implementation.let_pods_start(server)
    server.wait_for("ready")
    assert server.deployed(digest, {**CONFIG, "domain": "shop.example.com"}) == 2
    assert server.app()["readyReplicas"] == 2


def test_a_history_has_the_newest_first_and_at_least_twenty(server: Server) -> None:
    digest = server.built()
    for number in range(1, 26):
        server.deploy(digest, {"port": number}, {"X-Deploy-By": f"person {number}"})
    history = server.answer("GET", "/api/apps/apps/shop/history")["history"]
    assert [entry["revision"] for entry in history[:20]] == list(range(25, 5, -1))
    newest = history[0]
    assert newest["deployConfig"]["port"] == 25
    assert "person 25" in newest["deployedBy"]
    assert newest["image"] == f"{server.registry}/shop@{digest}"
    assert newest.keys() == {
        *("revision", "image", "commit", "deployedBy", "deployedAt", "deployConfig", "status"),
    }


def test_a_rollback_returns_to_the_revision_before_with_the_values_of_its_variables(
    implementation: Implementation,
) -> None:
    server = implementation.start()
    first, second = (
        server.built(),
        server.built(buildContext="web", dockerfile="web/Dockerfile"),
    )
    assert first != second
    server.deployed(first, {**CONFIG, "env": {"TOKEN": "one", "OLD": "1"}})
    server.deployed(second, {**CONFIG, "env": {"TOKEN": "two"}})
    answer = server.answer("POST", "/api/apps/apps/shop/rollback")
    assert answer == {
        "success": True,
        "skipped": True,
        "status": "succeeded",
        "image": f"{server.registry}/shop@{first}",
        "revision": 3,
    }
    assert server.app()["deployConfig"]["env"] == {"TOKEN": None, "OLD": None}
    assert implementation.values(server, "shop") == {"TOKEN": "one", "OLD": "1"}


def test_a_rollback_to_a_revision_puts_what_is_named_over_it(implementation: Implementation) -> None:
    server = implementation.start()
    digest = server.built()
    server.deployed(digest, {"port": 1, "replicas": 3, "env": {"A": "1", "B": "1"}})
    server.deployed(digest, {"port": 2})
    server.deployed(digest, {"port": 3})
    body = {"revision": 1, "deployConfig": {"replicas": 5, "env": {"B": "2"}}}
    assert server.answer("POST", "/api/apps/apps/shop/rollback", body)["revision"] == 4
    app = server.app()
    assert (app["deployConfig"]["port"], app["replicas"]) == (1, 5)
    values = implementation.values(server, "shop")
    assert values["B"] == "2"
    assert values.get("A", "1") == "1"


def test_a_rollback_shows_the_commit_of_what_returns_and_not_of_the_checkout_that_asks(server: Server) -> None:
    digest, other = server.built(), 40 * "d"
    for port, commit in ((1, COMMIT), (2, other)):
        server.deploy(digest, {"port": port}, {"X-Deploy-Commit": commit})
    assert server.app()["commit"] == other
    server.answer("POST", "/api/apps/apps/shop/rollback", headers={"X-Deploy-Commit": other, "X-Deploy-By": "dev"})
    app = server.app()
    assert (app["commit"], app["deployConfig"]["port"], app["deployedBy"]) == (COMMIT, 1, "admin (dev)")


def test_a_rollback_never_takes_the_last_port_away(server: Server) -> None:
    digest = server.built()
    server.deployed(digest, {"port": 1})
    server.deployed(digest, {"port": 2})
    server.answer("POST", "/api/apps/apps/shop/rollback", {"deployConfig": {"ports": [], "port": None}})
    assert server.app()["deployConfig"]["port"] == 1


def test_a_rollback_without_an_earlier_revision_is_refused(server: Server) -> None:
    digest = server.built()
    server.deployed(digest)
    assert server.call("POST", "/api/apps/apps/shop/rollback").status_code in (404, 409)
    assert server.call("POST", "/api/apps/apps/shop/rollback", {"revision": 9}).status_code == 404
    refused(server.call("POST", "/api/apps/apps/shop/rollback", {"revision": "one"}), 400, "malformed")
    assert server.app()["revision"] == 1


def test_a_deploy_of_an_expected_revision_is_refused_if_another_one_runs(server: Server) -> None:
    digest = server.built()
    assert server.deploy(digest, headers={"If-Match": '"0"'}).json()["revision"] == 1
    for expected in ('"0"', "0", '"7"'):
        answer = server.deploy(digest, {"port": 9}, {"If-Match": expected})
        refused(answer, 412, "revision-changed")
        assert answer.json()["app"]["revision"] == 1
    assert server.deploy(digest, {"port": 9}, {"If-Match": '"1"'}).json()["revision"] == 2
    rollback = server.call("POST", "/api/apps/apps/shop/rollback", headers={"If-Match": '"1"'})
    refused(rollback, 412, "revision-changed")
    assert rollback.json()["app"]["deployConfig"]["port"] == 9
    assert server.call("POST", "/api/apps/apps/shop/rollback", headers={"If-Match": "2"}).json()["revision"] == 3


def test_an_expected_revision_of_an_app_that_was_never_deployed_is_refused(server: Server) -> None:
    refused(server.deploy(server.built(), headers={"If-Match": '"1"'}), 412, "revision-changed")
    refused(server.call("GET", "/api/apps/apps/shop"), 404)


def test_of_many_deploys_at_once_that_expect_the_same_revision_one_is_accepted(server: Server) -> None:
    digest = server.built()

    def deploy(port: int) -> int:
        return server.deploy(digest, {"port": port}, {"If-Match": '"0"'}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(deploy, range(1, 9))) == [200, *(7 * [412])]


def test_many_deploys_at_once_are_revisions_of_their_own(server: Server) -> None:
    digest = server.built()
    with ThreadPoolExecutor(8) as pool:
        revisions = pool.map(lambda port: server.deployed(digest, {"port": port}), range(1, 9))
        assert sorted(revisions) == list(range(1, 9))


@pytest.mark.parametrize("expected", ["*", "one", '"-1"', "1, 2", 'W/"1"', '"01"'])
def test_an_expected_revision_that_is_none_is_a_400_and_nothing_is_deployed(server: Server, expected: str) -> None:
    assert "If-Match" in refused(server.deploy(server.built(), headers={"If-Match": expected}), 400, "malformed")
    refused(server.call("GET", "/api/apps/apps/shop"), 404)


def test_an_app_that_is_removed_is_gone(server: Server) -> None:
    digest = server.built()
    server.deployed(digest)
    assert server.call("DELETE", "/api/apps/apps/shop").ok
    refused(server.call("GET", "/api/apps/apps/shop"), 404, "unknown-app")
    refused(server.call("DELETE", "/api/apps/apps/shop"), 404, "unknown-app")
    assert server.deploy(digest, headers={"If-Match": '"0"'}).ok


def test_an_image_in_full_is_deployed_by_the_same_code_as_a_digest(server: Server) -> None:
    digest = server.built(imageTag="v1")
    config = {"port": 3000, "replicas": 2, "domains": ["*.shop.example.com"], "appClass": "non-business"}
    body = {"app": "shop", "namespace": "apps", "image": f"{server.registry}/shop:v1", **config}
    answer = server.answer("POST", "/api/deploy", body)
    assert answer["image"] == f"{server.registry}/shop@{digest}"
    assert server.app()["deployConfig"].items() >= config.items()
    assert server.deploy(digest, config).json()["unchanged"] is True
    pinned = {**body, "image": f"{server.registry}/shop@{digest}"}
    assert server.answer("POST", "/api/deploy", pinned)["unchanged"] is True


def test_an_image_of_another_registry_is_deployed_as_it_is_named(server: Server) -> None:
    body = {"app": "web", "namespace": "apps", "image": "ghcr.io/org/web:v1", "port": 80}
    assert server.answer("POST", "/api/deploy", body)["image"] == "ghcr.io/org/web:v1"
    assert server.app("web")["image"] == "ghcr.io/org/web:v1"


def test_an_image_that_the_registry_lacks_is_a_404(server: Server) -> None:
    body = {"app": "shop", "namespace": "apps", "port": 80}
    for reference in ("shop:none", f"shop@{NO_DIGEST}"):
        answer = server.call("POST", "/api/deploy", {**body, "image": f"{server.registry}/{reference}"})
        refused(answer, 404)
    refused(server.call("GET", "/api/apps/apps/shop"), 404)


@pytest.mark.parametrize("image", ["", "UPPER CASE", "a//b", "shop@sha256:1"])
def test_an_image_that_is_no_reference_is_a_400(server: Server, image: str) -> None:
    body = {"app": "shop", "namespace": "apps", "port": 80, "image": image}
    refused(server.call("POST", "/api/deploy", body), 400)


def test_ports_metrics_and_env_are_taken_as_clients_send_them(server: Server) -> None:
    config = {
        "ports": [{"port": 3000, "name": "http"}, {"port": 9000, "name": "admin"}],
        "metrics": {"port": 9090, "path": "/metrics", "scrapeInterval": "15s", "scheme": "http"},
        "env": {"KEY": 'value with "quotes"\nand lines'},
    }
    server.deployed(server.built(), config)
    shown = server.app()["deployConfig"]
    assert [port["port"] for port in shown["ports"]] == [3000, 9000]
    assert shown["metrics"]["port"] == 9090
    assert shown["env"] == {"KEY": None}


@pytest.mark.parametrize("config", [{"replicas": 2}, {"port": 0}, {"port": 65536}, {"port": 1, "replicas": -1}, [1]])
def test_a_config_that_cannot_be_deployed_is_a_400_and_nothing_is_deployed(server: Server, config: object) -> None:
    refused(server.deploy(server.built(), config), 400)
    refused(server.call("GET", "/api/apps/apps/shop"), 404)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"ports": [{"port": 80, "name": "web"}, {"port": 80, "name": "admin"}]}, "ports"),
        ({"ports": [{"port": 80, "name": "web"}, {"port": 81, "name": "web"}]}, "ports"),
        ({"ports": [{"port": 80, "name": "My Port"}]}, "ports"),
        ({"ports": [{"port": 80, "name": "a-name-of-16-long"}]}, "ports"),
        ({"port": 80, "env": {"": "x"}}, "env"),
        ({"port": 80, "env": {"A=B": "x"}}, "env"),
        ({"port": 80, "env": {"A\0": "x"}}, "env"),
        ({"port": 80, "env": {"A": "s3cret\0"}}, "env"),
        ({"port": 80, "domain": "https://shop.example.com"}, "domain"),
        ({"port": 80, "domains": ["shop.example.com", "*.*.example.com"]}, "domains"),
        ({"port": 80, "domains": ["shop.*.example.com"]}, "domains"),
        ({"port": 80, "domain": "*"}, "domain"),
        ({"port": 80, "domain": "Shop.example.com"}, "domain"),
        ({"port": 80, "healthPath": "/health\n"}, "healthPath"),
        ({"port": 80, "metrics": {"port": 80, "scrapeInterval": "soon"}}, "scrapeInterval"),
    ],
)
def test_a_config_that_kubernetes_would_refuse_is_a_400_that_names_the_field(
    server: Server, config: dict[str, Any], field: str
) -> None:
    text = refused(server.deploy(NO_DIGEST, config), 400, "malformed")
    assert field in text
    assert "s3cret" not in text
    image = {"app": "shop", "namespace": "apps", "image": "ghcr.io/org/shop:v1", **config}
    refused(server.call("POST", "/api/deploy", image), 400, "malformed")


def test_a_config_that_kubernetes_takes_is_deployed(server: Server) -> None:
    config = {
        "ports": [{"port": 80, "name": "http2"}, {"port": 81, "name": "x-8"}, {"port": 82}],
        "domains": ["localhost", "*.example.com", "a--b.1.example.com"],
        "env": {"a.b-c": "", "A": "ü\n"},
        "healthPath": "health.json?x=1",
        "metrics": {"port": 80, "scrapeInterval": "1m30s"},
    }
    assert server.deployed(server.built(), config) == 1


def test_a_digest_without_deploy_is_a_400(server: Server) -> None:
    refused(server.deploy(server.built(), deploy=False), 400)


def test_logs_of_an_app_are_lines_led_by_their_pod(implementation: Implementation) -> None:
    server = implementation.start()
    server.deployed(server.built())
    implementation.let_pods_start(server)
    server.wait_for("ready")
    wait_until(lambda: server.call("GET", "/api/apps/apps/shop/logs").text)
    answer = server.call("GET", "/api/apps/apps/shop/logs?since=600")
    assert answer.headers["Content-Type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert all(re.match(r"shop-[a-z0-9-]+ ", line) for line in lines)
    last = server.call("GET", "/api/apps/apps/shop/logs?tail=1").text.splitlines()
    assert 1 <= len(last) < len(lines)
    assert set(last) <= set(lines)
    assert server.call("GET", "/api/apps/apps/shop/logs?tail=0").text == ""


def test_logs_that_are_followed_go_on_with_the_next_lines(implementation: Implementation) -> None:
    server = implementation.start()
    digest = server.built()
    server.deployed(digest)
    implementation.let_pods_start(server)
    server.wait_for("ready")
    with server.call("GET", "/api/apps/apps/shop/logs?follow=true", stream=True) as followed:
        assert followed.status_code == 200
        lines = followed.iter_lines()
        next(lines)
        server.deployed(digest, {**CONFIG, "env": {"NEW": "1"}})
        implementation.let_pods_start(server)
        assert next(lines).startswith(b"shop-")


def test_logs_that_are_followed_end_with_the_app(implementation: Implementation) -> None:
    server = implementation.start()
    server.deployed(server.built())
    implementation.let_pods_start(server)
    server.wait_for("ready")
    with server.call("GET", "/api/apps/apps/shop/logs?follow=true", stream=True) as followed:
        lines = followed.iter_lines()
        next(lines)
        assert server.call("DELETE", "/api/apps/apps/shop").ok
        assert all(line.startswith(b"shop-") for line in lines)


@pytest.mark.parametrize("query", ["tail=-1", "tail=all", "since=yesterday", "follow=perhaps"])
def test_logs_that_are_asked_for_wrongly_are_a_400(server: Server, query: str) -> None:
    server.deployed(server.built())
    refused(server.call("GET", f"/api/apps/apps/shop/logs?{query}"), 400, "malformed")
