"""One call of one task, as it was asked for: its flags, the apps that it means, and what it shares with the other calls
of its command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock, Thread, current_thread
from typing import Any, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from invoke.context import Context

from .. import next_steps
from ..config import apps
from ..config.project import Project
from ..git import Checkout
from ..options import Options
from ..state.records import Record
from .command import Command

R = TypeVar("R")

# Where the calls of one command line find their chain in Invoke's configuration.
_CHAINS = "deploy_chains"
TARGET = ("app", "namespace", "image_name", "app_class")
"""The flags that say which image of which app."""
_KEPT = (*TARGET, "jobs")


class Chain:
    """What the calls of one command line share: the flags that say the target, and what was recorded."""

    def __init__(self) -> None:
        self.target: dict[str, object] = {}
        self.app: str | None = None
        """The apps that the target is of, whether a flag named them or not."""
        self.records: dict[str | None, Record] = {}
        """What was recorded, by the app's name in the table of apps; None if there is no table."""


class _Chains:
    """The chains of one context: each thread of a program has its own, so that none deploys another one's app."""

    _one_at_a_time = Lock()

    def __init__(self) -> None:
        self._of_threads = WeakKeyDictionary[Thread, Chain]()

    @classmethod
    def of(cls, c: Context) -> Chain:
        """The chain of this thread."""
        config: Any = c.config
        with cls._one_at_a_time:
            if not isinstance(config.get(_CHAINS), cls):
                # A change to the configuration outlives the task: Invoke hands the same one to all of a command line.
                config[_CHAINS] = cls()
            chains: _Chains = config[_CHAINS]
            return chains._of_threads.setdefault(current_thread(), Chain())


@dataclass(frozen=True)
class Call(Generic[R]):
    """One call of one task.

    `options` are its flags, with the target that an earlier call of the command line was given; `given` are those of
    those whose value is not the default.
    """

    c: Context
    command: Command[R]
    options: Options
    given: Mapping[str, object]
    project: Project
    checkout: Checkout
    chain: Chain

    @classmethod
    def of(cls, c: Context, command: Command[R], options: Mapping[str, object]) -> Call[R]:
        """The call of `command` with `options`. SettingsError if the project's configuration cannot be used."""
        flags = {key: value for key, value in options.items() if key != "c"}
        if isinstance(flags.get("app"), list | tuple):
            flags["app"] = ",".join(cast("list[str]", flags["app"]))
        project, chain = Project.of(c), _Chains.of(c)
        flags.update(_target(chain, flags))
        usual = next_steps.current().usual
        given = {key: value for key, value in flags.items() if value not in (None, [], usual.get(key))}
        return cls(c, command, cast(Options, flags), given, project, Checkout(project.root), chain)

    @property
    def is_dry(self) -> bool:
        """Whether Invoke's `--dry` was given."""
        return bool(self.c.config.run.dry)

    @property
    def carried_over(self) -> dict[str, object]:
        """The target flags of this call, which also hold for the later calls of its command line."""
        return {key: self.given[key] for key in _KEPT if key in self.given}

    def keep_target(self, apps_meant: str | None) -> None:
        """From now on the later calls of the command line have this call's target, which is of `apps_meant`."""
        self.chain.app = self.options.get("app") or apps_meant
        self.chain.target = self.carried_over


def _target(chain: Chain, flags: Mapping[str, object]) -> dict[str, object]:
    """The target for a call with `flags`: what they do not say, earlier calls do, unless those were of another app."""
    given = {key: flags[key] for key in _KEPT if flags.get(key)}
    is_of_another = "app" in given and not apps.are_among(str(given["app"]), chain.app)
    return {**({} if is_of_another else chain.target), **given}
