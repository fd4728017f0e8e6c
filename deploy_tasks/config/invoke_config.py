"""The `deploy` part of Invoke's configuration, with every value as the text that a person wrote.

YAML turns `NO` into false, `0755` into 493, `1.10` into 1.1 and `12:30` into 750, and Invoke casts an INVOKE_* variable
to the type of the value that it replaces.
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
_YAML = (".yaml", ".yml")


def deploy_part(config: Config, root: Path, *, without_variables: bool = False) -> Mapping[str, object]:
    """The table under `deploy` in a context's configuration, optionally without INVOKE_* variables.

    SettingsError if it is not a table, or if the context was made without the settings of the project at `root`, like
    `Context()`: without them, another app would be deployed, or to another place.
    """
    if config._project_found is None and not config.get("deploy"):
        for path in (root / name for name in ("invoke.yaml", "invoke.yml", "invoke.json")):
            if path.is_file() and _in_yaml(path) is not None:
                raise SettingsError(
                    f"this context was made without {path}, which has settings of deploy-tasks",
                    next=f"Read it first: config = Config(project_location={str(root)!r}); config.load_project(); "
                    "c = Context(config)",
                )
    merged: dict[str, object] = {}
    for level in _LEVELS:
        loaded: Any = getattr(config, f"_{level}") or {}  # Invoke has None for an empty file
        part = loaded.get("deploy")
        if part is None or (level == "env" and without_variables):
            continue
        if not isinstance(part, Mapping):
            raise SettingsError("deploy: in the Invoke configuration is not a table of settings")
        path = Path(getattr(config, f"_{level}_path", None) or "")
        if level == "env":
            part = _of_variables(part, f"{config._env_prefix}DEPLOY_")
        elif path.suffix in _YAML:
            part = _in_yaml(path)
        merge_dicts(merged, part)
    obliterate(merged, config._deletions.get("deploy") or {})
    return merged


def tables_of(part: object) -> dict[str, Mapping[str, object]]:
    """The table `part` under `deploy` and those of its environments, by their paths; without what is not a table."""
    parts = {"deploy": part}
    if isinstance(part, Mapping) and isinstance(environments := part.get("environments"), Mapping):
        parts |= {f"deploy.environments.{name}": entry for name, entry in environments.items()}
    return {path: table for path, table in parts.items() if isinstance(table, Mapping)}


def _of_variables(values: Mapping[str, object], prefix: str) -> dict[str, object]:
    """`values` as the original text of their variables, without empty ones."""
    found: dict[str, object] = {}
    for key, value in values.items():
        name = f"{prefix}{key.upper()}"
        text = _of_variables(value, f"{name}_") if isinstance(value, Mapping) else os.environ.get(name, value)
        if text != "":
            found[key] = text
    return found


def _in_yaml(path: Path) -> Any:  # any value of YAML
    """The content of `deploy` in the YAML file at `path`. Plain values stay text; only an empty one or `null` is
    None."""
    try:
        with path.open() as file:
            found = load(file, _AsWritten)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, YAMLError) as error:
        raise SettingsError(f"{path} was changed while it was read ({error})") from error
    return found.get("deploy") if isinstance(found, Mapping) else None


class _AsWritten(SafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012 - never changed
        letter: [rule for rule in rules if rule[0].endswith((":null", ":merge"))]
        for letter, rules in SafeLoader.yaml_implicit_resolvers.items()
    }
