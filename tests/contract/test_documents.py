"""What README.md and docs/ say is what the code does: every command on them is run, here or where engines are."""

from __future__ import annotations

import re
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from invoke.collection import Collection
from invoke.parser.parser import Parser
from invoke.program import Program
from invoke.vendor.yaml import safe_load

import tasks
from deploy_tasks import ns
from docs.pages import pages
from tests.documents import PAGES, ROOT, blocks, commands, follow, inline_commands, with_programs
from tests.engine.test_documents import WITH_ENGINES
from tests.project import Project
from tests.proxies import proxy_to
from tests.sandboxes import SandboxProcess
from tests.workflows import run_workflow

# Pages whose commands are run here; those of WITH_ENGINES need a container engine; the others have none to run.
HERE = {
    "docs/exit-codes.md",
    "docs/recipes/own-tasks.md",
}
# What builds or tests the whole of it, so it cannot be run by a test: CI does.
BY_CI = {"make demo", "make test", "make lint"}


@pytest.fixture
def myapp(tmp_path: Path) -> Project:
    """A pushed repository with the name that the pages use."""
    return with_programs(Project.make(tmp_path / "myapp"), tmp_path / "home")


@pytest.fixture
def with_sandbox(myapp: Project, _full_sandbox: SandboxProcess) -> Project:
    myapp.environment.update(_full_sandbox.settings, DEPLOY_PORT="3000")
    return myapp


@pytest.mark.parametrize("page", sorted(HERE))
def test_a_pages_commands_do_what_it_shows(page: str, with_sandbox: Project) -> None:
    if page == "docs/exit-codes.md":
        with_sandbox.invoke("build")
    follow(page, with_sandbox)


def test_the_page_on_environments(myapp: Project, tmp_path: Path) -> None:
    staging, production = SandboxProcess(tmp_path / "staging"), SandboxProcess(tmp_path / "production")
    follow("docs/recipes/environments.md", myapp, _two_clusters("docs/recipes/environments.md", staging, production))
    digests = {sandbox.app("apps", "myapp")["image"].partition("@")[2] for sandbox in (staging, production)}
    assert len(digests) == 1
    production.stop()
    staging.stop()


def test_the_page_on_promotion(myapp: Project, tmp_path: Path) -> None:
    staging = SandboxProcess(tmp_path / "staging")
    production = SandboxProcess(tmp_path / "production", "--registry", staging.registry)
    myapp.environment.update(DEPLOY_API_KEY_STAGING=staging.key, DEPLOY_API_KEY_PRODUCTION=production.key)
    follow("docs/recipes/promotion.md", myapp, _two_clusters("docs/recipes/promotion.md", staging, production))
    production.stop()
    staging.stop()


def _two_clusters(page: str, staging: SandboxProcess, production: SandboxProcess) -> dict[str, str]:
    """What stands on a page about two clusters, and what it means here."""
    hosts = {"deploy.staging.example.com": staging, "deploy.example.com": production}
    meant = {
        **{f"https://{host}": sandbox.url for host, sandbox in hosts.items()},
        **{host: sandbox.url.removeprefix("http://") for host, sandbox in hosts.items()},
        "registry.staging.example.com": staging.registry,
        "registry.example.com": production.registry,
        "the-key-of-staging": staging.key,
        "the-key-of-production": production.key,
    }
    text, found = PAGES[page].read_text(), {}
    for there, here in meant.items():
        if there in text:
            text, found[there] = text.replace(there, here), here
    return found


def test_the_sandboxs_page(myapp: Project) -> None:
    myapp.environment["DEPLOY_PORT"] = "3000"
    follow("docs/sandbox.md", myapp)


def test_the_servers_page(myapp: Project) -> None:
    myapp.environment["DEPLOY_PORT"] = "3000"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    follow("docs/server.md", myapp, {"8080": str(port)})


def test_the_page_on_proxies(myapp: Project, tmp_path: Path) -> None:
    # It is asked for as deploy.example.com, which is no name of this machine.
    sandbox = SandboxProcess(tmp_path / "sandbox", "--host", "0.0.0.0")  # noqa: S104
    trusted = trustme.CA()
    trusted.cert_pem.write_to_path(str(tmp_path / "company.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trusted.issue_cert("deploy.example.com").configure_cert(context)
    myapp.environment.update(sandbox.settings, DEPLOY_PORT="3000", DEPLOY_API_URL="https://deploy.example.com")
    with proxy_to(sandbox.url.removeprefix("http://"), context) as (proxy, asked):
        here = {
            "http://proxy.example.com:3128": proxy,
            "/etc/ssl/certs/company.pem": str(tmp_path / "company.pem"),
        }
        follow("docs/recipes/proxy.md", myapp, here)
    sandbox.stop()
    assert set(asked) == {"deploy.example.com:443"}
    assert (myapp.folder / ".deploy" / "build-id.json").exists()


def test_the_workflow_hands_one_digest_from_staging_to_production(myapp: Project, tmp_path: Path) -> None:
    page = "docs/recipes/github-actions.md"
    staging = SandboxProcess(tmp_path / "first")
    production = SandboxProcess(tmp_path / "second", "--registry", staging.registry)
    text = PAGES[page].read_text()
    for there, here in _two_clusters(page, staging, production).items():
        text = text.replace(there, here)
    configuration, workflow = (block for block in blocks(text) if block.file)
    myapp.write("invoke.yaml", configuration.text)
    myapp.commit("Name the clusters")
    myapp.push()
    secrets = {
        "secrets.DEPLOY_API_KEY_STAGING": staging.key,
        "secrets.DEPLOY_API_KEY_PRODUCTION": production.key,
        "secrets.DEPLOY_GIT_TOKEN": "",  # what GitHub makes of one that is not set
    }
    load: Any = safe_load
    printed = "".join(run_workflow(load(workflow.text), myapp, tmp_path, secrets))
    images = [sandbox.app("apps", "myapp")["image"] for sandbox in (staging, production)]
    assert images[0] == images[1]
    assert any(line.startswith("::group::") for line in printed.splitlines())
    assert staging.key not in printed
    assert production.key not in printed
    production.stop()
    staging.stop()


def test_every_page_with_commands_is_run() -> None:
    with_commands = {
        page
        for page, path in PAGES.items()
        for block in blocks(path.read_text())
        if block.language in ("sh", "console")
    }
    alone = {
        "docs/recipes/environments.md",
        "docs/recipes/promotion.md",
        "docs/sandbox.md",
        "docs/server.md",
        "docs/recipes/proxy.md",
        "docs/recipes/github-actions.md",
    }
    assert with_commands <= HERE | WITH_ENGINES.keys() | alone | {"CONTRIBUTING.md"}


def test_what_no_test_can_run_is_run_by_ci() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    for command in BY_CI:
        assert re.search(rf"\b{command}$", script, re.MULTILINE), command
    for block in blocks(PAGES["CONTRIBUTING.md"].read_text()):
        if block.language == "console":
            assert {re.split(r" +#| TESTS=", command.text)[0] for command in commands(block)} <= BY_CI


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_command_within_a_sentence_is_one_that_invoke_understands(page: str) -> None:
    known = [*tasks.ns.to_contexts(), *Collection(deploy=ns).to_contexts()]
    for words in inline_commands(PAGES[page].read_text()):
        core = Parser(initial=Program().initial_context, ignore_unknown=True).parse_argv(words)
        Parser(contexts=known).parse_argv(core.unparsed)


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_page_that_is_written_is_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == pages()[name], "invoke pages"


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_link_leads_somewhere(page: str) -> None:
    path = PAGES[page]
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target
