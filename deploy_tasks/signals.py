"""SIGTERM and SIGHUP end a task as Ctrl-C does: what runs is told, the person too, and the exit code names them."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from typing import NoReturn, TypeVar

T = TypeVar("T")

_SECONDS_UNSEEN = 0.2
_SIGNALS = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


class Signalled(KeyboardInterrupt):
    """Raised where a signal other than SIGINT arrived; a KeyboardInterrupt, so that one `except` serves them all."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def signal_number(interrupt: KeyboardInterrupt) -> int:
    """The signal that raised `interrupt`."""
    return interrupt.number if isinstance(interrupt, Signalled) else signal.SIGINT


@contextmanager
def raised() -> Iterator[None]:
    """Within it, SIGTERM and SIGHUP raise Signalled, unless somebody handles or ignores them already (nohup does)."""
    is_main = threading.current_thread() is threading.main_thread()
    ours = [number for number in _SIGNALS if is_main and signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _raise)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def taken(queue: SimpleQueue[T], seconds: float | None = None) -> T:
    """What comes out of `queue`; Empty after `seconds`. A signal ends it at once: where the system hands one to another
    thread, as it does now and then, a wait in one piece would not see it before its end."""
    until = None if seconds is None else time.monotonic() + seconds
    while True:
        left = _SECONDS_UNSEEN if until is None else min(_SECONDS_UNSEEN, until - time.monotonic())
        try:
            return queue.get(timeout=max(0.0, left))
        except Empty:
            if until is not None and time.monotonic() >= until:
                raise


def in_background(ask: Callable[[], T]) -> Callable[..., T]:
    """Starts to `ask` in a thread. The function returned takes the seconds to wait (default: no bound), and returns the
    answer, raises what `ask` raised, or Empty. A thread that nobody waits for ends with the program at the latest."""
    outcome: SimpleQueue[Callable[[], T]] = SimpleQueue()

    def work() -> None:
        try:
            answer = ask()
        except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
            outcome.put(partial(_raise_error, error))
        else:
            outcome.put(lambda: answer)

    threading.Thread(target=work, daemon=True).start()
    return lambda seconds=None: taken(outcome, seconds)()


@contextmanager
def held_back() -> Iterator[list[int]]:
    """Within it, SIGINT, SIGTERM and SIGHUP raise nothing; those that arrived are in the list that it yields."""
    arrived: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, *_SIGNALS) if is_main}
    raising = {number: handler for number, handler in usual.items() if callable(handler)}
    for number in raising:
        signal.signal(number, lambda number, _frame: arrived.append(number))
    try:
        yield arrived
    finally:
        for number, handler in raising.items():
            signal.signal(number, handler)


@contextmanager
def undivided() -> Iterator[None]:
    """What is done within it is done to its end; a signal that arrives meanwhile is raised then."""
    with held_back() as arrived:
        yield
    if arrived:
        raise Signalled(arrived[0])


def _raise_error(error: Exception) -> NoReturn:
    raise error


def _raise(number: int, _frame: object) -> None:
    raise Signalled(number)
