"""One call of one task: its settings and what it works with; and what the calls of one command line share."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from invoke.context import Context

from . import console, lock
from .client import DeployClient
from .errors import Interrupted, SettingsError
from .git import Checkout
from .models import HistoryEntry, Record, Target, encode, fields_of, timestamp
from .parsing import NAMESPACES
from .redaction import keep_secret
from .settings import Settings, project_root, resolve
from .signals import signal_number
from .state import State

# The part of the Invoke configuration that the calls of one command line share. `deploy` is the user's, this is ours.
_CHAIN = "deploy_chain"
TARGET = ("app", "namespace", "image_name", "app_class")


class Run:
    """One call of one task: its settings, and what it works with. Made by `begin`."""

    def __init__(
        self, c: Context, task: str, settle: Callable[[], Settings], checkout: Checkout, *, from_record: bool
    ) -> None:
        self._c = c
        self._task = task
        self._from_record = from_record
        self._settle = settle
        self.settings = settle()
        self.checkout = checkout
        self.state = State(self.settings.state_file)
        self.dry: bool = c.config.run.dry
        self.if_interrupted = "stopped; nothing was started"

    @cached_property
    def client(self) -> DeployClient:
        return self.new_client()

    def lock_before_deciding(self) -> None:
        """As `lock`, for what is decided from the record: another run may be about to write it. Where none ever ran
        there is nothing to wait for, and nothing is made there that may not be needed."""
        if not self.dry and self.state.lock_path.exists():
            self.lock()

    def lock(self) -> None:
        """Makes this run the only one that writes the state and deploys from it, until the process ends. Locked or
        StateError otherwise: nothing was started then."""
        self.state.check_writable()
        path, seconds = self.state.lock_path, self.settings.lock_timeout
        if lock.take(path, self._task, seconds=seconds, tell=console.tell):
            self.state.sweep()
            if self._from_record:  # what another run recorded until now counts
                self.settings = self._settle()

    def note(self, outcome: str, record: Record, **built: Any) -> None:
        """Adds to the history what became of the image of `record`; `built` are HistoryEntry's fields of a build."""
        fields = {**fields_of(record, Record), **built}
        self.state.append(HistoryEntry(**fields, time=timestamp(), who=_who(), what=self._task, outcome=outcome))

    def new_client(self) -> DeployClient:
        """Another one, for a thread of its own: requests does not say that its sessions can be shared."""
        settings = self.settings
        return DeployClient(settings.require("api_url"), settings.require("api_key"), timeout=settings.api_timeout)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within it, an interrupt says `if_interrupted`: what it means for the build."""
        try:
            yield
        except KeyboardInterrupt as interrupt:
            raise Interrupted(self.if_interrupted, signal_number(interrupt)) from None

    @property
    def recorded_here(self) -> Record | None:
        """What an earlier task of this command line recorded for the image."""
        record = _recorded_in(_chain(self._c))
        return record if record and record.image_name == self.settings.image_name else None

    @property
    def record(self) -> Record | None:
        """The record to go by: this command line's, else the file's, which another process may have written since."""
        return self.recorded_here or self.state.record()

    def remember(self, record: Record) -> None:
        """Hands `record` to the later tasks of this command line."""
        _set_chain(self._c, {**_chain(self._c), "record": fields_of(record)})

    def pretend(self, target: Target) -> None:
        """With `--dry`, lets the later tasks go on as if `target` had been built; its digest is shown as zeros."""
        known = fields_of(target, Target)
        self.remember(Record(**known, build_id=f"sha256:{64 * '0'}", app_class=self.settings.app_class))

    def would_send(self, method: str, path: str, body: object = None) -> None:
        """Shows a request that `--dry` keeps from being sent."""
        text = f" {encode(body).decode()}" if body is not None else ""
        console.tell(f"dry run, not sent: {method} {self.settings.require('api_url')}{path}{text}")


def begin(
    c: Context,
    task: str,
    *,
    needs: Sequence[str] = (),
    git: Sequence[str] = (),
    from_record: bool = False,
    **flags: Any,
) -> Run:
    """Gathers what `task` works with.

    `needs` names the settings that the task cannot do without, `git` those that the checkout may fill in; with
    `from_record` the record may fill in the target. A target flag holds for the later tasks of the command line too.
    Raises SettingsError, and StateError where the state file is unusable: before anything is sent.
    """
    root = _current_root()
    checkout = Checkout(root)
    config = _mapping(c.config.get("deploy"))
    chain = _chain_with(c, flags)

    def recorded(state_file: Path) -> Mapping[str, object]:
        known = _recorded_in(chain) or State(state_file).record()
        return {key: getattr(known, key) for key in TARGET} if known and from_record else {}

    def settle() -> Settings:
        settled = resolve(
            {**flags, **{key: chain.get(key) for key in TARGET}},
            config=config,
            folder=root,
            record=recorded,
            git={key: partial(getattr, checkout, _GIT_FACT[key]) for key in git},
        )
        keep_secret(settled.secrets)
        _require(settled, checkout, needs)
        return settled

    run = Run(c, task, settle, checkout, from_record=from_record)
    settings = run.settings
    _set_chain(c, chain)
    if settings.namespace == NAMESPACES["non-business"] and settings.app_class == "business":
        console.warn(f"app class business in namespace {settings.namespace}: the pods go to the business nodes")
    for path in settings.secret_files_of_others:
        console.warn(f"{path} holds a secret and others on this machine can read it: chmod 600 {path}")
    for variable in settings.secrets_in(config):
        console.warn(f"{variable} comes from the Invoke configuration, which invoke -d prints; keep it in .env")
    return run


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


def _require(settings: Settings, checkout: Checkout, keys: Sequence[str]) -> None:
    try:
        if keys:
            settings.require(*keys)
    except SettingsError as error:
        why = f" ({checkout.trouble})" if checkout.trouble else ""
        raise SettingsError(f"{error}{why}") from None


_GIT_FACT = {"app": "app", "repo_url": "repo_url", "git_ref": "commit"}


def _chain_with(c: Context, flags: Mapping[str, Any]) -> dict[str, Any]:
    """What the calls of this command line share, with this call's target; another app is another target."""
    chain = _chain(c)
    given = {key: flags[key] for key in TARGET if flags.get(key)}
    if given.get("app") not in (None, chain.get("app")):
        chain = {key: value for key, value in chain.items() if key not in TARGET}
    return {**chain, **given}


def _chain(c: Context) -> dict[str, Any]:
    chain = c.config.get(_CHAIN)
    return dict(chain) if hasattr(chain, "keys") else {}


def _set_chain(c: Context, chain: dict[str, Any]) -> None:
    # A change to the configuration outlives the task: Invoke hands the same one to every task of a command line.
    config: Any = c.config
    config[_CHAIN] = chain


def _recorded_in(chain: Mapping[str, Any]) -> Record | None:
    fields = chain.get("record")
    return Record(**fields) if fields else None


def _mapping(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not hasattr(value, "keys"):
        raise SettingsError("deploy: in the Invoke configuration is not a table of settings; nothing was sent")
    # Invoke wraps what is nested.
    return {str(key): _mapping(value[key]) if hasattr(value[key], "keys") else value[key] for key in value}
