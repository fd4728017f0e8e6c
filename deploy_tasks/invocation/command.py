"""What a task does, as data: what it needs, how it plans, and what its plan does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from msgspec import Struct

if TYPE_CHECKING:
    from .work import Work

R_co = TypeVar("R_co", covariant=True)

API = ("api_url", "api_key", "app")
"""What every command that talks to the API needs."""


class Plan(Protocol[R_co]):
    """What a command has decided to do for one app: frozen and complete."""

    def show(self, work: Work, /) -> object:
        """Shows what would be done, for `--dry`. Changes nothing."""

    def execute(self, work: Work, /) -> R_co:
        """Executes the plan, records and reports it; returns the task's result."""


def no_plan(work: Work) -> Plan[None]:
    """The `plan` of a command for the whole checkout, which `run` never calls."""
    raise NotImplementedError(work.call.command.name)


class Command(Struct, Generic[R_co], frozen=True):
    """What a task does for one app.

    The steps are always the same (`invocation/run.py`): settings are loaded and checked for what the command `needs`,
    the lock is taken, the record and `git` complete the settings, `plan` decides what to do or raises an error, and the
    plan is executed. With several apps, each step is done for all of them before the next one begins.
    """

    name: str
    plan: Callable[[Work], Plan[R_co]]
    needs: tuple[str, ...] = API
    """Keys of settings, and `env_from`, `build_args_from`, `files` (`Settings.check`)."""
    from_git: tuple[str, ...] = ("app",)
    """The settings that git may fill in."""
    uses_record: bool = False
    """Whether the record may complete the target."""
    changes: bool = True
    """Whether it builds, deploys or records: then it takes the lock."""
    only_records: bool = False
    """Whether it neither builds nor deploys, so that a protected environment does not ask. Otherwise the task has the
    flag `yes`, and the plan has `lines` (`Guarded`)."""
    builds: bool = False
    """Whether it builds: in a chain, what the deploy needs is then checked before the build starts."""
    joins_again: bool = False
    """Whether the same command again, and not `wait`, picks up a build that it left in flight: it deploys that, too."""
    restores: bool = False
    """Whether the app runs again as it ran before, and not as the settings say."""
    all_or_none: bool = True
    """Whether one app that cannot be planned stops all. If not, as for a wait or a look, the others go on."""
    at_once: int = 12
    """How many of several apps at once, unless a setting says otherwise."""
