"""`reuse`: deploys a digest that is recorded or given; and how a deploy is planned."""

from __future__ import annotations

from functools import partial
from itertools import chain

from .. import images
from ..api.schemas import DeployRequest
from ..deploy_config import DeployConfig
from ..errors import SettingsError
from ..invocation.command import API, Command
from ..invocation.work import Work
from ..signals import in_background
from ..state.records import Record
from .app_config import config_of, environment_of
from .deploy_plan import DeployPlan
from .digest import steps_to_build

NEEDS = (*API, "port", "env_from")


def _plan_reuse(work: Work) -> DeployPlan:
    image, image_name, wanted = work.record, work.settings.image_name, work.options["build_id"]
    if wanted is not None:
        entries, recorded = work.state.history, image
        try:
            build_id = images.digest(entries.of_image(image_name).digest_for(wanted))
        except ValueError as error:
            # A failed `"$(…)"` in a shell gives an empty text, so an empty text does not mean "not given".
            raise SettingsError(f"flag --build-id: {error} (of a recorded one its first 12 will do)") from error
        image = Record(build_id=build_id)
        of_digest = (one for one in chain([recorded] if recorded else [], entries) if one.build_id == build_id)
        if first := next(of_digest, None):
            image = next((one for one in chain([first], of_digest) if one.image_name == image_name), first)
    if image is None or image.build_id is None:
        raise SettingsError("no digest is recorded yet", "Nothing was deployed", steps_to_build(work, None))
    if image.image_name not in (None, image_name):
        steps = steps_to_build(work, None)
        # Of several apps, no record may reach another app.
        if not work.name:
            steps.append(work.step("reuse", "Or deploy that image", continues=True, image_name=image.image_name))
        what = f"the recorded digest is of image {image.image_name}, not of {image_name}"
        raise SettingsError(what, "Nothing was deployed", steps)
    return plan_of(work, image)


reuse = Command("reuse", _plan_reuse, needs=NEEDS, uses_record=True)


def plan_of(work: Work, image: Record, config: DeployConfig | None = None) -> DeployPlan:
    """The deploy of `image`, which has no digest if it is to be made yet. It runs as `config` says, or else as the
    settings and flags say, which are checked."""
    settings = work.settings
    if config is None:
        config = config_of(settings, environment_of(settings, work.options["env"] or []))
    if work.options["check_health"] and all(domain.startswith("*") for domain in config.all_domains):
        what = "--check-health needs a domain to ask at, one without *"
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
            in_background(partial(work.checkout.between, image.git_ref))  # git answers meanwhile
        if not work.is_of_several:  # of several, one may be refused yet, and nothing is to be sent
            work.begin_to_look()
    return DeployPlan(request=request, deployed=deployed)
