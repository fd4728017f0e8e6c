"""Three apps of one repository at once, with each engine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.engine.conftest import Engine, Registry
from tests.project import Project, three_apps
from tests.sandboxes import SandboxProcess

NAMES = ["backend", "frontend", "mcp-agent"]


@pytest.fixture
def prefix() -> str:
    """What the names of this test's images begin with, since the registry is everybody's."""
    return f"shop-{os.urandom(4).hex()}"


@pytest.fixture
def apps(tmp_path: Path, engine: Engine, registry: Registry, sandbox: SandboxProcess, prefix: str) -> Project:
    project = three_apps(
        tmp_path / "shop",
        SUPABASE_SERVICE_ROLE_KEY="a-service-role-key",
        DEPLOY_REGISTRY_PASSWORD=registry.password,
    )
    config = project.folder / "invoke.yaml"
    config.write_text(config.read_text().replace("app: shop-", f"app: {prefix}-"))
    project.environment.update(
        engine.environment,
        **sandbox.settings,
        DEPLOY_DOCKER=engine.program,
        DEPLOY_REGISTRY_USERNAME=registry.username,
    )
    return project


def test_all_apps_are_built_here_pushed_and_deployed(
    apps: Project, registry: Registry, sandbox: SandboxProcess, prefix: str
) -> None:
    done = apps.invoke("local", "--app", "all", "reuse")
    assert done.returncode == 0, done.stderr
    for number, name in enumerate(NAMES):
        image = f"{prefix}-{name}"
        record = json.loads((apps.folder / ".deploy" / f"build-id.{name}.json").read_text())
        assert done.stdout.splitlines()[number] == f"{name} {record['buildId']}"
        assert registry.digest(image, record["imageTag"]) == record["buildId"]
        deployed = sandbox.app("non-business-apps", image)
        assert deployed["image"] == f"{registry.address}/{image}@{record['buildId']}"
    labels = registry.inspect(f"{prefix}-frontend", record_of(apps, "frontend"))["Labels"]
    assert (labels["api"], labels["supabase"]) == ("https://api.example.com", "https://public.example.com")
    for line in done.stderr.splitlines():
        whose = line.partition(" | ")[0].strip()
        assert whose in NAMES or line.startswith(("APP ", *NAMES, "3 apps in ")), line
    assert registry.password not in done.stderr
    assert "public.example.com" not in done.stderr, "a value of a .env file"


def record_of(apps: Project, name: str) -> str:
    digest: str = json.loads((apps.folder / ".deploy" / f"build-id.{name}.json").read_text())["buildId"]
    return digest


def test_one_app_that_does_not_build_leaves_the_others_pushed(apps: Project, registry: Registry, prefix: str) -> None:
    apps.write("k8s.backend.Dockerfile", "FROM scratch\nCOPY nothing-of-that-name /\n")
    done = apps.invoke("local", "--app", "all")
    assert done.returncode == 3
    assert [line.split(" ")[0] for line in done.stdout.splitlines()] == NAMES[1:]
    assert f"backend   | the build of {registry.address}/{prefix}-backend" in done.stderr.replace(" and push", "")
    assert "Retry only that app: invoke local --app backend" in done.stderr
    assert registry.digest(f"{prefix}-mcp-agent", record_of(apps, "mcp-agent")) == record_of(apps, "mcp-agent")
