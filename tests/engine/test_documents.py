"""The pages of docs/ whose commands need a container engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.documents import follow, with_programs
from tests.engine.conftest import Engine, Registry, make_engine
from tests.project import Project, three_apps
from tests.sandboxes import SandboxProcess

# The engine of each page.
WITH_ENGINES = {
    "README.md": "buildkit",
    "docs/guide.md": "buildkit",
    "docs/recipes/apple-silicon.md": "store",
    "docs/recipes/migration.md": "buildkit",
    "docs/recipes/monorepo.md": "buildkit",
    "docs/recipes/podman.md": "podman",
    "docs/recipes/private-repositories.md": "buildkit",
}
# What the scripts wrote: json.dumps(…, indent=2, sort_keys=True).
_OF_A_SCRIPT = {"app": "", "buildId": "", "imageName": "", "imageTag": "local-1707580800", "namespace": "apps"}
# The files in place of a person's editor.
_EDITOR = """#!/bin/sh
sed -i "s|^DEPLOY_API_URL=.*|DEPLOY_API_URL=$THE_URL|; s|^DEPLOY_API_KEY=.*|DEPLOY_API_KEY=$THE_KEY|" "$1"
echo "DEPLOY_REGISTRY=$THE_REGISTRY" >> "$1"
"""


@pytest.fixture
def page_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    folder = tmp_path / "engine"
    folder.mkdir()
    return make_engine(WITH_ENGINES[request.param], folder)


@pytest.fixture
def own_sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    sandbox = SandboxProcess(tmp_path / "sandbox")
    yield sandbox
    sandbox.stop()


def make(page: str, folder: Path, engine: Engine, sandbox: SandboxProcess) -> Project:
    """A pushed repository for `page`, whose `invoke local` uses `engine`, set up for `sandbox`."""
    project = _MADE.get(page, Project.make)(folder / ("shop" if "monorepo" in page else "myapp"))
    project.environment.update(engine.environment, **sandbox.settings, DEPLOY_PORT="3000")
    if engine.program != "podman":  # whose page says so itself
        project.environment["DEPLOY_DOCKER"] = engine.program
    return with_programs(project, folder / "home")


def _shop(folder: Path) -> Project:
    project = three_apps(folder, SUPABASE_SERVICE_ROLE_KEY="a-service-role-key")
    project.write("frontend/index.html", "shop")
    return project


_MADE: dict[str, Callable[[Path], Project]] = {"docs/recipes/monorepo.md": _shop}


def page(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page_engine", [name], indirect=True)


@page("README.md")
def test_the_readme(page_engine: Engine, own_sandbox: SandboxProcess, tmp_path: Path) -> None:
    project = make("README.md", tmp_path, page_engine, own_sandbox)
    (project.folder / "tasks.py").unlink()
    (project.folder / ".gitignore").unlink()
    project.write("Dockerfile", "FROM scratch\nEXPOSE 3000\nCOPY page.html /\n")
    for key in ("API_URL", "API_KEY", "REGISTRY"):
        project.environment[f"THE_{key.removeprefix('API_')}"] = project.environment.pop(f"DEPLOY_{key}")
    editor = tmp_path / "editor"
    editor.write_text(_EDITOR)
    editor.chmod(0o755)
    project.environment.update(EDITOR=str(editor), DEPLOY_REPLICAS="2", DEPLOY_DOMAIN="myapp.example.com")
    follow("README.md", project, {"make demo ": ": make demo ", "make test ": ": make test "})


@page("docs/recipes/migration.md")
def test_what_the_scripts_left_is_taken_as_it_is(
    page_engine: Engine, own_sandbox: SandboxProcess, tmp_path: Path
) -> None:
    project = make("docs/recipes/migration.md", tmp_path, page_engine, own_sandbox)
    project.write("frontend/Dockerfile", "FROM scratch\nCOPY . /\n")
    project.write("frontend/.env", "VITE_KEY=x\n")
    project.commit("apps")
    project.push()
    for key, image in (("backend", "myproject-backend"), ("frontend", "myproject-frontend")):
        built = project.invoke("build", "--app", image, "--no-logs", DEPLOY_STATE_FILE=".elsewhere/build-id.json")
        assert built.returncode == 0, built.stderr
        state = {**_OF_A_SCRIPT, "app": image, "imageName": image, "buildId": built.stdout.strip()}
        project.write(f".deploy/build-id.{key}.json", json.dumps(state, indent=2, sort_keys=True) + "\n")
    shutil.rmtree(project.folder / ".elsewhere")
    keys = {key: project.environment.pop(key) for key in ("DEPLOY_API_URL", "DEPLOY_API_KEY")}
    project.write(".env.local", "".join(f"{key}={value}\n" for key, value in keys.items())).chmod(0o600)
    follow("docs/recipes/migration.md", project)


@page("docs/recipes/private-repositories.md")
def test_a_registry_with_a_password(
    page_engine: Engine, registry: Registry, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    project = make("docs/recipes/private-repositories.md", tmp_path, page_engine, sandbox)
    follow(
        "docs/recipes/private-repositories.md", project, {"robot": registry.username, "r0bot-pass": registry.password}
    )


@pytest.mark.parametrize(
    "page_engine",
    ["docs/guide.md", "docs/recipes/apple-silicon.md", "docs/recipes/monorepo.md", "docs/recipes/podman.md"],
    indirect=True,
)
def test_a_page_that_builds_here(
    page_engine: Engine, own_sandbox: SandboxProcess, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.params["page_engine"]
    if page_engine.name == "podman":  # it was logged in somewhere, once
        Path(page_engine.environment["REGISTRY_AUTH_FILE"]).write_text("{}")
    # There is no builder at the address of the page.
    replaced = {"DEPLOY_BUILDER=amd64": "# DEPLOY_BUILDER=amd64"} if "apple" in name else {}
    follow(name, make(name, tmp_path, page_engine, own_sandbox), replaced)
