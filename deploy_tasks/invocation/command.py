"""The type of a command: what it needs, how it plans, and what its plan does."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from msgspec import Struct

if TYPE_CHECKING:
    from .work import Work

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

API = ("api_url", "api_key", "app")
"""What every command that talks to the API needs."""
TO_DEPLOY = ("port", "env_from")
"""What a deploy needs in addition."""
FROM_CHECKOUT = ("app", "repo_url", "git_ref")
"""The settings of a build that git may fill in."""


class Effect(IntEnum):
    """What a task does; a higher one includes the lower ones."""

    LOOKS = 0
    RECORDS = 1
    BUILDS = 2
    DEPLOYS = 3


class Plan(Protocol[R_co]):
    """What a command will do for one app: frozen and complete."""

    def show(self, work: Work, /) -> object:
        """Shows the plan, for `--dry`. Changes nothing."""

    def execute(self, work: Work, /) -> R_co:
        """Executes the plan, records and reports it; returns the task's result."""


class Results(Struct, Generic[R], frozen=True):
    """The results of a command by app: its name in the table of apps, or in the cluster if there is no table."""

    by_app: dict[str, R]
    is_several: bool = False
    """Whether several apps were asked for, such as `all`, even if only one has a result."""


class Traits(Struct, frozen=True):
    """What a task needs and what it does, as far as that is known before it plans."""

    name: str
    needs: tuple[str, ...] = API
    """Keys of settings, and `env_from`, `build_args_from`, `files` (`Settings.check`)."""
    from_git: tuple[str, ...] = ("app",)
    """The settings that git may fill in."""
    uses_record: bool = False
    """Whether the record may complete the target: app, namespace, image name, app class."""
    effect: Effect = Effect.DEPLOYS
    """What the task does. If it does more than look, it takes the lock. If it builds or deploys, it has the flag `yes`,
    and its plan has `lines` (`Guarded`)."""
    restores: bool = False
    """Whether it restores how the app ran before, in place of the current settings."""


class Command(Traits, Generic[R_co], frozen=True, kw_only=True):
    """What a task does for one app.

    `invocation/run.py` takes the same steps for every command: it loads the settings and checks what the command
    `needs`, takes the lock, completes the settings from the record and git, calls `plan`, and executes the plan. With
    several apps, each step is done for all apps before the next one begins.
    """

    plan: Callable[[Work], Plan[R_co]]
    all_or_none: bool = True
    """Whether an error in one app's plan stops all apps. If not, the others continue."""
    at_once: int = 12
    """How many apps run at once, unless a setting says otherwise."""
