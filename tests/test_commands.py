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
        (("invoke", "deploy."), "invoke builder, invoke ship", "invoke builder, invoke ship"),
        (("invoke", "deploy."), "invoke wait; then: invoke reuse.", "invoke deploy.wait; then: invoke deploy.reuse."),
    ],
)
def test_tasks_are_named_as_they_are_called(
    monkeypatch: pytest.MonkeyPatch, called: tuple[str, str], text: str, shown: str
) -> None:
    monkeypatch.setattr(commands, "_called", called)
    assert commands.as_called(text) == shown


def test_every_task_that_a_message_may_name_is_known() -> None:
    named = {*ns.task_names, *(alias for aliases in ns.task_names.values() for alias in aliases)}
    assert set(commands._NAMES.split("|")) == named - {"sandbox", "demo"}


def test_the_collection_is_that_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["invoke", "--dry", "deploy.build", "--app", "x.build", "deploy.reuse"])
    commands.learn_from("build")
    assert commands.as_called("invoke wait").endswith(" deploy.wait")
