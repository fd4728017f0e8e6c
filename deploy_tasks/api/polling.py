"""Wait for a build: in slices, up to a deadline, across cuts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Protocol

from ..deadline import Deadline
from ..errors import BuildFailed, NothingStarted, StillRunning
from ..redaction import excerpt
from .schemas import BuildState

# An ingress cuts what is idle for a minute, CI a job that says nothing; a person wants to see the phase change.
SLICE_SECONDS = 15.0
_FIRST_SLICE = 1.0
_LOOK_SECONDS = 1.0
_SECONDS_BETWEEN_TELLING = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
# A server has asked for six hours.
_LONGEST_RETRY_AFTER = 60.0


class WaitingClient(Protocol):
    """The part of DeployClient that waiting needs."""

    def wait(self, job: str, *, seconds: float, within: float) -> BuildState: ...
    def status(self, job: str, *, within: float) -> BuildState | None: ...


def wait_for_build(
    client: WaitingClient,
    job: str,
    *,
    seconds: float,
    again: str,
    tell: Callable[[str], None],
    progress: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Returns when the build `job` is over and well.

    `seconds` is the deadline of the whole wait, `again` the command that goes on with it; `tell` gets what a person
    should know, `progress` how things stand. Raises BuildFailed, StillRunning at the deadline, NothingStarted where
    nobody was reached until then, and the client's refusals.
    """
    deadline, reached = Deadline(seconds, clock, sleep), False
    away_since, told = None, ("", 0.0)
    pause, slice_ = _FIRST_PAUSE, _FIRST_SLICE
    while (left := deadline.left()) > 0:
        asked = deadline.passed()
        try:
            state = client.wait(job, seconds=min(slice_, left), within=left)
            reached = True
            if _is_over(client, job, state, deadline.left()):
                return
        except NothingStarted as cut:
            # A cut says nothing about the build; the same question is asked again, ever more slowly.
            reached = reached or cut.reached
            if cut.reached and 0.9 * slice_ <= deadline.passed() - asked <= slice_ + 1:
                # A gateway, or the API itself, whose way to say "not yet" it is at the end of the slice.
                progress("running")
                slice_ = min(2 * slice_, SLICE_SECONDS)
                continue
            away_since = asked if away_since is None else away_since
            if cut.what != told[0] or deadline.passed() - told[1] >= _SECONDS_BETWEEN_TELLING:
                told, away = (cut.what, deadline.passed()), deadline.passed() - away_since
                since = f", for {away:.0f} s now; the build may go on, and so does the wait, for {seconds:g} s in all"
                tell(f"{cut.what}; asking again{since if away >= _SECONDS_BETWEEN_TELLING else ''}")
            deadline.pause(min(cut.retry_after, _LONGEST_RETRY_AFTER) + pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(2 * pause, _LONGEST_PAUSE)
            continue
        away_since, told = None, ("", 0.0)
        progress(excerpt(state.status or "running"))
        slice_ = min(2 * slice_, SLICE_SECONDS)
        if deadline.passed() - asked < _FIRST_PAUSE:
            # A server that does not hold the request open is polled, not hammered.
            deadline.pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            pause = _FIRST_PAUSE
    if not reached:
        raise NothingStarted(f"the API was not reached for {seconds:g} s", f"{job} goes on; pick it up: {again}")
    raise StillRunning(f"{job} still runs after {seconds:g} s; the build goes on. Pick it up: {again}")


def wait_for_end(
    client: WaitingClient,
    job: str,
    *,
    seconds: float,
    again: str,
    tell: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """The phase in which the build ended, `succeeded` or `failed`, None where the server does not say, by looking at it
    again and again: whether two may wait for one job is not known. `tell` gets what a person should know. StillRunning
    after `seconds`, with the command that looks `again`."""
    deadline, away = Deadline(seconds, clock, sleep), False
    while (left := deadline.left()) > 0:
        try:
            state = client.status(job, within=left)
            away = False
        except NothingStarted as cut:
            state = BuildState(status="running")  # a cut says nothing about the build
            if not away:
                tell(f"{cut.what}; asking again")
            away = True
        if state is None or state.status in ("succeeded", "failed"):
            return None if state is None else state.status
        deadline.pause(_LOOK_SECONDS)
    raise StillRunning(f"{job} still runs after {seconds:g} s; look on: {again}")


def _is_over(client: WaitingClient, job: str, state: BuildState, left: float) -> bool:
    if state.status is None:
        # The specification says no more than that the wait is over; a server that knows the phase may know better.
        state = client.status(job, within=left) or BuildState(status="succeeded")
    if state.status == "failed":
        why = f": {excerpt(state.error or state.message or '')}" if state.error or state.message else ""
        raise BuildFailed(f"{job} failed{why}; nothing was recorded, the last good digest is as it was")
    return state.status in (None, "succeeded")
