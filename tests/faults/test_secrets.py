"""A canary in the place of each secret: whatever happens, it is on no way out and in nothing that is left behind."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.faults.api import DIGEST, Answer, Connection, FaultyApi, http, reset
from tests.faults.conftest import WITHOUT_PAUSES
from tests.faults.engine import WRITE_IMAGE_ID, FakeEngine
from tests.project import Project

CANARIES = {
    "DEPLOY_API_KEY": "canary-key/\"quoted'",
    "DEPLOY_REGISTRY_PASSWORD": 'canary pass\\"word',
    "DEPLOY_GIT_TOKEN": "canary-token-0123456789abcdefghijABCDEFGHIJ",
    "APP_SECRET": "canary-of-the-app=x y",
}
BUILD_SECRET = "canary-of-the-build"
TASKS = {
    "build": ["build", "--image-tag", "v1"],
    "wait": ["wait"],
    "digest": ["digest"],
    "reuse": ["reuse", "--env", "APP_SECRET"],
    "local": ["local", "--build-arg", "BUILD_SECRET"],
    "local-deploy": ["local-deploy", "--build-arg", "BUILD_SECRET", "--env", "APP_SECRET"],
}


def everything(connection: Connection) -> bytes:
    """All that was sent, the key and the token with it."""
    request = connection.request
    return json.dumps(request.headers).encode() + b"\r\n" + request.body + request.headers["x-api-key"].encode()


ANSWERS: dict[str, Answer] = {
    "422 with all that was sent": lambda connection: http(422, everything(connection))(connection),
    "200 with all that was sent": lambda connection: http(200, everything(connection))(connection),
    "a redirect to what was sent": lambda connection: http(
        302, Location="https://user:canary-key@canary-key.example.com/" + connection.request.headers["x-api-key"]
    )(connection),
    "a reset": reset,
    "a failed build with all that was sent": lambda connection: http(
        200,
        {
            "status": "failed",
            "error": everything(connection).decode(),
            "logs": everything(connection).decode(),
            "jobName": "build-shop-1",
            "buildId": DIGEST,
        },
    )(connection),
}
# What an engine may print of what it was given: its stdin at a login, its environment in a build.
STEPS = {
    "well": {"build": f"env; env >&2; {WRITE_IMAGE_ID}"},
    "a login that prints its stdin": {"login": "tee /dev/stderr; echo unauthorized >&2; exit 1"},
    "a build that fails": {"build": "env; exit 1"},
    "a push that fails": {"push": "env >&2; exit 1"},
}


@pytest.fixture
def guarded(shop: Project) -> Project:
    """The shop with all its secrets in `.env`, a digest recorded and a build in flight."""
    assert shop.invoke("build", "--no-wait").returncode == 0
    shop.write_record({"app": "shop", "namespace": "apps", "imageName": "shop", "buildId": DIGEST})
    values = {**CANARIES, "BUILD_SECRET": BUILD_SECRET, "DEPLOY_REGISTRY_USERNAME": "robot", "DEPLOY_TIMEOUT": "1"}
    shop.write(".env", "".join(f"{name}={json.dumps(value)}\n" for name, value in values.items())).chmod(0o600)
    del shop.environment["DEPLOY_API_KEY"]
    return shop


def check(project: Project, task: str, engine: FakeEngine, *, exits: set[int]) -> None:
    done = project.run(sys.executable, "-c", WITHOUT_PAUSES, "-d", "-e", *TASKS[task], "--json")
    assert done.returncode in exits, done.stderr
    left = {name: content.decode() for name, content in project.files().items() if name != ".env"}
    for place, text in {"stdout": done.stdout, "stderr": done.stderr, **left}.items():
        for name, secret in {**CANARIES, "BUILD_SECRET": BUILD_SECRET}.items():
            assert secret not in text, f"{name} in {place}"
            assert json.dumps(secret)[1:-1] not in text, f"{name} in {place}, as JSON"
    seen = engine.seen()
    assert not any(secret in seen for secret in CANARIES.values())
    assert BUILD_SECRET not in engine.arguments()


@pytest.mark.parametrize("task", TASKS)
def test_no_secret_is_shown_where_all_is_well(guarded: Project, api: FaultyApi, tmp_path: Path, task: str) -> None:
    check(guarded, task, FakeEngine(guarded, tmp_path / "engine", **STEPS["well"]), exits={0})
    sent = b"".join(request.body for request in api.requests)
    assert (b"canary-token" in sent) == (task == "build")
    assert (b"canary-of-the-app" in sent) == (task in ("reuse", "local-deploy"))


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("task", TASKS)
def test_no_secret_is_shown_where_the_api_fails(
    guarded: Project, api: FaultyApi, tmp_path: Path, task: str, answer: str
) -> None:
    for kind in ("start", "wait", "status", "logs", "digest", "deploy"):
        api.always(kind, ANSWERS[answer])
    engine = FakeEngine(guarded, tmp_path / "engine")
    check(guarded, task, engine, exits={3, 4, 5, 6, 7, 8, 9} if "failed build" not in answer else {0, 4, 6, 9})


@pytest.mark.parametrize("step", sorted(set(STEPS) - {"well"}))
@pytest.mark.parametrize("task", ["local", "local-deploy"])
def test_no_secret_is_shown_where_the_engine_fails(
    guarded: Project, api: FaultyApi, tmp_path: Path, task: str, step: str
) -> None:
    check(guarded, task, FakeEngine(guarded, tmp_path / "engine", **STEPS[step]), exits={3})


def test_an_env_file_that_others_can_read_is_a_warning(guarded: Project, api: FaultyApi) -> None:
    (guarded.folder / ".env").chmod(0o640)
    (guarded.folder / ".deploy" / "build-id.in-flight.json").unlink()
    done = guarded.invoke("digest", "reuse")
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning")]
    path = guarded.folder / ".env"
    assert warnings == [f"warning: {path} holds a secret and others on this machine can read it: chmod 600 {path}"]
    guarded.write(".env", "DEPLOY_APP=shop\n").chmod(0o644)
    quiet = guarded.invoke("digest", DEPLOY_API_KEY="k3y")
    assert "warning" not in quiet.stderr, "there is no secret in it"
