"""What is not loaded at start. Which package may import which is checked by import-linter (pyproject.toml)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import Project, clean_environment

PACKAGE = Path(__file__).parent.parent / "deploy_tasks"
SLOW = {"requests", "urllib3", "rich", "starlette", "uvicorn"}

PULLS_IN_SLOW = {"api/transport.py", "ui/live.py"}


def imports_at_start(path: Path) -> set[str]:
    """The packages outside of the kit that are imported when the module at `path` is loaded."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        is_later = isinstance(node, ast.FunctionDef) or (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        )
        if not is_later:
            todo += ast.iter_child_nodes(node)
    return found


KIT = [path for path in sorted(PACKAGE.rglob("*.py")) if "server" not in path.parts]


@pytest.mark.parametrize("path", KIT, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_what_is_slow_to_import_is_imported_where_it_is_used(path: Path) -> None:
    if path.relative_to(PACKAGE).as_posix() not in PULLS_IN_SLOW:
        assert not imports_at_start(path) & SLOW


@pytest.mark.parametrize("arguments", [["--list"], ["--complete", "--", "invoke re"], ["--help", "reuse"]])
def test_listing_and_completing_load_nothing_slow(project: Project, arguments: list[str]) -> None:
    done = project.run(sys.executable, "-X", "importtime", "-m", "invoke", *arguments)
    assert done.returncode == 0
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert {name for name in loaded if name.startswith("deploy_tasks")} == {
        *(
            "deploy_tasks",
            "deploy_tasks.tasks",
            "deploy_tasks.options",
            "deploy_tasks.invocation",
            "deploy_tasks.invocation.task",
        )
    }
    assert not {name.split(".")[0] for name in loaded} & {*SLOW, "msgspec", "dotenv"}


def test_the_client_is_a_library_that_loads_no_tasks() -> None:
    check = "import sys, deploy_tasks.api.client; print(sorted(m for m in sys.modules if m.startswith('deploy_tasks')))"
    done = subprocess.run(
        [sys.executable, "-c", check], env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert "deploy_tasks.tasks" not in done.stdout
    assert "deploy_tasks.config.settings" not in done.stdout
