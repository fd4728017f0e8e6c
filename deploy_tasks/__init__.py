"""Invoke tasks that build a container image once and deploy that exact image by its digest.

In a `tasks.py`: `from deploy_tasks import ns`. For a task of your own: `from deploy_tasks import build, DeployError`.
All tasks are in `deploy_tasks.tasks`, all errors in `deploy_tasks.errors`.
"""

# ruff: noqa: F403, F405 - `__all__` lists every name once
# Type checkers know this name; `typing` is not imported, to load faster.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .errors import *
    from .tasks import *
    from .tasks import demo as demo
    from .tasks import ns as ns

__version__ = "0.1.0"
__all__ = [
    "ApiRefused",
    "BuildFailed",
    "ChangedMeanwhile",
    "DeployError",
    "DigestNotFound",
    "EngineError",
    "Interrupted",
    "JobNotFound",
    "Locked",
    "MayHaveStarted",
    "NothingStarted",
    "RolloutFailed",
    "SettingsError",
    "SomeFailed",
    "StateError",
    "StillRunning",
    "__version__",
    "build",
    "demo",
    "deploy",
    "digest",
    "doctor",
    "history",
    "init",
    "local",
    "local_deploy",
    "logs",
    "ns",
    "promote",
    "reuse",
    "rollback",
    "sandbox",
    "status",
    "wait",
]


def __getattr__(name: str) -> object:
    # Looked up when asked for, so that `from deploy_tasks.api.client import DeployClient` loads no tasks.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Errors are classes, tasks are not.
    if name[0].isupper():
        from . import errors

        return getattr(errors, name)
    from . import tasks

    return getattr(tasks, name)
