"""What of a host name matters to more than one room."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether `host`, without a port or brackets, is this machine: where plain http reads no key to anybody else."""
    try:
        return host == "localhost" or ("%" not in host and ip_address(host).is_loopback)
    except ValueError:  # a name
        return False


def registry_url(registry: str) -> str:
    """Where the API of `registry` (`host` or `host:port`) begins; http is for this machine alone."""
    scheme = "http" if is_loopback(registry.partition(":")[0]) else "https"
    return f"{scheme}://{registry}/v2/"
