"""The project that a call works on: its root, its configuration, and the settings of each of its apps."""

from __future__ import annotations

import os
import shlex
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from invoke.context import Context
from msgspec import structs

from ..errors import SettingsError
from ..git import top_of
from ..redaction import keep_secret
from . import apps, environments
from .env_files import EnvFile, env_files
from .invoke_config import deploy_part
from .paths import project_root
from .schema import (
    BY_KEY,
    DECIDES_CLUSTER,
    SECRETS,
    SETTINGS,
    WITH_VARIABLE,
    is_secret_variable,
    suffix_of,
)
from .settings import Layer, Settings, settle
from .sources import Origin, Source

_DECIDE = frozenset(row.variable for row in DECIDES_CLUSTER)


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
    configuration: apps.Configuration
    engines: frozenset[str] | None = None
    """The programs that an `.env` file may name as the engine; None: any."""
    without_variables: apps.Configuration | None = None
    """The configuration without what INVOKE_* variables put there, if there are any."""
    read: dict[str, EnvFile | None] = field(default_factory=dict, repr=False)
    """The `.env` files that were read, by their names; None is one that does not exist."""

    @classmethod
    def of(cls, c: Context) -> Project:
        """The project of a context. Raises SettingsError. From now on the secrets of the environment and of the
        configuration are redacted."""
        root = root_of(c)
        written = deploy_part(c.config, root)
        # Before anything is parsed: the error of another setting may quote a secret.
        keep_secret(value for name, value in os.environ.items() if is_secret_variable(name))
        of_environments = written.get("environments")
        tables = of_environments.values() if isinstance(of_environments, Mapping) else ()
        for part in (written, *(table for table in tables if isinstance(table, Mapping))):
            keep_secret(str(part.get(row.key) or "") for row in SECRETS)
        configuration = apps.split(written)
        as_filed = None
        if any(name.startswith("INVOKE_DEPLOY_") for name in os.environ):
            as_filed = apps.split(deploy_part(c.config, root, without_variables=True))
        return cls(root, configuration, getattr(c.config, "only_engines", None), as_filed)

    @property
    def table(self) -> apps.Table:
        """`deploy.apps`: the entry of each app, with its `app`."""
        return self.configuration.table

    def chosen(self, flags: Mapping[str, object]) -> Chosen:
        """The apps that `flags` mean; with a table of apps, DEPLOY_APP is a choice among them, too. SettingsError if
        that cannot be told."""
        if not self.table:
            return Chosen(None, is_several=False, jobs=None)
        layers, *_ = self._layers(None, flags, os.environ, self.selected(flags)[0])
        values, origins = settle((BY_KEY["app"], BY_KEY["jobs"]), layers)
        is_several = apps.SEVERAL.fullmatch(values["app"] or "") is not None
        if is_several:
            apps.check_flags_of_several(flags)
        return Chosen(apps.named(self.table, values["app"], origins["app"]), is_several, values["jobs"])

    def selected(
        self, flags: Mapping[str, object], environ: Mapping[str, str] = os.environ
    ) -> tuple[str | None, Origin]:
        """The environment that is selected, and where: by the flag, else by DEPLOY_ENVIRONMENT in the shell or in a
        `.env` file, else by the configuration. SettingsError if there is none of this name."""
        names, named = self.configuration.all_environments(), environ.get("DEPLOY_ENV_FILE")
        files = env_files(self.root, (), named, self.read)
        environment, origin = environments.selected(
            names,
            [
                Layer(Source.FLAG, "flag", "{row.flag}", flags),
                _by_variable(Source.VARIABLE, "shell variable", environ),
                *(_by_variable(Source.ENV_FILE, at, file.variables) for at, file in files.items()),
                Layer(Source.CONFIG, "configuration", "deploy.{row.key}", self.configuration.general),
                Layer(Source.CONFIG, "configuration", "deploy.{row.key}", _by_invoke(environ), by_variable=True),
            ],
        )
        if named:
            environments.check_file(named, names, environment, origin)
        return environment, origin

    def load(
        self,
        name: str | None,
        flags: Mapping[str, object],
        environ: Mapping[str, str] = os.environ,
        *,
        environment: str | None = None,
        is_selected: bool = True,
    ) -> Settings:
        """The settings for the app `name` of the table (None: without a table, or for all apps) and a task's `flags`
        by their parameters, without the record and git (`Settings.completed`). Raises SettingsError. From now on the
        secrets in the `.env` files are redacted.

        They are those of the selected environment; `environment` selects it like a flag. Unless it `is_selected`, they
        are of another environment than the selected one: then of `flags` only `app` counts, and of the variables that
        the shell and DEPLOY_ENV_FILE have only those for that environment, and DEPLOY_APP.
        """
        environ = dict(environ)  # each look into os.environ costs three calls
        if is_selected:
            flags = {**flags, "environment": environment} if environment is not None else flags
            environment, selected_by = self.selected(flags, environ)
        else:
            flags, selected_by = {"app": flags.get("app")}, Origin(Source.DEFAULT, "default")
        if environment is not None:
            known = self.configuration.all_environments(name)
            environments.check_known(environment, known, f"app {name}: " if name else "")
        # With a table, the flag chooses among its apps, and the entry says what the app is called.
        flags = {**flags, "app": None} if self.table and "app" in flags else flags
        layers, files, not_used = self._layers(name, flags, environ, environment, is_selected=is_selected)
        values, origins = settle([row for row in SETTINGS if row.key != "environment"], layers)
        state_file = self.root / values.pop("state_file")
        if name is not None:
            state_file = state_file.with_name(f"{state_file.stem}.{name}{state_file.suffix or '.json'}")
        sources = [environ, *(file.variables for file in files.values())]
        settings = Settings(
            {**origins, "environment": selected_by},
            **values,
            name=name,
            root=self.root,
            environment=environment,
            environments=self.configuration.all_environments(name),
            state_file=state_file,
            flags=frozenset(row.key for row in WITH_VARIABLE if (row.parameter or row.key) in flags),
            variables=ChainMap(*({key: value for key, value in has.items() if value} for has in sources)),
            empty_variables=frozenset(key for has in sources for key, value in has.items() if not value),
            env_files=files,
            not_used=not_used,
        )
        if not self.table and apps.SEVERAL.fullmatch(settings.known("app") or ""):
            raise SettingsError(f"app {settings.app} needs a table of apps, deploy.apps in invoke.yaml")
        origin = origins["docker"]
        if self.engines and origin.source is Source.ENV_FILE and settings.docker not in self.engines:
            raise SettingsError(
                f"{origin} names a program that deploy-tasks does not run",
                next="If you trust it, set DEPLOY_DOCKER in the shell",
            )
        return settings

    def _layers(
        self,
        name: str | None,
        flags: Mapping[str, object],
        environ: Mapping[str, str],
        environment: str | None,
        *,
        is_selected: bool = True,
    ) -> tuple[list[Layer], dict[str, EnvFile], dict[str, str]]:
        """The values of every source, strongest first; the `.env` files; the variables that do not count, with the file
        of each. SettingsError if the sources disagree about the cluster."""
        by_flag = {row.key: flags.get(row.parameter or row.key) for row in WITH_VARIABLE}
        by_flag["build_if_needed"] = by_flag["build_if_needed"] or None
        configuration, as_filed = self.configuration, self.without_variables or self.configuration
        if not is_selected:
            configuration = structs.replace(configuration, general=as_filed.general)
        levels = configuration.levels(name, environment)
        named = environ.get("DEPLOY_ENV_FILE")
        env_file, origins = settle((BY_KEY["env_file"],), levels)
        of_app = [path for path in env_file.values() if path]
        of_environment = [f".env.{environment}.local", f".env.{environment}"] if environment else []
        files = env_files(self.root, [*of_app, *of_environment], named, self.read)
        is_of_app = origins["env_file"].source not in (Source.ENVIRONMENT, Source.APP_ENVIRONMENT)
        own = {*of_environment, *([] if is_of_app else of_app)}
        places = [
            _Place(Source.VARIABLE, "shell variable", environ, is_of_call=True),
            *(
                _Place(Source.ENV_FILE, at, file.variables, is_of_call=at == named and at not in own)
                for at, file in files.items()
            ),
        ]
        # What holds for all calls and environments does not decide the cluster of one.
        not_used: dict[str, str] = {}
        if named or environment:
            for number, place in enumerate(places):
                if not place.is_of_call and place.name not in own:
                    not_used |= {key: place.name for key in _DECIDE - {*not_used} if place.values.get(key)}
                    kept = {key: value for key, value in place.values.items() if key not in _DECIDE}
                    places[number] = place._replace(values=kept)
        invoke = Layer(Source.CONFIG, "configuration", "deploy.{row.key}", _by_invoke(environ), by_variable=True)
        layers = [
            Layer(Source.FLAG, "flag", "{row.flag}", by_flag),
            *(layer for place in places for layer in place.layers(environment, is_selected)),
            *levels,
            *([invoke] if is_selected else []),
        ]
        if named or environment:
            written = as_filed.levels(name, environment) if environment else []
            said = _said(places, written, environ, environment, is_selected)
            is_by_flag = not is_selected or bool(flags.get("environment"))
            environments.check_agree(said, environment, is_by_flag=is_by_flag)
        return sorted(layers, key=lambda layer: layer.source), files, not_used


class _Place(NamedTuple):
    """A place of variables: the shell or a `.env` file. It `is_of_call` if only this call has it: the shell, the file
    of DEPLOY_ENV_FILE."""

    source: Source
    name: str
    values: Mapping[str, str]
    is_of_call: bool = False

    def layers(self, environment: str | None, is_selected: bool) -> list[Layer]:
        """What counts of it: for the environment alone, then for all. What a call says is about the selected
        environment; in another one it is about the same app."""
        for_all = self.values
        if self.is_of_call and not is_selected:
            for_all = {key: value for key, value in for_all.items() if key == BY_KEY["app"].variable}
        layers = [_by_variable(self.source, self.name, for_all)]
        if environment is not None:
            layers.insert(0, _by_variable(self.source, self.name, self.values, suffix_of(environment)))
        return layers


def _by_variable(source: Source, place: str, values: Mapping[str, object], suffix: str = "") -> Layer:
    return Layer(source, place, f"{{row.variable}}{suffix}", values, by_variable=True, suffix=suffix)


def _said(
    places: Sequence[_Place],
    levels: Sequence[Layer],
    environ: Mapping[str, str],
    environment: str | None,
    is_selected: bool,
) -> Iterator[list[Layer]]:
    """What must agree about the cluster, the most trusted first: what is kept for the environment, `levels` of the
    configuration among it; then each variable of the call, the file that it names before the shell."""
    # The shell, which is the first place, comes last.
    of_call = [place.layers(environment, is_selected) for place in reversed(places) if place.is_of_call]
    if environment:
        of_files = [place.layers(environment, is_selected) for place in places if not place.is_of_call]
        stronger = [layer for layer in levels if layer.source is not Source.CONFIG]
        alone = [layers[0] for layers in of_call]
        yield [*stronger, *chain.from_iterable(of_files), *alone, *levels]
    yield from ([layer] for layer in sorted(chain.from_iterable(of_call), key=lambda layer: not layer.suffix))
    yield from _said_to_invoke(environ, environment, is_selected)


def _said_to_invoke(environ: Mapping[str, str], environment: str | None, is_selected: bool) -> Iterator[list[Layer]]:
    """The variables from which Invoke itself takes the settings that decide the cluster, each in a place of its own."""
    for row in DECIDES_CLUSTER:
        names = [f"INVOKE_DEPLOY_ENVIRONMENTS{suffix_of(environment)}_{row.key.upper()}"] if environment else []
        for name in (*names, *([f"INVOKE_{row.variable}"] if is_selected else [])):
            yield [Layer(Source.VARIABLE, "shell variable", name, {row.key: environ.get(name)})]


def _by_invoke(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables INVOKE_DEPLOY_<KEY>, without INVOKE_. Invoke reads them only for keys that its configuration has
    already. The settings are not put there: a shallow merge at a developer's root collection would delete them."""
    return {key.removeprefix("INVOKE_"): environ[key] for key in environ if key.startswith("INVOKE_DEPLOY_")}


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
