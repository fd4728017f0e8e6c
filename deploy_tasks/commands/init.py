"""`init`: sets up a developer's repository. Existing files are not changed, except that ignore files get more lines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from invoke.context import Context

from ..config.project import root_of
from ..config.schema import WITH_VARIABLE
from ..deploy_config import APP_CLASSES
from ..errors import DeployError, SettingsError, StateError
from ..git import Checkout
from ..next_steps import Step
from ..state.files import State
from ..ui import console

_TASKS = 'from deploy_tasks import ns\n\n__all__ = ["ns"]\n'
# If a tasks.py defines `ns`, Invoke finds only the tasks in that collection.
_ADD_TO_NAMESPACE = (
    "from deploy_tasks import ns as deploy; ns.add_collection(deploy, 'deploy')  # invoke deploy.build …"
)
_ADD_TO_TASKS = "from deploy_tasks.tasks import *"
_GIT_IGNORES = (".deploy/", ".env", ".env.*", "!.env.example")
_DOCKER_IGNORES = ("**/.env*", "**/.deploy")
# The settings that a first deploy needs.
_NEEDED = {"api_url": "https://deploy.kubernetes.crianex.com", "api_key": "", "port": ""}
_HEAD = """\
# The settings of `.env` (or `.env.local`, which overrides it) at your project's root: chmod 600, and out of git.
# The file is read, never loaded into the shell. Variables of the shell override it.
# With an environment, the API's URL and key, the registry and its login do not count here: put them into `.env.NAME`,
# or add the environment's name to the variable, as in DEPLOY_API_KEY_PRODUCTION.
"""


def init(c: Context) -> None:
    """Sets up this repository: tasks.py, invoke.yaml, .env, ignore files. Existing files are kept."""
    root = root_of(c)
    try:
        for line in set_up(root, dry=bool(c.config.run.dry) or root != Path.cwd()):
            console.tell(line)
    except OSError as error:
        raise DeployError(f"this repository cannot be set up ({error.strerror}: {error.filename})") from error
    if root != Path.cwd():
        own = "echo 'from deploy_tasks import ns' > tasks.py"
        raise SettingsError(
            f"this folder is part of the project {root}",
            "Nothing was written",
            [
                f"To set that up, run: cd {shlex.quote(str(root))} && {Step('init')}.",
                f"To make this folder a project of its own, first run here: {own}",
            ],
        )


def set_up(root: Path, *, dry: bool) -> Iterator[str]:
    """Sets up the project at `root`; yields lines that say what was done. Changes nothing with `dry`."""
    # Ignore files first, so that no later file can get into git or an image.
    yield from _add_lines(root / ".gitignore", _GIT_IGNORES, dry)
    yield from _add_lines(root / ".dockerignore", _DOCKER_IGNORES, dry)
    if tasks := _first_of(root, "tasks.py", "tasks/__init__.py"):
        text = tasks.read_text(errors="replace")
        advice = _ADD_TO_NAMESPACE if re.search(r"^(ns|namespace)\b", text, re.MULTILINE) else _ADD_TO_TASKS
        uses_us = re.search(r"^\s*(from|import) deploy_tasks\b", text, re.MULTILINE)
        yield f"{tasks.relative_to(root)} stays as it is" + ("" if uses_us else f"; add at its end: {advice}")
    else:
        yield from _new(root / "tasks.py", _TASKS, dry)
    known = _known(root)
    # The port is the same for everybody, so it goes into the file that is committed.
    port = "" if "port" in known else "  # port: 3000\n"
    settings = "deploy:\n" + "".join(f"  {key}: {value}\n" for key, value in known.items()) + port
    # Invoke reads only the first of these.
    if there := _first_of(root, "invoke.yaml", "invoke.yml", "invoke.json", "invoke.py"):
        has_settings = re.search(r"^[\"']?deploy\b", there.read_text(errors="replace"), re.MULTILINE)
        yield f"{there.name} stays as it is{'' if has_settings else '; add to it:'}"
        yield from () if has_settings else settings.splitlines()
    else:
        yield from _new(root / "invoke.yaml", settings, dry)
    yield from _new(root / ".env", example(leave_out={"port"}), dry, mode=0o600)
    then = f"{Step('doctor')}, {Step('build', then=Step('reuse'))}"
    yield (
        f"next: put DEPLOY_API_KEY into .env{' and the port into invoke.yaml' if port else ''}, "
        f"commit and push the other files; then: {then}"
    )


def _first_of(root: Path, *names: str) -> Path | None:
    return next((path for name in names if (path := root / name).exists()), None)


def example(leave_out: Collection[str] = ()) -> str:
    """A `.env` file with every setting and its help. All are commented out, except those that a first deploy needs and
    that are not in `leave_out`."""
    text = _HEAD
    for row in WITH_VARIABLE:
        is_needed = row.key in _NEEDED and row.key not in leave_out
        line = f"{row.variable}={_NEEDED[row.key]}" if is_needed else f"# {row.variable}={written(row.default)}"
        text += f"\n# {row.help[0].upper()}{row.help[1:]}.\n{line}\n"
    return text


def written(default: object) -> str:
    """A default in the syntax of a `.env` file."""
    if default is None or default == ():
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


def _known(root: Path) -> dict[str, str]:
    """Settings from git, the record (perhaps of other scripts) and the Dockerfile: the app, the exposed port, and the
    image name and the namespace if they are not the defaults."""
    known = {"app": Checkout(root).name or "my-app"}
    with suppress(StateError):  # a task that needs the record reports the error
        record = State(root / ".deploy" / "build-id.json").record()
        if record and record.app:
            known["app"] = record.app
            if record.image_name not in (None, record.app):
                known["image_name"] = str(record.image_name)
            if record.namespace not in (None, *APP_CLASSES.values()):
                known["namespace"] = str(record.namespace)
    dockerfile = root / "Dockerfile"
    text = dockerfile.read_text(errors="replace") if dockerfile.is_file() else ""
    if exposed := re.findall(r"^\s*EXPOSE\s+(\d+)", text, re.MULTILINE | re.IGNORECASE):
        known["port"] = exposed[-1]
    return known


def _new(path: Path, text: str, dry: bool, *, mode: int = 0o644) -> Iterator[str]:
    if path.exists() or path.is_symlink():
        yield f"{path.name} stays as it is"
        return
    if not dry:
        path.touch(mode, exist_ok=False)
        path.write_text(text)
    yield f"{'would write' if dry else 'wrote'} {path.name}"


def _add_lines(path: Path, lines: Sequence[str], dry: bool) -> Iterator[str]:
    text = path.read_text(errors="surrogateescape") if path.exists() else ""
    missing = [line for line in lines if line not in text.splitlines()]
    if not missing:
        yield f"{path.name} has its lines already"
        return
    if path.is_symlink():
        yield f"{path.name} is a symbolic link and stays as it is; add to it: {' '.join(missing)}"
        return
    if not dry:
        with path.open("a", errors="surrogateescape") as file:
            file.write(("" if not text or text.endswith("\n") else "\n") + "\n".join(missing) + "\n")
    yield f"{'would add' if dry else 'added'} to {path.name}: {' '.join(missing)}"
