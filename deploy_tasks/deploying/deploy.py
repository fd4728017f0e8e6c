"""`reuse`: deploys a recorded or given digest. Also plans every other deploy (`plan_of`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain

from .. import images
from ..api.schemas import DeployRequest
from ..building.digest import steps_to_build
from ..config.settings import Settings
from ..config.sources import of_flag
from ..config.values import as_text
from ..deploy_config import DeployConfig, Metrics, Port
from ..encoding import fields_of
from ..errors import SettingsError
from ..invocation.command import API, TO_DEPLOY, Command
from ..invocation.work import Work
from ..next_steps import LEFT_OUT
from ..redaction import keep_secret
from ..signals import in_background
from ..state.records import Record
from .deploy_plan import DeployPlan

NEEDS = (*API, *TO_DEPLOY)


def _plan_reuse(work: Work) -> DeployPlan:
    image, image_name, wanted = work.record, work.settings.image_name, work.options["build_id"]
    if wanted is not None:
        entries, recorded = work.state.history, image
        try:
            build_id = images.digest(entries.of_image(image_name).digest_for(wanted))
        except ValueError as error:
            # A failed `"$(…)"` in a shell gives an empty text, so an empty text does not mean "not given".
            raise SettingsError(
                f"flag --build-id: {error} (of a recorded one, its first 12 digits are enough)"
            ) from error
        image = Record(build_id=build_id)
        of_digest = (one for one in chain([recorded] if recorded else [], entries) if one.build_id == build_id)
        if first := next(of_digest, None):
            image = next((one for one in chain([first], of_digest) if one.image_name == image_name), first)
    if image is None or image.build_id is None:
        raise SettingsError("no digest is recorded yet", "Nothing was deployed", steps_to_build(work, None))
    if image.image_name not in (None, image_name):
        steps = steps_to_build(work, None)
        # With several apps, an app may not use the record of another.
        if not work.name:
            steps.append(work.step("reuse", "Or deploy that image", continues=True, image_name=image.image_name))
        what = f"the recorded digest is of image {image.image_name}, not of {image_name}"
        raise SettingsError(what, "Nothing was deployed", steps)
    return plan_of(work, image)


reuse = Command("reuse", _plan_reuse, needs=NEEDS, uses_record=True)


def plan_of(work: Work, image: Record, config: DeployConfig | None = None) -> DeployPlan:
    """The plan to deploy `image`, which has no digest if it is not built yet. The default for `config` comes from the
    settings and flags; SettingsError if they are invalid."""
    settings = work.settings
    if config is None:
        config = config_of(settings, environment_of(settings, work.options["env"] or []))
    if work.options["check_health"] and all(domain.startswith("*") for domain in config.all_domains):
        what = "--check-health needs a domain without *"
        raise SettingsError(what, next="Set --domain or DEPLOY_DOMAIN")
    request = DeployRequest(
        app=settings.app,
        namespace=settings.namespace,
        image_name=image.image_name or settings.image_name,
        build_id=image.build_id or "",
        deploy=True,
        deploy_config=config,
    )
    deployed = Record.of(
        image,
        app=request.app,
        namespace=request.namespace,
        image_name=request.image_name,
        app_class=config.app_class,
        environment=settings.environment,
    )
    if image.build_id:
        if image.git_ref:
            in_background(partial(work.checkout.since, image.git_ref))  # so that the answer is there when it is shown
        if not work.is_of_several:  # of several apps, another may still be refused; then nothing must be sent
            work.begin_to_look()
    return DeployPlan(request=request, deployed=deployed)


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
