"""What a call takes from the others of its command line, from the record, and from those who wait for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from invoke.config import Config
from invoke.context import Context

from deploy_tasks.building import digest
from deploy_tasks.errors import Interrupted, SettingsError
from deploy_tasks.invocation.call import Call
from deploy_tasks.invocation.ending import task_boundary
from deploy_tasks.redaction import keep_secret
from deploy_tasks.state import lock
from deploy_tasks.tasks import build, reuse
from deploy_tasks.ui.progress import board_of
from tests.faults.api import DIGEST, JOB, FaultyApi, http
from tests.project import Project

RECORD = {"app": "shop", "namespace": "apps", "imageName": "shop", "buildId": DIGEST}


def deploys(api: FaultyApi) -> list[Any]:
    return [json.loads(request.body) for request in api.requests if request.kind == "deploy"]


def test_another_app_of_a_chain_does_not_land_in_the_namespace_of_the_first(shop: Project, api: FaultyApi) -> None:
    done = shop.invoke("digest", "--app", "a", "--namespace", "own", "digest", "--app", "b", "reuse")
    assert done.returncode == 0, done.stderr
    assert [(sent["app"], sent["namespace"]) for sent in deploys(api)] == [("b", "apps")]


def test_how_many_apps_at_once_holds_for_the_rest_of_the_chain(shop: Project) -> None:
    c = Context(Config())
    Call.of(c, digest.digest, {"app": "all", "jobs": 3}).keep_target("a,b")
    assert Call.of(c, digest.digest, {"app": None, "jobs": None}).options["jobs"] == 3


def test_the_target_is_that_of_the_record_once_the_lock_is_had(shop: Project, api: FaultyApi) -> None:
    shop.write_record(RECORD)
    lock.take(shop.folder / ".deploy" / "build-id.json.lock", "build", seconds=0, tell=print)
    with shop.start("reuse", "--lock-timeout", "60") as process:
        assert process.stderr is not None
        assert "another run" in process.stderr.readline(), "it waits"
        shop.write_record({**RECORD, "namespace": "moved"})
        lock.release()
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert [sent["namespace"] for sent in deploys(api)] == ["moved"]


@pytest.mark.parametrize(
    ("record", "words", "is_warned"),
    [
        ({"namespace": "own"}, ["build"], True),
        ({"namespace": "own", "app": "other"}, ["build"], False),
        ({"namespace": "own"}, ["build", "--namespace", "apps"], False),
        ({"namespace": "apps"}, ["build"], False),
        ({}, ["build"], False),
    ],
)
def test_another_namespace_is_warned_of_where_the_record_of_this_app_has_it(
    shop: Project, record: dict[str, str], words: list[str], is_warned: bool
) -> None:
    if record:
        shop.write_record({**RECORD, **record})
    done = shop.invoke("--dry", *words)
    assert done.returncode == 0, done.stderr
    assert ("was recorded in namespace own" in done.stderr) == is_warned


def test_in_github_the_history_names_who_started_the_workflow(shop: Project) -> None:
    assert shop.invoke("digest", GITHUB_ACTOR="octocat").returncode == 0
    [entry] = (shop.folder / ".deploy" / "history.jsonl").read_text().splitlines()
    assert json.loads(entry)["who"] == f"octocat@{os.uname().nodename}"


def test_a_reader_that_has_had_enough_ends_a_task_as_it_ends_any_program(shop: Project) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-m", "invoke", "digest"],
        cwd=shop.folder,
        env=shop.environment,
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert process.returncode == 141
    assert "BrokenPipe" not in process.stderr
    assert shop.record["buildId"] == DIGEST


def test_of_an_app_of_the_table_the_flags_to_repeat_are_those_that_differ(shop: Project, api: FaultyApi) -> None:
    shop.write("invoke.yaml", "deploy: {port: 3000, apps: {a: {}, b: {}}}\n")
    first = shop.commit("apps")
    shop.push()
    assert shop.invoke("build", "--app", "a", "--namespace", "own", "--no-wait").returncode == 0
    shop.commit("next")
    shop.push()
    done = shop.invoke("build", "--app", "a", "--no-wait")
    assert f"To get its image: invoke wait --job {JOB} --app a --namespace own --image-tag {first}" in done.stderr
    done = shop.invoke("build", "--app", "a", "--no-wait", "--no-cache")
    assert f"To get its image: invoke wait --job {JOB} --app a --image-tag {shop.head}" in done.stderr


@pytest.mark.parametrize("task", [build, reuse], ids=lambda task: task.name)
def test_nothing_is_begun_for_an_app_that_nobody_waits_for_any_more(
    shop: Project, api: FaultyApi, monkeypatch: pytest.MonkeyPatch, task: Any
) -> None:
    shop.write_record(RECORD)
    monkeypatch.chdir(shop.folder)
    for name, value in shop.environment.items():
        monkeypatch.setenv(name, value)
    with board_of(["shop"], is_shown=False) as board, board.output_of("shop"):
        board.is_over = True
        with pytest.raises(Interrupted):
            task(Context(Config()))
    assert api.count("start") == api.count("deploy") == 0


def test_the_message_of_an_error_is_redacted() -> None:
    keep_secret(["s3cret-value"])
    with pytest.raises(SettingsError) as raised, task_boundary(build):
        raise SettingsError("the key is s3cret-value")
    assert (str(raised.value), raised.value.args) == (
        "the key is ***. Nothing was sent",
        ("the key is ***. Nothing was sent",),
    )


def test_the_error_of_one_of_several_apps_is_redacted_in_json(shop: Project, api: FaultyApi, tmp_path: Path) -> None:
    shop.write("invoke.yaml", "deploy: {port: 3000, apps: {one: {}, two: {}}}\n")
    shop.commit("apps")
    shop.push()
    code = (
        "from deploy_tasks import __main__\nfrom deploy_tasks.building import build\n"
        "def finish(*a, **k): raise ZeroDivisionError('a bug with canary-key')\n"
        "build.wait_and_record = finish; __main__.main()"
    )
    api.always("logs", http(404))
    done = shop.run(sys.executable, "-c", code, "build", "--app", "all", "--json")
    assert done.returncode == 1
    assert {name: shown["exitCode"] for name, shown in json.loads(done.stdout).items()} == {"one": 1, "two": 1}
    assert "a bug with ***" in done.stdout
    assert "canary-key" not in done.stdout + done.stderr
