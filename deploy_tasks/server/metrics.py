"""What `/metrics` answers, in the format of Prometheus."""

from __future__ import annotations

from contextlib import AbstractContextManager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 30, 300, 1800)


class Measured:
    """The numbers of one application, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        labels = ("method", "path")
        self._requests = Counter(
            "deploy_api_requests", "Requests that were answered", (*labels, "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "deploy_api_request_seconds",
            "Seconds from a request to the end of its answer",
            labels,
            registry=self._registry,
            buckets=_BUCKETS,
        )
        self._waits = Gauge("deploy_api_waits_open", "Waits for a build that are open", registry=self._registry)

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        """Counts a request. `path` is the route's, so that no client can make up labels."""
        self._requests.labels(method, path, str(status)).inc()
        self._seconds.labels(method, path).observe(seconds)

    def open_wait(self) -> AbstractContextManager[None]:
        """Counts a wait while it is open."""
        return self._waits.track_inprogress()

    def text(self) -> tuple[bytes, str]:
        """All of it, and its media type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
