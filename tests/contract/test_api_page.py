"""What docs/deploy-api.md says is sent is what is sent."""

from __future__ import annotations

import json
import re
from typing import Any

from deploy_tasks.api import client
from deploy_tasks.api import polling as waiting
from deploy_tasks.server.app import FEATURES, create_app
from tests.documents import PAGES, blocks
from tests.project import Project, dry_request
from tests.sandboxes import SandboxProcess

PAGE = PAGES["docs/deploy-api.md"].read_text()


def shown() -> list[dict[str, Any]]:
    """The requests that the page shows: a build, then a deploy."""
    return [json.loads(block.text) for block in blocks(PAGE) if block.language == "json"]


def test_a_build_is_asked_for_as_the_page_shows(project: Project, sandbox: SandboxProcess) -> None:
    build, _ = shown()
    url = "https://github.com/org/myapp"
    words = ["--app", "myapp", "--repo-url", url, "--git-ref", build["gitRef"]]
    assert dry_request(project.invoke("--dry", "build", *words)) == build


def test_a_deploy_is_asked_for_as_the_page_shows(project: Project, sandbox: SandboxProcess) -> None:
    _, deploy = shown()
    flags = ["--app=myapp", "--replicas=2", "--domain=myapp.example.com", "--health-path=/health"]
    assert dry_request(project.invoke("--dry", "reuse", "--build-id", deploy["buildId"], *flags)) == deploy


def test_every_field_that_the_page_names_can_be_sent(project: Project, sandbox: SandboxProcess) -> None:
    named = re.findall(r"^Also.*?: (.*)$", PAGE, re.MULTILINE)
    of_build, of_deploy = (set(re.findall(r"`(\w+)`", text)) for text in named)
    flags = ["--image-name=i", "--dockerfile=D", "--build-context=c", "--git-ref=v1"]
    project.environment["DEPLOY_GIT_TOKEN"] = "a-token-to-read"
    assert of_build <= dry_request(project.invoke("--dry", "build", *flags)).keys()
    project.write(
        "invoke.yaml",
        "deploy:\n  domains: [a.example.com, b.example.com]\n  ports: [{port: 1, name: a}]\n  metrics: {port: 2}\n",
    )
    del project.environment["DEPLOY_PORT"]
    digest = f"sha256:{64 * 'a'}"
    deploy = dry_request(project.invoke("--dry", "reuse", "--build-id", digest, "--no-tls", "--env", "A=b"))
    assert of_deploy - {"port", "domain", "deployConfig"} <= deploy["deployConfig"].keys()


def test_the_page_names_every_request_that_the_server_answers() -> None:
    unused: Any = None
    operations = create_app(unused, unused, unused, unused, unused).operations
    served = {(operation.method, re.sub(r"{.*?}", "*", operation.path)) for operation in operations}
    named = {(method, re.sub(r"<\w+>", "*", path)) for method, path in re.findall(r"`([A-Z]+) (/[^`?]*)", PAGE)}
    assert served | {("HEAD", "/build/*/logs")} == named


def test_the_page_names_every_feature_that_the_server_lists() -> None:
    assert set(FEATURES.split(", ")) == set(re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE))


def test_the_page_on_reliability_has_the_slices_of_a_wait() -> None:
    slices = f"in slices of {waiting.SLICE_SECONDS:g} s, each read with {client._SPARE_SECONDS:g} s to spare"
    assert slices in PAGES["docs/reliability.md"].read_text()
