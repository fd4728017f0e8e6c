"""What of a host name matters to more than one room."""

from __future__ import annotations

import re

_LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1")


def is_loopback(host: str) -> bool:
    """Whether `host`, without a port or brackets, is this machine: where plain http reads no key to anybody else."""
    return _LOOPBACK.fullmatch(host) is not None


def registry_url(registry: str) -> str:
    """Where the API of `registry` (`host` or `host:port`) begins; http is for this machine alone."""
    scheme = "http" if is_loopback(registry.partition(":")[0]) else "https"
    return f"{scheme}://{registry}/v2/"
