"""What a call does for one app: its settings, and what it works with."""

from __future__ import annotations

import getpass
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any

from .. import next_steps
from ..api.client import DeployClient
from ..app_class import APP_CLASSES, namespace_of
from ..config.schema import SECRETS
from ..config.settings import Settings
from ..config.sources import Source
from ..encoding import encode, fields_of
from ..errors import Interrupted, StateError
from ..signals import signal_number, undivided
from ..state import lock
from ..state.files import State
from ..state.records import HistoryEntry, Record, Target, timestamp
from ..ui import console, github
from .call import TARGET, Call

# What is left to do for an app that did not come to its end: the same again, to wait for its build in the cluster, to
# build it again, to look what became of it, or nothing.
AGAIN, WAIT, BUILD, LOOK, NOTHING = "again", "wait", "build", "look", "nothing"
API = ("api_url", "api_key", "app")
"""What every task needs that talks to the API."""
_OF_BUILD = (*TARGET, "image_tag", "dockerfile", "build_context")
_SECONDS_TO_WRITE = 2.0


class Run:
    """What a call does for its app: its settings, and what it works with. Made by `begin`."""

    def __init__(self, call: Call, settle: Callable[[], Settings], *, from_record: bool) -> None:
        self.call = call
        self._from_record = from_record
        self._settle = settle
        self.settings = settle()
        self.checkout = call.checkout
        self.state = State(self.settings.state_file)
        self.dry: bool = call.c.config.run.dry
        self.if_interrupted = "stopped; nothing was started"
        self.results: list[tuple[list[str], object]] = []
        self._undivided = Lock()
        self.left = AGAIN
        self.when_interrupted: Callable[[], object] = lambda: None
        """What is to be noted of an interrupt, before it ends the run."""

    @cached_property
    def client(self) -> DeployClient:
        return self.new_client()

    @property
    def is_unlocked(self) -> bool:
        """Whether what is recorded now is what will be decided from: no other run is to be waited for."""
        return not self.settings.lock_timeout or not self.state.lock_path.exists()

    def lock_before_deciding(self) -> None:
        """As `lock`, for what is decided from the record: another run may be about to write it. Where none ever ran
        there is nothing to wait for, and nothing is made there that may not be needed."""
        if not self.dry and self.state.lock_path.exists():
            self.lock()

    def lock(self, within: float | None = None) -> None:
        """Makes this run the only one that writes the state and deploys from it, until the process ends; `within` so
        many seconds (those of the settings). Locked or StateError otherwise: nothing was started then."""
        self.state.check_writable()
        path, seconds = self.state.lock_path, self.settings.lock_timeout if within is None else within
        if lock.take(path, self.call.task, seconds=seconds, tell=console.tell):
            self.state.sweep()
            if self._from_record:  # what another run recorded until now counts
                self.settings = self._settle()

    def note(self, outcome: str, record: Record, **built: Any) -> None:
        """Adds to the history what became of the image of `record`; `built` are HistoryEntry's fields of a build."""
        fields = {**fields_of(record, Record), **built, "api_url": self.settings.known("api_url")}
        self.state.append(HistoryEntry(**fields, time=timestamp(), who=_who(), what=self.call.task, outcome=outcome))

    def history(self) -> Iterator[HistoryEntry]:
        """The history of this cluster, newest first; a line that does not say of which it is may be of any."""
        return (entry for entry in self.state.history() if entry.api_url in (None, self.settings.known("api_url")))

    def new_client(self) -> DeployClient:
        """Another one, for a thread of its own: requests does not say that its sessions can be shared."""
        settings = self.settings
        url, key = settings.api_url, settings.api_key
        key_from = settings.origins["api_key"].place

        def command(words: str) -> str:
            # After a look, nothing follows unseen.
            return (
                self.command(words) if words.partition(" ")[0] in ("history", "logs", "status") else self.go_on(words)
            )

        return DeployClient(url, key, timeout=settings.api_timeout, command=command, key_from=key_from)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within it, an interrupt says `if_interrupted`: what it means for the build."""
        try:
            yield
        except KeyboardInterrupt as interrupt:
            self.note_interrupt()
            raise Interrupted(self.if_interrupted, signal_number(interrupt)) from interrupt

    def note_interrupt(self) -> None:
        """Notes what an interrupt leaves behind, once what another thread does `undivided` is done or takes long."""
        if self._undivided.acquire(timeout=_SECONDS_TO_WRITE):
            self._undivided.release()
        with suppress(StateError):
            self.when_interrupted()

    def check_awaited(self) -> None:
        """Interrupted where nobody waits for this app any more: nothing more is started for it."""
        if console.nobody_waits()():
            raise Interrupted(self.if_interrupted)

    @contextmanager
    def undivided(self) -> Iterator[None]:
        """What is done within it is done to its end, before an interrupt counts."""
        with undivided(), self._undivided:
            yield

    @property
    def recorded_here(self) -> Record | None:
        """What an earlier task of this command line recorded for the image."""
        record = self.call.chain.records.get(self.call.name or "")
        return record if record and record.image_name == self.settings.known("image_name") else None

    @property
    def record(self) -> Record | None:
        """The record to go by: this command line's, else the file's, which another process may have written since."""
        return self.recorded_here or self.state.record()

    def remember(self, record: Record) -> None:
        """Hands `record` to the later tasks of this command line."""
        self.call.chain.records[self.call.name or ""] = record

    def result(self, text: str | list[str], details: object) -> None:
        """The task's result for this app: `text`, one line or several, for people and scripts, `details` for
        `--json`."""
        lines = [text] if isinstance(text, str) else text
        if self.call.is_of_several:
            self.results.append((lines, details))
        else:
            console.result(lines, details, as_json=self.call.flags["json"])

    def command(self, words: str) -> str:
        """The command that runs a task for this app: `words` are its name and what follows it; with the flags of this
        call where it is the same task, else with those that say what is built and where: without them it is another."""
        task = words.partition(" ")[0]
        keys = {"history": TARGET[:1], "logs": TARGET[:1], "build": _OF_BUILD, "local": _OF_BUILD}.get(task, TARGET)
        given = self.call.given
        flags = {**given} if words == self.call.task else {key: given[key] for key in keys if key in given}
        return next_steps.line(words, {**flags, **({"app": self.call.name} if self.call.name else {})})

    def go_on(self, words: str) -> str:
        """As `command`, for a task that takes the place of this call: what must follow on this command line follows."""
        return self.command(words) + self.rest

    @property
    def rest(self) -> str:
        """What must follow on this command line after this call; of several apps, their sum says it."""
        return "" if self.call.is_of_several else next_steps.rest()

    def output(self, title: str, values: Mapping[str, str]) -> None:
        """Makes `values` outputs of the step where GitHub runs this; of several apps, with the app's name before."""
        named = {f"{self.call.name}-{key}": value for key, value in values.items()}
        github.outputs(title, named if self.call.is_of_several else values)

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """What is told within it can be folded away there; not of several apps, whose lines are mixed."""
        with nullcontext() if self.call.is_of_several else github.group(title):
            yield

    def pretend(self, target: Target) -> None:
        """With `--dry`, lets the later tasks go on as if `target` had been built; its digest is nobody's yet."""
        digest = f"<digest of {target.image_name}:{target.image_tag}>"
        self.remember(Record(**fields_of(target, Target), build_id=digest))

    def would_send(self, method: str, path: str, body: object = None) -> None:
        """Shows a request that `--dry` keeps from being sent."""
        text = f" {encode(body).decode()}" if body is not None else ""
        console.tell(f"dry run, not sent: {method} {self.settings.api_url}{path}{text}")


class Act:
    """What a task does for one app, once it is known that it can: `do` returns the task's value."""

    def __init__(self, run: Run, do: Callable[[], Any]) -> None:
        self.run = run
        self.do = do


def begin(call: Call, *, needs: Sequence[str] = (), git: Sequence[str] = (), from_record: bool = False) -> Run:
    """Gathers what `call` works with.

    `needs` names what the task cannot do without (see `Settings.check`), `git` those settings that the checkout may
    fill in; with `from_record` the record may fill in the target. Raises SettingsError, and StateError where the state
    file is unusable: before anything is sent.
    """
    checkout, name = call.checkout, call.name

    def recorded(state_file: Path) -> Mapping[str, object]:
        # Read in any case: a file that is no record is refused before anything is sent.
        known = call.chain.records.get(name or "") or State(state_file).record()
        return {key: getattr(known, key) for key in TARGET} if known and from_record else {}

    def settle() -> Settings:
        loaded = call.project.load(name, call.flags)
        settled = loaded.completed(
            recorded(loaded.state_file), {key: partial(getattr, checkout, _GIT_FACT[key]) for key in git}
        )
        _require(call, settled, needs)
        return settled

    run = Run(call, settle, from_record=from_record)
    _check_own_state(run)
    _warn(call, run.settings)
    _warn_of_another_namespace(run.settings, run.state.record())
    return run


def _check_own_state(run: Run) -> None:
    """StateError where git tracks a state file: what another machine recorded is not what was built or deployed from
    here, and whoever may push could choose what is deployed."""
    state = run.state
    there = [path for path in (state.path, state.in_flight_path, state.history_path) if path.exists()]
    if tracked := run.checkout.tracked(there) if there else []:
        names = " ".join(shlex.quote(str(path)) for path in tracked)
        raise StateError(
            f"{tracked[0]} is tracked by git, so it may come from another machine. Nothing was sent. Take it out of "
            f"git and commit that: git rm --cached {names}. The file stays here"
        )


def _warn_of_another_namespace(settings: Settings, record: Record | None) -> None:
    """Other scripts have other namespaces than those of the app classes, and one app shall not run in two unseen."""
    usual = {None, settings.namespace, *APP_CLASSES.values()}
    is_default = settings.origins["namespace"].source is Source.DEFAULT
    if is_default and record and record.app == settings.known("app") and record.namespace not in usual:
        console.warn(
            f"{record.app} was recorded in namespace {record.namespace}, and this is for {settings.namespace}; to stay "
            f"there: --namespace {record.namespace}, or namespace under deploy: in invoke.yaml"
        )


def _warn(call: Call, settings: Settings) -> None:
    """Says what is allowed and seldom meant."""
    if settings.namespace == namespace_of("non-business") and settings.app_class == "business":
        of = f"{call.name}: " if call.name else ""
        console.warn(f"{of}app class business in namespace {settings.namespace}: the pods go to the business nodes")
    for path in settings.secret_files_others_can_read:
        console.warn(f"{path} holds a secret and others on this machine can read it: chmod 600 {path}")
    for row in SECRETS:
        if row.key in call.project.general:
            console.warn(f"deploy.{row.key} is in the Invoke configuration, which invoke -d prints; keep it in .env")
    for said in settings.misspelt():
        console.warn(said)


def _who() -> str:
    try:
        person = os.environ.get("GITHUB_ACTOR") or getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        person = str(os.getuid())
    # Of a name in no known encoding, what can be written.
    return f"{person}@{os.uname().nodename}".encode(errors="replace").decode()


def _require(call: Call, settings: Settings, needs: Sequence[str]) -> None:
    given = [text.partition("=")[0] for text in call.flags.get("env") or [] if "=" in text]
    settings.check(*needs, given=given, trouble=call.checkout.trouble)


_GIT_FACT = {"app": "app", "repo_url": "repo_url", "git_ref": "commit"}
