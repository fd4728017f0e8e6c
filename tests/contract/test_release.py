"""`invoke release` of this repository, in a copy of it with an origin beside it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from invoke.vendor.yaml import safe_load

from deploy_tasks import __version__
from tests.project import Project

ROOT = Path(__file__).parent.parent.parent
ENTRY = f"## [{__version__}] - 2026-11-22\n\n### Added\n\n- All of it.\n"
TAG = f"v{__version__}"


@pytest.fixture
def repository(tmp_path: Path) -> Project:
    """This repository, pushed, with a changelog that speaks of its version."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    files = {"tasks.py": (ROOT / "tasks.py").read_text(), ".gitignore": "__pycache__\n"}
    if f"[{__version__}]" not in changelog:
        changelog = changelog.rstrip() + f"\n\n{ENTRY}"
    repository = Project.make(tmp_path / "kit", {**files, "CHANGELOG.md": changelog})
    repository.environment["PYTHONPATH"] = str(ROOT)
    return repository


def release(repository: Project, *words: str) -> subprocess.CompletedProcess[str]:
    return repository.invoke(*words, "release")


def tags(repository: Project) -> str:
    return repository.git("ls-remote", "--tags", "origin")


def test_a_release_is_a_tag_that_says_what_changed(repository: Project) -> None:
    dry = release(repository, "--dry")
    assert dry.returncode == 0, dry.stderr
    assert (tags(repository), repository.git("tag")) == ("", "")
    done = release(repository)
    assert done.returncode == 0, done.stderr
    assert f"refs/tags/{TAG}" in tags(repository)
    assert repository.git("tag", "--list", "--format=%(contents:subject)", TAG) == __version__
    assert "### Added" in repository.git("cat-file", "tag", TAG)
    again = release(repository)
    assert again.returncode == 1
    assert f"{TAG} is released already" in again.stderr


def test_a_dirty_tree_is_not_released(repository: Project) -> None:
    repository.write("page.html", "changed")
    refused = release(repository)
    assert refused.returncode == 1
    assert "the tree is dirty" in refused.stderr
    assert "page.html" in refused.stderr
    assert tags(repository) == ""


@pytest.mark.parametrize("changelog", ["## [Unreleased]\n\n- New\n", f"## [{__version__}] - 2026-11-22\n\n"])
def test_what_the_changelog_does_not_speak_of_is_not_released(repository: Project, changelog: str) -> None:
    repository.write("CHANGELOG.md", f"# Changelog\n\n{changelog}")
    repository.commit("no entry")
    repository.push()
    refused = release(repository)
    assert refused.returncode == 1
    assert f"CHANGELOG.md says nothing of {__version__}" in refused.stderr
    assert tags(repository) == ""


def test_what_is_not_pushed_is_not_released(repository: Project) -> None:
    repository.commit("only here")
    refused = release(repository)
    assert refused.returncode == 1
    assert "HEAD is not what main is at origin" in refused.stderr
    assert tags(repository) == ""


def test_what_is_checked_before_a_commit_is_what_make_lint_checks() -> None:
    hooks = safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]  # type: ignore[no-untyped-call]
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert lint
    recipe = [line.strip().replace("$(BIN)", ".venv/bin") for line in lint[1].splitlines()]
    assert [hook["entry"] for hook in hooks] == recipe


@pytest.mark.parametrize("workflow", ["ci.yml", "release.yml"])
def test_a_workflow_runs_what_is_there(workflow: str) -> None:
    jobs = safe_load((ROOT / ".github" / "workflows" / workflow).read_text())["jobs"]  # type: ignore[no-untyped-call]
    steps = [step["run"] for job in jobs.values() for step in job.get("steps", []) if "run" in step]
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in (line.split() for line in steps):
        if words[0] == "make":
            assert words[1] in targets
        elif "/" in words[0]:
            assert (ROOT / words[0]).exists() and shutil.which(str(ROOT / words[0]))
    assert all(need in jobs for job in jobs.values() for need in _needs(job))


def _needs(job: dict[str, list[str] | str]) -> list[str]:
    needs = job.get("needs", [])
    return needs if isinstance(needs, list) else [needs]
