"""The `deploy` part of Invoke's configuration, with every value as it is written.

YAML makes false of `NO`, 493 of `0755`, 1.1 of `1.10` and 750 of `12:30`, and Invoke turns an INVOKE_* variable into
the type of what it replaces. Here each is the text that a person wrote.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invoke.config import Config, merge_dicts, obliterate
from invoke.vendor.yaml import SafeLoader, YAMLError, load

from ..errors import SettingsError

# Weakest first. Source: Config.merge. Invoke keeps the values of each level in private attributes only.
_LEVELS = ("defaults", "collection", "system", "user", "project", "env", "runtime", "overrides", "modifications")


def deploy_part(config: Config) -> Mapping[str, object]:
    """The table under `deploy` in the configuration of a context. SettingsError if it is not a table."""
    merged: dict[str, Any] = {"deploy": {}}
    for level in _LEVELS:
        merge_dicts(merged, _as_written(config, level))
    obliterate(merged, _only_deploy(config._deletions))
    part: Mapping[str, object] = merged.get("deploy", {})
    return part


def check_project_is_read(config: Config, root: Path) -> None:
    """SettingsError if `config` was made without the settings of the project at `root`, as that of `Context()` is:
    without them, another app would be deployed, or to another place."""
    if config._project_found is not None or config.get("deploy"):
        return
    for path in (root / name for name in ("invoke.yaml", "invoke.yml", "invoke.json")):
        if path.is_file() and _only_deploy(yaml_as_written(path)):
            raise SettingsError(
                f"this context was made without {path}, which has settings of deploy-tasks",
                next=f"Read it first: config = Config(project_location={str(root)!r}); config.load_project(); "
                "c = Context(config)",
            )


def _as_written(config: Config, level: str) -> dict[str, Any]:
    loaded = _only_deploy(getattr(config, f"_{level}"))
    if not isinstance(loaded.get("deploy", {}), Mapping):
        raise SettingsError("deploy: in the Invoke configuration is not a table of settings")
    if level == "env":
        return _of_variables(loaded, config._env_prefix)
    path = str(getattr(config, f"_{level}_path", ""))
    return _only_deploy(yaml_as_written(Path(path))) if loaded and path.endswith((".yaml", ".yml")) else loaded


def _only_deploy(values: object) -> dict[str, Any]:
    part = values.get("deploy") if isinstance(values, Mapping) else None
    return {} if part is None else {"deploy": part}


def _of_variables(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """`values` with the text of the variables that Invoke took them from."""
    names = {key: f"{prefix}{key.upper()}" for key in values}
    return {
        key: _of_variables(value, f"{names[key]}_") if isinstance(value, Mapping) else os.environ.get(names[key], value)
        for key, value in values.items()
    }


def yaml_as_written(path: Path) -> Mapping[str, object]:
    """The table in the YAML file at `path`: plain values are text, and only an empty one or `null` is None."""
    try:
        with path.open() as file:
            found = load(file, _AsWritten)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, YAMLError) as error:
        raise SettingsError(f"{path} was changed while it was read ({error})") from error
    return found if isinstance(found, Mapping) else {}


class _AsWritten(SafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012 - never changed
        letter: [rule for rule in rules if rule[0].endswith((":null", ":merge"))]
        for letter, rules in SafeLoader.yaml_implicit_resolvers.items()
    }
