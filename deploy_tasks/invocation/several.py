"""Runs a command for several apps at once: each in its own thread, with its own lines, then a table of the results."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextvars import copy_context
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

from ..config import apps
from ..deadline import Deadline
from ..engine import runner
from ..errors import DeployError, DigestNotFound, Interrupted, JobNotFound, Locked, SettingsError, SomeFailed
from ..next_steps import Step
from ..redaction import sanitized
from ..signals import deferred_signals, get_interruptible, signal_number
from ..ui import console, github
from ..ui.progress import Board, board_of
from .call import Call
from .command import Command, Effect, Plan
from .confirm import confirm
from .interruption import Remaining
from .work import Work

_LONGEST_DETAIL = 100
# Running these again fails again, so no command to repeat is suggested; the app's own line says what to do.
_NOT_THERE = (SettingsError, DigestNotFound, JobNotFound)


class Outcome(NamedTuple):
    """The outcome for one app: the task's result in `value`, or its `error`; and how many `seconds` it took."""

    name: str
    seconds: float = 0.0
    value: object = None
    error: DeployError | BrokenPipeError | None = None


class _Batch(NamedTuple):
    """The apps of one call, and their outcomes so far."""

    call: Call
    works: Mapping[str, Work]
    board: Board
    outcomes: dict[str, Outcome]

    def record(self, outcome: Outcome) -> None:
        """Records the outcome of an app, and prints its error."""
        self.outcomes[outcome.name] = outcome
        self.board.set(outcome.name, "")
        if isinstance(outcome.error, DeployError):
            with self.board.output_of(outcome.name):
                console.tell(str(outcome.error))
            github.annotate(f"{self.call.command.name} {outcome.name} failed", outcome.error)


def run(call: Call, command: Command[object], names: Sequence[str], *, at_once: int) -> dict[str, object]:
    """Runs `command` for the apps `names`, at most `at_once` at the same time; returns the results by app.
    An app that fails does not stop the others.

    After all results are printed, raises SomeFailed, with the exit code of the worst error, or Interrupted.
    """
    works: dict[str, Work] = {}
    missing: dict[str, DeployError] = {}
    for name in names:
        try:
            works[name] = Work(call, name, is_of_several=True)
        except SettingsError as error:
            missing[name] = error
    _refuse_all(missing)

    start, changes = time.monotonic(), call.command.effect > Effect.LOOKS and not call.is_dry
    with board_of(list(works), is_shown=changes) as board:
        batch = _Batch(call, works, board, {})
        deadlines = {name: Deadline(work.settings.lock_timeout) for name, work in works.items()}
        waiting = deque[str]()
        try:
            if changes:
                _lock(batch, deadlines, if_used=True)
            plans = _plans(batch, command)
            if changes:
                _lock(batch, deadlines, if_used=False)
                plans = {name: plan for name, plan in plans.items() if name not in batch.outcomes}
            confirm([(works[name], plan) for name, plan in plans.items()])
            call.keep_target(",".join(works))
            waiting.extend(plans)
            over = _begin(batch, plans, waiting, 1 if call.is_dry else at_once)
            for _ in plans:
                outcome = get_interruptible(over)
                with deferred_signals(raises_after=True):
                    batch.record(outcome)
        except KeyboardInterrupt as interrupt:
            with deferred_signals():  # a second signal must not cut off the lines that say how to continue
                board.is_over = True
                waiting.clear()
                runner.end_all(board, signal_number(interrupt))
                raise _interrupted(batch, signal_number(interrupt)) from interrupt
    with deferred_signals():
        if changes:
            _tell_table([batch.outcomes[name] for name in works], time.monotonic() - start)
        return _summed_up(batch)


def _refuse_all(errors: Mapping[str, DeployError]) -> None:
    """Raises SomeFailed if there are `errors`, so that no app is started."""
    if errors:
        raise SomeFailed("nothing was sent, because some of the apps have errors:", errors, is_list=True)


def _lock(batch: _Batch, deadlines: Mapping[str, Deadline], *, if_used: bool) -> None:
    """Locks the state of all apps (see `Work.lock`); the fixed order avoids deadlock. An app that cannot be locked
    fails."""
    for name, work in sorted(batch.works.items(), key=lambda item: item[1].state.lock_path):
        if name in batch.outcomes:
            continue
        try:
            with batch.board.output_of(name):
                if work.lock(seconds=deadlines[name].left(), if_used=if_used) and not if_used:
                    raise Locked(f"another run has changed the state of {name} meanwhile", next="Run the same again")
        except DeployError as error:
            batch.record(Outcome(name, error=error))


def _plans(batch: _Batch, command: Command[object]) -> dict[str, Plan[object]]:
    """The plan of each app that has not failed yet. An app that cannot be planned fails; if the command is for all apps
    or none, SomeFailed is raised instead."""
    plans: dict[str, Plan[object]] = {}
    errors: dict[str, DeployError] = {}
    for name, work in batch.works.items():
        if name in batch.outcomes:
            continue
        try:
            work.complete()
            plans[name] = command.plan(work)
        except DeployError as error:
            if command.all_or_none:
                errors[name] = error
            else:
                batch.record(Outcome(name, error=error))
    _refuse_all(errors)
    if command.effect > Effect.LOOKS:
        apps.check_conflicts({name: vars(work.settings) for name, work in batch.works.items()})
    return plans


def _begin(batch: _Batch, plans: Mapping[str, Plan[object]], waiting: deque[str], at_once: int) -> SimpleQueue[Outcome]:
    """Starts daemon threads that execute the plans of the apps in `waiting`; returns the queue of their outcomes."""
    over = SimpleQueue[Outcome]()

    def work() -> None:
        while not batch.board.is_over:
            try:
                name = waiting.popleft()
            except IndexError:
                return
            with batch.board.output_of(name):
                outcome = _outcome(batch, name, plans[name])
            over.put(outcome)

    for _ in range(min(at_once, len(waiting))):
        # With a copy of the context, threads write commands for this command line.
        Thread(target=copy_context().run, args=(work,), daemon=True).start()
    return over


def _outcome(batch: _Batch, name: str, plan: Plan[object]) -> Outcome:
    """Executes the plan of one app. An unexpected error becomes the app's outcome and does not stop the others."""
    work, start = batch.works[name], time.monotonic()
    value: object = None
    failed: DeployError | BrokenPipeError | None = None
    try:
        value = plan.show(work) if batch.call.is_dry else plan.execute(work)
    except (DeployError, BrokenPipeError) as error:
        failed = error
    except BaseException as error:  # noqa: BLE001
        what = f"unexpected {type(error).__name__}" + (f": {error}" if str(error) else "")
        effect, next = "Whether it built or deployed is not known", "Set DEPLOY_DEBUG=1 to see where it happened"
        failed = DeployError(what, effect, next)
        failed.__cause__ = error
    return Outcome(name, time.monotonic() - start, value, failed)


def _interrupted(batch: _Batch, number: int) -> Interrupted:
    """The error of an interrupt, with the commands to continue. Prints the state of each unfinished app."""
    works, outcomes = batch.works, batch.outcomes
    width = max(map(len, works))
    for name, work in works.items():
        if name not in outcomes:
            console.tell(f"{name:<{width}} | {work.interrupted()}")
    not_done = {name: work.remaining for name, work in works.items() if name not in outcomes or outcomes[name].error}
    left = {name: what for name, what in not_done.items() if what is not Remaining.NOTHING}
    done = f"{len(works) - len(left)} of {len(works)} are done"
    return Interrupted("stopped", number, done, [*_steps_to_continue(batch, left, "Continue")])


def _steps_to_continue(batch: _Batch, left: Mapping[str, Remaining], says: str) -> Iterator[Step | str]:
    """The commands to run next, by what is `left` to do for each app. The last one continues with the later calls of
    this command line, which no app has reached."""
    call, has_again = batch.call, Remaining.AGAIN in left.values()
    tasks: dict[Remaining, tuple[str, Mapping[str, object], str]] = {
        Remaining.WAIT: ("wait", {}, "Pick up the builds in flight"),
        Remaining.BUILD: ("build", {}, "Build again"),
        Remaining.AGAIN: (call.command.name, call.given, says),
    }
    if unsure := [name for name, what in left.items() if what is Remaining.LOOK]:
        yield f"First check the state of {', '.join(unsure)}"
    for kind, (task, flags, introduction) in tasks.items():
        if names := [name for name, what in left.items() if what is kind]:
            target = {} if len(names) == len(batch.works) else call.target
            continues = kind is Remaining.AGAIN or not has_again
            yield Step(task, {**flags, "app": ",".join(names)}, introduction, continues, call.is_dry, target)


def _summed_up(batch: _Batch) -> dict[str, object]:
    """Prints and returns the results of all apps; raises SomeFailed if there are errors."""
    works, outcomes = batch.works, batch.outcomes
    errors: dict[str, DeployError] = {}
    for name in works:
        error = outcomes[name].error
        if isinstance(error, DeployError):
            errors[name] = error
        elif error:
            raise error  # the reader of stdout has closed the pipe
    try:
        _print_results(batch)
    except DeployError as error:
        if not errors:
            raise
        console.tell(str(error))
    if errors:
        left = {name: works[name].remaining for name, error in errors.items() if not isinstance(error, _NOT_THERE)}
        says = "Retry only that app" if len(errors) == 1 else "Retry only those apps"
        what = f"{len(errors)} of {len(works)} apps failed: {', '.join(errors)}"
        some_failed = SomeFailed(what, errors, [*_steps_to_continue(batch, left, says)])
        some_failed.is_annotated = True
        raise some_failed
    return {name: outcomes[name].value for name in works}


def _tell_table(outcomes: Sequence[Outcome], seconds: float) -> None:
    rows = []
    for name, took, _, error in outcomes:
        line = "" if error is None else sanitized(str(error))
        detail = line if len(line) <= _LONGEST_DETAIL else f"{line[:_LONGEST_DETAIL]}…"
        code = error.exit_code if isinstance(error, DeployError) else 1
        rows.append([name, "done" if error is None else f"failed ({code})", f"{took:.1f} s", detail])
    console.tell_table(("APP", "RESULT", "TIME", ""), rows)
    console.tell(f"{len(rows)} apps in {seconds:.1f} s")


def _print_results(batch: _Batch) -> None:
    """Prints the results to stdout: a line per result, after the app's name; as JSON, one object keyed by app."""
    lines: list[str] = []
    details: dict[str, object] = {}
    for name, work in batch.works.items():
        for (first, *more), _ in work.results:
            lines += [f"{name}:", f"  {first}", *(f"  {line}" for line in more)] if more else [f"{name} {first}"]
        found = [shown for _, shown in work.results]
        if isinstance(error := batch.outcomes[name].error, DeployError):
            found.append({"error": str(error), "exitCode": error.exit_code})
        details[name] = found[0] if len(found) == 1 else found
    as_json = bool(batch.call.options.get("json"))
    if as_json or lines:
        console.result(lines, details, as_json=as_json)
