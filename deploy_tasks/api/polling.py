"""Waits for a build: in slices, until a deadline, across lost connections."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import BuildFailed, NothingStarted, StillRunning
from ..redaction import excerpt
from .schemas import BuildState

if TYPE_CHECKING:
    from ..deadline import Deadline
    from ..next_steps import Step
    from .client import DeployClient

# The longest wait in one request: an ingress cuts connections that are idle for a minute, and CI stops silent jobs. The
# first slices are shorter, so that a person sees the phase change.
SLICE_SECONDS = 15.0
_FIRST_SLICE = 1.0
_LOOK_SECONDS = 1.0
_SECONDS_BETWEEN_WARNINGS = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
# One server asked for six hours.
_LONGEST_RETRY_AFTER = 60.0


def wait_for_build(
    client: DeployClient,
    job: str,
    *,
    deadline: Deadline,
    again: Step,
    tell: Callable[[str], None],
    progress: Callable[[str], None],
) -> None:
    """Waits until the build `job` has succeeded.

    `again` is the command that continues the wait. `tell` gets warnings, `progress` the phase. Raises BuildFailed;
    StillRunning at the deadline, or NothingStarted if the API was never reached; and the client's ApiRefused.
    """
    slice_, pause, is_reached = _FIRST_SLICE, _FIRST_PAUSE, False
    warned_of, warned_at, away_since = "", 0.0, 0.0
    while (left := deadline.left()) > 0:
        seconds, start = min(slice_, left), deadline.passed()
        try:
            state = client.wait(job, seconds=seconds, within=deadline)
            is_reached = True
            if state.status is None:
                # By the specification, the build has ended. If the server has phases, they are more reliable.
                state = client.status(job, within=deadline) or state
        except NothingStarted as cut:
            is_reached = is_reached or cut.reached
            now = deadline.passed()
            if not (cut.reached and 0.9 * seconds <= now - start <= seconds + 1):
                # This says nothing about the build, so ask again, after longer and longer pauses.
                away_since = away_since if warned_of else start
                if cut.what != warned_of or now - warned_at >= _SECONDS_BETWEEN_WARNINGS:
                    warned_of, warned_at = cut.what, now
                    tell(_warning(cut.what, now - away_since, deadline.seconds))
                jitter = random.uniform(0.5, 1.0)  # noqa: S311 - no secret
                deadline.pause(min(cut.retry_after, _LONGEST_RETRY_AFTER) + pause * jitter)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            # A gateway cut the connection at the end of the slice, or the API answered "not yet" with an error status.
            state = BuildState(status="running")
        if state.status == "failed":
            why = excerpt(state.error or state.message or "no reason given")
            raise BuildFailed(f"{job} failed: {why}", "Nothing was recorded, and the last good digest is unchanged")
        if state.status in (None, "succeeded"):
            return
        warned_of = ""
        progress(excerpt(state.status))
        slice_ = min(2 * slice_, SLICE_SECONDS)
        if deadline.passed() - start < _FIRST_PAUSE:
            # The server does not hold the request open, so ask again after longer and longer pauses.
            deadline.pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            pause = _FIRST_PAUSE
    again = again._replace(says="Pick it up")
    if not is_reached:
        raise NothingStarted(f"the API was not reached for {deadline.seconds:g} s", f"{job} goes on", again)
    raise StillRunning(f"{job} still runs after {deadline.seconds:g} s", "The build goes on", again)


def _warning(what: str, seconds: float, in_all: float) -> str:
    if seconds < _SECONDS_BETWEEN_WARNINGS:
        return f"{what}. Retrying"
    return f"{what}, for {seconds:.0f} s now. The build may go on. Retrying until {in_all:g} s have passed"


def wait_for_end(
    client: DeployClient, job: str, *, deadline: Deadline, again: Step, tell: Callable[[str], None]
) -> str | None:
    """Waits until the build ends; returns its last phase, `succeeded` or `failed`, or None if the server has no phases.
    `tell` gets warnings. StillRunning at the deadline, with `again` as the command that continues."""
    # Polls the phase and does not use `client.wait`: it is not specified whether two clients may wait for one job.
    is_away = False
    for _ in deadline.turns(_LOOK_SECONDS, _LOOK_SECONDS):
        try:
            state = client.status(job, within=deadline)
        except NothingStarted as cut:
            if not is_away:
                tell(_warning(cut.what, 0.0, deadline.seconds))
            is_away = True
            continue
        is_away = False
        if state is None or state.status in ("succeeded", "failed"):
            return None if state is None else state.status
    what = f"{job} still runs after {deadline.seconds:g} s"
    raise StillRunning(what, "The build goes on", again._replace(says="Continue to follow it"))
