"""`DeployTask` makes a function a task of the kit: its flags are its parameters, and Invoke drops none of its calls.

It imports only `options.py` of the kit until a task is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from invoke.parser.argument import Argument
from invoke.tasks import Task

from ..options import Flag

P = ParamSpec("P")
R = TypeVar("R")


class _Argument(Argument):
    """A flag that is copied in one piece. Invoke copies all flags of all tasks at every start, part by part."""

    is_switch = False

    def __deepcopy__(self, memo: object) -> _Argument:
        copied = _Argument.__new__(_Argument)
        vars(copied).update(vars(self))
        if isinstance(self._value, list):
            copied._value = list(self._value)
        if self.is_switch:
            # Invoke has made --no-… of it by now, and would take it for a value that was given.
            copied.default = None
        return copied

    def __repr__(self) -> str:
        # Invoke's own messages show it.
        return f"--{self.names[0]}"


class DeployTask(Task[Callable[P, R]], Generic[P, R]):
    """A task with the parameters and the result of its function; the types of the parameters are those of `options.py`.

    Its calls are never equal, since Invoke drops a call that equals an earlier one: of
    `local --app a reuse local --app b reuse` it ran one `reuse`.
    """

    def __init__(self, body: Callable[P, R]) -> None:
        super().__init__(body, positional=(), auto_shortflags=False)
        self.own_name = body.__name__.replace("_", "-")
        """Its name, whatever a developer's collection calls it."""
        kinds = {name: getattr(kind, "__metadata__", ()) for name, kind in body.__annotations__.items()}
        self.flags: dict[str, Flag] = {name: found[0] for name, found in kinds.items() if found}
        self.iterable = [name for name, flag in self.flags.items() if flag.repeatable]

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = Task.__hash__

    def __deepcopy__(self, memo: object) -> DeployTask[P, R]:
        # Invoke copies all tasks at every start, part by part, and the types of their flags are many parts.
        copied: DeployTask[P, R] = DeployTask.__new__(DeployTask)
        vars(copied).update(vars(self))
        return copied

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        arguments = super().get_arguments(ignore_unknown_help)
        for argument in arguments:
            flag = self.flags[str(argument.name)]
            argument.__class__ = _Argument
            argument.help = flag.help
            # Of a repeatable flag it is a list, and then Invoke does not notice that no value is given.
            argument.raw_value = None
            if flag.short:
                argument.names += (flag.short,)
            if flag.switch:
                # With this default, Invoke takes --no-… as well.
                argument.kind, argument.default, argument.is_switch = bool, True, True  # type: ignore[attr-defined]
        return arguments

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]  # Invoke's returns the function
        try:
            from .ending import ended_well
        except KeyboardInterrupt as interrupt:
            from ..errors import Interrupted

            raise Interrupted("stopped", effect="Nothing was started") from interrupt
        with ended_well(self):
            result: Any = super().__call__(*args, **kwargs)
            returned: R = result
            return returned
