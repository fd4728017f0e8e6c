"""The task `doctor`: real `invoke` processes, against servers and engines that answer what a test wants."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.api import FaultyApi, faulty_api, http
from tests.faults.engine import FakeEngine
from tests.project import Project, three_apps, without_root_rights

NOT_FOUND = http(404, {"error": "not found"})


@pytest.fixture
def shop(project: Project) -> Project:
    """A pushed repository with an API and a registry that are not there."""
    nowhere = {"DEPLOY_API_URL": "http://127.0.0.1:1", "DEPLOY_REGISTRY": "127.0.0.1:1"}
    project.environment.update(nowhere, DEPLOY_API_KEY="k3y-of-the-api", DEPLOY_PORT="3000")
    return project


@pytest.fixture
def server(shop: Project) -> Iterator[FaultyApi]:
    """An API and a registry at one address; `shop` is set up for it."""
    with faulty_api() as server:
        server.always("digest", NOT_FOUND)
        shop.environment.update(DEPLOY_API_URL=server.url, DEPLOY_REGISTRY=server.address)
        yield server


def test_doctor_shows_no_query(shop: Project) -> None:
    assert "canary" not in shop.invoke("doctor", DEPLOY_HEALTH_PATH="/health?key=canary").stdout


def findings(done: subprocess.CompletedProcess[str]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


def test_doctor_says_once_what_several_apps_share(tmp_path: Path) -> None:
    shop = three_apps(tmp_path / "shop", DEPLOY_API_KEY="k3y")
    (shop.folder / ".env").chmod(0o644)
    (shop.folder / ".dockerignore").write_text("")
    done = shop.invoke("doctor", "--json", "--app=all")
    warned = [found for found in findings(done) if ".env" in found["seen"] and found["state"] == "warning"]
    assert [found["what"] for found in warned] == ["backend, frontend .dockerignore"]
    assert done.stderr.count("others on this machine can read it") == 1, done.stderr


def test_doctor_says_what_each_app_needs(tmp_path: Path) -> None:
    shop = three_apps(tmp_path / "shop")
    found = {entry["what"]: entry for entry in findings(shop.invoke("doctor", "--json"))}
    assert found["backend needs"]["state"] == "failed"
    assert found["backend needs"]["seen"].startswith("no value for SUPABASE_SERVICE_ROLE_KEY")
    assert "frontend needs" not in found


def test_doctor_points_to_invoke_yaml_for_the_port(shop: Project) -> None:
    del shop.environment["DEPLOY_PORT"]
    found = {entry["what"]: entry for entry in findings(shop.invoke("doctor", "--json"))}
    assert found["DEPLOY_PORT"]["mend"] == "set DEPLOY_PORT or port under deploy: in invoke.yaml"


def test_doctor_says_once_what_is_not_set(shop: Project) -> None:
    shop.git("remote", "remove", "origin")
    looked_at = found(shop, DEPLOY_API_URL="")
    assert [what for what, finding in looked_at.items() if finding["state"] == "failed"] == ["DEPLOY_API_URL"]
    assert looked_at["git remote"]["mend"] == "git remote add origin URL, or set DEPLOY_REPO_URL"
    assert ".gitignore" in looked_at


@pytest.mark.parametrize("kind", ["DEPLOY_DOCKERFILE", "DEPLOY_BUILD_CONTEXT", "DEPLOY_ENV_FILE", "DEPLOY_STATE_FILE"])
@pytest.mark.parametrize("path", ["theirs/it", 300 * "x", "loop/it", "Dockerfile/it"])
def test_doctor_looks_at_paths_that_cannot_be_looked_at(shop: Project, kind: str, path: str) -> None:
    shop.write("theirs/it", "FROM scratch\n")
    (shop.folder / "theirs").chmod(0)
    (shop.folder / "loop").symlink_to("loop")
    done = shop.run(*without_root_rights(), sys.executable, "-m", "invoke", "doctor", **{kind: path})
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert path in done.stdout


def found(shop: Project, **environment: str) -> dict[str, dict[str, str]]:
    """What `doctor` finds, by what it looked at."""
    return {entry["what"]: entry for entry in findings(shop.invoke("doctor", "--json", **environment))}


@pytest.mark.parametrize(
    "date",
    [
        "Thu, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Thu, 01 Jan 2026 99999999999999999999:00:00 GMT",
        "Thu, 01 Jan 2026 00:00:00 +99999999999999999999",
        "Thu, 01 Jan 2026 00:00:00 -0000",
        "yesterday",
        ",",
    ],
)
def test_doctor_survives_a_date_that_is_none(shop: Project, server: FaultyApi, date: str) -> None:
    server.always("other", http(200, {}, Date=date))
    done = shop.invoke("doctor")
    assert "Traceback" not in done.stderr
    assert "ok       API: " in done.stdout
    assert "clock" not in done.stdout


def test_doctor_says_how_far_the_clock_is_off(shop: Project, server: FaultyApi) -> None:
    server.always("other", http(200, {}, Date="Thu, 01 Jan 2026 00:00:00 GMT"))
    clock = found(shop)["clock"]
    assert clock["state"] == "warning"
    assert "s off the API's" in clock["seen"]


def test_a_registry_that_gives_out_tokens_is_no_failure(shop: Project, server: FaultyApi) -> None:
    login = {"DEPLOY_REGISTRY_USERNAME": "robot", "DEPLOY_REGISTRY_PASSWORD": "p4ss-of-the-robot"}
    server.always("other", http(401, {}, WWW_Authenticate='Bearer realm="https://auth.example.com"'))
    assert found(shop, **login)["registry login"]["state"] == "ok"
    server.always("other", http(401, {}, WWW_Authenticate='Basic realm="registry"'))
    assert found(shop, **login)["registry login"]["state"] == "failed"


def test_doctor_tells_of_the_worst_of_several_ignore_files(shop: Project, tmp_path: Path) -> None:
    FakeEngine(shop, tmp_path / "engine")  # which may read either, since it has no buildx
    good, bad = "**/.env*\n**/.deploy\n", ".env\n"
    for of_dockerfile, of_context, worst in ((good, bad, ".dockerignore"), (bad, good, "Dockerfile.dockerignore")):
        shop.write("Dockerfile.dockerignore", of_dockerfile)
        shop.write(".dockerignore", of_context)
        assert found(shop)[worst]["state"] == "warning"
        assert found(shop)[worst]["seen"].startswith("lets .env.local, ")


@pytest.mark.parametrize(
    ("key", "instead", "seen"),
    [
        ("port: 3325", "", "not set: deploy.apps.backend.port in invoke.yaml"),
        ("dockerfile: k8s.backend.Dockerfile", "dockerfile: missing", "there is no Dockerfile at "),
    ],
)
def test_doctor_says_which_key_an_app_needs(tmp_path: Path, key: str, instead: str, seen: str) -> None:
    shop = three_apps(tmp_path / "shop", SUPABASE_SERVICE_ROLE_KEY="role")
    shop.write("invoke.yaml", (shop.folder / "invoke.yaml").read_text().replace(key, instead, 1))
    assert found(shop)["backend needs"]["seen"].startswith(seen)


def test_doctor_says_which_build_arg_an_app_needs(tmp_path: Path) -> None:
    shop = three_apps(tmp_path / "shop")
    (shop.folder / "frontend" / ".env").unlink()
    assert found(shop)["frontend needs"]["seen"].startswith(
        "no value for PUBLIC_SUPABASE_URL, and there is no env_file at "
    )
