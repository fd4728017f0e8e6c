"""Several apps at once, where the network, the engine or a person gets in the way."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy_tasks.deadline import Deadline
from deploy_tasks.invocation import several
from deploy_tasks.state import lock
from deploy_tasks.ui.progress import board_of
from tests.faults.api import DIGEST, JOB, Answer, Connection, FaultyApi, http, reset, silence
from tests.faults.engine import FakeEngine
from tests.project import Project, last_line

NAMES = ["one", "two", "three"]
CONFIG = "deploy:\n  port: 3000\n  apps: {one: {}, two: {}, three: {}}\n"


@pytest.fixture
def apps(shop: Project) -> Iterator[Project]:
    shop.write("invoke.yaml", CONFIG)
    shop.commit("three apps")
    shop.push()
    yield shop


def engines(apps: Project, folder: Path, build: str) -> Path:
    """A fake engine whose builds run the shell line `build`, and the FIFO that is open while one of them runs. The line
    must `exec` a program that a signal ends: a signal is lost between a shell's fork and its exec."""
    running = folder / "running"
    os.mkfifo(running)
    FakeEngine(apps, folder / "engine", build=f"exec 9> {running}; echo running >&9; {build}")
    return running


def interrupted(apps: Project, running: Path, number: int, *words: str) -> tuple[int, str]:
    """Sends the signal once two builds run at once, and sees that nobody of the engines is left; returns the exit code
    and what was said."""
    process = apps.start(*words)
    with running.open() as alive:
        assert [alive.readline() for _ in range(2)] == ["running\n"] * 2, "two builds at once"
        process.send_signal(number)
        _, err = process.finish()
        # The pipe is at its end once nobody of the engines has it open any more.
        assert alive.read() == "", "nobody has begun another build"
    return process.returncode, err


def test_what_may_have_started_is_not_repeated_unseen(apps: Project, api: FaultyApi) -> None:
    api.answers["start"] = [reset]
    api.answers["digest"] = [http(404)]
    done = apps.invoke("build", "--app", "all", "--no-logs")
    assert done.returncode == 6, "of 6 and 9, what must not be repeated unseen is the worse"
    assert api.count("start") == 3
    last = done.stderr.strip().splitlines()[-1]
    said = re.fullmatch(
        r"2 of 3 apps failed: [a-z]+, [a-z]+\. First check the state of ([a-z]+)\. "
        r"Retry only those apps: invoke build --app ([a-z]+) --no-logs",
        last,
    )
    assert said, last
    assert f"{said[1]:5} | could not start the build: " in done.stderr
    assert f"{said[2]:5} | build-shop-1 failed: it finished, but " in done.stderr


def test_what_was_refused_is_said_again_and_what_is_joined_is_waited_for(apps: Project, api: FaultyApi) -> None:
    api.always("start", http(403))
    refused = apps.invoke("build", "--app", "one,two")
    assert refused.returncode == 4
    assert last_line(refused).endswith(
        "2 of 2 apps failed: one, two. Retry only those apps: invoke build --app one,two"
    )
    api.answers.clear()
    api.always("start", http(202, {"jobName": JOB}))
    assert apps.invoke("build", "--app", "one,two", "--no-wait").returncode == 0
    api.always("wait", http(504))
    joined = apps.invoke("build", "--app", "one,two", "--timeout", "0.2")
    assert last_line(joined).endswith(". Pick up the builds in flight: invoke wait --app one,two"), joined.stderr
    api.always("wait", http(404))
    api.always("digest", http(404))
    gone = apps.invoke("wait", "--app", "one,two")
    assert last_line(gone).endswith("2 of 2 apps failed: one, two"), (
        "a job that is gone is not there the next time either"
    )


def test_what_does_not_come_up_is_said_again_and_what_is_deployed_is_not(apps: Project, api: FaultyApi) -> None:
    assert apps.invoke("build", "--app", "one,two").returncode == 0
    api.always("app", http(200, {"app": {"replicas": 1, "readyReplicas": 0, "image": f"r/one@{DIGEST}"}}))
    unwell = apps.invoke("reuse", "--app", "one,two", "--rollout-timeout", "3")
    assert unwell.returncode == 12
    again = "Retry only those apps: invoke reuse --app one,two --rollout-timeout 3"
    assert last_line(unwell).endswith(again)
    api.always("app", reset)
    unknown = apps.invoke("reuse", "--app", "one,two", "--rollout-timeout", "3")
    assert unknown.returncode == 7
    assert last_line(unknown).endswith(again)


def test_ctrl_c_while_rollouts_are_followed_leaves_nothing_to_say_again(apps: Project, api: FaultyApi) -> None:
    assert apps.invoke("build", "--app", "one,two").returncode == 0
    api.answers["app"] = [*[http(404)] * 2, *[silence] * 10_000]
    process = apps.start("reuse", "--app", "one,two")
    api.until("app", 4)
    process.send_signal(signal.SIGINT)
    _, err = process.finish()
    assert process.returncode == 130
    assert err.strip().splitlines()[-1] == "stopped. 2 of 2 are done"


def test_a_state_file_that_is_none_keeps_all_from_being_begun(apps: Project, api: FaultyApi) -> None:
    apps.write(".deploy/build-id.two.json", "{")
    refused = apps.invoke("build", "--app", "all")
    assert refused.returncode == 10
    assert "nothing was sent, because some of the apps have errors:" in refused.stderr
    assert api.summary == "none"


def test_what_speaks_for_all_is_looked_at_before_anything_is_sent(apps: Project, api: FaultyApi) -> None:
    refused = apps.invoke("build", "--app", "all", DEPLOY_DOMAIN="x.example.com")
    assert refused.returncode == 2
    assert "one and two both have domain x.example.com. Nothing was sent" in refused.stderr
    assert api.summary == "none"


def test_a_way_back_that_one_app_lacks_keeps_all_from_going(apps: Project, api: FaultyApi) -> None:
    assert apps.invoke("build", "--app", "one,two", "reuse").returncode == 0
    deploys = api.count("deploy")
    refused = apps.invoke("rollback", "--app", "all")
    assert refused.returncode == 2
    assert "three: three in apps cannot go back by 1: nothing else ran before, as far as is known" in refused.stderr
    assert "nothing was sent, because some of the apps" in refused.stderr
    assert api.count("deploy") == deploys


def test_a_deploy_that_may_have_happened_is_said_again(apps: Project, api: FaultyApi) -> None:
    assert apps.invoke("build", "--app", "all").returncode == 0
    api.always("deploy", reset)
    done = apps.invoke("reuse", "--app", "one,two", "--replicas", "2", "--env", "A=secret-value-of-a-flag")
    assert done.returncode == 6
    assert done.stderr.strip().endswith("Retry only those apps: invoke reuse --app one,two --replicas 2 --env 'A=…'")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_engine_of_every_app(
    apps: Project, api: FaultyApi, tmp_path: Path, number: int, code: int
) -> None:
    running = engines(apps, tmp_path, "exec sleep 3600")
    returned, err = interrupted(apps, running, number, "local", "--app", "all")
    assert returned == code
    assert err.strip().splitlines()[-1] == "stopped. 0 of 3 are done. Continue: invoke local --app one,two,three"
    assert api.count("deploy") == 0


def test_ctrl_c_while_deploys_are_followed_names_every_app(apps: Project, api: FaultyApi) -> None:
    assert apps.invoke("build", "--app", "all").returncode == 0
    looked_at: set[str] = set()

    def first_look_only(connection: Connection) -> object:
        answer: Answer = silence if connection.request.path in looked_at else http(404)
        looked_at.add(connection.request.path)
        return answer(connection)

    api.always("app", first_look_only)
    process = apps.start("reuse", "--app", "all")
    api.until("app", 6)
    process.send_signal(signal.SIGINT)
    _, err = process.finish()
    assert process.returncode == 130
    for name in NAMES:
        stopped = f"stopped. {name} is deployed, and its rollout goes on. Check what runs: invoke status --app {name}\n"
        assert f"{name:5} | {stopped}" in err


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
        orders = [
            "one,two,three",
            "three,two,one",
        ] * 4  # where each held what the other waits for, both would wait in vain
        runs = [stack.enter_context(apps.start("reuse", "--app", order, "--lock-timeout", "600")) for order in orders]
        assert [(run.finish(), run.returncode)[1] for run in runs] == [0] * 8
    history = (apps.folder / ".deploy" / "history.jsonl").read_text().splitlines()
    assert sum('"outcome":"deployed"' in line for line in history) == 24
    assert api.count("deploy") == 24


@pytest.mark.parametrize("task", ["local", "local-deploy"])
def test_after_ctrl_c_no_app_is_begun(apps: Project, api: FaultyApi, tmp_path: Path, task: str) -> None:
    # One build ends at once by the signal, and its thread would take the next app; the other takes its time.
    slow = "case \"$*\" in *two*) trap '' INT; sleep 2 ;; *) exec sleep 3600 ;; esac"
    running = engines(apps, tmp_path, slow)
    returned, err = interrupted(apps, running, signal.SIGINT, task, "--app", "one,two,three")
    assert returned == 130
    assert not (apps.folder / ".deploy" / "build-id.three.json").exists()
    assert api.count("deploy") == 0
    assert "three | stopped. Nothing was started\n" in err
    assert " failed (" not in err, "what ends by our doing says nothing more"
    assert err.strip().splitlines()[-1] == f"stopped. 0 of 3 are done. Continue: invoke {task} --app one,two,three"


def test_what_may_have_happened_at_ctrl_c_is_named_and_noted(apps: Project, api: FaultyApi) -> None:
    api.answers["start"] = [reset, silence, silence]
    process = apps.start("build", "--app", "all", "--no-logs")
    api.until("start", 3)
    assert process.stderr is not None
    said = process.stderr.readline()
    assert "could not start the build" in said
    process.send_signal(signal.SIGINT)
    _, err = process.finish()
    assert process.returncode == 130, (process.returncode, said, err)
    last = err.strip().splitlines()[-1]
    assert last == "stopped. 0 of 3 are done. First check the state of one, two, three", err
    assert apps.invoke("build", "--app", "all").returncode == 0
    api.always("deploy", silence)
    process = apps.start("reuse", "--app", "one,two")
    api.until("deploy", 2)
    process.send_signal(signal.SIGINT)
    _, err = process.finish()
    assert process.returncode == 130
    history = (apps.folder / ".deploy" / "history.jsonl").read_text()
    assert history.count('"outcome":"unknown"') == 2
    assert err.strip().endswith("stopped. 0 of 2 are done. Continue: invoke reuse --app one,two")


def test_local_deploy_of_several_has_both_results_of_each(apps: Project, api: FaultyApi, tmp_path: Path) -> None:
    FakeEngine(apps, tmp_path / "engine")
    done = apps.invoke("local-deploy", "--app", "one,two")
    assert done.returncode == 0, done.stderr
    images = [f"{api.address}/{name}@{DIGEST}" for name in ("one", "two")]
    assert done.stdout.splitlines() == [f"one {DIGEST}", f"one {images[0]}", f"two {DIGEST}", f"two {images[1]}"]
    refused = apps.invoke("local-deploy", "--app", "one,two", "--check-health")
    assert refused.returncode == 2
    assert "  two: --check-health needs a domain without *" in refused.stderr


def test_builds_that_go_on_are_waited_for_and_not_begun_again(apps: Project, api: FaultyApi) -> None:
    api.always("wait", http(200, {"status": "running"}))
    done = apps.invoke("build", "--app", "one,two", "--no-cache", "--timeout", "1", "--no-logs")
    assert done.returncode == 7
    assert done.stderr.strip().splitlines()[-1] == (
        "2 of 2 apps failed: one, two. Pick up the builds in flight: invoke wait --app one,two"
    )


BUG = """
from deploy_tasks import __main__; from deploy_tasks.building import build; usual = build.wait_and_record
def finish(run, *a, **k):
    if run.name == 'one': raise ZeroDivisionError('a bug with canary-key')
    return usual(run, *a, **k)
build.wait_and_record = finish; __main__.main()
"""


def test_a_bug_in_one_app_costs_no_result_of_the_others(apps: Project, api: FaultyApi) -> None:
    done = apps.run(sys.executable, "-c", BUG, "build", "--app", "all", "--no-logs", "reuse")
    assert done.returncode == 1
    assert done.stdout == f"two {DIGEST}\nthree {DIGEST}\n"
    assert "Traceback" not in done.stderr
    assert "one   | unexpected ZeroDivisionError: a bug with ***." in done.stderr
    assert re.search(r"^one +failed \(1\) ", done.stderr, re.MULTILINE)
    last = done.stderr.splitlines()[-1]
    assert last == (
        "1 of 3 apps failed: one. Pick up the builds in flight: deploy-tasks wait --app one reuse --app all"
    )
    names = {path.name for path in (apps.folder / ".deploy").glob("build-id.*.json")}
    assert {"build-id.two.json", "build-id.three.json", "build-id.one.in-flight.json"} == names


def test_where_a_bug_is_is_shown_where_it_is_asked_for(apps: Project, api: FaultyApi) -> None:
    words = ["build", "--app", "all", "--no-logs"]
    by_variable = apps.run(sys.executable, "-c", BUG, *words, DEPLOY_DEBUG="1")
    by_flag = apps.run(sys.executable, "-c", BUG, "-d", *words, "--no-cache")
    for done in (by_variable, by_flag):
        assert done.returncode == 1
        assert "Traceback (most recent call last):" in done.stderr
        assert "ZeroDivisionError: a bug with ***" in done.stderr
        assert "canary-key" not in done.stderr + done.stdout
        assert f"two {DIGEST}" in done.stdout


def test_an_app_whose_lock_is_not_had_in_time_does_not_hold_up_the_others(apps: Project, api: FaultyApi) -> None:
    assert apps.invoke("build", "--app", "all").returncode == 0
    folder = apps.folder / ".deploy"
    for name in ("one", "two"):
        lock.take(folder / f"build-id.{name}.json.lock", "local", seconds=0, tell=print)
    done = apps.invoke("reuse", "--app", "all", "--lock-timeout", "1")
    lock.release()
    assert done.returncode == 11
    assert api.count("deploy") == 1


def test_several_apps_wait_for_their_locks_within_one_timeout() -> None:
    now, waited = 0.0, []

    class Work:
        state = SimpleNamespace(lock_path="")
        settings = SimpleNamespace(lock_timeout=5.0)

        def lock(self, *, seconds: float, if_used: bool) -> bool:
            nonlocal now
            assert if_used
            waited.append(seconds)
            now += 3.0  # another run lets go of it then
            return True

    works: Any = {name: Work() for name in NAMES}
    with board_of(NAMES, is_shown=False) as board:
        deadlines = {name: Deadline(5.0, clock=lambda: now) for name in NAMES}
        several._lock(several._Batch(SimpleNamespace(), works, board, {}), deadlines, if_used=True)  # type: ignore[arg-type]
    assert waited == [5.0, 2.0, 0.0]
