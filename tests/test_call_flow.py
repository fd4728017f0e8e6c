"""A reader can follow a call: from a task to the bytes that are sent, by names and imports alone."""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "deploy_tasks"
FILES = {
    ".".join(("deploy_tasks", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}

Place = tuple[str, str]
"""A module, and the name of a function, a class or a value of it."""


def definitions(module: str) -> dict[str, ast.stmt]:
    """The functions, classes and values of a module by their names."""
    found: dict[str, ast.stmt] = {}
    for statement in TREES[module].body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            found[statement.name] = statement
        if isinstance(statement, ast.Assign):
            found |= {target.id: statement for target in statement.targets if isinstance(target, ast.Name)}
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            found[statement.target.id] = statement
    return found


def imported(module: str, tree: ast.AST) -> dict[str, Place]:
    """What each name means that `tree` imports from the kit: a module, or something of one."""
    is_package = FILES[module].name == "__init__.py"
    found: dict[str, Place] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = module.split(".")
            start = parts[: len(parts) - node.level + is_package]
            source = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found[alias.asname or alias.name] = (inner, "") if inner in FILES else (source, alias.name)
    return found


def mentioned(place: Place) -> Iterator[Place]:
    """What the code at `place` mentions of the kit. A class mentions what its methods do."""
    module, name = place
    code = definitions(module)[name]
    top = ast.Module([node for node in TREES[module].body if not isinstance(node, ast.FunctionDef)], [])
    names = {own: (module, own) for own in definitions(module)} | imported(module, top) | imported(module, code)
    for node in ast.walk(code):
        if isinstance(node, ast.Name) and names.get(node.id, ("", ""))[1]:
            yield names[node.id]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            source, inner = names.get(node.value.id, ("", "-"))
            if source and not inner and node.attr in definitions(source):
                yield source, node.attr


def path(start: Place, end: Place) -> list[Place]:
    """The shortest way from `start` to `end`; empty where there is none."""
    came_from: dict[Place, Place | None] = {start: None}
    to_look_at = deque([start])
    while to_look_at:
        here = to_look_at.popleft()
        if here == end:
            way: list[Place] = []
            step: Place | None = here
            while step:
                way.insert(0, step)
                step = came_from[step]
            return way
        for place in mentioned(here):
            if place not in came_from and place[1] in definitions(place[0]):
                came_from[place] = here
                to_look_at.append(place)
    return []


def test_the_flag_app_class_can_be_followed_from_the_task_to_the_request() -> None:
    command = ("deploy_tasks.deploying.reuse", "reuse")
    assert command in mentioned(("deploy_tasks.tasks", "reuse"))
    assert 0 < len(path(command, ("deploy_tasks.deploying.deploy_plan", "plan_of"))) <= 5
    config = ("deploy_tasks.deploying.app_config", "configured")
    assert 0 < len(path(command, config)) <= 5
    assert 0 < len(path(config, ("deploy_tasks.deploy_config", "DeployConfig"))) <= 3


def test_the_request_can_be_followed_to_the_encoder() -> None:
    way = path(("deploy_tasks.tasks", "reuse"), ("deploy_tasks.encoding", "encode"))
    assert way, "reuse ends in a request whose body is encoded"
    assert path(("deploy_tasks.api.client", "DeployClient"), ("deploy_tasks.encoding", "encode"))


@pytest.mark.parametrize(
    "name",
    ["build", "wait", "digest", "reuse", "rollback", "local", "local_deploy", "deploy", "promote", "logs", "status"],
)
def test_every_task_for_apps_hands_its_command_to_run(name: str) -> None:
    assert path(("deploy_tasks.tasks", name), ("deploy_tasks.invocation.run", "run"))


@pytest.mark.parametrize("module", sorted(FILES.keys() - {"deploy_tasks"}))
def test_no_code_is_found_by_a_string(module: str) -> None:
    """The package's `__init__` may: it is lazy."""
    names = {node.id for node in ast.walk(TREES[module]) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(TREES[module]) if isinstance(node, ast.Attribute)}
    assert not (names | attributes) & {"import_module", "__import__", "globals", "eval", "exec"}
