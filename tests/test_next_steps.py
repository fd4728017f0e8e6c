"""A command that a message names can be pasted and run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from invoke.collection import Collection
from invoke.config import Config
from invoke.context import Context
from invoke.program import Program
from invoke.tasks import task

from deploy_tasks import next_steps
from deploy_tasks.invocation.command import Results
from deploy_tasks.invocation.ending import task_boundary
from deploy_tasks.next_steps import CommandLine, Step, advice, later_calls
from deploy_tasks.tasks import build, ns, reuse, wait

PACKAGE = Path(next_steps.__file__).parent


@contextmanager
def using(line: CommandLine) -> Iterator[None]:
    """Within the block, steps are written for `line`."""
    token = next_steps.current_command_line.set(line)
    yield
    next_steps.current_command_line.reset(token)


def test_flags_are_written_as_a_person_would_type_them() -> None:
    flags = {
        "app": None,
        "domain": ("*.a.b", "a.b"),
        "cache": False,
        "json": True,
        "env": ["A=b c", "B"],
        "image_tag": "",
    }
    assert str(Step("build", flags)) == (
        "invoke build --domain '*.a.b' --domain a.b --no-cache --json --env 'A=…' --env B --image-tag ''"
    )


def test_the_file_with_the_settings_of_a_cluster_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_ENV_FILE", "my staging.env")
    assert str(Step("wait")) == "DEPLOY_ENV_FILE='my staging.env' invoke wait"


def test_the_environment_is_named_with_the_first_task_that_has_one() -> None:
    with using(CommandLine(environment="staging")):
        assert (
            str(Step("build", {"app": "a"}, then=Step("reuse"))) == "invoke build --environment staging --app a reuse"
        )
        both = Step("build", {"git_ref": "abc"}, then=Step("reuse", {"replicas": 3}))
        assert str(both) == "invoke build --environment staging --git-ref abc reuse --replicas 3"
        assert str(Step("reuse", {"environment": "production"})) == "invoke reuse --environment production"
        assert str(Step("reuse", {"environment": None})) == "invoke reuse"
        assert str(Step("init")) == "invoke init"
    assert str(Step("build")) == "invoke build"


def test_no_environment_is_selected_where_the_shell_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_ENVIRONMENT", "")
    assert str(Step("build")) == "DEPLOY_ENVIRONMENT= invoke build"
    assert str(Step("wait", {"environment": None})) == "invoke wait", "of another run, whose environment is said apart"
    with using(CommandLine(environment="staging")):
        assert str(Step("build")) == "invoke build --environment staging"


def test_a_dry_run_is_repeated_as_a_dry_run() -> None:
    assert str(Step("reuse", {"app": "a"}, is_dry=True)) == "invoke --dry reuse --app a"


def test_advice_is_sentences_and_commands_that_can_be_pasted() -> None:
    steps: list[Step | str] = [
        "Set DEPLOY_PORT.",
        Step("build", says="Build it"),
        Step("local"),
        Step("wait", {"job": "b-1"}, "Or wait"),
    ]
    assert advice(steps) == "Set DEPLOY_PORT. Build it: invoke build, or invoke local. Or wait: invoke wait --job b-1"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What a message of `build` names as the way to wait and to go on; nothing else is done."""
    found: list[str] = []

    @wraps(build.body)
    def named(_c: Context, *_: Any, **__: Any) -> Results[None]:
        found.append(str(Step("wait", continues=True)))
        return Results({"shop": None})

    monkeypatch.setattr(build, "body", named)
    yield found


def of_apps(*, dedupe: bool = True) -> Collection:
    """A developer's collection, with tasks of their own."""

    @task(positional=["word"])
    def notify(c: Context, word: str, token: str = "", loud: bool = True) -> None:
        """Tells a channel."""

    @task
    def ship(c: Context) -> None:
        """Builds."""
        build(c)

    @task(pre=[build])
    def release(c: Context) -> None:
        """Is done after a build."""

    renamed = Collection("renamed", build)
    renamed.add_task(wait, name="await-build")
    return Collection(
        notify, ship, release, docs=ns, other=Collection(inner=ns), renamed=renamed, alone=Collection(build)
    )


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("docs.build", "invoke docs.wait"),
        ("--dry docs.build --app x.build", "invoke docs.wait"),
        ("other.inner.build", "invoke other.inner.wait"),
        ("renamed.build", "invoke renamed.await-build"),
        ("alone.build", "invoke docs.wait"),
        ("docs.build --if-needed docs.reuse", "invoke docs.wait docs.reuse"),
        ("docs.build other.inner.reuse-deploy --port 80", "invoke docs.wait other.inner.reuse --port 80"),
        (
            "docs.build docs.reuse --env A=s3cret --no-tls --no-follow",
            "invoke docs.wait docs.reuse --no-tls --env 'A=…' --no-follow",
        ),
        ("notify hi docs.build", "invoke docs.wait"),
        ("docs.build docs.wait docs.reuse", "invoke docs.wait docs.reuse"),
        ("docs.build notify hi --no-loud docs.reuse", "invoke docs.wait notify --word=… --no-loud docs.reuse"),
        ("ship docs.reuse", "invoke docs.wait"),
        ("release", "invoke docs.wait"),
        ("-f x.yaml docs.build", "invoke --config x.yaml docs.wait"),
    ],
)
def test_tasks_are_named_as_invoke_finds_them(said: list[str], typed: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "empty" / "x.yaml").write_text("run: {echo: false}")
    Program(namespace=of_apps(), binary="inv[oke]").run(["invoke", *typed.split()], exit=False)
    assert said == [named]


def test_a_program_of_somebodys_own_is_named_by_its_name(said: list[str]) -> None:
    Program(namespace=ns, binary="shipit").run(["/usr/bin/shipit", "build", "reuse"], exit=False)
    assert said == ["shipit wait reuse"]


def test_a_task_that_is_in_no_collection_is_named_for_the_kits_own_program(said: list[str]) -> None:
    Program(namespace=Collection(build), binary="inv[oke]").run(["invoke", "build"], exit=False)
    assert said == ["deploy-tasks wait"]


def test_without_a_command_line_the_usual_one_is_named(said: list[str]) -> None:
    build(Context(Config()))
    assert said == ["invoke wait"]


def test_no_name_outlives_its_command_line(said: list[str]) -> None:
    Program(namespace=of_apps(), binary="inv[oke]").run(["invoke", "docs.build"], exit=False)
    assert str(Step("wait")) == "invoke wait"


def test_another_thread_names_the_tasks_of_the_one_whose_context_it_has() -> None:
    found: list[str] = []
    with using(CommandLine("invoke", {"wait": "docs.wait"})):
        context = copy_context()
    context.run(lambda: found.append(str(Step("wait"))))
    assert found == ["invoke docs.wait"]


def test_the_way_into_a_task_knows_its_command_line() -> None:
    with task_boundary(reuse):
        assert later_calls() == ""


@pytest.mark.parametrize(
    "path", sorted({*PACKAGE.rglob("*.py")} - {PACKAGE / "options.py", PACKAGE / "commands" / "demo.py"})
)
def test_no_message_has_a_command_written_out(path: Path) -> None:
    """It would be wrong in a collection of another name; a `Step` writes it. The help is no message, and the
    demo has a project of its own."""
    names = "|".join([*ns.task_names, "reuse-deploy"])
    tree = ast.parse(path.read_text())
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in documents)
    found = [node.value for node in texts if re.search(rf"\binvoke (?:{names})\b(?!\.)", str(node.value))]
    assert found == []
