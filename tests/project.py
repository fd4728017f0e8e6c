"""A developer's repository in a temporary folder, with an origin beside it, and real `invoke` processes in it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).parent.parent
TASKS = "from deploy_tasks import ns\n"
# No test depends on this number: it only ends a test that hangs.
SECONDS_A_COMMAND = 600
_SECONDS_TO_OBEY = 10


def wait_until(condition: Callable[[], object]) -> None:
    """Returns once `condition` holds."""
    until = time.monotonic() + SECONDS_A_COMMAND
    while not condition():
        assert time.monotonic() < until, "the test waits for something that does not happen"
        time.sleep(0.01)


class Process(subprocess.Popen[Any]):
    """A child process in a session of its own. tests/conftest.py ends it if its test does not, so that a test that
    fails leaves nothing behind that disturbs the next one."""

    started: ClassVar[list[Process]] = []

    def __init__(self, command: list[Any], **options: Any) -> None:
        super().__init__(command, start_new_session=True, **options)
        self.started.append(self)

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind:
            self.end()
        super().__exit__(kind, *rest)

    def finish(self) -> tuple[Any, Any]:
        """Waits for the end; returns what the process wrote to stdout and stderr."""
        return self.communicate(timeout=SECONDS_A_COMMAND)

    def end(self) -> None:
        """Ends the process if it still runs, and what it started."""
        if self.poll() is None:
            self.terminate()  # an `invoke` that is terminated ends its engine, which has a session of its own
            with suppress(subprocess.TimeoutExpired):
                self.wait(_SECONDS_TO_OBEY)
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.wait()
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe:
                pipe.close()


def completed(command: list[Any], **options: Any) -> subprocess.CompletedProcess[Any]:
    """Runs `command` to its end, with nothing to read; returns its output unless `options` send it elsewhere."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Process(command, **{**pipes, **options}) as process:
        out, err = process.finish()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def ok(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """`done`, which must have ended with 0."""
    assert done.returncode == 0, done.stderr
    return done


def dry_request(done: subprocess.CompletedProcess[str]) -> Any:
    """The body of the one request that a dry run shows."""
    lines = ok(done).stderr.splitlines()
    (line,) = (line for line in lines if line.startswith("dry run, not sent: POST "))
    return json.loads(line[line.index("{") :])


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip().splitlines()[-1]


def clean_environment(**more: str) -> dict[str, str]:
    """The environment of a child process: this checkout's package, installed or not, and none of the settings and git
    configuration of whoever runs the tests."""
    own = {
        key: value
        for key, value in os.environ.items()
        if key != "CI" and not key.startswith(("DEPLOY_", "INVOKE_", "GIT_", "ENGINE_", "GITHUB_"))
    }
    names = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**own, **names, **quiet, "PYTHONPATH": str(ROOT), **more}


@dataclass
class Project:
    """`folder` is the checkout, `origin` the bare repository it is pushed to, `environment` what each process gets."""

    folder: Path
    environment: dict[str, str] = field(default_factory=clean_environment)

    @property
    def origin(self) -> Path:
        return self.folder.parent / "origin" / f"{self.folder.name}.git"

    @classmethod
    def make(cls, folder: Path, files: Mapping[str, str] | None = None) -> Project:
        """A pushed repository called like `folder`, with a Dockerfile and a tasks.py."""
        project = cls(folder)
        folder.mkdir(parents=True)
        project.git("init", "--quiet", "--template=", "--bare", "--initial-branch=main", str(project.origin))
        project.git("init", "--quiet", "--template=", "--initial-branch=main")
        for name, text in {
            "tasks.py": TASKS,
            "Dockerfile": "FROM scratch\nCOPY . /\n",
            ".gitignore": ".env*\n__pycache__\n",
            ".dockerignore": ".env*\n.deploy\n.git\n__pycache__\n",
            "page.html": folder.name,
            **(files or {}),
        }.items():
            project.write(name, text)
        project.commit("first")
        project.git("remote", "add", "origin", str(project.origin))
        project.push()
        return project

    def copy(self, folder: Path) -> Project:
        """The same repository, pushed and all, at another place: in a tenth of the time that it takes to make one."""
        copied = Project(folder)
        shutil.copytree(self.folder, folder)
        shutil.copytree(self.origin, copied.origin)
        config = folder / ".git" / "config"
        config.write_text(config.read_text().replace(str(self.origin), str(copied.origin)))
        return copied

    def clone(self, name: str, *options: str) -> Project:
        """A fresh clone of the origin beside this one, as another machine has it, with the same environment."""
        cloned = Project(self.folder.parent / "clones" / name, {**self.environment})
        self.git("clone", "--quiet", *options, f"file://{self.origin}", str(cloned.folder))
        # The remote is called as this one is, since the cluster clones what it says.
        cloned.git("remote", "set-url", "origin", str(self.origin))
        return cloned

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=clean_environment(), check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.head

    def change(self, text: str) -> str:
        """Pushes a commit with a file of that `text`, which is also its subject."""
        self.write("page.html", text)
        commit = self.commit(text)
        self.push()
        return commit

    def push(self) -> None:
        self.git("push", "--quiet", "--set-upstream", "origin", "main")

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def invoke(self, *arguments: str, at: str = ".", **environment: str) -> subprocess.CompletedProcess[str]:
        """A real `invoke` process in the folder `at`, its stdin at its end."""
        return self.run(sys.executable, "-m", "invoke", *arguments, at=at, **environment)

    def start(self, *arguments: str, **environment: str) -> Process:
        """An `invoke` process that goes on beside the test."""
        return Process(
            [sys.executable, "-m", "invoke", *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def on_a_terminal(
        self, *arguments: str, code: int = 0, answers: Sequence[Callable[[], str]] = (), **environment: str
    ) -> str:
        """What `invoke` writes to a terminal of 120 columns until it ends with the exit code. The `answers` are typed
        in turn where it asks; each is called only then."""
        inside, outside = os.openpty()
        with Process(
            [sys.executable, "-m", "invoke", *arguments],
            cwd=self.folder,
            env={**self.environment, "TERM": "xterm-256color", "COLUMNS": "120", **environment},
            stdin=outside,
            stdout=outside,
            stderr=outside,
        ) as process:
            os.close(outside)
            shown, left = b"", list(answers)
            while piece := _read(inside):
                shown += piece
                if left and shown.count(b"[y/N]") > len(answers) - len(left):
                    os.write(inside, f"{left.pop(0)()}\n".encode())
            os.close(inside)
            assert not left, shown
            assert process.wait(SECONDS_A_COMMAND) == code, shown
        return shown.decode()

    def run(self, *command: str, at: str = ".", **environment: str) -> subprocess.CompletedProcess[str]:
        return completed([*command], cwd=self.folder / at, env={**self.environment, **environment}, text=True)

    @property
    def record(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.folder / ".deploy" / "build-id.json").read_text())
        return record

    def write_record(self, record: object) -> str:
        text = json.dumps(record)
        self.write(".deploy/build-id.json", text)
        return text

    @property
    def in_flight(self) -> dict[str, Any] | None:
        try:
            return json.loads((self.folder / ".deploy" / "build-id.in-flight.json").read_text())  # type: ignore[no-any-return]
        except FileNotFoundError:
            return None

    def files(self) -> dict[str, bytes]:
        """Every file outside `.git`, by its path, with what is in it."""
        paths = [path for path in self.folder.rglob("*") if path.is_file() and ".git" not in path.parts]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux has no other end for a terminal that nobody holds any more
        return b""


def without_root_rights() -> list[str]:
    """What goes before a command so that root, too, may read only what its mode lets it."""
    if os.getuid() != 0:
        return []
    rights = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}", "--"]


def three_apps(folder: Path, **secrets: str) -> Project:
    """A pushed repository with the apps of `tests/three_apps`, and their `.env` files, with `secrets` in the root's."""
    sample = Path(__file__).parent / "three_apps"
    files = {str(path.relative_to(sample)): path.read_text() for path in sample.rglob("*") if path.is_file()}
    files[".gitignore"] = files.pop("gitignore.txt")
    project = Project.make(folder, files)
    values = {"SUPABASE_URL": "https://supabase.example.com", **secrets}
    project.write(".env", "".join(f"{name}={value}\n" for name, value in values.items())).chmod(0o600)
    project.write("frontend/.env", "PUBLIC_SUPABASE_URL=https://public.example.com\n").chmod(0o600)
    return project
