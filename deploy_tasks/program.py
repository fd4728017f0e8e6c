"""The program `deploy-tasks`: the tasks where there is no `tasks.py`, in a repository that need not be trusted.

It runs no file of the project but its Dockerfile, and of configuration files it reads the `deploy` part alone.
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
from .redaction import escaped
from .settings import is_of_another_user, project_root
from .tasks import ns

# Any other program could be told by its arguments, or its name, to run a file of the project.
_ENGINES = ("docker", "podman")


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
                f"deploy.docker in {self._project_path} names a program of its own, which deploy-tasks does not run. "
                "Nothing was sent. If you trust it, set DEPLOY_DOCKER",
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
    if file.exists() and (is_of_another_user(file) or is_of_another_user(file.parent)):
        _warn(f"{path} belongs to another user and is not read")
        raise FileNotFoundError(errno.ENOENT, "not read", path)
    try:
        content = load(path)
    except (YAMLError, ValueError) as error:
        said = " ".join(str(error).split())
        raise Exit(f"the Invoke configuration {path} cannot be read: {said}; nothing was sent", code=2) from error
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise
        raise Exit(f"{path} cannot be read ({os.strerror(error.errno or 0)}); nothing was sent", code=2) from error
    if not isinstance(content, dict | None):
        raise Exit(f"the Invoke configuration {path} is not a table of settings; nothing was sent", code=2)
    return {"deploy": content["deploy"]} if content and "deploy" in content else {}


def _warn(text: str) -> None:
    print(f"warning: {escaped(text)}", file=sys.stderr)  # noqa: T201 - before any task


program = _DeployProgram(
    name="deploy-tasks", binary="deploy-tasks", namespace=ns, version=__version__, config_class=_Configuration
)
