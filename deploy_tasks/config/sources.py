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
    APP = 2
    """The configuration of one app: `deploy.apps.<name>.<key>`."""
    VARIABLE = 3
    ENV_FILE = 4
    CONFIG = 5
    RECORD = 6
    GIT = 7
    DEFAULT = 8


_PLACES = {
    Source.FLAG: "flag",
    Source.APP: "configuration",
    Source.VARIABLE: "environment",
    Source.CONFIG: "configuration",
    Source.RECORD: "the record",
    Source.GIT: "git",
    Source.DEFAULT: "default",
}


class Origin(NamedTuple):
    """The origin of one value: its source and, if there is one, its name there. `key` is a flag, a variable, a key of
    the configuration, or the setting that a default follows from. `file` is the name of a `.env` file."""

    source: Source
    key: str = ""
    file: str = ""

    @property
    def place(self) -> str:
        """Where a person finds the value, without its key."""
        return self.file or _PLACES[self.source]

    def __str__(self) -> str:
        """The origin as messages show it, such as `environment DEPLOY_PORT`."""
        of = "of " if self.source is Source.DEFAULT and self.key else ""
        return f"{self.place} {of}{self.key}".rstrip()

    def parsed(self, parse: Callable[[Any], T], value: object) -> T:
        """The result of `parse(value)`. Turns its ValueError into a SettingsError that starts with this origin."""
        try:
            return parse(value)
        except ValueError as error:
            raise SettingsError(f"{self}: {error}") from error


def of_flag(flag: str, parse: Callable[[Any], T], value: object) -> T:
    """The parsed value of a flag that is not a setting, such as `--job`. Raises SettingsError."""
    return Origin(Source.FLAG, flag).parsed(parse, value)
