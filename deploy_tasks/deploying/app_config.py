"""How the settings and flags let an app run: its deploy config, with its variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..config.settings import Settings
from ..config.sources import of_flag
from ..config.values import as_text
from ..deploy_config import DeployConfig, Metrics, Port
from ..encoding import fields_of
from ..errors import SettingsError
from ..invocation.work import Work
from ..next_steps import LEFT_OUT
from ..redaction import keep_secret


def configured(work: Work) -> DeployConfig:
    """The deploy config from the settings and flags; SettingsError if they are invalid."""
    config = config_of(work.settings, environment_of(work.settings, work.options["env"] or []))
    if work.options["check_health"]:
        check_domain(config)
    return config


def check_domain(config: DeployConfig) -> None:
    """SettingsError if `--check-health` has no domain to ask."""
    if all(domain.startswith("*") for domain in config.all_domains):
        what = "--check-health needs a domain without *"
        raise SettingsError(what, next="Set --domain or DEPLOY_DOMAIN")


def config_of(settings: Settings, env: Mapping[str, str]) -> DeployConfig:
    """The deploy config from the settings, with the variables `env`."""
    domains = [*settings.domain]
    several = len(domains) > 1 or any(domain.startswith("*") for domain in domains)
    return DeployConfig(
        port=None if settings.ports else settings.get("port"),
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
    """The app's variables: those of the configuration, then those of `texts`: `KEY=VALUE`, or `KEY` with its value from
    the shell or `.env`. SettingsError if one would give one of the kit's secrets to the app."""
    keep_secret(settings.secret_values_of(texts), is_named=True)
    pairs = [of_flag("--env", as_text, text).partition("=") for text in texts]
    for name, equals, value in pairs:
        if not name:
            raise SettingsError(f"--env {equals!r} has no name: KEY=VALUE, or KEY")
        if equals + value == LEFT_OUT:
            raise SettingsError(f"--env {name}{LEFT_OUT}: replace … with the value")
    named = settings.values_of([name for name, equals, _ in pairs if not equals], "--env")
    environment = dict(settings.configured_environment) if with_configured else {}
    environment |= {name: value if equals else named[name] for name, equals, value in pairs}
    if secret := settings.secrets_among(environment):
        raise SettingsError(f"the app's variable {', '.join(secret)} would give a secret of the deploy to the app")
    return environment
