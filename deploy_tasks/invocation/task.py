"""What a task of ours is: its flags' help, and calls that are never equal. The rest is loaded with the first call."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Signature
from typing import Any, Generic, ParamSpec, TypeVar

from invoke.context import Context
from invoke.parser.argument import Argument
from invoke.tasks import Task, task

P = ParamSpec("P")
R = TypeVar("R")

_HELP = {
    "app": "The app's name in the cluster (the repository's name); of deploy.apps: a name, several with commas, or all",
    "jobs": "How many of several apps at once (12; engine builds 2)",
    "namespace": "Its namespace (the app class decides)",
    "image_name": "The repository in the registry (the app's name)",
    "app_class": "business or non-business: which nodes run it (business)",
    "lock_timeout": "Seconds to wait for another run of this checkout (0: not at all)",
    "json": "Print one JSON object instead of the plain result",
    "image_tag": "The image's tag",
    "dockerfile": "The Dockerfile, from the project's root (Dockerfile)",
    "build_context": "The build context, from the project's root (.)",
    "timeout": "Seconds to wait for the build (1800)",
    "repo_url": "What the cluster clones (the git remote, as https)",
    "git_ref": "What the cluster checks out (the commit of HEAD)",
    "cache": "Whether the build may use the builder's cache",
    "wait": "Whether to wait; without, `invoke wait` picks the build up",
    "allow_unpushed": "Build a commit that no remote branch is known to hold",
    "job": "The build job (the build in flight)",
    "build_id": "The digest to deploy, its first 12 digits or more, or 7 or more of its commit (the recorded one)",
    "port": "The port the app listens on",
    "replicas": "How many replicas run (the API's default)",
    "domain": "A domain the app is reached at; repeatable",
    "health_path": "A path that answers 2xx once the app is well",
    "tls": "Whether the domains are served over TLS",
    "env": "KEY=VALUE, or KEY with its value from the environment or .env, for the app; repeatable",
    "build_arg": "KEY=VALUE, or KEY with its value from the environment or .env; repeatable",
    "platform": "What the image is built for; several with commas between them (linux/amd64)",
    "if_needed": "Leave out what is built already from the same commit, and is still there",
    "logs": "Whether to show the build's log while waiting",
    "follow": "Whether to wait until all replicas are ready",
    "rollout_timeout": "Seconds for what was deployed to come up (300)",
    "check_health": "Wait also until https://DOMAIN/HEALTH_PATH answers 2xx",
    "back": "How many digests to go back (1)",
    "allow_secrets_in_context": "Build although .env or .deploy may get into the image",
}


_REPEATABLE = ("domain", "env", "build_arg")
# Switched on and off by a flag, and else by another source of the setting: with True for a default they would be given.
_SWITCHES = ("tls",)


class _Flag(Argument):
    """A flag that is copied in one piece. Invoke copies all flags of all tasks at every start, part by part."""

    @property
    def value(self) -> Any:
        return self._value if self.name in _SWITCHES else super().value

    @value.setter
    def value(self, given: str) -> None:
        self.set_value(given, cast=True)

    def __deepcopy__(self, memo: object) -> _Flag:
        copied = _Flag.__new__(_Flag)
        vars(copied).update(vars(self))
        if isinstance(self._value, list):
            copied._value = list(self._value)
        return copied

    def __repr__(self) -> str:
        # Invoke's own messages show it.
        return f"--{self.names[0]}"


class DeployTask(Task[Callable[P, R]], Generic[P, R]):
    """A task with the parameters and the result of the function that declares it. Its calls are never equal, since
    Invoke drops a call that equals an earlier one: of `local --app a reuse local --app b reuse` it ran one `reuse`."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = Task.__hash__

    def argspec(self, body: Callable[..., Any]) -> Signature:
        # Invoke asks for it two times at every start.
        known: Signature | None = vars(self).get("_argspec")
        if known is None:
            known = vars(self)["_argspec"] = super().argspec(body)
        return known

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        help = dict(self.help)
        flags = super().get_arguments(ignore_unknown_help)
        self.help = help
        for flag in flags:
            flag.__class__ = _Flag
            flag.raw_value = None  # of a repeatable one it is a list, and then none given is not noticed
            if flag.name in _SWITCHES:
                flag.kind, flag.default = bool, True  # which makes Invoke take --no-… as well
        return flags

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]  # Invoke's returns the function
        try:
            from .dispatch import ended_well
        except KeyboardInterrupt as interrupt:
            from ..errors import Interrupted

            raise Interrupted("stopped; nothing was started") from interrupt
        with ended_well(self):
            result: Any = super().__call__(*args, **kwargs)
            returned: R = result
            return returned


def deploy_task(room: str, *, help: dict[str, str] | None = None) -> Callable[[Callable[P, R]], DeployTask[P, R]]:
    """Makes a declared function a task of ours. What it does is the function of its name in the module `room`, which
    takes the context and the flags."""

    def make(declared: Callable[P, R]) -> DeployTask[P, R]:
        @wraps(declared)
        def run(c: Context, *args: Any, **kwargs: Any) -> Any:
            from .dispatch import call_once

            return call_once(c, declared, room, args, kwargs)

        return _made(run, declared, help or {})

    return make


def app_task(
    room: str,
    *,
    jobs: int = 12,
    changes: bool = True,
    aliases: tuple[str, ...] = (),
    help: dict[str, str] | None = None,
) -> Callable[[Callable[P, R]], DeployTask[P, R]]:
    """Makes a declared function a task for one app or several, `jobs` of them at once unless the call says otherwise.
    One that only looks (`changes` false) is not summed up at its end.

    What it does for an app is the function of its name in the module `room`. That takes a Call, gathers and decides,
    sends and changes nothing, and returns what is to be done then. So of several apps, all that is missing is said
    before any is begun.
    """

    def make(declared: Callable[P, R]) -> DeployTask[P, R]:
        @wraps(declared)
        def run(c: Context, *args: Any, **kwargs: Any) -> Any:
            from .dispatch import call_for_apps

            return call_for_apps(c, declared, room, args, kwargs, jobs=jobs, changes=changes)

        return _made(run, declared, help or {}, aliases=aliases)

    return make


def _made(
    run: Callable[..., Any], declared: Callable[P, R], own_help: dict[str, str], **options: Any
) -> DeployTask[P, R]:
    names = declared.__code__.co_varnames[: declared.__code__.co_argcount]
    known = {name: text for name, text in {**_HELP, **own_help}.items() if name in names}
    several = [name for name in _REPEATABLE if name in names]
    made: DeployTask[P, R] = task(klass=DeployTask, auto_shortflags=False, help=known, iterable=several, **options)(run)
    return made
