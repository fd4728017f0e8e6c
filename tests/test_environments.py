"""Environments: which one is selected, what its settings are, and that no variable leads to another cluster unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy_tasks.config.apps import split
from deploy_tasks.config.project import Project
from deploy_tasks.config.schema import SECRET_VARIABLE
from deploy_tasks.config.settings import Settings
from deploy_tasks.config.sources import Source
from deploy_tasks.errors import SettingsError

STAGING, PRODUCTION = "https://staging.example.com", "https://deploy.example.com"
TWO: dict[str, Any] = {
    "environments": {
        "staging": {"api_url": STAGING},
        "production": {"api_url": PRODUCTION, "replicas": 3, "protected": "true"},
    }
}


def load(
    folder: Path,
    environment: str | None = "production",
    config: dict[str, Any] | None = None,
    name: str | None = None,
    is_selected: bool = True,
    flags: dict[str, object] | None = None,
    **environ: Any,
) -> Settings:
    """The settings in the environment that a flag selects, or, unless it `is_selected`, in another one."""
    flag: Any = environment if is_selected else (flags or {}).get("environment")
    project = Project(folder, split(TWO if config is None else config), environ, flag)
    return project.load(name, flags or {}, environment=environment or None)


def refused(folder: Path, *arguments: Any, **more: Any) -> SettingsError:
    with pytest.raises(SettingsError) as error:
        load(folder, *arguments, **more)
    return error.value


# --- which environment ----------------------------------------------------------------------------------------------


def test_the_flag_then_the_shell_then_files_then_the_configuration_select_the_environment(tmp_path: Path) -> None:
    config = {"environment": "e", "environments": {name: {} for name in "abcde"}}
    assert load(tmp_path, None, config).environment == "e"
    for file, name in ((".env", "d"), (".env.local", "c")):
        (tmp_path / file).write_text(f"DEPLOY_ENVIRONMENT={name}\n")
        assert load(tmp_path, None, config).environment == name
    assert load(tmp_path, None, config, DEPLOY_ENVIRONMENT="b").environment == "b"
    assert load(tmp_path, "a", config, DEPLOY_ENVIRONMENT="b").environment == "a"


def test_the_file_of_deploy_env_file_may_select_the_environment(tmp_path: Path) -> None:
    (tmp_path / "ci.env").write_text("DEPLOY_ENVIRONMENT=staging\n")
    assert load(tmp_path, None, DEPLOY_ENV_FILE="ci.env").environment == "staging"


def test_an_empty_variable_of_the_shell_selects_none_and_one_of_a_file_says_nothing(tmp_path: Path) -> None:
    config = {**TWO, "environment": "staging"}
    (tmp_path / ".env").write_text("DEPLOY_ENVIRONMENT=\n")
    assert load(tmp_path, None, config).environment == "staging"
    assert load(tmp_path, None, config, DEPLOY_ENVIRONMENT="").environment is None


def test_an_empty_flag_is_an_error(tmp_path: Path) -> None:
    error = refused(tmp_path, "", {**TWO, "environment": "staging"})
    assert error.what == "flag --environment: the name is empty"
    assert error.next == ("Use --environment NAME (available: staging, production)",)


def test_an_unknown_environment_lists_those_that_exist_the_nearest_first(tmp_path: Path) -> None:
    error = refused(tmp_path, "prodction")
    assert error.what == "flag --environment: 'prodction' is not an environment here (did you mean production?)"
    assert error.next == ("Use --environment NAME (available: production, staging)",)
    assert refused(tmp_path, "Production").next == error.next
    assert refused(tmp_path, None, DEPLOY_ENVIRONMENT="stagin").what.startswith(
        "shell variable DEPLOY_ENVIRONMENT: 'stag"
    )
    assert (
        refused(tmp_path, None, {"environment": "x"}).what
        == "configuration deploy.environment: 'x' is not an environment here"
    )
    assert refused(tmp_path, "x", {}).next == (
        "No environment is configured: list it under deploy.environments in invoke.yaml",
    )


# --- its settings ---------------------------------------------------------------------------------------------------


def test_a_setting_is_taken_from_the_strongest_source_that_has_it(tmp_path: Path) -> None:
    sources = {
        "flag --port": 1,
        "configuration deploy.apps.a.environments.production.port": 2,
        "configuration deploy.environments.production.port": 3,
        "configuration deploy.apps.a.port": 4,
        "shell variable DEPLOY_PORT_PRODUCTION": 5,
        "shell variable DEPLOY_PORT": 6,
        "own.env DEPLOY_PORT_PRODUCTION": 7,
        "own.env DEPLOY_PORT": 8,
        ".env.production.local DEPLOY_PORT_PRODUCTION": 9,
        ".env.production.local DEPLOY_PORT": 10,
        ".env.production DEPLOY_PORT": 11,
        ".env.local DEPLOY_PORT_PRODUCTION": 12,
        ".env.local DEPLOY_PORT": 13,
        ".env DEPLOY_PORT_PRODUCTION": 14,
        ".env DEPLOY_PORT": 15,
        "configuration deploy.port": 16,
    }
    order = list(sources)
    for first in range(len(order)):
        config: dict[str, Any] = {"apps": {"a": {"env_file": "own.env", "environments": {"production": {}}}}}
        config["environments"] = {"production": {}}
        flags: dict[str, object] = {}
        environ: dict[str, Any] = {}
        files: dict[str, str] = dict.fromkeys(
            ("own.env", ".env.production.local", ".env.production", ".env.local", ".env"), ""
        )
        for source in order[first:]:
            place, key = source.replace("shell variable", "shell").split(" ")
            if place == "flag":
                flags["port"] = sources[source]
            elif place == "shell":
                environ[key] = str(sources[source])
            elif place in files:
                files[place] += f"{key}={sources[source]}\n"
            else:
                table = config
                *path, _ = key.removeprefix("deploy.").split(".")
                for part in path:
                    table = table[part]
                table["port"] = sources[source]
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        settings = load(tmp_path, "production", config, "a", flags=flags, **environ)
        assert (settings.port, str(settings.origins["port"])) == (first + 1, order[first])


def test_lists_and_tables_of_all_levels_go_together(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "env": {"A": "1", "B": "1", "C": "1", "D": "1"},
        "env_from": ["W", "B"],
        "environments": {"production": {"env": {"C": "3", "D": "3"}, "env_from": ["Y"]}},
        "apps": {
            "a": {
                "env": {"B": "2", "C": "2", "D": "2"},
                "env_from": ["X"],
                "environments": {"production": {"env": {"D": "4"}, "env_from": ["Z"]}},
            },
            "b": {},
        },
    }
    found = load(tmp_path, "production", config, "a")
    assert found.env == {"A": "1", "B": "2", "C": "3", "D": "4"}
    assert found.env_from == ("W", "X", "Y", "Z")
    assert load(tmp_path, None, config, "a").env_from == ("W", "X")
    assert load(tmp_path, "production", config, "b").env == {"A": "1", "B": "1", "C": "3", "D": "3"}


def test_an_environment_says_where_and_whether_it_is_protected(tmp_path: Path) -> None:
    production, none = load(tmp_path), load(tmp_path, None, {"api_url": "http://127.0.0.1:8077/x"})
    assert (production.cluster, production.protected) == ("production (deploy.example.com)", True)
    assert (none.cluster, none.protected) == ("127.0.0.1:8077", False)
    assert load(tmp_path, "a", {"environments": {"a": None}}).cluster == "a"
    assert load(tmp_path, None, {}).cluster == ""


def test_the_choice_of_an_app_in_an_environment_does_not_rename_apps(tmp_path: Path) -> None:
    apps: dict[str, Any] = {"a": {"environments": {"production": {"app": "a-prod"}}}, "b": {}}
    config = {"environments": {"production": {"app": "b"}}, "apps": apps}
    assert load(tmp_path, "production", config, "b").app == "b"
    assert load(tmp_path, "production", config, "a").app == "a-prod"
    assert Project(tmp_path, split(config), {}, "production").selected_apps({}).names == ["b"]


def test_an_environment_of_one_app_is_unknown_for_the_others(tmp_path: Path) -> None:
    config: dict[str, Any] = {"apps": {"a": {"environments": {"qa": {}}}, "b": {}}}
    assert load(tmp_path, "qa", config, "a").environment == "qa"
    assert refused(tmp_path, "qa", config, "b").what == "app b: 'qa' is not an environment here"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"environments": ["a"]}, "configuration deploy.environments is not a table of environments"),
        ({"environments": {"a": "b"}}, "configuration deploy.environments.a is not a table of settings"),
        ({"environments": {"A_b": {}}}, "configuration deploy.environments: 'A_b' is not a Kubernetes name"),
        ({"environments": {"local": {}}}, "an environment cannot be called local, since .env.local is reserved"),
        ({"environments": {"username": {}}}, "since DEPLOY_REGISTRY_USERNAME is the setting registry_username"),
        ({"environments": {"class": {}}}, "since DEPLOY_APP_CLASS is the setting app_class"),
        (
            {"environments": {"x": {}, "username-x": {}}},
            "cannot be called username-x here, since DEPLOY_REGISTRY_USERNAME_X is registry_username of environment x",
        ),
        ({"apps": {"a": {"environments": {"dist": {}}}}}, "an environment cannot be called dist"),
        ({"environments": {"a": {"environment": "b"}}}, "environments.a.environment: an environment cannot select"),
        ({"environments": {"a": {"environments": {}}}}, "'deploy.environments.a.environments' is not a setting"),
        ({"environments": {"a": {"apps": {}}}}, "'deploy.environments.a.apps' is not a setting"),
        ({"environments": {"a": {"protected": ""}}}, "a.protected has no value. Nothing was sent. Write true or false"),
        ({"environments": {"a": {"prot": 1}}}, "(did you mean deploy.environments.a.port?)"),
        ({"protected": True}, "configuration deploy.protected: only an environment can be protected"),
        ({"apps": {"a": {"protected": True}}}, "deploy.apps.a.protected: only an environment can be protected"),
        (
            {"apps": {"a": {"environments": {"x": {"api_url": "y"}}}}},
            "deploy.apps.a.environments.x.api_url is for all apps, so it must be under deploy or deploy.environments",
        ),
        (
            {"apps": {"a": {"environment": "x"}}},
            "deploy.apps.a.environment is for all apps, so it must be under deploy",
        ),
        ({"environments": {"a": {"env": ["A=1"]}}}, "deploy.environments.a.env: this is not a table"),
        (
            {"apps": {"a": {}, "b": {}}, "environments": {"x": {"domain": "x.example.com"}}},
            "deploy.apps.a in x and deploy.apps.b in x both have domain x.example.com",
        ),
    ],
)
def test_a_mistake_in_the_configuration_names_its_path(config: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as error:
        split(config)
    assert says in str(error.value)


@pytest.mark.parametrize("name", ["local", "example", "sample", "template", "dist"])
def test_a_name_that_an_env_file_has_for_something_else_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"cannot be called {name}"):
        split({"environments": {name: {}}})


# --- the cluster ----------------------------------------------------------------------------------------------------


def test_a_variable_of_the_shell_that_contradicts_the_environment_is_an_error_that_names_both(tmp_path: Path) -> None:
    sandbox = "http://127.0.0.1:8077"
    error = refused(tmp_path, DEPLOY_API_URL=sandbox)
    assert error.what == (
        "shell variable DEPLOY_API_URL ('http://127.0.0.1:8077') contradicts the API address of production, "
        "configuration deploy.environments.production.api_url ('https://deploy.example.com')"
    )
    assert error.effect == "Nothing was sent"
    assert error.next == ("Run: unset DEPLOY_API_URL",)
    by_default = refused(tmp_path, None, {**TWO, "environment": "production"}, DEPLOY_API_URL=sandbox)
    assert by_default.next == (
        "Run: unset DEPLOY_API_URL",
        "Or select no environment, with DEPLOY_ENVIRONMENT= before the command",
    )
    for variable in (
        "DEPLOY_API_URL_PRODUCTION",
        "INVOKE_DEPLOY_API_URL",
        "INVOKE_DEPLOY_ENVIRONMENTS_PRODUCTION_API_URL",
    ):
        assert refused(tmp_path, **{variable: sandbox}).what.startswith(f"shell variable {variable} (")
    assert load(tmp_path, DEPLOY_API_URL=f"{PRODUCTION}/").api_url == PRODUCTION
    assert (
        load(
            tmp_path, None, {**TWO, "environment": "production"}, DEPLOY_ENVIRONMENT="", DEPLOY_API_URL=sandbox
        ).api_url
        == sandbox
    )


def test_a_key_that_contradicts_another_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / ".env.production").write_text("DEPLOY_API_KEY=k3y-of-production\n")
    error = refused(tmp_path, DEPLOY_API_KEY="k3y-of-the-sandbox")
    assert error.what == (
        "shell variable DEPLOY_API_KEY contradicts the API key of production, .env.production DEPLOY_API_KEY"
    )
    assert load(tmp_path, DEPLOY_API_KEY="k3y-of-production").api_key == "k3y-of-production"


def test_two_variables_of_the_shell_may_not_contradict_each_other(tmp_path: Path) -> None:
    error = refused(tmp_path, DEPLOY_API_KEY="old", DEPLOY_API_KEY_PRODUCTION="new")
    assert error.what == (
        "shell variable DEPLOY_API_KEY contradicts the API key of production, shell variable DEPLOY_API_KEY_PRODUCTION"
    )
    assert load(tmp_path, "staging", DEPLOY_API_KEY="old", DEPLOY_API_KEY_PRODUCTION="new").api_key == "old"


def test_a_variable_fills_what_nothing_else_says(tmp_path: Path) -> None:
    settings = load(tmp_path, DEPLOY_API_KEY="k", DEPLOY_REGISTRY="r.example.com")
    assert (settings.api_key, settings.registry) == ("k", "r.example.com")


@pytest.mark.parametrize("file", [".env", ".env.local", "own.env"])
def test_general_files_say_nothing_about_the_cluster_of_an_environment(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text(f"DEPLOY_API_URL={STAGING}\nDEPLOY_API_KEY=k\nDEPLOY_REGISTRY=r\nDEPLOY_PORT=1\n")
    config = {"env_file": "own.env", "environments": {"production": {}}}
    settings = load(tmp_path, "production", config)
    assert (settings.get("api_url"), settings.get("api_key"), settings.port) == (None, None, 1)
    assert settings.registry != "r"
    assert load(tmp_path, None, config).api_key == "k"


def test_general_files_may_say_it_with_the_suffix_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DEPLOY_API_KEY_PRODUCTION=p\nDEPLOY_API_KEY_STAGING=s\nDEPLOY_API_KEY=x\n")
    assert [load(tmp_path, name).api_key for name in ("production", "staging", None)] == ["p", "s", "x"]


def test_an_env_file_of_an_environment_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "own.env").write_text("DEPLOY_API_KEY=k\n")
    assert load(tmp_path, "a", {"environments": {"a": {"env_file": "own.env"}}}).api_key == "k"


def test_what_deploy_env_file_says_counts_unless_it_contradicts_the_environment(tmp_path: Path) -> None:
    (tmp_path / "ci.env").write_text("DEPLOY_API_KEY=k\n")
    (tmp_path / ".env").write_text("DEPLOY_API_KEY_PRODUCTION=other\nDEPLOY_REPLICAS=9\n")
    settings = load(tmp_path, DEPLOY_ENV_FILE="ci.env")
    assert (settings.api_key, settings.replicas) == ("k", 3)
    (tmp_path / "ci.env").write_text(f"DEPLOY_API_URL={STAGING}\n")
    error = refused(tmp_path, DEPLOY_ENV_FILE="ci.env")
    assert error.what.startswith(f"ci.env DEPLOY_API_URL ('{STAGING}') contradicts the API address of production")
    assert error.next[0] == "Run: unset DEPLOY_ENV_FILE"


def test_deploy_env_file_may_name_the_file_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env.production").write_text("DEPLOY_API_KEY=k\nDEPLOY_ENVIRONMENT=production\n")
    for environment in (None, "production"):
        settings = load(tmp_path, environment, DEPLOY_ENV_FILE=".env.production")
        assert (settings.environment, settings.api_key) == ("production", "k")


@pytest.mark.parametrize("variable", ["DEPLOY_API_URL", "INVOKE_DEPLOY_API_URL"])
def test_without_an_environment_the_shell_may_not_contradict_deploy_env_file(tmp_path: Path, variable: str) -> None:
    (tmp_path / ".env.production").write_text(f"DEPLOY_API_URL={PRODUCTION}\nDEPLOY_API_KEY=k\n")
    (tmp_path / ".env").write_text("DEPLOY_REGISTRY=other\n")
    environ: dict[str, Any] = {"DEPLOY_ENV_FILE": ".env.production", variable: "http://127.0.0.1:8077"}
    error = refused(tmp_path, None, {}, **environ)
    assert error.what == (
        f"shell variable {variable} ('http://127.0.0.1:8077') contradicts the API address, .env.production "
        f"DEPLOY_API_URL ('{PRODUCTION}')"
    )
    assert error.next == (f"Run: unset {variable}",)
    del environ[variable]
    assert load(tmp_path, None, {}, **environ).registry != "other"


@pytest.mark.parametrize("other", ["HTTPS://DEPLOY.example.com", "https://deploy.example.com:443/"])
def test_one_address_in_two_forms_is_no_contradiction(tmp_path: Path, other: str) -> None:
    assert load(tmp_path, DEPLOY_API_URL=other).api_url == PRODUCTION


def test_a_variable_with_the_suffix_counts_before_what_is_configured_for_all(tmp_path: Path) -> None:
    config = {"api_url": "https://general.example.com", "environments": {"production": {}, "staging": {}}}
    settings = load(tmp_path, "production", config, DEPLOY_API_URL_PRODUCTION=PRODUCTION)
    assert settings.api_url == PRODUCTION
    assert load(tmp_path, "staging", config, DEPLOY_API_URL_PRODUCTION=PRODUCTION).api_url == config["api_url"]
    assert refused(tmp_path, "production", config, DEPLOY_API_URL=PRODUCTION)


def test_the_advice_keeps_the_variable_that_is_for_the_environment(tmp_path: Path) -> None:
    (tmp_path / "ci.env").write_text("DEPLOY_API_KEY=of-production\n")
    error = refused(tmp_path, "staging", DEPLOY_ENV_FILE="ci.env", DEPLOY_API_KEY_STAGING="of-staging")
    assert error.what == (
        "ci.env DEPLOY_API_KEY contradicts the API key of staging, shell variable DEPLOY_API_KEY_STAGING"
    )
    assert error.next == ("Run: unset DEPLOY_ENV_FILE",)


@pytest.mark.parametrize("file", [".env.production", ".env.production.local"])
@pytest.mark.parametrize("environment", [None, "staging"])
def test_the_file_of_one_environment_is_not_used_for_another(
    tmp_path: Path, file: str, environment: str | None
) -> None:
    (tmp_path / file).write_text("DEPLOY_API_KEY=k\n")
    config = {**TWO, "environment": environment} if environment else TWO
    error = refused(tmp_path, None, config, DEPLOY_ENV_FILE=file, DEPLOY_API_URL=STAGING)
    here = "staging is selected (configuration deploy.environment)" if environment else "no environment is selected"
    assert error.what == f"DEPLOY_ENV_FILE names {file}, the file of environment production, but {here}"
    assert error.next == ("Use --environment production, which reads that file", "Or leave out DEPLOY_ENV_FILE")
    assert load(tmp_path, DEPLOY_ENV_FILE=file).api_key == "k"
    assert load(tmp_path, None, {}, DEPLOY_ENV_FILE=file).api_key == "k"


def test_beside_deploy_env_file_no_file_of_an_app_says_what_the_cluster_is(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text(f"DEPLOY_API_URL={STAGING}\nDEPLOY_PORT=1\n")
    (tmp_path / "ci.env").write_text("DEPLOY_API_KEY=k\n")
    config = {"apps": {"a": {"env_file": "a.env"}}}
    settings = load(tmp_path, None, config, "a", DEPLOY_ENV_FILE="ci.env")
    assert (settings.get("api_url"), settings.port) == (None, 1)
    with pytest.raises(SettingsError) as error:
        settings.check("api_url")
    assert error.value.next[-1] == "a.env has DEPLOY_API_URL, which is not used with DEPLOY_ENV_FILE"
    assert load(tmp_path, None, config, "a").api_url == STAGING


def test_the_login_of_one_registry_goes_to_no_other(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DEPLOY_REGISTRY=r:5999\nDEPLOY_REGISTRY_USERNAME=u\nDEPLOY_REGISTRY_PASSWORD=p\n")
    settings = load(tmp_path)
    assert (settings.registry_username, settings.registry_password) == (None, None)
    with pytest.raises(SettingsError) as error:
        settings.check("registry", "registry_username", "registry_password")
    assert error.value.what.startswith("not set in production: DEPLOY_REGISTRY_PRODUCTION or registry under deploy.env")
    assert error.value.next[-1] == (
        ".env has DEPLOY_REGISTRY_PASSWORD, which is not used with an environment: put it into .env.production, or "
        "call it DEPLOY_REGISTRY_PASSWORD_PRODUCTION"
    )
    load(tmp_path, None).check("registry", "registry_username", "registry_password")
    (tmp_path / ".env").unlink()
    load(tmp_path).check("registry", "registry_username", "registry_password")


def test_what_is_missing_names_the_file_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ci.env").write_text("DEPLOY_API_KEY=k\n")
    monkeypatch.setenv("DEPLOY_ENV_FILE", "ci.env")
    with pytest.raises(SettingsError) as error:
        load(tmp_path, None, {}, DEPLOY_ENV_FILE="ci.env").check("api_url")
    assert error.value.next == ("Set variables in the shell, or in ci.env at the project's root",)


def test_what_is_missing_says_how_to_select_an_environment(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, None).check("api_url", "api_key")
    assert error.value.next[-1] == "No environment is selected: use --environment NAME (available: staging, production)"


def test_what_is_missing_says_which_file_has_a_variable_that_does_not_count(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DEPLOY_API_KEY=k\n")
    with pytest.raises(SettingsError) as error:
        load(tmp_path).check("api_key")
    assert error.value.next == (
        "Set variables in the shell, or in .env.production at the project's root",
        ".env has DEPLOY_API_KEY, which is not used with an environment: put it into .env.production, or call it "
        "DEPLOY_API_KEY_PRODUCTION",
    )


def test_an_env_file_of_an_app_is_not_used_for_the_cluster_either(tmp_path: Path) -> None:
    (tmp_path / "own.env").write_text("DEPLOY_API_KEY=k\n")
    with pytest.raises(SettingsError) as error:
        load(tmp_path, config={**TWO, "env_file": "own.env"}).check("api_key")
    assert error.value.next[-1] == (
        "own.env has DEPLOY_API_KEY, which is not used with an environment: put it into .env.production, or call it "
        "DEPLOY_API_KEY_PRODUCTION"
    )


# --- another environment than the selected one ----------------------------------------------------------------------


def test_for_another_environment_only_its_own_variables_count(tmp_path: Path) -> None:
    (tmp_path / ".env.staging").write_text("DEPLOY_PORT=1\n")
    (tmp_path / "ci.env").write_text("DEPLOY_REPLICAS=7\nDEPLOY_API_KEY_STAGING=s\nDEPLOY_API_KEY=p\n")
    environ: dict[str, Any] = {
        "DEPLOY_ENVIRONMENT": "production",
        "DEPLOY_ENV_FILE": "ci.env",
        "DEPLOY_API_URL": PRODUCTION,
        "INVOKE_DEPLOY_API_URL": PRODUCTION,
        "DEPLOY_TIMEOUT": "5",
        "DEPLOY_TIMEOUT_STAGING": "6",
    }
    flags: dict[str, object] = {"app": "x", "namespace": "flagged", "environment": "production"}
    settings = load(tmp_path, "staging", is_selected=False, flags=flags, **environ)
    assert (settings.environment, settings.api_url, settings.api_key) == ("staging", STAGING, "s")
    assert (settings.app, settings.namespace, settings.port) == ("x", "apps", 1)
    assert (settings.timeout, settings.replicas) == (6, None)
    assert str(refused(tmp_path, "stagin", is_selected=False).next[0]).startswith(
        "Use --environment NAME (available: stag"
    )
    assert refused(tmp_path, "staging", is_selected=False, DEPLOY_API_URL_STAGING=PRODUCTION).what.startswith(
        "shell variable DEPLOY_API_URL_STAGING"
    )


def test_another_environment_is_about_the_same_app(tmp_path: Path) -> None:
    config: dict[str, Any] = {"environments": {"staging": {}, "production": {}, "qa": {"app": "shop-qa"}}}
    for name, app in (("production", "foo"), ("staging", "foo"), ("qa", "shop-qa")):
        assert load(tmp_path, name, config, is_selected=name == "production", DEPLOY_APP="foo").app == app


def test_a_variable_of_invoke_gives_no_key_to_another_environment(tmp_path: Path) -> None:
    """Invoke puts it into the configuration, where it looks as if it were for all environments."""
    environ = {"INVOKE_DEPLOY_API_KEY": "p"}
    project = Project(tmp_path, split({**TWO, "api_key": "p"}), environ, "production", without_variables=split(TWO))
    assert project.load(None, {}, environment="staging").get("api_key") is None
    assert project.load(None, {}).api_key == "p"


# --- variables ------------------------------------------------------------------------------------------------------


def test_a_secret_with_a_suffix_is_a_secret(tmp_path: Path) -> None:
    settings = load(tmp_path, "staging", DEPLOY_API_KEY_PRODUCTION="k3y-of-production", DEPLOY_PORT_STAGING="1")
    assert SECRET_VARIABLE.fullmatch("INVOKE_DEPLOY_ENVIRONMENTS_PRODUCTION_API_KEY")
    handed = {"DEPLOY_API_KEY_PRODUCTION": "x", "A": "k3y-of-production", "DEPLOY_GIT_TOKEN_QA": "", "B": "b"}
    assert settings.secrets_among(handed) == ["DEPLOY_API_KEY_PRODUCTION", "A", "DEPLOY_GIT_TOKEN_QA"]


def test_a_misspelt_suffix_is_warned_of(tmp_path: Path) -> None:
    settings = load(tmp_path, DEPLOY_API_KEY_PRODUCTON="x", DEPLOY_REPLICAS_STAGING="1", DEPLOY_API_TIMEOUT="1")
    assert list(settings.misspelt()) == [
        "DEPLOY_API_KEY_PRODUCTON is not a setting (did you mean DEPLOY_API_KEY_PRODUCTION?)"
    ]


def test_a_value_of_an_environment_has_its_source(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.origins["replicas"] == (
        Source.ENVIRONMENT,
        "configuration",
        "deploy.environments.production.replicas",
    )
    assert str(settings.origins["environment"]) == "flag --environment"


def test_the_record_of_another_environment_knows_only_the_image(tmp_path: Path) -> None:
    record = {"app": "shop", "namespace": "of-staging", "app_class": "non-business", "image_name": "team/shop"}
    for made_in, namespace, app_class in (
        ("production", "of-staging", "non-business"),
        ("staging", "apps", "business"),
        (None, "apps", "business"),
    ):
        settings = load(tmp_path).completed({**record, "environment": made_in}, {"app": lambda: "shop"})
        assert (settings.app, settings.image_name) == ("shop", "team/shop")
        assert (settings.namespace, settings.app_class) == (namespace, app_class)
    other = load(tmp_path).completed({**record, "environment": "staging"}, {"app": lambda: "renamed"})
    assert (other.app, other.image_name) == ("renamed", "renamed")
