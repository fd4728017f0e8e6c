"""A command that a message names is one that can be run."""

from __future__ import annotations

import pytest

from deploy_tasks import commands
from deploy_tasks.tasks import ns


@pytest.mark.parametrize(
    ("called", "text", "shown"),
    [
        (("invoke", ""), "pick it up: invoke wait --app a", "pick it up: invoke wait --app a"),
        (("invoke", "deploy."), "pick it up: invoke wait --app a", "pick it up: invoke deploy.wait --app a"),
        (("deploy-tasks", ""), "again: invoke --dry local-deploy", "again: deploy-tasks --dry local-deploy"),
        (("invoke", "ops.deploy."), "begin: invoke build reuse", "begin: invoke ops.deploy.build ops.deploy.reuse"),
        (("deploy-tasks", ""), "builds /srv/invoke build at", "builds /srv/invoke build at"),
        (("invoke", "deploy."), "invoke builder, invoke ship", "invoke builder, invoke ship"),
        (("invoke", "deploy."), "invoke wait; then: invoke reuse.", "invoke deploy.wait; then: invoke deploy.reuse."),
    ],
)
def test_tasks_are_named_as_they_are_called(
    monkeypatch: pytest.MonkeyPatch, called: tuple[str, str], text: str, shown: str
) -> None:
    monkeypatch.setattr(commands, "_called", called)
    assert commands.as_called(text) == shown


def test_flags_are_written_as_a_person_would_type_them() -> None:
    flags = {
        "app": None,
        "domain": ("*.a.b", "a.b"),
        "cache": False,
        "json": True,
        "env": ["A=b c", "B"],
        "image_tag": "",
    }
    assert commands.with_flags("invoke build", flags) == (
        "invoke build --domain '*.a.b' --domain a.b --no-cache --json --env 'A=…' --env B --image-tag ''"
    )


def test_every_task_that_a_message_may_name_is_known() -> None:
    named = {*ns.task_names, *(alias for aliases in ns.task_names.values() for alias in aliases)}
    assert set(commands._NAMES.split("|")) == named - {"sandbox", "demo"}


@pytest.mark.parametrize(
    ("words", "called"),
    [
        ("--dry deploy.build --app x.build", "deploy.wait"),
        ("-e deploy.build", "deploy.wait"),
        ("check --all deploy.build", "wait"),
        ("-c ops.tasks ops.deploy.local-deploy", "ops.deploy.wait"),
        ("build --dockerfile Dockerfile.build", "wait"),
        ("reuse --domain app.reuse", "wait"),
        ("ship --file app.reuse", "wait"),
        ("--timeout=3 deploy.reuse", "deploy.wait"),
    ],
)
def test_the_collection_is_that_of_the_command_line(monkeypatch: pytest.MonkeyPatch, words: str, called: str) -> None:
    monkeypatch.setattr("sys.argv", ["invoke", *words.split()])
    commands.learn()
    assert commands.as_called("invoke wait").split()[-1] == called
