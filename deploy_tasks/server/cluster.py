"""The sandbox's cluster: what is deployed, by digest only, with replicas that become ready one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class App:
    """One deployed app. `image` is a pinned reference; `deployed_at` is by the cluster's clock."""

    namespace: str
    name: str
    image: str
    config: dict[str, Any]
    deployed_at: float
    deploys: int = 1
    history: list[str] = field(default_factory=list)


class Cluster:
    """Apps by namespace and name, each replica ready after `replica_seconds` more; `clock` gives seconds."""

    def __init__(self, replica_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._replica_seconds = replica_seconds
        self._clock = clock
        self._apps: dict[tuple[str, str], App] = {}

    def deploy(self, namespace: str, name: str, image: str, config: dict[str, Any]) -> None:
        """Puts `image` in the place of what runs as `name`."""
        earlier = self._apps.get((namespace, name))
        app = App(namespace, name, image, config, self._clock())
        if earlier:
            app.deploys, app.history = earlier.deploys + 1, [*earlier.history, earlier.image]
        self._apps[namespace, name] = app

    def describe(self, namespace: str, name: str) -> dict[str, Any] | None:
        """The app as the API shows it, or None where nothing was deployed under that name."""
        app = self._apps.get((namespace, name))
        if app is None:
            return None
        replicas = int(app.config.get("replicas", 1))
        passed = self._clock() - app.deployed_at
        ready = min(replicas, int(passed / self._replica_seconds)) if self._replica_seconds else replicas
        return {
            "name": name,
            "namespace": namespace,
            "image": app.image,
            "replicas": replicas,
            "readyReplicas": ready,
            "availableReplicas": ready,
            "deploys": app.deploys,
            "previousImages": app.history,
            "deployConfig": app.config,
            **_scheduling(app.config.get("appClass", "business")),
        }


def _scheduling(app_class: str) -> dict[str, Any]:
    """Node selector and toleration of an app class. Source: the live service's documentation, "app classes"."""
    if app_class == "business":
        return {"nodeSelector": {}, "tolerations": []}
    toleration = {"key": "workload-class", "operator": "Equal", "value": app_class, "effect": "NoSchedule"}
    return {"nodeSelector": {"workload-class": app_class}, "tolerations": [toleration]}
