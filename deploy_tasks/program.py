"""The program `deploy-tasks`: the tasks where there is no `tasks.py`, in a repository that need not be trusted.

It runs no file of the project but its Dockerfile and git's filters (SECURITY.md), and of configuration files it reads
the `deploy` part alone.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from invoke.config import Config
from invoke.exceptions import Exit
from invoke.program import Program
from invoke.vendor.yaml import YAMLError

from . import __version__
from .config.settings import is_of_another_user, project_root
from .redaction import escaped, fit
from .tasks import ns

# Any other program could be told by its arguments, or its name, to run a file of the project.
_ENGINES = ("docker", "podman")
# Of a table with all settings of a hundred apps it is a third.
_MOST_VALUES = 10_000


class _Configuration(Config):
    """Invoke's configuration without what can run something: no `invoke.py`, no `run.shell`, no executor's class."""

    only_engines = _ENGINES
    """What an `.env` file may name as the engine; `run.begin` asks for it."""

    def _load_yaml(self, path: Any) -> Any:
        return _deploy_part(path, super()._load_yaml)

    _load_yml = _load_yaml

    def _load_json(self, path: Any) -> Any:
        return _deploy_part(path, super()._load_json)

    def _load_py(self, path: str) -> dict[str, Any]:
        if Path(path).exists():
            _warn(f"{path} is not run; write it as YAML")
        raise FileNotFoundError(errno.ENOENT, "not run", path)

    def load_project(self, merge: bool = True) -> None:
        super().load_project(merge=False)
        settings: Any = (self._project or {}).get("deploy")
        docker = settings.get("docker", _ENGINES[0]) if isinstance(settings, dict) else _ENGINES[0]
        if docker not in _ENGINES:
            raise Exit(
                fit(
                    f"deploy.docker in {self._project_path} names a program of its own, which deploy-tasks does not "
                    "run. Nothing was sent. If you trust it, set DEPLOY_DOCKER"
                ),
                code=2,
            )
        if merge:
            self.merge()


class _DeployProgram(Program):
    def parse_core(self, argv: list[str] | None) -> None:
        try:
            super().parse_core(argv)
        except ValueError as error:
            # Invoke ends in a traceback where a number of its own, as in `-T soon`, is none.
            raise Exit(f"a flag of Invoke's own has a value that it cannot have ({error})", code=2) from error

    def update_config(self, merge: bool = True) -> None:
        # Invoke reads a project's invoke.yaml only along with its tasks.py, which there is none of here.
        with suppress(FileNotFoundError):  # a folder that is gone has no project; the tasks say so
            self.config.set_project_location(project_root(Path.cwd()))
            self.config.load_project(merge=False)
        super().update_config(merge)


def _deploy_part(path: str, load: Callable[[Any], Any]) -> dict[str, Any]:
    """The settings in the configuration file at `path`. FileNotFoundError where another user can have put it there."""
    file = Path(path)
    if file.exists() and not file.is_file():
        raise _refused(path, "is not a file")
    if file.exists() and (is_of_another_user(file) or is_of_another_user(file.parent)):
        _warn(f"{path} belongs to another user and is not read")
        raise FileNotFoundError(errno.ENOENT, "not read", path)
    try:
        content = load(path)
    except (YAMLError, ValueError) as error:
        raise _refused(path, f"cannot be read: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise _refused(path, "is nested too deeply") from error
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise
        raise _refused(path, f"cannot be read ({os.strerror(error.errno or 0)})") from error
    if not isinstance(content, dict | None):
        raise _refused(path, "is not a table of settings")
    if not content or "deploy" not in content:
        return {}
    _check_finite(path, content["deploy"])
    return {"deploy": content["deploy"]}


def _check_finite(path: str, part: Any) -> None:
    """Refuses what Invoke cannot copy: names that are no text, and aliases that lead to themselves or to each other,
    which are without end when they are followed."""
    found = [part]
    for count, value in enumerate(found):
        if count > _MOST_VALUES:
            raise _refused(path, "has too many settings")
        if isinstance(value, dict):
            if odd := [name for name in value if not isinstance(name, str)]:
                raise _refused(path, f"has a name that is no text: {odd[0]}")
            found += value.values()
        elif isinstance(value, list):
            found += value


def _refused(path: str, why: str) -> Exit:
    return Exit(fit(f"the Invoke configuration {path} {why}"), code=2)


def _warn(text: str) -> None:
    print(f"warning: {escaped(text)}", file=sys.stderr)  # noqa: T201 - before any task


program = _DeployProgram(
    name="deploy-tasks", binary="deploy-tasks", namespace=ns, version=__version__, config_class=_Configuration
)
