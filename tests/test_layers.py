"""The arrows of the house (CONTRIBUTING.md): who may import whom, and what is not loaded at start."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy_tasks.tasks import ns
from tests.project import Project, clean_environment

PACKAGE = Path(__file__).parent.parent / "deploy_tasks"
SLOW = {"requests", "urllib3", "rich", "starlette", "uvicorn"}

# The boxes of the picture in CONTRIBUTING.md, and what each may import of ours beside itself.
MAY_IMPORT: dict[str, set[str]] = {
    "the face": {"one call", "settings", "facts"},
    "one call": {"settings", "the API", "the engine", "the state", "telling", "facts"},
    "the tasks": {
        *("one call", "settings", "deciding", "the API", "waiting", "the engine", "the state"),
        *("telling", "facts", "the sandbox"),
    },
    "settings": {"facts"},
    "deciding": {"settings", "the engine", "facts"},
    "the API": {"facts"},
    "waiting": {"facts"},
    "the engine": {"telling", "facts"},
    "the state": {"facts"},
    "telling": {"facts"},
    "facts": set(),
    "the sandbox": set(),
}
# A task names the type of what it returns, which is in the box of what it does.
FOR_TYPES_ALONE = {("tasks", "doctoring")}
# Rooms that can be used as a plain library know nothing of Invoke.
WITHOUT_INVOKE = {
    "client",
    "models",
    "waiting",
    "state",
    "images",
    "git",
    "transport",
    "settings",
    "parsing",
    "console",
    "lock",
    "logs",
    "rollout",
    "history",
}


def modules() -> dict[str, Path]:
    return {path.stem: path for path in PACKAGE.glob("*.py")}


def imports(path: Path, *, at_start: bool = False) -> list[tuple[int, str, list[str]]]:
    """Every import as (dots, module, names); with `at_start` only those that run when the module is loaded."""
    found = []
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", [alias.name for alias in node.names]))
        if isinstance(node, ast.Import):
            found += [(0, alias.name, []) for alias in node.names]
        is_later = isinstance(node, ast.FunctionDef) or (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        )
        if not (at_start and is_later):
            todo += ast.iter_child_nodes(node)
    return found


def ours(path: Path) -> set[str]:
    known = modules().keys() | {"sandbox"}
    found = set()
    for level, module, names in imports(path):
        if level == 1 and module:
            found.add(module.split(".")[0])
        elif level == 1:
            found |= {name if name in known else "" for name in names}
        assert not module.startswith("deploy_tasks"), f"{path.name}: imports of our own are relative"
    return found


def boxes() -> dict[str, list[str]]:
    """The boxes that CONTRIBUTING.md draws, by their titles, with the modules in each."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    lines = text[text.index("```") : text.index("```", text.index("```") + 3)].splitlines()
    found = {}
    for row, line in enumerate(lines):
        for box in re.finditer(r"┌─ ([^─]+) ─+┐", line):
            inside: list[str] = []
            for below in lines[row + 1 :]:
                if below[box.start()] == "└":
                    break
                inside += re.findall(r"[a-z_]+", below[box.start() : box.end()])
            found[box[1]] = inside
    return found


def test_the_picture_has_every_module_in_one_of_at_most_twelve_boxes() -> None:
    drawn = boxes()
    assert len(drawn) <= 12
    assert drawn.keys() == MAY_IMPORT.keys()
    assert sorted(name for names in drawn.values() for name in names) == sorted([*modules(), "sandbox"])


def test_a_box_imports_what_the_plan_lets_it_and_nothing_else() -> None:
    box_of = {name: box for box, names in boxes().items() for name in names}
    arrows: dict[str, set[str]] = {box: set() for box in MAY_IMPORT}
    for name, path in modules().items():
        there = {other for other in ours(path) if (name, other) not in FOR_TYPES_ALONE}
        arrows[box_of[name]] |= {box_of[other or "__init__"] for other in there} - {box_of[name]}
    assert arrows == MAY_IMPORT


@pytest.mark.parametrize("name", sorted(WITHOUT_INVOKE))
def test_a_room_that_serves_as_a_library_knows_nothing_of_invoke(name: str) -> None:
    assert not any(module.split(".")[0] == "invoke" for _, module, _ in imports(modules()[name]))


@pytest.mark.parametrize("path", sorted((PACKAGE / "sandbox").glob("*.py")), ids=lambda path: path.name)
def test_the_sandbox_imports_nothing_of_ours_but_itself(path: Path) -> None:
    for level, module, _ in imports(path):
        assert level < 2, path
        assert not module.startswith("deploy_tasks"), path


@pytest.mark.parametrize("name", sorted(modules().keys() - {"transport", "terminal"}))
def test_what_is_slow_to_import_is_not_imported_at_start(name: str) -> None:
    at_start = {module.split(".")[0] for level, module, _ in imports(modules()[name], at_start=True) if level == 0}
    assert not at_start & SLOW


@pytest.mark.parametrize("arguments", [["--list"], ["--complete", "--", "invoke re"], ["--help", "reuse"]])
def test_listing_and_completing_load_nothing_slow(project: Project, arguments: list[str]) -> None:
    done = project.run(sys.executable, "-X", "importtime", "-m", "invoke", *arguments)
    assert done.returncode == 0
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert {name for name in loaded if name.startswith("deploy_tasks")} == {
        *("deploy_tasks", "deploy_tasks.tasks", "deploy_tasks.task")
    }
    assert not {name.split(".")[0] for name in loaded} & {*SLOW, "msgspec", "dotenv"}


def test_every_task_is_done_in_the_room_that_it_names() -> None:
    declared = (PACKAGE / "tasks.py").read_text()
    named = re.findall(r'^@(?:app|deploy)_task\(\s*"(\w+)".*?^def (\w+)\(', declared, re.MULTILINE | re.DOTALL)
    assert len(named) == len(ns.task_names)
    for room, name in named:
        assert inspect.isfunction(getattr(importlib.import_module(f"deploy_tasks.{room}"), name))


def test_the_client_is_a_library_that_loads_no_tasks() -> None:
    check = "import sys, deploy_tasks.client; print(sorted(m for m in sys.modules if m.startswith('deploy_tasks')))"
    done = subprocess.run(
        [sys.executable, "-c", check], env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert "deploy_tasks.tasks" not in done.stdout
    assert "deploy_tasks.settings" not in done.stdout
