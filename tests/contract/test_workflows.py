"""What workflows may do: those of this repository, and the one that docs/recipes/github-actions.md shows."""

from __future__ import annotations

import re
from typing import Any

import pytest
from invoke.vendor.yaml import safe_load

from deploy_tasks import __version__
from tests.documents import PAGES, ROOT, blocks

_FILES = [block for block in blocks(PAGES["docs/recipes/github-actions.md"].read_text()) if block.file]
RECIPE = next(block.text for block in _FILES if str(block.file).startswith(".github/workflows/"))
WORKFLOWS = {path.name: path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml")} | {
    "the recipe": RECIPE
}


def jobs(workflow: str) -> dict[str, Any]:
    return dict(safe_load(workflow)["jobs"])  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_action_is_pinned_by_its_commit_with_the_version_beside_it(name: str) -> None:
    used = re.findall(r"uses: (?!\./)(.*)", WORKFLOWS[name])
    assert used
    for action in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
    assert len(set(used)) == len({action.partition("@")[0] for action in used}), "one version of each"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_do_no_more_than_read_unless_a_job_says_so(name: str) -> None:
    assert re.search(r"^permissions:( \{\}|\n  contents: read)$", WORKFLOWS[name], re.MULTILINE)


def test_the_job_that_can_publish_runs_no_code_but_the_two_actions_for_it() -> None:
    with_token = {name: job for name, job in jobs(WORKFLOWS["release.yml"]).items() if "id-token" in str(job)}
    assert list(with_token) == ["publish"]
    publish = with_token["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert [step["uses"].partition("@")[0] for step in publish["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]


def test_the_recipe_gives_secrets_to_the_steps_that_use_them_alone() -> None:
    for job in jobs(RECIPE).values():
        assert "secrets." not in str({key: value for key, value in job.items() if key != "steps"})
        for step in job["steps"]:
            assert "secrets." not in str(step) or step["run"].startswith("invoke ")
            assert "${{" not in step.get("run", ""), "a value in the text of a script is run"


def test_the_recipe_installs_this_version() -> None:
    assert set(re.findall(r"pip install (.*)", RECIPE)) == {f"deploy-tasks=={__version__}"}
