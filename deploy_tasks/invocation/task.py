"""`DeployTask` makes a function a task of the kit. The function's parameters are the flags.

Until a task is called, this module imports only `options.py` of the kit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from invoke.parser.argument import Argument
from invoke.tasks import Task

from ..options import Flag

if TYPE_CHECKING:
    from .command import Results  # noqa: F401 - AppTask's base

P = ParamSpec("P")
R = TypeVar("R")


class _Argument(Argument):
    """A flag with a cheap copy: at every start, Invoke deep-copies all flags of all tasks."""

    is_switch = False

    def __deepcopy__(self, memo: object) -> _Argument:
        copied = _Argument.__new__(_Argument)
        vars(copied).update(vars(self))
        if isinstance(self._value, list):
            copied._value = list(self._value)
        if self.is_switch:
            # Invoke has added --no-… by now. It would treat a default of True as a given value.
            copied.default = None
        return copied

    def __repr__(self) -> str:
        # Invoke's messages show this text.
        return f"--{self.names[0]}"


class DeployTask(Task[Callable[P, R]], Generic[P, R]):
    """A task that Invoke never deduplicates. It has the parameters of its function, with types from `options.py`.

    Its calls are never equal, since Invoke skips a call that equals an earlier one: in
    `local --app a reuse local --app b reuse`, it ran `reuse` only once.
    """

    def __init__(self, body: Callable[P, R]) -> None:
        super().__init__(body, positional=(), auto_shortflags=False)
        self.own_name = body.__name__.replace("_", "-")
        """The task's name in the kit; a developer's collection may use another."""
        kinds = {name: getattr(kind, "__metadata__", ()) for name, kind in body.__annotations__.items()}
        self.flags: dict[str, Flag] = {name: found[0] for name, found in kinds.items() if found}
        self.iterable = [name for name, flag in self.flags.items() if flag.repeatable]

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = Task.__hash__

    def __deepcopy__(self, memo: object) -> DeployTask[P, R]:
        # At every start, Invoke deep-copies all tasks, including the many types of their flags.
        copied = type(self).__new__(type(self))
        vars(copied).update(vars(self))
        return copied

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        arguments = super().get_arguments(ignore_unknown_help)
        for argument in arguments:
            flag = self.flags[str(argument.name)]
            argument.__class__ = _Argument
            argument.help = flag.help
            # For a repeatable flag it is a list, and then Invoke would not notice a missing value.
            argument.raw_value = None
            if flag.short:
                argument.names += (flag.short,)
            if flag.switch:
                # With a default of True, Invoke also accepts --no-….
                argument.kind, argument.default, argument.is_switch = bool, True, True  # type: ignore[attr-defined]
        return arguments

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]  # Invoke's returns the function
        try:
            from .ending import task_boundary
        except KeyboardInterrupt as interrupt:
            from ..errors import Interrupted

            raise Interrupted("stopped", effect="Nothing was started") from interrupt
        with task_boundary(self):
            result: Any = super().__call__(*args, **kwargs)
            returned: R = result
            return returned


class AppTask(DeployTask[P, "Results[R]"], Generic[P, R]):
    """A task for one app or several."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R | None:  # type: ignore[override]  # not all results
        """The result for the selected app; None for several apps."""
        results = super().__call__(*args, **kwargs)
        return None if results.is_several else next(iter(results.by_app.values()))

    def each(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, R]:
        """Runs the task; returns the results by app, also of a single one."""
        return super().__call__(*args, **kwargs).by_app
