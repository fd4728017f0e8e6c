"""Faults of the disk, of the process and of a second run: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy_tasks.state import lock
from tests.faults.api import DIGEST, JOB, Answer, Connection, FaultyApi, http, reset, silence
from tests.faults.conftest import Saw
from tests.faults.engine import FakeEngine
from tests.left_out import need_root_and
from tests.project import SECONDS_A_COMMAND, Project

OLD = "sha256:" + 64 * "b"
RECORD = {"app": "shop", "namespace": "apps", "imageName": "shop", "imageTag": "old", "buildId": OLD}
# Processes that do what a task does with the state, without the time that a task takes to start.
KILLED = Path(__file__).with_name("killed.py")
WRITERS = Path(__file__).with_name("writers.py")


@pytest.fixture
def recorded(shop: Project) -> Project:
    """A digest of the shop is recorded."""
    shop.write_record(RECORD)
    return shop


def test_28_kill_9_while_recording_leaves_every_file_whole(recorded: Project, api: FaultyApi, saw: Saw) -> None:
    state = recorded.folder / ".deploy" / "build-id.json"
    killed = recorded.run(sys.executable, str(KILLED), str(state), "300")
    assert killed.returncode == 0, killed.stderr
    counted = json.loads(killed.stdout)
    assert counted["kills"] == 300
    assert counted["old"] + counted["new"] == 300
    assert counted["new"] > 10, "the kills came at any moment of the writing"
    done = recorded.invoke("digest")
    saw("faults", 28, "kill -9 while recording, 300 times; then digest", done, api.summary)
    assert done.returncode == 0
    left = sorted(path.name for path in state.parent.iterdir())
    assert left == [".gitignore", "build-id.in-flight.json", "build-id.json", "build-id.json.lock", "history.jsonl"]
    lines = (state.parent / "history.jsonl").read_text().splitlines()
    assert all(json.loads(line)["buildId"] for line in lines)


def test_eight_processes_lose_no_line(recorded: Project) -> None:
    state = recorded.folder / ".deploy" / "build-id.json"
    done = recorded.run(sys.executable, str(WRITERS), str(state), "8", "25")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in state.with_name("history.jsonl").read_text().splitlines()]
    assert len({(line["who"], line["imageTag"]) for line in lines}) == len(lines) == 200
    assert json.loads(state.read_text())["count"] == 200, "read, changed and written under the lock"


@pytest.fixture
def small_disk(recorded: Project) -> Iterator[Path]:
    """`.deploy/` is a file system of 64 kB."""
    need_root_and("mount", "umount")
    folder = recorded.folder / ".deploy"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], check=True)
    try:
        recorded.write_record(RECORD)
        yield folder
    finally:
        while os.path.ismount(folder):
            subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return


def read_only(folder: Path) -> None:
    # On top of what is there, since Linux makes nothing read-only in which a file is open for writing.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(folder)], check=True)


def after(happens: object, folder: Path, answer: Answer) -> Answer:
    """Before it answers, something happens to the disk."""

    def both(connection: Connection) -> object:
        assert callable(happens)
        happens(folder)
        return answer(connection)

    return both


@pytest.mark.parametrize(
    ("number", "what", "happens"),
    [("29a", "the disk is full", fill), ("29b", "the disk is read-only", read_only)],
)
def test_29_a_deploy_that_cannot_be_recorded_says_so(
    recorded: Project, api: FaultyApi, saw: Saw, small_disk: Path, number: str, what: str, happens: object
) -> None:
    api.always("deploy", after(happens, small_disk, http(200, {"skipped": True, "success": True})))
    done = recorded.invoke("reuse")
    line = saw("faults", number, f"reuse: {what} once the deploy is done", done, api.summary)
    assert done.returncode == 10
    assert line.startswith(f"{api.address}/shop@{OLD} is deployed, but that was not recorded: ")
    assert "No space left" in line or "Read-only" in line


@pytest.mark.parametrize(
    ("number", "what", "happens"),
    [("29c", "the disk is full", fill), ("29d", "the disk is read-only", read_only)],
)
def test_29_a_digest_that_cannot_be_recorded_is_printed(
    recorded: Project, api: FaultyApi, saw: Saw, small_disk: Path, number: str, what: str, happens: object
) -> None:
    api.always("digest", after(happens, small_disk, http(200, {"buildId": DIGEST})))
    done = recorded.invoke("digest")
    line = saw("faults", number, f"digest: {what} once it is known", done, api.summary)
    assert done.returncode == 10
    assert "nothing was" not in line
    assert line.endswith(f". The image is there: invoke reuse --build-id {DIGEST} --app shop")
    if happens is fill:
        assert recorded.record == RECORD


@pytest.mark.parametrize(
    ("number", "what", "happens"),
    [("29e", "the disk is full", fill), ("29f", "the disk is read-only", read_only)],
)
def test_29_a_job_that_cannot_be_recorded_is_printed(
    recorded: Project, api: FaultyApi, saw: Saw, small_disk: Path, number: str, what: str, happens: object
) -> None:
    api.always("start", after(happens, small_disk, http(202, {"jobName": JOB})))
    done = recorded.invoke("build")
    line = saw("faults", number, f"build: {what} once it is started", done, api.summary)
    assert done.returncode == 10
    assert line.endswith(
        f"{JOB} goes on in the cluster. Pick it up: invoke wait --job {JOB} --app shop --image-tag {recorded.head}"
    )
    assert api.summary == "1 start"


@pytest.mark.parametrize("task", ["build", "digest", "reuse", "wait"])
def test_29_a_folder_that_cannot_be_written_is_noticed_before_anything_is_sent(
    recorded: Project, api: FaultyApi, saw: Saw, small_disk: Path, task: str
) -> None:
    assert recorded.invoke("build", "--no-wait").returncode == 0
    api.requests.clear()
    (small_disk / "build-id.json.lock").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = recorded.invoke(task)
    saw("faults", f"29 ({task})", f"{task}: the disk is read-only from the start", done, api.summary)
    assert done.returncode == 10
    assert api.summary == "none"


def spoil_what_is_in_flight(folder: Path) -> None:
    (folder / "build-id.in-flight.json").unlink()
    (folder / "build-id.in-flight.json").mkdir()


def test_a_digest_is_not_lost_to_the_file_of_the_build_in_flight(recorded: Project, api: FaultyApi) -> None:
    folder = recorded.folder / ".deploy"
    api.always("digest", after(spoil_what_is_in_flight, folder, http(200, {"buildId": DIGEST})))
    done = recorded.invoke("build")
    assert (done.returncode, done.stdout) == (0, f"{DIGEST}\n"), done.stderr
    assert "build-id.in-flight.json is not a file" in done.stderr
    assert recorded.record["buildId"] == DIGEST


KILL_BEFORE_SAVING = """
import os, signal
from deploy_tasks import __main__
from deploy_tasks.state.files import State
State.save_in_flight = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
__main__.main()
"""


def test_30_kill_9_between_the_answer_and_the_file_costs_no_job(shop: Project, api: FaultyApi, saw: Saw) -> None:
    done = shop.run(sys.executable, "-c", KILL_BEFORE_SAVING, "build")
    line = saw("faults", 30, "build: kill -9 between the answer and the file", done, api.summary)
    assert done.returncode == -9
    assert line == f"{JOB} builds {shop.origin} at {shop.head[:12]} in {api.address}"
    api.requests.clear()
    picked_up = shop.invoke("wait", "--job", JOB, "--image-tag", shop.head)
    assert picked_up.returncode == 0, picked_up.stderr
    assert api.summary == "1 wait, 1 digest"


@pytest.mark.parametrize("task", ["build", "wait", "digest", "reuse", "local"])
def test_31_a_second_run_is_refused_at_once_and_told_who_holds_the_lock(
    recorded: Project, api: FaultyApi, saw: Saw, tmp_path: Path, task: str
) -> None:
    engine = FakeEngine(recorded, tmp_path / "engine")
    api.always("wait", silence)
    first = recorded.start("build")
    api.until("wait")
    api.requests.clear()
    done = recorded.invoke(task)
    line = saw("faults", f"31 ({task})", f"{task}: while another run waits for its build", done, api.summary)
    assert done.returncode == 11
    assert line.startswith(f"another run (pid {first.pid}: invoke build in {api.address}, since 20")
    assert api.summary == "none"
    assert engine.commands == []
    first.kill()
    first.communicate()
    api.answers.clear()
    after_it = recorded.invoke("wait")
    assert after_it.returncode == 0, "the lock went with its process"


def test_31_the_command_that_waits_repeats_the_flags_of_the_one_that_was_refused(recorded: Project) -> None:
    lock.take(recorded.folder / ".deploy" / "build-id.json.lock", "build", seconds=0, tell=print)
    done = recorded.invoke("reuse", "--app", "other", "--image-name", "shop", "--replicas", "2", "status")
    lock.release()
    assert done.returncode == 11
    again = "invoke reuse --app other --image-name shop --replicas 2 --lock-timeout 600 status"
    assert done.stderr.endswith(f". Wait for it: {again}\n")


def test_31_with_a_lock_timeout_the_second_run_waits_and_goes_by_what_the_first_recorded(
    recorded: Project, api: FaultyApi, saw: Saw
) -> None:
    api.answers["wait"] = [silence]
    first = recorded.start("build")
    api.until("wait")
    second = recorded.start("reuse", "--lock-timeout", "600")
    assert second.stderr is not None
    waiting = second.stderr.readline()
    assert waiting.startswith(f"waiting for another run (pid {first.pid}: invoke build in {api.address}, since ")
    api.let_go("wait")
    assert first.wait(SECONDS_A_COMMAND) == 0
    first.communicate()
    out, err = second.finish()
    done = subprocess.CompletedProcess([], second.returncode, out, waiting + err)
    saw("faults", "31 (waits)", "reuse --lock-timeout 600: while another run waits for its build", done, api.summary)
    assert done.returncode == 0, err
    assert out.strip().endswith(f"@{DIGEST}"), "the digest that the first run recorded"


def test_the_lock_does_not_pass_on_to_what_the_engine_leaves_running(
    recorded: Project, api: FaultyApi, tmp_path: Path
) -> None:
    running = tmp_path / "running"
    os.mkfifo(running)
    FakeEngine(recorded, tmp_path / "engine", build=f"echo $$ > {running}; exec sleep 3600")
    process = recorded.start("local")
    engine = int(running.read_text())
    process.kill()
    process.communicate()
    try:
        assert recorded.invoke("digest").returncode == 0
    finally:
        os.killpg(engine, 9)


def test_32_reuse_of_a_digest_that_is_gone_builds_nothing(recorded: Project, api: FaultyApi, saw: Saw) -> None:
    api.always("deploy", http(404, {"error": "manifest unknown"}))
    done = recorded.invoke("reuse")
    line = saw("faults", 32, "reuse: 404", done, api.summary)
    assert done.returncode == 8
    assert "Nothing was built or deployed" in line
    assert api.summary == "1 deploy"


def test_32_a_deploy_is_said_again_where_the_answer_is_lost(recorded: Project, api: FaultyApi, saw: Saw) -> None:
    api.answers["deploy"] = [reset, http(503)]
    done = recorded.invoke("reuse")
    saw("faults", "32b", "reuse: a reset and a 503, then the answer", done, api.summary)
    assert done.returncode == 0
    assert api.summary == "3 deploy"


def test_32_a_deploy_that_nobody_answers_may_have_happened(recorded: Project, api: FaultyApi, saw: Saw) -> None:
    api.always("deploy", reset)
    done = recorded.invoke("reuse")
    line = saw("faults", "32c", "reuse: resets only", done, api.summary)
    assert done.returncode == 6
    assert "The deploy may have happened. It is safe to deploy the same again: invoke reuse" in line
    assert api.summary == "3 deploy"
    line = json.loads((recorded.folder / ".deploy" / "history.jsonl").read_text())
    assert (line["outcome"], line["buildId"]) == ("unknown", OLD)


def test_32_a_server_that_builds_in_the_place_of_a_deploy_is_an_error(
    recorded: Project, api: FaultyApi, saw: Saw
) -> None:
    api.always("deploy", http(202, {"jobName": JOB}))
    done = recorded.invoke("reuse")
    saw("faults", "32d", "reuse: the API starts a build", done, api.summary)
    assert done.returncode == 6
    assert api.summary == "1 deploy"


def test_33_the_digest_of_another_image_is_not_sent(recorded: Project, api: FaultyApi, saw: Saw) -> None:
    done = recorded.invoke("reuse", "--app", "other")
    saw("faults", 33, "reuse: the recorded digest is of another image", done, api.summary)
    assert done.returncode == 2
    assert api.summary == "none"


@pytest.mark.parametrize(
    ("number", "what", "to"), [("36a", "stdout is closed", ">&-"), ("36b", "stdout is full", ">/dev/full")]
)
def test_36_what_nobody_can_read_is_recorded_first(
    recorded: Project, api: FaultyApi, saw: Saw, number: str, what: str, to: str
) -> None:
    done = recorded.run("sh", "-c", f"{sys.executable} -m invoke build {to}")
    saw("faults", number, f"build: {what}", done, api.summary)
    assert recorded.record["buildId"] == DIGEST
    assert done.returncode == (0 if to == ">&-" else 1)
    assert api.summary == "1 start, 1 wait, 1 digest"
