"""Several apps at once: each in a thread of its own, what they say kept apart, and what became of all of them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from queue import SimpleQueue
from threading import Thread, current_thread
from typing import Any, NamedTuple

from .. import next_steps
from ..engine import runner
from ..errors import DeployError, DigestNotFound, Interrupted, JobNotFound, SettingsError, SomeFailed
from ..redaction import fit
from ..signals import held_back, signal_number, taken, undivided
from ..state import lock
from ..ui import console
from .call import Call
from .work import AGAIN, BUILD, LOOK, NOTHING, WAIT, Act

_LONGEST_DETAIL = 100
_NOT_THERE = (SettingsError, DigestNotFound, JobNotFound)


class Outcome(NamedTuple):
    """What became of one app, `seconds` after it was begun: its task's value, or what it raised."""

    name: str
    seconds: float
    value: Any = None
    error: BaseException | None = None


def each(call: Call, acts: Mapping[str, Act], *, jobs: int, changes: bool) -> dict[str, Any]:
    """Does all `acts` of `call`, `jobs` of them at once; returns their values by the app's name. One that fails does
    not stop the others. `changes` says that the call writes their state, and so is summed up at its end.

    SomeFailed with the exit code of the worst, or Interrupted, once all that can be said is said.
    """
    start = time.monotonic()
    with console.board(list(acts), is_shown=changes) as board, runner.streaming(call.c):
        outcomes: dict[str, Outcome] = {}
        waiting = deque[str]()
        try:
            if changes:
                outcomes = _lock(call, acts, board)
            left = [name for name in acts if name not in outcomes]
            waiting.extend(left)
            over = _begin(acts, waiting, jobs, board, outcomes)
            for _ in left:
                name = taken(over)
                with undivided():
                    _tell(call, outcomes[name], board)
        except KeyboardInterrupt as interrupt:
            with held_back():  # a second one would cost the lines that say how to go on
                board.is_over = True
                waiting.clear()
                runner.end_all(signal_number(interrupt))
                raise _interrupted(call, acts, outcomes, signal_number(interrupt)) from interrupt
    with held_back():  # all is over, and is to be said
        return _summed_up(call, acts, outcomes, seconds=time.monotonic() - start, changes=changes)


def _summed_up(
    call: Call,
    acts: Mapping[str, Act],
    outcomes: Mapping[str, Outcome],
    *,
    seconds: float,
    changes: bool,
) -> dict[str, Any]:
    """Tells what became of all apps, prints their results; returns their values, or raises the sum of their errors."""
    failed = {name: error for name in acts if (error := outcomes[name].error) is not None}
    if changes:
        _tell_table([outcomes[name] for name in acts], seconds)
    for error in failed.values():
        if not isinstance(error, DeployError):
            raise error  # the reader of stdout has had enough
    some_failed = _some_failed(call, acts, failed) if failed else None
    try:
        _print_results(acts, outcomes, as_json=bool(call.flags.get("json")))
    except DeployError as error:
        if some_failed is None:
            raise
        console.tell(str(error))
    if some_failed:
        raise some_failed
    return {name: outcomes[name].value for name in acts}


def _lock(call: Call, acts: Mapping[str, Act], board: console.Board) -> dict[str, Outcome]:
    """Locks the state of all apps, always in the same order: two runs that each hold what the other waits for would
    both wait in vain. What cannot be locked is over."""
    outcomes: dict[str, Outcome] = {}
    start = time.monotonic()
    for name, act in sorted(acts.items(), key=lambda item: item[1].run.state.lock_path):
        left = max(0.0, act.run.settings.lock_timeout - (time.monotonic() - start))
        try:
            with board.speaking(name):
                act.run.lock(left)
        except DeployError as error:
            outcomes[name] = Outcome(name, 0.0, error=error)
            _tell(call, outcomes[name], board)
    return outcomes


def _begin(
    acts: Mapping[str, Act], waiting: deque[str], jobs: int, board: console.Board, outcomes: dict[str, Outcome]
) -> SimpleQueue[str]:
    """Starts the threads that work off `waiting`, and put what became of each into `outcomes`, its name into the queue.
    They do not keep the program from its end: what is interrupted is left where it is."""
    over, run = SimpleQueue[str](), current_thread()

    def work() -> None:
        lock.work_for(run)
        while not board.is_over:
            try:
                name = waiting.popleft()
            except IndexError:
                return
            start = time.monotonic()
            with board.speaking(name):
                try:
                    outcome = Outcome(name, 0.0, value=acts[name].do())
                except (DeployError, BrokenPipeError) as error:
                    outcome = Outcome(name, 0.0, error=error)
                except BaseException as error:  # noqa: BLE001 - must not cost the results of the other apps
                    outcome = Outcome(name, 0.0, error=_unexpected(error))
            outcomes[name] = outcome._replace(seconds=time.monotonic() - start)
            over.put(name)

    for _ in range(min(jobs, len(waiting))):
        Thread(target=next_steps.in_context(work), daemon=True).start()
    return over


def _unexpected(error: BaseException) -> DeployError:
    """What a person hears of a bug; DEPLOY_DEBUG=1 shows where it is."""
    what = f"unexpected {type(error).__name__}: {error}" if str(error) else f"unexpected {type(error).__name__}"
    reported = DeployError(f"{what}. Whether it built or deployed is not known. See where: DEPLOY_DEBUG=1")
    reported.__cause__ = error
    return reported


def _tell(call: Call, outcome: Outcome, board: console.Board) -> None:
    error = outcome.error
    board.set(outcome.name, "")
    if isinstance(error, DeployError):
        with board.speaking(outcome.name):
            console.tell(str(error))
        console.annotate(f"{call.task} {outcome.name} failed", error)


def _interrupted(call: Call, acts: Mapping[str, Act], outcomes: Mapping[str, Outcome], number: int) -> Interrupted:
    """Says of each app that is not over what becomes of it, and how to go on with all that are not done."""
    width = max(map(len, acts))
    for name, act in acts.items():
        if name not in outcomes:
            act.run.note_interrupt()
            console.tell(f"{name:<{width}} | {act.run.if_interrupted}")
    left = {name: act.run.left for name, act in acts.items() if name not in outcomes or outcomes[name].error}
    left = {name: what for name, what in left.items() if what != NOTHING}
    return Interrupted(
        "; ".join([f"stopped; {len(acts) - len(left)} of {len(acts)} done", *_how_to_go_on(call, acts, left, "go on")]),
        number,
    )


def _how_to_go_on(call: Call, acts: Mapping[str, Act], left: Mapping[str, str], says: str) -> Iterator[str]:
    """What to do about the apps, by what is `left` to do for each. What must follow on this command line comes last,
    and is for all apps, since none of them got there."""
    kinds = (LOOK, WAIT, BUILD, AGAIN)
    unsure, in_flight, to_build, again = ([name for name, what in left.items() if what == kind] for kind in kinds)

    def command(task: str, flags: Mapping[str, Any], names: Sequence[str], *, is_last: bool) -> str:
        named = next_steps.line(task, {**flags, "app": ",".join(names)}, is_dry=bool(call.c.config.run.dry))
        return named + (next_steps.rest({} if len(names) == len(acts) else call.held) if is_last else "")

    if unsure:
        yield f"look first what became of {', '.join(unsure)}"
    if in_flight:
        yield f"pick up the builds in flight: {command('wait', {}, in_flight, is_last=not again)}"
    if to_build:
        yield f"build again: {command('build', {}, to_build, is_last=not again)}"
    if again:
        yield f"{says}: {command(call.task, call.given, again, is_last=True)}"


def _tell_table(outcomes: Sequence[Outcome], seconds: float) -> None:
    rows = []
    for name, took, _, error in outcomes:
        result = "done" if error is None else f"failed ({_code(error)})"
        rows.append([name, result, f"{took:.1f} s", "" if error is None else _shown(str(error))])
    console.tell_table(("APP", "RESULT", "TIME", ""), rows)
    console.tell(f"{len(rows)} apps in {seconds:.1f} s")


def _shown(text: str) -> str:
    line = fit(text)
    return line if len(line) <= _LONGEST_DETAIL else f"{line[:_LONGEST_DETAIL]}…"


def _print_results(acts: Mapping[str, Act], outcomes: Mapping[str, Outcome], *, as_json: bool) -> None:
    """The results to stdout: a line for each app and result, its name first; as JSON one object by the apps' names."""
    lines: list[str] = []
    for name, act in acts.items():
        for (first, *more), _ in act.run.results:
            lines += [f"{name}:", f"  {first}", *(f"  {line}" for line in more)] if more else [f"{name} {first}"]
    if as_json or lines:
        details = {name: _details(act, outcomes[name].error) for name, act in acts.items()}
        console.result(lines, details, as_json=as_json)


def _details(act: Act, error: BaseException | None) -> object:
    results = [details for _, details in act.run.results]
    if isinstance(error, DeployError):
        results.append(console.error_as_json(error))
    return results[0] if len(results) == 1 else results


def _code(error: BaseException) -> int:
    return error.exit_code if isinstance(error, DeployError) else 1


def _some_failed(call: Call, acts: Mapping[str, Act], errors: Mapping[str, BaseException]) -> SomeFailed:
    ours = {name: error for name, error in errors.items() if isinstance(error, DeployError)}
    # What is not there is not there the next time either; the app's own line says what to do.
    left = {name: acts[name].run.left for name, error in ours.items() if not isinstance(error, _NOT_THERE)}
    says = "again, for just that one" if len(ours) == 1 else "again, for just those"
    what = f"{len(ours)} of {len(acts)} apps failed: {', '.join(ours)}"
    some_failed = SomeFailed("; ".join([what, *_how_to_go_on(call, acts, left, says)]), ours)
    some_failed.is_annotated = True
    return some_failed
