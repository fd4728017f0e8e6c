"""Waits until a deployed app is ready: its replicas, then its health path."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import ApiRefused, NothingStarted, RolloutFailed, StillRunning
from ..redaction import excerpt
from .schemas import DeployRequest, FullAppState

if TYPE_CHECKING:
    from ..deadline import Deadline
    from .client import DeployClient

_PAUSES = (0.25, 2.0)
_SECONDS_A_LOOK, _LEAST_SECONDS = 10.0, 1.0

Progress = Callable[[str], None]


def wait_for_rollout(
    client: DeployClient,
    request: DeployRequest,
    *,
    deadline: Deadline,
    progress: Progress,
    revision: int | None = None,
) -> int | None:
    """Waits until all replicas of the deployed digest are ready; returns their number, or None if the API does not say.
    `revision` is that of the deploy, if the API said it.

    Calls `progress` with texts like `1/2 ready`. RolloutFailed as soon as the API says that the rollout failed, and at
    the deadline; StillRunning if the API does not answer at the deadline.
    """
    looks_ready, state, seen = 0, None, ""
    for _ in deadline.turns(*_PAUSES):
        try:
            state = client.app(request.namespace, request.app, within=deadline)
        except NothingStarted as cut:
            state, seen, looks_ready = None, cut.what, 0  # this says nothing about the rollout
        except ApiRefused:
            return None
        else:
            if state is None or state.replicas is None:
                return None
            # An autoscaler may want more replicas than were requested. Fewer are still those of the previous deploy.
            wanted = max(state.replicas, request.deploy_config.replicas or 0)
            is_deployed = state.image is None or state.image.endswith(request.build_id)
            seen = f"{state.ready_replicas}/{wanted} ready{'' if is_deployed else ' of another image'}"
            # The failure must be of this revision; the previous one may have the same digest.
            full = state if is_deployed and isinstance(state, FullAppState) else None
            if full and full.status == "failed" and revision in (None, full.revision):
                why = ": ".join(excerpt(text) for text in (full.reason, full.message) if text)
                what = f"{request.app} is deployed, but its rollout failed"
                raise RolloutFailed(f"{what}: {why or 'the API does not say why'}")
            updated = state.ready_replicas if state.updated_replicas is None else state.updated_replicas
            is_ready = state.replicas == wanted and min(state.ready_replicas, updated) >= wanted
            looks_ready = looks_ready + 1 if is_deployed and is_ready else 0
            # Right after a deploy, the old replicas may still be counted. A state that does not distinguish them must
            # be seen twice.
            if looks_ready > (state.image is None and state.updated_replicas is None):
                return state.replicas
        progress(seen)
    if state is None:
        raise StillRunning(f"{request.app} is deployed, but whether it came up is not known: {seen}")
    raise RolloutFailed(f"{request.app} is deployed, but only {seen} after {deadline.seconds:g} s")


def wait_for_health(url: str, *, deadline: Deadline, progress: Progress) -> None:
    """Returns once `url` answers 2xx. RolloutFailed at the deadline; it `blames` the image if `url` answered at all."""
    from .transport import look

    seen = None
    for _ in deadline.turns(*_PAUSES):
        seen = look(url, min(_SECONDS_A_LOOK, max(deadline.left(), _LEAST_SECONDS)))
        if seen and 200 <= seen.status < 300:
            return
        progress(f"{url}: {seen.status if seen else 'no answer'}")
    what = f"{url} does not answer 2xx after {deadline.seconds:g} s ({seen.status if seen else 'no answer'})"
    raise RolloutFailed(what, blames=seen is not None)
