"""Wait for a build: in slices, up to a deadline, across cuts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Protocol

from .errors import ApiRefused, BuildFailed, NothingStarted, StillRunning, escaped, excerpt
from .models import BuildState

# An ingress cuts what is idle for a minute; a person wants a sign of life sooner.
SLICE_SECONDS = 20.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
# A server has asked for six hours.
_LONGEST_RETRY_AFTER = 60.0
_TAIL_LINES = 30
_LONGEST_LINE = 500


class WaitingClient(Protocol):
    """The part of DeployClient that waiting needs."""

    def wait(self, job: str, *, seconds: float, within: float) -> BuildState: ...
    def status(self, job: str) -> BuildState | None: ...
    def logs(self, job: str) -> str | None: ...


def wait_for_build(
    client: WaitingClient,
    job: str,
    *,
    seconds: float,
    tell: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Returns when the build `job` is over and well.

    `seconds` is the deadline of the whole wait; `tell` gets lines for people. Raises BuildFailed with the end of the
    log, StillRunning at the deadline, NothingStarted where nobody was reached until then, and the client's refusals.
    """
    start, reached = clock(), False
    pause = _FIRST_PAUSE
    while (left := start + seconds - clock()) > 0:
        asked = clock()
        try:
            state = client.wait(job, seconds=min(SLICE_SECONDS, left), within=left)
            reached = True
            if _is_over(client, job, state):
                return
        except NothingStarted as cut:
            # A cut says nothing about the build; the same question is asked again, ever more slowly.
            reached = reached or cut.reached
            tell(f"{cut.what}; asking again")
            asked_for = min(cut.retry_after, _LONGEST_RETRY_AFTER)
            sleep(min(asked_for + pause * random.uniform(0.5, 1.0), max(0.0, start + seconds - clock())))  # noqa: S311
            pause = min(2 * pause, _LONGEST_PAUSE)
            continue
        tell(f"{job}: {excerpt(state.status or 'running')} for {clock() - start:.0f} s")
        if clock() - asked < _FIRST_PAUSE:
            # A server that does not hold the request open is polled, not hammered.
            sleep(min(pause, max(0.0, start + seconds - clock())))
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            pause = _FIRST_PAUSE
    if not reached:
        raise NothingStarted(f"the API was not reached for {seconds:g} s", f"{job} goes on; pick it up: invoke wait")
    raise StillRunning(f"{job} still runs after {seconds:g} s; the build goes on. Pick it up: invoke wait --job {job}")


def _is_over(client: WaitingClient, job: str, state: BuildState) -> bool:
    if state.status is None:
        # The specification says no more than that the wait is over; a server that knows the phase may know better.
        state = client.status(job) or BuildState(status="succeeded")
    if state.status == "failed":
        raise BuildFailed(_failure(client, job, state))
    return state.status in (None, "succeeded")


def _failure(client: WaitingClient, job: str, state: BuildState) -> str:
    try:
        logs = client.logs(job) or ""
    except (ApiRefused, NothingStarted):
        logs = ""  # the failure is what matters
    tail = "\n".join(f"  {escaped(line)[:_LONGEST_LINE]}" for line in logs.splitlines()[-_TAIL_LINES:])
    why = state.error or state.message
    summary = (
        f"{job} failed{f': {excerpt(why)}' if why else ''}; nothing was recorded, the last good digest is as it was"
    )
    return f"{tail}\n{summary}" if tail else summary
