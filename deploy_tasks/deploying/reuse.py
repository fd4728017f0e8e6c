"""`reuse`: deploys a recorded or given digest."""

from __future__ import annotations

from itertools import chain

from .. import images
from ..building.steps import steps_to_build
from ..errors import SettingsError
from ..invocation.command import API, TO_DEPLOY, Command
from ..invocation.work import Work
from ..state.records import Record
from .app_config import configured
from .deploy_plan import DeployPlan, plan_of

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
    return plan_of(work, image, configured(work))


reuse = Command("reuse", plan=_plan_reuse, needs=NEEDS, uses_record=True)
