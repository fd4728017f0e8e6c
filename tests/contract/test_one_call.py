"""One call does each step once: settle, lock, read each file, ask git each question."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

import pytest

from tests.clusters import Clusters
from tests.project import Project
from tests.sandboxes import SandboxProcess

# Runs `deploy-tasks` and writes down what it does: the kit's functions that are entered (without class bodies and
# comprehensions), the files that are opened, and those of them that are read, the processes that are started.
WATCHED = """
import json, os, sys, threading
from collections import Counter

out, sys.argv = sys.argv[1], ["deploy-tasks", *sys.argv[2:]]
entered, opened, read, started = Counter(), Counter(), Counter(), Counter()
INNER = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<lambda>")

def profile(frame, event, _):
    code = frame.f_code
    if event == "call" and "/deploy_tasks/" in code.co_filename and code.co_flags & 1 and code.co_name not in INNER:
        place = code.co_filename.rpartition("/deploy_tasks/")[2]
        entered[f"{place}:{code.co_firstlineno} {code.co_name}"] += 1

by_open = None

def audit(event, arguments):
    global by_open
    if event == "open" and isinstance(arguments[0], str):
        path, mode, flags = arguments
        # `open` with an opener is reported twice: itself, then the `os.open` that the opener calls, without a mode.
        is_new = mode is not None or path != by_open
        opened[path] += is_new
        read[path] += is_new and flags & os.O_ACCMODE == os.O_RDONLY
        by_open = path if mode is not None else None
    if event == "subprocess.Popen":
        started[" ".join(map(str, arguments[1]))] += 1

from deploy_tasks import __main__
sys.addaudithook(audit)
threading.setprofile(profile)
sys.setprofile(profile)
try:
    __main__.main()
finally:
    sys.setprofile(None)
    with open(out, "w") as file:
        json.dump({"entered": entered, "opened": opened, "read": read, "started": started}, file)
"""


def watched(project: Project, *words: str) -> dict[str, Any]:
    out = project.folder.parent / "watched.json"
    done = project.run(sys.executable, "-c", WATCHED, str(out), *words)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(out.read_text())
    return seen


def calls_of(seen: dict[str, Any], name: str) -> int:
    return sum(count for place, count in seen["entered"].items() if place.endswith(f" {name}"))


def opened(seen: dict[str, Any], project: Project, how: str = "opened") -> Counter[str]:
    """How often each file of the project is `opened`, or `read`, but for what Invoke itself reads (invoke.yaml)."""
    ours = {path: count for path, count in seen[how].items() if path.startswith(str(project.folder))}
    return Counter({path.removeprefix(f"{project.folder}/"): count for path, count in ours.items()})


def state_read(seen: dict[str, Any], project: Project) -> tuple[int, ...]:
    """How often the record, the history and the build in flight are read."""
    read = opened(seen, project, "read")
    return tuple(read[f".deploy/{name}"] for name in ("build-id.json", "history.jsonl", "build-id.in-flight.json"))


@pytest.fixture
def shop(project: Project, sandbox: SandboxProcess) -> Project:
    """A project whose image is built."""
    assert project.invoke("build").returncode == 0
    return project


def test_a_reuse_enters_fewer_than_150_functions_of_the_kit(shop: Project) -> None:
    """Each is a place where a reader may have to look."""
    entered = watched(shop, "reuse")["entered"]
    assert len(entered) < 150, "\n".join(sorted(entered))


def test_a_reuse_settles_locks_reads_and_asks_once(shop: Project) -> None:
    shop.write(".env", "DEPLOY_REPLICAS=2\n")
    seen = watched(shop, "reuse")
    assert (calls_of(seen, "load"), calls_of(seen, "take"), calls_of(seen, "_plan_reuse")) == (1, 1, 1)
    files = opened(seen, shop)
    assert files[".env"] == 1
    assert files[".deploy/build-id.json"] == 1
    assert files[".deploy/build-id.json.lock"] == 1
    assert max(seen["started"].values()) == 1, seen["started"]


def test_three_apps_do_it_three_times_and_not_more(project: Project, sandbox: SandboxProcess) -> None:
    apps = ("one", "two", "three")
    project.write("invoke.yaml", f"deploy: {{port: 3000, apps: {{{', '.join(f'{app}: {{}}' for app in apps)}}}}}\n")
    project.commit("apps")
    project.push()
    assert project.invoke("build", "--app", "all").returncode == 0
    seen = watched(project, "reuse", "--app", "all")
    assert (calls_of(seen, "load"), calls_of(seen, "take"), calls_of(seen, "_plan_reuse")) == (3, 3, 3)
    files = opened(seen, project)
    assert [files[f".deploy/build-id.{app}.json"] for app in apps] == [1, 1, 1]
    assert max(seen["started"].values()) == 1, "all apps share what git is asked"


# The record is read again right before it is replaced, and the build in flight before it is removed: another script,
# or a run with another lock file, may have written it since.
@pytest.mark.parametrize(
    ("words", "read"),
    [
        ("build", (2, 0, 2)),
        ("build --if-needed", (2, 1, 1)),
        ("wait", (2, 0, 2)),
        ("digest", (2, 1, 0)),
        ("deploy", (2, 1, 1)),
        ("reuse", (1, 0, 1)),
        ("rollback", (1, 1, 1)),
        ("status", (1, 1, 1)),
        ("logs", (1, 1, 1)),
        ("history", (1, 1, 0)),
    ],
)
def test_each_task_reads_each_file_of_the_state_once(shop: Project, words: str, read: tuple[int, ...]) -> None:
    if words == "wait":
        assert shop.invoke("build", "--no-wait").returncode == 0
    if words == "rollback":
        for replicas in ("1", "2"):
            assert shop.invoke("reuse", "--replicas", replicas).returncode == 0
    assert state_read(watched(shop, *words.split()), shop) == read


def test_a_look_at_other_environments_reads_the_record_and_the_history_once(
    project: Project, clusters: Clusters
) -> None:
    assert project.invoke("deploy", "--environment", "staging").returncode == 0
    assert state_read(watched(project, "status"), project)[:2] == (1, 1)
    promoted = watched(project, "promote", "--from", "staging", "--environment", "production")
    assert state_read(promoted, project)[:2] == (1, 1)
