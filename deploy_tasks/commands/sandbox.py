"""What serves a Deploy API on this machine: the sandbox by itself, and the demo with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from invoke.context import Context

from ..config import values as parsing
from ..config.sources import of_flag
from ..errors import SettingsError
from ..invocation.call import Call
from ..invocation.work import begin
from ..ui import console

T = TypeVar("T")

_SANDBOX_PORT = 8077


def sandbox(
    c: Context,
    port: int | None,
    host: str,
    registry: str | None,
    builder: str,
    key: str | None,
    data: str | None,
    build_seconds: float | None,
    replica_seconds: float | None,
    minimal: bool,
) -> None:
    """Serves a Deploy API with a registry on this machine, until Ctrl-C."""
    try:
        from ..server.app import Options, SandboxError, serve
    except ImportError as error:
        raise SettingsError(f"the sandbox needs {error.name}: pip install 'deploy-tasks[sandbox]'") from error
    settings = begin(Call.of(c, "sandbox", {})).settings
    options = Options(
        port=_given("--port", parsing.whole_number("a port", 0, 65535), port, _SANDBOX_PORT),
        host=host,
        registry=_given("--registry", parsing.registry_host, registry, None),
        registry_username=settings.registry_username,
        registry_password=settings.registry_password,
        builder=builder,
        key=_given("--key", parsing.api_key, key, None),
        data=Path(data) if data else None,
        build_seconds=_given("--build-seconds", parsing.seconds_or_zero, build_seconds, 0.0),
        replica_seconds=_given("--replica-seconds", parsing.seconds_or_zero, replica_seconds, 0.2),
        minimal=minimal,
    )
    if c.config.run.dry:
        return console.tell("dry run: no sandbox was started")
    try:
        serve(options)
    except SandboxError as error:
        raise SettingsError(f"the sandbox cannot start: {error}") from error


def _given(flag: str, parse: Callable[[Any], T], value: object, default: Any) -> T:
    parsed: T = default if value is None else of_flag(flag, parse, value)
    return parsed


def demo(c: Context) -> None:
    """Tells the whole story on this terminal: sandbox, build, reuse."""
    from .demo import DemoError, tell_story

    if c.config.run.dry:
        return console.tell("dry run: no story was told")

    try:
        tell_story()
    except DemoError as error:
        raise SettingsError(str(error)) from error
