"""Hostile text in every field of the API's answers, in every file that is read, from git and from the engine: the
output of every task is plain lines, without a secret and without a command to a terminal or to GitHub."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

from tests.faults.api import DIGEST, JOB, FaultyApi, http
from tests.faults.conftest import WITHOUT_PAUSES
from tests.faults.engine import FakeEngine
from tests.project import Project

KEY = "canary/KEY+0123456789?abcdefghijklmnop"
BASIC = [base64.b64encode(f"{user}{KEY}".encode()).decode() for user in ("r:", "ro:", "rob:")]
ENCODED = [*BASIC, quote(KEY, safe=""), json.dumps(KEY).replace("/", "\\/")]
ACTS = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b31m\u202e\u2066\u200b\u2028\x85\x00\x7f"
LINES = "a\r\nFORGED\n::error::FORGED\n \t::add-mask::FORGED\n\u00a0::warning::FORGED\nx##[error]FORGED"
HOSTILE = f"{ACTS}{LINES} {KEY} {' '.join(ENCODED)} {ACTS}"
# What an answer, a file name, or a ref of git can hold of it.
ONE_LINE = "x##[error]FORGED\u202e\u200b"
# A text that is cut at each of its limits in the middle of the key.
CUT = "".join(f"{'y' * (limit - 10)}{KEY}\n" for limit in (80, 100, 200, 1000, 4000)) + KEY
ALWAYS = ["-c", WITHOUT_PAUSES]
# What the kit itself tells the runner.
COMMANDS = re.compile(r"::group::build [\w-]+|::endgroup::|::stop-commands::\w{32}|::\w{32}::|::error title=.*::.*")


def secrets() -> Iterator[str]:
    """Every form of the key, and what begins it, or base64 of it, and is long enough to be of use."""
    yield from (KEY, *ENCODED)
    yield KEY[:8]
    for text in BASIC:
        yield text[8:-4]


def check(done: subprocess.CompletedProcess[bytes], *, relays: bool, is_json: bool, is_on_github: bool) -> None:
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in err, err[-3000:]
    for text in (out, err):
        check_text(text)
        for line in text.splitlines():
            assert not line.strip().startswith(("FORGED", "::error::FORGED")) or relays, line
            assert len(line) < 5000
            if is_on_github:
                assert "##[" not in line
                assert not line.strip().startswith("::") or COMMANDS.fullmatch(line), line
    if is_json:
        for line in out.splitlines():
            json.loads(line)


def check_text(text: str) -> None:
    odd = {letter for letter in text if not letter.isprintable() and letter != "\n"}
    assert not odd, odd
    for secret in secrets():
        assert secret not in text, secret


class Case(NamedTuple):
    """Where hostile text comes from, and the task that meets it."""

    arrange: Callable[[Project, FaultyApi], object]
    task: list[str]
    exits: set[int]
    relays: bool = False
    """Whether lines of others are passed on as such: then they may be any text."""


def answers(**by_kind: object) -> Callable[[Project, FaultyApi], None]:
    """The API answers so: 200 with JSON, or an answer of its own."""

    def arrange(_: Project, api: FaultyApi) -> None:
        for kind, body in by_kind.items():
            api.always(kind, body if callable(body) else http(200, body))

    return arrange


def record(project: Project, **more: object) -> str:
    target = {"app": "shop", "namespace": "apps", "imageName": "shop", "imageTag": "v1", "buildId": DIGEST}
    return project.write_record({**target, **more})


def recorded(**more: object) -> Callable[[Project, FaultyApi], object]:
    return lambda project, _: record(project, **more)


def everything_in_files(project: Project, api: FaultyApi) -> None:
    """Hostile state, and a cluster that says hostile things of it."""
    record(project, gitRef=HOSTILE, imageTag=HOSTILE, repoUrl=HOSTILE)
    target = {
        "app": "shop",
        "namespace": HOSTILE,
        "imageName": HOSTILE,
        "imageTag": HOSTILE,
        "gitRef": HOSTILE,
        "repoUrl": HOSTILE,
    }
    flight = {**target, "jobName": JOB, "apiUrl": HOSTILE, "startedAt": HOSTILE, "askedImage": HOSTILE}
    project.write(".deploy/build-id.in-flight.json", json.dumps(flight))
    entry = {
        **{"time": HOSTILE, "who": HOSTILE, "what": HOSTILE, "gitRef": HOSTILE, "imageTag": HOSTILE, "built": HOSTILE},
        **{"app": "shop", "namespace": "apps", "imageName": "shop", "outcome": "deployed", "apiUrl": api.url},
    }
    entries = [{**entry, "buildId": f"sha256:{64 * digit}"} for digit in "bc"]
    project.write(".deploy/history.jsonl", "".join(f"{json.dumps(line)}\n" for line in entries))
    answers(app={"app": {"replicas": 1, "image": HOSTILE[:500]}}, status={"status": HOSTILE[:90]})(project, api)


def hostile_lock(project: Project, _: FaultyApi) -> None:
    record(project)
    path = project.write(".deploy/build-id.json.lock", "")
    file = os.open(path, os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
    held.append(file)
    os.write(file, json.dumps({"pid": os.getpid(), "task": HOSTILE, "since": HOSTILE}).encode())


held: list[int] = []


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    yield
    while held:
        os.close(held.pop())


def hostile_engine(**steps: str) -> Callable[[Project, FaultyApi], None]:
    def arrange(project: Project, _: FaultyApi) -> None:
        said = project.folder.parent / "said"
        said.write_text(f"{HOSTILE}\n{CUT}")
        says = f"cat {shlex.quote(str(said))}; cat {shlex.quote(str(said))} >&2"
        FakeEngine(project, project.folder.parent / "engine", **{name: says + step for name, step in steps.items()})

    return arrange


def pieces(project: Project, _: FaultyApi) -> None:
    """An engine that prints the key in pieces, with time for each to be passed on, then 60 MB without a line break."""
    half = len(KEY) // 2
    FakeEngine(
        project,
        project.folder.parent / "engine",
        build=f"printf %s {shlex.quote(KEY[:half])}; sleep 0.2; echo {shlex.quote(KEY[half:])}; "
        "head -c 60000000 /dev/zero | tr '\\0' '\\233' | iconv -f latin1 -t utf8; exit 7",
    )


def hostile_git(project: Project, _: FaultyApi) -> None:
    program = project.write(
        "bin/git", f"#!/bin/sh\nprintf %s {shlex.quote(HOSTILE.replace(chr(0), ''))} >&2; exit 128\n"
    )
    program.chmod(0o755)
    project.environment["PATH"] = f"{program.parent}:{project.environment['PATH']}"
    project.environment["DEPLOY_APP"] = "shop"
    record(project, gitRef=40 * "1")


def hostile_remote(project: Project, _: FaultyApi) -> None:
    project.git("checkout", "--quiet", "-b", ONE_LINE.replace("[", ""))
    project.git("config", "remote.origin.url", f"https://git.example.com/{LINES}{ACTS.replace(chr(0), '')}/shop")
    record(project)


def configured(text: str) -> Callable[[Project, FaultyApi], object]:
    return lambda project, _: project.write("invoke.yaml", text)


def hostile_file_names(project: Project, _: FaultyApi) -> None:
    for name in (f".env.{ONE_LINE}", f".env.a\nFORGED {ONE_LINE}"):
        project.write(name, "A=1\n")
    project.write(".dockerignore", ".deploy\n")
    FakeEngine(project, project.folder.parent / "engine")


FAILED = {"status": "failed", "error": HOSTILE, "message": HOSTILE, "logs": f"{HOSTILE}\n{CUT}"}
LOGS = {"logs": f"{HOSTILE}\n{CUT}"}
CASES: dict[str, Case] = {
    "the image of a started build": Case(answers(start={"jobName": JOB, "image": HOSTILE}), ["build"], {0}),
    "a long image of a started build": Case(answers(start={"jobName": JOB, "image": KEY * 20_000}), ["build"], {0}),
    "the job of a started build": Case(answers(start={"jobName": HOSTILE}), ["build"], {6}),
    "a long job": Case(answers(start={"jobName": HOSTILE * 2000}), ["build"], {6}),
    "a failed build": Case(answers(wait=FAILED, logs=LOGS), ["build"], {9}, relays=True),
    "a failed build without its log": Case(answers(wait=FAILED, logs=LOGS), ["build", "--no-logs"], {9}, relays=True),
    "a phase": Case(answers(wait={"status": HOSTILE[:90]}), ["build", "--timeout", "1"], {7}),
    "a refusal": Case(answers(start=http(422, HOSTILE.encode())), ["build"], {4}),
    "a refusal that is cut": Case(answers(start=http(422, b" " * 190 + CUT.encode())), ["build"], {4}),
    "a refusal with the key": Case(answers(start=http(422, {"error": f"{ENCODED}{KEY}"})), ["build"], {4}),
    "a redirect": Case(
        answers(start=http(302, Location=f"https://{KEY}\x1b[2J##[error].example.com/")), ["build"], {4}
    ),
    "a digest": Case(answers(digest={"buildId": HOSTILE[:90]}), ["digest", "--image-tag", "v1"], {5}),
    "a deploy with a job": Case(
        lambda p, a: (record(p), answers(deploy={"jobName": HOSTILE[:200]})(p, a)), ["reuse"], {6}
    ),
    "a refused deploy": Case(
        lambda p, a: (record(p), answers(deploy=http(409, HOSTILE.encode()))(p, a)), ["reuse"], {4}
    ),
    "files, status": Case(everything_in_files, ["status"], {0}),
    "files, history": Case(everything_in_files, ["history"], {0}),
    "files, reuse": Case(everything_in_files, ["reuse", "--no-follow"], {0}),
    "files, rollback": Case(everything_in_files, ["rollback", "--no-follow"], {0}),
    "files, wait": Case(everything_in_files, ["wait"], {2}),
    "files, doctor": Case(everything_in_files, ["doctor"], {0, 2}),
    "an image of 900 KB": Case(
        lambda p, a: (record(p), answers(app={"app": {"image": 900_000 * "i"}})(p, a)), ["status"], {5}
    ),
    "a record's app": Case(recorded(app=HOSTILE), ["digest", "--image-tag", "v1"], {0, 2}),
    "a record's digest": Case(recorded(buildId=HOSTILE), ["reuse"], {10}),
    "a log": Case(answers(logs=LOGS), ["logs", "--job", JOB], {0}, relays=True),
    "a lock": Case(hostile_lock, ["reuse"], {11}),
    "an engine": Case(hostile_engine(build="", push="; exit 1"), ["local"], {3}, relays=True),
    "an engine in pieces": Case(pieces, ["local"], {3}, relays=True),
    "git's complaints": Case(hostile_git, ["reuse", "--no-follow"], {0}),
    "git's remote and branch": Case(hostile_remote, ["doctor"], {0, 2}),
    "a value of invoke.yaml": Case(configured(f"deploy:\n  app: {json.dumps(HOSTILE)}\n"), ["reuse"], {2}),
    "a key of invoke.yaml": Case(configured(f"deploy:\n  {json.dumps(HOSTILE)}: 1\n"), ["reuse"], {2}),
    "a Dockerfile": Case(configured(f"deploy:\n  dockerfile: {json.dumps('x##[error]FORGED')}\n"), ["local"], {2}),
    "file names": Case(hostile_file_names, ["local"], {2}),
}
# With --json where the task has a flag for it; every second one in GitHub Actions, so that both are met by each kind.
WITHOUT_JSON = ("logs", "init")


@pytest.mark.parametrize("name", CASES)
def test_hostile_text_is_shown_as_plain_lines_without_a_secret(
    shop: Project, api: FaultyApi, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    shop.environment["DEPLOY_API_KEY"] = KEY
    case.arrange(shop, api)
    place = list(CASES).index(name)
    is_on_github, is_json = place % 2 == 0 or case.relays, place % 3 == 0 and case.task[0] not in WITHOUT_JSON
    files = {variable: tmp_path / variable for variable in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    actions = {"GITHUB_ACTIONS": "true", **{variable: str(path) for variable, path in files.items()}}
    before = set(shop.files())
    done = run(shop, *case.task, *(["--json"] if is_json else []), **(actions if is_on_github else {}))
    assert done.returncode in case.exits, (done.returncode, done.stderr[-3000:])
    check(done, relays=case.relays, is_json=is_json, is_on_github=is_on_github)
    for written, content in shop.files().items():
        assert written in before or KEY.encode() not in content, written
    output, summary = (path.read_text() if path.exists() else "" for path in files.values())
    check_text(output + summary)
    assert all(re.fullmatch(r"(build-id|image)=[\w./:@-]+", line) for line in output.splitlines())
    assert all(line.startswith("|") or not line for line in summary.splitlines())
    assert "<" not in summary


def run(project: Project, *task: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *ALWAYS, *task],
        cwd=project.folder,
        env={**project.environment, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
        check=False,
    )


def test_a_log_of_one_line_of_60_mb_is_cut(shop: Project, api: FaultyApi) -> None:
    api.always("logs", http(200, b'{"logs":"' + 30_000_000 * "\x9b".encode() + b'"}'))
    done = run(shop, "logs", "--job", JOB)
    assert done.returncode == 0
    assert len(done.stdout) < 5000


def test_hostile_answers_to_several_apps_are_shown_as_plain_lines(shop: Project, api: FaultyApi) -> None:
    shop.environment["DEPLOY_API_KEY"] = KEY
    shop.write("invoke.yaml", "deploy:\n  port: 3000\n  apps: {one: {}, two: {}}\n")
    api.always("start", http(422, {"error": HOSTILE}))
    for flags, github in ((["--json"], {}), ([], {"GITHUB_ACTIONS": "true"})):
        done = run(shop, "build", "--app", "all", *flags, **github)
        assert done.returncode == 4, done.stderr
        check(done, relays=False, is_json=bool(flags), is_on_github=bool(github))
        if flags:
            errors = json.loads(done.stdout)
            assert {errors[name]["exitCode"] for name in ("one", "two")} == {4}
            assert "***" in errors["one"]["error"]


def test_an_error_of_several_apps_does_not_show_the_key_that_it_quotes(shop: Project, api: FaultyApi) -> None:
    shop.environment["DEPLOY_API_KEY"] = KEY
    shop.write("invoke.yaml", "deploy:\n  port: 3000\n  apps: {one: {}, two: {}}\n")
    assert run(shop, "build", "--app", "all").returncode == 0
    api.always("deploy", http(200, {"jobName": f"{KEY} {ONE_LINE}"}))
    done = run(shop, "reuse", "--app", "all", "--json")
    assert done.returncode == 6
    check(done, relays=False, is_json=True, is_on_github=False)
    assert "(job *** " in json.loads(done.stdout)["one"]["error"]


def test_the_message_that_invoke_prints_does_not_show_the_key(shop: Project, api: FaultyApi) -> None:
    shop.environment["DEPLOY_API_KEY"] = KEY
    record(shop)
    api.always("deploy", http(200, {"jobName": f"{KEY} {ONE_LINE}"}))
    done = run(shop, "reuse")
    assert done.returncode == 6
    check(done, relays=False, is_json=False, is_on_github=False)
    assert b"(job *** x##[error]FORGED\\u202e" in done.stderr


def test_a_table_shows_no_control_character(shop: Project, api: FaultyApi) -> None:
    shop.environment["DEPLOY_API_KEY"] = KEY
    everything_in_files(shop, api)
    check(run(shop, "history"), relays=False, is_json=False, is_on_github=False)
    drawn = shop.on_a_terminal("history", COLUMNS="5000")
    assert KEY[:8] not in drawn
    assert "\x1b]52" not in drawn
    assert "\u202e" not in drawn
    assert "\\x1b]52" in drawn


def test_a_folder_with_a_hostile_name_is_shown_as_a_plain_line(shop: Project, api: FaultyApi) -> None:
    folder = shop.folder.parent / f"a\n::error::FORGED{ONE_LINE}\x1b[2J"
    moved = shop.copy(folder)
    moved.environment = {**shop.environment, "DEPLOY_APP": "shop"}
    moved.write(".deploy/build-id.json", "{")
    done = run(moved, "reuse", GITHUB_ACTIONS="true")
    assert done.returncode == 10, done.stderr
    check(done, relays=False, is_json=False, is_on_github=True)


def test_a_live_line_does_not_show_the_key(shop: Project, api: FaultyApi) -> None:
    record(shop)
    shop.environment["DEPLOY_API_KEY"] = KEY
    api.always("wait", http(200, {"status": f"{KEY}\x1b]52;c;x\x07"}))
    api.always("logs", http(200, {"logs": f"{KEY}\x1b]52;c;x\x07\n"}))
    shown = shop.on_a_terminal("build", "--timeout", "1", code=7)
    assert KEY[:8] not in shown
    assert "\x1b]52" not in shown
