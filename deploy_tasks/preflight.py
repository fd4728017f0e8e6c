"""What is asked of engine, registry and API before a build on this machine, since a long build must not end at a wrong
key; and of the tag after its push."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import NoReturn, TypeVar

from . import console
from .client import DeployClient
from .engine import Engine
from .errors import ApiRefused, DigestNotFound, NothingStarted
from .hosts import registry_url
from .models import Target
from .signals import taken

T = TypeVar("T")

_SECONDS_TO_ANSWER = 10.0


def check(client: DeployClient, engine: Engine, registry: str, target: Target) -> None:
    """Looks at the engine, asks the API with the key, and asks whether the registry is there; all at the same time.

    Raises EngineError, ApiRefused or NothingStarted: nothing was built then.
    """
    key_accepted = _in_background(lambda: tag_digest(client, target))
    registry_there = _in_background(lambda: _answers(registry))
    # In this thread, the one that signals reach.
    engine.look()
    key_accepted()
    if registry_there():
        return
    if engine.is_remote:
        console.warn(f"{registry} does not answer from here; the engine builds elsewhere and may reach it")
        return
    raise NothingStarted(f"the registry {registry} does not answer; check DEPLOY_REGISTRY; nothing was built")


def tag_digest(client: DeployClient, target: Target, *, is_recorded: bool = False) -> str | None:
    """The digest that the API finds under the target's tag, or None where it finds none. `is_recorded`
    says that its image was pushed."""
    try:
        return client.digest(target.image_name or "", tag=target.image_tag or "", is_recorded=is_recorded)
    except DigestNotFound:
        return None


def check_tag(client: DeployClient, registry: str, target: Target, build_id: str) -> None:
    """Warns where the API finds another digest under the tag than the one just pushed; the pushed one counts."""
    name = f"{target.image_name}:{target.image_tag}"
    try:
        found = tag_digest(client, target, is_recorded=True)
    except (ApiRefused, NothingStarted) as error:
        console.warn(str(error))
        return
    if found is None:
        console.warn(f"the API does not find {name} in its registry; is {registry} (DEPLOY_REGISTRY) the one it uses?")
    elif found != build_id:
        console.warn(f"somebody moved the tag: {name} points to {found} now; what counts is this push: {build_id}")


def _answers(registry: str) -> bool:
    from .transport import answers

    return answers(registry_url(registry), _SECONDS_TO_ANSWER)


def _in_background(ask: Callable[[], T]) -> Callable[[], T]:
    """Starts to `ask` at once; what it returns gives the answer or raises the error. A thread that nobody waits for any
    more, since the engine is not there or Ctrl-C was pressed, does not keep the program from its end."""
    outcome: SimpleQueue[Callable[[], T]] = SimpleQueue()

    def work() -> None:
        try:
            answer = ask()
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits
            outcome.put(partial(_raise, error))
        else:
            outcome.put(lambda: answer)

    Thread(target=work, daemon=True).start()

    def result() -> T:
        return taken(outcome)()

    return result


def _raise(error: Exception) -> NoReturn:
    raise error
