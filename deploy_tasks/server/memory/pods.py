"""Simulated pods: when they start, are ready and end, and what they log."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

# The letters of generated names in Kubernetes. Source: k8s.io/apimachinery/pkg/util/rand.
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SECONDS_A_CHECK = 10
_MOST_CHECKS = 1000


@dataclass(frozen=True)
class Template:
    """What a pod is made from."""

    app: str
    hash: str
    port: int
    health_path: str | None


@dataclass(eq=False)
class Pod:
    """One pod. Times are in seconds by the cluster's clock, `inf` means never."""

    name: str
    template: Template
    started: float
    ready: float
    ended: float = inf

    @property
    def fails(self) -> bool:
        return self.ready == inf

    def is_there(self, now: float) -> bool:
        return self.started <= now < self.ended

    def lines(self, until: float, previous: bool) -> Iterator[tuple[float, str]]:
        """Time and text of each line that it logs up to `until`. With `previous`, what its container logged before its
        restart: only a failing pod is restarted."""
        until = min(until, self.ended)
        if self.started > until or (previous and not self.fails):
            return
        yield self.started, f"{self.name} started"
        if self.fails:
            yield self.started, f"{self.name} error: this version cannot start (simulated, see --fail-rollout)"
        elif self.ready <= until:
            yield self.ready, f"{self.name} listening on port {self.template.port}"
            if self.template.health_path:
                yield from self._checks(until)

    def _checks(self, until: float) -> Iterator[tuple[float, str]]:
        count = int((until - self.ready) / _SECONDS_A_CHECK) + 1
        for number in range(max(0, count - _MOST_CHECKS), count):
            yield self.ready + number * _SECONDS_A_CHECK, f"{self.name} GET {self.template.health_path} 200"


def rolled_out(earlier: list[Pod], template: Template, replicas: int, now: float, seconds: float) -> list[Pod]:
    """The pods after a deploy at `now`. Those of the same template stay. Missing ones start one after the other, each
    ready after `seconds`. One of an earlier template ends when one of the new template is ready."""
    there = [pod for pod in earlier if pod.is_there(now)]
    same = [pod for pod in there if pod.template == template]
    others = [pod for pod in there if pod.template != template]
    pods, too_many = same[:replicas], same[replicas:]
    starts = now
    while len(pods) < replicas:
        pods.append(Pod(f"{template.app}-{template.hash}-{_letters(5)}", template, starts, starts + seconds))
        starts += seconds
    ready = sorted(max(now, pod.ready) for pod in pods) or [now]
    for number, pod in enumerate(others):
        pod.ended = ready[min(number, len(ready) - 1)]
    for pod in pods:
        pod.ended = inf
    for pod in too_many:
        pod.ended = now
    return pods + others


def _letters(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))
