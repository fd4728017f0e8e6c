"""Which flags of a call a suggested command repeats."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy_tasks.config.apps import split
from deploy_tasks.config.project import Project
from deploy_tasks.config.settings import Settings
from deploy_tasks.invocation.suggestions import REPEATED, target_flags
from deploy_tasks.state.records import Target
from deploy_tasks.tasks import ns

RECORD = {"app": "shop", "namespace": "own", "image_name": "shop/web", "app_class": "non-business"}


def settings_of(
    folder: Path,
    flags: dict[str, object] | None = None,
    config: dict[str, object] | None = None,
    record: Mapping[str, object] | None = None,
    name: str | None = None,
) -> Settings:
    project = Project(folder, split(config or {}), {}, None)
    return project.load(name, flags or {}).completed(
        {**record, "environment": None} if record else {}, {"app": lambda: "shop"}
    )


def test_a_flag_is_named_again_and_a_setting_of_a_file_is_not(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, {"namespace": "own"}, {"app": "web", "image_name": "shop/web"})
    assert target_flags(settings) == {"namespace": "own"}
    assert target_flags(settings, without_record=True) == {"namespace": "own"}


def test_what_is_recorded_is_named_only_for_a_command_without_that_record(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, record=RECORD)
    assert target_flags(settings) == {}
    assert target_flags(settings, without_record=True) == RECORD


def test_another_target_is_named_where_it_differs_from_the_settings(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, config={"namespace": "own", "image_name": "shop/web"})
    target = Target(app="shop", namespace="own", image_name="other", image_tag="v1", app_class="business")
    assert target_flags(settings, target) == {"image_name": "other"}


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"app_class": "non-business"}, {"app_class": "non-business"}),
        ({"app_class": "non-business", "namespace": "own"}, {"app_class": "non-business", "namespace": "own"}),
    ],
)
def test_a_namespace_that_the_app_class_decides_is_not_named_with_that(
    tmp_path: Path, flags: dict[str, object], named: dict[str, object]
) -> None:
    assert target_flags(settings_of(tmp_path, flags)) == named


def test_without_the_flag_of_its_app_class_a_command_needs_the_namespace(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, {"app_class": "non-business"})
    assert target_flags(settings, keys=["namespace"]) == {"namespace": settings.namespace}
    recorded = settings_of(tmp_path, record={**RECORD, "namespace": settings.namespace})
    assert target_flags(recorded, keys=["namespace"]) == {}
    assert target_flags(recorded, keys=["namespace"], without_record=True) == {"namespace": settings.namespace}


def test_an_app_of_the_table_is_named_as_the_table_names_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, config={"apps": {"a": {"app": "shop-a"}, "b": {}}}, name="a")
    assert target_flags(settings) == {"app": "a"}


def test_a_suggested_task_has_every_flag_that_it_repeats() -> None:
    for task, repeated in REPEATED.items():
        assert {*repeated} <= ns[task].flags.keys(), task


@pytest.mark.parametrize("task", ["deploy", "local-deploy", "promote", "rollback"])
def test_a_suggested_reuse_repeats_all_that_another_deploy_says_of_how_the_app_runs(task: str) -> None:
    """A new flag must be repeated, or stand here with those that say how the call runs."""
    of_call = {"environment", "yes", "json", "lock_timeout", "jobs"}
    assert ns["reuse"].flags.keys() & ns[task].flags.keys() == {*REPEATED["reuse"], *of_call}
