"""What a task of this kit is: its help, its errors without secrets, its calls never equal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any

from invoke.exceptions import Exit
from invoke.tasks import Task, task

from . import github, signals
from .errors import DeployError, Interrupted
from .redaction import redact

_HELP = {
    "app": "The app's name in the cluster (the repository's name)",
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
    own_help = options.pop("help", {})

    def make(body: Callable[..., Any]) -> Any:
        names = body.__code__.co_varnames[: body.__code__.co_argcount]
        known = {name: text for name, text in {**_HELP, **own_help}.items() if name in names}
        several = [name for name in _REPEATABLE if name in names]
        return task(klass=DeployTask, auto_shortflags=False, help=known, iterable=several, **options)(body)

    return make
