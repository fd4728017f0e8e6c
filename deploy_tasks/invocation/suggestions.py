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
    wanted = {key: getattr(target, key) if target else settings.get(key) for key in TARGET}
    # What they mean in another shell, None where that is not known.
    meant: dict[str, object] = {"app": None, "image_name": wanted["app"], "app_class": DEFAULT_APP_CLASS}
    forgotten = (Source.DEFAULT, Source.RECORD) if without_record else (Source.DEFAULT,)
    for key in TARGET:
        if key in settings.of_call:
            meant[key] = None
        elif settings.origins[key].source not in forgotten:
            meant[key] = settings.get(key)
    usual_class = wanted["app_class"] if "app_class" in keys else meant["app_class"]
    meant.setdefault("namespace", APP_CLASSES.get(str(usual_class)))
    flags = {key: wanted[key] for key in keys if wanted[key] != meant[key]}
    return {**flags, "app": settings.name} if settings.name and "app" in keys else flags
