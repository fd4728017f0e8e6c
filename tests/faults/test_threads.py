"""Threads of one program, for example a service: only one at a time works on a checkout."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.faults.api import DIGEST, FaultyApi, silence
from tests.project import Project

# Prints the outcome of each task: its digest, or the exit code of its error.
PROGRAM = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from invoke.context import Context
from deploy_tasks.errors import DeployError
from deploy_tasks.tasks import build, reuse

def run(task, **flags):
    try:
        return task(Context(), **flags).build_id
    except DeployError as error:
        return error.exit_code

def told(what, outcome):
    print(what, outcome, file=sys.stderr, flush=True)
"""
BOTH_AT_ONCE = """
with ThreadPoolExecutor(2) as threads:
    first = threads.submit(run, build)
    sys.stdin.readline()
    told("second", threads.submit(run, reuse).result())
    told("first", first.result())
    told("third", threads.submit(run, reuse).result())
"""
ONE_AFTER_THE_OTHER = """
told("main", run(build))
with ThreadPoolExecutor(3) as threads:
    barrier = threading.Barrier(3)
    list(threads.map(lambda _: barrier.wait(30), range(3)))  # so that there are three threads
    for _ in range(6):
        told("task", threads.submit(run, reuse).result())
told("main", run(reuse))
"""


def test_a_task_in_another_thread_is_refused_while_one_runs(shop: Project, api: FaultyApi) -> None:
    api.answers["wait"] = [silence]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM + BOTH_AT_ONCE],
        cwd=shop.folder,
        env={**shop.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        api.until("wait")
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write("continue\n")
        process.stdin.flush()
        lines = []
        for line in process.stderr:
            lines.append(line.strip())
            if line.startswith("second "):
                api.let_go("wait")
    assert process.returncode == 0, lines
    assert "second 11" in lines, lines
    assert f"first {DIGEST}" in lines
    assert f"third {DIGEST}" in lines, "after the first"
    assert api.count("deploy") == 1


def test_tasks_one_after_the_other_in_any_thread_all_succeed(shop: Project, api: FaultyApi) -> None:
    done = shop.run(sys.executable, "-c", PROGRAM + ONE_AFTER_THE_OTHER)
    assert done.returncode == 0, done.stderr
    outcomes = [line for line in done.stderr.splitlines() if line.startswith(("main ", "task "))]
    assert outcomes == [f"main {DIGEST}", *[f"task {DIGEST}"] * 6, f"main {DIGEST}"]
    history = (shop.folder / ".deploy" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["outcome"] for line in history] == ["recorded", *["deployed"] * 7]
