"""Where the value of a setting comes from."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

from ..errors import SettingsError

T = TypeVar("T")


class Source(IntEnum):
    """Where a value may come from. A lower number is stronger."""

    FLAG = 1
    APP_ENVIRONMENT = 2
    """What one app has of its own in an environment: `deploy.apps.<name>.environments.<environment>.<key>`."""
    ENVIRONMENT = 3
    """An environment: `deploy.environments.<environment>.<key>`."""
    APP = 4
    """The configuration of one app: `deploy.apps.<name>.<key>`."""
    VARIABLE = 5
    ENV_FILE = 6
    CONFIG = 7
    RECORD = 8
    GIT = 9
    DEFAULT = 10


CONFIGURED = (Source.APP_ENVIRONMENT, Source.ENVIRONMENT, Source.APP, Source.CONFIG)
"""The levels of the configuration."""


class Origin(NamedTuple):
    """The origin of one value: its source; the place where a person finds it, such as `environment` or the name of a
    `.env` file; and, if there is one, its name there. Its text is what messages show: `shell variable DEPLOY_PORT`."""

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
