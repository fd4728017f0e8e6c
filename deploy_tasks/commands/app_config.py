"""How the settings and flags let an app run: the `deployConfig` that is sent, and the variables in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..config.settings import Settings
from ..config.sources import of_flag
from ..config.values import as_text
from ..deploy_config import DeployConfig, Metrics, Port
from ..encoding import fields_of
from ..errors import SettingsError
from ..next_steps import LEFT_OUT
from ..redaction import keep_secret


def config_of(settings: Settings, env: Mapping[str, str]) -> DeployConfig:
    """How the settings let the app run, with the variables `env`."""
    domains = [*settings.domain]
    several = len(domains) > 1 or any(domain.startswith("*") for domain in domains)
    return DeployConfig(
        port=None if settings.ports else settings.known("port"),
        ports=[Port(**fields_of(port)) for port in settings.ports] or None,
        replicas=settings.replicas,
        domain=domains[0] if domains and not several else None,
        domains=domains if several else None,
        health_path=settings.health_path,
        tls=None if settings.tls else False,
        env={**env},
        metrics=Metrics(**fields_of(settings.metrics)) if settings.metrics else None,
        app_class=settings.app_class,
    )


def environment_of(settings: Settings, texts: Sequence[str], *, with_configured: bool = True) -> dict[str, str]:
    """The app's variables: what the configuration says, then what `texts` say: `KEY=VALUE`, or `KEY` with its value
    from the shell or `.env`. SettingsError if one would hand a secret of the deploy to the app."""
    keep_secret(settings.secret_values_of(texts), is_named=True)
    pairs = [of_flag("--env", as_text, text).partition("=") for text in texts]
    for name, equals, value in pairs:
        if not name:
            raise SettingsError(f"--env {equals!r} has no name: KEY=VALUE, or KEY")
        if equals + value == LEFT_OUT:
            raise SettingsError(f"--env {name}{LEFT_OUT}: the value was not repeated, so give it")
    named = settings.values_of([name for name, equals, _ in pairs if not equals], "--env")
    environment = dict(settings.configured_environment) if with_configured else {}
    environment |= {name: value if equals else named[name] for name, equals, value in pairs}
    if secret := settings.secrets_among(environment):
        raise SettingsError(f"the app's variable {', '.join(secret)} would hand a secret of the deploy to the app")
    return environment
