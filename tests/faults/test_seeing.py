"""Logs, rollout and health with servers that misbehave: a failed look does not fail the build or the deploy."""

from __future__ import annotations

import ssl
import subprocess
import sys

import pytest
import trustme

from tests.faults.api import DIGEST, JOB, Answer, FaultyApi, deep, faulty_api, http, page, reset, silence
from tests.faults.conftest import WITHOUT_PAUSES, Saw
from tests.project import Project, wait_until
from tests.proxies import proxy_to

RECORD = {"app": "shop", "namespace": "apps", "imageName": "shop", "imageTag": "v1", "buildId": DIGEST}
READY = http(200, {"app": {"replicas": 1, "readyReplicas": 1, "image": f"r/shop@{DIGEST}"}})


def test_a_log_that_hangs_does_not_delay_the_end_of_the_build(shop: Project, api: FaultyApi, saw: Saw) -> None:
    api.always("logs", silence)
    api.answers["wait"] = [silence]
    process = shop.start("build")
    api.until("logs")
    api.until("wait")
    api.answers["wait"] = []
    api.let_go("wait")
    api.until("digest")
    assert api.count("logs") == 1, "the digest was asked for while the log hung"
    wait_until(lambda: shop.in_flight is None)  # and recorded, too
    assert shop.record["buildId"] == DIGEST
    api.always("logs", http(200, {"logs": "the end\n"}))
    api.let_go("logs")
    out, err = process.finish()
    done = subprocess.CompletedProcess([], process.returncode, out, err)
    saw("faults", "19c", "build: the log hangs while the build ends", done, f"{api.count('digest')} digest")
    assert done.returncode == 0, err
    assert err.splitlines()[-2:] == ["the end", f"recorded shop:{shop.head} as {DIGEST}"]


LOGS: dict[str, Answer] = {
    "a reset": reset,
    "a web page": page(),
    "403": http(403),
    "1,000,000 nested lists": deep,
    "a log that is no text": http(200, {"logs": 5}),
}


@pytest.mark.parametrize("what", LOGS)
def test_a_log_that_cannot_be_read_does_not_fail_the_build(shop: Project, api: FaultyApi, what: str) -> None:
    api.always("logs", LOGS[what])
    done = shop.run(sys.executable, "-c", WITHOUT_PAUSES, "build")
    assert done.returncode == 0, done.stderr
    assert shop.record["buildId"] == DIGEST
    assert "Traceback" not in done.stderr


def test_each_line_of_a_log_that_loses_its_beginning_is_shown_once(shop: Project, api: FaultyApi) -> None:
    lines = [f"line {number}\n" for number in range(40)]
    parts = [lines[:10], lines[:20], lines[15:30]]
    api.answers["logs"] = [http(200, {"logs": "".join(part)}) for part in parts]
    api.always("wait", silence)
    process = shop.start("build")
    api.until("logs", 2)
    api.answers["wait"] = []
    api.always("logs", http(200, {"logs": "".join(lines[25:])}))
    api.let_go("wait")
    _, err = process.finish()
    shown = [line for line in err.splitlines() if line.startswith("line ")]
    seen = [int(line.split()[1]) for line in shown]
    assert seen == sorted(set(seen)), "none twice"
    assert seen[:20] == list(range(20))
    assert seen[-15:] == list(range(25, 40))


APPS: dict[str, Answer] = {
    "reset": reset,
    "a web page": page(),
    "403": http(403),
    "no replicas": http(200, {"app": {}}),
    "another shape": http(200, {"app": [1]}),
}


@pytest.mark.parametrize("what", APPS)
def test_a_rollout_that_cannot_be_seen_ends_in_time(shop: Project, api: FaultyApi, what: str) -> None:
    shop.write_record(RECORD)
    api.always("app", APPS[what])
    done = shop.run(sys.executable, "-c", WITHOUT_PAUSES, "reuse", "--rollout-timeout", "3")
    assert done.returncode == (0 if what in ("403", "no replicas") else 7), done.stderr
    assert "deployed" in done.stderr
    assert "not ready" not in (shop.folder / ".deploy" / "history.jsonl").read_text(), "the image is not to blame"
    assert "Traceback" not in done.stderr
    assert api.count("deploy") == 1


def test_ctrl_c_while_a_rollout_is_followed_says_that_it_is_deployed(shop: Project, api: FaultyApi, saw: Saw) -> None:
    shop.write_record(RECORD)
    api.answers["app"] = [http(404), *[silence] * 10_000]
    process = shop.start("reuse")
    api.until("app", 2)
    process.send_signal(2)
    out, err = process.finish()
    done = subprocess.CompletedProcess([], process.returncode, out, err)
    line = saw("faults", "20d", "reuse: SIGINT while the rollout is followed", done, api.summary)
    assert done.returncode == 130
    assert line == "stopped. shop is deployed, and its rollout goes on. Check what runs: invoke status", (
        "nothing ran before"
    )
    history = (shop.folder / ".deploy" / "history.jsonl").read_text()
    assert history.count('"outcome":"deployed"') == 1
    assert "unknown" not in history, "it is known by then"


def test_the_health_path_is_requested_at_the_domain_until_it_answers_2xx(shop: Project, api: FaultyApi) -> None:
    shop.write_record(RECORD)
    api.always("app", READY)
    trusted = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trusted.issue_cert("shop.example.com").configure_cert(context)
    with (
        faulty_api(context=context) as site,
        trusted.cert_pem.tempfile() as bundle,
        proxy_to(site.address) as (proxy, _),
    ):
        site.answers["other"] = [http(502), reset, http(204)]
        environment = {"HTTPS_PROXY": proxy, "https_proxy": proxy, "REQUESTS_CA_BUNDLE": bundle}
        environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        flags = ["--domain", "shop.example.com", "--health-path", "/health", "--check-health"]
        done = shop.invoke("reuse", *flags, **environment)
        assert done.returncode == 0, done.stderr
        assert [(request.method, request.path) for request in site.requests] == [("GET", "/health")] * 3
        assert all("x-api-key" not in request.headers for request in site.requests)
        assert "https://shop.example.com/health answers" in done.stderr
        site.always("other", http(503))
        looked = api.count("app")
        unseen = shop.invoke("reuse", *flags, "--no-follow", "--rollout-timeout", "3", **environment)
        assert (unseen.returncode, api.count("app")) == (12, looked + 1), "only the health path was to be waited for"
        ill = shop.invoke("reuse", *flags, "--rollout-timeout", "3", **environment)
        assert ill.returncode == 12
        assert "https://shop.example.com/health does not answer 2xx after 3 s (503)" in ill.stderr


@pytest.mark.parametrize("task", ["reuse", "local-deploy"])
def test_a_health_check_without_a_domain_sends_nothing(shop: Project, api: FaultyApi, task: str) -> None:
    shop.write_record(RECORD)
    refused = shop.invoke(task, "--check-health")
    assert refused.returncode == 2
    assert "--check-health needs a domain without *" in refused.stderr
    assert api.requests == []


def test_a_health_check_of_what_ran_without_a_domain_deploys_nothing(shop: Project, api: FaultyApi) -> None:
    for letter in "ab":
        assert shop.invoke("reuse", "--build-id", f"sha256:{64 * letter}").returncode == 0
    deploys = api.count("deploy")
    refused = shop.invoke("rollback", "--check-health")
    assert refused.returncode == 2
    assert "--check-health needs a domain without *" in refused.stderr
    assert api.count("deploy") == deploys


def test_the_undo_command_names_the_image_that_rollback_deploys(shop: Project, api: FaultyApi) -> None:
    well, unwell, newest = (f"sha256:{letter * 64}" for letter in "abc")

    def runs(build_id: str, ready: int) -> Answer:
        return http(200, {"app": {"replicas": 1, "readyReplicas": ready, "image": f"shop@{build_id}"}})

    before = http(404)
    for build_id, ready in [(well, 1), (unwell, 0), (newest, 1)]:
        api.answers["app"] = [before, *[runs(build_id, ready)] * 10_000]
        last = shop.invoke("reuse", "--build-id", build_id, "--rollout-timeout", "3")
        assert last.returncode == (0 if ready else 12), last.stderr
        before = runs(build_id, ready)
    assert f"undo: invoke rollback → {unwell[7:19]}\n" in last.stderr, "a timeout excludes nothing"
    assert f"shop@{unwell}" in shop.invoke("rollback", "--no-follow").stdout


def test_a_second_wait_ends_with_the_digest_that_the_first_one_recorded(
    shop: Project, api: FaultyApi, saw: Saw
) -> None:
    api.answers["wait"] = [silence]
    first = shop.start("build")
    api.until("wait")
    second = shop.start("wait", "--lock-timeout", "600", "reuse")
    assert second.stderr is not None
    waiting = second.stderr.readline()
    assert waiting.startswith(f"waiting for another run (pid {first.pid}")
    api.let_go("wait")
    first.finish()
    out, err = second.finish()
    done = subprocess.CompletedProcess([], second.returncode, out, waiting + err)
    what = "wait --lock-timeout 600 reuse: while another run waits for it"
    saw("faults", "31 (wait beside)", what, done, api.summary)
    assert done.returncode == 0, err
    assert f"another run has recorded {JOB} meanwhile" in err
    assert out.split()[0] == DIGEST


def test_reuse_waits_for_the_first_build_of_another_run(shop: Project, api: FaultyApi) -> None:
    api.answers["wait"] = [silence]
    first = shop.start("build")
    api.until("wait")
    at_once = shop.invoke("reuse")
    assert at_once.returncode == 11, "not: nothing is recorded yet"
    second = shop.start("reuse", "--lock-timeout", "600")
    assert second.stderr is not None
    second.stderr.readline()
    api.let_go("wait")
    first.finish()
    out, err = second.finish()
    assert second.returncode == 0, err
    assert out.strip().endswith(f"@{DIGEST}")


def test_no_other_run_can_start_between_the_tasks_of_a_chain(shop: Project, api: FaultyApi) -> None:
    api.answers["deploy"] = [silence]
    chain = shop.start("build", "reuse")
    api.until("deploy")
    refused = shop.invoke("digest")
    assert refused.returncode == 11
    assert f"another run (pid {chain.pid}: invoke reuse in {api.address}, since " in refused.stderr
    api.let_go("deploy")
    chain.finish()
    assert chain.returncode == 0


def test_a_404_page_of_a_gateway_does_not_lose_the_job(shop: Project, api: FaultyApi, saw: Saw) -> None:
    ingress = http(404, b"<html>default backend - 404</html>")
    api.answers["wait"] = [ingress, ingress]
    api.answers["digest"] = [ingress]
    done = shop.invoke("build")
    saw("faults", "16b", "wait and digest: a gateway's own 404", done, api.summary)
    assert done.returncode == 0, done.stderr
    assert shop.record["buildId"] == DIGEST


def test_a_secret_at_the_end_of_an_excerpt_is_not_shown_in_part(shop: Project, api: FaultyApi) -> None:
    token = "ghp_0123456789abcdefghijABCDEFGHIJklmnopqrst"
    api.always("start", http(422, b"x" * 170 + token.encode()))
    done = shop.invoke("build", DEPLOY_GIT_TOKEN=token)
    assert done.returncode == 4
    assert "ghp_" not in done.stderr
    assert "x***" in done.stderr


def test_a_user_with_a_name_in_an_unknown_encoding_can_deploy(shop: Project, api: FaultyApi) -> None:
    shop.write_record(RECORD)
    done = shop.run("sh", "-c", f"LOGNAME=$(printf 'andr\\351') exec {sys.executable} -m invoke reuse")
    assert done.returncode == 0, done.stderr
    assert '"who":"andr?@' in (shop.folder / ".deploy" / "history.jsonl").read_text()
