"""The project that a call works on: its root, its configuration, and the settings of each of its apps."""

from __future__ import annotations

import os
import shlex
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from invoke.context import Context

from ..errors import SettingsError
from ..git import top_of
from ..redaction import keep_secret
from . import apps
from .env_files import EnvFile, env_files
from .invoke_config import deploy_part
from .paths import project_root
from .schema import BY_KEY, SECRET_VARIABLES, SECRETS, SETTINGS, WITH_VARIABLE
from .settings import Layer, Settings, settle
from .sources import Source


class Chosen(NamedTuple):
    """The apps that a call means: their names in the table of apps, or None without a table."""

    names: list[str] | None
    is_several: bool
    """Whether the call asks for apps in the plural, even if only one has this name."""
    jobs: int | None
    """How many at the same time; None if no source says."""


@dataclass(frozen=True)
class Project:
    """What is known of a checkout before any app is looked at."""

    root: Path
    general: Mapping[str, object]
    """The `deploy` part of the configuration without its apps, each value as it is written."""
    table: apps.Table
    """`deploy.apps`: the entry of each app, with its `app` and joined lists."""
    engines: frozenset[str] | None = None
    """The programs that an `.env` file may name as the engine; None: any."""
    read: dict[str, EnvFile | None] = field(default_factory=dict, repr=False)
    """The `.env` files that were read, by their names; None is one that does not exist."""

    @classmethod
    def of(cls, c: Context) -> Project:
        """The project of a context. Raises SettingsError. From now on the secrets of the environment and of the
        configuration are redacted."""
        root = root_of(c)
        written = deploy_part(c.config, root)
        # Before anything is parsed: the error of another setting may quote a secret.
        keep_secret(os.environ.get(name, "") for name in SECRET_VARIABLES)
        keep_secret(str(written.get(row.key) or "") for row in SECRETS)
        general, table = apps.split(written)
        return cls(root, general, table, getattr(c.config, "only_engines", None))

    def chosen(self, flags: Mapping[str, object]) -> Chosen:
        """The apps that `flags` mean; with a table of apps, DEPLOY_APP is a choice among them, too. SettingsError if
        that cannot be told."""
        if not self.table:
            return Chosen(None, is_several=False, jobs=None)
        layers, _ = self._layers(None, flags, os.environ)
        values, origins = settle((BY_KEY["app"], BY_KEY["jobs"]), layers)
        is_several = apps.SEVERAL.fullmatch(values["app"] or "") is not None
        if is_several:
            apps.check_flags_of_several(flags)
        return Chosen(apps.named(self.table, values["app"], origins["app"]), is_several, values["jobs"])

    def load(self, name: str | None, flags: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> Settings:
        """The settings for the app `name` of the table (None: without a table, or for all apps) and a task's `flags`
        by their parameters, without the record and git (`Settings.completed`). Raises SettingsError. From now on the
        secrets in the `.env` files are redacted."""
        # With a table, the flag chooses among its apps, and the entry says what the app is called.
        flags = {**flags, "app": None} if self.table and "app" in flags else flags
        environ = dict(environ)  # each look into os.environ costs three calls
        layers, files = self._layers(name, flags, environ)
        values, origins = settle(SETTINGS, layers)
        state_file = self.root / values.pop("state_file")
        if name is not None:
            state_file = state_file.with_name(f"{state_file.stem}.{name}{state_file.suffix or '.json'}")
        sources = [environ, *(file.variables for file in files.values())]
        settings = Settings(
            origins,
            **values,
            name=name,
            root=self.root,
            state_file=state_file,
            flags=frozenset(row.key for row in WITH_VARIABLE if (row.parameter or row.key) in flags),
            variables=ChainMap(*({key: value for key, value in has.items() if value} for has in sources)),
            empty_variables=frozenset(key for has in sources for key, value in has.items() if not value),
            env_files=files,
        )
        if not self.table and apps.SEVERAL.fullmatch(settings.known("app") or ""):
            raise SettingsError(f"app {settings.app} needs a table of apps, deploy.apps in invoke.yaml")
        origin = origins["docker"]
        if self.engines and origin.source is Source.ENV_FILE and settings.docker not in self.engines:
            raise SettingsError(
                f"{origin} names a program that deploy-tasks does not run",
                next="If you trust it, set DEPLOY_DOCKER in the environment",
            )
        return settings

    def _layers(
        self, name: str | None, flags: Mapping[str, object], environ: Mapping[str, str]
    ) -> tuple[list[Layer], dict[str, EnvFile]]:
        """The values of every source, strongest first, and the `.env` files among them."""
        by_flag = {row.key: flags.get(row.parameter or row.key) for row in WITH_VARIABLE}
        by_flag["build_if_needed"] = by_flag["build_if_needed"] or None
        # Invoke reads INVOKE_DEPLOY_* only for keys that its configuration has already. The settings are not put there:
        # a shallow merge at a developer's root collection would delete them.
        by_invoke = {key.removeprefix("INVOKE_"): environ[key] for key in environ if key.startswith("INVOKE_DEPLOY_")}
        of_app, of_all, by_name = f"deploy.apps.{name}.{{row.key}}", "deploy.{row.key}", "{row.variable}"
        configured = [
            *([Layer(Source.APP, "configuration", of_app, self.table[name])] if name is not None else []),
            Layer(Source.CONFIG, "configuration", of_all, self.general),
            Layer(Source.CONFIG, "configuration", of_all, by_invoke, by_variable=True),
        ]
        values, _ = settle((BY_KEY["env_file"],), configured)
        files = env_files(self.root, environ.get("DEPLOY_ENV_FILE"), values["env_file"], self.read)
        layers = [
            Layer(Source.FLAG, "flag", "{row.flag}", by_flag),
            Layer(Source.VARIABLE, "environment", by_name, environ, by_variable=True),
            *(Layer(Source.ENV_FILE, at, by_name, has.variables, by_variable=True) for at, has in files.items()),
            *configured,
        ]
        return sorted(layers, key=lambda layer: layer.source), files


def root_of(c: Context) -> Path:
    """The project's root: the folder whose tasks.py Invoke loaded, else what is found from the current folder up.

    SettingsError if the current folder is in another repository, or `c.cd` leads away from the root: people must see
    which code they deploy.
    """
    try:
        here = Path.cwd()
    except FileNotFoundError as error:
        raise SettingsError("the current folder does not exist any more") from error
    # Invoke's Config has it in no public attribute, and hands it to all of its copies.
    loaded_from: str | None = getattr(c.config, "_project_prefix", None)
    root = Path(loaded_from).resolve() if loaded_from else project_root(here)
    of_root, of_here = top_of(root), top_of(here)
    if of_here not in (None, of_root):
        whose = f"repository {of_root}" if of_root else "in no repository"
        raise SettingsError(
            f"the tasks are those of {root} ({whose}), but the current folder is in another repository, {of_here}",
            next=[
                f"To work on the first, run: cd {shlex.quote(str(root))}",
                f"To work on the second, make it a project: cd {shlex.quote(str(of_here))} && deploy-tasks init",
            ],
        )
    inside = here.joinpath(*map(os.path.expanduser, c.command_cwds)).resolve()
    if inside not in (here, root):
        raise SettingsError(
            f"c.cd does not choose the project: this task works on {root}, not on {inside}",
            next="Call it outside of c.cd, and for an app in a folder set its dockerfile and build_context, or run "
            "invoke there",
        )
    return root
