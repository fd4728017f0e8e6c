"""What is asked of engine, registry and API before a build on this machine, since a long build must not end at a wrong
key; and of the tag after its push."""

from __future__ import annotations

from ..api.client import DeployClient
from ..engine.engine import Engine
from ..errors import ApiRefused, DigestNotFound, NothingStarted
from ..hosts import registry_url
from ..signals import in_background
from ..state.records import Target
from ..ui import console

_SECONDS_TO_ANSWER = 10.0


def check(client: DeployClient, engine: Engine, registry: str, target: Target) -> None:
    """Looks at the engine, asks the API with the key, and asks whether the registry is there; all at the same time.

    Raises EngineError, ApiRefused or NothingStarted: nothing was built then.
    """
    key_accepted = in_background(lambda: tag_digest(client, target))
    registry_there = in_background(lambda: _answers(registry))
    # In this thread, the one that signals reach.
    engine.look()
    key_accepted()
    if registry_there():
        return
    if engine.is_remote:
        console.warn(f"{registry} does not answer from here; the engine builds elsewhere and may reach it")
        return
    raise NothingStarted(f"the registry {registry} does not answer; check DEPLOY_REGISTRY")


def tag_digest(client: DeployClient, target: Target) -> str | None:
    """The digest that the API finds under the target's tag, or None where it finds none."""
    try:
        return client.digest(target.image_name or "", tag=target.image_tag or "")
    except DigestNotFound:
        return None


def check_tag(client: DeployClient, registry: str, target: Target, build_id: str) -> None:
    """Warns where the API finds another digest under the tag than the one just pushed; the pushed one counts."""
    name = f"{target.image_name}:{target.image_tag}"
    try:
        found = tag_digest(client, target)
    except (ApiRefused, NothingStarted) as error:
        console.warn(f"{error.what}. The image is pushed and recorded")
        return
    if found is None:
        console.warn(f"the API does not find {name} in its registry; is {registry} (DEPLOY_REGISTRY) the one it uses?")
    elif found != build_id:
        console.warn(f"somebody moved the tag: {name} points to {found} now; what counts is this push: {build_id}")


def _answers(registry: str) -> bool:
    from ..api.transport import answers

    return answers(registry_url(registry), _SECONDS_TO_ANSWER)
