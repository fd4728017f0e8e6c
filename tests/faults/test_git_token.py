"""A git token goes over plain http to no other machine than this one."""

from __future__ import annotations

import json

import pytest

from tests.faults.api import FaultyApi
from tests.project import Project

TOKEN = "canary-token"


@pytest.mark.parametrize(
    "url", ["http://git.example.com/team/shop", "HTTP://git.example.com:8080/shop", "http://[::2]/shop"]
)
@pytest.mark.parametrize("dry", [[], ["--dry"]], ids=["", "dry"])
def test_a_git_token_for_a_repository_behind_plain_http_is_refused(
    shop: Project, api: FaultyApi, url: str, dry: list[str]
) -> None:
    done = shop.invoke(*dry, "build", "--repo-url", url, DEPLOY_GIT_TOKEN=TOKEN)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "over plain http, where others can read it. Nothing was sent. Use https:// in the repository URL" in line
    assert TOKEN not in line
    assert api.summary == "none"


@pytest.mark.parametrize("url", ["https://git.example.com/shop", "http://localhost:3000/shop", "http://[::1]/shop"])
def test_a_git_token_goes_over_https_and_to_this_machine(shop: Project, api: FaultyApi, url: str) -> None:
    done = shop.invoke("build", "--no-wait", "--repo-url", url, DEPLOY_GIT_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert json.loads(api.requests[0].body)["gitToken"] == TOKEN


def test_a_public_repository_may_be_behind_plain_http(shop: Project, api: FaultyApi) -> None:
    done = shop.invoke("build", "--no-wait", "--repo-url", "http://git.example.com/shop")
    assert done.returncode == 0, done.stderr
    assert "gitToken" not in json.loads(api.requests[0].body)
