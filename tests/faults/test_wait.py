"""Faults while waiting: a cut says nothing about the build, so the same job is asked for again, and none is started."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trustme

from tests.faults.api import DIGEST, JOB, Answer, FaultyApi, drip, faulty_api, http, idle_cut, reset, silence
from tests.faults.conftest import Saw
from tests.left_out import need_root_and
from tests.project import Process, Project

OLD = "sha256:" + 64 * "b"


@pytest.fixture
def waiting(shop: Project, api: FaultyApi) -> Project:
    """A build is in flight, and an older digest is recorded."""
    build = {"app": "shop", "namespace": "apps", "imageName": "shop", "imageTag": shop.head, "gitRef": shop.head}
    in_flight = {**build, "jobName": JOB, "apiUrl": api.url, "startedAt": "2026-01-01T00:00:00+00:00"}
    shop.write(".deploy/build-id.in-flight.json", json.dumps(in_flight))
    shop.write_record({"app": "shop", "imageName": "shop", "imageTag": "old", "buildId": OLD})
    return shop


@pytest.mark.parametrize(
    ("number", "what", "answers"),
    [
        ("11", "wait: two resets, then the answer", [reset, reset]),
        ("12", "wait: two 504s, then the answer", [http(504), http(504)]),
        ("12b", "wait: an idle connection is cut, then the answer", [idle_cut]),
        ("12c", "wait: 503 with a Retry-After that is no number", [http(503, Retry_After="soon")]),
        ("12d", "wait: a web page with status 200", [http(200, b"<html>")]),
    ],
)
def test_a_wait_that_is_cut_goes_on(
    waiting: Project, api: FaultyApi, saw: Saw, number: str, what: str, answers: list[Answer]
) -> None:
    api.answers["wait"] = answers
    expected = f"{len(answers) + 1} wait, 1 digest"
    done = waiting.invoke("wait")
    saw("faults", number, what, done, api.summary)
    assert done.returncode == 0
    assert done.stdout.strip() == waiting.record["buildId"] == DIGEST
    assert api.summary == expected
    assert waiting.in_flight is None


def test_13_a_wait_survives_an_api_that_is_down_for_a_while(waiting: Project, api: FaultyApi, saw: Saw) -> None:
    api.answers["wait"] = [api.leave]
    process = waiting.start("wait")
    assert process.stderr is not None
    said = ""
    while "no connection" not in said:  # it was asked while it was down
        line = process.stderr.readline()
        assert line, said
        said += line
    api.come_back()
    out, err = process.finish()
    done = subprocess.CompletedProcess([], process.returncode, out, said + err)
    saw("faults", "13", "wait: the API is down for a while", done, api.summary)
    assert done.returncode == 0
    assert api.summary == "2 wait, 1 digest"


def test_15_a_gateway_that_always_cuts_ends_at_the_deadline(waiting: Project, api: FaultyApi, saw: Saw) -> None:
    api.always("wait", http(504))
    done = waiting.invoke("wait", "--timeout", "2")
    line = saw("faults", "15", "wait: 504 until the deadline", done, "wait again and again")
    assert done.returncode == 7
    assert line == f"{JOB} still runs after 2 s. The build goes on. Pick it up: invoke wait"
    assert {request.kind for request in api.requests} <= {"wait", "logs"}
    assert 1 <= api.count("wait") <= 6
    assert waiting.in_flight is not None


def test_an_api_that_is_gone_until_the_deadline_leaves_the_build_in_flight(waiting: Project, saw: Saw) -> None:
    url = waiting.environment["DEPLOY_API_URL"]
    state = {**(waiting.in_flight or {}), "apiUrl": "http://127.0.0.1:9"}
    waiting.write(".deploy/build-id.in-flight.json", json.dumps(state))
    done = waiting.invoke("wait", "--timeout", "1", DEPLOY_API_URL="http://127.0.0.1:9")
    line = saw("faults", "15b", "wait: the API is away until the deadline", done, "none")
    assert url != "http://127.0.0.1:9"
    assert done.returncode == 5
    assert f"{JOB} goes on. Pick it up: invoke wait" in line
    assert waiting.in_flight is not None


def test_a_retry_after_of_six_hours_ends_at_the_deadline(waiting: Project, api: FaultyApi, saw: Saw) -> None:
    api.always("wait", http(429, Retry_After="21600"))
    done = waiting.invoke("wait", "--timeout", "1")
    saw("faults", "15c", "wait: 429 with Retry-After: 21600", done, api.summary)
    assert done.returncode == 7
    assert api.summary == "1 wait"


def test_16_a_job_that_is_gone_starts_no_build(waiting: Project, api: FaultyApi, saw: Saw) -> None:
    api.always("wait", http(404, {"error": "not found"}))
    api.always("digest", http(404, {"error": "not found"}))
    done = waiting.invoke("wait")
    line = saw("faults", "16", "wait: 404", done, api.summary)
    assert done.returncode == 4
    assert line.startswith(f"the API knows no build job {JOB} (any more), and the registry has no shop:{waiting.head}")
    assert ". Nothing was recorded. " in line
    assert f": invoke digest --app shop --image-tag {waiting.head}. " in line
    assert line.endswith(": invoke build")
    assert api.summary == "1 wait, 1 digest"
    assert waiting.record["buildId"] == OLD


def test_17_a_key_that_is_refused_midway_keeps_the_job(waiting: Project, api: FaultyApi, saw: Saw) -> None:
    api.answers["wait"] = [http(504)]
    api.answers["wait"] += [http(401)] * 10
    done = waiting.invoke("wait")
    line = saw("faults", "17", "wait: 401 midway", done, api.summary)
    assert done.returncode == 4
    assert "The build goes on. Check shell variable DEPLOY_API_KEY" in line
    assert (waiting.in_flight or {})["jobName"] == JOB
    api.answers.clear()
    assert waiting.invoke("wait").returncode == 0


def test_18_an_answer_that_drips_ends_at_the_deadline(waiting: Project, api: FaultyApi, saw: Saw) -> None:
    api.always("wait", drip)
    done = waiting.invoke("wait", "--timeout", "1")
    saw("faults", "18", "wait: a byte every 50 ms", done, api.summary)
    assert done.returncode == 7
    assert api.summary == "1 wait"


def test_19_a_failed_build_shows_the_end_of_its_log(waiting: Project, api: FaultyApi, saw: Saw) -> None:
    log = "\n".join(f"step {number}" for number in range(100)) + "\n\x1b[31merror: no such file\n"
    api.always("wait", http(200, {"status": "failed", "error": "exit code 2"}))
    api.always("logs", http(200, {"logs": log}))
    done = waiting.invoke("wait", "--no-logs")
    line = saw("faults", "19", "wait: the build failed", done, api.summary)
    assert done.returncode == 9
    kept = "Nothing was recorded, and the last good digest is unchanged"
    assert line == f"{JOB} failed: exit code 2. {kept}. Its log: invoke logs --job {JOB}"
    shown = done.stderr.splitlines()[:-1]
    assert len(shown) == 30
    assert shown[-1] == "  error: no such file"
    assert waiting.record["buildId"] == OLD
    assert waiting.in_flight is None


def test_a_request_for_the_digest_is_repeated(waiting: Project, api: FaultyApi, saw: Saw) -> None:
    api.answers["digest"] = [http(502), reset]
    done = waiting.invoke("wait")
    saw("faults", "19b", "wait: the build is well, the digest is answered the third time", done, api.summary)
    assert done.returncode == 0
    assert api.summary == "1 wait, 3 digest"
    assert waiting.record["buildId"] == DIGEST


@pytest.mark.parametrize(
    ("number", "name"), [("20a", signal.SIGINT), ("20b", signal.SIGTERM), ("20c", signal.SIGHUP)], ids=str
)
def test_20_ctrl_c_detaches_from_the_build(
    shop: Project, api: FaultyApi, saw: Saw, number: str, name: signal.Signals
) -> None:
    api.always("wait", silence)
    process = shop.start("build")
    api.until("wait")
    process.send_signal(name)
    out, err = process.finish()  # while the API still says nothing
    done = subprocess.CompletedProcess([], process.returncode, out, err)
    line = saw("faults", number, f"build: {name.name} while waiting", done, api.summary)
    assert done.returncode == 128 + name
    assert line == f"stopped. {JOB} goes on in the cluster. Pick it up: invoke wait"
    api.answers.clear()
    assert shop.invoke("wait").returncode == 0
    assert api.count("start") == 1


@contextmanager
def black_hole() -> Iterator[tuple[str, str]]:
    """A network of its own that reaches this machine over one link: its name, and that of the link."""
    need_root_and("ip")
    name, link, number = f"hole{os.getpid()}", f"hole{os.getpid()}"[:13], os.getpid() % 250
    inside = f"{link}i"
    ip("netns", "add", name)
    try:
        ip("link", "add", link, "type", "veth", "peer", "name", inside, "netns", name)
        ip("address", "add", f"10.213.{number}.1/24", "dev", link)
        ip("link", "set", link, "up")
        ip("-n", name, "address", "add", f"10.213.{number}.2/24", "dev", inside)
        ip("-n", name, "link", "set", inside, "up")
        yield name, link
    finally:
        ip("netns", "delete", name)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


# The program with slices of 6 seconds instead of 30.
SHORT_SLICES = """
from deploy_tasks import __main__
from deploy_tasks.api import client, polling
polling.SLICE_SECONDS, client._SPARE_SECONDS = 1.0, 5.0
__main__.main()
"""


def test_14_a_black_hole_is_asked_again(project: Project, saw: Saw) -> None:
    trusted = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with black_hole() as (name, link), trusted.cert_pem.tempfile() as bundle:
        host = f"10.213.{os.getpid() % 250}.1"
        trusted.issue_cert(host).configure_cert(context)
        with faulty_api(host=host, context=context) as api:
            api.answers["wait"] = [silence]
            environment = {"DEPLOY_API_URL": api.url, "DEPLOY_API_KEY": "canary-key", "REQUESTS_CA_BUNDLE": bundle}
            project.environment.update(environment, NO_PROXY="*")
            program = ["ip", "netns", "exec", name, sys.executable, "-c", SHORT_SLICES]
            with Process(
                [*program, "build"],
                cwd=project.folder,
                env=project.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ) as process:
                api.until("wait")
                ip("link", "set", link, "down")
                assert process.stderr is not None
                said = [process.stderr.readline(), process.stderr.readline()]
                ip("link", "set", link, "up")
                out, rest = process.finish()
            assert said[1].strip().endswith("Retrying"), said
            done = subprocess.CompletedProcess([], process.returncode, out, "".join(said) + rest)
            saw("faults", "14", "wait: a black hole", done, api.summary)
            assert done.returncode == 0, done.stderr
            assert api.summary == "1 start, 2 wait, 1 digest"
