"""`sandbox`: a Deploy API with a registry on this machine, until Ctrl-C."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from invoke.context import Context

from ..config import values
from ..config.project import Project
from ..config.sources import of_flag
from ..errors import SettingsError
from ..ui import console


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
    fail_rollout: bool,
    minimal: bool,
) -> None:
    """Serves a Deploy API with a registry on this machine, until Ctrl-C. SettingsError if it cannot start."""
    try:
        from ..server.memory.sandbox import Options, SandboxError, serve
    except ImportError as error:
        raise SettingsError(
            f"the sandbox needs {error.name}", "", "Install it: pip install 'deploy-tasks[sandbox]'"
        ) from error
    settings = Project.of(c).load(None, {})
    options = Options(
        port=8077 if port is None else of_flag("--port", partial(values.whole_number, "a port", 0, 65535), port),
        host=host,
        registry=None if registry is None else of_flag("--registry", values.registry_host, registry),
        registry_username=settings.registry_username,
        registry_password=settings.registry_password,
        builder=builder,
        key=None if key is None else of_flag("--key", values.api_key, key),
        data=Path(data) if data else None,
        build_seconds=of_flag("--build-seconds", values.seconds_or_zero, build_seconds or 0),
        replica_seconds=of_flag(
            "--replica-seconds", values.seconds_or_zero, 0.2 if replica_seconds is None else replica_seconds
        ),
        fail_rollout=fail_rollout,
        minimal=minimal,
    )
    if c.config.run.dry:
        return console.tell("dry run: no sandbox was started")
    try:
        serve(options)
    except SandboxError as error:
        raise SettingsError(f"the sandbox cannot start: {error}", "") from error
