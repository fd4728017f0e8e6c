"""`deploy_task` makes a function a task of the kit: its flags have the help of their types, and Invoke drops no call.

It imports only `options.py` of the kit until a task is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Signature
from typing import Any, Generic, ParamSpec, TypeVar

from invoke.parser.argument import Argument
from invoke.tasks import Task, task

from ..options import Flag

P = ParamSpec("P")
R = TypeVar("R")


class _Argument(Argument):
    """A flag that is copied in one piece. Invoke copies all flags of all tasks at every start, part by part."""

    is_switch = False

    @property
    def value(self) -> Any:
        # Invoke would take the default of a switch for a value that was given.
        return self._value if self.is_switch else super().value

    @value.setter
    def value(self, given: str) -> None:
        self.set_value(given, cast=True)

    def __deepcopy__(self, memo: object) -> _Argument:
        copied = _Argument.__new__(_Argument)
        vars(copied).update(vars(self))
        if isinstance(self._value, list):
            copied._value = list(self._value)
        return copied

    def __repr__(self) -> str:
        # Invoke's own messages show it.
        return f"--{self.names[0]}"


class DeployTask(Task[Callable[P, R]], Generic[P, R]):
    """A task with the parameters and the result of its function. Its calls are never equal, since Invoke drops a call
    that equals an earlier one: of `local --app a reuse local --app b reuse` it ran one `reuse`."""

    switches: frozenset[str] = frozenset()
    shorts: Mapping[str, str] = {}

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = Task.__hash__

    def argspec(self, body: Callable[..., Any]) -> Signature:
        # Invoke asks for it twice at every start.
        known: Signature | None = vars(self).get("_argspec")
        if known is None:
            known = vars(self)["_argspec"] = super().argspec(body)
        return known

    def __deepcopy__(self, memo: object) -> DeployTask[P, R]:
        # Invoke copies all tasks at every start, part by part, and the types of their flags are many parts.
        copied: DeployTask[P, R] = DeployTask.__new__(DeployTask)
        vars(copied).update(vars(self))
        return copied

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        help = self.help
        self.help = dict(help)  # Invoke takes each text out of it, and copies of this task have the same one
        arguments = super().get_arguments(ignore_unknown_help)
        self.help = help
        for argument in arguments:
            argument.__class__ = _Argument
            argument.raw_value = (
                None  # of a repeatable one it is a list, and then Invoke does not notice that none is given
            )
            if short := self.shorts.get(str(argument.name).replace("-", "_")):
                argument.names = (str(argument.name), short)
            if argument.name in self.switches:
                # With it, Invoke takes --no-… as well.
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


def deploy_task(*, aliases: tuple[str, ...] = ()) -> Callable[[Callable[P, R]], DeployTask[P, R]]:
    """Makes a function a task of the kit. Its flags are its parameters, whose types are those of `options.py`."""

    def make(function: Callable[P, R]) -> DeployTask[P, R]:
        types = {name: getattr(kind, "__metadata__", ()) for name, kind in function.__annotations__.items()}
        flags: dict[str, Flag] = {name: found[0] for name, found in types.items() if found}
        made: DeployTask[P, R] = task(
            klass=DeployTask,
            auto_shortflags=False,
            help={name: flag.help for name, flag in flags.items()},
            iterable=[name for name, flag in flags.items() if flag.repeatable],
            aliases=aliases,
        )(function)
        made.shorts = {name: flag.short for name, flag in flags.items() if flag.short}
        made.switches = frozenset(name for name, flag in flags.items() if flag.switch)
        return made

    return make
