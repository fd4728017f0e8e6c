"""The rows: what is measured against what, and what it may cost at most."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from benchmarks.measuring import Command, Measured, Usage, ended, ratio, run, start
from benchmarks.server import Build, serving
from tests.project import Project
from tests.sandboxes import SandboxProcess

_PAIRS_FOR_A_HUNDRED = 15
INVOKE = [sys.executable, "-m", "invoke"]
# The same requests as `reuse` sends until the deploy is accepted, by the same library.
_POST = """import pathlib
from invoke import task
import requests

@task
def post(c):
    with requests.Session() as session:
        session.headers.update({{"X-API-Key": {key!r}, "Content-Type": "application/json"}})
        session.get({url!r} + "/api/apps/apps/shop", timeout=30)
        answer = session.post({url!r} + "/build", data=pathlib.Path("payload.json").read_bytes(), timeout=30)
    answer.raise_for_status()
    print(answer.json()["image"])
"""
_PUSH = """from invoke import task
import requests

@task
def push(c):
    with c.cd({folder!r}):
        c.run({build!r})
        c.run("docker push {image}")
    requests.get({url!r}, headers={{"X-API-Key": {key!r}}}, timeout=30).raise_for_status()
"""
_EMPTY = """from invoke import task

@task
def nothing(c):
    "Does nothing."
"""


@contextmanager
def shop(folder: Path, *, build_seconds: float = 0, apps: int = 0) -> Iterator[tuple[Project, SandboxProcess]]:
    """A pushed repository, with a table of so many apps, and a sandbox that it is set up for."""
    flags = ["--replica-seconds", "0.001"]
    if build_seconds:
        flags = ["--build-seconds", str(build_seconds), "--replica-seconds", "1"]
    sandbox = SandboxProcess(folder / "sandbox", *flags)
    try:
        table = "".join(f"    app-{number:02}: {{image_name: many/app-{number:02}}}\n" for number in range(apps))
        files = {"invoke.yaml": f"deploy:\n  port: 3000\n{f'  apps:{chr(10)}{table}' if apps else ''}"}
        project = Project.make(folder / "shop", files)
        project.environment.update(sandbox.settings)
        yield project, sandbox
    finally:
        sandbox.stop()


def command(project: Project, *words: str) -> Command:
    return Command([*INVOKE, *words], project.folder, project.environment)


def reuse(folder: Path, pairs: int) -> Iterator[Measured]:
    with shop(folder) as (project, sandbox):
        run(command(project, "build"))
        shown = project.invoke("--dry", "reuse").stderr
        post = Project(folder / "post", project.environment)
        post.write("tasks.py", _POST.format(url=sandbox.url, key=sandbox.key))
        post.write("payload.json", next(line[line.index("{") :] for line in shown.splitlines() if '"buildId"' in line))
        baseline = command(post, "post")
        of = "an Invoke task with one GET of the app and one POST of the same payload, by requests"
        yield ratio("`invoke reuse`", of, command(project, "reuse"), baseline, bound=1.12, pairs=pairs)
        program = Command([str(Path(sys.executable).with_name("deploy-tasks")), "reuse"], *command(project)[1:])
        yield ratio("`deploy-tasks reuse`", of, program, baseline, bound=1.12, pairs=pairs)
        needed = command(project, "build", "--if-needed")
        yield ratio(
            "second `build --if-needed` of a commit",
            "`invoke reuse`",
            needed,
            command(project, "reuse"),
            bound=1.2,
            pairs=pairs,
        )


def listing(folder: Path, pairs: int) -> Iterator[Measured]:
    with shop(folder) as (project, _):
        empty = Project(folder / "empty", project.environment)
        empty.write("tasks.py", _EMPTY)
        of = "the same with one empty task"
        for name, words in (("`invoke --list`", ["--list"]), ("shell completion", ["--complete", "--", "invoke re"])):
            yield ratio(name, of, command(project, *words), command(empty, *words), bound=1.05, pairs=pairs)


def history(folder: Path, pairs: int) -> Iterator[Measured]:
    with shop(folder) as (project, _):
        run(command(project, "build", "reuse"))
        lines = (project.folder / ".deploy" / "history.jsonl").read_text().splitlines()
        commands = []
        for number in (100_000, 10):
            place = project.folder / f".deploy-{number}"
            place.mkdir()
            (place / "build-id.json").write_text((project.folder / ".deploy" / "build-id.json").read_text())
            (place / "history.jsonl").write_text("\n".join(lines[number % 2] for number in range(number)) + "\n")
            state = {**project.environment, "DEPLOY_STATE_FILE": str(place / "build-id.json")}
            commands.append(Command([*INVOKE, "reuse"], project.folder, state))
        long, short = commands
        yield ratio("`reuse` with 100,000 lines of history", "with 10", long, short, bound=1.1, pairs=pairs)


def many(folder: Path, pairs: int) -> Iterator[Measured]:
    with shop(folder / "many", build_seconds=3, apps=12) as (project, _):
        commands = [command(project, "build", "--app", app, "--no-cache", "reuse") for app in ("all", "app-00")]
        row = "12 apps, `build` then `reuse`, builds of 3 s, rollouts of 1 s"
        yield ratio(row, "one app", *commands, bound=1.3, pairs=pairs)
    if pairs < _PAIRS_FOR_A_HUNDRED:
        return
    with shop(folder / "hundred", build_seconds=3, apps=100) as (project, _):
        words = ["build", "--app", "all", "--jobs", "32", "--no-cache", "reuse"]
        all_of_them, one = command(project, *words), command(project, "build", "--app", "app-00", "--no-cache", "reuse")
        yield ratio("100 apps, `--jobs 32`, otherwise the same", "one app", all_of_them, one, bound=4, pairs=3)
        megabytes = run(all_of_them).megabytes
        yield Measured("100 apps, `--jobs 32`", "memory", megabytes, megabytes, megabytes, 200, " MB")


def local(folder: Path, pairs: int) -> Iterator[Measured]:
    """Needs the engine and the registry that `tests/engine/services` starts."""
    if "ENGINE_REGISTRY" not in os.environ:
        print("left out: `invoke local`, since tests/engine/services is not running", file=sys.stderr)  # noqa: T201
        return
    registry, user, password = (
        os.environ[f"ENGINE_{name}"] for name in ("REGISTRY", "REGISTRY_USERNAME", "REGISTRY_PASSWORD")
    )
    login = {"DEPLOY_REGISTRY_USERNAME": user, "DEPLOY_REGISTRY_PASSWORD": password}
    sandbox = SandboxProcess(folder / "sandbox", "--registry", registry, **login)
    try:
        project = Project.make(folder / "bench-local")
        engine = {
            "DOCKER_HOST": os.environ["ENGINE_DOCKER_HOST"],
            "DOCKER_CONFIG": str(folder / "docker"),
            "DOCKER_BUILDKIT": "0",
        }
        project.environment.update(sandbox.settings, **engine)
        subprocess.run(
            ["docker", "login", "--username", user, "--password-stdin", registry],
            input=password.encode(),
            env=project.environment,
            check=True,
            capture_output=True,
        )
        image = f"{registry}/bench-local:script"
        build = f"docker build --platform linux/amd64 --tag {image} --file Dockerfile ."
        url = f"{sandbox.url}/registry/bench-local/digest?tag=script"
        script = project.folder.with_name("script")
        script.write_text(
            f"set -e\n{build}\ndocker push {image}\ncurl --silent --fail --header X-API-Key:{sandbox.key} '{url}'\n"
        )
        bare = Command(["sh", str(script)], project.folder, project.environment)
        row, ours = "`invoke local`, cached", command(project, "local")
        of = "a shell script with `docker build`, `docker push` and one `curl`"
        yield ratio(row, of, ours, bare, bound=1.1, pairs=pairs, is_ours=False)
        task = Project(folder / "task", project.environment)
        words = {"build": build, "folder": str(project.folder), "image": image, "url": url, "key": sandbox.key}
        task.write("tasks.py", _PUSH.format(**words))
        of = "an Invoke task with the same two commands and one `requests.get`"
        yield ratio(row, of, ours, command(task, "push"), bound=1.3, pairs=pairs)
    finally:
        sandbox.stop()


def waiting(folder: Path, seconds: float) -> Iterator[Measured]:
    """What goes on for long, at once: builds of up to two minutes, one that says nothing, and one that says much."""
    lengths = [length for length in (1, 2, 3, 5, 8, 13, 20, 30, 45, 60, 90, 120) if length <= seconds]
    plan = {f"takes-{length}": Build(length) for length in lengths}
    plan |= {"silent": Build(seconds), "log": Build(min(60.0, seconds), log_bytes=20_000_000)}
    with serving(plan) as api:
        projects = {app: Project.make(folder / app) for app in plan}
        usages: dict[str, Usage] = {}

        def build(app: str) -> None:
            environment = {
                **projects[app].environment,
                "DEPLOY_API_URL": api.url,
                "DEPLOY_API_KEY": "k",
                "DEPLOY_APP": app,
            }
            begun = time.perf_counter()
            words = ["build", "--no-logs"] if app.startswith("takes") else ["build"]
            usages[app] = ended(start(Command([*INVOKE, *words], projects[app].folder, environment)), begun)

        threads = [Thread(target=build, args=(app,)) for app in plan]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        noticed = sorted(1000 * (api.builds[f"takes-{length}"].noticed or 0.0) for length in lengths)
        yield Measured(
            f"completion noticed, {len(lengths)} builds of 1 to {lengths[-1]} s",
            "the server's own time of completion",
            statistics.median(noticed),
            noticed[0],
            noticed[-1],
            100,
            " ms",
        )
        silent, asked = usages["silent"], api.builds["silent"].requests
        share = 100 * silent.cpu_seconds / silent.seconds
        row = f"waiting {seconds:g} s for a silent build"
        yield Measured(row, "one core", share, share, share, 1.0 if seconds >= 600 else 5.0, " %")
        yield Measured(row, "memory", silent.megabytes, silent.megabytes, silent.megabytes, 60, " MB")
        often = asked.total() / silent.seconds
        counted = ", ".join(f"{number} {what}" for what, number in asked.items())
        yield Measured(row, "requests a second", often, often, often, 1, "", detail=counted)
        sent, build_log = api.builds["log"].log_bytes_sent / 20_000_000, usages["log"]
        row = f"a 20 MB log that grows over {min(60.0, seconds):g} s"
        yield Measured(row, "bytes transferred over its size", sent, sent, sent, 4)
        share = 100 * build_log.cpu_seconds / build_log.seconds
        yield Measured(row, "one core", share, share, share, 10, " %", detail=f"{build_log.megabytes:.0f} MB of memory")


PAIRED: dict[str, Callable[[Path, int], Iterator[Measured]]] = {
    "reuse": reuse,
    "listing": listing,
    "history": history,
    "local": local,
    "many": many,
}
