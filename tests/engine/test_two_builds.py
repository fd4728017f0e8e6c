"""Two checkouts that build under one tag at the same time: each records the image that it built."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import requests

from tests.engine.conftest import ACCEPTED, Engine, Registry
from tests.project import Project
from tests.sandboxes import SandboxProcess

ROUNDS = 40
TASKS = """
from pathlib import Path
from invoke import task
from deploy_tasks import ns
from deploy_tasks.errors import EngineError
from deploy_tasks.tasks import local

def build_id(c, tries=3):
    # docker's classic builder fails where another test removes an image meanwhile.
    try:
        return local(c, image_tag="same").build_id
    except EngineError:
        if tries == 1:
            raise
        return build_id(c, tries - 1)

@task
def rounds(c, times):
    with Path("../built-by-" + Path.cwd().name).open("w") as built:
        for number in range(int(times)):
            content = f"{Path.cwd()} {number}"
            Path("page.html").write_text(content)
            print(build_id(c), content, file=built, flush=True)

ns.add_task(rounds)
"""


@pytest.fixture
def checkouts(tmp_path: Path, engine: Engine, registry: Registry, sandbox: SandboxProcess) -> list[Project]:
    """Two of them, whose image has one name, of its own since the registry is everybody's."""
    made = [
        Project.make(tmp_path / name, {"tasks.py": TASKS, "Dockerfile": "FROM scratch\nCOPY page.html /page.html\n"})
        for name in ("one", "other")
    ]
    image = f"shop-{os.urandom(4).hex()}"
    for checkout in made:
        checkout.environment.update(
            engine.environment,
            **sandbox.settings,
            DEPLOY_DOCKER=engine.program,
            DEPLOY_IMAGE_NAME=image,
            DEPLOY_REGISTRY_USERNAME=registry.username,
            DEPLOY_REGISTRY_PASSWORD=registry.password,
        )
    return made


def page_in(registry: Registry, image: str, digest: str) -> str:
    """What the registry holds under `digest`: the page in the one layer of that image."""

    def get(path: str) -> bytes:
        answer = requests.get(
            f"http://{registry.address}/v2/{image}/{path}",
            headers={"Accept": ACCEPTED},
            auth=(registry.username, registry.password),
            timeout=10,
        )
        answer.raise_for_status()
        return answer.content

    (layer,) = json.loads(get(f"manifests/{digest}"))["layers"]
    with tarfile.open(fileobj=io.BytesIO(get(f"blobs/{layer['digest']}"))) as files:
        page = files.extractfile("page.html")
        assert page is not None
        return page.read().decode()


def test_two_builds_under_one_tag_at_the_same_time_each_record_their_own_image(
    checkouts: list[Project], registry: Registry
) -> None:
    image, folder = checkouts[0].environment["DEPLOY_IMAGE_NAME"], checkouts[0].folder.parent
    with contextlib.ExitStack() as running:
        for checkout in checkouts:
            # Into a file: a full pipe would let the other one build alone.
            said = running.enter_context((folder / f"said-by-{checkout.folder.name}").open("w"))
            command = [sys.executable, "-m", "invoke", "rounds", str(ROUNDS)]
            running.enter_context(
                subprocess.Popen(
                    command,
                    cwd=checkout.folder,
                    env=checkout.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                )
            )
    wrong = []
    for name in (checkout.folder.name for checkout in checkouts):
        built = [line.split(" ", 1) for line in (folder / f"built-by-{name}").read_text().splitlines()]
        assert len(built) == ROUNDS, (folder / f"said-by-{name}").read_text()[-2000:]
        recorded = [(page, page_in(registry, image, digest)) for digest, page in built]
        wrong += [f"{page}: {other}" for page, other in recorded if page != other]
    assert wrong == []
