"""Whether what was deployed comes up: its replicas, then its health path."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from ..deadline import Deadline
from ..errors import ApiRefused, NothingStarted, RolloutFailed, StillRunning
from .schemas import AppState, DeployRequest

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 2.0
_SECONDS_A_LOOK, _LEAST_SECONDS = 10.0, 1.0

Progress = Callable[[str], None]


class AppClient(Protocol):
    """The part of DeployClient that a rollout needs."""

    def app(self, namespace: str, app: str, *, within: float) -> AppState | None: ...


def wait_for_rollout(
    client: AppClient,
    request: DeployRequest,
    *,
    seconds: float,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int | None:
    """Returns how many replicas run the deployed digest once all of them are ready; None where the API does not say.

    `progress` gets `1/2 ready`. RolloutFailed after `seconds`; StillRunning where the API did not say then.
    """
    looks_ready, state, seen = 0, None, ""
    for left in _looks(Deadline(seconds, clock, sleep)):
        try:
            state = client.app(request.namespace, request.app, within=left)
        except NothingStarted as cut:
            state, seen, looks_ready = None, cut.what, 0  # a cut says nothing about the rollout
        except ApiRefused:
            return None
        else:
            if state is None or state.replicas is None:
                return None
            seen = f"{state.ready_replicas}/{_wanted(state.replicas, request)} ready"
            looks_ready = looks_ready + 1 if _is_ready(state, request) else 0
            # Right after a deploy the old replicas may still be counted; only a state that names what it is of is
            # believed the first time.
            if looks_ready > (state.image is None and state.updated_replicas is None):
                return state.replicas
        progress(seen)
    if state is None:
        raise StillRunning(f"{request.app} is deployed; whether it came up is not known: {seen}")
    raise RolloutFailed(f"{request.app} is deployed, but only {seen} after {seconds:g} s")


def _looks(deadline: Deadline) -> Iterator[float]:
    """A turn for each look, ever more slowly, the last one at the deadline; each with the seconds left."""
    pause = _FIRST_PAUSE
    while True:
        yield deadline.left()
        if not deadline.left():
            return
        deadline.pause(pause)
        pause = min(1.5 * pause, _LONGEST_PAUSE)


def _wanted(replicas: int, request: DeployRequest) -> int:
    # An autoscaler may want more than was asked for; fewer are those of before.
    return max(replicas, request.deploy_config.replicas or 0)


def _is_ready(state: AppState, request: DeployRequest) -> bool:
    is_ours = state.image is None or state.image.endswith(request.build_id)
    updated = state.ready_replicas if state.updated_replicas is None else state.updated_replicas
    wanted = _wanted(state.replicas or 0, request)
    return is_ours and state.replicas == wanted and min(state.ready_replicas, updated) >= wanted


def wait_for_health(
    url: str,
    status_of: Callable[[str, float], int | None],
    *,
    seconds: float,
    progress: Progress,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Returns once `url` answers 2xx. `status_of` gives the status of a URL, None where nobody answers within the
    seconds. RolloutFailed after `seconds`."""
    status: int | None = None
    for left in _looks(Deadline(seconds, clock, sleep)):
        status = status_of(url, min(_SECONDS_A_LOOK, max(left, _LEAST_SECONDS)))
        if status is not None and 200 <= status < 300:
            return
        progress(f"{url}: {_status(status)}")
    is_there = status is not None
    raise RolloutFailed(f"{url} does not answer 2xx after {seconds:.0f} s ({_status(status)})", blames=is_there)


def _status(status: int | None) -> str:
    return "no answer" if status is None else str(status)
