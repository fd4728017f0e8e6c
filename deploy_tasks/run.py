"""One call of one task: which apps it means, for each its settings and what it works with; and what the calls of one
command line share."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from invoke.context import Context

from . import apps, console, github, lock
from .client import DeployClient
from .errors import Interrupted, SettingsError, StateError
from .git import Checkout
from .models import HistoryEntry, Record, Target, encode, fields_of, timestamp
from .parsing import NAMESPACES
from .redaction import keep_secret
from .settings import TABLE, Settings, project_root, resolve
from .signals import signal_number, undivided
from .state import State

# The part of the Invoke configuration that the calls of one command line share. `deploy` is the user's, this is ours.
_CHAIN = "deploy_chain"
TARGET = ("app", "namespace", "image_name", "app_class")
_HELD = (*TARGET, "jobs")
# What is left to do for an app that did not come to its end: the same again, to wait for its build in the cluster, to
# look what became of it, or nothing.
AGAIN, WAIT, LOOK, NOTHING = "again", "wait", "look", "nothing"
API = ("api_url", "api_key", "app")
"""What every task needs that talks to the API."""
_SECONDS_TO_WRITE = 2.0


class Chain:
    """What the calls of one command line share: the flags that say the target and how many apps at once, and what was
    recorded, by the app's name in the table of apps ("" where there is none)."""

    def __init__(self) -> None:
        self.target: dict[str, Any] = {}
        self.records: dict[str, Record] = {}


class Call(NamedTuple):
    """One call of one task, for one app; for several apps, that many of them, which share all but their `name`.

    `flags` are those of the call, with the target that an earlier call of the command line was given.
    """

    c: Context
    task: str
    flags: Mapping[str, Any]
    general: Mapping[str, Any]
    table: apps.Table
    chain: Chain
    checkout: Checkout
    name: str | None = None
    """The app's name in the table of apps; None where there is no such table."""
    is_of_several: bool = False
    jobs: int | None = None
    """How many of them at once; None where nobody says."""

    @classmethod
    def of(cls, c: Context, task: str, flags: Mapping[str, Any]) -> Call:
        """The call as such, before its apps are known. SettingsError where the configuration cannot be used."""
        if isinstance(flags.get("app"), list | tuple):
            flags = {**flags, "app": ",".join(flags["app"])}
        known: Any = c.config.get(_CHAIN)
        chain = known if isinstance(known, Chain) else Chain()
        if chain is not known:
            # A change to the configuration outlives the task: Invoke hands the same one to all of a command line.
            config: Any = c.config
            config[_CHAIN] = chain
        general, table = apps.split(_mapping(c.config.get("deploy")))
        target = _target_with(chain, flags)
        root = _current_root()
        return cls(c, task, {**flags, **target}, general, table, chain, Checkout(root))

    def of_each(self) -> list[Call]:
        """This call for each of the apps that it means. SettingsError where that cannot be told."""
        if not self.table:
            return [self]
        # With a table, DEPLOY_APP, too, is a choice among its apps.
        given = {key: self.flags.get(key) for key in ("app", "jobs")}
        for_all = resolve(given, config=self.general, folder=self.checkout.folder)
        is_several = apps.is_several(for_all.app)
        if is_several:
            apps.check_flags_of_several(self.flags)
        names = apps.chosen(self.table, for_all.app, for_all.sources["app"])
        return [self._replace(name=name, is_of_several=is_several, jobs=for_all.jobs) for name in names]

    @property
    def needs_to_deploy(self) -> tuple[str, ...]:
        """What a build asks for beyond its own needs: an app of the table is not built that cannot be deployed."""
        return ("port", "env_from", "cloned_files") if self.name or self.task == "local-deploy" else ()

    def of_none(self) -> Call:
        """This call for what is of all apps."""
        return self._replace(name=None, flags={**self.flags, "app": None}) if self.table else self

    def hold_target(self) -> None:
        """From now on the later calls of the command line have this call's target."""
        self.chain.target.clear()
        self.chain.target.update({key: self.flags[key] for key in _HELD if self.flags.get(key)})


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
        self.results: list[tuple[str, object]] = []
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
        fields = {**fields_of(record, Record), **built}
        self.state.append(HistoryEntry(**fields, time=timestamp(), who=_who(), what=self.call.task, outcome=outcome))

    def new_client(self) -> DeployClient:
        """Another one, for a thread of its own: requests does not say that its sessions can be shared."""
        settings = self.settings
        url, key = settings.require("api_url"), settings.require("api_key")
        return DeployClient(url, key, timeout=settings.api_timeout, command=self.command)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within it, an interrupt says `if_interrupted`: what it means for the build."""
        try:
            yield
        except KeyboardInterrupt as interrupt:
            self.note_interrupt()
            raise Interrupted(self.if_interrupted, signal_number(interrupt)) from None

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
        return record if record and record.image_name == self.settings.image_name else None

    @property
    def record(self) -> Record | None:
        """The record to go by: this command line's, else the file's, which another process may have written since."""
        return self.recorded_here or self.state.record()

    def remember(self, record: Record) -> None:
        """Hands `record` to the later tasks of this command line."""
        self.call.chain.records[self.call.name or ""] = record

    def result(self, text: str, details: object) -> None:
        """The task's result for this app: `text` for people and scripts, `details` for `--json`."""
        if self.call.is_of_several:
            self.results.append((text, details))
        else:
            console.result(text, details, as_json=self.call.flags["json"])

    def command(self, words: str) -> str:
        """The command line that goes on with this app: `invoke <words>`, with its name where it has one."""
        return f"invoke {words}{f' --app {self.call.name}' if self.call.name else ''}"

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
        """With `--dry`, lets the later tasks go on as if `target` had been built; its digest is shown as zeros."""
        known = fields_of(target, Target)
        self.remember(Record(**known, build_id=f"sha256:{64 * '0'}", app_class=self.settings.app_class))

    def would_send(self, method: str, path: str, body: object = None) -> None:
        """Shows a request that `--dry` keeps from being sent."""
        text = f" {encode(body).decode()}" if body is not None else ""
        console.tell(f"dry run, not sent: {method} {self.settings.require('api_url')}{path}{text}")


class Act:
    """What a task does for one app, once it is known that it can: `do` returns the task's value."""

    def __init__(self, run: Run, do: Callable[[], Any]) -> None:
        self.run = run
        self.do = do


def begin(call: Call, *, needs: Sequence[str] = (), git: Sequence[str] = (), from_record: bool = False) -> Run:
    """Gathers what `call` works with.

    `needs` names what the task cannot do without (see `Settings.require`), `git` those settings that the checkout may
    fill in; with `from_record` the record may fill in the target. Raises SettingsError, and StateError where the state
    file is unusable: before anything is sent.
    """
    checkout, name = call.checkout, call.name

    def recorded(state_file: Path) -> Mapping[str, object]:
        # Read in any case: a file that is no record is refused before anything is sent.
        known = call.chain.records.get(name or "") or State(state_file).record()
        return {key: getattr(known, key) for key in TARGET} if known and from_record else {}

    def settle() -> Settings:
        settled = resolve(
            _settings_of(call),
            config=call.general,
            name=name,
            own=call.table[name] if name else None,
            folder=checkout.folder,
            record=recorded,
            git={key: partial(getattr, checkout, _GIT_FACT[key]) for key in git},
        )
        keep_secret(settled.secrets)
        if not call.table and apps.is_several(settled.app):
            raise SettingsError(
                f"app {settled.app} needs a table of apps, deploy.apps in invoke.yaml; nothing was sent"
            )
        _require(call, settled, needs)
        return settled

    run = Run(call, settle, from_record=from_record)
    settings = run.settings
    if settings.namespace == NAMESPACES["non-business"] and settings.app_class == "business":
        of = f"{name}: " if name else ""
        console.warn(f"{of}app class business in namespace {settings.namespace}: the pods go to the business nodes")
    for path in settings.secret_files_of_others:
        console.warn(f"{path} holds a secret and others on this machine can read it: chmod 600 {path}")
    for variable in settings.secrets_in(call.general):
        console.warn(f"{variable} comes from the Invoke configuration, which invoke -d prints; keep it in .env")
    return run


def _settings_of(call: Call) -> dict[str, Any]:
    """The flags of `call` that are settings, by their keys there."""
    flags = {row.key: call.flags.get(row.key) for row in TABLE if row.key in call.flags}
    if call.flags.get("if_needed"):
        flags["build_if_needed"] = True
    if call.name is not None:
        flags["app"] = None  # there it chose among the apps, and the table says how they are called
    return flags


def _target_with(chain: Chain, flags: Mapping[str, Any]) -> dict[str, Any]:
    """The target flags that hold for a call with `flags`: of those of earlier calls too, unless it is another app."""
    given = {key: flags[key] for key in _HELD if flags.get(key)}
    earlier = chain.target
    if given.get("app") not in (None, earlier.get("app")):
        earlier = {}
    return {**earlier, **given}


def _who() -> str:
    try:
        person = os.environ.get("GITHUB_ACTOR") or getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        person = str(os.getuid())
    # Of a name in no known encoding, what can be written.
    return f"{person}@{os.uname().nodename}".encode(errors="replace").decode()


def _current_root() -> Path:
    try:
        return project_root(Path.cwd())
    except FileNotFoundError:
        raise SettingsError("the current folder is not there any more; nothing was sent") from None


def _require(call: Call, settings: Settings, needs: Sequence[str]) -> None:
    given = [text.partition("=")[0] for text in call.flags.get("env") or [] if "=" in text]
    try:
        if needs:
            settings.require(*needs, given=given)
    except SettingsError as error:
        why = f" ({call.checkout.trouble})" if call.checkout.trouble else ""
        raise SettingsError(f"{error}{why}") from None


_GIT_FACT = {"app": "app", "repo_url": "repo_url", "git_ref": "commit"}


def _mapping(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not hasattr(value, "keys"):
        raise SettingsError("deploy: in the Invoke configuration is not a table of settings; nothing was sent")
    # Invoke wraps what is nested.
    return {str(key): _mapping(value[key]) if hasattr(value[key], "keys") else value[key] for key in value}
