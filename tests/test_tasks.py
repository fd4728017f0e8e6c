"""Each task as a function: with a MockContext for its commands, over requests-mock for its exact payload."""

# Without `--dry` a task returns a record; the types have both, and each flag its own.
# mypy: disable-error-code="union-attr,arg-type"

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import requests_mock
from invoke.config import Config
from invoke.context import Context
from invoke.runners import Result

from deploy_tasks.errors import ApiRefused, BuildFailed, EngineError, NothingStarted, SettingsError
from deploy_tasks.next_steps import Step
from deploy_tasks.state import records
from deploy_tasks.state.records import BuildInFlight, Record
from deploy_tasks.tasks import build, digest, local, local_deploy, ns, reuse, wait
from tests.mock_engine import MockEngine, commands
from tests.project import Project

URL = "https://deploy.example.com"
DIGEST = "sha256:" + 64 * "a"
OLD = "sha256:" + 64 * "b"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, project: Project) -> Any:
    """A mocked API; the current folder is a project of the app `shop` that is set up for it."""
    monkeypatch.chdir(project.folder)
    for name, value in {"API_URL": URL, "API_KEY": "k3y", "PORT": "3000", "REGISTRY": "r:5000"}.items():
        monkeypatch.setenv(f"DEPLOY_{name}", value)
    with requests_mock.Mocker() as mocker:
        mocker.get(re.compile(rf"{URL}/(build/.*/logs|api/apps/.*)"), status_code=404)
        yield mocker


def context(run: Any = (), **config: Any) -> Any:
    return MockEngine(config=Config(overrides=config), run=run)


def ready_to_publish(api: Any, *digests: str) -> None:
    """The API and the registry answer what is asked of them around a push; `digests` is what the tag points to."""
    api.get("https://r:5000/v2/", status_code=401)
    found = [{"json": {"buildId": digest}} if digest else {"status_code": 404} for digest in ("", *digests)]
    api.get(re.compile(rf"{URL}/registry/.*"), found)


LOOKED = Result('{"ClientInfo": {"Context": "default", "Plugins": []}}')


def record(project: Project, **more: Any) -> Record:
    project.write_record({"app": "shop", "namespace": "apps", "imageName": "shop", "buildId": DIGEST, **more})
    return Record(app="shop", namespace="apps", image_name="shop", build_id=DIGEST)


def sent(api: Any) -> list[tuple[str, str, Any]]:
    """What was sent, but for the looks at logs and replicas, which no decision hangs on."""
    calls = [call for call in api.request_history if not re.search(r"/logs$|^/api/apps/", call.path_url)]
    return [(call.method, call.path_url, call.json() if call.body else None) for call in calls]


def test_build_sends_what_git_knows(api: Any, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    api.post(f"{URL}/build", json={"jobName": "build-1"})
    api.post(f"{URL}/build/build-1/wait", json={})
    api.get(f"{URL}/build/build-1", status_code=404)
    api.get(f"{URL}/registry/shop/digest", json={"buildId": DIGEST})
    c = context()
    built = build(c)
    commit = project.head
    assert sent(api) == [
        (
            "POST",
            "/build",
            {
                "app": "shop",
                "namespace": "apps",
                "repoUrl": str(project.origin),
                "gitRef": commit,
                "imageTag": commit,
                "cache": True,
                "deploy": False,
            },
        ),
        ("POST", "/build/build-1/wait?timeout=1", None),
        ("GET", "/build/build-1", None),
        ("GET", f"/registry/shop/digest?tag={commit}", None),
    ]
    assert built == Record(
        repo_url=str(project.origin),
        git_ref=commit,
        app="shop",
        namespace="apps",
        image_name="shop",
        image_tag=commit,
        build_id=DIGEST,
        app_class="business",
    )
    assert capsys.readouterr().out == f"{DIGEST}\n"
    c.run.assert_not_called()


def test_build_sends_every_flag(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_GIT_TOKEN", "t0ken")
    api.post(f"{URL}/build", json={"jobName": "build-1", "image": "r:5000/team/api:v1"})
    started = build(
        context(),
        app="api",
        namespace="own",
        image_name="team/api",
        app_class="non-business",
        repo_url="https://github.com/org/repo",
        git_ref="feature/x",
        image_tag="v1",
        dockerfile="api/Dockerfile",
        build_context="api",
        cache=False,
        wait=False,
    )
    assert sent(api)[-1][2] == {
        "app": "api",
        "namespace": "own",
        "repoUrl": "https://github.com/org/repo",
        "gitRef": "feature/x",
        "gitToken": "t0ken",
        "imageTag": "v1",
        "cache": False,
        "deploy": False,
        "imageName": "team/api",
        "dockerfile": "api/Dockerfile",
        "buildContext": "api",
    }
    assert isinstance(started, BuildInFlight)
    assert (started.job_name, started.image_name, started.app_class) == ("build-1", "team/api", "non-business")


def test_a_build_in_flight_has_the_time_at_which_it_started(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = "when it was planned"
    monkeypatch.setattr(records, "timestamp", lambda: moment)

    def start(*_: object) -> dict[str, str]:
        nonlocal moment
        moment = "when it started"
        return {"jobName": "build-1"}

    api.post(f"{URL}/build", json=start)
    started = build(context(), wait=False)
    assert isinstance(started, BuildInFlight)
    assert started.started_at == "when it started"


def test_a_branch_without_a_tag_is_tagged_by_its_name(api: Any) -> None:
    api.post(f"{URL}/build", json={"jobName": "build-1"})
    build(context(), git_ref="feature/x", wait=False)
    assert sent(api)[-1][2]["imageTag"] == "feature-x"


def test_names_left_to_the_server_are_read_from_its_answer(api: Any) -> None:
    api.post(f"{URL}/build", json={"jobName": "build-1", "image": "r:5000/made/up:by-the-server"})
    started = build(context(), wait=False)
    assert (started.image_name, started.image_tag) == ("made/up", "by-the-server")
    api.post(f"{URL}/build/build-1/wait", json={"status": "succeeded"})
    api.get(f"{URL}/registry/made/up/digest?tag=by-the-server", json={"buildId": DIGEST})
    assert wait(context()).image_name == "made/up"


def test_a_build_that_leaves_no_tag_behind_failed(api: Any, project: Project) -> None:
    api.post(f"{URL}/build", json={"jobName": "build-1"})
    api.post(f"{URL}/build/build-1/wait", json={})
    api.get(re.compile(rf"{URL}/(build|registry)/.*"), status_code=404)
    said = "^build-1 failed: it finished, but tag .* is not in the registry for image shop"
    with pytest.raises(BuildFailed, match=said):
        build(context())
    assert project.in_flight is None


def test_a_digest_that_cannot_be_asked_for_does_not_lose_the_build(api: Any, project: Project) -> None:
    api.post(f"{URL}/build", json={"jobName": "build-1"})
    api.post(f"{URL}/build/build-1/wait", json={"status": "succeeded"})
    api.get(re.compile(rf"{URL}/registry/.*"), status_code=403)
    with pytest.raises(ApiRefused) as error:
        build(context())
    assert error.value.what.startswith("build-1 finished, but its digest is not known yet: ")
    assert [(step.task, step.says) for step in error.value.next if isinstance(step, Step)] == [("wait", "Get it")]
    assert project.in_flight is not None


def started_twice(api: Any, answer: dict[str, str], **flags: Any) -> int:
    """How many builds two calls of `build --no-wait` start, the second of them with `flags`."""
    api.post(f"{URL}/build", json={"jobName": "build-1", **answer})
    api.get(f"{URL}/build/build-1", status_code=404)
    build(context(), wait=False)
    build(context(), wait=False, **flags)
    return len([call for call in sent(api) if call[1] == "/build"])


def test_the_same_build_is_joined_also_where_the_server_names_the_image(api: Any) -> None:
    assert started_twice(api, {"image": "r:5000/made/up:t"}) == 1


def test_an_image_that_cannot_be_read_does_not_cost_the_job(api: Any, project: Project) -> None:
    api.post(f"{URL}/build", json={"jobName": "build-77", "image": "UPPER/x:t"})
    assert build(context(), wait=False).image_name == "shop"
    assert (project.in_flight or {})["jobName"] == "build-77"


@pytest.mark.parametrize(
    "flags",
    [{"git_ref": "main"}, {"image_tag": "v2"}, {"image_name": "other"}, {"dockerfile": "Other"}, {"cache": False}],
)
def test_another_build_is_not_joined(api: Any, flags: dict[str, Any]) -> None:
    assert started_twice(api, {}, **flags) == 2


def test_a_branch_is_not_joined_since_it_may_have_moved(api: Any) -> None:
    api.post(f"{URL}/build", json={"jobName": "build-1"})
    for _ in range(2):
        build(context(), git_ref="main", wait=False)
    assert api.call_count == 2


def test_a_build_of_another_server_is_not_joined(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    api.post(f"{URL}/build", json={"jobName": "build-1"})
    build(context(), wait=False)
    monkeypatch.setenv("DEPLOY_API_URL", "https://staging.example.com")
    api.post("https://staging.example.com/build", json={"jobName": "build-2"})
    assert build(context(), wait=False).job_name == "build-2"


def test_a_build_that_failed_is_not_joined(
    api: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api.post(f"{URL}/build", json={"jobName": "build-1"})
    build(context(), wait=False)
    api.get(f"{URL}/build/build-1", json={"status": "failed"})
    api.post(f"{URL}/build", json={"jobName": "build-2"})
    assert build(context(), wait=False).job_name == "build-2"


def test_a_job_of_elsewhere_is_recorded_with_the_commit_of_its_tag(api: Any, project: Project) -> None:
    api.post(f"{URL}/build/build-9/wait", json={"status": "succeeded"})
    api.get(f"{URL}/registry/shop/digest", json={"buildId": DIGEST})
    commit = 40 * "c"
    assert wait(context(), job="build-9", image_tag=commit).git_ref == commit
    assert wait(context(), job="build-9", image_tag="v1").git_ref is None


def test_a_secret_that_a_server_repeats_is_not_shown(api: Any) -> None:
    api.post(f"{URL}/build", status_code=400, text="your key is k3y")
    with pytest.raises(ApiRefused) as refused:
        build(context())
    assert refused.value.message is not None
    assert "your key is ***" in refused.value.message


def test_business_pods_in_the_other_namespace_are_warned_of(
    api: Any, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    record(project)
    api.post(f"{URL}/build", json={"skipped": True})
    reuse(context(), namespace="non-business-apps")
    assert "warning: app class business in namespace non-business-apps" in capsys.readouterr().err


def test_each_context_is_warned_and_each_only_once(
    api: Any, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    record(project)
    api.post(f"{URL}/build", json={"skipped": True})
    for _ in range(2):  # two contexts of one program
        c = context()
        for _ in range(2):
            reuse(c, namespace="non-business-apps")
        assert capsys.readouterr().err.count("warning: app class business in namespace non-business-apps") == 1


def test_local_deploy_without_what_reuse_needs_builds_nothing(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEPLOY_PORT")
    c = context([])
    with pytest.raises(SettingsError, match="not set: --port or DEPLOY_PORT"):
        local_deploy(c)
    with pytest.raises(SettingsError, match="--env x has no value"):
        local_deploy(c, port=1, env=["x"])
    c.run.assert_not_called()


@pytest.mark.parametrize("flags", [{"image_tag": "other"}, {"image_name": "other"}, {"app": "web"}])
def test_wait_does_not_take_another_targets_build(api: Any, flags: dict[str, str]) -> None:
    api.post(f"{URL}/build", json={"jobName": "build-1"})
    build(context(), app="api", wait=False)
    with pytest.raises(SettingsError, match="build-1 builds"):
        wait(context(), **flags)


def test_wait_records_for_the_class_that_it_is_given(api: Any, project: Project) -> None:
    api.post(f"{URL}/build", json={"jobName": "build-1"})
    build(context(), wait=False)
    api.post(f"{URL}/build/build-1/wait", json={"status": "succeeded"})
    api.get(f"{URL}/registry/shop/digest", json={"buildId": DIGEST})
    wait(context(), app_class="non-business", namespace="own")
    assert (project.record["appClass"], project.record["namespace"]) == ("non-business", "own")


def test_a_build_that_is_awaited_for_another_class_is_deployed_to_the_place_of_that_class(
    api: Any, project: Project
) -> None:
    api.post(f"{URL}/build", json={"jobName": "build-1"})
    build(context(), wait=False)
    api.post(f"{URL}/build/build-1/wait", json={"status": "succeeded"})
    api.get(f"{URL}/registry/shop/digest", json={"buildId": DIGEST})
    api.post(f"{URL}/build", json={"skipped": True})
    c = context()
    wait(c, app_class="non-business")
    reuse(c)
    assert sent(api)[-1][2]["namespace"] == "non-business-apps"


def test_another_app_is_another_target(api: Any) -> None:
    api.post(f"{URL}/build", json={"jobName": "build-1"})
    c = context()
    build(c, app="a", namespace="of-a", image_name="image-of-a", app_class="non-business", wait=False)
    build(c, app="b", wait=False)
    sent_last = sent(api)[-1][2]
    assert (sent_last["namespace"], sent_last.get("imageName")) == ("apps", None)


def test_an_app_of_those_before_keeps_their_target(api: Any) -> None:
    api.get(re.compile(f"{URL}/registry/.*"), json={"buildId": DIGEST})
    api.post(f"{URL}/build", json={"skipped": True})
    apps = {name: {"port": 1} for name in ("a", "b", "c")}
    for before, namespace in (("all", "staging"), ("c,a", "staging"), ("b,c", "prod")):
        c = context(deploy={"namespace": "prod", "apps": apps})
        digest(c, app="all")
        digest(c, app=before, namespace="staging")
        assert reuse(c, app="a").namespace == namespace, before


def test_an_app_that_is_named_only_later_keeps_its_target(api: Any) -> None:
    api.get(re.compile(f"{URL}/registry/.*"), json={"buildId": DIGEST})
    api.post(f"{URL}/build", json={"skipped": True})
    c = context(deploy={"namespace": "prod"})
    digest(c, namespace="staging")
    assert reuse(c, app="shop").namespace == "staging"
    assert digest(c, app="web").namespace == "prod"


def test_a_digest_that_was_built_with_uncommitted_changes_is_recorded_so(api: Any, project: Project) -> None:
    built = {"imageName": "shop", "buildId": DIGEST, "gitRef": project.head, "dirty": True}
    entry = {**built, "time": "now", "who": "me", "what": "local", "outcome": "recorded"}
    project.write(".deploy/history.jsonl", f"{json.dumps(entry)}\n")
    api.get(f"{URL}/registry/shop/digest", [{"json": {"buildId": DIGEST}}, {"json": {"buildId": OLD}}])
    assert digest(context()).dirty
    assert digest(context()).dirty is None


def test_tasks_in_another_thread_do_not_change_the_target_of_those_in_this_one(api: Any) -> None:
    api.get(re.compile(f"{URL}/registry/.*"), json={"buildId": DIGEST})
    api.post(f"{URL}/build", json={"skipped": True})
    c = context()
    digest(c, app="a", namespace="of-a")
    with ThreadPoolExecutor(1) as other:
        assert other.submit(digest, c, app="b").result().namespace == "apps"
        assert (reuse(c).app, reuse(c).namespace) == ("a", "of-a")
        assert other.submit(reuse, c).result().app == "b"


def test_a_context_that_was_made_without_the_settings_of_the_project_is_refused(api: Any, project: Project) -> None:
    api.get(f"{URL}/registry/web/digest", json={"buildId": DIGEST})
    path = project.write("invoke.yaml", "run: {echo: false}\n")
    assert digest(Context(), app="web").app == "web", "it has no settings of the kit"
    path.write_text("deploy: {app: web, namespace: staging}\n")
    with pytest.raises(SettingsError, match=rf"without {path}, which has settings.*Nothing was sent"):
        digest(Context())
    config = Config(project_location=str(project.folder))
    config.load_project()
    assert digest(Context(config)).namespace == "staging"


def test_a_call_that_is_refused_leaves_no_target_behind(api: Any, project: Project) -> None:
    record(project)
    api.post(f"{URL}/build", json={"skipped": True})
    c = context()
    with pytest.raises(SettingsError):
        reuse(c, app="Bad_App")
    assert reuse(c).app == "shop"


def test_wait_asks_for_the_build_in_flight(api: Any, project: Project) -> None:
    api.post(f"{URL}/build", json={"jobName": "build-1"})
    build(context(), app="api", wait=False)
    api.reset_mock()
    api.post(f"{URL}/build/build-1/wait", json={"status": "succeeded"})
    api.get(f"{URL}/registry/api/digest", json={"buildId": DIGEST})
    waited = wait(context())
    assert sent(api) == [
        ("POST", "/build/build-1/wait?timeout=1", None),
        ("GET", f"/registry/api/digest?tag={project.head}", None),
    ]
    assert (waited.app, waited.build_id) == ("api", DIGEST)


def test_wait_does_not_ask_another_server(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    api.post(f"{URL}/build", json={"jobName": "build-1"})
    build(context(), wait=False)
    monkeypatch.setenv("DEPLOY_API_URL", "https://staging.example.com")
    with pytest.raises(SettingsError) as error:
        wait(context())
    assert error.value.what == "build-1 was started at https://deploy.example.com"
    assert error.value.next == ("To wait for it, set shell variable DEPLOY_API_URL to that",)
    assert api.call_count == 1


def test_wait_with_nothing_in_flight(api: Any) -> None:
    with pytest.raises(SettingsError) as error:
        wait(context())
    assert error.value.what == "no build is in flight"
    assert error.value.next == (Step("build", {}, "Start one"), "Or name one: --job JOB --image-tag TAG")


def test_digest_asks_for_the_tag_of_head(api: Any, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    api.get(f"{URL}/registry/shop/digest", json={"buildId": DIGEST})
    found = digest(context())
    assert sent(api) == [("GET", f"/registry/shop/digest?tag={project.head}", None)]
    assert (found.git_ref, found.build_id) == (project.head, DIGEST)
    assert capsys.readouterr().out == f"{DIGEST}\n"


def test_digest_of_a_tag_does_not_claim_a_commit(api: Any) -> None:
    api.get(f"{URL}/registry/team/shop/digest", json={"buildId": DIGEST})
    found = digest(context(), image_name="team/shop", image_tag="v1")
    assert api.last_request.path_url == "/registry/team/shop/digest?tag=v1"
    assert found.git_ref is None


def test_reuse_sends_the_recorded_digest(api: Any, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    record(project, gitRef="abc", imageTag="v1")
    api.post(f"{URL}/build", json={"skipped": True})
    c = context()
    deployed = reuse(c)
    assert sent(api) == [
        (
            "POST",
            "/build",
            {
                "app": "shop",
                "namespace": "apps",
                "imageName": "shop",
                "buildId": DIGEST,
                "deploy": True,
                "deployConfig": {"port": 3000, "appClass": "business"},
            },
        )
    ]
    assert (deployed.build_id, deployed.git_ref, deployed.image_tag) == (DIGEST, "abc", "v1")
    assert capsys.readouterr().out == f"r:5000/shop@{DIGEST}\n"
    c.run.assert_not_called()


def test_reuse_sends_every_flag(api: Any, project: Project) -> None:
    record(project)
    api.post(f"{URL}/build", json={"skipped": True})
    reuse(
        context(),
        app="web",
        namespace="own",
        image_name="team/web",
        app_class="non-business",
        build_id=OLD,
        port=8080,
        replicas=2,
        domain=["web.example.com"],
        health_path="/health",
        tls=False,
        env=["A=1", "B=x=y"],
    )
    assert sent(api)[-1][2] == {
        "app": "web",
        "namespace": "own",
        "imageName": "team/web",
        "buildId": OLD,
        "deploy": True,
        "deployConfig": {
            "port": 8080,
            "replicas": 2,
            "domain": "web.example.com",
            "healthPath": "/health",
            "tls": False,
            "env": {"A": "1", "B": "x=y"},
            "appClass": "non-business",
        },
    }


@pytest.mark.parametrize("domains", [["a.example.com", "b.example.com"], ["*.example.com"]])
def test_several_domains_and_wildcards_go_as_a_list(api: Any, project: Project, domains: list[str]) -> None:
    record(project)
    api.post(f"{URL}/build", json={"skipped": True})
    reuse(context(), domain=domains)
    config = sent(api)[-1][2]["deployConfig"]
    assert config["domains"] == domains
    assert "domain" not in config


@pytest.mark.parametrize(
    "flags",
    [
        {"build_id": "sha256:1"},
        {"env": ["novalue"]},
        {"env": ["=x"]},
        {"port": 0},
        {"replicas": -1},
        {"app_class": "gold"},
        {"image_name": "other"},
        {"app": "other", "build_id": DIGEST},
    ],
)
def test_a_reuse_that_makes_no_sense_sends_nothing(api: Any, project: Project, flags: dict[str, Any]) -> None:
    record(project)
    before = (project.folder / ".deploy" / "build-id.json").read_bytes()
    with pytest.raises(SettingsError):
        reuse(context(), **flags)
    assert not api.called
    assert (project.folder / ".deploy" / "build-id.json").read_bytes() == before


def test_local_runs_the_engine_and_records_its_push(api: Any, project: Project) -> None:
    ready_to_publish(api, DIGEST)
    tag = re.compile(r"docker push r:5000/shop:(local-\d{8}T\d{6}Z-[0-9a-f]{12}-[0-9a-f]{6})$")

    class Docker(MockEngine):
        def run(self, command: str, *arguments: Any, **options: Any) -> Result:
            if pushed := tag.match(command):
                self._set(_pushed=DIGEST)
                return Result(f"{pushed[1]}: digest: {DIGEST} size: 5\n")
            return super().run(command, *arguments, **options)

    c: Any = Docker(run={re.compile(".* info .*"): LOOKED, re.compile(".* build .*"): True})
    built = local(c)
    pushed = tag.match(commands(c)[2])
    assert pushed
    root, reference = project.folder, f"r:5000/shop:{pushed[1]}"
    assert commands(c)[:2] == [
        "docker info --format '{{json .}}'",
        f"docker build --platform linux/amd64 --tag {reference} --iidfile FOLDER/id --file {root}/Dockerfile {root}",
    ]
    assert (built.build_id, built.image_tag, built.git_ref) == (DIGEST, pushed[1], project.head)
    assert project.record["buildId"] == DIGEST
    paths = [path for _, path, _ in sent(api)]
    assert sorted(paths[:2]) == [f"/registry/shop/digest?tag={pushed[1]}", "/v2/"]
    assert paths[2:] == [f"/registry/shop/digest?tag={pushed[1]}"]
    assert all("X-API-Key" not in call.headers for call in api.request_history if call.path_url == "/v2/")


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (OLD, f"the tag shop:v1 was moved and now points to {OLD}; the recorded digest is from this push: {DIGEST}"),
        ("", "the API does not find shop:v1 in its registry; is r:5000 (DEPLOY_REGISTRY) the one it uses?"),
        (DIGEST, ""),
    ],
)
def test_the_tag_is_checked_after_the_push_and_the_push_counts(
    api: Any, project: Project, capsys: pytest.CaptureFixture[str], found: str, says: str
) -> None:
    ready_to_publish(api, found)
    c = context([LOOKED, Result(), Result(f"v1: digest: {DIGEST} size: 5\n")])
    assert local(c, image_tag="v1").build_id == project.record["buildId"] == DIGEST
    lines = capsys.readouterr().err.splitlines()
    assert f"build r:5000/shop:v1 on this machine for {urlsplit(URL).netloc}" in lines
    assert [line for line in lines if line.startswith("warning")] == ([f"warning: {says}"] if says else [])


def test_a_local_build_does_not_begin_with_a_wrong_key(api: Any) -> None:
    ready_to_publish(api)
    api.get(re.compile(rf"{URL}/registry/.*"), status_code=401)
    c = context([LOOKED])
    with pytest.raises(ApiRefused) as error:
        local(c)
    assert (error.value.status, error.value.next) == (401, ("Check shell variable DEPLOY_API_KEY",))
    assert len(c.run.call_args_list) == 1


@pytest.mark.parametrize(("remote", "warns"), [(False, False), (True, True)])
def test_a_registry_that_does_not_answer(
    api: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], remote: bool, warns: bool
) -> None:
    ready_to_publish(api, DIGEST)
    api.get("https://r:5000/v2/", exc=requests.ConnectionError)
    if remote:
        monkeypatch.setenv("DOCKER_HOST", "ssh://far")
    c = context([LOOKED, Result(), Result(f"v1: digest: {DIGEST} size: 5\n")])
    if warns:
        local(c, image_tag="v1")
        assert "r:5000 does not answer from here; the engine builds elsewhere" in capsys.readouterr().err
    else:
        with pytest.raises(NothingStarted, match="the registry r:5000 does not answer"):
            local(c, image_tag="v1")


def test_a_build_arg_gets_its_value_over_the_environment(
    api: Any, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready_to_publish(api, DIGEST)
    project.write(".env", "FROM_FILE=of-the-file\nBOTH=weaker\n")
    monkeypatch.setenv("BOTH", "stronger")
    c = context(
        [LOOKED, Result(), Result(f"v1: digest: {DIGEST} size: 5\n")],
        deploy={"build_args": {"FIXED": 1, "CHANGED": "in-yaml"}},
    )
    local(c, image_tag="v1", build_arg=["FROM_FILE", "BOTH", "CHANGED=by-flag"])
    build = c.run.call_args_list[1]
    assert "--build-arg FIXED=1 --build-arg CHANGED=by-flag --build-arg FROM_FILE --build-arg BOTH" in build.args[0]
    assert (build.kwargs["env"]["FROM_FILE"], build.kwargs["env"]["BOTH"]) == ("of-the-file", "stronger")
    assert "of-the-file" not in build.args[0]


@pytest.mark.parametrize(
    ("name", "says"),
    [("NOWHERE", "build arg NOWHERE has no value"), ("DEPLOY_API_KEY", "would put a secret into the image")],
)
def test_a_build_arg_that_cannot_be(api: Any, name: str, says: str) -> None:
    c = context([])
    with pytest.raises(SettingsError, match=says):
        local(c, build_arg=[name])
    c.run.assert_not_called()


def test_a_secret_in_the_build_context_is_refused(api: Any, project: Project) -> None:
    ready_to_publish(api, DIGEST)
    (project.folder / ".dockerignore").unlink()
    project.write("web/.env.local", "X=y")
    c = context([LOOKED])
    with pytest.raises(SettingsError, match=r"web/\.env\.local would go into the build context.*\*\*/\.env\*"):
        local(c)
    c = context([LOOKED, Result(), Result(f"v1: digest: {DIGEST} size: 5\n")])
    assert local(c, image_tag="v1", allow_secrets_in_context=True).build_id == DIGEST


def test_local_logs_in_where_credentials_are_given(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_REGISTRY_USERNAME", "robot")
    monkeypatch.setenv("DEPLOY_REGISTRY_PASSWORD", "s3cret")
    ready_to_publish(api)
    c = context([LOOKED, Result(stderr="401 Unauthorized", exited=1)])
    with pytest.raises(EngineError, match="refused the login of robot"):
        local(c)
    assert [call.args[0] for call in c.run.call_args_list] == [
        "docker info --format '{{json .}}'",
        "docker login --username robot --password-stdin r:5000",
    ]


def test_local_takes_every_flag(api: Any, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("web/File", "FROM scratch\n")
    ready_to_publish(api, DIGEST)
    c = context([LOOKED, Result(), Result(f"v1: digest: {DIGEST} size: 5\n")])
    monkeypatch.setenv("B", "2")
    flags = {"image_tag": "v1", "dockerfile": "web/File", "build_context": "web", "platform": "linux/arm64"}
    local(c, image_name="team/web", build_arg=["A=1", "B"], **flags)
    root = project.folder
    assert commands(c)[1] == (
        f"docker build --platform linux/arm64 --tag r:5000/team/web:v1 --iidfile FOLDER/id --file {root}/web/File "
        f"--build-arg A=1 --build-arg B {root}/web"
    )


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"dockerfile": "Nope"}, "there is no Dockerfile at"),
        ({"build_context": "nope"}, "is not a folder"),
        ({"build_context": "Dockerfile"}, "is not a folder"),
        ({"build_arg": ["=x"]}, "is neither KEY=VALUE nor KEY"),
        ({"image_tag": "-v"}, "is not an image tag"),
    ],
)
def test_a_local_build_that_cannot_be_runs_no_command(api: Any, flags: dict[str, Any], says: str) -> None:
    c = context([])
    with pytest.raises(SettingsError, match=says):
        local(c, **flags)
    c.run.assert_not_called()


def test_a_failed_local_build_records_nothing(api: Any, project: Project) -> None:
    ready_to_publish(api)
    record(project, buildId=OLD)
    with pytest.raises(EngineError, match="exit code 1"):
        local(context([LOOKED, Result(exited=1)]))
    assert project.record["buildId"] == OLD


def test_local_deploy_is_local_then_reuse(api: Any, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    api.post(f"{URL}/build", json={"skipped": True})
    ready_to_publish(api, DIGEST)
    c = context([LOOKED, Result(), Result(f"v1: digest: {DIGEST} size: 5\n")])
    deployed = local_deploy(c, image_tag="v1", app="web", port=4000, env=["A=1"])
    assert sent(api)[-1][2]["deployConfig"] == {"port": 4000, "env": {"A": "1"}, "appClass": "business"}
    assert (deployed.app, deployed.build_id) == ("web", DIGEST)
    assert capsys.readouterr().out == f"{DIGEST}\nr:5000/web@{DIGEST}\n"


def test_json_is_the_record(api: Any, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    api.get(f"{URL}/registry/shop/digest", json={"buildId": DIGEST})
    digest(context(), json=True)
    assert json.loads(capsys.readouterr().out) == project.record


def test_settings_may_come_from_the_configuration_of_the_context(api: Any, project: Project) -> None:
    record(project)
    api.post(f"{URL}/build", json={"skipped": True})
    reuse(context(deploy={"replicas": 3, "app_class": "non-business"}))
    assert sent(api)[-1][2]["deployConfig"] == {"port": 3000, "replicas": 3, "appClass": "non-business"}
    assert sent(api)[-1][2]["namespace"] == "non-business-apps"


def test_a_record_of_the_files_is_used_in_any_folder_below_it(
    api: Any, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(project)
    (project.folder / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(project.folder / "a" / "b")
    api.post(f"{URL}/build", json={"skipped": True})
    assert reuse(context()).build_id == DIGEST


def test_the_namespace_has_every_task_once() -> None:
    looking = ["logs", "history", "status", "doctor", "init"]
    acting = ["build", "wait", "digest", "deploy", "reuse", "promote", "rollback", "local", "local-deploy"]
    assert sorted(ns.task_names) == sorted([*acting, *looking, "sandbox", "demo"])
    assert ns.task_names["reuse"] == ["reuse-deploy"]


def test_every_flag_has_a_help_text() -> None:
    for name in ns.task_names:
        for argument in ns[name].get_arguments():
            assert argument.help, f"{name} --{argument.name}"


@pytest.mark.parametrize("name", ["build", "wait", "digest", "deploy", "reuse", "promote", "local", "local-deploy"])
def test_the_target_flags_are_the_same_everywhere(name: str) -> None:
    flags = [argument.name for argument in ns[name].get_arguments()]
    assert flags[:5] == ["app", "environment", "namespace", "image_name", "app_class"]


def test_a_path_with_spaces_is_one_word(api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spaced = Project.make(tmp_path / "with space" / "shop")
    monkeypatch.chdir(spaced.folder)
    ready_to_publish(api, DIGEST)
    c = context([LOOKED, Result(), Result(f"v1: digest: {DIGEST} size: 5\n")])
    local(c, image_tag="v1")
    assert c.run.call_args_list[1].args[0].endswith(f"'{spaced.folder}'")


def test_a_program_gets_the_results_of_one_app_and_of_several_by_name(api: Any) -> None:
    api.get(re.compile(f"{URL}/registry/.*"), json={"buildId": DIGEST})
    c = context()
    assert [*digest.each(c, image_tag="v1")] == ["shop"]
    c = context(deploy={"apps": {"a": {"app": "shop-a"}, "b": {}}})
    assert {name: found.app for name, found in digest.each(c, app="all").items()} == {"a": "shop-a", "b": "b"}
    assert [*digest.each(c, app="b")] == ["b"]
    assert digest(c, app="all") is None
    assert digest(c, app="a").app == "shop-a"
