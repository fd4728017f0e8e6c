"""The settings of one call for one app, frozen. Each value has an origin.

`Source` defines the precedence. Variables and `.env` files for one environment override those for all.
`Project.load` reads every source but the record and git, which `Settings.completed` adds.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, overload

from ..deploy_config import APP_CLASSES, DEFAULT_APP_CLASS
from ..errors import SettingsError
from ..redaction import keep_secret
from .env_files import EnvFile
from .paths import mode_of
from .schema import (
    BY_KEY,
    DECIDES_CLUSTER,
    NOT_GIVEN,
    OF_REGISTRY,
    SECRET_VARIABLE,
    SECRETS,
    SETTINGS,
    WITH_VARIABLE,
    Setting,
    suffix_of,
)
from .sources import Layer, Origin, Source, settle
from .values import Metrics, Port, nearest

# Reading one of these raises SettingsError if it is not set.
_REQUIRED = ("api_url", "api_key", "app", "image_name", "port", "repo_url", "git_ref")


class Settings:
    """The settings of one call for one app. A setting without a source has its default or None; reading a required one
    that is not set raises SettingsError. `repr` shows no values."""

    name: str | None
    """The app's name in the table of apps; None without a table."""
    root: Path
    environment: str | None
    """The selected environment; None if none is."""
    cluster: str
    """The cluster's name in messages: the environment and the API's host, `production (deploy.example.com)`; without an
    environment only the host."""
    state_file: Path
    api_url: str
    api_key: str
    api_timeout: float
    registry: str
    registry_username: str | None
    registry_password: str | None
    git_token: str | None
    app: str
    namespace: str
    image_name: str
    app_class: str
    port: int
    replicas: int | None
    domain: tuple[str, ...]
    health_path: str | None
    tls: bool
    docker: str
    platform: str
    dockerfile: str
    build_context: str
    repo_url: str
    git_ref: str
    image_tag: str | None
    builder: str | None
    build_args: tuple[str, ...]
    timeout: float
    rollout_timeout: float
    build_if_needed: bool
    lock_timeout: float
    jobs: int | None
    env: Mapping[str, str]
    env_from: tuple[str, ...]
    env_from_optional: tuple[str, ...]
    env_file: str | None
    build_args_from: tuple[str, ...]
    ports: tuple[Port, ...]
    metrics: Metrics | None
    protected: bool
    origins: Mapping[str, Origin]
    of_call: frozenset[str]
    """The keys of settings from a flag or the shell. A suggested command must repeat them, since it may be pasted into
    another shell."""
    flags: frozenset[str]
    """The keys of settings that the task has a flag for."""
    variables: Mapping[str, str]
    """The variables of the shell and the `.env` files. Empty ones count as not set and are left out."""
    empty_variables: frozenset[str]
    """The names of variables without a value, for messages."""
    env_files: Mapping[str, EnvFile]
    """The `.env` files by their names."""
    environments: tuple[str, ...]
    """The names of all environments, in the order of the configuration."""
    not_used: Mapping[str, str]
    """Variables that do not count because an environment is selected or DEPLOY_ENV_FILE is set, each with its `.env`
    file."""
    configured_environment: Mapping[str, str]
    """The app's variables from the configuration (`env`, `env_from`, `env_from_optional`), without those that have no
    value."""

    def __init__(self, origins: Mapping[str, Origin], **values: Any) -> None:  # Any: each has been parsed by its row
        follows: dict[str, Origin] = {}
        if origins["namespace"].source is Source.DEFAULT:
            values["namespace"] = APP_CLASSES[values["app_class"]]
            follows["namespace"] = Origin(Source.DEFAULT, "default", "of app_class")
        if origins["image_name"].source is Source.DEFAULT:
            values["image_name"] = values.get("app")
            follows["image_name"] = Origin(Source.DEFAULT, "default", "of app")
        if origins["port"].source < origins["ports"].source:
            values["ports"] = ()
        names, variables = [*values["env_from_optional"], *values["env_from"]], values["variables"]
        by_name = {name: variables[name] for name in names if name in variables}
        values["configured_environment"] = {**values["env"], **by_name}
        set_values = {key: value for key, value in values.items() if value is not None or key not in _REQUIRED}
        of_call = frozenset(key for key, has in origins.items() if has.source in (Source.FLAG, Source.VARIABLE))
        vars(self).update(set_values, origins={**origins, **follows}, of_call=of_call)

    if not TYPE_CHECKING:  # mypy would take any name for that of a setting

        def __getattr__(self, key: str) -> NoReturn:
            """Raises the SettingsError of `check` for a required setting that is not set."""
            if key in _REQUIRED:
                self.check("app" if key == "image_name" else key)
            raise AttributeError(f"{key} is not set")  # port: the app has several

    def __setattr__(self, key: str, value: object) -> NoReturn:
        raise AttributeError(f"{key} cannot be changed")

    def completed(self, record: Mapping[str, object], facts: Mapping[str, Callable[[], str | None]]) -> Settings:
        """These settings, with unset values filled in from `record`, then from git. SettingsError if a value is
        invalid. From now on, values of the variables in `env_from` are redacted.

        `record` is the target of the last build, {} if there is none. The record of another app does not count; of a
        record for another environment, only the image name counts. `facts` maps keys of settings to functions that ask
        git.
        """
        app, is_of_here = self.get("app"), record.get("environment") == self.environment
        if record and not is_of_here and app is None and "app" in facts:
            app = facts["app"]()
        if record.get("app") not in (None, app) and (app is not None or not is_of_here):
            record = {}
        kept = [key for key in record if key != "environment" and (is_of_here or key == "image_name")]
        record = {key: record[key] for key in kept}
        # The namespace of a record belongs to its app class.
        is_given = self.origins["app_class"].source is not Source.DEFAULT
        if is_given and self.app_class != (record.get("app_class") or DEFAULT_APP_CLASS):
            record = {**record, "namespace": None}
        unset = [key for key in {**record, **facts} if self.origins[key].source is Source.DEFAULT]
        by_git = {key: facts[key]() for key in unset if key in facts and record.get(key) in NOT_GIVEN}
        layers = [Layer(Source.RECORD, "the record", "", record), Layer(Source.GIT, "git", "", by_git)]
        values, origins = settle([BY_KEY[key] for key in unset], layers)
        settings = Settings(**{**vars(self), **values, "origins": {**self.origins, **origins}})
        # Only now all plain settings are known: values that are part of one are not redacted.
        names = (*settings.env_from, *settings.env_from_optional)
        keep_secret(settings.secret_values_of(names), is_named=True)
        return settings

    @overload
    def get(self, key: Literal["api_url", "api_key", "app", "image_name", "repo_url", "git_ref"]) -> str | None: ...
    @overload
    def get(self, key: Literal["port"]) -> int | None: ...
    @overload
    def get(self, key: str) -> object: ...
    def get(self, key: str) -> object:
        """The value of a setting, None if it is not set."""
        return vars(self).get(key)

    def given(self, key: str) -> str | None:
        """The text of a setting that a person gave; None if it comes from the record, git or the default, so that a
        request can leave it to the server."""
        return None if self.origins[key].source >= Source.RECORD else str(self.get(key))

    @property
    def registry_login(self) -> tuple[str, str] | None:
        """The user and the password of the registry; None if either is not set."""
        username, password = self.registry_username, self.registry_password
        return (username, password) if username and password else None

    def needed(self, key: str) -> str:
        """The text of a setting. SettingsError if it is not set."""
        self.check(key)
        return str(self.get(key))

    def is_by_flag(self, key: str) -> bool:
        return self.origins[key].source is Source.FLAG

    def is_given(self, key: str) -> bool:
        return self.origins[key].source is not Source.DEFAULT

    def check(self, *needs: str, given: Collection[str] = (), trouble: str | None = None) -> None:
        """Raises one SettingsError with everything of `needs` that is missing, and how to give it.

        `needs` are keys of settings, where `env_from` and `build_args_from` mean the variables that they name; `files`
        means the Dockerfile and the build context, and `cloned_files` means both if the cluster clones this checkout's
        commit. `given` are names of variables that have a value from a flag. `trouble` says why git does not know a
        setting. Settings of the registry are reported only if a file has one that does not count.
        """
        unset = [row for row in SETTINGS if row.key in needs and self.get(row.key) is None]
        unset = [row for row in unset if row.key not in OF_REGISTRY and (row.key != "port" or not self.ports)]
        if self.not_used:
            rows = (BY_KEY[key] for key in OF_REGISTRY if key in needs)
            unset += [row for row in rows if row.variable in self.not_used and not self.is_given(row.key)]
        named = [name for key in ("env_from", "build_args_from") if key in needs for name in getattr(self, key)]
        unvalued = [name for name in dict.fromkeys(named) if name not in self.variables and name not in given]
        # If they are not set yet, git will fill them in.
        is_cloned_from_here = all(self.origins[key].source >= Source.GIT for key in ("repo_url", "git_ref"))
        needs_files = "files" in needs or ("cloned_files" in needs and is_cloned_from_here)
        parts, steps = [], []
        for key, wrong in self.wrong_files() if needs_files else ():
            parts.append(wrong)
            steps.append(f"Set another with {f'deploy.apps.{self.name}.{key}' if self.name else BY_KEY[key].flag}")
        if unset:
            where = f" in {self.environment}" if self.environment else ""
            parts.append(f"not set{where}: {', '.join(map(self.ways_to_set, unset))}")
        if unvalued:
            parts.append(f"no value for {', '.join(map(self._named, unvalued))}")
        if parts and self.env_file and self.env_file not in self.env_files and (unset or unvalued):
            parts.append(f"there is no env_file at {self.root / os.path.expanduser(self.env_file)}")  # noqa: PTH111
        if unvalued or any(row.is_global for row in unset):
            file = f".env.{self.environment}" if self.environment else os.environ.get("DEPLOY_ENV_FILE") or ".env"
            steps.append(f"Set variables in the shell, or in {file} at the project's root")
        if any(row.is_global for row in unset):
            steps += self._hints_for_environments(unset)
        if parts:
            raise SettingsError(", and ".join(parts) + (f" ({trouble})" if trouble else ""), next=steps)

    def _hints_for_environments(self, unset: Iterable[Setting]) -> Iterator[str]:
        """Likely reasons for a missing setting of a cluster: no environment is selected, or a file has a variable that
        does not count with one."""
        if self.environments and not self.environment:
            yield f"No environment is selected: use --environment NAME (available: {', '.join(self.environments)})"
        for variable in (row.variable for row in unset if row.variable in self.not_used):
            how = "DEPLOY_ENV_FILE"
            if to := self.environment:
                how = f"an environment: put it into .env.{to}, or call it {variable}{suffix_of(to)}"
            yield f"{self.not_used[variable]} has {variable}, which is not used with {how}"

    def ways_to_set(self, row: Setting) -> str:
        """The ways to set a setting: `--port or DEPLOY_PORT or port under deploy: in invoke.yaml`."""
        ways = [row.flag] if row.key in self.flags else []
        if self.name is not None and not row.is_global:
            ways.append(f"deploy.apps.{self.name}.{row.key} in invoke.yaml")
        elif self.environment and row in DECIDES_CLUSTER:
            ways.append(self._named(f"{row.variable}{suffix_of(self.environment)}"))
            if not row.secret:
                ways.append(f"{row.key} under deploy.environments.{self.environment} in invoke.yaml")
        else:
            ways.append(self._named(row.variable))
            if row.committed:
                ways.append(f"{row.key} under deploy: in invoke.yaml")
        return " or ".join(ways)

    def _named(self, variable: str) -> str:
        return f"{variable} (it is empty)" if variable in self.empty_variables else variable

    def wrong_files(self) -> Iterator[tuple[str, str]]:
        """The setting (`dockerfile`, `build_context`) of each path that cannot be used for a build, and the reason."""
        file, context = self.root / self.dockerfile, self.root / self.build_context
        if not stat.S_ISREG(mode_of(file)):
            yield "dockerfile", f"there is no Dockerfile at {file}"
        elif not os.access(file, os.R_OK):
            yield "dockerfile", f"the Dockerfile {file} cannot be read"
        if not stat.S_ISDIR(mode_of(context)):
            yield "build_context", f"the build context {context} is not a folder"
        elif not os.access(context, os.R_OK | os.X_OK):
            yield "build_context", f"the build context {context} cannot be read"

    def values_of(self, names: Collection[str], what: str) -> dict[str, str]:
        """The values of the variables `names` in the shell or the `.env` files. SettingsError lists the missing ones
        after `what`."""
        if missing := [name for name in names if name not in self.variables]:
            empty = next((name for name in missing if name in self.empty_variables), None)
            hint = f", or {empty}= for an empty value" if empty else ""
            raise SettingsError(
                f"{what} {', '.join(map(self._named, missing))} has no value",
                next=f"Give KEY=VALUE{hint}, or set it in the shell or in .env",
            )
        return {name: self.variables[name] for name in names}

    def secrets_among(self, values: Mapping[str, str]) -> list[str]:
        """The names in `values` whose name or value is that of one of the kit's secrets."""
        is_secret = SECRET_VARIABLE.fullmatch
        places = (self.variables, *(file.variables for file in self.env_files.values()))
        secrets = {self.get(row.key) for row in SECRETS}
        secrets |= {value for has in places for name, value in has.items() if is_secret(name)}
        return [name for name, value in values.items() if is_secret(name) or (value and value in secrets)]

    def secret_values_of(self, names: Iterable[str]) -> list[str]:
        """The values of the variables `names` that must be redacted. A value that is part of a plain setting, such as a
        namespace, is not: it would make suggested commands unreadable."""
        values = [self.variables[name] for name in names if name in self.variables]
        plain = [self.get(row.key) for row in WITH_VARIABLE if not row.secret] if values else []
        texts = {str(text) for value in plain for text in (value if isinstance(value, tuple) else (value,))}
        return [value for value in values if not any(value in text for text in texts)]

    def misspelt(self) -> Iterator[str]:
        """A warning for each `DEPLOY_*` variable that is not a setting but is spelled almost like one."""
        suffixes = ["", *map(suffix_of, self.environments)]
        keys = ["ENV_FILE", *(f"{row.key.upper()}{suffix}" for row in WITH_VARIABLE for suffix in suffixes)]
        for name in sorted(self.variables):
            key = name.removeprefix("DEPLOY_")
            # Other tools have DEPLOY_* variables too, so only a very similar name counts.
            if key not in (name, *keys) and (meant := nearest(key, keys, likeness=0.8)):
                yield f"{name} is not a setting (did you mean DEPLOY_{meant}?)"
