"""The sources of settings, and the choice of the strongest source for each setting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

from ..errors import SettingsError
from .schema import NOT_GIVEN, Setting

T = TypeVar("T")


class Source(IntEnum):
    """Where a value may come from. A lower number is stronger."""

    FLAG = 1
    APP_ENVIRONMENT = 2
    """One app in one environment: `deploy.apps.<name>.environments.<environment>.<key>`."""
    ENVIRONMENT = 3
    """One environment: `deploy.environments.<environment>.<key>`."""
    APP = 4
    """One app: `deploy.apps.<name>.<key>`."""
    VARIABLE = 5
    ENV_FILE = 6
    CONFIG = 7
    RECORD = 8
    GIT = 9
    DEFAULT = 10


CONFIGURED = (Source.APP_ENVIRONMENT, Source.ENVIRONMENT, Source.APP, Source.CONFIG)
"""The sources that are in the configuration."""


class Origin(NamedTuple):
    """The origin of one value: its source, the place where a person finds it (such as `flag` or the name of a `.env`
    file), and its name there. `str` is what messages show: `shell variable DEPLOY_PORT`."""

    source: Source
    place: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.place} {self.key}".rstrip()

    def parsed(self, parse: Callable[[Any], T], value: object) -> T:
        """The result of `parse(value)`. Turns its ValueError into a SettingsError that starts with this origin."""
        try:
            return parse(value)
        except ValueError as error:
            raise SettingsError(f"{self}: {error}") from error


def of_flag(flag: str, parse: Callable[[Any], T], value: object) -> T:
    """The parsed value of a flag that is not a setting, such as `--job`. Raises SettingsError."""
    return Origin(Source.FLAG, "flag", flag).parsed(parse, value)


class Layer(NamedTuple):
    """The raw values of one source, by the keys of settings. `shown` is the format of a setting's name in messages,
    such as `deploy.{row.key}`."""

    source: Source
    place: str
    shown: str
    values: Mapping[str, object]
    suffix: str = ""
    """The suffix of variables for one environment (`schema.suffix_of`); "" for all environments."""
    is_of_call: bool = False
    """Whether they are only for this call: in the shell, or in the file that DEPLOY_ENV_FILE names."""


def settle(rows: Iterable[Setting], layers: Sequence[Layer]) -> tuple[dict[str, Any], dict[str, Origin]]:
    """The parsed value of each row, from the first of `layers` that has one, and its origin. Raises SettingsError."""
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    default = Origin(Source.DEFAULT, "default")
    for row in rows:
        values[row.key], origins[row.key] = row.default, default
        for layer in layers:
            value = layer.values.get(row.key)
            if value not in NOT_GIVEN:
                origins[row.key] = origin = Origin(layer.source, layer.place, layer.shown.format(row=row))
                values[row.key] = origin.parsed(row.parse, value)
                if row.joined and layer.source in CONFIGURED:
                    values[row.key] = _joined(row, layers)
                break
    return values, origins


def _joined(row: Setting, layers: Sequence[Layer]) -> object:
    """The values of a joined setting from all layers of the configuration, weakest first. If a layer gives a variable a
    value in `env`, the names from weaker layers (as in `env_from`) are dropped."""
    table: dict[str, object] = {}
    items: list[object] = []
    for level in (layer for layer in reversed(layers) if layer.source in CONFIGURED):
        own = settle([row._replace(joined=False)], [level])[0][row.key]
        if row.key == "env":
            table.update(own)
            continue
        with_value: Any = level.values.get("env") or ()
        if row.key != "build_args":
            items = [item for item in items if item not in with_value]
        items += own
    return table or tuple(items)
