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
_YAML = (".yaml", ".yml")


def deploy_part(config: Config, root: Path, *, without_variables: bool = False) -> Mapping[str, object]:
    """The table under `deploy` in the configuration of a context, or only that which INVOKE_* variables did not change.

    SettingsError if it is not a table; also if the context was made without the settings of the project at `root`, as
    `Context()` is: without them, another app would be deployed, or to another place.
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


def _of_variables(values: Mapping[str, object], prefix: str) -> dict[str, object]:
    """`values` with the text of the variables that Invoke took them from, without those that are empty."""
    found: dict[str, object] = {}
    for key, value in values.items():
        name = f"{prefix}{key.upper()}"
        text = _of_variables(value, f"{name}_") if isinstance(value, Mapping) else os.environ.get(name, value)
        if text != "":
            found[key] = text
    return found


def _in_yaml(path: Path) -> Any:  # any value of YAML
    """What the YAML file at `path` has under `deploy`: plain values are text, and only an empty one or `null` is
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
