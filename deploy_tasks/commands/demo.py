"""`demo`: real commands in a throwaway repository, with a throwaway sandbox; takes about 30 s."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from invoke.context import Context

from ..errors import SettingsError
from ..ui import console

_BUILD_SECONDS = 3
_SECONDS_TO_START = 30
_FILES = {
    "tasks.py": "from deploy_tasks import ns\n",
    "Dockerfile": "FROM scratch\nCOPY index.html /www/\n",
    "index.html": "<h1>Built once, deployed by its digest</h1>\n",
    "invoke.yaml": "deploy:\n  app: hello\n  port: 3000\n  replicas: 2\n",
    ".gitignore": ".env*\n",
    ".dockerignore": ".env*\n.deploy\n.git\n",
}
_UNKNOWN_DIGEST = "sha256:" + 64 * "0"


def demo(c: Context) -> None:
    """Tells the story on this terminal. SettingsError if a step does not do what it says."""
    if c.config.run.dry:
        return console.tell("dry run: no story was told")
    try:
        tell_story()
    except DemoError as error:
        raise SettingsError(str(error), "") from error


class DemoError(Exception):
    """A step did not do what the story says; the message names it."""


def tell_story() -> None:
    """Tells it on stdout and stderr, and leaves nothing behind. Raises DemoError."""
    if shutil.which("git") is None:
        raise DemoError("the demo needs git; install it and run the demo again")
    try:
        _tell_in_throwaway_folder()
    except OSError as error:
        raise DemoError(f"the demo cannot go on ({error.strerror})") from error


def _tell_in_throwaway_folder() -> None:
    with tempfile.TemporaryDirectory(prefix="deploy-tasks-demo-") as folder:
        repository = Path(folder) / "hello"
        story = _Story(repository)
        story.say("A repository with a Dockerfile, and in its tasks.py: from deploy_tasks import ns")
        _make_repository(repository, story.environment)
        story.say(
            f"A Deploy API with a registry, on this machine; builds take {_BUILD_SECONDS} s here, a minute in a cluster"
        )
        with _sandbox(story) as settings:
            _private(repository / ".env", settings)
            _tell_in_cluster(story)
            _tell_local(story, settings.split("DEPLOY_REGISTRY=")[1].strip())
    story.say("All of it is cleaned up. In your own repository: pip install deploy-tasks, then deploy-tasks init")


class _Story:
    def __init__(self, repository: Path) -> None:
        self.repository = repository
        # Without the settings and the git configuration of the person who runs it.
        own = {key: value for key, value in os.environ.items() if not key.startswith(("DEPLOY_", "INVOKE_", "GIT_"))}
        names = {f"GIT_{who}_{what}": "demo" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        self.environment = {**own, **names, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}

    def say(self, text: str) -> None:
        print(f"\n# {text}", flush=True)  # noqa: T201 - the story is the output

    def run(self, *arguments: str, expect: int = 0) -> float:
        """Runs `invoke …` in the repository for all to see; returns the seconds it took."""
        print(f"$ invoke {' '.join(arguments)}", flush=True)  # noqa: T201
        start = time.monotonic()
        code = subprocess.run(_invoke(*arguments), cwd=self.repository, env=self.environment, check=False).returncode
        if code != expect:
            raise DemoError(f"`invoke {' '.join(arguments)}` ended with exit code {code} instead of {expect}")
        return time.monotonic() - start


def _tell_in_cluster(story: _Story) -> None:
    story.say("Build in the cluster, once. The digest on stdout is the image, whatever happens to tags")
    build_seconds = story.run("build")
    story.say("It is kept in .deploy/build-id.json")
    print((story.repository / ".deploy" / "build-id.json").read_text(), end="", flush=True)  # noqa: T201
    story.say("Deploy that very image, without a build")
    story.run("reuse")
    story.say("And again, to the other nodes")
    reuse_seconds = story.run("reuse", "--app-class", "non-business")
    story.say(f"The build took {build_seconds:.1f} s, this deploy {reuse_seconds:.1f} s")
    story.say("A new version, pushed, built and deployed")
    (story.repository / "index.html").write_text("<h1>The second version</h1>\n")
    for command in (["commit", "--quiet", "--all", "--message", "second"], ["push", "--quiet"]):
        subprocess.run(["git", *command], cwd=story.repository, env=story.environment, check=True)
    story.run("build", "reuse")
    story.say("And back to the first, by its digest. What was built and deployed is in the history")
    story.run("rollback")
    story.run("history")
    story.say("A digest that is not in the registry is refused: nothing is built in its place, and the exit code is 8")
    story.run("reuse", "--build-id", _UNKNOWN_DIGEST, expect=8)


def _tell_local(story: _Story, registry: str) -> None:
    if not _engine_answers(story.environment):
        story.say("No container engine answers here, so `invoke local reuse` (build on this machine) is left out")
        return
    story.say("Code that is not pushed yet: build it on this machine, push it, deploy that image")
    (story.repository / "index.html").write_text("<h1>Not pushed yet</h1>\n")
    try:
        story.run("local", "reuse")
    except DemoError as error:
        # An engine in a virtual machine of its own, as on a Mac, does not see this machine's loopback.
        if sys.platform == "linux":
            raise
        story.say(f"{error}: the engine does not reach the sandbox from where it runs")
    tag = json.loads((story.repository / ".deploy" / "build-id.json").read_text())["imageTag"]
    subprocess.run(
        ["docker", "image", "rm", "--force", f"{registry}/hello:{tag}"],
        env=story.environment,
        capture_output=True,
        check=False,
    )


def _engine_answers(environment: dict[str, str]) -> bool:
    try:
        answer = subprocess.run(
            ["docker", "info"], env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


def _make_repository(repository: Path, environment: dict[str, str]) -> None:
    repository.mkdir()
    for name, content in _FILES.items():
        (repository / name).write_text(content)
    origin = repository.parent / "hello-origin.git"
    for command in (
        ["git", "init", "--quiet", "--bare", str(origin)],
        ["git", "init", "--quiet"],
        ["git", "add", "--all"],
        ["git", "commit", "--quiet", "--message", "hello"],
        ["git", "remote", "add", "origin", str(origin)],
        ["git", "push", "--quiet", "--set-upstream", "origin", "HEAD"],
    ):
        subprocess.run(command, cwd=repository, env=environment, check=True)


@contextmanager
def _sandbox(story: _Story) -> Iterator[str]:
    """A sandbox process; yields the lines that it prints to be pasted."""
    arguments = ("sandbox", "--port", "0", "--build-seconds", str(_BUILD_SECONDS))
    print(f"$ invoke {' '.join(arguments)}", flush=True)  # noqa: T201
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            _invoke(*arguments),
            cwd=story.repository,
            env=story.environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            assert process.stdout is not None  # noqa: S101 - it is piped
            too_late = threading.Timer(_SECONDS_TO_START, process.kill)
            too_late.start()
            lines = [process.stdout.readline() for _ in range(3)]
            too_late.cancel()
            if not all(lines):
                log.seek(0)
                raise DemoError(f"the sandbox did not start: {log.read().decode(errors='replace').strip()}")
            print("".join(line if "KEY" not in line else "export DEPLOY_API_KEY=…\n" for line in lines), end="")  # noqa: T201
            yield "".join(lines)
        finally:
            process.terminate()
            process.wait(_SECONDS_TO_START)


def _invoke(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "invoke", *arguments]


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
