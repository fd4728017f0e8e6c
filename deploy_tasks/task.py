"""What a task of this kit is: its help, its errors without secrets, its calls never equal."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from inspect import signature
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import Task, task

from . import apps, github, parallel, signals
from .errors import DeployError, Interrupted, SettingsError, SomeFailed, StateError
from .parallel import Act
from .redaction import redact
from .run import Call

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
    "build_id": "The digest to deploy, or its first 12 digits or more (the recorded one)",
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
    "rollout_timeout": "Seconds for that (300)",
    "check_health": "Wait also until https://DOMAIN/HEALTH_PATH answers 2xx",
    "back": "How many digests to go back (1)",
    "allow_secrets_in_context": "Build although .env or .deploy may get into the image",
}


_NOT_ALL_CAN = "nothing was sent, since not all of the apps have what they need:"
_REPEATABLE = ("domain", "env", "build_arg")
API = ("api_url", "api_key", "app")
"""What every task needs that talks to the API."""


class DeployTask(Task):  # type: ignore[type-arg]  # generic over its function, which every use below fills in itself
    """A task whose calls are never equal, since Invoke drops a call that equals an earlier one: of
    `local --app a reuse local --app b reuse` it ran one `reuse` only. Its errors show no secret."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = Task.__hash__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            with signals.raised():
                return super().__call__(*args, **kwargs)
        except DeployError as error:
            error.message = redact(error.message or "")
            error.args = (error.message,)  # which `invoke -d` prints
            if not isinstance(error, Interrupted) and not error.is_annotated:
                github.annotate(f"{self.name} failed", error.message)
                error.is_annotated = True
            raise
        except BrokenPipeError:
            # Whoever reads a result may have had enough of it, as `head` has.
            sys.stdout = None
            raise Exit(code=128 + signal.SIGPIPE) from None
        except KeyboardInterrupt as interrupt:
            raise Interrupted("stopped", signals.signal_number(interrupt)) from None


def deploy_task(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Makes a function that takes the context and its flags a task of ours."""
    own_help = options.pop("help", {})

    def make(body: Callable[..., Any]) -> Any:
        names = signature(body).parameters
        known = {name: text for name, text in {**_HELP, **own_help}.items() if name in names}
        several = [name for name in _REPEATABLE if name in names]
        return task(klass=DeployTask, auto_shortflags=False, help=known, iterable=several, **options)(body)

    return make


def app_task(*, jobs: int = 12, changes: bool = True, **options: Any) -> Callable[[Callable[..., Act]], Any]:
    """Makes a function a task for one app or several, `jobs` of them at once unless the call says otherwise. One that
    only looks (`changes` false) is not summed up at its end.

    The function takes a Call in the place of the context, and its flags. It gathers and decides, sends and changes
    nothing, and returns what is to be done then. So of several apps, all that is missing is said before any is begun.
    """

    def make(body: Callable[..., Act]) -> Any:
        @wraps(body)
        def for_each_app(c: Context, *args: Any, **kwargs: Any) -> Any:
            bound = signature(body).bind(c, *args, **kwargs)
            bound.apply_defaults()
            flags = dict(list(bound.arguments.items())[1:])
            name = body.__name__.replace("_", "-")
            call = Call.of(c, name, flags)
            calls = call.of_each()
            if not calls[0].is_of_several:
                act = body(calls[0], **flags)
                call.hold_target()
                return act.do()
            acts = _decided(body, calls, flags)
            call.hold_target()

            def again(names: Sequence[str]) -> str:
                return _command(name, {**call.flags, "app": ",".join(names)}, body)

            is_dry = bool(c.config.run.dry)
            at_once = 1 if is_dry else calls[0].jobs or jobs
            return parallel.each(name, acts, jobs=at_once, again=again, changes=changes and not is_dry)

        made = deploy_task(**options)(for_each_app)
        made.of_one = partial(_of_one, body)
        return made

    return make


def _of_one(body: Callable[..., Act], call: Call) -> Act:
    """What is to be done for one app, as a part of a call that has other flags too."""
    return body(call, **{name: call.flags[name] for name in signature(body).parameters if name in call.flags})


def _decided(body: Callable[..., Act], calls: Sequence[Call], flags: Mapping[str, Any]) -> dict[str, Act]:
    """What is to be done for each app. SettingsError says all that keeps any of them from it."""
    acts: dict[str, Act] = {}
    errors: dict[str, DeployError] = {}
    for call in calls:
        name = call.name or ""
        try:
            acts[name] = body(call, **flags)
        except (SettingsError, StateError) as error:
            errors[name] = error
    if errors:
        lines = [f"{name}: {str(error).removesuffix('; nothing was sent')}" for name, error in errors.items()]
        raise SomeFailed("\n  ".join([_NOT_ALL_CAN, *lines]), errors)
    apps.check_apart(act.run.settings for act in acts.values())
    return acts


def _command(name: str, flags: Mapping[str, Any], body: Callable[..., Any]) -> str:
    """The command line that calls the task `name` with `flags`. Of the app's environment only the names, since a value
    may be a secret; without one, the command asks for it."""
    words = ["invoke", name]
    for key, parameter in list(signature(body).parameters.items())[1:]:
        value, flag = flags[key], key.replace("_", "-")
        if value == parameter.default or value in (None, []):
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            values = value if isinstance(value, list | tuple) else [value]
            words += [f"--{flag}={str(text).partition('=')[0] if key == 'env' else text}" for text in values]
    return " ".join(map(shlex.quote, words))
