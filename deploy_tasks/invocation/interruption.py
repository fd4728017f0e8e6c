"""What an interrupt of one app means, and what remains to be done for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from threading import Lock
from typing import NamedTuple

from ..errors import Interrupted, StateError
from ..next_steps import Step
from ..signals import deferred_signals
from ..ui import console

_SECONDS_TO_WRITE = 2.0


class Remaining(Enum):
    """What remains to be done for an app that was interrupted or failed."""

    AGAIN = "the same again"
    WAIT = "wait for its build in the cluster"
    BUILD = "build it again"
    LOOK = "look what became of it"
    NOTHING = "nothing"


class Interruption(NamedTuple):
    """What an interrupt means at this moment: its effect on builds and deploys, what to run next, and a function that
    notes it in the history."""

    effect: str = "Nothing was started"
    next: tuple[Step | str, ...] = ()
    note: Callable[[], object] | None = None


class Interruptible:
    """The work for one app, as far as an interrupt or a failure may end it."""

    interruption: Interruption
    remaining: Remaining
    writing: Lock
    """Held within an `uninterrupted` block."""

    def on_interrupt(
        self,
        effect: str,
        *next: Step | str,
        remaining: Remaining | None = None,
        note: Callable[[], object] | None = None,
        starts: bool = False,
    ) -> None:
        """Sets what an interrupt means from now on. With `starts`, something is about to start: raises Interrupted if
        the call was interrupted already."""
        if starts and console.is_over():
            raise self.interrupted()
        self.interruption = Interruption(effect, next, note)
        self.remaining = remaining or self.remaining

    def interrupted(self, number: int = 2) -> Interrupted:
        """The error of an interrupt by the signal `number`. First waits briefly for an `uninterrupted` block of another
        thread, then notes the interrupt in the history."""
        if self.writing.acquire(timeout=_SECONDS_TO_WRITE):
            self.writing.release()
        effect, next, note = self.interruption
        with suppress(StateError):
            if note:
                note()
        return Interrupted("stopped", number, effect, next)

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Delivers pending signals after the block."""
        with deferred_signals(raises_after=True), self.writing:
            yield
