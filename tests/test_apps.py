"""The table of apps: which apps a call means, what each app has, and what is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from invoke.vendor.yaml import safe_load

from deploy_tasks.config.apps import SEVERAL, Table, check_conflicts, check_flags_of_several, split
from deploy_tasks.config.project import Project, SelectedApps
from deploy_tasks.config.schema import SETTINGS
from deploy_tasks.config.settings import Settings
from deploy_tasks.config.sources import Source
from deploy_tasks.config.values import Metrics, Port
from deploy_tasks.errors import (
    BuildFailed,
    DeployError,
    Locked,
    MayHaveStarted,
    RolloutFailed,
    SettingsError,
    SomeFailed,
)
from deploy_tasks.state.files import State

ROOT = Path(__file__).parent.parent
TABLE_OF_THREE: Table = {
    "backend": {"app": "shop-backend"},
    "frontend": {"app": "frontend"},
    "mcp-agent": {"app": "mcp-agent"},
}


def settings(
    folder: Path,
    config: dict[str, Any],
    name: str,
    environ: dict[str, str] | None = None,
    flags: dict[str, object] | None = None,
) -> Settings:
    return Project(folder, split(config), environ or {}).load(name, flags or {})


def chosen(table: Table, **flags: object) -> SelectedApps:
    return Project(Path("/nowhere"), split({"apps": table}), os.environ).selected_apps(flags)


def test_the_example_of_the_page_is_that_of_the_tests() -> None:
    block = re.search(r"```yaml\n# invoke.yaml\n(.*?)```", (ROOT / "docs/recipes/monorepo.md").read_text(), re.DOTALL)
    assert block
    yaml: Any = safe_load
    shown = split(yaml(block[1])["deploy"])
    sample = split(yaml((ROOT / "tests" / "three_apps" / "invoke.yaml").read_text())["deploy"])
    assert shown.general == sample.general
    assert {"backend", "frontend"} == shown.table.keys() < sample.table.keys()
    assert shown.table["frontend"] == sample.table["frontend"]
    assert shown.table["backend"] == {**sample.table["backend"], "env": {"NODE_ENV": "production"}}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("backend", ["backend"]),
        ("frontend,backend", ["frontend", "backend"]),
        ("frontend, backend,frontend", ["frontend", "backend"]),
        (["frontend", "backend"], ["frontend", "backend"]),
        ("all", ["backend", "frontend", "mcp-agent"]),
    ],
)
def test_the_apps_that_a_flag_means(text: object, names: list[str]) -> None:
    assert chosen(TABLE_OF_THREE, app=text) == (names, len(names) > 1, None)


def test_without_a_flag_the_only_app_is_meant() -> None:
    assert chosen({"backend": {}}, app=None) == (["backend"], False, None)


def test_without_a_table_no_name_is_chosen() -> None:
    assert chosen({}, app="any", jobs=3) == (None, False, None)


def test_the_environment_chooses_among_the_apps_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_APP", "frontend,backend")
    monkeypatch.setenv("DEPLOY_JOBS", "3")
    assert chosen(TABLE_OF_THREE) == (["frontend", "backend"], True, 3)
    assert chosen(TABLE_OF_THREE, app="backend") == (["backend"], False, 3)


def test_choosing_apps_looks_at_no_other_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_PORT", "invalid")
    assert chosen(TABLE_OF_THREE, app="all").is_several


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "no app is selected"),
        ("bakend", "flag --app: 'bakend' is not an app here (did you mean backend?)"),
        ("backend,xyz", "flag --app: 'xyz' is not an app here"),
        ("shop-backend", "flag --app: 'shop-backend' is called backend here"),
    ],
)
def test_an_error_lists_the_apps(text: str | None, what: str) -> None:
    with pytest.raises(SettingsError) as refused:
        chosen(TABLE_OF_THREE, app=text)
    assert refused.value.what == what
    available = "(available: backend, frontend, mcp-agent)"
    assert refused.value.next == (f"Use --app NAME, --app NAME,NAME or --app all {available}",)


def test_the_plural_is_all_or_a_comma() -> None:
    assert [bool(SEVERAL.fullmatch(text)) for text in ("all", "a,b", "a", "")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"apps": {"a": {"prot": 1}}}, "'deploy.apps.a.prot' is not a setting (did you mean deploy.apps.a.port?)"),
        ({"nmespace": "x", "apps": {"a": {}}}, "'deploy.nmespace' is not a setting (did you mean deploy.namespace?)"),
        ({"apps": {"a": {"api_url": "x"}}}, "deploy.apps.a.api_url is for all apps, so it must be under deploy"),
        ({"apps": {"a": {}, "b": {"api_key": "x"}}}, "deploy.apps.b.api_key is for all apps"),
        ({"apps": {"A_b": {}}}, "configuration deploy.apps: 'A_b' is not a Kubernetes name"),
        ({"apps": {"all": {}}}, "deploy.apps.all: an app cannot be called all here"),
        ({"apps": {"in-flight": {}}}, "deploy.apps.in-flight: an app cannot be called in-flight here"),
        ({"apps": ["a"]}, "deploy.apps is not a table of apps"),
        ({"apps": {"a": "b"}}, "deploy.apps.a is not a table of settings"),
        ({"apps": {"a": {"port": 1, "ports": [{"port": 2}]}}}, "deploy.apps.a has both port and ports"),
        ({"apps": {"a": {"domain": "a.b", "domains": ["c.d"]}}}, "deploy.apps.a has both domain and domains"),
        ({"port": 1, "ports": [{"port": 2}]}, "configuration deploy has both port and ports"),
        ({"aps": {}}, "did you mean deploy.apps?)"),
        ({"apps": {"a": {"apps": {}}}}, "'deploy.apps.a.apps' is not a setting"),
        ({"apps": {"a": {"app": "x"}, "b": {"app": "x"}}}, "deploy.apps.a and deploy.apps.b both have app x in apps"),
        (
            {"apps": {"a": {"domain": "X.example.com"}, "b": {"domains": ["y.example.com", "x.example.com"]}}},
            "deploy.apps.a and deploy.apps.b both have domain x.example.com",
        ),
        (
            {"apps": {"a": {"domain": "y.example.com, x.example.com"}, "b": {"domain": "x.example.com"}}},
            "deploy.apps.a and deploy.apps.b both have domain x.example.com",
        ),
        ({"domain": "x.example.com", "apps": {"a": {}, "b": {}}}, "both have domain x.example.com"),
        (
            {"build_args": "1=2", "apps": {"a": {"build_args": ["A"]}}},
            "configuration deploy.build_args: build arg '1=…'",
        ),
        (
            {"apps": {"a": {"image_name": "x"}, "b": {"image_name": "x", "dockerfile": "Other"}}},
            "both have image x:(the commit)",
        ),
        (
            {
                "image_tag": "stable",
                "apps": {"a": {"image_name": "x", "git_ref": "v1"}, "b": {"image_name": "x", "git_ref": "v2"}},
            },
            "both have image x:stable",
        ),
    ],
)
def test_an_error_in_the_table_names_the_path(config: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        split(config)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({"env": ["A=1"]}, "deploy.apps.a.env: this is not a table of names and values"),
        (
            {"env": {"A": None}},
            "deploy.apps.a.env: 'A' has no value (to take it from the shell or .env, name it in env_from)",
        ),
        ({"env": {"A": ["x"]}}, "deploy.apps.a.env: 'A': a list or a table is not allowed here, only one value"),
        ({"env_from": ["A-B"]}, "deploy.apps.a.env_from: 'A-B' is not the name of an environment variable"),
        ({"ports": {"port": 1}}, "deploy.apps.a.ports: Expected `array`, got `object` (allowed keys: port, name)"),
        ({"ports": [{"name": "x"}]}, "deploy.apps.a.ports: Object missing required field `port` - at `$[0]`"),
        (
            {"ports": [{"port": 1, "nam": "x"}]},
            "Object contains unknown field `nam` - at `$[0]` (allowed keys: port, name)",
        ),
        ({"ports": [{"port": 70000}]}, "deploy.apps.a.ports: Expected `int` <= 65535 - at `$[0].port`"),
        ({"metrics": {"path": "/m"}}, "deploy.apps.a.metrics: Object missing required field `port`"),
        (
            {"metrics": {"port": 1, "scrapeInterval": "1s"}},
            "unknown field `scrapeInterval` (allowed keys: port, path, scrape_interval, scheme)",
        ),
        ({"metrics": {"prot": 1}}, "Object contains unknown field `prot`"),
        ({"metrics": {"port": 1, "scrape_interval": "soon"}}, "Expected `str` matching regex"),
        ({"metrics": {"port": 1, "scheme": "ftp"}}, "Invalid enum value 'ftp' - at `$.scheme`"),
        ({"port": "abc"}, "deploy.apps.a.port: 'abc' is not a port"),
        ({"port": [1, 2]}, "deploy.apps.a.port: a list or a table is not allowed here, only one value"),
        ({"tls": "maybe"}, "deploy.apps.a.tls: 'maybe' is neither true nor false"),
        ({"env_file": "folder/"}, "deploy.apps.a.env_file: 'folder/' is not the path of a file"),
    ],
)
def test_a_bad_value_of_an_app_is_one_line_with_its_path(tmp_path: Path, own: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(tmp_path, {"apps": {"a": own}}, "a")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_setting_for_all_apps_is_not_allowed_for_one() -> None:
    split({"apps": {"a": {row.key: None for row in SETTINGS if not row.is_global and not row.of_environments}}})
    for row in (row for row in SETTINGS if row.is_global):
        with pytest.raises(SettingsError, match="is for all apps"):
            split({"apps": {"a": {row.key: None}}})


def test_a_value_of_one_app_is_stronger_than_one_for_all_and_weaker_than_the_flag(tmp_path: Path) -> None:
    config = {"port": 1, "apps": {"a": {"port": 2}, "b": {}}}
    (tmp_path / ".env").write_text("DEPLOY_PORT=3\n")
    environ = {"DEPLOY_PORT": "4"}
    assert settings(tmp_path, config, "a", environ).port == 2
    assert settings(tmp_path, config, "b", environ).port == 4
    assert settings(tmp_path, config, "b").port == 3
    assert settings(tmp_path, config, "a", environ, {"port": 5}).port == 5
    assert settings(tmp_path, config, "a").origins["port"] == (Source.APP, "configuration", "deploy.apps.a.port")


def test_an_app_has_the_name_of_its_entry_unless_that_has_another(tmp_path: Path) -> None:
    config = {"apps": {"a": {}, "b": {"app": "other"}}}
    environ = {"DEPLOY_APP": "b"}
    assert [settings(tmp_path, config, name, environ).app for name in ("a", "b")] == ["a", "other"]


def test_each_app_has_a_state_file_of_its_own(tmp_path: Path) -> None:
    config: dict[str, Any] = {"apps": {"a": {}, "b": {}}}
    assert settings(tmp_path, config, "a").state_file == tmp_path / ".deploy" / "build-id.a.json"
    environ = {"DEPLOY_STATE_FILE": "/elsewhere/state.json"}
    assert settings(tmp_path, config, "b", environ).state_file == Path("/elsewhere/state.b.json")


def test_lists_and_tables_for_all_are_joined_with_those_of_an_app(tmp_path: Path) -> None:
    own = {"env": {"B": 2, "C": 3}, "env_from": ["E"], "build_args": {"Z": None}}
    general = {"env": {"A": "true", "B": 1}, "env_from": ["D"], "build_args": {"Y": "1"}}
    found = settings(tmp_path, {**general, "apps": {"a": own, "b": {}}}, "a")
    assert found.env == {"A": "true", "B": "2", "C": "3"}
    assert found.env_from == ("D", "E")
    assert found.build_args == ("Y=1", "Z")


@pytest.mark.parametrize("for_all", [{"A": 1}, ["A=1"], "A=1"])
@pytest.mark.parametrize("own", [{"B": 2}, ["B=2"], "B=2"])
def test_lists_are_joined_in_every_form(tmp_path: Path, for_all: object, own: object) -> None:
    config = {"build_args": for_all, "env_from": "HOME, PATH", "apps": {"a": {"build_args": own, "env_from": ["E"]}}}
    found = settings(tmp_path, config, "a")
    assert found.build_args == ("A=1", "B=2")
    assert found.env_from == ("HOME", "PATH", "E")


def test_a_variable_of_invoke_is_joined_as_what_is_configured_for_all(tmp_path: Path) -> None:
    config = {"apps": {"a": {"build_args": ["B=2"]}}}
    assert settings(tmp_path, config, "a", {"INVOKE_DEPLOY_BUILD_ARGS": "A=1"}).build_args == ("A=1", "B=2")


def test_the_env_file_of_an_app_is_stronger_than_those_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".env").write_text("X=own\nDEPLOY_REPLICAS=2\n")
    (tmp_path / ".env.local").write_text("X=all\nDEPLOY_REPLICAS=1\nY=all\n")
    config = {"apps": {"a": {"env_file": "a/.env", "env_from": ["X", "Y"]}, "b": {"env_from": ["X"]}}}
    first, second = (settings(tmp_path, config, name) for name in ("a", "b"))
    assert (first.configured_environment, first.replicas) == ({"X": "own", "Y": "all"}, 2)
    assert (second.configured_environment, second.replicas) == ({"X": "all"}, 1)
    assert settings(tmp_path, config, "a", {"X": "environment"}).configured_environment["X"] == "environment"


def test_the_apps_environment_is_its_values_and_those_that_it_names(tmp_path: Path) -> None:
    names = {"env_from": ["A"], "env_from_optional": ["B", "C"]}
    found = settings(tmp_path, {"apps": {"a": {"env": {"A": "0", "D": "4"}, **names}}}, "a", {"A": "1", "B": "2"})
    assert found.configured_environment == {"A": "1", "B": "2", "D": "4"}


def test_one_error_lists_everything_that_is_missing(tmp_path: Path) -> None:
    own = {
        "env_file": "own.env",
        "env_from": ["A", "B"],
        "build_args_from": ["C"],
        "dockerfile": "No",
        "build_context": "no",
    }
    found = settings(tmp_path, {"apps": {"a": own}}, "a", {"B": "here"})
    with pytest.raises(SettingsError) as refused:
        found.check("api_url", "port", "files", "env_from", "build_args_from", trouble="git is silent")
    assert refused.value.what == (
        f"there is no Dockerfile at {tmp_path}/No, and the build context {tmp_path}/no is not a folder, and "
        "not set: DEPLOY_API_URL, deploy.apps.a.port in invoke.yaml, and no value for A, C, and "
        f"there is no env_file at {tmp_path}/own.env (git is silent)"
    )
    assert refused.value.next == (
        "Set another with deploy.apps.a.dockerfile",
        "Set another with deploy.apps.a.build_context",
        "Set variables in the shell, or in .env at the project's root",
    )


def test_several_ports_are_a_port(tmp_path: Path) -> None:
    found = settings(tmp_path, {"apps": {"a": {"app": "x", "ports": [{"port": 1, "name": "http"}]}}}, "a")
    found.check("app", "port")
    assert found.ports == (Port(port=1, name="http"),)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"DEPLOY_DOMAIN": "x.example.com"}, "a and b both have domain x.example.com"),
        ({"DEPLOY_IMAGE_NAME": "x"}, r"a and b both have image x:\(the commit"),
    ],
)
def test_a_variable_for_all_apps_cannot_give_two_apps_the_same_place(
    tmp_path: Path, environ: dict[str, str], says: str
) -> None:
    config = {"apps": {"a": {"dockerfile": "One"}, "b": {"dockerfile": "Two"}}}
    with pytest.raises(SettingsError, match=says):
        check_conflicts({name: vars(settings(tmp_path, config, name, environ)) for name in ("a", "b")})


@pytest.mark.parametrize(
    "config",
    [
        {"apps": {"a": {"app": "x"}, "b": {"app": "x", "app_class": "non-business"}}},
        {"namespace": "here", "apps": {"a": {"app": "x"}, "b": {"app": "x", "namespace": "there"}}},
        {"apps": {"a": {"image_name": "x", "git_ref": "v1"}, "b": {"image_name": "x", "git_ref": "v2"}}},
    ],
    ids=["another class", "another namespace", "another commit"],
)
def test_two_apps_of_one_name_in_different_places_are_allowed(config: dict[str, Any]) -> None:
    assert split(config).table.keys() == {"a", "b"}


def test_two_entries_with_the_same_place_are_refused() -> None:
    config: dict[str, Any] = {"namespace": "here", "apps": {"a": {"app": "x"}, "b": {"app": "x", "namespace": "here"}}}
    with pytest.raises(SettingsError, match="both have app x in here"):
        split(config)


def test_a_build_arg_stays_though_the_app_has_a_variable_of_its_name(tmp_path: Path) -> None:
    config = {"build_args": ["MODE"], "apps": {"a": {"env": {"MODE": "x"}, "build_args": ["B=1"]}}}
    assert settings(tmp_path, config, "a").build_args == ("MODE", "B=1")


def test_an_apps_own_list_is_named_by_its_own_path() -> None:
    with pytest.raises(SettingsError, match=r"configuration deploy\.apps\.a\.env_from: 'A-B'"):
        split({"env_from": ["X"], "apps": {"a": {"env_from": ["A-B"]}}})


def test_one_image_name_for_two_apps_is_allowed_with_different_tags(tmp_path: Path) -> None:
    config: dict[str, Any] = {"apps": {"a": {"app": "x", "namespace": "one"}, "b": {"app": "x", "namespace": "two"}}}
    check_conflicts({name: vars(settings(tmp_path, config, name)) for name in ("a", "b")})
    split({"apps": {"a": {"image_name": "x", "image_tag": "1"}, "b": {"image_name": "x", "dockerfile": "B"}}})


def test_an_empty_value_of_an_app_is_not_given(tmp_path: Path) -> None:
    config = {"env": {"A": "1"}, "replicas": 2, "apps": {"a": {"env": None, "replicas": None, "app": ""}}}
    found = settings(tmp_path, config, "a")
    assert (found.app, found.env, found.replicas) == ("a", {"A": "1"}, 2)


def test_a_value_of_an_app_is_stronger_than_a_name_for_all(tmp_path: Path) -> None:
    config = {"env_from": ["LEVEL", "TOKEN"], "metrics": {"port": 1, "path": "/m"}}
    apps = {"a": {"env": {"LEVEL": "debug"}, "metrics": {"port": 2}}}
    found = settings(tmp_path, {**config, "apps": apps}, "a", {"LEVEL": "info", "TOKEN": "t"})
    assert found.configured_environment == {"LEVEL": "debug", "TOKEN": "t"}
    assert found.metrics == Metrics(port=2), "replaced, not joined"


def test_a_name_that_a_flag_gives_a_value_is_not_missing(tmp_path: Path) -> None:
    found = settings(tmp_path, {"apps": {"a": {"env_from": ["TOKEN", "OTHER"]}}}, "a")
    with pytest.raises(SettingsError, match=r"no value for OTHER\."):
        found.check("env_from", given=["TOKEN"])


@pytest.mark.parametrize(
    ("general", "own", "environ", "ports"),
    [
        ({"ports": [{"port": 1}]}, {}, {}, 1),
        ({"ports": [{"port": 1}]}, {"port": 2}, {}, 0),
        ({"ports": [{"port": 1}]}, {}, {"DEPLOY_PORT": "3"}, 0),
        ({}, {"ports": [{"port": 1}]}, {"DEPLOY_PORT": "3"}, 1),
        ({"port": 4}, {"ports": [{"port": 1}]}, {}, 1),
    ],
)
def test_the_stronger_of_port_and_ports_counts(
    tmp_path: Path, general: dict[str, Any], own: dict[str, Any], environ: dict[str, str], ports: int
) -> None:
    assert len(settings(tmp_path, {**general, "apps": {"a": own}}, "a", environ).ports) == ports


def test_values_by_name_are_secrets_also_the_optional_ones(tmp_path: Path) -> None:
    own = {"env_from": ["A"], "env_from_optional": ["B", "C"]}
    found = settings(tmp_path, {"apps": {"a": own}}, "a", {"A": "secret-one", "B": "secret-two", "C": "short"})
    assert found.secret_values_of((*found.env_from, *found.env_from_optional)) == ["secret-one", "secret-two", "short"]


def test_a_state_file_without_a_suffix_is_another_for_each_app(tmp_path: Path) -> None:
    config: dict[str, Any] = {"apps": {"a": {}, "b": {}}}
    states = [State(settings(tmp_path, config, name, {"DEPLOY_STATE_FILE": "s"}).state_file) for name in ("a", "b")]
    assert states[0].in_flight_path != states[1].in_flight_path


def test_flags_for_one_app_are_refused_for_several() -> None:
    check_flags_of_several({"job": None, "domain": [], "port": 80})
    with pytest.raises(SettingsError, match="--job, --build-id, --image-name, --domain can be used for one app only"):
        check_flags_of_several({"domain": ["x"], "build_id": "sha256:", "job": "j", "image_name": "i", "port": 1})


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([BuildFailed("b")], 9),
        ([SettingsError("s"), BuildFailed("b")], 9),
        ([RolloutFailed("r"), Locked("l")], 12),
        ([RolloutFailed("r"), MayHaveStarted("m"), BuildFailed("b")], 6),
    ],
)
def test_the_worst_of_several_errors_gives_the_exit_code(errors: list[DeployError], code: int) -> None:
    assert SomeFailed("some", dict(zip("abc", errors, strict=False))).exit_code == code
