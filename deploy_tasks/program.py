"""The program `deploy-tasks`: runs the tasks without a `tasks.py`, in a repository that need not be trusted.

Of the project's files it runs only the Dockerfile and git's filters (SECURITY.md). Of a configuration file it reads
only the `deploy` part.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from invoke.config import Config
from invoke.program import Program
from invoke.vendor.yaml import YAMLError

from . import __version__
from .config.invoke_config import tables_of
from .config.paths import project_root
from .errors import Next, SettingsError
from .redaction import sanitized
from .tasks import ns

# A project could name any other program, with arguments, to run one of its own files.
_ENGINES = frozenset(("docker", "podman"))
# Three times as many as the settings of a hundred apps have.
_MOST_VALUES = 10_000


class _Configuration(Config):
    """Invoke's configuration without anything that can run a program: no `invoke.py`, `run.shell` or executor class."""

    only_engines = _ENGINES
    """The programs that an `.env` file may name as the engine (`config.project.Project`)."""

    def _load_yaml(self, path: Any) -> dict[str, Any]:
        """The `deploy` part of the file at `path`. FileNotFoundError if the file belongs to another user."""
        file, name = Path(path), f"the Invoke configuration {path}"
        if file.exists():
            if not file.is_file():
                raise _refused(f"{name} is not a file")
            if any(path.stat().st_uid not in (0, os.geteuid()) for path in (file, file.parent)):
                _warn(f"{path} belongs to another user and is not read")
                raise FileNotFoundError(errno.ENOENT, "not read", path)
        try:
            content = super()._load_json(path) if file.suffix == ".json" else super()._load_yaml(path)
        except (YAMLError, ValueError) as error:
            raise _refused(f"{name} cannot be read: {' '.join(str(error).split())}") from error
        except RecursionError as error:
            raise _refused(f"{name} is nested too deeply") from error
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise
            raise _refused(f"{name} cannot be read ({os.strerror(error.errno or 0)})") from error
        if not isinstance(content, dict | None):
            raise _refused(f"{name} is not a table of settings")
        part = {key: value for key, value in (content or {}).items() if key == "deploy"}
        _check_copyable(name, part)
        return part

    _load_yml = _load_json = _load_yaml

    def _load_py(self, path: str) -> dict[str, Any]:
        if Path(path).exists():
            _warn(f"{path} is not run; write it as YAML")
        raise FileNotFoundError(errno.ENOENT, "not run", path)


class _DeployProgram(Program):
    def parse_core(self, argv: list[str] | None) -> None:
        try:
            super().parse_core(argv)
        except ValueError as error:
            # For an invalid number in one of its own flags, as in `-T soon`, Invoke would print a traceback.
            raise _refused(f"a flag of Invoke has an invalid value ({error})") from error

    def update_config(self, merge: bool = True) -> None:
        # Invoke reads a project's invoke.yaml only along with its tasks.py, which is missing here.
        with suppress(FileNotFoundError):  # a deleted current folder has no project; the tasks report it
            self.config.set_project_location(project_root(Path.cwd()))
            self.config.load_project(merge=False)
        for path, table in tables_of((self.config._project or {}).get("deploy")).items():
            docker = table.get("docker")
            if docker not in (None, *_ENGINES):
                raise _refused(
                    f"{path}.docker in {self.config._project_path} names a program that deploy-tasks does not run",
                    "If you trust it, set DEPLOY_DOCKER",
                )
        super().update_config(merge)


def _check_copyable(name: str, part: object) -> None:
    """SettingsError for a configuration that Invoke cannot copy: with keys that are not text, or with YAML aliases that
    refer to themselves or to each other, and so never end."""
    found = [part]
    for count, value in enumerate(found):
        if count > _MOST_VALUES:
            raise _refused(f"{name} has too many settings")
        if isinstance(value, dict):
            if odd := [key for key in value if not isinstance(key, str)]:
                raise _refused(f"{name} has a name that is not text: {odd[0]}")
            found += value.values()
        elif isinstance(value, list):
            found += value


def _refused(what: str, next: Next = ()) -> SettingsError:
    error = SettingsError(what, next=next)
    error.shown = sanitized(str(error))  # no task runs yet that would redact and escape it
    return error


def _warn(text: str) -> None:
    print(f"warning: {sanitized(text)}", file=sys.stderr)  # noqa: T201 - before any task


program = _DeployProgram(
    name="deploy-tasks", binary="deploy-tasks", namespace=ns, version=__version__, config_class=_Configuration
)
