"""How an app runs: what differs, and what is put over what."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from deploy_tasks import deploy, local_deploy, promote, reuse, rollback
from deploy_tasks.config.apps import split
from deploy_tasks.config.project import Project
from deploy_tasks.deploy_config import DeployConfig, Metrics, Port, differences, merged
from deploy_tasks.deploying.rollback import said_by_flags
from deploy_tasks.options import HOW_IT_RUNS


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ({"replicas": 1}, {"replicas": 2}, ["replicas 1 → 2"]),
        ({"replicas": 3}, {}, ["replicas 3 → default"]),
        ({}, {"domain": "a.example.com"}, ["domain none → a.example.com"]),
        ({"domain": "a"}, {"domains": ["a", "*.b"]}, ["domain a → a *.b"]),
        ({"port": 1}, {"ports": [Port(port=1), Port(port=2, name="admin")]}, ["port 1 → 1 2 (admin)"]),
        ({"health_path": "/a"}, {"health_path": "/b"}, ["health path /a → /b"]),
        ({}, {"tls": False}, ["TLS on → off"]),
        ({}, {"app_class": "non-business"}, ["class business → non-business"]),
        ({}, {"metrics": Metrics(port=9)}, ["metrics none → http, port 9, /metrics, every 30s"]),
        ({"env": {"A": None, "B": None}}, {"env": {"B": "b", "C": "c"}}, ["variables +C -A"]),
        ({"replicas": 1}, {"replicas": 2, "tls": False}, ["replicas 1 → 2", "TLS on → off"]),
    ],
)
def test_what_differs_is_said_in_words(old: dict[str, Any], new: dict[str, Any], says: list[str]) -> None:
    assert differences(DeployConfig(**old), DeployConfig(**new)) == says


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"port": 1}, {"ports": [Port(port=1)]}),
        ({"domain": "a"}, {"domains": ["a"]}),
        ({}, {"tls": True, "app_class": "business"}),
        ({"metrics": Metrics(port=9)}, {"metrics": Metrics(port=9, path="/metrics", scheme="http")}),
        ({"env": {"A": None}}, {"env": {"A": "a value, which nobody can compare"}}),
    ],
)
def test_two_that_mean_the_same_do_not_differ(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert differences(DeployConfig(**one), DeployConfig(**other)) == []


def test_changes_are_put_over_a_config_as_a_server_does_it() -> None:
    before = DeployConfig(ports=[Port(port=1)], domain="a", replicas=3, tls=False, env={"A": None, "B": None})
    assert merged(before, DeployConfig()) == before
    after = merged(before, DeployConfig(port=2, domains=["b", "c"], tls=True, env={"B": "b", "C": "c"}))
    assert after == DeployConfig(port=2, domains=["b", "c"], replicas=3, tls=True, env={"A": None, "B": "b", "C": "c"})


def test_what_is_kept_has_no_values_of_variables() -> None:
    assert DeployConfig(env={"A": "secret"}).for_history == DeployConfig(env={"A": None})


def test_what_is_too_long_for_a_line_of_the_history_is_not_kept() -> None:
    assert DeployConfig(env={f"VARIABLE_{number}": "x" for number in range(500)}).for_history
    assert DeployConfig(env={f"VARIABLE_{number}": "x" for number in range(20_000)}).for_history is None


@pytest.mark.parametrize("task", [reuse, deploy, local_deploy, promote, rollback], ids=str)
def test_each_deploy_has_all_flags_that_say_how_the_app_runs(task: Any) -> None:
    flags = inspect.signature(task.body).parameters.keys() & {*DeployConfig.__struct_fields__}
    assert flags - {"app_class"} == {*HOW_IT_RUNS}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({}, {}),
        ({"port": 81}, {"port": 81}),
        ({"replicas": 0}, {"replicas": 0}),
        ({"domain": "a.example.com"}, {"domain": "a.example.com"}),
        ({"domain": "a.example.com,b.example.com"}, {"domains": ["a.example.com", "b.example.com"]}),
        ({"health_path": "/up"}, {"health_path": "/up"}),
        ({"app_class": "non-business"}, {"app_class": "non-business"}),
        ({"tls": True}, {"tls": True}),
        ({"tls": False}, {"tls": False}),
        ({"env": ["A=1"]}, {"env": {"A": "1"}}),
    ],
)
def test_a_rollback_changes_what_flags_say_and_nothing_else(
    tmp_path: Path, flags: dict[str, Any], said: dict[str, Any]
) -> None:
    configured = {"port": 80, "replicas": 5, "domain": "c.example.com", "health_path": "/c", "env": {"C": "3"}}
    settings = Project(tmp_path, split(configured), {}, None).load(None, flags)
    assert said_by_flags(settings, flags.get("env", [])) == DeployConfig(**said)
