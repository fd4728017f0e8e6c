"""Several apps at once, where the network, the engine or a person gets in the way."""

from __future__ import annotations

import os
import re
import select
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.api import FaultyApi, http, reset, silence
from tests.faults.engine import FakeEngine
from tests.project import Project

NAMES = ["one", "two", "three"]
CONFIG = "deploy:\n  port: 3000\n  apps: {one: {}, two: {}, three: {}}\n"


@pytest.fixture
def apps(shop: Project) -> Iterator[Project]:
    shop.write("invoke.yaml", CONFIG)
    shop.commit("three apps")
    shop.push()
    yield shop


def test_what_may_have_started_is_not_repeated_unseen(apps: Project, api: FaultyApi) -> None:
    api.answers["start"] = [reset]
    api.answers["digest"] = [http(404)]
    done = apps.invoke("build", "--app", "all", "--no-logs")
    assert done.returncode == 6, "of 6 and 9, what must not be repeated unseen is the worse"
    assert api.count("start") == 3
    last = done.stderr.strip().splitlines()[-1]
    said = re.fullmatch(
        r"2 of 3 apps failed: [a-z]+, [a-z]+; look first what became of ([a-z]+); "
        r"again, for the others: invoke build --app=([a-z]+) --no-logs",
        last,
    )
    assert said, last
    assert f"{said[1]:5} | could not start the build: " in done.stderr
    assert f"{said[2]:5} | build-shop-1 is over, but " in done.stderr


def test_a_deploy_that_may_have_happened_is_said_again(apps: Project, api: FaultyApi) -> None:
    assert apps.invoke("build", "--app", "all").returncode == 0
    api.always("deploy", reset)
    done = apps.invoke("reuse", "--app", "one,two", "--replicas", "2", "--env", "A=secret-value-of-a-flag")
    assert done.returncode == 6
    assert done.stderr.strip().endswith("again, for just those: invoke reuse --app=one,two --replicas=2 --env=A")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_engine_of_every_app(
    apps: Project, api: FaultyApi, tmp_path: Path, number: int, code: int
) -> None:
    running = tmp_path / "running"
    os.mkfifo(running)
    FakeEngine(apps, tmp_path / "engine", build=f"exec 9> {running}; echo running >&9; sleep 60; true")
    process = apps.start("local", "--app", "all")
    with running.open() as alive:
        assert [alive.readline() for _ in range(2)] == ["running\n"] * 2, "two builds at once"
        begun = time.monotonic()
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
        assert time.monotonic() - begun < 5
        # The pipe is at its end once nobody of the engines has it open any more.
        assert select.select([alive], [], [], 5)[0]
        assert alive.read() == ""
    assert process.returncode == code
    assert err.strip().splitlines()[-1] == "stopped; 0 of 3 done; go on: invoke local --app=one,two,three"
    assert api.count("deploy") == 0


def test_ctrl_c_while_deploys_are_followed_names_every_app(apps: Project, api: FaultyApi) -> None:
    assert apps.invoke("build", "--app", "all").returncode == 0
    api.always("app", silence)
    process = apps.start("reuse", "--app", "all")
    api.until("app", 3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    for name in NAMES:
        assert f"{name:5} | stopped; {name} is deployed and comes up by itself; look: invoke status --app {name}" in err


def test_an_app_whose_value_no_one_may_see_is_silent_about_it(apps: Project, api: FaultyApi) -> None:
    secret = "a-value-that-nobody-may-see"
    apps.write("invoke.yaml", CONFIG.replace("one: {}", "one: {env_from: [TOKEN_OF_ONE]}"))
    apps.environment["TOKEN_OF_ONE"] = secret
    assert apps.invoke("build", "--app", "all").returncode == 0
    api.always("deploy", http(400, {"error": f"cannot use {secret}"}))
    done = apps.invoke("-d", "-e", "reuse", "--app", "all", "--json")
    assert done.returncode == 4
    assert api.count("deploy") == 3
    assert secret not in done.stdout + done.stderr
    assert secret.encode() not in b"".join(apps.files().values())


def test_eight_runs_at_once_of_all_apps_lose_no_line_of_history(apps: Project, api: FaultyApi) -> None:
    assert apps.invoke("build", "--app", "all").returncode == 0
    with ExitStack() as stack:
        runs = [stack.enter_context(apps.start("reuse", "--app", "all", "--lock-timeout", "50")) for _ in range(8)]
        assert [(run.communicate(timeout=60), run.returncode)[1] for run in runs] == [0] * 8
    history = (apps.folder / ".deploy" / "history.jsonl").read_text().splitlines()
    assert sum('"outcome":"deployed"' in line for line in history) == 24
    assert api.count("deploy") == 24
