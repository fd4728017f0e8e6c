"""Faults of the engine: a failed build is not deployed, and the digest of the own push is recorded."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from tests.faults.api import DIGEST, FaultyApi, http
from tests.faults.conftest import Saw
from tests.faults.engine import FakeEngine, prints_json
from tests.project import Project

OLD = "sha256:" + 64 * "b"
OTHER = "sha256:" + 64 * "c"
LINE = 'echo "${2##*:}: digest: %s size: 1"'


@pytest.fixture
def recorded(shop: Project) -> Project:
    """An older digest of the shop is recorded."""
    shop.write_record({"app": "shop", "namespace": "apps", "imageName": "shop", "imageTag": "old", "buildId": OLD})
    return shop


@pytest.mark.parametrize(
    ("number", "what", "steps", "run"),
    [
        ("21", "local: the registry refuses the login", {"login": "echo unauthorized >&2; exit 1"}, "info login"),
        ("22", "local: the push fails with a 500", {"push": "echo received status 500 >&2; exit 1"}, "info build push"),
        ("22b", "local: the build fails", {"build": "exit 2"}, "info build"),
        ("23", "local: a push without a digest line", {"push": "echo pushed"}, "info build push"),
        (
            "24",
            "local: a push with two digest lines",
            {"push": "; ".join([LINE % DIGEST, LINE % OTHER])},
            "info build push",
        ),
        ("26b", "local: the engine is down", {"info": "echo is the daemon running? >&2; exit 1"}, "info"),
    ],
)
def test_a_failure_of_the_engine_records_and_deploys_nothing(
    recorded: Project, api: FaultyApi, saw: Saw, tmp_path: Path, number: str, what: str, steps: dict[str, str], run: str
) -> None:
    engine = FakeEngine(recorded, tmp_path / "engine", **steps)
    login = {"DEPLOY_REGISTRY_USERNAME": "robot", "DEPLOY_REGISTRY_PASSWORD": "canary-pass"} if number == "21" else {}
    done = recorded.invoke("local", "reuse", **login)
    saw("faults", number, what, done, f"{api.count('deploy')} deploy", ENGINE=str(engine.program))
    assert done.returncode == 3
    assert engine.commands == run.split()
    assert api.count("deploy") == api.count("start") == 0
    assert recorded.record["buildId"] == OLD


def test_25_the_digest_of_an_earlier_push_is_not_used(
    recorded: Project, api: FaultyApi, saw: Saw, tmp_path: Path
) -> None:
    # buildx leaves its metadata file as it was where a push fails; so each push gets a file of its own.
    info = prints_json(
        ClientInfo={"Context": "default", "Plugins": [{"Name": "buildx"}]},
        DriverStatus=[["driver-type", "io.containerd.snapshotter.v1"]],
    )
    metadata = shlex.quote(json.dumps({"containerimage.digest": DIGEST}))
    write = f'while [ $# -gt 0 ]; do [ "$1" = --metadata-file ] && echo {metadata} > "$2"; shift; done'
    engine = FakeEngine(recorded, tmp_path / "engine", info=info, buildx=write)
    assert recorded.invoke("local").returncode == 0
    assert recorded.record["buildId"] == DIGEST
    FakeEngine(recorded, tmp_path / "failing", info=info, buildx="exit 1")
    api.requests.clear()
    done = recorded.invoke("local", "reuse")
    saw(
        "faults",
        25,
        "local: buildx fails after an earlier push left its metadata",
        done,
        f"{api.count('deploy')} deploy",
    )
    assert engine.commands == ["info", "buildx"]
    assert done.returncode == 3
    assert api.count("deploy") == 0


def test_26_a_missing_engine_is_one_line(recorded: Project, api: FaultyApi, saw: Saw) -> None:
    done = recorded.invoke("local", DEPLOY_DOCKER="no-such-engine")
    saw("faults", "26a", "local: the engine is not installed", done, f"{api.count('deploy')} deploy")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1


def test_27_sigterm_in_a_build_stops_the_engine(recorded: Project, api: FaultyApi, saw: Saw, tmp_path: Path) -> None:
    running = tmp_path / "running"
    os.mkfifo(running)
    FakeEngine(recorded, tmp_path / "engine", build=f"exec 9> {running}; echo running >&9; sleep 3600; true")
    process = recorded.start("local", "reuse")
    with running.open() as alive:
        assert alive.readline() == "running\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.finish()
        assert alive.read() == "", "the pipe ends when no process of the engine holds it"
    done = subprocess.CompletedProcess([], process.returncode, out, err)
    saw("faults", 27, "local: SIGTERM during the build", done, f"{api.count('deploy')} deploy")
    assert done.returncode == 143
    assert api.count("deploy") == 0


def test_34_a_tag_moved_after_the_push_does_not_change_the_digest(
    recorded: Project, api: FaultyApi, saw: Saw, tmp_path: Path
) -> None:
    FakeEngine(recorded, tmp_path / "engine")
    api.always("digest", http(200, {"buildId": OTHER}))
    done = recorded.invoke("local", "reuse")
    saw("faults", 34, "local: somebody moves the tag right after the push", done, f"{api.count('deploy')} deploy")
    assert done.returncode == 0, done.stderr
    assert f"the recorded digest is from this push: {DIGEST}" in done.stderr
    assert recorded.record["buildId"] == DIGEST
    assert done.stdout.split()[1].endswith(f"@{DIGEST}")
    deployed = next(request for request in api.requests if request.kind == "deploy")
    assert DIGEST.encode() in deployed.body


@pytest.mark.parametrize("way", [["-w"], []], ids=["flag", "environment"])
def test_35_a_failure_is_an_error_with_invokes_warn_too(
    recorded: Project, api: FaultyApi, saw: Saw, tmp_path: Path, way: list[str]
) -> None:
    FakeEngine(recorded, tmp_path / "engine", push="exit 1")
    done = recorded.invoke(*way, "local", "reuse", **({} if way else {"INVOKE_RUN_WARN": "1"}))
    how = "invoke -w" if way else "INVOKE_RUN_WARN=1"
    saw("faults", f"35 ({how})", f"{how} local: the push fails", done, f"{api.count('deploy')} deploy")
    assert done.returncode == 3
    assert api.count("deploy") == 0


def test_35_a_dry_run_sends_and_runs_and_writes_nothing(
    recorded: Project, api: FaultyApi, saw: Saw, tmp_path: Path
) -> None:
    engine = FakeEngine(recorded, tmp_path / "engine")
    recorded.write(".env", "DEPLOY_GIT_TOKEN=canary-token\nAPP_SECRET=canary-of-the-app\n")
    (recorded.folder / ".env").chmod(0o600)
    before = recorded.files()
    login = {"DEPLOY_REGISTRY_USERNAME": "robot", "DEPLOY_REGISTRY_PASSWORD": "canary-pass"}
    line = ["--dry", "build", "wait", "digest", "local", "--build-arg", "APP_SECRET", "reuse", "--env", "APP_SECRET"]
    done = recorded.invoke(*line, **login)
    saw(
        "faults",
        "35 (dry)",
        "invoke --dry: build wait digest local reuse",
        done,
        api.summary,
        ENGINE=str(engine.program),
    )
    assert done.returncode == 0, done.stderr
    assert api.summary == "none"
    assert recorded.files() == before
    assert engine.commands == ["info"], "only asked for its kind"
    for shown in (
        "POST",
        "/build/<job>/wait",
        "GET",
        " login ",
        " build ",
        " push ",
        '"APP_SECRET":"***"',
        '"gitToken":"***"',
    ):
        assert shown in done.stderr, shown


def test_a_digest_file_that_is_not_text_is_refused_in_one_line(
    recorded: Project, api: FaultyApi, tmp_path: Path
) -> None:
    write = r"""while [ $# -gt 0 ]; do [ "$1" = --digestfile ] && printf '\377' > "$2"; shift; done"""
    engine = FakeEngine(recorded, tmp_path / "engine", info=prints_json(host={}, store={}), push=write, tag="true")
    done = recorded.invoke("local", "reuse")
    assert engine.commands == ["info", "build", "tag", "push"]
    assert done.returncode == 3
    assert "reported 0 digests instead of one" in done.stderr
    assert "Traceback" not in done.stderr
    assert recorded.record["buildId"] == OLD
