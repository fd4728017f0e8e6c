"""Which flags a suggested command needs, so that it means in another shell what it means here."""

from __future__ import annotations

from collections.abc import Sequence

from ..config.settings import Settings
from ..config.sources import Source
from ..deploy_config import APP_CLASSES, DEFAULT_APP_CLASS
from ..options import FOLLOWED, HOW_IT_RUNS, IMAGE, TARGET
from ..state.records import Target

_TO_BUILD = (*TARGET, *IMAGE)
REPEATED = {
    "build": _TO_BUILD,
    "local": _TO_BUILD,
    "local-deploy": (*_TO_BUILD, *HOW_IT_RUNS, *FOLLOWED),
    "reuse": (*TARGET, *HOW_IT_RUNS, *FOLLOWED),
    "history": ("app",),
    "logs": ("app",),
}
"""Which flags of a call a suggested command of another task repeats; of a task that is not here, `TARGET`."""


def target_flags(
    settings: Settings,
    target: Target | None = None,
    keys: Sequence[str] = TARGET,
    *,
    without_record: bool = False,
) -> dict[str, object]:
    """The flags of `keys` without which a command in another shell would not mean `target` (default: that of
    `settings`). With `without_record`, that also holds once the state file records something else."""

    def without_flag(key: str, default: object) -> object:
        """The value of a setting in another shell; None if it is not known."""
        if key in settings.of_call:
            return None
        source = settings.origins[key].source
        is_default = source is Source.DEFAULT or (without_record and source is Source.RECORD)
        return default if is_default else settings.get(key)

    wanted = {key: getattr(target, key) if target else settings.get(key) for key in TARGET}
    app_class = without_flag("app_class", DEFAULT_APP_CLASS)
    usual_class = wanted["app_class"] if "app_class" in keys else app_class
    meant = {
        "app": without_flag("app", None),
        "namespace": without_flag("namespace", APP_CLASSES.get(str(usual_class))),
        "image_name": without_flag("image_name", wanted["app"]),
        "app_class": app_class,
    }
    flags = {key: wanted[key] for key in keys if wanted[key] != meant[key]}
    return {**flags, "app": settings.name} if settings.name and "app" in keys else flags
