"""Several apps at once: each in a thread of its own, what they say kept apart, and what became of all of them."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from textwrap import indent
from threading import Thread
from typing import Any, NamedTuple

from . import console, github, runner
from .errors import DeployError, Interrupted, MayHaveStarted, SomeFailed, escaped
from .models import encode
from .redaction import redact
from .run import Act
from .signals import signal_number, taken

_LONGEST_DETAIL = 100


class Outcome(NamedTuple):
    """What became of one app, `seconds` after it was begun: its task's value, or what it raised."""

    name: str
    seconds: float
    value: Any = None
    error: BaseException | None = None


def each(
    task: str, acts: Mapping[str, Act], *, jobs: int, again: Callable[[Sequence[str]], str], changes: bool
) -> dict[str, Any]:
    """Does all `acts`, `jobs` of them at once; returns their values by the app's name. One that fails does not stop the
    others. `again` gives the command that repeats `task` for some of the apps; `changes` says that it writes their
    state, and so is summed up at its end.

    SomeFailed with the exit code of the worst, or Interrupted, once all that can be said is said.
    """
    start = time.monotonic()
    c = next(iter(acts.values())).run.call.c
    with console.board(list(acts)) as board, runner.streaming(c):
        outcomes: dict[str, Outcome] = {}
        try:
            if changes:
                outcomes = _lock(task, acts, board)
            over = _begin({name: act for name, act in acts.items() if name not in outcomes}, jobs, board)
            while len(outcomes) < len(acts):
                outcome = taken(over)
                outcomes[outcome.name] = outcome
                _tell(task, outcome, board)
        except KeyboardInterrupt as interrupt:
            board.silent = True
            number = signal_number(interrupt)
            runner.end_all(number)
            for act in acts.values():
                act.run.wait_for_undivided()
            left = [name for name in acts if name not in outcomes or outcomes[name].error]
            _tell_what_goes_on(acts, outcomes)
            raise Interrupted(
                f"stopped; {len(acts) - len(left)} of {len(acts)} done; go on: {again(left)}", number
            ) from None
    failed = {name: error for name in acts if isinstance(error := outcomes[name].error, DeployError)}
    if failed or changes:
        _tell_table([outcomes[name] for name in acts], time.monotonic() - start)
    _print_results(acts, outcomes)
    if failed:
        raise _summed_up(failed, len(acts), again)
    return {name: outcomes[name].value for name in acts}


def _lock(task: str, acts: Mapping[str, Act], board: console.Board) -> dict[str, Outcome]:
    """Locks the state of all apps, always in the same order: two runs that each hold what the other waits for would
    both wait in vain. What cannot be locked is over."""
    outcomes: dict[str, Outcome] = {}
    for name, act in sorted(acts.items(), key=lambda item: item[1].run.state.lock_path):
        try:
            with board.speaking(name):
                act.run.lock()
        except DeployError as error:
            outcomes[name] = Outcome(name, 0.0, error=error)
            _tell(task, outcomes[name], board)
    return outcomes


def _begin(acts: Mapping[str, Act], jobs: int, board: console.Board) -> SimpleQueue[Outcome]:
    """Starts the threads. They do not keep the program from its end: what is interrupted is left where it is."""
    waiting, over = deque(acts), SimpleQueue[Outcome]()

    def work() -> None:
        while waiting:
            try:
                name = waiting.popleft()
            except IndexError:  # another thread was quicker
                return
            start = time.monotonic()
            with board.speaking(name):
                try:
                    outcome = Outcome(name, 0.0, value=acts[name].do())
                except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                    outcome = Outcome(name, 0.0, error=error)
            over.put(outcome._replace(seconds=time.monotonic() - start))

    for _ in range(min(jobs, len(acts))):
        Thread(target=work, daemon=True).start()
    return over


def _tell(task: str, outcome: Outcome, board: console.Board) -> None:
    error = outcome.error
    if error is not None and not isinstance(error, DeployError):
        raise error
    board.set(outcome.name, "")
    if error is not None:
        with board.speaking(outcome.name):
            console.tell(str(error))
        github.annotate(f"{task} {outcome.name} failed", redact(str(error)))


def _tell_what_goes_on(acts: Mapping[str, Act], outcomes: Mapping[str, Outcome]) -> None:
    width = max(map(len, acts))
    for name, act in acts.items():
        if name not in outcomes:
            console.tell(f"{name:<{width}} | {act.run.if_interrupted}")


def _tell_table(outcomes: Sequence[Outcome], seconds: float) -> None:
    rows = []
    for name, took, _, error in outcomes:
        result = "done" if error is None else f"failed ({_code(error)})"
        rows.append([name, result, f"{took:.1f} s", "" if error is None else _shown(str(error))])
    console.tell(console.table(("APP", "RESULT", "TIME", ""), rows, to=sys.stderr))
    console.tell(f"{len(rows)} apps in {seconds:.1f} s")


def _shown(text: str) -> str:
    line = escaped(redact(text).strip().partition("\n")[0])
    return line if len(line) <= _LONGEST_DETAIL else f"{line[:_LONGEST_DETAIL]}…"


def _print_results(acts: Mapping[str, Act], outcomes: Mapping[str, Outcome]) -> None:
    """The results to stdout: a line for each app and result, its name first; as JSON one object by the apps' names."""
    if next(iter(acts.values())).run.call.flags.get("json"):
        console.print_result(encode({name: _details(act, outcomes[name].error) for name, act in acts.items()}).decode())
        return
    for name, act in acts.items():
        for text, _ in act.run.results:
            console.print_result(f"{name}:\n{indent(text, '  ')}" if "\n" in text else f"{name} {text}")


def _details(act: Act, error: BaseException | None) -> object:
    results = [details for _, details in act.run.results]
    if error is not None:
        results.append({"error": redact(str(error)), "exitCode": _code(error)})
    return results[0] if len(results) == 1 else results


def _code(error: BaseException) -> int:
    return error.exit_code if isinstance(error, DeployError) else 1


def _summed_up(errors: Mapping[str, DeployError], several: int, again: Callable[[Sequence[str]], str]) -> SomeFailed:
    unsure = [name for name, error in errors.items() if isinstance(error, MayHaveStarted) and not error.is_repeatable]
    repeated = [name for name in errors if name not in unsure]
    parts = [f"{len(errors)} of {several} apps failed: {', '.join(errors)}"]
    if unsure:
        parts.append(f"look first what became of {', '.join(unsure)}")
    if repeated:
        whom = "the others" if unsure else "just those" if len(repeated) > 1 else "just that one"
        parts.append(f"again, for {whom}: {again(repeated)}")
    error = SomeFailed("; ".join(parts), errors)
    error.is_annotated = True
    return error
