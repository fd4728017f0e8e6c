"""What is built here is recorded as a commit only where it is that commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.engine import FakeEngine
from tests.project import Project
from tests.sandboxes import SandboxProcess


@pytest.mark.parametrize("configuration", ["status.showUntrackedFiles=no", "diff.ignoreSubmodules=all"])
def test_changes_that_the_users_git_hides_are_changes(
    project: Project, sandbox: SandboxProcess, tmp_path: Path, configuration: str
) -> None:
    inner = Project.make(tmp_path / "inner")
    project.git("-c", "protocol.file.allow=always", "submodule", "add", "--quiet", str(inner.folder), "inner")
    project.commit("a submodule")
    project.push()
    project.git("config", *configuration.split("="))
    changed = "new.txt" if "Untracked" in configuration else "inner/page.html"
    project.write(changed, "not committed")
    FakeEngine(project, tmp_path / "engine")
    built = project.invoke("local")
    assert built.returncode == 0, built.stderr
    assert project.record["dirty"] is True


@pytest.mark.parametrize(
    "meanwhile",
    [
        "echo other > page.html",
        "git commit --quiet --allow-empty --message next",
        "echo other > page.html; git commit --quiet --all --message next",
    ],
)
def test_a_change_during_the_build_may_be_in_the_image(
    project: Project, sandbox: SandboxProcess, tmp_path: Path, meanwhile: str
) -> None:
    head = project.head
    build = 'while [ $# -gt 0 ]; do [ "$1" = --iidfile ] && echo sha256:1 > "$2"; shift; done'
    FakeEngine(project, tmp_path / "engine", build=f"(cd {project.folder}; {meanwhile}); {build}")
    built = project.invoke("local")
    assert built.returncode == 0, built.stderr
    assert (project.record["gitRef"], project.record["dirty"]) == (head, True)
