"""What serves a Deploy API on this machine: the sandbox by itself, and the demo with it."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context

from . import console, parsing
from .errors import SettingsError
from .run import Call, begin

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
        from .sandbox.app import Options, SandboxError, serve
    except ImportError as error:
        raise SettingsError(f"the sandbox needs {error.name}: pip install 'deploy-tasks[sandbox]'") from None
    settings = begin(Call.of(c, "sandbox", {})).settings
    options = Options(
        port=_SANDBOX_PORT if port is None else parsing.whole_number("a port", 0, 65535)(port),
        host=host,
        registry=None if registry is None else parsing.registry_host(registry),
        registry_username=settings.registry_username,
        registry_password=settings.registry_password,
        builder=builder,
        key=None if key is None else parsing.api_key(key),
        data=Path(data) if data else None,
        build_seconds=0.0 if build_seconds is None else parsing.seconds(build_seconds),
        replica_seconds=0.2 if replica_seconds is None else parsing.seconds(replica_seconds),
        minimal=minimal,
    )
    if c.config.run.dry:
        return console.tell("dry run: no sandbox was started")
    try:
        serve(options)
    except SandboxError as error:
        raise SettingsError(f"the sandbox cannot start: {error}") from None


def demo(c: Context) -> None:
    """Tells the whole story on this terminal: sandbox, build, reuse."""
    from .demo import DemoError, tell_story

    if c.config.run.dry:
        return console.tell("dry run: no story was told")

    try:
        tell_story()
    except DemoError as error:
        raise SettingsError(str(error)) from None
