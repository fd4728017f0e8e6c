"""This repository's own namespace: the kit's tasks."""

from deploy_tasks import ns

__all__ = ["ns"]
