"""`demo`: runs real commands in a temporary repository against a temporary sandbox; takes about 30 s."""

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
_INVOKE = [sys.executable, "-m", "invoke"]


def demo(c: Context) -> None:
    """Runs the demo on this terminal and leaves nothing behind. SettingsError if a step fails."""
    if c.config.run.dry:
        console.tell("dry run: the demo was not run")
        return
    if shutil.which("git") is None:
        raise SettingsError("the demo needs git; install it and run the demo again", "")
    try:
        with tempfile.TemporaryDirectory(prefix="deploy-tasks-demo-") as folder:
            _run_all(Path(folder))
    except OSError as error:
        raise SettingsError(f"the demo cannot go on ({error.strerror})", "") from error
    _say("All of it is cleaned up. In your own repository: pip install deploy-tasks, then deploy-tasks init")


def _run_all(folder: Path) -> None:
    _say("A repository with a Dockerfile, and in its tasks.py: from deploy_tasks import ns")
    hello = _Repository(folder)
    _say(f"A Deploy API with a registry, on this machine; builds take {_BUILD_SECONDS} s here, a minute in a cluster")
    with hello.sandbox() as settings:
        (hello.folder / ".env").touch(mode=0o600)
        hello.write(".env", settings)
        _say("Build in the cluster, once. The digest on stdout is the image, whatever happens to tags")
        build_seconds = hello.invoke("build")
        _say("It is kept in .deploy/build-id.json")
        _print(hello.record())
        _say("Deploy that very image, without a build")
        hello.invoke("reuse")
        _say("And again, to the other nodes")
        reuse_seconds = hello.invoke("reuse --app-class non-business")
        _say(f"The build took {build_seconds:.1f} s, this deploy {reuse_seconds:.1f} s")
        _say("A new version, pushed, built and deployed")
        hello.write("index.html", "<h1>The second version</h1>\n")
        hello.git("commit", "--quiet", "--all", "--message", "second")
        hello.git("push", "--quiet")
        hello.invoke("build reuse")
        _say("And back to the first, by its digest. What was built and deployed is in the history")
        hello.invoke("rollback")
        hello.invoke("history")
        _say("A digest that is not in the registry is refused: nothing is built in its place, and the exit code is 8")
        hello.invoke(f"reuse --build-id sha256:{64 * '0'}", expect=8)
        # On a Mac, the engine runs in a virtual machine and does not see this machine's loopback.
        if sys.platform == "linux" and hello.docker("info"):
            _say("Code that is not pushed yet: build it on this machine, push it, deploy that image")
            hello.write("index.html", "<h1>Not pushed yet</h1>\n")
            hello.invoke("local reuse")
            registry, tag = settings.split("DEPLOY_REGISTRY=")[1].strip(), json.loads(hello.record())["imageTag"]
            hello.docker("image", "rm", "--force", f"{registry}/hello:{tag}")
        else:
            left_out = "`invoke local reuse` (build on this machine) is left out"
            _say(f"No container engine answers here, or it would not reach the sandbox, so {left_out}")


class _Repository:
    """A repository with a remote. It does not use the settings or the git configuration of the current user."""

    def __init__(self, folder: Path) -> None:
        own = {key: value for key, value in os.environ.items() if not key.startswith(("DEPLOY_", "INVOKE_", "GIT_"))}
        names = {f"GIT_{who}_{what}": "demo" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        self.environment = {**own, **names, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        self.folder, origin = folder / "hello", str(folder / "hello-origin.git")
        self.folder.mkdir()
        for name, content in _FILES.items():
            self.write(name, content)
        self.git("init", "--quiet", "--bare", origin)
        self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "hello")
        self.git("remote", "add", "origin", origin)
        self.git("push", "--quiet", "--set-upstream", "origin", "HEAD")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def record(self) -> str:
        return (self.folder / ".deploy" / "build-id.json").read_text()

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.folder, env=self.environment, check=True)

    def invoke(self, words: str, expect: int = 0) -> float:
        """Prints and runs `invoke …`; returns the seconds it took."""
        _print(f"$ invoke {words}\n")
        start = time.monotonic()
        code = subprocess.run([*_INVOKE, *words.split()], cwd=self.folder, env=self.environment, check=False).returncode
        if code != expect:
            raise SettingsError(f"`invoke {words}` ended with exit code {code} instead of {expect}", "")
        return time.monotonic() - start

    @contextmanager
    def sandbox(self) -> Iterator[str]:
        """Runs a sandbox process within the block; yields the settings that it prints."""
        words = ["sandbox", "--port", "0", "--build-seconds", str(_BUILD_SECONDS)]
        _print(f"$ invoke {' '.join(words)}\n")
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [*_INVOKE, *words], cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
            try:
                assert process.stdout is not None  # noqa: S101 - it is piped
                too_late = threading.Timer(_SECONDS_TO_START, process.kill)
                too_late.start()
                lines = [process.stdout.readline() for _ in range(3)]
                too_late.cancel()
                if not all(lines):
                    log.seek(0)
                    raise SettingsError(f"the sandbox did not start: {log.read().decode(errors='replace').strip()}", "")
                _print("".join(line if "KEY" not in line else "export DEPLOY_API_KEY=…\n" for line in lines))
                yield "".join(lines)
            finally:
                process.terminate()
                process.wait(_SECONDS_TO_START)

    def docker(self, *arguments: str) -> bool:
        """Runs a docker command without output; returns whether it succeeds."""
        command, null = ["docker", *arguments], subprocess.DEVNULL
        try:
            done = subprocess.run(
                command, env=self.environment, stdin=null, capture_output=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0


def _say(text: str) -> None:
    _print(f"\n# {text}\n")


def _print(text: str) -> None:
    print(text, end="", flush=True)  # noqa: T201 - what the demo prints is its result
