"""One call of one task: its flags, its apps, and what it shares with the other calls of its command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock, Thread, current_thread
from typing import Any, NamedTuple, cast
from weakref import WeakKeyDictionary

from invoke.context import Context
from msgspec import Struct

from .. import next_steps
from ..config import apps
from ..config.project import Project
from ..git import Checkout
from ..options import TARGET, Options
from ..state.records import Record
from ..ui import console
from .command import Effect, Traits
from .running import Running

# The key of Invoke's configuration under which the calls of one command line find their chains.
_CHAINS = "deploy_chains"
_one_at_a_time = Lock()
_PLACE = ("namespace", "app_class")


class Place(NamedTuple):
    """Where an app runs."""

    environment: str | None
    namespace: str
    app: str | None


class Chain(Struct):
    """What the calls of one command line share, such as the flags of the target and the records."""

    target: Mapping[str, object] = {}
    app: str | None = None
    """The apps that the target belongs to, separated by commas, even if no flag named them."""
    environment: str | None = None
    """The environment of the last call, to which the target belongs."""
    records: dict[str | None, Record] = {}
    """What was recorded, by the app's name in the table of apps (None without a table)."""
    confirmed: set[str | None] = set()
    """The protected environments that a person, or `--yes`, has confirmed."""
    seen: dict[Place, Running] = {}
    """What ran at each place at the confirmation, or what this command line has deployed there since."""
    warned: set[str] = set()
    """The warnings that were written."""


class Call(Struct, frozen=True):
    """One call of one task.

    `options` are its flags, completed with the target of an earlier call of the command line. `given` are the flags
    that differ from their defaults, `target` those that later calls inherit.
    """

    c: Context
    command: Traits
    options: Options
    given: Mapping[str, object]
    target: Mapping[str, object]
    project: Project
    environment: str | None
    """The selected environment."""
    checkout: Checkout
    chain: Chain
    is_dry: bool
    """Whether Invoke's `--dry` was given."""

    @classmethod
    def of(cls, c: Context, command: Traits, options: Mapping[str, object]) -> Call:
        """The call of `command` with `options`. SettingsError if the project's configuration is invalid."""
        config: Any = c.config
        with _one_at_a_time:
            # All calls of a command line share one configuration of Invoke. Invoke copies its values, but not the
            # content of a tuple.
            (chains,) = config.setdefault(_CHAINS, (WeakKeyDictionary[Thread, Chain](),))
            # Each thread of a program has a chain of its own, so that none deploys another thread's app.
            chain: Chain = chains.setdefault(current_thread(), Chain())
        console.warned.set(chain.warned)
        flags = {key: value for key, value in options.items() if key != "c"}
        if isinstance(flags.get("app"), list | tuple):
            flags["app"] = ",".join(cast("list[str]", flags["app"]))
        if flags.get("environment") is None:
            flags["environment"] = chain.environment
        project = Project.of(c, cast("str | None", flags["environment"]))
        environment, line = project.environment, next_steps.current_command_line.get()
        # From now on, suggested commands name this environment.
        next_steps.current_command_line.set(line._replace(environment=environment))
        if line.later and flags["environment"] is None and command.effect > Effect.LOOKS:
            _warn_of_others(line.later, command.name, environment)
        if environment != chain.environment:
            # Set now: even if this call fails, a later one must not go to the default environment. An app may have
            # another namespace and class in another environment.
            chain.environment = environment
            chain.target = {key: value for key, value in chain.target.items() if key not in _PLACE}
        # Missing flags of the target come from earlier calls, unless those were for another app.
        is_of_another = flags.get("app") and not apps.are_among(str(flags["app"]), chain.app)
        earlier = {} if is_of_another else chain.target
        target = {key: found for key in (*TARGET, "jobs") if (found := flags.get(key) or earlier.get(key))}
        flags.update(target)
        # Suggested commands name the environment anyway, whichever source selected it.
        given = {key: value for key, value in flags.items() if value not in (None, [], line.defaults.get(key))}
        given.pop("environment", None)
        checkout, is_dry = Checkout(project.root), bool(c.config.run.dry)
        return Call(c, command, cast(Options, flags), given, target, project, environment, checkout, chain, is_dry)

    def keep_target(self, apps_meant: str | None) -> None:
        """Makes later calls of the command line inherit this call's target, which belongs to `apps_meant`."""
        self.chain.app = self.options.get("app") or apps_meant
        self.chain.target = self.target


def _warn_of_others(later_ones: Sequence[next_steps.Parsed], task: str, environment: str | None) -> None:
    """Warns if the current task names no environment and a later one of this command line names another: `-E` counts
    only for its own task and those after it."""
    later = next((one for one in later_ones if one.given.get("environment")), None)
    if later and (other := later.given["environment"]) != environment:
        here = f"in {environment}, the default" if environment else "in no environment"
        console.warn(
            f"only {later.name} and what follows it run in {other}; {task} runs {here}. To run it in {other} too, put "
            f"-E {other} after {task}"
        )
