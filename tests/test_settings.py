"""Where a value comes from, what it must be, and what is said where it is neither."""

from __future__ import annotations

import datetime
import itertools
import os
import re
from pathlib import Path
from typing import Any

import pytest

from deploy_tasks.commands.init import example
from deploy_tasks.config.settings import TABLE, Settings, project_root, resolve
from deploy_tasks.errors import SettingsError

ROOT = Path(__file__).parent.parent

# Two good values for each setting, so that it shows which source won.
TWO_VALUES: dict[str, tuple[str, str]] = {
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
SOURCES = ["flag", "environment", ".env.local", ".env", "configuration", "INVOKE_DEPLOY", "the record", "git"]


def settings_from(folder: Path, given: dict[str, tuple[str, str]], **more: Any) -> Settings:
    """The settings where each source in `given` has one `(key, value)`."""
    environ: dict[str, str] = {}
    config: dict[str, object] = {}
    record: dict[str, object] = {}
    flags: dict[str, object] = {}
    git: dict[str, Any] = {}
    for source, (key, value) in given.items():
        variable = f"DEPLOY_{key.upper()}"
        if source.startswith(".env"):
            (folder / source).write_text(f"{variable}='{value}'\n")
        elif source == "git":
            git[key] = lambda value=value: value
        elif source in ("environment", "INVOKE_DEPLOY"):
            environ[variable if source == "environment" else f"INVOKE_{variable}"] = value
        else:
            {"flag": flags, "configuration": config, "the record": record}[source][key] = value
    (folder / "tasks.py").touch()
    return resolve(flags, config=config, environ=environ, folder=folder, record=lambda _: record, git=git, **more)


def values_of(key: str) -> tuple[Any, Any]:
    row = next(row for row in TABLE if row.key == key)
    one, two = TWO_VALUES[key]
    return row.parse(one), row.parse(two)


def test_each_setting_has_two_values_here() -> None:
    assert list(TWO_VALUES) == [row.key for row in TABLE]


@pytest.mark.parametrize("key", TWO_VALUES)
@pytest.mark.parametrize(("stronger", "weaker"), list(itertools.combinations(SOURCES, 2)))
def test_the_stronger_source_wins(tmp_path: Path, key: str, stronger: str, weaker: str) -> None:
    secret = next(row.secret for row in TABLE if row.key == key)
    if (secret and stronger == "flag") or (key == "state_file" and "the record" in (stronger, weaker)):
        return  # a secret has no flag, and a record does not say where it lies
    one, two = TWO_VALUES[key]
    settings = settings_from(tmp_path, {stronger: (key, one), weaker: (key, two)})
    expected = tmp_path / one if key == "state_file" else values_of(key)[0]
    assert getattr(settings, key) == expected
    name = {"INVOKE_DEPLOY": "configuration"}.get(stronger, stronger)
    assert str(settings.origins[key]).startswith(name)


@pytest.mark.parametrize("key", [key for key in TWO_VALUES if key != "state_file"])
@pytest.mark.parametrize("source", ["environment", ".env.local", ".env", "configuration", "INVOKE_DEPLOY"])
def test_every_setting_has_every_source(tmp_path: Path, key: str, source: str) -> None:
    assert getattr(settings_from(tmp_path, {source: (key, TWO_VALUES[key][1])}), key) == values_of(key)[1]


@pytest.mark.parametrize("source", ["environment", ".env", "configuration", "flag"])
def test_empty_means_unset(tmp_path: Path, source: str) -> None:
    settings = settings_from(tmp_path, {source: ("app", ""), "git": ("app", "from-git")})
    assert (settings.app, str(settings.origins["app"])) == ("from-git", "git")


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

    resolve({"app": "given"}, config={}, environ={}, folder=tmp_path, git={"app": never})


@pytest.mark.parametrize(
    ("given", "namespace"),
    [
        ({}, "apps"),
        ({"flag": ("app_class", "non-business")}, "non-business-apps"),
        ({"the record": ("namespace", "recorded")}, "recorded"),
        ({"the record": ("namespace", "recorded"), "flag": ("app_class", "non-business")}, "non-business-apps"),
        ({"the record": ("namespace", "recorded"), "flag": ("app_class", "business")}, "recorded"),
        ({"flag": ("app_class", "non-business"), "environment": ("namespace", "said")}, "said"),
    ],
)
def test_the_app_class_decides_the_namespace_where_nobody_does(
    tmp_path: Path, given: dict[str, tuple[str, str]], namespace: str
) -> None:
    assert settings_from(tmp_path, given).namespace == namespace


def test_another_apps_record_says_nothing(tmp_path: Path) -> None:
    record = {"app": "recorded", "image_name": "recorded-image", "namespace": "recorded-space"}
    for app, image in (("recorded", "recorded-image"), ("other", "other")):
        settings = resolve({"app": app}, config={}, environ={}, folder=tmp_path, record=lambda _: record)
        assert settings.image_name == image
    assert settings.namespace == "apps"


def test_a_record_of_no_app_is_anybodys(tmp_path: Path) -> None:
    record = {"app": None, "image_name": "recorded-image"}
    settings = resolve({"app": "any"}, config={}, environ={}, folder=tmp_path, record=lambda _: record)
    assert settings.image_name == "recorded-image"


def test_what_is_given_is_told_from_what_is_a_default(tmp_path: Path) -> None:
    settings = settings_from(tmp_path, {"environment": ("app", "one")})
    assert (settings.image_name, settings.given("image_name")) == ("one", None)
    settings = settings_from(tmp_path, {"environment": ("image_name", "one")})
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
        settings_from(tmp_path, {"environment": (key, value)})
    message = str(error.value)
    assert message.startswith(f"environment DEPLOY_{key.upper()}: ")
    assert message.endswith(". Nothing was sent")
    assert "\n" not in message
    assert error.value.code == 2


@pytest.mark.parametrize("value", ["pass@word1", "s3cr\net", "k\u2019y-s3cret"])
def test_a_bad_secret_is_not_repeated(tmp_path: Path, value: str) -> None:
    texts = {"api_key": f"{value}\n", "api_url": f"https://u:{value}@x", "registry_password": f"{value}\n"}
    for key, text in texts.items():
        with pytest.raises(SettingsError) as error:
            settings_from(tmp_path, {"environment": (key, text)})
        assert value not in str(error.value)


@pytest.mark.parametrize(
    "url",
    ["http://localhost:8080", "http://127.0.0.1:1/base/", "http://[::1]:80", "https://[2001:db8::1]", "https://h/p/"],
)
def test_a_url_that_keeps_the_key_secret_is_taken(tmp_path: Path, url: str) -> None:
    assert settings_from(tmp_path, {"environment": ("api_url", url)}).api_url == url.rstrip("/")


def test_a_number_from_yaml_or_python_is_a_number(tmp_path: Path) -> None:
    settings = resolve({"port": 3000}, config={"replicas": 2, "api_timeout": 1.5}, environ={}, folder=tmp_path)
    assert (settings.port, settings.replicas, settings.api_timeout) == (3000, 2, 1.5)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("app", ["a"]),
        ("app", {"a": 1}),
        ("app_class", ["x"]),
        ("git_ref", {"a": "b"}),
        ("port", [1]),
        ("dockerfile", []),
    ],
)
def test_a_list_or_table_in_the_place_of_one_value_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    if value:
        with pytest.raises(
            SettingsError, match=f"configuration deploy.{key}: that is one value, not a list or a table"
        ):
            resolve({}, config={key: value}, environ={}, folder=tmp_path)
    else:
        assert resolve({}, config={key: value}, environ={}, folder=tmp_path).dockerfile == "Dockerfile"


@pytest.mark.parametrize("value", [1.1, True, datetime.date(2026, 1, 1)])
@pytest.mark.parametrize("key", ["app", "image_tag", "namespace", "git_ref", "dockerfile", "domain", "env", "env_file"])
def test_a_number_a_switch_or_a_date_in_the_place_of_a_text_is_refused(tmp_path: Path, key: str, value: object) -> None:
    config = {key: {"COUNTRY": value} if key == "env" else value}
    says = rf"configuration deploy\.{key}: ('COUNTRY': )?that is a {type(value).__name__}, where a text is needed"
    with pytest.raises(SettingsError, match=f"{says}; put it in quotes. Nothing was sent"):
        resolve({}, config=config, environ={}, folder=tmp_path)


def test_a_whole_number_in_the_place_of_a_text_is_its_digits(tmp_path: Path) -> None:
    settings = resolve({}, config={"app": 123, "env": {"PORT": 3000}}, environ={}, folder=tmp_path)
    assert (settings.app, settings.env) == ("123", {"PORT": "3000"})


def test_a_byte_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="a byte in it that is no UTF-8 text"):
        resolve({"health_path": "/\udcff"}, config={}, environ={}, folder=tmp_path)


@pytest.mark.parametrize(
    "value", [{"A": 1, "B": "true", "C": None}, ["A=1", "B=true", "C"], "A=1, B=true, C"], ids=["table", "list", "text"]
)
def test_build_args_as_a_table_a_list_and_text(tmp_path: Path, value: Any) -> None:
    settings = resolve({}, config={"build_args": value}, environ={}, folder=tmp_path)
    assert settings.build_args == ("A=1", "B=true", "C")


def test_domains_from_text_and_from_a_list(tmp_path: Path) -> None:
    from_text = settings_from(tmp_path, {"environment": ("domain", "a.example.com, *.b.example.com")})
    from_list = resolve({"domain": ["a.example.com", "*.b.example.com"]}, config={}, environ={}, folder=tmp_path)
    assert from_text.domain == from_list.domain == ("a.example.com", "*.b.example.com")


def test_a_secret_has_no_flag(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no place for one: set DEPLOY_API_KEY"):
        resolve({"api_key": "k"}, config={}, environ={}, folder=tmp_path)


def test_no_secret_in_the_text_of_settings(tmp_path: Path) -> None:
    secrets = {"api_key": "k3y", "registry_password": "p4ss", "git_token": "t0ken"}
    settings = resolve(
        {}, config={}, environ={f"DEPLOY_{key.upper()}": value for key, value in secrets.items()}, folder=tmp_path
    )
    assert sorted(settings.secrets) == sorted(secrets.values())
    assert not any(value in repr(settings) for value in secrets.values())


# --- .env files -----------------------------------------------------------------------------------------------------


def test_env_files_leave_the_environment_alone(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "export DEPLOY_APP=one # comment\nHTTPS_PROXY=http://evil\nDEPLOY_GIT_TOKEN='a${HOME}b'\n"
    )
    before = dict(os.environ)
    settings = resolve({}, config={}, environ={}, folder=tmp_path)
    assert (settings.app, settings.git_token) == ("one", "a${HOME}b")
    assert dict(os.environ) == before


def test_the_root_is_the_nearest_folder_with_tasks_or_git(tmp_path: Path) -> None:
    deep = tmp_path / "repo" / "service" / "src"
    deep.mkdir(parents=True)
    assert project_root(deep) == deep
    (tmp_path / "repo" / ".git").mkdir()
    assert project_root(deep) == tmp_path / "repo"
    (tmp_path / "repo" / "service" / "tasks.py").touch()
    assert project_root(deep) == tmp_path / "repo" / "service"


def test_env_file_names_another(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DEPLOY_APP=one\nDEPLOY_PORT=1\n")
    (tmp_path / "ci.env").write_text("DEPLOY_APP=two\n")
    environ = {"DEPLOY_ENV_FILE": str(tmp_path / "ci.env")}
    settings = resolve({}, config={}, environ=environ, folder=tmp_path)
    assert (settings.app, settings.port) == ("two", None)
    assert resolve({}, config={}, environ={"DEPLOY_ENV_FILE": "ci.env"}, folder=tmp_path).app == "two"
    with pytest.raises(SettingsError, match="DEPLOY_ENV_FILE names nowhere"):
        resolve({}, config={}, environ={"DEPLOY_ENV_FILE": "nowhere"}, folder=tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("DEPLOY_APP=x".encode("utf-16"), "is not UTF-8 text"),
        ("DEPLOY_APP=\u00e9".encode("latin-1"), "is not UTF-8 text"),
        (b"A=b\nDEPLOY_API_KEY='s3cret\n", "line 2: not KEY=value"),
    ],
)
def test_an_env_file_that_cannot_be_read_right_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(SettingsError, match=re.escape(says)) as error:
        resolve({}, config={}, environ={}, folder=tmp_path)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("kind", ["fifo", "folder", "dangling"])
def test_an_env_file_that_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ".env"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    with pytest.raises(SettingsError, match=r"\.env (is not a regular file|cannot be read)"):
        resolve({}, config={}, environ={}, folder=tmp_path)


def test_an_env_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DEPLOY_APP=one\n", encoding="utf-8-sig")
    assert resolve({}, config={}, environ={}, folder=tmp_path).app == "one"


# --- the table and the documents ------------------------------------------------------------------------------------


def test_the_example_is_what_the_table_makes() -> None:
    assert (ROOT / ".env.example").read_text() == example()
