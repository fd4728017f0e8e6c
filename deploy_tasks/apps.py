"""The table of apps, `deploy.apps` in the Invoke configuration: which of them a call means, and its of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import images
from .errors import SettingsError
from .parsing import unknown
from .settings import Settings, check_known

ALL = "all"
# The state file of an app called so would be the build in flight of a repository without a table.
_RESERVED = (ALL, "in-flight")
# One value of these cannot be meant for several apps.
_NAMES = ("env_from", "env_from_optional", "build_args_from")
_OF_ONE_APP = ("job", "build_id", "image_name", "domain")

Table = Mapping[str, Mapping[str, Any]]


def split(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], Table]:
    """The part of the configuration that is for all apps, and each app's own. SettingsError names the path of a key
    that is no setting, whichever app is meant."""
    general = _with_domains({key: value for key, value in config.items() if key != "apps"}, "deploy")
    check_known(general)
    tables = config.get("apps") or {}
    if not isinstance(tables, Mapping):
        raise SettingsError("configuration deploy.apps is no table of apps; nothing was sent")
    return general, {str(name): _own(general, str(name), table) for name, table in tables.items()}


def _own(general: Mapping[str, Any], name: str, table: object) -> Mapping[str, Any]:
    path = f"deploy.apps.{name}"
    try:
        images.label(name)
    except SettingsError as error:
        raise SettingsError(f"configuration deploy.apps: {error}; nothing was sent") from None
    if name in _RESERVED:
        raise SettingsError(f"configuration {path}: {name!r} has a meaning of its own; name the app otherwise")
    if not isinstance(table or {}, Mapping):
        raise SettingsError(f"configuration {path} is no table of settings; nothing was sent")
    own = _with_domains(dict(table or {}), path)  # type: ignore[call-overload]
    check_known(own, path)
    if "port" in own and "ports" in own:
        raise SettingsError(f"configuration {path} has port and ports, where one of them is needed; nothing was sent")
    return {"app": name, **{key: _joined(key, general.get(key), value) for key, value in own.items()}}


def _with_domains(table: dict[str, Any], path: str) -> dict[str, Any]:
    """`table` with what the API calls `domains` under the name of the setting, which takes several."""
    if "domains" not in table:
        return table
    if "domain" in table:
        raise SettingsError(f"configuration {path} has domain and domains, where one of them is needed")
    return {**{key: value for key, value in table.items() if key != "domains"}, "domain": table["domains"]}


def _joined(key: str, general: object, own: object) -> object:
    """An app's value of a setting: of tables, and of lists of names, what is for all goes along."""
    if isinstance(general, Mapping) and isinstance(own, Mapping) and key != "metrics":
        return {**general, **own}
    if isinstance(general, list) and isinstance(own, list) and key in _NAMES:
        return [*general, *own]
    return own


def chosen(table: Table, text: str | None) -> list[str]:
    """The names that `text` (`a`, `a,b`, `all`, or None for the only one) means. SettingsError names what there is."""
    there = ", ".join(table)
    if text is None:
        if len(table) > 1:
            raise SettingsError(f"which app? There are {there}: --app NAME, several with commas, or --app all")
        return list(table)
    if text == ALL:
        return list(table)
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in table:
            said = next((f"{name!r} is {key} here" for key, own in table.items() if own.get("app") == name), "")
            raise SettingsError(f"{said or unknown('app here', name, table)} (deploy.apps: {there}); nothing was sent")
    return names


def is_several(text: str | None) -> bool:
    """Whether `text` asks for apps in the plural."""
    return text is not None and (text == ALL or "," in text)


def check_flags_of_several(flags: Mapping[str, Any]) -> None:
    """SettingsError where a flag is given that only one app can be meant with."""
    given = [f"--{key.replace('_', '-')}" for key in _OF_ONE_APP if flags.get(key)]
    if given:
        raise SettingsError(f"{', '.join(given)} can be meant for one app only: --app NAME; nothing was sent")


def check_apart(several: Iterable[Settings]) -> None:
    """SettingsError where two apps would be one in the cluster, or their images one in the registry."""
    seen: dict[tuple[str, ...], tuple[str | None, object]] = {}
    for settings in several:
        build = (settings.dockerfile, settings.build_context, settings.build_args, settings.platform)
        marks: dict[tuple[str, ...], object] = {
            ("app", str(settings.app), "in", settings.namespace): None,
            **{("domain", domain): None for domain in settings.domain},
            ("image", str(settings.image_name)): build,
        }
        for mark, same in marks.items():
            name, before = seen.setdefault(mark, (settings.name, same))
            if name != settings.name and (same is None or same != before):
                raise SettingsError(f"{name} and {settings.name} both have {' '.join(mark)}; nothing was sent")
