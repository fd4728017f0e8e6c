"""One call of one task: its settings and what it works with; and what the calls of one command line share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from invoke.context import Context

from . import console
from .client import DeployClient
from .errors import Interrupted, SettingsError
from .git import Checkout
from .models import Record, encode, fields_of
from .settings import NAMESPACES, Settings, resolve
from .signals import signal_number
from .state import State

# The part of the Invoke configuration that the calls of one command line share. `deploy` is the user's, this is ours.
_CHAIN = "deploy_chain"
_TARGET = ("app", "namespace", "image_name", "app_class")


class Run:
    """One call of one task: its settings, and what it works with. Made by `begin`."""

    def __init__(self, c: Context, settings: Settings, checkout: Checkout) -> None:
        self._c = c
        self.settings = settings
        self.checkout = checkout
        self.state = State(settings.state_file)
        self.dry: bool = c.config.run.dry
        self.if_interrupted = "stopped; nothing was started"

    @cached_property
    def client(self) -> DeployClient:
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
        record = _recorded_in_chain(self._c)
        return record if record and record.image_name == self.settings.image_name else None

    @property
    def record(self) -> Record | None:
        """The record to go by: this command line's, else the file's, which another process may have written since."""
        return self.recorded_here or self.state.record()

    def remember(self, record: Record) -> None:
        """Hands `record` to the later tasks of this command line."""
        _set_chain(self._c, {**_chain(self._c), "record": fields_of(record)})

    def would_send(self, method: str, path: str, body: object = None) -> None:
        """Shows a request that `--dry` keeps from being sent."""
        text = f" {encode(body).decode()}" if body is not None else ""
        console.tell(f"dry run, not sent: {method} {self.settings.require('api_url')}{path}{text}")


def begin(
    c: Context, *, needs: Sequence[str] = (), git: Sequence[str] = (), from_record: bool = False, **flags: Any
) -> Run:
    """Gathers what a task works with.

    `needs` names the settings that the task cannot do without, `git` those that the checkout may fill in; with
    `from_record` the record may fill in the target. A target flag holds for the later tasks of the command line too.
    Raises SettingsError, and StateError where the state file is unusable: before anything is sent.
    """
    checkout = Checkout(Path.cwd())

    def recorded(state_file: Path) -> Mapping[str, object]:
        known = _recorded_in_chain(c) or State(state_file).record()
        return {key: getattr(known, key) for key in _TARGET} if known and from_record else {}

    settings = resolve(
        {**flags, **_target_of_chain(c, flags)},
        config=_mapping(c.config.get("deploy")),
        record=recorded,
        git={key: partial(getattr, checkout, _GIT_FACT[key]) for key in git},
    )
    console.keep_secret(settings.secrets)
    if needs:
        settings.require(*needs)
    if settings.namespace == NAMESPACES["non-business"] and settings.app_class == "business":
        console.warn(f"app class business in namespace {settings.namespace}: the pods go to the business nodes")
    return Run(c, settings, checkout)


_GIT_FACT = {"app": "app", "repo_url": "repo_url", "git_ref": "commit"}


def _target_of_chain(c: Context, flags: Mapping[str, Any]) -> dict[str, Any]:
    chain = _chain(c)
    given = {key: flags[key] for key in _TARGET if flags.get(key)}
    if given.get("app") not in (None, chain.get("app")):
        chain.pop("image_name", None)  # it was the earlier app's
    chain.update(given)
    _set_chain(c, chain)
    return {key: chain.get(key) for key in _TARGET}


def _chain(c: Context) -> dict[str, Any]:
    return dict(c.config.get(_CHAIN) or {})


def _set_chain(c: Context, chain: dict[str, Any]) -> None:
    # A change to the configuration outlives the task: Invoke hands the same one to every task of a command line.
    config: Any = c.config
    config[_CHAIN] = chain


def _recorded_in_chain(c: Context) -> Record | None:
    fields = _chain(c).get("record")
    return Record(**fields) if fields else None


def _mapping(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not hasattr(value, "keys"):
        raise SettingsError("deploy: in the Invoke configuration is not a table of settings; nothing was sent")
    return dict(value)
