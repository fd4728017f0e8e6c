"""The sources of settings, their values, and the errors about both."""

from __future__ import annotations

import datetime
import itertools
import os
import re
from pathlib import Path
from typing import Any

import pytest

from deploy_tasks.commands.init import example
from deploy_tasks.config.apps import split
from deploy_tasks.config.paths import project_root
from deploy_tasks.config.project import Project
from deploy_tasks.config.schema import BY_KEY, SECRETS, SETTINGS, WITH_VARIABLE
from deploy_tasks.config.settings import Settings
from deploy_tasks.errors import SettingsError
from deploy_tasks.tasks import ns

ROOT = Path(__file__).parent.parent

# Two good values for each setting, so that it shows which source won.
TWO_VALUES: dict[str, tuple[str, str]] = {
    "environment": ("one", "two"),
    "state_file": ("one.json", "two.json"),
    "api_url": ("https://one.example.com", "https://two.example.com"),
    "api_key": ("k3y-one", "k3y-two"),
    "api_timeout": ("11", "22"),
    "registry": ("one.example.com", "two.example.com:5000"),
    "registry_username": ("one", "two"),
    "registry_password": ("pass one", "pass two"),
    "git_token": ("t-one", "t-two"),
    "app": ("one", "two"),
    "namespace": ("n-one", "n-two"),
    "image_name": ("i/one", "i/two"),
    "app_class": ("business", "non-business"),
    "port": ("1", "2"),
    "replicas": ("1", "2"),
    "domain": ("one.example.com", "two.example.com"),
    "health_path": ("/one", "/two"),
    "tls": ("true", "false"),
    "docker": ("podman", "nerdctl"),
    "platform": ("linux/arm/v7", "linux/amd64,linux/arm64"),
    "dockerfile": ("One", "Two"),
    "build_context": ("one", "two"),
    "repo_url": ("https://example.com/one", "https://example.com/two"),
    "git_ref": ("one", "two"),
    "image_tag": ("v1", "v2"),
    "builder": ("one", "two"),
    "build_args": ("A=1", "B=2,C"),
    "timeout": ("111", "222"),
    "rollout_timeout": ("1", "2"),
    "build_if_needed": ("true", "false"),
    "lock_timeout": ("0", "5"),
    "jobs": ("1", "2"),
}
SOURCES = ["flag", "shell variable", ".env.local", ".env", "configuration", "INVOKE_DEPLOY", "the record", "git"]


def load(
    folder: Path,
    flags: dict[str, object] | None = None,
    config: dict[str, object] | None = None,
    environ: dict[str, str] | None = None,
) -> Settings:
    """The settings of the only app, without a record and git."""
    flags = flags or {}
    environment: Any = flags.get("environment")
    return Project(folder, split(config or {}), environ or {}, environment).load(None, flags)


def settings_from(folder: Path, given: dict[str, tuple[str, str]]) -> Settings:
    """The settings where each source in `given` has one `(key, value)`."""
    environ: dict[str, str] = {}
    config: dict[str, object] = {}
    record: dict[str, object] = {}
    flags: dict[str, object] = {}
    git: dict[str, Any] = {}
    if any(key == "environment" for key, _ in given.values()):
        config["environments"] = {"one": {}, "two": {}}
    for source, (key, value) in given.items():
        variable = f"DEPLOY_{key.upper()}"
        if source.startswith(".env"):
            (folder / source).write_text(f"{variable}='{value}'\n")
        elif source == "git":
            git[key] = lambda value=value: value
        elif source in ("shell variable", "INVOKE_DEPLOY"):
            environ[variable if source == "shell variable" else f"INVOKE_{variable}"] = value
        else:
            name = (BY_KEY[key].parameter or key) if source == "flag" else key
            {"flag": flags, "configuration": config, "the record": record}[source][name] = value
    return load(folder, flags, config, environ).completed(record, git)


def values_of(key: str) -> tuple[Any, Any]:
    one, two = TWO_VALUES[key]
    return BY_KEY[key].parse(one), BY_KEY[key].parse(two)


def test_each_setting_has_two_values_here() -> None:
    assert list(TWO_VALUES) == [row.key for row in WITH_VARIABLE]


@pytest.mark.parametrize("key", TWO_VALUES)
@pytest.mark.parametrize(("stronger", "weaker"), list(itertools.combinations(SOURCES, 2)))
def test_the_stronger_source_wins(tmp_path: Path, key: str, stronger: str, weaker: str) -> None:
    if key in ("state_file", "environment") and {"the record", "git"} & {stronger, weaker}:
        return  # neither says where the record is, or which cluster is meant
    one, two = TWO_VALUES[key]
    settings = settings_from(tmp_path, {stronger: (key, one), weaker: (key, two)})
    expected = tmp_path / one if key == "state_file" else values_of(key)[0]
    assert getattr(settings, key) == expected
    name = {"INVOKE_DEPLOY": "configuration"}.get(stronger, stronger)
    assert str(settings.origins[key]).startswith(name)


@pytest.mark.parametrize("key", [key for key in TWO_VALUES if key != "state_file"])
@pytest.mark.parametrize("source", ["shell variable", ".env.local", ".env", "configuration", "INVOKE_DEPLOY"])
def test_every_setting_has_every_source(tmp_path: Path, key: str, source: str) -> None:
    assert getattr(settings_from(tmp_path, {source: (key, TWO_VALUES[key][1])}), key) == values_of(key)[1]


def test_what_only_the_configuration_has_is_in_no_variable_for_invoke(tmp_path: Path) -> None:
    rows = [row for row in SETTINGS if row.only_configured]
    names = ["INVOKE_", *(f"INVOKE_DEPLOY_{row.key.upper()}" for row in rows)]
    settings = load(tmp_path, environ=dict.fromkeys(names, "x"))
    assert [settings.get(row.key) for row in rows] == [row.default for row in rows]


@pytest.mark.parametrize("source", ["shell variable", ".env", "configuration", "flag"])
def test_empty_means_unset(tmp_path: Path, source: str) -> None:
    settings = settings_from(tmp_path, {source: ("app", ""), "git": ("app", "from-git")})
    assert (settings.app, str(settings.origins["app"])) == ("from-git", "git")


@pytest.mark.parametrize("key", ["api_url", "api_key", "app", "image_name", "repo_url", "git_ref", "port"])
def test_reading_a_required_setting_without_a_value_is_an_error(tmp_path: Path, key: str) -> None:
    settings = load(tmp_path)
    assert settings.get(key) is None
    with pytest.raises(SettingsError) as error:
        getattr(settings, key)
    assert error.value.what.startswith(f"not set: DEPLOY_{'APP' if key == 'image_name' else key.upper()}")


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(AttributeError, match="app cannot be changed"):
        load(tmp_path).app = "x"


def test_the_defaults_of_the_users_document(tmp_path: Path) -> None:
    settings = settings_from(tmp_path, {})
    assert settings.api_timeout == 30
    assert settings.registry == "registry.kubernetes.crianex.com"
    assert (settings.docker, settings.platform) == ("docker", "linux/amd64")
    assert (settings.app_class, settings.namespace) == ("business", "apps")
    assert settings.state_file == tmp_path / ".deploy" / "build-id.json"


def test_git_is_asked_only_for_what_nobody_gave(tmp_path: Path) -> None:
    def never() -> str:
        raise AssertionError("asked")

    load(tmp_path, {"app": "given"}).completed({}, {"app": never})
    load(tmp_path).completed({"app": "recorded"}, {"app": never})


@pytest.mark.parametrize(
    ("given", "namespace"),
    [
        ({}, "apps"),
        ({"flag": ("app_class", "non-business")}, "non-business-apps"),
        ({"the record": ("namespace", "recorded")}, "recorded"),
        ({"the record": ("namespace", "recorded"), "flag": ("app_class", "non-business")}, "non-business-apps"),
        ({"the record": ("namespace", "recorded"), "flag": ("app_class", "business")}, "recorded"),
        ({"flag": ("app_class", "non-business"), "shell variable": ("namespace", "said")}, "said"),
    ],
)
def test_the_app_class_decides_the_namespace_unless_it_is_given(
    tmp_path: Path, given: dict[str, tuple[str, str]], namespace: str
) -> None:
    assert settings_from(tmp_path, given).namespace == namespace


def test_the_record_of_another_app_does_not_count(tmp_path: Path) -> None:
    record = {"app": "recorded", "image_name": "recorded-image", "namespace": "recorded-space"}
    for app, image in (("recorded", "recorded-image"), ("other", "other")):
        settings = load(tmp_path, {"app": app}).completed(record, {})
        assert settings.image_name == image
    assert settings.namespace == "apps"


def test_a_record_without_an_app_counts_for_every_app(tmp_path: Path) -> None:
    record = {"app": None, "image_name": "recorded-image"}
    settings = load(tmp_path, {"app": "any"}).completed(record, {})
    assert settings.image_name == "recorded-image"


def test_a_chosen_value_differs_from_a_default(tmp_path: Path) -> None:
    settings = settings_from(tmp_path, {"shell variable": ("app", "one")})
    assert (settings.image_name, settings.given("image_name")) == ("one", None)
    settings = settings_from(tmp_path, {"shell variable": ("image_name", "one")})
    assert settings.given("image_name") == "one"


BAD = {
    "api_url": [
        "deploy.local",
        "localhost:8080",
        "ftp://x",
        "file:///etc/passwd",
        "http://",
        "https://",
        "http://[::1",
        "http://a b/",
        "https://x:99999",
        "https://x:0",
        "https://x:abc",
        "https://user:pass@x",
        "https://user@x",
        f"https://{'a' * 70}.example.com",
        "http://deploy.example.com",
        "https://x/?a=b",
        "https://x/#a",
        "https://x?",
        "https://x/#",
        "https://x\n",
    ],
    "api_key": [" ", "a b", "key\n", "key\r\nX: y", "k\u2019y", "k\0y"],
    "api_timeout": ["abc", "0", "-1", "nan", "inf", "1e12", "1,2"],
    "registry": ["http://x", "x/y", "x:0", "x:99999", "x:", "-x", "a b"],
    "registry_password": ["a\nb"],
    "app": ["My_App", "../x", "a" * 64],
    "image_name": ["..", "../../build", "Team/App", "a//b", "a\n", "host:5000/app"],
    "image_tag": ["-v", "a" * 129, "$(id)"],
    "app_class": ["gold", "Business"],
    "port": ["0", "010", "70000", "-1", "3000.5", "\u0663", "1" * 5000],
    "replicas": ["-1", "many", "1001"],
    "domain": ["a b", "https://x", "a,,b", "*", "x.*"],
    "health_path": ["health", "/a b", "/a\n"],
    "docker": ["--help", "a\nb"],
    "platform": [
        "linux",
        "--help",
        "linux/amd64;id",
        "linux/nonsense",
        "linux/amd64,",
        "linux/arm/seven",
        "linux/arm/v7/x",
    ],
    "build_context": ["--help", "-"],
    "dockerfile": ["--help"],
    "repo_url": ["--upload-pack=x", "https://user:pass@h/a", "https://t@h/a", "HTTPS://u:t@h/a", "https://u:a/b@h/c"],
    "state_file": ["/", "a/", ".", "a\nb"],
    "build_args": ["=x", "1A=x", "A B=x", "--help", "A=1,,B"],
    "builder": ["--help"],
    "git_ref": ["--help", "a\nb"],
    "timeout": ["0", "soon"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_a_bad_value_is_one_line_that_names_its_source(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(SettingsError) as error:
        settings_from(tmp_path, {"shell variable": (key, value)})
    assert error.value.what.startswith(f"shell variable DEPLOY_{key.upper()}: ")
    assert error.value.effect == "Nothing was sent"
    assert "\n" not in str(error.value)
    assert error.value.code == 2


@pytest.mark.parametrize("value", ["pass@word1", "s3cr\net", "k\u2019y-s3cret"])
def test_a_bad_secret_is_not_repeated(tmp_path: Path, value: str) -> None:
    texts = {"api_key": f"{value}\n", "api_url": f"https://u:{value}@x", "registry_password": f"{value}\n"}
    for key, text in texts.items():
        with pytest.raises(SettingsError) as error:
            settings_from(tmp_path, {"shell variable": (key, text)})
        assert value not in str(error.value)


@pytest.mark.parametrize(
    "url",
    ["http://localhost:8080", "http://127.0.0.1:1/base/", "http://[::1]:81", "https://[2001:db8::1]", "https://h/p/"],
)
def test_a_url_that_keeps_the_key_secret_is_accepted(tmp_path: Path, url: str) -> None:
    assert settings_from(tmp_path, {"shell variable": ("api_url", url)}).api_url == url.rstrip("/")


def test_a_number_from_yaml_or_python_is_a_number(tmp_path: Path) -> None:
    settings = load(tmp_path, {"port": 3000}, {"replicas": 2, "api_timeout": 1.5})
    assert (settings.port, settings.replicas, settings.api_timeout) == (3000, 2, 1.5)


@pytest.mark.parametrize("key", ["namespace", "app_class", "git_ref", "port", "timeout", "tls", "api_key", "api_url"])
@pytest.mark.parametrize("value", [["a"], {"a": 1}])
def test_a_list_or_a_table_is_not_one_value(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, config={key: value})
    assert error.value.what.startswith(f"configuration deploy.{key}: ")


def test_an_empty_list_is_not_given(tmp_path: Path) -> None:
    assert load(tmp_path, config={"dockerfile": []}).dockerfile == "Dockerfile"


@pytest.mark.parametrize("value", [1.1, True, datetime.date(2026, 1, 1)])
@pytest.mark.parametrize("key", ["app", "image_tag", "namespace", "git_ref", "dockerfile", "domain", "env", "env_file"])
def test_a_number_a_switch_or_a_date_in_the_place_of_a_text_is_refused(tmp_path: Path, key: str, value: object) -> None:
    config = {key: {"COUNTRY": value} if key == "env" else value}
    with pytest.raises(SettingsError) as error:
        load(tmp_path, config=config)
    which = "'COUNTRY': " if key == "env" else ""
    says = f"this is a {type(value).__name__}, but a text is needed, so put it in quotes"
    assert error.value.what == f"configuration deploy.{key}: {which}{says}"


def test_a_whole_number_in_the_place_of_a_text_is_its_digits(tmp_path: Path) -> None:
    settings = load(tmp_path, config={"app": 123, "env": {"PORT": 3000}})
    assert (settings.app, settings.env) == ("123", {"PORT": "3000"})


def test_a_byte_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="a byte that is not UTF-8"):
        load(tmp_path, {"health_path": "/\udcff"})


@pytest.mark.parametrize(
    "value", [{"A": 1, "B": "true", "C": None}, ["A=1", "B=true", "C"], "A=1, B=true, C"], ids=["table", "list", "text"]
)
def test_build_args_as_a_table_a_list_and_text(tmp_path: Path, value: Any) -> None:
    settings = load(tmp_path, config={"build_args": value})
    assert settings.build_args == ("A=1", "B=true", "C")


def test_domains_from_text_and_from_a_list(tmp_path: Path) -> None:
    from_text = settings_from(tmp_path, {"shell variable": ("domain", "a.example.com, *.b.example.com")})
    from_list = load(tmp_path, {"domain": ["a.example.com", "*.b.example.com"]})
    assert from_text.domain == from_list.domain == ("a.example.com", "*.b.example.com")


def test_no_task_has_a_flag_for_a_secret() -> None:
    flags = {
        name for task in ns.task_names if task != "sandbox" for flag in ns[task].get_arguments() for name in flag.names
    }
    assert not flags & {row.key.replace("_", "-") for row in SECRETS}


def test_no_secret_in_the_text_of_settings(tmp_path: Path) -> None:
    secrets = {"api_key": "k3y", "registry_password": "p4ss", "git_token": "t0ken"}
    settings = load(tmp_path, environ={f"DEPLOY_{key.upper()}": value for key, value in secrets.items()})
    assert {key: settings.get(key) for key in secrets} == secrets
    assert not any(value in repr(settings) for value in secrets.values())


# --- .env files -----------------------------------------------------------------------------------------------------


def test_env_files_do_not_change_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "export DEPLOY_APP=one # comment\nHTTPS_PROXY=http://evil\nDEPLOY_GIT_TOKEN='a${HOME}b'\n"
    )
    before = dict(os.environ)
    settings = load(tmp_path)
    assert (settings.app, settings.git_token) == ("one", "a${HOME}b")
    assert dict(os.environ) == before


def test_an_env_file_is_read_once_for_a_project(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DEPLOY_APP=one\n")
    project = Project(tmp_path, split({}), {})
    assert project.load(None, {}).app == "one"
    (tmp_path / ".env").write_text("DEPLOY_APP=two\n")
    assert project.load(None, {}).app == "one"
    assert Project(tmp_path, split({}), {}).load(None, {}).app == "two"


@pytest.mark.parametrize(
    ("source", "is_refused"), [(".env", True), ("shell variable", False), ("configuration", False)]
)
def test_an_env_file_cannot_name_a_program_that_is_not_an_engine(tmp_path: Path, source: str, is_refused: bool) -> None:
    (tmp_path / ".env").write_text("DEPLOY_DOCKER=./trap\n" if source == ".env" else "")
    config = {"docker": "./trap"} if source == "configuration" else {}
    environ = {"DEPLOY_DOCKER": "./trap"} if source == "shell variable" else {}
    project = Project(tmp_path, split(config), environ, engines=frozenset(("docker", "podman")))
    if not is_refused:
        assert project.load(None, {}).docker == "./trap"
        return
    with pytest.raises(SettingsError) as error:
        project.load(None, {})
    assert error.value.what == ".env DEPLOY_DOCKER names a program that deploy-tasks does not run"


@pytest.mark.parametrize("app", ["all", "a,b"])
def test_several_apps_need_a_table(tmp_path: Path, app: str) -> None:
    with pytest.raises(SettingsError, match=f"app {app} needs a table of apps"):
        load(tmp_path, {"app": app})


def test_the_root_is_the_nearest_folder_with_tasks_or_git(tmp_path: Path) -> None:
    deep = tmp_path / "repo" / "service" / "src"
    deep.mkdir(parents=True)
    assert project_root(deep) == deep
    (tmp_path / "repo" / ".git").mkdir()
    assert project_root(deep) == tmp_path / "repo"
    (tmp_path / "repo" / "service" / "tasks.py").touch()
    assert project_root(deep) == tmp_path / "repo" / "service"


def test_deploy_env_file_names_another_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DEPLOY_APP=one\nDEPLOY_PORT=1\n")
    (tmp_path / "ci.env").write_text("DEPLOY_APP=two\n")
    environ = {"DEPLOY_ENV_FILE": str(tmp_path / "ci.env")}
    settings = load(tmp_path, environ=environ)
    assert (settings.app, settings.get("port")) == ("two", None)
    assert load(tmp_path, environ={"DEPLOY_ENV_FILE": "ci.env"}).app == "two"
    with pytest.raises(SettingsError, match="DEPLOY_ENV_FILE names nowhere"):
        load(tmp_path, environ={"DEPLOY_ENV_FILE": "nowhere"})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("DEPLOY_APP=x".encode("utf-16"), "is not UTF-8 text"),
        ("DEPLOY_APP=\u00e9".encode("latin-1"), "is not UTF-8 text"),
        (b"A=b\nDEPLOY_API_KEY='s3cret\n", "line 2: not KEY=value"),
    ],
)
def test_an_env_file_that_cannot_be_parsed_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(SettingsError, match=re.escape(says)) as error:
        load(tmp_path)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("kind", ["fifo", "folder", "dangling"])
def test_an_env_file_that_is_not_a_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ".env"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    with pytest.raises(SettingsError, match=r"\.env (is not a regular file|cannot be read)"):
        load(tmp_path)


def test_an_env_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DEPLOY_APP=one\n", encoding="utf-8-sig")
    assert load(tmp_path).app == "one"


# --- the table and the documents ------------------------------------------------------------------------------------


def test_each_row_of_the_table_is_an_attribute_of_settings(tmp_path: Path) -> None:
    settings = load(tmp_path, {"app": "a", "port": 1, "repo_url": "/x", "git_ref": "main"})
    required = {"api_url", "api_key", "app", "image_name", "port", "repo_url", "git_ref"}
    assert {row.key for row in SETTINGS} == set(BY_KEY) <= Settings.__annotations__.keys() | required
    assert (settings.app, settings.image_name, settings.port, settings.git_ref) == ("a", "a", 1, "main")


def test_the_example_is_what_the_table_makes() -> None:
    assert (ROOT / ".env.example").read_text() == example()
