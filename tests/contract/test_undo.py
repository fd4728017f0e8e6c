"""What a deploy says of what it replaces, and that its undo brings exactly that back: real processes and servers."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, get_args, get_type_hints

import pytest

from deploy_tasks import building, commands, deploying
from deploy_tasks.invocation.command import Command, Effect
from deploy_tasks.tasks import ns
from tests.faults.api import DIGEST, Answer, Connection, FaultyApi, faulty_api, http
from tests.project import Project, ok
from tests.sandboxes import SandboxProcess

OTHER, THIRD = (f"sha256:{64 * letter}" for letter in "bc")
FULL = {"Deploy_Api_Features": "app-state, app-history, rollback, revision-check"}
WAY = ["--replicas", "3", "--domain", "shop.example.com", "--health-path", "/up", "--no-tls", "--env", "A=1 2"]


def built(project: Project, *texts: str, yes: bool = False) -> list[str]:
    """Builds each of these versions; returns their digests."""
    digests = []
    for text in texts:
        project.write("page.html", text)
        project.commit(text)
        project.push()
        done = project.invoke("build", *["--yes"] * yes)
        assert done.returncode == 0, done.stderr
        digests.append(done.stdout.strip())
    return digests


def undo_of(done: subprocess.CompletedProcess[str]) -> tuple[list[str], str]:
    """The words of the undo line's command after `invoke`, and what it says that runs then."""
    assert done.returncode == 0, done.stderr
    found = re.search(r"^undo: invoke (.*?) → (.*)$", done.stderr, re.MULTILINE)
    assert found, done.stderr
    return shlex.split(found[1]), found[2]


def runs(sandbox: SandboxProcess) -> tuple[str, dict[str, Any]]:
    """The digest and the deployConfig that run."""
    app = sandbox.app("apps", "shop")
    return app["image"].partition("@")[2], app["deployConfig"]


def by_a_colleague(sandbox: SandboxProcess, build_id: str, **config: object) -> None:
    body = {"app": "shop", "namespace": "apps", "imageName": "shop", "buildId": build_id, "deploy": True}
    config = {"port": 3000, **config}
    answer = sandbox.call("POST", "/build", {**body, "deployConfig": config}, **{"X-Deploy-By": "ann@laptop"})
    assert answer.status_code == 200, answer.text


# --- what is said before ---------------------------------------------------------------------------------------------


def test_a_deploy_says_what_it_replaces_and_what_changes(project: Project, sandbox: SandboxProcess) -> None:
    one, two = built(project, "one", "two")
    first = project.invoke("reuse", "--build-id", one)
    assert "  now: nothing\n" in first.stderr
    assert "nothing ran before, so there is nothing to go back to yet\n" in first.stderr
    commit = project.git("rev-parse", "HEAD~1")
    assert sandbox.app("apps", "shop")["commit"] == commit
    for words in (["--dry", "reuse"], ["reuse"]):
        lines = project.invoke(*words, *WAY, DEPLOY_PORT="4000").stderr.splitlines()
        start = lines.index(f"deploy shop to apps (business nodes) in {sandbox.registry}")
        now, new, changes = lines[start + 1 : start + 4]
        assert re.fullmatch(
            rf"  now: {one[7:19]}, commit {commit[:7]}, by sandbox \(\S+@\S+\) at 20\S+Z, replicas 1", now
        )
        assert new == f"  new: {two[7:19]}, built from HEAD ({project.head[:7]}), replicas 3"
        assert changes == (
            "  changes: replicas default → 3, domain none → shop.example.com, port 3000 → 4000, "
            "health path none → /up, TLS on → off, variables +A"
        )
    same = project.invoke("reuse", *WAY, DEPLOY_PORT="4000")
    assert "changes" not in same.stderr
    assert "nothing changed: the same ran before\n" in same.stderr
    assert "undo" not in same.stderr


def test_dry_asks_what_runs_and_changes_nothing(project: Project, sandbox: SandboxProcess) -> None:
    one, _ = built(project, "one", "two")
    for _ in range(2):
        project.invoke("reuse")
    project.invoke("reuse", "--build-id", one)
    files = project.files()
    sandbox.forget()
    for task in ("reuse", "rollback"):
        dry = project.invoke("--dry", task)
        assert dry.returncode == 0, dry.stderr
        assert f"  now: {one[7:19]}, " in dry.stderr
    assert {line.split(" ")[0] for line in sandbox.seen()} == {"GET"}
    assert project.files() == files
    away = project.invoke("--dry", "reuse", DEPLOY_API_URL="http://127.0.0.1:9")
    assert away.returncode == 0
    assert "  now: could not ask what runs: no connection to 127.0.0.1:9\n" in away.stderr


def test_a_deploy_over_what_somebody_else_deployed_says_so(project: Project, sandbox: SandboxProcess) -> None:
    one, _ = built(project, "one", "two")
    project.invoke("reuse")
    assert "not deployed from here" not in project.invoke("reuse", "--replicas", "2").stderr
    by_a_colleague(sandbox, one)
    said = project.invoke("reuse").stderr
    assert re.search(rf"^  now: {one[7:19]}, commit \w{{7}}, by sandbox \(ann@laptop\) at ", said, re.MULTILINE)
    assert "  warning: what runs now was not deployed from here\n" in said


def test_a_server_that_says_nothing_is_gone_on_without(project: Project, _minimal_sandbox: SandboxProcess) -> None:
    project.environment.update(_minimal_sandbox.settings, DEPLOY_PORT="3000")
    one, two = built(project, "one", "two")
    first = project.invoke("reuse", "--build-id", one)
    assert "  now: the API does not say what runs\n" in first.stderr
    nothing = "the API does not say what runs, and nothing else was deployed from here, so there is nothing to go back"
    assert nothing in first.stderr
    done = project.invoke("reuse", *WAY)
    words, says = undo_of(done)
    commit = project.git("rev-parse", "HEAD~1")[:7]
    assert (words, says) == (["rollback"], f"{one[7:19]} (commit {commit}, as far as is known here)")
    back = project.invoke(*words)
    assert back.stdout.endswith(f"@{one}\n")
    words, says = undo_of(back)
    assert says.startswith(two[7:19])
    shown = project.invoke("--dry", *words).stderr
    config = json.loads(shown.partition("/build ")[2])["deployConfig"]
    expected = {"port": 3000, "replicas": 3, "domain": "shop.example.com", "healthPath": "/up", "tls": False}
    assert config == {**expected, "appClass": "business"}
    assert "its variables get the current values (variables -A since then)\n" in shown


# --- undo -----------------------------------------------------------------------------------------------------------


def test_undo_brings_replicas_domain_and_the_values_of_variables_back(
    project: Project, sandbox: SandboxProcess
) -> None:
    _, two = built(project, "one", "two")
    assert project.invoke("reuse", "--build-id", two, *WAY).returncode == 0
    before = sandbox.config("apps", "shop", {"A": "1 2"})
    done = project.invoke("reuse", "--port", "5000")
    words, says = undo_of(done)
    assert words == ["rollback"], "no flag of the deploy"
    assert ", with replicas 3, domain shop.example.com, port 3000, " in says, "it is the same digest"
    back = project.invoke(*words, DEPLOY_PORT="", DEPLOY_REPLICAS="9")
    assert back.returncode == 0, back.stderr
    assert sandbox.config("apps", "shop", {"A": "1 2"}) == before
    assert before["replicas"] == 3
    again = project.invoke(*undo_of(back)[0], "--replicas", "2", "--env", "B=b")
    assert again.returncode == 0, again.stderr
    assert sandbox.config("apps", "shop", {"B": "b"}) == {
        **{"port": 5000, "replicas": 2, "appClass": "business"},
        "env": {"B": "b"},
    }


def test_undo_goes_back_to_what_a_colleague_deployed(project: Project, sandbox: SandboxProcess) -> None:
    one, two = built(project, "one", "two")
    project.invoke("reuse", "--build-id", one)
    by_a_colleague(sandbox, one, replicas=2, domain="ann.example.com")
    before = runs(sandbox)
    words, says = undo_of(project.invoke("reuse", "--build-id", two))
    assert says == f"{one[7:19]} (commit {project.git('rev-parse', 'HEAD~1')[:7]})"
    assert project.invoke(*words).returncode == 0
    assert runs(sandbox) == before


class Plain:
    """Answers that stand for a server without extensions, or with these `features`, with the answers of a sandbox
    behind it: what runs, and how many replicas, but not how, unless it has `app-state`."""

    def __init__(self, sandbox: SandboxProcess, features: str = "") -> None:
        self._sandbox, self._features = sandbox, features
        self.before_deploy: Callable[[], object] = bool

    def __call__(self, connection: Connection) -> bool:
        method, path, _, body = connection.request
        headers = {"Deploy_Api_Features": self._features} if self._features else {}
        if path.endswith(("/history", "/rollback")) and path.rpartition("/")[2] not in self._features:
            return http(404, **headers)(connection) is True
        if method == "POST":
            act, self.before_deploy = self.before_deploy, bool
            act()
        said = self._sandbox.call(method, path, json.loads(body) if body else None)
        answer = said.json() if said.content else None
        if self._features:
            return http(said.status_code, answer, **headers)(connection) is True
        if answer and said.status_code == 200 and path.startswith("/api/apps/"):
            names = ("replicas", "readyReplicas", "updatedReplicas", "image")
            answer = {"app": {name: answer["app"][name] for name in names}}
        return http(said.status_code, answer)(connection) is True


@pytest.fixture(params=["full", "plain"])
def place(request: pytest.FixtureRequest, sandbox: SandboxProcess, project: Project) -> Iterator[SandboxProcess]:
    """A sandbox; the project reaches it directly, then through a server without extensions."""
    if request.param == "full":
        yield sandbox
        return
    with faulty_api() as api:
        for kind in ("start", "deploy", "wait", "digest", "status", "logs", "app"):
            api.always(kind, Plain(sandbox))
        project.environment["DEPLOY_API_URL"] = api.url
        yield sandbox


def test_two_clones_and_ci_that_deploy_in_turn_print_true_undo_lines(project: Project, place: SandboxProcess) -> None:
    digests = built(project, "one", "two", "three")
    other, ci = project.clone("other"), project.clone("ci")
    ci.environment["GITHUB_ACTOR"] = "octocat"
    turns: list[tuple[Project, list[str]]] = [
        (project, ["--build-id", digests[0], "--replicas", "2"]),
        (other, ["--build-id", digests[1], "--replicas", "3"]),
        (ci, ["--build-id", digests[2]]),
        (project, ["--build-id", digests[1], "--domain", "shop.example.com"]),
        (other, ["--build-id", digests[0]]),
        (ci, ["--build-id", digests[0], "--replicas", "2"]),
    ]
    for number, (clone, words) in enumerate(turns):
        before = runs(place) if number else None
        done = clone.invoke("reuse", *words)
        assert done.returncode == 0, done.stderr
        if before is None:
            continue
        after = runs(place)
        undo, says = undo_of(done)
        assert says.startswith(before[0][7:19])
        back = clone.invoke(*undo)
        assert back.returncode == 0, back.stderr
        is_whole = "how it ran" not in says
        assert runs(place)[0] == before[0]
        assert runs(place)[1].get("replicas", 1) == before[1].get("replicas", 1)
        assert runs(place) == before or not is_whole
        assert project.environment["DEPLOY_API_URL"] != place.url or is_whole, "the API says how it ran"
        assert clone.invoke(*undo_of(back)[0]).returncode == 0
        assert runs(place) == after, "the undo of an undo"
    if project.environment["DEPLOY_API_URL"] == place.url:
        assert "octocat" in place.app("apps", "shop")["deployedBy"]


def test_what_is_not_known_of_a_colleagues_deploy_is_said_before_it_is_undone(
    project: Project, sandbox: SandboxProcess
) -> None:
    one, two = built(project, "one", "two")
    by_a_colleague(sandbox, one, replicas=3, domain="ann.example.com")
    with faulty_api() as api:
        for kind in ("deploy", "app"):
            api.always(kind, Plain(sandbox))
        project.environment["DEPLOY_API_URL"] = api.url
        words, says = undo_of(project.invoke("reuse", "--build-id", two))
        part = "how it ran is known only in part: replicas 3; the rest gets the current settings"
        assert part in says
        back = project.invoke(*words, DEPLOY_DOMAIN="now.example.com")
        assert part in back.stderr
        assert runs(sandbox) == (
            one,
            {"port": 3000, "replicas": 3, "domain": "now.example.com", "appClass": "business"},
        )


def test_variables_come_back_with_the_values_of_now_where_the_server_keeps_none(
    project: Project, sandbox: SandboxProcess
) -> None:
    one, two = built(project, "one", "two")
    project.write("invoke.yaml", "deploy: {env: {MODE: old, GONE: x}}\n")
    with faulty_api() as api:
        for kind in ("deploy", "app"):
            api.always(kind, Plain(sandbox))
        project.environment["DEPLOY_API_URL"] = api.url
        project.invoke("reuse", "--build-id", one, "--replicas", "2")
        project.write("invoke.yaml", "deploy: {env: {MODE: new, CAME: y}}\n")
        words, _ = undo_of(project.invoke("reuse", "--build-id", two))
        back = project.invoke(*words)
        assert back.returncode == 0, back.stderr
        assert "its variables get the current values (variables +CAME -GONE since then)\n" in back.stderr
        assert sandbox.config("apps", "shop", {"MODE": "new", "CAME": "y"})["replicas"] == 2
    history = (project.folder / ".deploy" / "history.jsonl").read_text()
    assert '"env":{"MODE":null,"GONE":null}' in history


def test_another_image_name_comes_back_with_its_digest(project: Project, sandbox: SandboxProcess) -> None:
    named = project.invoke("build", "--image-name", "team/shop", "reuse")
    assert named.returncode == 0, named.stderr
    image = sandbox.app("apps", "shop")["image"]
    built(project, "two")
    words, _ = undo_of(project.invoke("reuse"))
    assert words == ["rollback"]
    assert project.invoke(*words).stdout.strip() == image == f"{sandbox.registry}/team/shop@{named.stdout.split()[0]}"


@contextmanager
def reached_through(project: Project, server: Plain) -> Iterator[None]:
    """Within it, the project reaches a sandbox through `server`."""
    with faulty_api() as api:
        for kind in ("start", "deploy", "wait", "digest", "status", "logs", "app"):
            api.always(kind, server)
        project.environment["DEPLOY_API_URL"] = api.url
        yield


def test_a_removed_app_comes_back_as_it_was_deployed_last(project: Project, sandbox: SandboxProcess) -> None:
    one, two = built(project, "one", "two")
    project.invoke("reuse", "--build-id", one)
    project.invoke("reuse", "--build-id", two, "--domain", "shop.example.com")
    sandbox.call("DELETE", "/api/apps/apps/shop")
    back = project.invoke("rollback")
    assert back.returncode == 0, back.stderr
    assert runs(sandbox) == (two, {"port": 3000, "domain": "shop.example.com", "appClass": "business"})


@pytest.mark.parametrize("features", ["", "app-state", "app-state, app-history"])
def test_there_is_no_undo_where_only_values_of_variables_differ_that_no_server_keeps(
    project: Project, sandbox: SandboxProcess, features: str
) -> None:
    one, two = built(project, "one", "two")
    with reached_through(project, Plain(sandbox, features)):
        for build_id, value in ((one, "K=1"), (two, "K=1")):
            project.invoke("reuse", "--build-id", build_id, "--env", value, "--no-follow")
        other_value = project.invoke("reuse", "--env", "K=2", "--no-follow").stderr
        assert other_value.endswith(
            "this cannot be undone: the same ran before, perhaps with other values of variables, which are not kept\n"
        )
        without = project.invoke("reuse", "--no-follow").stderr
        assert without.endswith(
            "this cannot be undone: the same ran before, but for variables, whose values are not kept\n"
        )


def test_the_undo_of_other_replicas_of_the_same_digest_brings_them_back(
    project: Project, sandbox: SandboxProcess
) -> None:
    (one,) = built(project, "one")
    with reached_through(project, Plain(sandbox)):
        project.invoke("reuse", "--no-follow")
        by_a_colleague(sandbox, one, replicas=3)
        words, says = undo_of(project.invoke("reuse", "--no-follow"))
        assert "how it ran is known only in part: replicas 3" in says
        assert project.invoke(*words, "--no-follow").returncode == 0
    assert runs(sandbox)[1]["replicas"] == 3


def test_a_deploy_in_between_that_no_server_refused_is_what_undo_goes_back_to(
    project: Project, sandbox: SandboxProcess
) -> None:
    one, two, three = built(project, "one", "two", "three")
    project.invoke("reuse", "--build-id", one)
    server = Plain(sandbox, "app-state, app-history, rollback")
    server.before_deploy = lambda: by_a_colleague(sandbox, two, domain="ann.example.com")
    with reached_through(project, server):
        done = project.invoke("reuse", "--build-id", three, "--no-follow")
        assert "warning: something else was deployed right before this, and this deploy replaced it\n" in done.stderr
        words, says = undo_of(done)
        assert says.startswith(two[7:19])
        assert "replaced" not in (project.folder / ".deploy" / "history.jsonl").read_text().splitlines()[-1]
        assert project.invoke(*words, "--no-follow").returncode == 0
    assert runs(sandbox)[1]["domain"] == "ann.example.com"


def test_of_several_apps_each_is_looked_at_before_its_rollback(project: Project, sandbox: SandboxProcess) -> None:
    digests = built(project, "one", "two", "three")
    project.write("invoke.yaml", "deploy: {apps: {a: {app: shop}, b: {app: other, image_name: shop}}}\n")
    server = Plain(sandbox)
    with reached_through(project, server):
        for app in ("a", "b"):
            for build_id in digests[:2]:
                done = project.invoke("reuse", "--app", app, "--build-id", build_id, "--no-follow")
                assert done.returncode == 0, done.stderr

        def meanwhile() -> None:
            body = {"app": "other", "namespace": "apps", "imageName": "shop", "buildId": digests[2], "deploy": True}
            sandbox.call("POST", "/build", {**body, "deployConfig": {"port": 3000}})

        server.before_deploy = meanwhile
        done = project.invoke("rollback", "--app", "all", "--jobs", "1", "--no-follow")
    assert done.returncode == 13, done.stderr
    assert "b | something else was deployed meanwhile" in done.stderr
    assert sandbox.app("apps", "other")["image"].endswith(digests[2])
    assert runs(sandbox)[0] == digests[0]


def test_the_history_keeps_where_the_image_came_from_when_it_returns(project: Project, sandbox: SandboxProcess) -> None:
    one, two = built(project, "one", "two")
    for build_id in (one, two):
        project.invoke("reuse", "--build-id", build_id)
    back = json.loads(project.invoke("rollback", "--json").stdout)
    assert (back["buildId"], back["imageTag"], back["repoUrl"]) == (
        one,
        project.git("rev-parse", "HEAD~1"),
        str(project.origin),
    )


# --- a server with answers from the test ------------------------------------------------------------------------------


@pytest.fixture
def api() -> Iterator[FaultyApi]:
    with faulty_api() as server:
        yield server


@pytest.fixture
def shop(project: Project, api: FaultyApi) -> Project:
    """The project with a recorded digest, set up for `api`."""
    project.environment.update(
        DEPLOY_API_URL=api.url, DEPLOY_API_KEY="k3y", DEPLOY_REGISTRY=api.address, DEPLOY_PORT="3000"
    )
    project.write_record({"app": "shop", "imageName": "shop", "buildId": DIGEST})
    return project


def revision(number: int, digest: str = OTHER, **more: object) -> dict[str, object]:
    usual = {"revision": number, "image": f"r:1/shop@{digest}", "replicas": 1, "readyReplicas": 1, "status": "ready"}
    when = {"deployedBy": "ann", "deployedAt": f"2026-11-26T06:0{number}:00Z", "deployConfig": {"port": 3000}}
    return {**usual, **when, **more}


def as_app(number: int, digest: str = OTHER, **more: object) -> Answer:
    return http(200, {"app": revision(number, digest, **more)}, **FULL)


def plain_app(digest: str) -> Answer:
    return http(200, {"app": {"replicas": 1, "readyReplicas": 1, "image": f"r:1/shop@{digest}"}})


def posts(api: FaultyApi) -> list[str | None]:
    """The revision that each deploy expected."""
    return [request.headers.get("if-match") for request in api.requests if request.kind == "deploy"]


CHANGED = http(412, {"error": "no", "app": revision(8, THIRD)}, **FULL)
DEPLOYED = http(200, {"skipped": True, "revision": 9}, **FULL)


def test_a_deploy_of_somebody_else_meanwhile_ends_in_exit_code_13(shop: Project, api: FaultyApi) -> None:
    api.answers = {"app": [as_app(7), as_app(8, THIRD)], "deploy": [CHANGED]}
    for words in (["reuse"], ["reuse", "--yes"]):
        api.answers = {"app": [as_app(7), as_app(8, THIRD)], "deploy": [CHANGED]}
        refused = shop.invoke(*words)
        assert refused.returncode == 13, refused.stderr
        last = refused.stderr.splitlines()[-1]
        assert last.startswith(
            "something else was deployed meanwhile: revision 8 runs now, sha256:cccccccccccc…, deployed "
            "2026-11-26T06:08:00Z by ann. Nothing was deployed. "
        )
        assert "invoke status" in last
    assert posts(api) == ['"7"', '"7"']
    assert not (shop.folder / ".deploy" / "history.jsonl").exists()


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 13), ("", 13)])
def test_on_a_terminal_the_new_plan_is_shown_and_asked_for(
    shop: Project, api: FaultyApi, answer: str, code: int
) -> None:
    ready = as_app(9, DIGEST)
    api.answers = {"app": [as_app(7), as_app(8, THIRD), as_app(8, THIRD), *[ready] * 99], "deploy": [CHANGED, DEPLOYED]}
    shown = shop.on_a_terminal("reuse", code=code, answers=[lambda: answer])
    assert "something else was deployed meanwhile: revision 8 runs now" in shown
    before, _, after = shown.partition("The new plan:")
    assert "now: bbbbbbbbbbbb" in before
    assert "now: cccccccccccc" in after
    assert posts(api) == (['"7"', '"8"'] if answer == "y" else ['"7"'])
    if answer == "y":
        assert "undo: invoke rollback → cccccccccccc" in after


def test_what_changes_during_a_build_is_seen_without_a_check_of_the_server(shop: Project, api: FaultyApi) -> None:
    api.answers = {"app": [plain_app(OTHER), plain_app(THIRD)], "digest": [http(404)]}
    refused = shop.invoke("deploy")
    assert refused.returncode == 13, refused.stderr
    assert "something else was deployed meanwhile: sha256:cccccccccccc… runs now" in refused.stderr
    assert (api.count("start"), api.count("deploy")) == (1, 0)
    api.answers = {"app": [plain_app(OTHER), plain_app(THIRD), plain_app(THIRD)]}
    shop.on_a_terminal("deploy", "--no-cache", "--no-follow", answers=[lambda: "y"])
    assert api.count("deploy") == 1
    api.answers = {"app": [plain_app(OTHER), plain_app(THIRD), plain_app(OTHER)]}
    shop.on_a_terminal("deploy", "--no-cache", "--no-follow", answers=[lambda: "y", lambda: "n"], code=13)
    assert api.count("deploy") == 1, "it has changed again while the question stood"


def test_the_answer_that_was_lost_is_no_change_by_somebody_else(shop: Project, api: FaultyApi) -> None:
    ours = http(412, {"error": "no", "app": revision(8, DIGEST, deployConfig={"port": 3000})}, **FULL)
    api.answers = {"app": [as_app(7), *[as_app(8, DIGEST)] * 99], "deploy": [http(502), ours]}
    done = shop.invoke("reuse")
    assert done.returncode == 0, done.stderr
    assert "undo: invoke rollback → bbbbbbbbbbbb" in done.stderr


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (http(404), "the API does not say what runs"),
        (http(405), "the API does not say what runs"),
        (http(403, {"error": "no read here"}), "could not ask what runs: HOST answered 403: no read here"),
        (http(500), "could not ask what runs: HOST answered 500"),
        (http(200, b"<html>"), "could not ask what runs: unexpected answer of the API"),
    ],
)
def test_what_cannot_be_asked_does_not_keep_a_deploy_from_happening(
    shop: Project, api: FaultyApi, answer: Answer, says: str
) -> None:
    api.answers = {"app": [answer] * 2}
    done = shop.invoke("reuse", "--no-follow")
    assert done.returncode == 0, done.stderr
    assert f"  now: {says}" in done.stderr.replace(api.address, "HOST")
    assert posts(api) == [None]


def test_the_undo_of_a_deploy_over_what_cannot_be_read_is_what_was_deployed_from_here(
    shop: Project, api: FaultyApi
) -> None:
    forbidden = http(403, {"error": "no read here"}, **FULL)
    api.always("app", forbidden)
    api.always("deploy", http(200, {"skipped": True, "revision": 9}, **FULL))
    shop.invoke("reuse", "--build-id", OTHER, "--no-follow")
    done = shop.invoke("reuse", "--no-follow")
    words, says = undo_of(done)
    assert (words, says) == (["rollback"], f"{OTHER[7:19]} (as far as is known here)")
    assert f"going back to {OTHER[:19]}…" in shop.invoke("--dry", *words).stderr
    again = shop.invoke("reuse", "--no-follow").stderr
    assert again.endswith("answered 403: no read here, and the same was deployed from here before\n")
    assert "undo:" not in again, "somebody may have deployed in between"


def test_a_rollback_needs_the_answer_of_an_api_that_may_have_one(shop: Project, api: FaultyApi) -> None:
    for build_id in (OTHER, DIGEST):
        api.answers = {"app": [http(404)]}
        shop.invoke("reuse", "--build-id", build_id, "--no-follow")
    api.answers = {"app": [http(503)] * 2}
    refused = shop.invoke("rollback")
    assert refused.returncode == 5, refused.stderr
    assert "answered 503. Nothing was deployed. Try again: invoke rollback" in refused.stderr
    api.answers = {"app": [http(404)]}
    shown = shop.invoke("--dry", "rollback").stderr
    assert "what others deployed is not known, so only deploys from here count\n" in shown


def test_a_refused_key_and_no_connection_end_a_deploy_before_it(shop: Project, api: FaultyApi) -> None:
    api.answers = {"app": [http(401)]}
    refused = shop.invoke("reuse")
    assert refused.returncode == 4
    assert "Nothing was deployed" in refused.stderr
    assert api.summary == "none"
    away = shop.invoke("reuse", "--replicas", "2", DEPLOY_API_URL="http://127.0.0.1:9")
    assert away.returncode == 5
    assert "Nothing was deployed. Try again: invoke reuse --replicas 2\n" in away.stderr


def test_revisions_whose_rollout_failed_are_passed_over(shop: Project, api: FaultyApi) -> None:
    history = [revision(9, DIGEST), revision(8, THIRD, status="failed"), revision(7, deployConfig={"port": 1})]
    listed = http(200, {"history": history}, **FULL)
    api.answers = {"app": [as_app(9, DIGEST), listed]}
    shown = shop.invoke("--dry", "rollback").stderr
    assert "going back to sha256:bbbbbbbbbbbb…, deployed 2026-11-26T06:07:00Z by ann\n" in shown
    assert "revision 8 is skipped: its rollout failed\n" in shown
    assert '/rollback {"revision":7}' in shown
    api.answers = {
        "app": [as_app(8, THIRD, status="failed"), http(200, {"history": history}, **FULL), *[as_app(9, DIGEST)] * 9],
        "deploy": [DEPLOYED],
    }
    done = shop.invoke("reuse", "--no-follow")
    assert "undo: invoke rollback → bbbbbbbbbbbb" in done.stderr, "the failed one is not gone back to"


def test_an_image_without_a_digest_comes_back_only_by_the_server(shop: Project, api: FaultyApi) -> None:
    tagged = revision(7, image="ghcr.io/org/shop:v1")
    listed = http(200, {"history": [revision(8, DIGEST), tagged]}, **FULL)
    api.answers = {"app": [as_app(8, DIGEST), listed]}
    assert '/rollback {"revision":7}' in shop.invoke("--dry", "rollback").stderr
    features = {"Deploy_Api_Features": "app-state, app-history"}
    api.answers = {
        "app": [
            http(200, {"app": revision(8, DIGEST)}, **features),
            http(200, {"history": [revision(8, DIGEST), tagged]}, **features),
        ]
    }
    refused = shop.invoke("rollback")
    assert refused.returncode == 2
    assert "what ran before (ghcr.io/org/shop:v1) has no digest" in refused.stderr


def test_there_is_no_way_back_if_no_rollout_before_succeeded(shop: Project, api: FaultyApi) -> None:
    stuck = [revision(9, DIGEST, status="failed", readyReplicas=0), revision(7, status="failed")]
    api.answers = {
        "app": [
            as_app(7, status="failed"),
            http(200, {"history": stuck}, **FULL),
            *[http(200, {"app": stuck[0]}, **FULL)] * 9,
        ],
        "deploy": [DEPLOYED],
    }
    failed = shop.invoke("reuse")
    assert failed.returncode == 12
    assert failed.stderr.endswith("No rollout before this one succeeded, so there is nothing to go back to yet\n")
    assert "invoke rollback" not in failed.stderr
    listed = http(200, {"history": stuck}, **FULL)
    api.answers = {"app": [http(200, {"app": stuck[0]}, **FULL), listed]}
    assert (
        "nothing else ran before, as the API says; the rollout of revision 7 failed" in shop.invoke("rollback").stderr
    )


def test_what_has_no_digest_has_no_undo_without_the_server(shop: Project, api: FaultyApi) -> None:
    api.answers = {"app": [http(200, {"app": {"replicas": 1, "image": "ghcr.io/org/shop:v1"}})]}
    done = shop.invoke("reuse", "--no-follow")
    assert done.stderr.endswith("what ran before (ghcr.io/org/shop:v1) has no digest, so it cannot be deployed again\n")


def test_a_revision_is_restored_only_from_the_history_of_the_server(shop: Project, api: FaultyApi) -> None:
    features = {"Deploy_Api_Features": "app-state, rollback, revision-check"}
    for number, build_id in ((1, OTHER), (2, DIGEST)):
        api.answers = {"app": [http(404, **features)], "deploy": [http(200, {"skipped": True, "revision": number})]}
        assert shop.invoke("reuse", "--build-id", build_id, "--no-follow").returncode == 0
    api.answers = {"app": [http(200, {"app": revision(2, DIGEST)}, **features)]}
    shown = shop.invoke("--dry", "rollback").stderr
    assert f"going back to {OTHER[:19]}" in shown
    assert "/build {" in shown, "an app that was removed since has other revisions of these numbers"


def test_a_deploy_between_the_two_looks_of_a_rollback_is_seen(shop: Project, api: FaultyApi) -> None:
    listed = http(200, {"history": [revision(7), revision(9, DIGEST), revision(8, THIRD)]}, **FULL)
    api.answers = {"app": [as_app(8, THIRD), listed, as_app(9, DIGEST), listed]}
    shown = shop.invoke("--dry", "rollback").stderr
    assert f"  now: {DIGEST[7:19]}" in shown
    assert '/rollback {"revision":8}' in shown, "in whatever order they are listed"
    api.answers = {"app": [as_app(8, THIRD), listed] * 2}
    refused = shop.invoke("rollback")
    assert refused.returncode == 13
    assert [request for request in api.requests if request.method == "POST"] == []


@pytest.mark.parametrize("status", [404, 409, 501])
def test_a_refused_rollback_says_what_to_do(shop: Project, api: FaultyApi, status: int) -> None:
    listed = http(200, {"history": [revision(8, DIGEST), revision(7)]}, **FULL)
    api.answers = {"app": [as_app(8, DIGEST), listed, http(status, {"error": "no"}, **FULL)]}
    refused = shop.invoke("rollback")
    assert refused.returncode == 4, refused.stderr
    assert f"answered {status}: " in refused.stderr
    assert "Nothing was deployed. Check what runs first: invoke status" in refused.stderr


def test_what_another_run_did_while_this_planned_without_a_lock_is_seen(shop: Project, api: FaultyApi) -> None:
    def meanwhile(connection: Connection) -> bool:
        shop.write(".deploy/build-id.json.lock", "")
        return as_app(8, THIRD)(connection) is True

    listed = [http(200, {"history": [revision(8, THIRD), revision(7)]}, **FULL)]
    listed += [http(200, {"history": [revision(9, DIGEST), revision(8, THIRD)]}, **FULL)]
    api.answers = {"app": [meanwhile, listed[0], as_app(9, DIGEST), listed[1], DEPLOYED]}
    done = shop.invoke("rollback", "--no-follow")
    assert done.stderr.count("  now: ") == 1
    assert f"  now: {DIGEST[7:19]}" in done.stderr, "another run has taken the lock and let it go"
    assert [request.headers["if-match"] for request in api.requests if request.method == "POST"] == ['"9"']


def test_a_rollout_that_failed_ends_at_once_with_the_way_back(shop: Project, api: FaultyApi) -> None:
    stuck = as_app(9, DIGEST, status="failed", reason="ImagePullBackOff", message="no such image", readyReplicas=0)
    api.answers = {"app": [as_app(7), *[stuck] * 99], "deploy": [DEPLOYED]}
    failed = shop.invoke("reuse")
    assert failed.returncode == 12
    assert failed.stderr.splitlines()[-1] == (
        "shop is deployed, but its rollout failed: ImagePullBackOff: no such image. "
        "Go back to sha256:bbbbbbbbbbbb…: invoke rollback"
    )


# --- protected ------------------------------------------------------------------------------------------------------


def protect(shop: Project, api: FaultyApi) -> None:
    """Makes `api` a protected environment."""
    environment = {"api_url": api.url, "registry": api.address, "protected": True}
    config = {"port": 3000, "environment": "production", "environments": {"production": environment}}
    shop.write("invoke.yaml", json.dumps({"deploy": config}))
    for name in ("DEPLOY_API_URL", "DEPLOY_REGISTRY"):
        del shop.environment[name]


@pytest.fixture
def protected(project: Project, sandbox: SandboxProcess) -> Project:
    """The project, with the sandbox as a protected environment."""
    environment = {"api_url": sandbox.url, "registry": sandbox.registry, "protected": True}
    environments = {"staging": {**environment, "protected": False, "namespace": "staging"}, "production": environment}
    config = {"port": 3000, "environment": "production", "environments": environments}
    project.write("invoke.yaml", json.dumps({"deploy": config}))
    project.commit("protect")
    project.push()
    for name in ("DEPLOY_API_URL", "DEPLOY_REGISTRY"):
        del project.environment[name]
    project.environment["DEPLOY_API_KEY_STAGING"] = sandbox.key
    return project


def with_yes() -> list[str]:
    """The tasks that build or deploy."""
    parameters = {name: inspect.signature(task.body).parameters for name, task in ns.tasks.items()}
    return sorted(name.replace("_", "-") for name, flags in parameters.items() if "yes" in flags)


def test_every_task_that_builds_or_deploys_can_be_confirmed() -> None:
    assert with_yes() == ["build", "deploy", "local", "local-deploy", "promote", "reuse", "rollback"]
    packages = (commands, deploying, building)
    modules = [import_module(f"{each.__name__}.{one.name}") for each in packages for one in iter_modules(each.__path__)]
    all_commands = [value for module in modules for value in vars(module).values() if isinstance(value, Command)]
    asking = {command.name: command for command in all_commands if command.effect >= Effect.BUILDS}
    assert sorted(asking) == with_yes(), "a command must say that it neither builds nor deploys"
    for command in asking.values():
        plan = get_type_hints(command.plan)["return"]
        assert all(hasattr(kind, "lines") for kind in get_args(plan) or [plan]), command.name


def test_without_a_terminal_a_protected_environment_needs_yes(protected: Project, sandbox: SandboxProcess) -> None:
    one, two = built(protected, "one", "two", yes=True)
    for build_id in (one, two):
        assert protected.invoke("reuse", "--yes", "--build-id", build_id).returncode == 0
    assert protected.invoke("reuse", "--environment", "staging").returncode == 0
    sandbox.forget()
    history = (protected.folder / ".deploy" / "history.jsonl").read_text()
    for task in with_yes():
        words = [task, "--from", "staging"] if task == "promote" else [task]
        refused = protected.invoke(*words)
        assert refused.returncode == 2, refused.stderr
        says = (
            f"production ({sandbox.registry}) is protected, and there is no terminal. Nothing was changed. Confirm it"
        )
        assert f"{says}: invoke {task} " in refused.stderr
        assert " --yes" in refused.stderr
    assert sandbox.seen("POST") == []
    assert (protected.folder / ".deploy" / "history.jsonl").read_text() == history
    for words in (["status"], ["digest"], ["--dry", "reuse"]):
        assert "is protected" not in protected.invoke(*words).stderr
    refused = protected.invoke("build", "reuse", "--replicas", "2")
    again = refused.stderr.partition("Confirm it: invoke ")[2]
    done = protected.invoke(*shlex.split(again))
    assert done.returncode == 0, done.stderr
    assert f"deployed shop to apps (business nodes) in production ({sandbox.registry}), without a build" in done.stderr
    assert protected.invoke("reuse").returncode == 2, "another command line"


def test_without_a_terminal_nothing_is_deployed_if_a_later_task_is_not_confirmed(
    protected: Project, sandbox: SandboxProcess
) -> None:
    built(protected, "one", yes=True)
    sandbox.forget()
    words = ["reuse", "--environment", "staging", "promote", "--from", "staging", "--environment", "production"]
    refused = protected.invoke(*words)
    assert refused.returncode == 2, refused.stderr
    says = f"production ({sandbox.registry}) is protected, and there is no terminal. Nothing was changed."
    assert f"{says} Confirm it with --yes after promote" in refused.stderr
    assert sandbox.seen("POST") == []
    assert protected.invoke(*words, "--yes").returncode == 0
    assert protected.invoke(*words[:3], "status", "--environment", "production").returncode == 0


def test_a_later_task_is_asked_about_its_own_app(protected: Project, sandbox: SandboxProcess) -> None:
    environment = {"api_url": sandbox.url, "registry": sandbox.registry}
    of_b = {"testing": {}, "production": {"protected": True}}
    apps = {"a": {}, "b": {"environments": of_b}}
    config = {"port": 3000, "environments": {"staging": environment}, "apps": apps}
    protected.write("invoke.yaml", json.dumps({"deploy": config}))
    protected.commit("two apps")
    protected.push()
    for name in ("staging", *of_b):
        variables = {"API_URL": sandbox.url, "API_KEY": sandbox.key, "REGISTRY": sandbox.registry}
        protected.environment |= {f"DEPLOY_{key}_{name.upper()}": value for key, value in variables.items()}
    ok(protected.invoke("build", "--app", "a,b", "--environment", "staging"))
    words = ["reuse", "--app", "a", "--environment", "staging", "reuse", "--app", "b", "--environment"]
    ok(protected.invoke(*words, "testing"))
    sandbox.forget()
    refused = protected.invoke(*words, "production")
    assert "production (" in refused.stderr, refused.stderr
    assert "Nothing was changed. Confirm it with --yes after reuse" in refused.stderr
    assert (refused.returncode, sandbox.seen("POST")) == (2, [])


def test_on_a_terminal_a_protected_environment_asks_once_for_all_of_the_command_line(
    protected: Project, sandbox: SandboxProcess
) -> None:
    shown = protected.on_a_terminal("build", "reuse", "--replicas", "2", answers=[lambda: "y"])
    assert shown.count("[y/N]") == 1
    asked, _, after = shown.partition(f"Go on in production ({sandbox.registry})? [y/N]")
    assert f"build shop: {protected.origin} at {protected.head[:12]}" in asked
    assert "then: reuse --replicas 2" in asked
    assert "2/2 ready" in after
    sandbox.forget()
    shown = protected.on_a_terminal("reuse", code=2, answers=[lambda: "n"])
    assert "now: " in shown
    assert "new: " in shown
    assert "changes: replicas 2 → default" in shown
    assert "the plan was not confirmed. Nothing was changed" in shown
    assert sandbox.seen("POST") == []
    assert "[y/N]" not in protected.on_a_terminal("reuse", "--yes")


def test_several_apps_are_confirmed_together(protected: Project, sandbox: SandboxProcess) -> None:
    path = protected.folder / "invoke.yaml"
    config = json.loads(path.read_text())
    config["deploy"]["apps"] = {"one": {}, "two": {}}
    path.write_text(json.dumps(config))
    protected.commit("apps")
    protected.push()
    shown = protected.on_a_terminal("build", "--app", "all", "reuse", answers=[lambda: "y"])
    assert shown.count("[y/N]") == 1
    assert "one: build one: " in shown
    assert "two: build two: " in shown
    refused = protected.invoke("reuse", "--app", "all")
    assert refused.returncode == 2
    assert "Confirm it: invoke reuse --environment production --app all --yes" in refused.stderr


@pytest.mark.parametrize("words", [["reuse"], ["build", "reuse"]])
def test_what_changes_after_the_question_ends_a_protected_deploy(
    protected: Project, sandbox: SandboxProcess, words: list[str]
) -> None:
    one, two = (protected.invoke("build", "--yes", "--image-tag", tag).stdout.strip() for tag in ("one", "two"))
    assert protected.invoke("reuse", "--yes", "--build-id", one).returncode == 0

    def meanwhile() -> str:
        by_a_colleague(sandbox, two, replicas=2)
        return "y"

    shown = protected.on_a_terminal(*words, code=13, answers=[meanwhile])
    assert "something else was deployed meanwhile" in shown
    assert shown.count("[y/N]") == 1
    assert runs(sandbox)[1]["replicas"] == 2
    assert protected.invoke("reuse", "--yes").returncode == 0, "a new command line sees what runs now"


@pytest.mark.parametrize(
    ("first", "second", "code", "sent"),
    [
        (as_app(7), http(500, **FULL), 0, ['"7"']),
        (as_app(7), http(200, {"app": {"replicas": 1, "image": f"r:1/shop@{OTHER}"}}, **FULL), 0, ['"7"']),
        (plain_app(OTHER), http(500), 13, []),
        (http(404), http(404), 0, [None]),
    ],
)
def test_a_look_that_fails_after_the_question_hides_no_deploy_in_between(
    shop: Project, api: FaultyApi, first: Answer, second: Answer, code: int, sent: list[str | None]
) -> None:
    protect(shop, api)
    api.answers = {"app": [first, second, second], "deploy": [DEPLOYED]}
    done = shop.invoke("reuse", "--yes", "--no-follow")
    assert done.returncode == code, done.stderr
    assert posts(api) == sent


def test_the_plan_that_was_confirmed_is_not_printed_again(protected: Project, sandbox: SandboxProcess) -> None:
    built(protected, "one", yes=True)
    assert protected.on_a_terminal("reuse", answers=[lambda: "y"]).count("  now: ") == 1


def test_yes_says_nothing_of_what_somebody_deploys_meanwhile(shop: Project, api: FaultyApi) -> None:
    protect(shop, api)
    api.answers = {"app": [plain_app(OTHER), plain_app(THIRD)]}
    refused = shop.invoke("reuse", "--yes")
    assert refused.returncode == 13, refused.stderr
    assert api.count("deploy") == 0
