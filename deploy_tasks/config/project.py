"""The project of a call: its root, its configuration, and the settings of each of its apps."""

from __future__ import annotations

import os
import shlex
from collections import ChainMap
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from invoke.context import Context
from msgspec import structs

from ..errors import SettingsError
from ..git import top_of
from ..redaction import keep_secret
from . import apps, environments
from .env_files import EnvFile, env_file
from .invoke_config import deploy_part, tables_of
from .paths import project_root
from .schema import (
    BY_KEY,
    DECIDES_CLUSTER,
    NOT_GIVEN,
    SECRET_VARIABLE,
    SECRETS,
    SETTINGS,
    WITH_VARIABLE,
    Setting,
    suffix_of,
)
from .settings import Settings
from .sources import Layer, Origin, Source, settle


class SelectedApps(NamedTuple):
    """The apps that a call selects: their names in the table of apps, or None without a table."""

    names: list[str] | None
    is_several: bool
    """Whether the call selects apps by a list or `all`, even if that is a single app."""
    jobs: int | None
    """How many apps run at the same time; None if no source says."""


class Project:
    """A checkout, and the environment that one call selects in it."""

    def __init__(
        self,
        root: Path,
        configuration: apps.Configuration,
        environ: Mapping[str, str],
        environment: str | None = None,
        *,
        without_variables: apps.Configuration | None = None,
        secrets: Sequence[str] = (),
        engines: frozenset[str] | None = None,
    ) -> None:
        """Selects the environment from the flag (`environment`), else DEPLOY_ENVIRONMENT in the shell or in a `.env`
        file, else the configuration. SettingsError if there is no environment of this name.

        `without_variables` is the configuration without INVOKE_* variables (default: there are none).
        """
        self.root, self.table, self.secrets, self.engines = root, configuration.table, secrets, engines
        self._environ, self._without_variables = environ, without_variables or configuration
        # Invoke reads INVOKE_DEPLOY_<KEY> only for keys that its configuration has already. The kit does not put its
        # settings there: a shallow merge at a developer's root collection would delete them.
        by_invoke = {row.key: environ.get(f"INVOKE_{row.variable}") for row in WITH_VARIABLE}
        general = {key: value for key, value in configuration.general.items() if value not in NOT_GIVEN}
        self.configuration = structs.replace(configuration, general={**by_invoke, **general})
        self._file = cache(partial(env_file, root))
        named, names = environ.get("DEPLOY_ENV_FILE"), configuration.names[None]
        if named and not self._file(named):
            raise SettingsError(f"DEPLOY_ENV_FILE names {named}, which does not exist")
        self._general_files = [named] if named else [".env.local", ".env"]
        if environment == "":
            environments.check_known("", names, "flag --environment: ")
        row = BY_KEY["environment"]
        files = [(Source.ENV_FILE, name, file.variables) for name in self._general_files if (file := self._file(name))]
        layers = [Layer(Source.FLAG, "flag", "{row.flag}", {row.key: environment})]
        for source, place, variables in ((Source.VARIABLE, "shell variable", environ), *files):
            layers.append(Layer(source, place, "{row.variable}", {row.key: variables.get(row.variable)}))
        values, origins = settle([row], [*layers, *self.configuration.levels(None, None)])
        self.environment: str | None = values[row.key]
        self.selected_by = origins[row.key]
        if environment is None and environ.get(row.variable) == "":  # selects none
            self.environment, self.selected_by = None, Origin(Source.VARIABLE, "shell variable", row.variable)
        elif self.environment is not None:
            environments.check_known(self.environment, names, f"{self.selected_by}: ")
        if named:
            environments.check_file(named, names, self.environment, self.selected_by)

    @classmethod
    def of(cls, c: Context, environment: str | None = None) -> Project:
        """The project of a context, with the environment that the flag `environment` or another source selects. Raises
        SettingsError. From now on, the secrets in the shell and the configuration are redacted."""
        root, environ = root_of(c), dict(os.environ)
        written = deploy_part(c.config, root)
        # Before anything is parsed: an error may quote a secret that was put into the wrong setting.
        keep_secret(value for name, value in environ.items() if SECRET_VARIABLE.fullmatch(name))
        secrets = {
            f"{path}.{row.key}": str(table[row.key])
            for path, table in tables_of(written).items()
            for row in SECRETS
            if table.get(row.key) not in NOT_GIVEN
        }
        keep_secret(secrets.values())
        without_variables = None
        if any(name.startswith("INVOKE_DEPLOY_") for name in environ):
            without_variables = apps.split(deploy_part(c.config, root, without_variables=True))
        configuration, engines = apps.split(written), getattr(c.config, "only_engines", None)
        return cls(
            root,
            configuration,
            environ,
            environment,
            without_variables=without_variables,
            secrets=[*secrets],
            engines=engines,
        )

    def selected_apps(self, flags: Mapping[str, object]) -> SelectedApps:
        """The apps that `flags` or, with a table of apps, DEPLOY_APP select. SettingsError if none or an unknown one is
        selected."""
        if not self.table:
            return SelectedApps(None, is_several=False, jobs=None)
        layers, *_ = self._layers(None, flags, self.environment, must_agree=True)
        values, origins = settle((BY_KEY["app"], BY_KEY["jobs"]), layers)
        is_several = apps.SEVERAL.fullmatch(values["app"] or "") is not None
        if is_several:
            apps.check_flags_of_several(flags)
        return SelectedApps(apps.named(self.table, values["app"], origins["app"]), is_several, values["jobs"])

    def load(self, name: str | None, flags: Mapping[str, object], *, environment: str | None = None) -> Settings:
        """The settings for the app `name` of the table (None: without a table, or for all apps) and a task's `flags`,
        by parameter. The record and git are not read yet (`Settings.completed`). Raises SettingsError. From now on, the
        secrets in the `.env` files are redacted.

        The settings are for the selected environment, or for another `environment`. For another one, only `app` counts
        of the flags, and from the shell and DEPLOY_ENV_FILE only that environment's variables and DEPLOY_APP.
        """
        environment, selected_by = environment or self.environment, self.selected_by
        if environment != self.environment:
            flags, selected_by = {"app": flags.get("app")}, Origin(Source.DEFAULT, "default")
        if environment is not None:
            environments.check_known(environment, self.configuration.names[name], f"app {name}: " if name else "")
        layers, files, not_used = self._layers(name, flags, environment, must_agree=True)
        values, origins = settle([row for row in SETTINGS if row.key != "environment"], layers)
        state_file = self.root / values.pop("state_file")
        if name is not None:
            state_file = state_file.with_name(f"{state_file.stem}.{name}{state_file.suffix or '.json'}")
        sources = [self._environ, *(file.variables for file in files.values())]
        host = urlsplit(values["api_url"] or "").netloc
        settings = Settings(
            {**origins, "environment": selected_by},
            **values,
            name=name,
            root=self.root,
            environment=environment,
            environments=self.configuration.names[name],
            cluster=f"{environment} ({host})" if environment and host else environment or host,
            state_file=state_file,
            flags=frozenset(row.key for row in WITH_VARIABLE if row.parameter in flags),
            variables=ChainMap(*({key: value for key, value in has.items() if value} for has in sources)),
            empty_variables=frozenset(key for has in sources for key, value in has.items() if not value),
            env_files=files,
            not_used=not_used,
        )
        if not self.table and apps.SEVERAL.fullmatch(values["app"] or ""):
            raise SettingsError(f"app {settings.app} needs a table of apps, deploy.apps in invoke.yaml")
        origin = origins["docker"]
        if self.engines and origin.source is Source.ENV_FILE and settings.docker not in self.engines:
            raise SettingsError(
                f"{origin} names a program that deploy-tasks does not run",
                next="If you trust it, set DEPLOY_DOCKER in the shell",
            )
        return settings

    def values_in(self, environment: str, name: str | None, keys: Sequence[str]) -> dict[str, Any]:
        """The values of the settings `keys` of an app in another environment, even if its other settings are invalid.
        SettingsError if one of these is invalid, or a `.env` file cannot be read."""
        layers, *_ = self._layers(name, {}, environment)
        return settle([BY_KEY[key] for key in keys], layers)[0]

    def _layers(
        self, name: str | None, flags: Mapping[str, object], environment: str | None, *, must_agree: bool = False
    ) -> tuple[list[Layer], dict[str, EnvFile], dict[str, str]]:
        """The values of every source, strongest first; the `.env` files; the variables that do not count, each with its
        file. With `must_agree`, SettingsError if the sources contradict each other about the cluster."""
        is_selected = environment == self.environment
        by_flag = {row.key: flags.get(row.parameter) for row in WITH_VARIABLE}
        by_flag["build_if_needed"] = by_flag["build_if_needed"] or None
        if name is not None:
            by_flag["app"] = None  # the flag chooses among the apps, and the entry says what the app is called
        configuration = self.configuration
        if not is_selected:
            configuration = structs.replace(configuration, general=self._without_variables.general)
        levels = configuration.levels(name, environment)
        named_by_app, origins = settle((BY_KEY["env_file"],), levels)
        of_app = [path for path in named_by_app.values() if path]
        own = [f".env.{environment}.local", f".env.{environment}"] if environment else []
        names = [*of_app, *own, *self._general_files]
        files = {at: file for at in names if (file := self._file(at))}
        if origins["env_file"].source in (Source.ENVIRONMENT, Source.APP_ENVIRONMENT):
            own += of_app
        named, not_used = self._environ.get("DEPLOY_ENV_FILE"), dict[str, str]()
        layers = [Layer(Source.FLAG, "flag", "{row.flag}", by_flag), *levels]
        of_files = ((Source.ENV_FILE, at, file.variables) for at, file in files.items())
        for source, place, variables in ((Source.VARIABLE, "shell variable", self._environ), *of_files):
            is_of_call = source is Source.VARIABLE or (place == named and place not in own)
            rows: Sequence[Setting] = WITH_VARIABLE
            if is_of_call and not is_selected:
                # The call's variables are for the selected environment. In another one, only the app is the same.
                rows = [BY_KEY["app"]]
            elif (named or environment) and not is_of_call and place not in own:
                # General files must not decide the cluster of one call or environment.
                rows = [row for row in WITH_VARIABLE if row not in DECIDES_CLUSTER]
                for variable in (row.variable for row in DECIDES_CLUSTER if variables.get(row.variable)):
                    not_used.setdefault(variable, place)
            if suffix := suffix_of(environment) if environment else "":
                values = {row.key: variables.get(f"{row.variable}{suffix}") for row in WITH_VARIABLE}
                layers.append(Layer(source, place, f"{{row.variable}}{suffix}", values, suffix, is_of_call))
            values = {row.key: variables.get(row.variable) for row in rows}
            layers.append(Layer(source, place, "{row.variable}", values, "", is_of_call))
        layers.sort(key=lambda layer: layer.source)
        if must_agree and (named or environment):
            environments.check_agree(
                layers,
                self._without_variables.levels(name, environment),
                self._environ,
                environment,
                is_selected=is_selected,
                is_by_flag=not is_selected or self.selected_by.source is Source.FLAG,
            )
        return layers, files, not_used


def root_of(c: Context) -> Path:
    """The project's root: the folder of the tasks.py that Invoke loaded, else `project_root` of the current folder.

    SettingsError if the current folder is in another repository, or `c.cd` changes to another folder: people must see
    which code they deploy.
    """
    try:
        here = Path.cwd()
    except FileNotFoundError as error:
        raise SettingsError("the current folder does not exist any more") from error
    # Invoke's Config has no public attribute for it. Copies of the Config keep this one.
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
