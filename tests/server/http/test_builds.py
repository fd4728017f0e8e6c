"""Builds: started, watched, waited for, cancelled, and followed by their deploy."""

from __future__ import annotations

import itertools
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.project import wait_until
from tests.server.http.implementations import Implementation
from tests.server.http.server import CONFIG, NO_DIGEST, Server, refused

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def test_a_build_is_accepted_at_once_with_its_job_and_image(implementation: Implementation) -> None:
    server = implementation.start()
    with implementation.held_source() as held:
        body = server.build_body(repoUrl=held.url, imageName="team/shop", imageTag="v1", cache=True, deploy=False)
        answer = server.call("POST", "/build", body)
        assert answer.status_code == 202
        started = answer.json()
        assert re.fullmatch(r"build-shop-[a-z0-9]+", started["jobName"])
        assert started["image"] == f"{server.registry}/team/shop:v1"
        assert started["status"] in ("pending", "running")


def test_a_build_names_its_image_after_the_app_and_chooses_a_tag(server: Server) -> None:
    started = server.answer("POST", "/build", server.build_body())
    name, _, tag = started["image"].removeprefix(f"{server.registry}/").partition(":")
    assert name == "shop"
    build_id = server.over(started["jobName"])["buildId"]
    assert server.answer("GET", f"/registry/shop/digest?tag={tag}")["buildId"] == build_id


def test_two_builds_at_once_have_jobs_of_their_own(server: Server) -> None:
    assert server.build() != server.build()


def test_a_wait_answers_with_status_and_digest_once_the_build_is_over(server: Server) -> None:
    job = server.build(imageTag="v1")
    state = server.over(job)
    assert (state["jobName"], state["status"]) == (job, "succeeded")
    assert DIGEST.fullmatch(state["buildId"])
    assert state == server.answer("GET", f"/build/{job}")
    assert server.answer("GET", "/registry/shop/digest?tag=v1")["buildId"] == state["buildId"]


def test_a_wait_on_a_build_that_is_over_answers_at_once_without_white_space(implementation: Implementation) -> None:
    server = implementation.start(white_space_seconds=0.01)
    job = server.build()
    server.over(job)
    assert server.call("POST", f"/build/{job}/wait?timeout=600").text.startswith("{")


def test_a_wait_answers_at_its_timeout_with_the_state_as_it_stands(implementation: Implementation) -> None:
    server = implementation.start()
    with implementation.held_source() as held:
        job = server.build(repoUrl=held.url)
        assert server.answer("POST", f"/build/{job}/wait?timeout=0.1")["status"] == "running"
        assert server.answer("POST", f"/build/{job}/wait?timeout=0")["status"] == "running"


@pytest.mark.parametrize("timeout", ["soon", "-1", "nan"])
def test_a_timeout_that_is_no_number_of_seconds_is_a_400(server: Server, timeout: str) -> None:
    job = server.build()
    assert "timeout" in refused(server.call("POST", f"/build/{job}/wait?timeout={timeout}"), 400, "malformed")


def test_a_wait_sends_its_status_at_once_and_white_space_until_the_build_is_over(
    implementation: Implementation,
) -> None:
    server = implementation.start(white_space_seconds=0.02)
    with implementation.held_source() as held:
        job = server.build(repoUrl=held.url)
        answer = server.call("POST", f"/build/{job}/wait?timeout=600", stream=True)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/json"
        pieces = answer.iter_content(1)
        assert [next(pieces) for _ in range(3)] == 3 * [b" "]
        held.release()
        rest = b"".join(pieces)
    assert json.loads(rest)["status"] == "succeeded"


def test_a_wait_outlives_a_client_that_gives_up_on_a_silent_server_sooner(implementation: Implementation) -> None:
    server = implementation.start(white_space_seconds=0.05)
    patience = 3.0
    with implementation.held_source() as held:
        job = server.build(repoUrl=held.url)
        threading.Timer(1.5 * patience, held.release).start()
        answer = server.call("POST", f"/build/{job}/wait?timeout=1800", timeout=patience)
    assert answer.json()["status"] == "succeeded"
    assert answer.elapsed.total_seconds() < patience


def test_waits_on_one_build_all_end_with_it(implementation: Implementation) -> None:
    server = implementation.start()
    with implementation.held_source() as held, ThreadPoolExecutor(20) as pool:
        job = server.build(repoUrl=held.url)
        waits = [pool.submit(server.over, job) for _ in range(20)]
        assert server.answer("POST", f"/build/{job}/wait?timeout=0.1")["status"] == "running"
        held.release()
        assert {wait.result()["status"] for wait in waits} == {"succeeded"}


def test_a_log_only_ever_grows(implementation: Implementation) -> None:
    server = implementation.start()
    with implementation.held_source() as held:
        job = server.build(repoUrl=held.url)
        logs = [server.log(job)]

        def looked() -> str:
            logs.append(server.log(job))
            return logs[-1]

        wait_until(looked)
        held.release()
        wait_until(lambda: looked() and server.status(job) == "succeeded")
        looked()
    for earlier, later in itertools.pairwise(logs):
        assert later.startswith(earlier)
    assert logs[-1].endswith("\n")
    assert len(logs[-1]) > len(logs[0])


def test_the_size_of_a_log_is_known_without_the_log(server: Server) -> None:
    job = server.build()
    server.over(job)
    whole = server.call("GET", f"/build/{job}/logs")
    head = server.call("HEAD", f"/build/{job}/logs")
    assert head.status_code == 200
    assert head.headers["Content-Length"] == str(len(whole.content))
    assert head.content == b""


def test_a_log_over_its_limit_ends_with_a_line_that_says_so(implementation: Implementation) -> None:
    server = implementation.start(log_bytes=40)
    job = server.build()
    server.over(job)
    log = server.log(job)
    *_, last = log.splitlines()
    assert "limit" in last
    assert len(log.encode()) <= 40 + len(f"\n{last}\n".encode())


def test_a_build_that_fails_says_why_with_a_200(server: Server) -> None:
    job = server.build(dockerfile="missing/Dockerfile")
    state = server.over(job)
    assert (state["status"], state["reason"]) == ("failed", "build")
    assert "missing/Dockerfile" in state["error"]
    assert "missing/Dockerfile" in server.log(job)
    assert server.answer("GET", f"/build/{job}") == state


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "/logs"), ("POST", "/wait"), ("POST", "/wait?timeout=1"), ("DELETE", "")]
)
def test_a_job_that_nobody_knows_is_a_404(server: Server, method: str, path: str) -> None:
    refused(server.call(method, f"/build/build-shop-1{path}"), 404, "unknown-job")


def test_a_repeated_request_with_an_idempotency_key_is_the_same_build(server: Server) -> None:
    first, again, other = (
        server.call("POST", "/build", server.build_body(), headers={"Idempotency-Key": key}) for key in "112"
    )
    assert (first.status_code, first.json()["jobName"]) == (again.status_code, again.json()["jobName"])
    assert other.json()["jobName"] != first.json()["jobName"]
    server.over(first.json()["jobName"])
    late = server.call("POST", "/build", server.build_body(), headers={"Idempotency-Key": "1"})
    assert (late.status_code, late.json()["jobName"]) == (202, first.json()["jobName"])


def test_a_request_that_is_repeated_is_audited_once(implementation: Implementation) -> None:
    server = implementation.start()
    for _ in range(2):
        server.call("POST", "/build", server.build_body(), headers={"Idempotency-Key": "k"})
    assert [line["change"] for line in implementation.audited(server)] == ["build"]


def test_two_requests_at_once_with_one_idempotency_key_are_one_build(server: Server) -> None:
    def start(_: int) -> Any:
        return server.call("POST", "/build", server.build_body(), headers={"Idempotency-Key": "k"}).json()["jobName"]

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(start, range(8)))) == 1


def test_an_idempotency_key_of_another_request_is_a_409(server: Server) -> None:
    server.call("POST", "/build", server.build_body(), headers={"Idempotency-Key": "k"})
    other = server.call("POST", "/build", server.build_body(imageTag="v2"), headers={"Idempotency-Key": "k"})
    refused(other, 409, "idempotency-key-reused")


def test_an_idempotency_key_changes_nothing_of_a_deploy(server: Server) -> None:
    digest = server.built()
    for replicas in (1, 2):
        config = {"port": 1, "replicas": replicas}
        assert server.deploy(digest, config, {"Idempotency-Key": "k"}).status_code == 200
        assert server.app()["replicas"] == replicas


def test_a_build_that_is_cancelled_has_failed_and_its_waits_answer(implementation: Implementation) -> None:
    server = implementation.start()
    with implementation.held_source() as held, ThreadPoolExecutor(1) as pool:
        job = server.build(repoUrl=held.url)
        wait_until(lambda: server.log(job))
        wait = pool.submit(server.over, job)
        cancelled = server.answer("DELETE", f"/build/{job}")
        assert (cancelled["status"], cancelled["reason"]) == ("failed", "cancelled")
        assert wait.result()["reason"] == "cancelled"
    assert server.answer("GET", f"/build/{job}")["reason"] == "cancelled"


def test_a_build_that_is_over_cannot_be_cancelled_any_more(server: Server) -> None:
    job = server.build()
    state = server.over(job)
    assert server.answer("DELETE", f"/build/{job}") == state
    assert server.status(job) == "succeeded"


def test_builds_over_the_limit_wait_as_pending_in_their_order(implementation: Implementation) -> None:
    server = implementation.start(concurrent_builds=1)
    with implementation.held_source() as held:
        first, second, third = (server.build(repoUrl=held.url, imageTag=tag) for tag in ("v1", "v2", "v3"))
        wait_until(lambda: server.status(first) == "running")
        assert (server.status(second), server.status(third)) == ("pending", "pending")
        assert server.answer("POST", f"/build/{second}/wait?timeout=0.1")["status"] == "pending"
        assert server.answer("DELETE", f"/build/{second}")["reason"] == "cancelled"
        held.release()
        assert [server.over(job)["status"] for job in (first, second, third)] == ["succeeded", "failed", "succeeded"]


def test_a_build_with_deploy_is_deployed_though_nobody_waits(server: Server) -> None:
    started = server.call("POST", "/build", server.build_body(deploy=True, deployConfig=CONFIG, imageTag="v1"))
    assert started.status_code == 202
    wait_until(lambda: server.call("GET", "/api/apps/apps/shop").ok)
    digest = server.answer("GET", "/registry/shop/digest?tag=v1")["buildId"]
    assert server.app()["image"] == f"{server.registry}/shop@{digest}"


def test_a_build_with_deploy_is_over_only_once_it_is_deployed(server: Server) -> None:
    job = server.build(deploy=True, deployConfig=CONFIG)
    assert server.over(job)["status"] == "succeeded"
    assert server.app()["revision"] == 1


def test_a_build_that_fails_deploys_nothing(server: Server) -> None:
    job = server.build(deploy=True, deployConfig=CONFIG, dockerfile="missing")
    assert server.over(job)["reason"] == "build"
    refused(server.call("GET", "/api/apps/apps/shop"), 404)


def test_a_build_that_is_cancelled_deploys_nothing(implementation: Implementation) -> None:
    server = implementation.start()
    with implementation.held_source() as held:
        job = server.build(repoUrl=held.url, deploy=True, deployConfig=CONFIG)
        server.answer("DELETE", f"/build/{job}")
        held.release()
    assert server.over(job)["reason"] == "cancelled"
    refused(server.call("GET", "/api/apps/apps/shop"), 404)


@pytest.mark.parametrize("config", [None, {}, {"replicas": 1}, {"port": 0}, {"port": "3000"}, {"port": 1, "tls": "no"}])
def test_what_cannot_be_deployed_is_refused_before_it_is_built(server: Server, config: object) -> None:
    body = server.build_body(deploy=True, imageTag="v1")
    refused(server.call("POST", "/build", body | ({} if config is None else {"deployConfig": config})), 400)
    assert server.call("GET", "/registry/shop/digest?tag=v1").status_code == 404


def test_a_build_without_deploy_deploys_nothing(server: Server) -> None:
    server.built(deployConfig=CONFIG)
    refused(server.call("GET", "/api/apps/apps/shop"), 404)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("app", "Not A Label"),
        ("app", 7),
        ("namespace", "apps\n"),
        ("imageTag", "-v"),
        ("imageName", "../up"),
        ("imageName", "a" * 256),
        ("gitRef", "--upload-pack=evil"),
        ("gitRef", ""),
        ("repoUrl", "-c"),
        ("repoUrl", None),
        ("deploy", "yes"),
        ("buildId", "sha256:1"),
    ],
)
def test_a_build_with_a_malformed_field_is_a_400_that_names_it(server: Server, field: str, value: object) -> None:
    assert field in refused(server.call("POST", "/build", server.build_body(**{field: value})), 400, "malformed")


def test_a_malformed_name_is_refused_with_its_grammar_in_words(server: Server) -> None:
    for field, value in (
        ("app", "Shop"),
        ("imageName", "Shop"),
        ("imageTag", ".1"),
        ("buildId", "1"),
        ("gitRef", "-1"),
    ):
        said = refused(server.call("POST", "/build", server.build_body(**{field: value})), 400, "malformed")
        assert said.startswith(f"{field}: this is not a") and "regex" not in said, said


def test_what_is_empty_or_null_is_absent_and_what_is_unknown_is_ignored(server: Server) -> None:
    absent = {"gitToken": "", "imageName": None, "imageTag": "", "dockerfile": None, "buildContext": "", "buildId": ""}
    body = server.build_body(**absent, deployConfig=None, deploy=None, cache=None, unheardOf={"deep": [1]})
    job = server.answer("POST", "/build", body)["jobName"]
    assert server.over(job)["status"] == "succeeded"


def test_a_digest_that_the_registry_lacks_is_a_404_and_nothing_is_built_or_deployed(server: Server) -> None:
    answer = server.deploy(NO_DIGEST, repoUrl=server.source.url, gitRef=server.source.commit)
    assert NO_DIGEST in refused(answer, 404, "unknown-digest")
    assert "jobName" not in answer.json()
    refused(server.call("GET", "/api/apps/apps/shop"), 404)


def test_a_digest_is_looked_up_in_the_image_that_the_request_names(server: Server) -> None:
    digest = server.built(imageName="team/shop")
    refused(server.deploy(digest), 404, "unknown-digest")
    assert server.deploy(digest, imageName="team/shop").json()["image"] == f"{server.registry}/team/shop@{digest}"


def test_the_digest_of_a_tag_that_the_registry_lacks_is_a_404(server: Server) -> None:
    server.built(imageTag="v1")
    refused(server.call("GET", "/registry/shop/digest?tag=v2"), 404, "unknown-tag")
    refused(server.call("GET", "/registry/other/digest?tag=v1"), 404, "unknown-tag")


@pytest.mark.parametrize("path", ["shop/digest", "shop/digest?tag=", "shop/digest?tag=-v", "Shop/digest?tag=v1"])
def test_the_digest_of_something_that_is_no_tag_or_name_is_a_400(server: Server, path: str) -> None:
    refused(server.call("GET", f"/registry/{path}"), 400)
