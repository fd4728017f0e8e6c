"""Which settings a command needs, and warnings about settings that are probably mistakes."""

from __future__ import annotations

from ..config.settings import Settings
from ..deploy_config import APP_CLASSES
from ..next_steps import current_command_line
from ..ui import console
from .call import Call
from .command import TO_DEPLOY, Effect

_DEPLOY_BY_SETTINGS = ("reuse", "deploy", "local-deploy")
"""The tasks that deploy with the current settings."""


def needs_of_build(call: Call, name: str | None) -> tuple[str, ...]:
    """What a build needs for the app `name` of the table. It also needs what a deploy after it needs, so that
    the deploy does not fail after a long build."""
    needs = call.command.needs
    if name:
        return (*needs, *TO_DEPLOY, "cloned_files")
    deploy = next((later for later in current_command_line.get().later if later.task in _DEPLOY_BY_SETTINGS), None)
    # The deploy checks its own flags when it is called.
    return (*needs, *TO_DEPLOY) if deploy and not {"port", "env"} & deploy.given.keys() else needs


def warn(call: Call, settings: Settings) -> None:
    """Warns about settings that are allowed but probably a mistake."""
    command = call.command
    for path in (file.path for file in settings.env_files.values() if file.exposes_secret):
        console.warn(f"{path} holds a secret and others on this machine can read it: chmod 600 {path}")
    for secret in call.project.secrets:
        console.warn(f"{secret} is in Invoke's configuration, which invoke -d prints; keep it in .env")
    for text in settings.misspelt():
        console.warn(text)
    file = settings.not_used.get("DEPLOY_REGISTRY")
    if file and command.effect > Effect.LOOKS and not settings.is_given("registry"):
        with_what = "an environment" if settings.environment else "DEPLOY_ENV_FILE"
        console.warn(f"DEPLOY_REGISTRY in {file} is not used with {with_what}, so the registry is {settings.registry}")
    if (settings.namespace, settings.app_class) == (APP_CLASSES["non-business"], "business") and not command.restores:
        of = f"{settings.name}: " if settings.name else ""
        console.warn(f"{of}app class business in namespace {settings.namespace}: the pods go to the business nodes")
