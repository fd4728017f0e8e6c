"""What a value means, wherever it is written: real `invoke` processes, and the request that they would send."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.project import Project, dry_request, three_apps

DIGEST = f"sha256:{64 * 'a'}"
REUSE = ("reuse", f"--build-id={DIGEST}")
NEEDED = {"DEPLOY_API_URL": "http://127.0.0.1:1", "DEPLOY_API_KEY": "k3y-of-the-api"}


@pytest.fixture
def shop(project: Project) -> Project:
    """A pushed repository with an API that is never asked."""
    project.environment.update(NEEDED, DEPLOY_PORT="3000")
    return project


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The error of a call that was refused before anything was sent."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    return done.stderr


# --- sources --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["git.env", "default.env", "flag.env", "the record", "configuration"])
def test_the_name_of_an_env_file_does_not_change_what_is_sent(shop: Project, name: str) -> None:
    shop.write(name, "DEPLOY_IMAGE_NAME=team/shop\nDEPLOY_DOCKERFILE=./Dockerfile\nDEPLOY_BUILD_CONTEXT=./\n")
    sent = dry_request(shop.invoke("--dry", "build", DEPLOY_ENV_FILE=name))
    assert (sent["imageName"], sent["dockerfile"], sent["buildContext"]) == ("team/shop", "./Dockerfile", "./")


def test_a_repository_named_in_a_file_called_git_is_not_the_checkout(shop: Project) -> None:
    shop.write("api/tasks.py", "from deploy_tasks import ns\n")
    shop.write("api/git.env", "DEPLOY_REPO_URL=https://git.example.com/other/repo\n")
    sent = dry_request(shop.invoke("--dry", "build", at="api", DEPLOY_ENV_FILE="git.env", DEPLOY_GIT_REF="main"))
    assert sent["repoUrl"] == "https://git.example.com/other/repo"
    assert not {"dockerfile", "buildContext"} & sent.keys(), "no folder of this checkout"


def test_a_repository_from_elsewhere_needs_no_dockerfile_here(tmp_path: Path) -> None:
    shop = three_apps(tmp_path / "shop")
    shop.environment.update(NEEDED, SUPABASE_SERVICE_ROLE_KEY="service-role")
    (shop.folder / "k8s.backend.Dockerfile").unlink()
    assert "there is no Dockerfile" in refusal(shop.invoke("--dry", "build", "--app=backend"))
    sent = dry_request(shop.invoke("--dry", "build", "--app=backend", "--repo-url=https://git.example.com/other/repo"))
    assert sent["dockerfile"] == "k8s.backend.Dockerfile"


# --- YAML -----------------------------------------------------------------------------------------------------------


def test_a_text_in_yaml_is_the_text_that_is_written_there(shop: Project) -> None:
    shop.write(
        "invoke.yaml",
        "deploy:\n  env: {COUNTRY: NO, MODE: 0755, VERSION: 1.10, AT: 12:30, MANY: 1_000, DAY: 2026-01-02, FLAG: Yes,\n"
        "    PORT: 3000, EMPTY: '', HEX: 0x1f, EXP: 1e3, QUOTED: '1.10'}\n",
    )
    sent = dry_request(shop.invoke("--dry", *REUSE))
    assert sent["deployConfig"]["env"] == {
        "COUNTRY": "NO",
        "MODE": "0755",
        "VERSION": "1.10",
        "AT": "12:30",
        "MANY": "1_000",
        "DAY": "2026-01-02",
        "FLAG": "Yes",
        "PORT": "3000",
        "EMPTY": "",
        "HEX": "0x1f",
        "EXP": "1e3",
        "QUOTED": "1.10",
    }


def test_a_tag_and_a_commit_in_yaml_are_the_text_that_is_written_there(shop: Project) -> None:
    shop.write("invoke.yaml", "deploy:\n  image_tag: 1.10\n  git_ref: 0123456\n")
    sent = dry_request(shop.invoke("--dry", "build"))
    assert (sent["imageTag"], sent["gitRef"]) == ("1.10", "0123456")


@pytest.mark.parametrize("file", ["invoke.yml", "other.yaml"])
def test_every_yaml_file_that_invoke_reads_is_taken_as_written(shop: Project, file: str) -> None:
    shop.write(file, "deploy: {image_tag: 1.10}\n")
    runtime = ["-f", file] if file == "other.yaml" else []
    assert dry_request(shop.invoke("--dry", *runtime, "build"))["imageTag"] == "1.10"


def test_what_an_app_has_in_yaml_is_the_text_that_is_written_there(shop: Project) -> None:
    shop.write(
        "invoke.yaml", "all: &all {REGION: NO}\ndeploy:\n  apps:\n    a: {port: 1, env: {<<: *all, MODE: 0755}}\n"
    )
    sent = dry_request(shop.invoke("--dry", *REUSE, "--app=a"))
    assert sent["deployConfig"]["env"] == {"REGION": "NO", "MODE": "0755"}


@pytest.mark.parametrize(
    ("key", "value"),
    [("port", "010"), ("port", "1:30"), ("port", "1_000"), ("port", "0x50"), ("replicas", "1:30"), ("jobs", "010")],
)
def test_a_number_that_yaml_reads_otherwise_than_a_person_is_refused(shop: Project, key: str, value: str) -> None:
    del shop.environment["DEPLOY_PORT"]
    shop.write("invoke.yaml", f"deploy:\n  {key}: {value}\n")
    assert f"configuration deploy.{key}: '{value}' is not a" in refusal(shop.invoke("--dry", *REUSE))


def test_numbers_and_switches_in_yaml_mean_what_they_say(shop: Project) -> None:
    del shop.environment["DEPLOY_PORT"]
    shop.write("invoke.yaml", "deploy: {port: 8080, replicas: 0, tls: no, api_timeout: 1.5, metrics: {port: 9090}}\n")
    config = dry_request(shop.invoke("--dry", *REUSE))["deployConfig"]
    assert (config["port"], config["replicas"], config["tls"], config["metrics"]) == (8080, 0, False, {"port": 9090})


def test_numbers_and_switches_of_python_mean_what_they_say(shop: Project) -> None:
    del shop.environment["DEPLOY_PORT"]
    configured = {"deploy": {"port": 3000, "replicas": 2, "tls": False, "timeout": 1.5, "env": {"PORT": 3000}}}
    shop.write("tasks.py", f"from deploy_tasks import ns\nns.configure({configured!r})\n")
    config = dry_request(shop.invoke("--dry", *REUSE))["deployConfig"]
    assert (config["port"], config["replicas"], config["tls"], config["env"]) == (3000, 2, False, {"PORT": "3000"})


@pytest.mark.parametrize(("written", "kind"), [("false", "bool"), ("1.10", "float")])
def test_json_and_python_quote_a_text(shop: Project, written: str, kind: str) -> None:
    shop.write("invoke.json", f'{{"deploy": {{"env": {{"VALUE": {written}}}}}}}')
    said = refusal(shop.invoke("--dry", *REUSE))
    assert f"configuration deploy.env: 'VALUE': this is a {kind}, but a text is needed, so put it in quotes" in said


def test_a_variable_of_invoke_is_the_text_that_is_written_there(shop: Project) -> None:
    shop.write("invoke.yaml", "deploy: {tls: true, git_ref: 1234567, env: {MODE: 1}}\n")
    variables = {"INVOKE_DEPLOY_TLS": "no", "INVOKE_DEPLOY_GIT_REF": "0123456", "INVOKE_DEPLOY_ENV_MODE": "0755"}
    assert dry_request(shop.invoke("--dry", "build", **variables))["gitRef"] == "0123456"
    config = dry_request(shop.invoke("--dry", *REUSE, **variables))["deployConfig"]
    assert (config["tls"], config["env"]) == (False, {"MODE": "0755"})


# --- empty variables ------------------------------------------------------------------------------------------------


def test_an_empty_variable_gives_nothing_to_a_setting_a_name_or_a_flag(shop: Project) -> None:
    shop.write("invoke.yaml", "deploy: {env_from: [NAMED], env_from_optional: [OPTIONAL]}\n")
    shop.write(".env", "DEPLOY_PORT=8080\nNAMED=by the file\n")
    empty = {"DEPLOY_PORT": "", "NAMED": "", "OPTIONAL": "", "TYPED": ""}
    config = dry_request(shop.invoke("--dry", *REUSE, **empty))["deployConfig"]
    assert (config["port"], config["env"]) == (8080, {"NAMED": "***"}), "a weaker source counts"
    said = refusal(shop.invoke("--dry", *REUSE, "--env=TYPED", **empty))
    assert "Give KEY=VALUE, or TYPED= for an empty value, or set it in the shell or in .env" in said
    assert dry_request(shop.invoke("--dry", *REUSE, "--env=TYPED=", **empty))["deployConfig"]["env"]["TYPED"] == ""


@pytest.mark.parametrize("place", ["environment", ".env"])
def test_an_error_says_which_variables_are_empty(shop: Project, place: str) -> None:
    shop.write("invoke.yaml", "deploy: {env_from: [NAMED, OTHER], build_args: [ARG]}\n")
    empty = {"DEPLOY_API_KEY": "", "NAMED": "", "ARG": ""}
    if place == ".env":
        del shop.environment["DEPLOY_API_KEY"]
        shop.write(".env", "".join(f"{name}=\n" for name in empty))
        empty = {}
    said = refusal(shop.invoke("--dry", *REUSE, **empty))
    assert "not set: DEPLOY_API_KEY (it is empty), and no value for NAMED (it is empty), OTHER. " in said
    said = refusal(shop.invoke("--dry", "local", **{**empty, "DEPLOY_API_KEY": "key"}))
    assert "build arg ARG (it is empty) has no value" in said


# --- what is missing ------------------------------------------------------------------------------------------------


def test_an_env_file_may_be_missing_where_the_environment_has_its_variables(tmp_path: Path) -> None:
    shop = three_apps(tmp_path / "shop")
    shop.environment.update(NEEDED)
    (shop.folder / "frontend" / ".env").unlink()
    done = shop.invoke("--dry", "build", "--app=frontend", PUBLIC_SUPABASE_URL="https://public.example.com")
    assert dry_request(done)["app"] == "shop-frontend"


def test_a_missing_env_file_is_named_with_the_variables_that_have_no_value(tmp_path: Path) -> None:
    shop = three_apps(tmp_path / "shop")
    shop.environment.update(NEEDED)
    (shop.folder / "frontend" / ".env").unlink()
    said = refusal(shop.invoke("--dry", "local", "--app=frontend"))
    assert f"no value for PUBLIC_SUPABASE_URL, and there is no env_file at {shop.folder}/frontend/.env" in said


def test_a_missing_port_is_looked_for_where_init_writes_it(shop: Project) -> None:
    del shop.environment["DEPLOY_PORT"]
    done = shop.invoke("init")
    assert "  # port: 3000" in (shop.folder / "invoke.yaml").read_text()
    assert "\n# DEPLOY_PORT=\n" in (shop.folder / ".env").read_text()
    assert "next: put DEPLOY_API_KEY into .env and the port into invoke.yaml, commit" in done.stderr
    said = refusal(shop.invoke("--dry", *REUSE))
    assert "not set: --port or DEPLOY_PORT or port under deploy: in invoke.yaml. Nothing was sent" in said
    shop.write("invoke.yaml", (shop.folder / "invoke.yaml").read_text().replace("# port", "port"))
    assert dry_request(shop.invoke("--dry", *REUSE))["deployConfig"]["port"] == 3000


# --- paths that the cluster clones ----------------------------------------------------------------------------------


@pytest.fixture
def api(shop: Project) -> Project:
    """`shop` with a project of its own in `services/api`."""
    shop.write("services/api/tasks.py", "from deploy_tasks import ns\n")
    shop.write("services/api/Dockerfile", "FROM scratch\n")
    shop.commit("api")
    shop.push()
    shop.environment["DEPLOY_APP"] = "api"
    return shop


@pytest.mark.parametrize("flag", ["--build-context", "--dockerfile"])
@pytest.mark.parametrize("path", ["/etc", "../../..", "../../../other", "x/../../../../y", "."])
def test_what_the_cluster_clones_lies_in_the_repository(api: Project, flag: str, path: str) -> None:
    if path == ".":
        path = str(api.folder.parent)
    said = refusal(api.invoke("--dry", "build", f"{flag}={path}", at="services/api"))
    assert said.startswith(f"flag {flag}: '")
    assert "is outside the repository, which is all that the cluster clones. Nothing was sent" in said


@pytest.mark.parametrize(("path", "sent"), [("../..", "."), ("../web", "services/web"), ("", "services")])
def test_a_path_in_the_repository_is_sent_from_its_root_on(api: Project, path: str, sent: str) -> None:
    path = path or str(api.folder / "services")
    assert (
        dry_request(api.invoke("--dry", "build", f"--build-context={path}", at="services/api"))["buildContext"] == sent
    )


@pytest.mark.parametrize("path", ["/etc", "../..", ".."])
def test_a_path_outside_the_repository_is_refused_at_its_root_too(shop: Project, path: str) -> None:
    assert "is outside the repository" in refusal(shop.invoke("--dry", "build", f"--build-context={path}"))
    other = "--repo-url=https://git.example.com/other/repo"
    assert "is outside the repository" in refusal(shop.invoke("--dry", "build", other, f"--dockerfile={path}"))


# --- secrets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["DEPLOY_API_KEY", "INVOKE_DEPLOY_API_KEY", "API_KEY_OF_ANY_NAME"])
@pytest.mark.parametrize("way", ["--env KEY", "--env KEY=VALUE", "env", "env_from", "env_from_optional"])
def test_the_app_gets_no_secret_of_the_deploy_by_any_name(shop: Project, name: str, way: str) -> None:
    key = NEEDED["DEPLOY_API_KEY"]
    flags = {"--env KEY": [f"--env={name}"], "--env KEY=VALUE": [f"--env={name}={key}"]}.get(way, [])
    if not flags:
        shop.write("invoke.yaml", f"deploy: {{{way}: {f'{{{name}: {key}}}' if way == 'env' else f'[{name}]'}}}\n")
    said = refusal(shop.invoke("--dry", *REUSE, *flags, **{name: key}))
    assert f"the app's variable {name} would give a secret of the deploy to the app. Nothing was sent" in said
    assert key not in said


def test_the_app_gets_no_secret_that_a_stronger_source_covers(shop: Project) -> None:
    shop.write(".env", "DEPLOY_API_KEY=k3y-of-production\n").chmod(0o600)
    said = refusal(shop.invoke("--dry", *REUSE, "--env=OTHER", OTHER="k3y-of-production"))
    assert "the app's variable OTHER would give a secret of the deploy to the app" in said


@pytest.mark.parametrize("argument", ["DEPLOY_API_KEY=x", "DEPLOY_API_KEY", "OTHER", "OTHER=k3y-of-the-api"])
def test_an_image_gets_no_secret_of_the_deploy_by_a_build_arg(shop: Project, argument: str) -> None:
    said = refusal(shop.invoke("--dry", "local", f"--build-arg={argument}", OTHER=NEEDED["DEPLOY_API_KEY"]))
    assert f"build arg {argument.partition('=')[0]} would put a secret into the image. Nothing was built" in said
    assert NEEDED["DEPLOY_API_KEY"] not in said


@pytest.mark.parametrize("value", ["of-the-developer", "x"])
def test_the_value_of_an_env_flag_that_names_a_variable_is_never_shown(shop: Project, value: str) -> None:
    done = shop.invoke("--dry", *REUSE, "--env=TOKEN", TOKEN=value)
    assert dry_request(done)["deployConfig"]["env"] == {"TOKEN": "***"}
    assert "of-the-developer" not in done.stderr


def test_a_dry_run_hides_even_short_values_of_optional_names(shop: Project) -> None:
    shop.write("invoke.yaml", "deploy: {env_from_optional: [PIN]}\n")
    assert dry_request(shop.invoke("--dry", *REUSE, PIN="1234"))["deployConfig"]["env"] == {"PIN": "***"}


CANARY = "canary"
SECRETS = {
    "DEPLOY_API_URL": [f"robot:{CANARY}@host", f"https://x?key={CANARY}", f"http://x#{CANARY}", f"ftp://{CANARY}@x"],
    "DEPLOY_REGISTRY": [f"robot:{CANARY}@registry.example.com", f"https://robot:{CANARY}@x", f"x/?key={CANARY}"],
    "DEPLOY_REPO_URL": [
        *(f"{scheme}://u:{CANARY}@x/a" for scheme in ("http", "https", "ftp", "rsync", "git", "git+https", "ssh")),
        *(
            f"https://{CANARY}@x/a",
            f"u:{CANARY}@x:a/b",
            f"{CANARY}@x/a",
            f"https://x/a?key={CANARY}",
            f"x/a?t={CANARY}",
        ),
        *(f"git@x:a/b?key={CANARY}", f"https://u:{CANARY}/w@x/a", f"https://x/a#{CANARY}"),
    ],
    "DEPLOY_IMAGE_NAME": [f"robot:{CANARY}@x/app"],
    "DEPLOY_DOMAIN": [f"https://u:{CANARY}@x", f"x?key={CANARY}"],
    "DEPLOY_APP": [f"u:{CANARY}@x"],
    "DEPLOY_PLATFORM": [f"u:{CANARY}@x"],
    "DEPLOY_HEALTH_PATH": [f"https://x/?key={CANARY}", f"u:{CANARY}@x"],
}


@pytest.mark.parametrize(("variable", "value"), [(name, value) for name, values in SECRETS.items() for value in values])
def test_an_error_does_not_repeat_a_password_or_a_query(shop: Project, variable: str, value: str) -> None:
    said = refusal(shop.invoke("--dry", "build", "local", *REUSE, **{variable: value}))
    assert f"shell variable {variable}: " in said
    assert CANARY not in said


@pytest.mark.parametrize(
    "url",
    [
        "git@github.com:o/r.git",
        "ssh://git@x:22/o/r",
        "https://x/team@emea/shop",
        "/srv/a@b/shop",
        "../a?b",
        "file:///a@b",
    ],
)
def test_a_repository_without_a_password_is_taken_as_it_is(shop: Project, url: str) -> None:
    assert dry_request(shop.invoke("--dry", "build", f"--repo-url={url}"))["repoUrl"] == url


@pytest.mark.parametrize("host", ["127.256.1.1", "127.0.0.1.example.com", "127.1", "1270.0.0.1", "0127.0.0.1"])
def test_a_host_that_only_looks_like_loopback_gets_no_key_over_http(shop: Project, host: str) -> None:
    said = refusal(shop.invoke("--dry", "build", DEPLOY_API_URL=f"http://{host}:8080"))
    assert "would send the key unencrypted, so use https://" in said
