"""Real engines and a real registry. `tests/engine/services` starts them and prints the variables that are read here; of
those, a laptop has none; then the local docker is used where that is enough. With ENGINE_REQUIRED set, a missing engine
is a failure, not a skip."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.left_out import leave_out
from tests.project import SECONDS_A_COMMAND, Project, clean_environment
from tests.sandboxes import SandboxProcess

ACCEPTED = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.manifest.v1",
        "oci.image.index.v1",
        "docker.distribution.manifest.v2",
        "docker.distribution.manifest.list.v2",
    )
)
# A server on a static busybox: with RUN steps, and without anything from outside this machine.
DOCKERFILE = """FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "/bin"]
ARG GREETING=none
ARG PORT=3000
ENV PORT=$PORT
RUN mkdir -p /www && echo "$GREETING" > /www/health
COPY page.html /www/page.html
CMD exec httpd -f -p "127.0.0.1:$PORT" -h /www
"""
ENGINES = ("classic", "buildkit", "buildx", "store", "podman")


def service(name: str) -> str:
    """A variable that `tests/engine/services` prints."""
    value = os.environ.get(f"ENGINE_{name}")
    return value or leave_out(f"tests/engine/services is not running (no ENGINE_{name})")


@dataclass
class Engine:
    """One way to build and push: `program` is what DEPLOY_DOCKER names, `environment` what its processes need."""

    name: str
    program: str
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.program, *arguments],
            env=clean_environment(**self.environment),
            capture_output=True,
            text=True,
            timeout=SECONDS_A_COMMAND,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def docker_engine(name: str, folder: Path, host: str | None, *, buildx: bool, buildkit: str | None = None) -> Engine:
    config = folder / "docker-config"
    config.mkdir()
    environment = {"DOCKER_CONFIG": str(config), **({"DOCKER_HOST": host} if host else {})}
    if buildkit is not None:
        environment["DOCKER_BUILDKIT"] = buildkit
    if buildx:
        (config / "cli-plugins").mkdir()
        (config / "cli-plugins" / "docker-buildx").symlink_to(service("BUILDX"))
    # The packaged program has BuildKit in itself; a newer one in front of it on the PATH has it in buildx.
    program = "/usr/bin/docker" if name == "buildkit" else "docker"
    return Engine(name, program, environment)


def make_engine(name: str, folder: Path) -> Engine:
    if name == "podman":
        if shutil.which("podman") is None:
            leave_out("podman is not installed")
        (folder / "containers.conf").write_text('[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n')
        (folder / "auth.json").write_text("{}")
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/storage"\nrunroot = "{folder}/run"\n'
        )
        return Engine(
            name,
            "podman",
            {
                "CONTAINERS_CONF": f"{folder}/containers.conf",
                "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
                "REGISTRY_AUTH_FILE": f"{folder}/auth.json",
                # Where a machine mixes both versions of cgroups, its runtime refuses to run a RUN.
                "BUILDAH_ISOLATION": "chroot",
            },
        )
    if name == "store":
        return docker_engine(name, folder, service("DOCKER_STORE_HOST"), buildx=True)
    buildkit = {"classic": "0", "buildkit": "1"}.get(name)
    return docker_engine(name, folder, service("DOCKER_HOST"), buildx=name == "buildx", buildkit=buildkit)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """Each of the engines, with a login and a storage of its own."""
    folder = tmp_path / "engine"
    folder.mkdir()
    return make_engine(request.param, folder)


@pytest.fixture
def any_docker(tmp_path: Path) -> Engine:
    """A docker that answers: the one of the services, or the one that this machine has."""
    if shutil.which("docker") is None:
        leave_out("docker is not installed")
    folder = tmp_path / "engine"
    folder.mkdir()
    host = os.environ.get("ENGINE_DOCKER_HOST") or os.environ.get("DOCKER_HOST")
    docker = docker_engine("docker", folder, host, buildx=False)
    environment = clean_environment(**docker.environment)
    if subprocess.run(["docker", "info"], env=environment, capture_output=True, check=False).returncode:
        leave_out("no docker engine answers")
    return docker


@dataclass
class Registry:
    """The registry with a password."""

    address: str
    username: str
    password: str

    def digest(self, name: str, reference: str) -> str | None:
        """What a HEAD on the manifest says."""
        answer = requests.head(
            f"http://{self.address}/v2/{name}/manifests/{reference}",
            headers={"Accept": ACCEPTED},
            auth=(self.username, self.password),
            timeout=SECONDS_A_COMMAND,
        )
        return answer.headers["Docker-Content-Digest"] if answer.status_code == 200 else None

    def inspect(self, name: str, reference: str, *flags: str) -> dict[str, Any]:
        """What skopeo says of an image."""
        separator = "@" if reference.startswith("sha256:") else ":"
        done = subprocess.run(
            [
                "skopeo",
                "inspect",
                *flags,
                *self.skopeo_flags(),
                f"docker://{self.address}/{name}{separator}{reference}",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        inspected: dict[str, Any] = json.loads(done.stdout)
        return inspected

    def skopeo_flags(self) -> list[str]:
        return ["--tls-verify=false", "--creds", f"{self.username}:{self.password}"]


@pytest.fixture
def registry() -> Registry:
    return Registry(service("REGISTRY"), service("REGISTRY_USERNAME"), service("REGISTRY_PASSWORD"))


@pytest.fixture
def sandbox(tmp_path: Path, registry: Registry) -> Iterator[SandboxProcess]:
    """A Deploy API over that registry."""
    credentials = {"DEPLOY_REGISTRY_USERNAME": registry.username, "DEPLOY_REGISTRY_PASSWORD": registry.password}
    sandbox = SandboxProcess(tmp_path / "sandbox", "--registry", registry.address, **credentials)
    yield sandbox
    sandbox.stop()


@pytest.fixture
def shop(tmp_path: Path, engine: Engine, registry: Registry, sandbox: SandboxProcess) -> Project:
    """A pushed repository whose `invoke local` uses `engine`, logs in at `registry` and asks `sandbox`. Its app has a
    name of its own, since the registry is everybody's."""
    project = Project.make(tmp_path / f"shop-{os.urandom(4).hex()}", {"Dockerfile": DOCKERFILE})
    shutil.copy("/bin/busybox", project.folder / "busybox")
    project.commit("busybox")
    project.push()
    project.environment.update(
        engine.environment,
        **sandbox.settings,
        DEPLOY_DOCKER=engine.program,
        DEPLOY_PORT="3000",
        DEPLOY_REGISTRY_USERNAME=registry.username,
        DEPLOY_REGISTRY_PASSWORD=registry.password,
    )
    return project
