"""A sandbox as a process of its own, and what it saw."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from tests.project import SECONDS_A_COMMAND, Process, clean_environment, wait_until


class SandboxProcess:
    """`invoke sandbox` on a free port. `settings` are the DEPLOY_* variables that it printed."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._log = (folder / "sandbox.log").open("w+b")
        self._seen = 0
        self.process = Process(
            [sys.executable, "-m", "deploy_tasks", "sandbox", "--port", "0", *arguments],
            cwd=folder,
            env=clean_environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self.process.stdout is not None
        lines = [self.process.stdout.readline().strip() for _ in range(3)]
        assert all(line.startswith("export DEPLOY_") for line in lines), (lines, self.log())
        self.settings = dict(line.removeprefix("export ").split("=", 1) for line in lines)
        self.url, self.key = self.settings["DEPLOY_API_URL"], self.settings["DEPLOY_API_KEY"]
        self.registry = self.settings["DEPLOY_REGISTRY"]

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode()

    def forget(self) -> None:
        """What came up to now is not counted by `seen`."""
        self._seen = len(self.log())

    def seen(self, start: str = "") -> list[str]:
        """Every request since `forget` as `METHOD path?query status`, those that begin with `start`."""
        lines = self.log()[self._seen :].splitlines()
        return [line for line in lines if line.startswith(start) and line.split(" ")[0].isupper()]

    def call(self, method: str, path: str, json: object = None, **headers: str) -> requests.Response:
        """A request of the test's own, not by way of the kit's client."""
        return requests.request(
            method, self.url + path, json=json, headers={"X-API-Key": self.key, **headers}, timeout=SECONDS_A_COMMAND
        )

    def app(self, namespace: str, app: str) -> dict[str, Any]:
        described: dict[str, Any] = self.call("GET", f"/api/apps/{namespace}/{app}").json()["app"]
        return described

    def config(self, namespace: str, app: str, env: dict[str, str]) -> dict[str, Any]:
        """The deployConfig that an app runs with, its variables with these values: a deploy of just that must change
        nothing, since no answer has values."""
        running = self.app(namespace, app)
        assert running["deployConfig"].get("env", {}) == dict.fromkeys(env)
        config = {**running["deployConfig"], "env": env}
        deploy = {"app": app, "namespace": namespace, "image": running["image"], **config}
        assert self.call("POST", "/api/deploy", deploy).json().get("unchanged"), "other values run"
        return config

    def stop(self) -> int:
        """Ends the process by its own pid; returns its exit code."""
        self.process.terminate()
        code = self.process.wait(SECONDS_A_COMMAND)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()
        return code


# A git that fetches nothing before there is a file called `builds-may-end`.
_HELD_GIT = """#!/bin/sh
case " $* " in *" fetch "*) while [ ! -e {may_end} ]; do sleep 0.02; done ;; esac
exec {git} "$@"
"""


class HeldSandbox(SandboxProcess):
    """A sandbox whose builds run until `let_builds_end`: they wait for their clone."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        git = folder / "bin" / "git"
        git.parent.mkdir(parents=True)
        real = shutil.which("git") or "git"
        git.write_text(_HELD_GIT.format(may_end=shlex.quote(f"{folder}/builds-may-end"), git=shlex.quote(real)))
        git.chmod(0o755)
        path = f"{git.parent}{os.pathsep}{environment.get('PATH', os.environ['PATH'])}"
        super().__init__(folder, *arguments, **{**environment, "PATH": path})

    def let_builds_end(self) -> None:
        (self.folder / "builds-may-end").touch()

    def let_builds_end_once(self, condition: Callable[[], object]) -> None:
        """Returns at once; builds end once `condition` holds."""

        def release() -> None:
            wait_until(condition)
            self.let_builds_end()

        threading.Thread(target=release, daemon=True).start()
