"""One call of one task, as it was asked for: its flags, the apps that it means, and what it shares with the other calls
of its command line."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock, Thread, current_thread
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from invoke.context import Context

from .. import next_steps
from ..config import apps
from ..config.project import Project
from ..git import Checkout
from ..state.records import Record

# The part of the Invoke configuration that the calls of one command line share. `deploy` is the user's, this is ours.
_CHAINS = "deploy_chains"
TARGET = ("app", "namespace", "image_name", "app_class")
_HELD = (*TARGET, "jobs")


class Chain:
    """What the calls of one command line share: the flags that say the target and how many apps at once, and what was
    recorded, by the app's name in the table of apps ("" where there is none)."""

    def __init__(self) -> None:
        self.target: dict[str, Any] = {}
        self.app: str | None = None
        """Which apps the target is of, by a flag or not."""
        self.records: dict[str, Record] = {}


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


class Call(NamedTuple):
    """One call of one task, for one app; for several apps, that many of them, which share all but their `name`.

    `flags` are those of the call, with the target that an earlier call of the command line was given; `given` are those
    of them that are not as declared.
    """

    c: Context
    task: str
    flags: Mapping[str, Any]
    given: Mapping[str, Any]
    project: Project
    chain: Chain
    checkout: Checkout
    name: str | None = None
    """The app's name in the table of apps; None where there is no such table."""
    is_of_several: bool = False
    jobs: int | None = None
    """How many of them at once; None where nobody says."""

    @classmethod
    def of(cls, c: Context, task: str, flags: Mapping[str, Any], declared: Mapping[str, Any] | None = None) -> Call:
        """The call as such, before its apps are known; `declared` are the flags' defaults. SettingsError where the
        configuration cannot be used."""
        if isinstance(flags.get("app"), list | tuple):
            flags = {**flags, "app": ",".join(flags["app"])}
        chain = _Chains.of(c)
        project = Project.of(c)
        target = _target_with(chain, flags)
        all_flags = {**flags, **target}
        usual = declared or {}
        given = {key: value for key, value in all_flags.items() if value not in (None, [], usual.get(key))}
        return cls(c, task, all_flags, given, project, chain, Checkout(project.root))

    def of_each(self) -> list[Call]:
        """This call for each of the apps that it means. SettingsError where that cannot be told."""
        names, is_several, jobs = self.project.chosen(self.flags)
        if names is None:
            return [self]
        return [self._replace(name=name, is_of_several=is_several, jobs=jobs) for name in names]

    @property
    def needs_to_deploy(self) -> tuple[str, ...]:
        """What a build asks for beyond its own needs: nothing is built for a deploy that cannot be."""
        if self.name or self.task == "local-deploy":
            return ("port", "env_from", "cloned_files")
        deploy = next_steps.later_call("reuse", "local-deploy")
        # What flags say of the app is asked of the call that they belong to.
        return ("port", "env_from") if deploy and not {"port", "env"} & deploy.given.keys() else ()

    def of_all_apps(self) -> Call:
        """This call for what is of all apps."""
        return self._replace(name=None, flags={**self.flags, "app": None}) if self.project.table else self

    def hold_target(self, app: str | None = None) -> None:
        """From now on the later calls of the command line have this call's target; `app` says which apps it is of."""
        self.chain.app = self.flags.get("app") or app
        self.chain.target.clear()
        self.chain.target.update(self.held)

    @property
    def held(self) -> dict[str, Any]:
        """The flags of this call that hold for the later ones of its command line, too."""
        return {key: self.flags[key] for key in _HELD if self.flags.get(key)}


def _target_with(chain: Chain, flags: Mapping[str, Any]) -> dict[str, Any]:
    """The target flags that hold for a call with `flags`: of those of earlier calls too, unless it is of another app
    than those."""
    given = {key: flags[key] for key in _HELD if flags.get(key)}
    earlier = chain.target
    if "app" in given and not apps.are_among(given["app"], chain.app):
        earlier = {}
    return {**earlier, **given}
