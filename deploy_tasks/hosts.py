"""Hosts: which one is this machine, and where a registry answers."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether `host`, without a port or brackets, is this machine: a key sent to it over plain http does not leave."""
    try:
        return host == "localhost" or ("%" not in host and ip_address(host).is_loopback)
    except ValueError:  # a name
        return False


def is_local(registry: str) -> bool:
    """Whether `registry` (`host` or `host:port`) is on this machine. Then it is reached over http."""
    return is_loopback(registry.partition(":")[0])


def registry_url(registry: str) -> str:
    """The URL at which the API of `registry` begins."""
    return f"{'http' if is_local(registry) else 'https'}://{registry}/v2/"
