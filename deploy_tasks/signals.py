"""Signals: SIGTERM and SIGHUP end a task as Ctrl-C does. Running commands are stopped, the message says so, and the
exit code tells which signal it was."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import NoReturn, TypeVar

from .deadline import Deadline

T = TypeVar("T")

_SECONDS_BETWEEN_CHECKS = 0.2
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Signalled(KeyboardInterrupt):
    """Raised by a signal other than SIGINT; a KeyboardInterrupt, so that one `except` handles them all."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def signal_number(interrupt: KeyboardInterrupt) -> int:
    """The signal that raised `interrupt`."""
    return getattr(interrupt, "number", signal.SIGINT)


@contextmanager
def raised() -> Iterator[None]:
    """Within the block, SIGTERM and SIGHUP raise Signalled, unless they are already handled or ignored (nohup)."""
    is_main = threading.current_thread() is threading.main_thread()
    numbers = [number for number in _SIGNALS if is_main and signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, _raise)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def get_interruptible(queue: SimpleQueue[T], seconds: float = math.inf) -> T:
    """`queue.get` that wakes every 0.2 s for signals; Empty after `seconds`. A single long wait would not notice a
    signal that the system delivers to another thread."""
    deadline = Deadline(seconds)
    while True:
        left = deadline.left()
        try:
            return queue.get(timeout=min(_SECONDS_BETWEEN_CHECKS, left))
        except Empty:
            if not left:
                raise


def in_background(ask: Callable[[], T]) -> Callable[..., T]:
    """Starts `ask` in a daemon thread. The returned function waits for it, up to the given seconds (default: no limit),
    and returns or raises what `ask` did; Empty at the limit. It returns the outcome only once."""
    outcome: SimpleQueue[Callable[[], T]] = SimpleQueue()

    def work() -> None:
        try:
            answer = ask()
        except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
            outcome.put(partial(_raise_error, error))
        else:
            outcome.put(lambda: answer)

    threading.Thread(target=copy_context().run, args=(work,), daemon=True).start()
    return lambda seconds=math.inf: get_interruptible(outcome, seconds)()


@contextmanager
def deferred_signals(*, raises_after: bool = False) -> Iterator[list[int]]:
    """Within the block, SIGINT, SIGTERM and SIGHUP raise nothing. Yields the list of the signals that arrive; with
    `raises_after`, the first of them is raised after the block."""
    arrived: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, *_SIGNALS) if is_main}
    raising = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in raising:
        signal.signal(number, lambda number, _frame: arrived.append(number))
    try:
        yield arrived
    finally:
        for number, handler in raising.items():
            signal.signal(number, handler)
    if raises_after and arrived:
        raise Signalled(arrived[0])


def _raise_error(error: Exception) -> NoReturn:
    raise error


def _raise(number: int, _frame: object) -> None:
    raise Signalled(number)
