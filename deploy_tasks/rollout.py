"""Whether what was deployed comes up: its replicas, then its health path."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from .errors import ApiRefused, NothingStarted, RolloutFailed
from .models import AppState, DeployRequest

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 2.0
_SECONDS_A_LOOK = 10.0

Progress = Callable[[str], None]


class AppClient(Protocol):
    """The part of DeployClient that a rollout needs."""

    def app(self, namespace: str, app: str) -> AppState | None: ...


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

    `progress` gets `1/2 ready`. RolloutFailed after `seconds`.
    """
    start, pause = clock(), _FIRST_PAUSE
    state, looks_ready = AppState(), 0
    while True:
        try:
            answer = client.app(request.namespace, request.app)
        except NothingStarted:
            answer = state  # a cut says nothing about the rollout
        except ApiRefused:
            answer = None
        if answer is None:
            return None
        state = answer
        looks_ready = looks_ready + 1 if _is_ready(state, request) else 0
        # Right after a deploy the old replicas may still be counted; only a state that names what it is of is believed
        # the first time.
        if looks_ready > (state.image is None and state.updated_replicas is None):
            return state.replicas or 0
        progress(f"{state.ready_replicas}/{_wanted(state, request)} ready")
        if clock() - start >= seconds:
            ready = f"{state.ready_replicas} of {_wanted(state, request)} replicas are ready"
            raise RolloutFailed(f"{request.app} is deployed, but {ready} after {seconds:g} s")
        sleep(min(pause, max(0.0, start + seconds - clock())))
        pause = min(1.5 * pause, _LONGEST_PAUSE)


def _wanted(state: AppState, request: DeployRequest) -> int | str:
    asked = request.deploy_config.replicas
    known = state.replicas if asked is None else asked
    return "?" if known is None else known


def _is_ready(state: AppState, request: DeployRequest) -> bool:
    wanted = _wanted(state, request)
    is_ours = state.image is None or state.image.endswith(request.build_id)
    updated = state.ready_replicas if state.updated_replicas is None else state.updated_replicas
    return is_ours and state.replicas == wanted and min(state.ready_replicas, updated) >= state.replicas


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
    start, pause = clock(), _FIRST_PAUSE
    while True:
        status = status_of(url, _SECONDS_A_LOOK)
        if status is not None and 200 <= status < 300:
            return
        seen = "no answer" if status is None else str(status)
        progress(f"{url}: {seen}")
        if clock() - start >= seconds:
            raise RolloutFailed(f"{url} does not answer 2xx after {seconds:g} s ({seen})")
        sleep(min(pause, max(0.0, start + seconds - clock())))
        pause = min(1.5 * pause, _LONGEST_PAUSE)
