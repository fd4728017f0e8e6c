"""The sandbox's builder: real clones and a real registry on disk, without HTTP."""

from __future__ import annotations

import asyncio
import base64
import functools
import gzip
import http.server
import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy_tasks.server.interfaces import Author, Build, Builder, Refused, Target
from deploy_tasks.server.memory import images
from deploy_tasks.server.memory.builder import Limits, Log, MemoryBuilder
from deploy_tasks.server.memory.images import ArchiveImageBuilder, DockerImageBuilder, ImageBuilder
from deploy_tasks.server.memory.registry import DiskRegistry, WritableRegistry
from deploy_tasks.server.schemas import DeployConfig, JobState
from tests.clock import Clock
from tests.project import SECONDS_A_COMMAND, Project, clean_environment

TOKEN = "t0ken-of-git"


class HeldImages:
    """An image builder whose builds end when `end` is set. `began` has the tags of the builds in their order."""

    digest = f"sha256:{64 * 'a'}"

    def __init__(self) -> None:
        self.began: list[str] = []
        self.some_began = asyncio.Condition()
        self.end = asyncio.Event()

    async def build(self, build: Build, context: Path, dockerfile: Path, log: Callable[[str], None]) -> str:
        async with self.some_began:
            self.began.append(build.image_tag)
            self.some_began.notify_all()
        await self.end.wait()
        return self.digest

    async def until_began(self, count: int) -> None:
        async with self.some_began:
            await self.some_began.wait_for(lambda: len(self.began) >= count)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in clean_environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def registry(tmp_path: Path) -> DiskRegistry:
    return DiskRegistry(tmp_path / "registry", "127.0.0.1:1")


def build_of(project: Project, **more: Any) -> Build:
    build = Build(
        target=Target("apps", "shop"),
        author=Author("ci"),
        repo_url=str(project.origin),
        git_ref=project.head,
        git_token=None,
        dockerfile="Dockerfile",
        build_context=".",
        image_name="shop",
        image_tag="v1",
        cache=True,
        config=None,
        asked=1,
    )
    return replace(build, **more)


def run_with(
    registry: DiskRegistry,
    scenario: Callable[[MemoryBuilder], Awaitable[Any]],
    images: Callable[[WritableRegistry], ImageBuilder] = ArchiveImageBuilder,
    **options: Any,
) -> Any:
    """What `scenario` returns. Nothing of the builder runs after that."""

    async def run() -> Any:
        builder = MemoryBuilder(registry, images(registry), **options)
        checked: Builder = builder
        try:
            return await asyncio.wait_for(scenario(builder), SECONDS_A_COMMAND)
        finally:
            await checked.close()
            assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    return asyncio.run(run())


def built(registry: DiskRegistry, build: Build, **options: Any) -> tuple[JobState, str]:
    """The state and log of a build that is over."""

    async def scenario(builder: MemoryBuilder) -> tuple[JobState, str]:
        started = (await builder.start(build, None)).job
        state = await builder.over(started.job_name, SECONDS_A_COMMAND)
        return state, await builder.log(started.job_name)

    result: tuple[JobState, str] = run_with(registry, scenario, **options)
    return result


def test_a_job_ends_with_the_digest_that_was_pushed(registry: DiskRegistry, project: Project) -> None:
    state, log = built(registry, build_of(project, image_name="team/shop"))
    assert (state.status, state.image) == ("succeeded", "127.0.0.1:1/team/shop:v1")
    assert state.build_id == registry.store.find("team/shop", "v1")
    assert state.job_name.startswith("build-shop-")
    assert "-" not in state.job_name.removeprefix("build-shop-")
    assert log.splitlines()[0] == f"cloning {project.origin} at {project.head}"
    assert log.splitlines()[-1] == f"pushed 127.0.0.1:1/team/shop:v1 {state.build_id}"


def test_the_same_commit_is_the_same_image_with_its_files(registry: DiskRegistry, project: Project) -> None:
    first, _ = built(registry, build_of(project))
    second, _ = built(registry, build_of(project, image_tag="v2", git_ref="main"))
    assert first.build_id == second.build_id
    manifest = json.loads(registry.store.manifest("shop", "v1").content)
    layer = registry.store.blob("shop", manifest["layers"][0]["digest"])
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer.read_bytes()))) as archive:
        assert sorted(archive.getnames()) == [
            "app/.dockerignore",
            "app/.gitignore",
            "app/Dockerfile",
            "app/page.html",
            "app/tasks.py",
        ]


def test_a_sub_folder_is_built_with_its_own_dockerfile(registry: DiskRegistry, project: Project) -> None:
    project.write("web/Dockerfile", "FROM scratch\nRUN make\nCOPY . /\n")
    project.commit("web")
    project.push()
    state, log = built(registry, build_of(project, build_context="web", dockerfile="web/Dockerfile"))
    assert state.status == "succeeded", log
    assert "runs no RUN (1 left out)" in log


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"build_context": "../.."}, "'../..' lies outside the repository"),
        ({"build_context": "/etc"}, "'/etc' lies outside the repository"),
        ({"dockerfile": "out"}, "'out' lies outside the repository"),
        ({"dockerfile": "loop"}, "Dockerfile 'loop' is not in the repository"),
        ({"dockerfile": 300 * "x"}, "x' is not in the repository"),
        ({"dockerfile": "a\0b"}, "is not in the repository"),
        ({"build_context": "web"}, "build context 'web' is not a folder of the repository"),
        ({"dockerfile": "Nope"}, "Dockerfile 'Nope' is not in the repository"),
        ({"git_ref": "nowhere"}, "git failed with exit code"),
        ({"repo_url": "/nowhere"}, "fatal: Could not read from remote repository"),
        ({"repo_url": "http://[robot:secret@x/"}, "the repository's address is malformed"),
        ({"repo_url": "ftp://robot:secret@127.0.0.1/x"}, "transport 'ftp' not allowed"),
        ({"repo_url": "fd::17"}, "transport 'fd' not allowed"),
        ({"repo_url": "ext::sh -c true"}, "transport 'ext' not allowed"),
    ],
)
def test_a_build_that_cannot_be_says_why(
    registry: DiskRegistry, project: Project, wrong: dict[str, str], says: str
) -> None:
    (project.folder / "out").symlink_to("/etc/hostname")
    (project.folder / "loop").symlink_to("loop")
    project.commit("links")
    project.push()
    state, log = built(registry, build_of(project, **wrong))
    assert (state.status, state.reason, state.build_id) == ("failed", "build", None)
    assert says in (state.error or "")
    assert log.splitlines()[-1] == f"error: {state.error}"
    assert "secret" not in log


def test_a_copy_of_a_missing_file_fails_as_with_kaniko(registry: DiskRegistry, project: Project) -> None:
    project.write("Dockerfile", "FROM scratch\nRUN <<END\nCOPY no.txt /\nEND\nCOPY --from=0 /x /\nCOPY nope.txt /\n")
    project.commit("copy")
    project.push()
    state, _ = built(registry, build_of(project))
    assert state.error == (
        "error building image: error building stage: failed to get files used from context: failed to get fileinfo for "
        "/kaniko/buildcontext/nope.txt: lstat /kaniko/buildcontext/nope.txt: no such file or directory"
    )


def test_a_build_takes_its_least_time_and_says_something_meanwhile(registry: DiskRegistry, project: Project) -> None:
    state, log = built(registry, build_of(project), build_seconds=1.0)
    assert state.status == "succeeded"
    assert "Taking snapshot of full filesystem..." in log.splitlines()[-1]


class _Private(http.server.SimpleHTTPRequestHandler):
    """Serves a repository to who has the token, and to `robot` with the password `pass:word`."""

    allowed = tuple(
        "Basic " + base64.b64encode(pair.encode()).decode() for pair in (f"x-access-token:{TOKEN}", "robot:pass:word")
    )

    def do_GET(self) -> None:
        if self.headers.get("Authorization") in self.allowed:
            super().do_GET()
        else:
            self.send_error(401)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def private_host(project: Project) -> Iterator[str]:
    """`host:port/path` of the project's repository on a server that wants credentials."""
    project.git("--git-dir", str(project.origin), "update-server-info")
    handler = functools.partial(_Private, directory=str(project.origin.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}/{project.origin.name}"
        server.shutdown()
        thread.join()


def test_a_private_repository_is_cloned_with_a_token_that_nothing_shows(
    registry: DiskRegistry, project: Project
) -> None:
    with private_host(project) as place:
        build = build_of(project, repo_url=f"http://{place}", git_ref="main")
        refused, _ = built(registry, build)
        with_token = replace(build, git_token=TOKEN)
        cloned, log = built(registry, with_token)
    assert refused.status == "failed"
    assert cloned.status == "succeeded", log
    assert TOKEN not in log + repr(with_token)


def test_a_password_in_the_address_reaches_git_and_no_log(registry: DiskRegistry, project: Project) -> None:
    with private_host(project) as place:
        build = build_of(project, repo_url=f"http://robot:pass%3Aword@{place}", git_ref="main")
        cloned, log = built(registry, build)
        refused, log_of_refused = built(registry, replace(build, repo_url=f"http://robot:secret@{place}"))
    assert cloned.status == "succeeded", log
    assert log.splitlines()[0] == f"cloning http://{place} at main"
    assert refused.status == "failed"
    assert "secret" not in log_of_refused + (refused.error or "")


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Two events: an image is being packed, and it may be finished."""
    began, may_end = threading.Event(), threading.Event()
    usual = images._image

    def slow(*arguments: Any) -> Any:
        began.set()
        assert may_end.wait(SECONDS_A_COMMAND)
        return usual(*arguments)

    monkeypatch.setattr(images, "_image", slow)
    yield began, may_end
    may_end.set()


def test_the_server_answers_while_an_image_is_packed(
    registry: DiskRegistry, project: Project, packing: tuple[threading.Event, threading.Event]
) -> None:
    began, may_end = packing

    async def scenario(builder: MemoryBuilder) -> None:
        name = (await builder.start(build_of(project), None)).job.job_name
        while not began.is_set():
            await asyncio.sleep(0.01)
        assert (await builder.over(name, 0)).status == "running"
        may_end.set()
        assert (await builder.over(name, SECONDS_A_COMMAND)).status == "succeeded"

    run_with(registry, scenario)


def test_an_image_whose_build_is_cancelled_is_not_pushed(
    registry: DiskRegistry, project: Project, packing: tuple[threading.Event, threading.Event]
) -> None:
    began, may_end = packing

    async def scenario(builder: MemoryBuilder) -> None:
        name = (await builder.start(build_of(project), None)).job.job_name
        while not began.is_set():
            await asyncio.sleep(0.01)
        assert (await builder.cancel(name)).reason == "cancelled"
        may_end.set()
        name = (await builder.start(build_of(project, image_tag="v2"), None)).job.job_name
        assert (await builder.over(name, SECONDS_A_COMMAND)).status == "succeeded"

    run_with(registry, scenario)
    assert registry.store.tags("shop") == ["v2"]


def test_builds_over_the_limit_wait_for_their_turn(registry: DiskRegistry, project: Project) -> None:
    made: list[HeldImages] = []

    def held_images(_: WritableRegistry) -> ImageBuilder:
        made.append(HeldImages())
        return made[0]

    async def scenario(builder: MemoryBuilder) -> None:
        held = made[0]
        states = [(await builder.start(build_of(project, image_tag=f"v{number}"), None)).job for number in range(5)]
        assert [state.status for state in states] == ["running", "running", "pending", "pending", "pending"]
        await held.until_began(2)
        first, _, cancelled, *rest = [state.job_name for state in states]
        assert (await builder.cancel(cancelled)).reason == "cancelled"
        assert (await builder.cancel(first)).reason == "cancelled"
        await held.until_began(3)
        held.end.set()
        ends = [await builder.over(name, SECONDS_A_COMMAND) for name in rest]
        assert [(state.status, state.build_id) for state in ends] == 2 * [("succeeded", held.digest)]
        assert sorted(held.began[:2]) == ["v0", "v1"]
        assert held.began[2:] == ["v3", "v4"], "first come, first served, and never the cancelled one"
        assert await builder.log(cancelled) == "error: the build was cancelled\n"

    run_with(registry, scenario, held_images, limits=Limits(running=2))


def test_the_folder_of_a_build_ends_with_it_whenever_it_is_cancelled(
    registry: DiskRegistry, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    cancels: list[asyncio.Task[object]] = []

    class CancelledAtItsEnd(HeldImages):
        cancel: Callable[[], Coroutine[Any, Any, object]]

        async def build(self, build: Build, context: Path, dockerfile: Path, log: Callable[[str], None]) -> str:
            cancels.append(asyncio.create_task(self.cancel()))
            for _ in range(len(cancels) - 1):  # each build is some steps nearer to its end
                await asyncio.sleep(0)
            return self.digest

    held = CancelledAtItsEnd()

    async def scenario(builder: MemoryBuilder) -> None:
        for _ in range(6):
            name = (await builder.start(build_of(project), None)).job.job_name
            held.cancel = functools.partial(builder.cancel, name)
            await builder.over(name, SECONDS_A_COMMAND)
        await asyncio.gather(*cancels)

    run_with(registry, scenario, lambda _: held)
    assert not list(tmp_path.glob("sandbox-build-*"))


def test_a_build_that_never_ends_is_ended_so_that_others_have_their_turn(
    registry: DiskRegistry, project: Project
) -> None:
    async def scenario(builder: MemoryBuilder) -> None:
        jobs = [(await builder.start(build_of(project), None)).job.job_name for _ in range(2)]
        ends = [await builder.over(name, SECONDS_A_COMMAND) for name in jobs]
        assert [(state.status, state.reason) for state in ends] == 2 * [("failed", "build")]
        assert "longer than 0.3 s" in await builder.log(jobs[1])

    run_with(registry, scenario, lambda _: HeldImages(), limits=Limits(running=1, seconds=0.3))


def test_a_wait_answers_at_its_end_with_what_is_known(registry: DiskRegistry, project: Project) -> None:
    async def scenario(builder: MemoryBuilder) -> None:
        name = (await builder.start(build_of(project), None)).job.job_name
        assert (await builder.over(name, 0.01)).status == "running"
        waits = [asyncio.ensure_future(builder.over(name, SECONDS_A_COMMAND)) for _ in range(200)]
        await asyncio.sleep(0)
        assert not any(wait.done() for wait in waits)
        await builder.close()
        assert {(await wait).status for wait in waits} == {"running"}
        with pytest.raises(Refused, match="The server is shutting down"):
            await builder.start(build_of(project), None)

    run_with(registry, scenario, build_seconds=3600.0)


def test_what_is_not_known_is_refused(registry: DiskRegistry, project: Project) -> None:
    async def scenario(builder: MemoryBuilder) -> None:
        assert await builder.job("build-x-1") is None
        assert await builder.target_of("build-x-1") is None
        for asked in (builder.log("x"), builder.over("x", 1), builder.cancel("x"), builder.deployed("x", None)):
            with pytest.raises(Refused) as refused:
                await asked
            assert (refused.value.status, refused.value.code) == (404, "unknown-job")
        name = (await builder.start(build_of(project), None)).job.job_name
        assert await builder.target_of(name) == Target("apps", "shop")

    run_with(registry, scenario)


HANGING = """#!/bin/sh
case "$1" in rev-parse) exit ;; esac
sleep 3600 &
echo "$! $$" > "$PIDS"
while [ ! -e "$PIDS" ]; do :; done
echo hanging
wait
"""


def is_running(pid: int) -> bool:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_the_processes_of_a_build_and_its_folder_end_with_it(
    registry: DiskRegistry, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(HANGING)
    program.chmod(0o755)
    build = build_of(project)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def scenario(builder: MemoryBuilder) -> None:
        name = (await builder.start(build, None)).job.job_name
        while "hanging" not in await builder.log(name):
            await asyncio.sleep(0.01)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert all(is_running(pid) for pid in pids)
        wait = asyncio.ensure_future(builder.over(name, SECONDS_A_COMMAND))
        await asyncio.sleep(0)
        if how == "cancel":
            state = await builder.cancel(name)
            assert state == await builder.cancel(name)
            assert (state.status, state.reason, state.error) == ("failed", "cancelled", "the build was cancelled")
            assert (await builder.log(name)).splitlines()[-1] == "error: the build was cancelled"
        else:
            await builder.close()
            state = await wait
            assert state.status == "running"
        assert await wait == state
        while any(is_running(pid) for pid in pids):  # a killed process may need a moment to end
            await asyncio.sleep(0.01)
        assert not list(tmp_path.glob("sandbox-build-*"))

    run_with(registry, scenario)


def test_the_log_is_cut_at_its_limit_and_says_so() -> None:
    log = Log(20)
    log.add("one")
    log.add("zwölf und noch viel mehr")
    log.add("lost")
    assert str(log) == "one\nzwölf und noch \nThe log ends here: it reached its limit of 20 bytes.\n"


def test_a_log_that_is_full_is_cut_between_two_lines() -> None:
    log = Log(4)
    log.add("one")
    log.add("two")
    assert str(log) == "one\nThe log ends here: it reached its limit of 4 bytes.\n"


def test_a_log_takes_any_text() -> None:
    log = Log(100)
    log.add("half a pair: \ud800")
    assert str(log) == "half a pair: \\ud800\n"


def test_a_log_only_grows(registry: DiskRegistry, project: Project) -> None:
    async def scenario(builder: MemoryBuilder) -> None:
        name = (await builder.start(build_of(project), None)).job.job_name
        seen = ""
        while (state := await builder.job(name)) and state.status == "running":
            log = await builder.log(name)
            assert log.startswith(seen)
            seen = log
            await asyncio.sleep(0)
        assert (await builder.log(name)).startswith(seen)

    run_with(registry, scenario)


def test_a_repeated_request_is_the_same_job(registry: DiskRegistry, project: Project) -> None:
    async def scenario(builder: MemoryBuilder) -> None:
        config = DeployConfig(port=80, env={"A": "1", "B": "2"})
        build = build_of(project, git_token=TOKEN, config=config)
        first = (await builder.start(build, "key-1")).job
        turned = replace(config_of(build, env={"B": "2", "A": "1"}), author=Author("ci", "someone", 40 * "a"))
        assert (await builder.start(turned, "key-1")).job.job_name == first.job_name
        others = [replace(build, git_token="other"), config_of(build, env={"A": "other"}), replace(build, cache=False)]
        for other in others:
            with pytest.raises(Refused) as refused:
                await builder.start(other, "key-1")
            assert (refused.value.status, refused.value.code) == (409, "idempotency-key-reused")
            assert TOKEN not in refused.value.message
        of_another_key = (await builder.start(replace(build, author=Author("dev")), "key-1")).job
        without_key = (await builder.start(build, None)).job
        assert len({first.job_name, of_another_key.job_name, without_key.job_name}) == 3

    def config_of(build: Build, env: dict[str, str | None]) -> Build:
        return replace(build, config=DeployConfig(port=80, env=env))

    run_with(registry, scenario)


def test_old_jobs_are_forgotten_with_their_keys(registry: DiskRegistry, project: Project) -> None:
    clock = Clock()

    async def scenario(builder: MemoryBuilder) -> None:
        names = []
        for number in range(3):
            clock.now = float(number)
            names.append((await builder.start(build_of(project), f"key-{number}")).job.job_name)
            await builder.over(names[-1], SECONDS_A_COMMAND)
        assert [await builder.job(name) is not None for name in names] == [False, True, True]
        again = (await builder.start(build_of(project), "key-0")).job
        assert again.job_name not in names
        await builder.over(again.job_name, SECONDS_A_COMMAND)
        clock.now = 200.0
        await builder.start(build_of(project), None)
        assert await builder.job(names[2]) is None, "older than its time"

    run_with(registry, scenario, limits=Limits(jobs=2, seconds_kept=100), clock=clock)


def test_old_jobs_are_forgotten_whose_logs_take_too_much_memory(registry: DiskRegistry, project: Project) -> None:
    async def scenario(builder: MemoryBuilder) -> list[bool]:
        names = []
        for _ in range(4):
            names.append((await builder.start(build_of(project), None)).job.job_name)
            await builder.over(names[-1], SECONDS_A_COMMAND)
        return [await builder.job(name) is not None for name in names]

    limits = Limits(log_bytes=100, all_log_bytes=400)  # each is full, and one line over its limit
    assert run_with(registry, scenario, limits=limits) == [False, True, True, True]


def test_no_job_is_taken_where_all_that_are_kept_still_run(registry: DiskRegistry, project: Project) -> None:
    async def scenario(builder: MemoryBuilder) -> None:
        first = (await builder.start(build_of(project), "key-1")).job
        with pytest.raises(Refused) as refused:
            await builder.start(build_of(project), "key-2")
        assert (refused.value.status, refused.value.code) == (503, "too-many-builds")
        assert (await builder.start(build_of(project), "key-1")).job.job_name == first.job_name

    run_with(registry, scenario, limits=Limits(jobs=1), build_seconds=3600.0)


def test_a_build_and_deploy_is_over_once_it_is_deployed(registry: DiskRegistry, project: Project) -> None:
    async def scenario(builder: MemoryBuilder) -> None:
        build = build_of(project, config=DeployConfig(port=80, env={"A": "value"}))
        started = (await builder.start(build, None)).job
        name, handed_over, digest = await builder.next_to_deploy()
        assert (name, handed_over) == (started.job_name, build)
        assert digest == registry.store.find("shop", "v1")
        assert (await builder.over(name, 0)).status == "running"
        cancel = asyncio.ensure_future(builder.cancel(name))
        await asyncio.sleep(0)
        assert not cancel.done(), "a deploy that has begun is not cancelled"
        await builder.deployed(name, None)
        assert await cancel == await builder.over(name, 0)
        assert (await cancel).status == "succeeded"
        assert (await builder.log(name)).splitlines()[-1] == "deploying shop in apps"

        name = (await builder.start(build, None)).job.job_name
        await builder.next_to_deploy()
        await builder.deployed(name, "the cluster is away")
        state = await builder.over(name, SECONDS_A_COMMAND)
        assert (state.status, state.reason, state.error) == ("failed", "deploy", "the cluster is away")
        assert state.build_id == digest

    run_with(registry, scenario)


def test_a_job_that_was_cancelled_before_its_deploy_is_never_deployed(registry: DiskRegistry, project: Project) -> None:
    async def scenario(builder: MemoryBuilder) -> None:
        build = build_of(project, config=DeployConfig(port=80))
        first = (await builder.start(build, None)).job.job_name
        while (state := await builder.job(first)) and not state.build_id:
            await asyncio.sleep(0.01)
        assert (await builder.cancel(first)).reason == "cancelled"
        second = (await builder.start(build, None)).job.job_name
        assert (await builder.next_to_deploy())[0] == second

    run_with(registry, scenario)


PUSHED = f"sha256:{64 * 'd'}"
DOCKER = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$1" in
  build) ls "$(eval echo '${'$#'}')" ;;
  push) echo "v1: digest: $DIGEST size: 528" ;;
esac
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `docker` that writes its calls to this file, and reports the digest in $DIGEST."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(DOCKER)
    program.chmod(0o755)
    environment = {"PATH": f"{program.parent}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls"), "DIGEST": PUSHED}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "calls"


def test_docker_builds_and_its_push_reports_the_digest(registry: DiskRegistry, project: Project, docker: Path) -> None:
    state, log = built(registry, build_of(project, cache=False), images=DockerImageBuilder)
    assert (state.status, state.build_id) == ("succeeded", PUSHED), log
    assert "page.html" in log
    build, push = docker.read_text().splitlines()
    assert build.startswith("build --no-cache --tag 127.0.0.1:1/shop:v1 --file /")
    assert push == "push 127.0.0.1:1/shop:v1"


def test_two_docker_builds_of_one_tag_push_each_its_own(registry: DiskRegistry, project: Project, docker: Path) -> None:
    async def scenario(builder: MemoryBuilder) -> None:
        states = [(await builder.start(build_of(project), None)).job for _ in range(2)]
        for state in states:
            assert (await builder.over(state.job_name, SECONDS_A_COMMAND)).status == "succeeded"

    run_with(registry, scenario, DockerImageBuilder)
    assert [call.split()[0] for call in docker.read_text().splitlines()] == ["build", "push", "build", "push"]


def test_a_push_without_a_digest_is_a_failed_build(
    registry: DiskRegistry, project: Project, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIGEST", "none")
    state, _ = built(registry, build_of(project), images=DockerImageBuilder)
    assert (state.error or "").startswith("docker push reported no digest")


def test_a_builder_that_is_not_installed_is_a_failed_build(
    registry: DiskRegistry, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = shutil.which("git")
    assert git
    (tmp_path / "git").symlink_to(git)
    build = build_of(project)
    monkeypatch.setenv("PATH", str(tmp_path))
    state, _ = built(registry, build, images=DockerImageBuilder)
    assert state.error == "docker: No such file or directory"
