"""The cause of an error: shown where it is asked for, without secrets, and nowhere else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import deploy_tasks
from tests.project import Project
from tests.sandboxes import SandboxProcess

PACKAGE = Path(deploy_tasks.__file__).parent


@pytest.mark.parametrize(("flags", "variables"), [([], {"DEPLOY_DEBUG": "1"}), (["-d"], {})], ids=["variable", "flag"])
def test_causes_are_shown_where_they_are_asked_for(
    project: Project, sandbox: SandboxProcess, flags: list[str], variables: dict[str, str]
) -> None:
    project.write(".deploy/build-id.json", '{"app": "shop", "buildId": 7}')
    done = project.invoke(*flags, "reuse", **variables)
    assert done.returncode == 10
    assert "msgspec.ValidationError: Expected `str" in done.stderr
    assert "The above exception was the direct cause of the following exception" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"{project.folder}/.deploy/build-id.json is not a state file")
    assert sandbox.key not in done.stderr


@pytest.mark.parametrize(("flags", "variables"), [([], {"DEPLOY_DEBUG": "1"}), (["-d"], {})], ids=["variable", "flag"])
def test_no_cause_is_a_workflow_command(
    project: Project, sandbox: SandboxProcess, flags: list[str], variables: dict[str, str]
) -> None:
    project.write("##[error]x.json", '{"app": "shop", "buildId": 7}')
    done = project.invoke(*flags, "reuse", GITHUB_ACTIONS="true", DEPLOY_STATE_FILE="##[error]x.json", **variables)
    assert done.returncode == 10
    ours = [line for line in done.stderr.splitlines() if line.startswith("::error title=reuse failed::")]
    others = [line for line in done.stderr.splitlines() if line not in ours]
    assert len(ours) == 1
    assert not [line for line in others if line.lstrip().startswith("::") or "##[" in line]


def test_no_cause_is_shown_where_nobody_asks(project: Project, sandbox: SandboxProcess) -> None:
    project.write(".deploy/build-id.json", '{"app": "shop", "buildId": 7}')
    done = project.invoke("reuse")
    assert done.returncode == 10
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_a_cause_is_hidden_only_with_a_reason_beside_it(path: Path) -> None:
    lines = path.read_text().splitlines()
    raised = (node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, ast.Raise))
    for node in raised:
        if isinstance(node.cause, ast.Constant) and node.cause.value is None:
            above = "\n".join(lines[max(0, node.lineno - 6) : node.lineno])
            assert "# Without the cause: " in above, f"{path.name}:{node.lineno}"
