"""The work of a command for one app: its settings, checkout, state, API client, and progress."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from functools import cache, cached_property, partial
from threading import Lock

from msgspec.structs import asdict, replace

from ..api.client import DeployClient
from ..config.sources import Source
from ..deploy_config import APP_CLASSES
from ..encoding import encode, fields_of
from ..errors import SettingsError, StateError
from ..next_steps import Step
from ..options import TARGET
from ..signals import in_background
from ..state import lock
from ..state.files import State
from ..state.history import History
from ..state.records import BuildInFlight, HistoryEntry, Record, Target, timestamp, who
from ..ui import console, github
from ..ui.console import LOG
from .call import Call, Place
from .command import Effect, Traits
from .interruption import Interruptible, Interruption, Remaining
from .needs import needs_of_build, warn
from .running import Look
from .suggestions import REPEATED, target_flags

_GIT_FACTS = {"app": "app", "repo_url": "repo_url", "git_ref": "commit"}


class Work(Interruptible):
    """The work of one command for one app. `complete` fills in its settings from the record and git.

    It is for the selected environment, or for another `environment`, where flags do not count. SettingsError names
    everything that the command needs and that is missing.
    """

    def __init__(
        self, call: Call, name: str | None, *, is_of_several: bool = False, environment: str | None = None
    ) -> None:
        self.call, self.options, self.checkout = call, call.options, call.checkout
        self.name = name
        """The app's name in the table of apps; None if there is no table."""
        self.is_of_several = is_of_several
        self.results: list[tuple[list[str], object]] = []
        self.interruption, self.remaining, self.writing = Interruption(), Remaining.AGAIN, Lock()
        self.look, self._is_locked = Look(self), False
        self.awaited: BuildInFlight | None = None
        """The build that was in flight when this run began to wait for another run's lock."""
        self.shown: set[str] = set()
        """The lines of the plan that a person has seen."""
        self.recorded_in_chain: Record | None = None
        """What this command line (the chain) has recorded for the image."""
        self.record: Record | None = None
        """The record, once the settings are complete: that of this command line, else that of the state file."""
        self.settings = call.project.load(name, call.options, environment=environment)
        self.again = self.step(call.command.name, "Try again")
        """The step that repeats this call."""
        self.state = state = State(self.settings.state_file, self.settings.environment)
        files = (state.path, state.in_flight_path, state.history_path)
        present = [path for path in files if os.path.exists(path)]  # noqa: PTH110 - it may be too long
        # git runs while the rest is loaded.
        self._tracked = cache(in_background(partial(self.checkout.tracked, present)))
        self._facts = {key: partial(getattr, self.checkout, _GIT_FACTS[key]) for key in call.command.from_git}
        is_build = call.command.effect is Effect.BUILDS
        self._needs = needs = needs_of_build(call, name) if is_build else call.command.needs
        self._given = [text.partition("=")[0] for text in self.options.get("env") or [] if "=" in text]
        # The record or git may still provide some settings. They are reported only along with another missing one.
        try:
            self.settings.check(*(need for need in needs if need not in _GIT_FACTS), given=self._given)
        except SettingsError:
            self.settings = self.settings.completed({}, self._facts)
            self.settings.check(*needs, given=self._given, trouble=self.checkout.trouble)
        warn(call, self.settings)

    @classmethod
    def of_all_apps(cls, call: Call) -> Work:
        """The work of a command for the whole checkout, such as `doctor`."""
        return cls(replace(call, options={**call.options, "app": None}) if call.project.table else call, None)

    def elsewhere(self, environment: str) -> Work:
        """The work for reading this app's state in another environment. SettingsError if there is no environment of
        this name, or if a setting for its API is missing."""
        # Suggested commands name the current task.
        look = Traits(self.call.command.name, uses_record=True, effect=Effect.LOOKS)
        call = replace(self.call, command=look)
        work = Work(call, self.name, is_of_several=self.is_of_several, environment=environment)
        work.again = self.again
        if work.state.path == self.state.path:  # another environment may have another
            work.state = self.state.elsewhere(environment)
        work.complete()
        return work

    def new_client(self) -> DeployClient:
        """A new API client. Each thread needs its own: sessions of requests are not documented as thread-safe."""
        settings, by = self.settings, os.environ.get("GITHUB_ACTOR") or who()
        key_from, log = str(settings.origins["api_key"]), console.log if os.environ.get("DEPLOY_DEBUG") else LOG.debug
        return DeployClient(
            settings.api_url, settings.api_key, timeout=settings.api_timeout, key_from=key_from, by=by, log=log
        )

    client = cached_property(new_client)

    def lock(self, *, seconds: float | None = None, if_used: bool = False) -> bool:
        """Locks the state, so that only this run writes it and deploys from it. Waits up to `seconds` (default: the
        setting) for another run. With `if_used`, does nothing if there is no lock file yet: a command that fails
        before it changes anything leaves no file. Returns whether another run may have changed what was read before.
        Raises Locked or StateError; then nothing was started."""
        path, task = self.state.lock_path, self.call.command.name
        if self._is_locked or (if_used and not os.path.exists(path)):  # noqa: PTH110 - it may be too long
            return False

        def tell(text: str) -> None:
            # Not in `self.state`, which would keep it: it changes during the wait.
            self.awaited = State(self.settings.state_file, self.settings.environment).in_flight()
            console.tell(text)

        seconds = self.settings.lock_timeout if seconds is None else seconds
        again = self.step(task, "Wait for it", lock_timeout=600)
        try:
            self.state.check_writable()
            was_used = not if_used and os.path.exists(path)  # noqa: PTH110 - it may have appeared since `if_used`
            has_waited = lock.take(path, task, self.settings.cluster, seconds=seconds, tell=tell, again=again)
        except StateError as error:
            another_place = "Set DEPLOY_STATE_FILE to use another place"
            raise StateError(error.what, "Nothing was started", [*error.next, another_place]) from error
        self._is_locked = True
        self.state.sweep()
        if has_waited or was_used:
            self.state = State(self.settings.state_file, self.settings.environment)
            self.look = Look(self)
        return has_waited or was_used

    def complete(self) -> None:
        """Completes the settings from the record, if the command uses it, then from git. SettingsError names what is
        still missing; StateError if the state cannot be used."""
        # A tracked state file may record another machine's builds, and lets anyone who can push choose what is
        # deployed.
        if tracked := self._tracked():
            names = " ".join(shlex.quote(str(path)) for path in tracked)
            raise StateError(
                f"{tracked[0]} is tracked by git, so it may come from another machine",
                "Nothing was sent",
                f"Untrack it and commit that (the file stays here): git rm --cached {names}",
            )
        known, in_chain = self.state.record(), self.call.chain.records.get(self.name)
        record = in_chain or known
        uses_record = record is not None and self.call.command.uses_record
        recorded = {key: getattr(record, key) for key in (*TARGET, "environment")} if uses_record else {}
        self.settings = settings = self.settings.completed(recorded, self._facts)
        settings.check(*self._needs, given=self._given, trouble=self.checkout.trouble)
        if in_chain and in_chain.image_name == settings.get("image_name"):
            self.recorded_in_chain = in_chain
        self.record = self.recorded_in_chain or known
        self.place = Place(settings.environment, settings.namespace, settings.get("app"))
        # Other scripts may deploy to other namespaces than those of the app classes. Then the app would run in two.
        expected = {None, settings.namespace, *APP_CLASSES.values()}
        is_default = settings.origins["namespace"].source is Source.DEFAULT
        if is_default and known and known.app == settings.get("app") and known.namespace not in expected:
            console.warn(
                f"{known.app} was recorded in namespace {known.namespace}, but this command uses {settings.namespace}; "
                f"to keep {known.namespace}: --namespace {known.namespace}, or namespace under deploy: in invoke.yaml"
            )

    @property
    def history(self) -> History:
        """The history of this cluster and environment."""
        return History(self.state.history_file.entries, self.settings.api_url, self.settings.environment)

    def remember(self, record: Record) -> None:
        """Passes `record` to the later tasks of this command line."""
        self.call.chain.records[self.name] = self.recorded_in_chain = self.record = record

    def note(self, outcome: str, record: Record, **more: object) -> HistoryEntry:
        """Adds an entry to the history: the image of `record`, the `outcome`, and `more` fields of HistoryEntry.
        Returns the entry."""
        place = {"api_url": self.settings.api_url, "environment": self.settings.environment}
        fields = {**asdict(record), **more, **place}
        what = self.call.command.name
        entry = HistoryEntry(**fields, time=timestamp(), who=who(), what=what, outcome=outcome)
        self.state.history_file.append(entry)
        return entry

    def result(
        self, text: str | list[str], details: object, title: str = "", outputs: Mapping[str, str] | None = None
    ) -> None:
        """Reports the task's result for this app: `text` (one or more lines) for people and scripts, `details` for
        `--json`, and on GitHub the `outputs` of the step, under `title` in its summary."""
        if outputs and console.is_on_github():
            named = {**outputs, "environment": self.settings.environment} if self.settings.environment else outputs
            if self.is_of_several:
                named = {f"{self.name}-{key}": value for key, value in named.items()}
            github.outputs(title, named)
        lines = [text] if isinstance(text, str) else text
        if self.is_of_several:
            self.results.append((lines, details))
        else:
            console.result(lines, details, as_json=self.options["json"])

    def step(self, task: str, says: str = "", *, continues: bool | None = None, **flags: object) -> Step:
        """The command that runs `task` for this app. It repeats all flags of this call if it is the same task, else
        those of the target. If it `continues` (default: if it is the same task), the later calls of this command line
        follow; with several apps, only the summary names them."""
        given, is_same = self.call.given, task == self.call.command.name
        named = (*TARGET, *given) if is_same else REPEATED.get(task, TARGET)
        if self.settings.environment == self.call.environment:
            kept = target_flags(self.settings, keys=[key for key in TARGET if key in named])
            kept |= {key: given[key] for key in named if key in given and key not in TARGET}
        else:  # flags do not count there
            kept = {"app": self.name, "environment": self.settings.environment}
        continues = is_same if continues is None else continues
        return Step(task, {**kept, **flags}, says, continues and not self.is_of_several)

    def pretend(self, target: Target) -> Record:
        """With `--dry`, lets later tasks continue as if `target` had been built, with a placeholder for its digest."""
        digest = f"<digest of {target.image_name}:{target.image_tag}>"
        record = Record(**fields_of(target, Target), build_id=digest)
        self.remember(record)
        return record

    def would_send(self, method: str, path: str, body: object = None) -> None:
        """Shows a request that is not sent because of `--dry`."""
        text = f" {encode(body).decode()}" if body is not None else ""
        console.tell(f"dry run, not sent: {method} {self.settings.api_url}{path}{text}")
