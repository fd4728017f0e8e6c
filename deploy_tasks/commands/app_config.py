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


def config_of(settings: Settings, env: Mapping[str, str], *, is_by_flag: bool = False) -> DeployConfig:
    """How the settings let the app run, with the variables `env`; if it `is_by_flag`, only what flags say."""

    def has(key: str) -> bool:
        return not is_by_flag or settings.is_by_flag(key)

    domains = list(settings.domain) if has("domain") else []
    several = len(domains) > 1 or any(domain.startswith("*") for domain in domains)
    tls = settings.tls if is_by_flag and settings.is_by_flag("tls") else None
    return DeployConfig(
        port=settings.port if has("port") and not settings.ports else None,
        ports=[Port(**fields_of(port)) for port in settings.ports] or None if has("ports") else None,
        replicas=settings.replicas if has("replicas") else None,
        domain=domains[0] if domains and not several else None,
        domains=domains if several else None,
        health_path=settings.health_path if has("health_path") else None,
        tls=tls if is_by_flag else None if settings.tls else False,
        env={**env},
        metrics=Metrics(**fields_of(settings.metrics)) if settings.metrics and has("metrics") else None,
        app_class=settings.app_class if has("app_class") else None,
    )


def typed_environment(settings: Settings, texts: Sequence[str]) -> dict[str, str]:
    """The variables that `texts` name: `KEY=VALUE`, or `KEY` with its value from the shell or `.env`. SettingsError if
    one would hand a secret of the deploy to the app."""
    return _checked(settings, _typed(settings, texts))


def environment_of(settings: Settings, texts: Sequence[str]) -> dict[str, str]:
    """The app's environment: what the configuration says, then what `texts` say; otherwise as `typed_environment`."""
    return _checked(settings, {**settings.configured_environment, **_typed(settings, texts)})


def _typed(settings: Settings, texts: Sequence[str]) -> dict[str, str]:
    pairs = [of_flag("--env", as_text, text).partition("=") for text in texts]
    for name, equals, value in pairs:
        if not name:
            raise SettingsError(f"--env {equals!r} has no name: KEY=VALUE, or KEY")
        if equals + value == LEFT_OUT:
            raise SettingsError(f"--env {name}{LEFT_OUT}: the value was not repeated, so give it")
    named = settings.values_of([name for name, equals, _ in pairs if not equals], "--env")
    return {name: value if equals else named[name] for name, equals, value in pairs}


def _checked(settings: Settings, environment: dict[str, str]) -> dict[str, str]:
    if secret := settings.secrets_among(environment):
        raise SettingsError(f"the app's variable {', '.join(secret)} would hand a secret of the deploy to the app")
    return environment


def check_domain(config: DeployConfig) -> None:
    """SettingsError if there is no domain that `--check-health` can request."""
    if all(domain.startswith("*") for domain in config.all_domains):
        what = "--check-health needs a domain to ask at, one without *"
        raise SettingsError(what, next="Set --domain or DEPLOY_DOMAIN")
