"""Invoke tasks that build a container image once and deploy that exact image by its digest.

In a `tasks.py`: `from deploy_tasks import ns`. Single tasks are in `deploy_tasks.tasks`.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["__version__", "ns"]

if TYPE_CHECKING:
    from .tasks import ns


def __getattr__(name: str) -> object:
    # Looked up when asked for, so that `from deploy_tasks.client import DeployClient` loads no tasks.
    if name == "ns":
        from .tasks import ns

        return ns
    raise AttributeError(name)
