"""The table of apps, `deploy.apps` in the Invoke configuration: which of them a call means, and what each has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .. import images
from ..app_class import APP_CLASSES, DEFAULT_APP_CLASS
from ..errors import SettingsError
from ..redaction import quoted
from .settings import Settings, check_known, is_given
from .sources import Origin, Source
from .values import build_args, domains, unknown, variable_names

ALL = "all"
# The state file of an app called so would be the build in flight of a repository without a table.
_RESERVED = (ALL, "in-flight")
# Lists whose entries for all go along with those that an app has of its own.
_LISTS = {
    **dict.fromkeys(("env_from", "env_from_optional", "build_args_from"), variable_names),
    "build_args": build_args,
}
_MAKES_AN_IMAGE = ("repo_url", "git_ref", "dockerfile", "build_context", "platform", "build_args", "build_args_from")
# One value of these cannot be meant for several apps.
_OF_ONE_APP = ("job", "build_id", "image_name", "domain")
_FLAG = Origin(Source.FLAG, "--app")

Table = Mapping[str, Mapping[str, Any]]


def split(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], Table]:
    """The part of the configuration that is for all apps, and each app's own. SettingsError names the path of a key
    that is no setting, whichever app is meant."""
    general = _with_domains({key: value for key, value in config.items() if key != "apps"}, "deploy")
    check_known(general)
    tables = config.get("apps") or {}
    if not isinstance(tables, Mapping):
        raise SettingsError("configuration deploy.apps is no table of apps")
    _check_ports(general, "deploy")
    table = {str(name): _own(general, str(name), table) for name, table in tables.items()}
    _check_apart(general, table)
    return general, table


def _check_ports(table: Mapping[str, Any], path: str) -> None:
    if is_given(table.get("port")) and is_given(table.get("ports")):
        raise SettingsError(f"configuration {path} has port and ports, where one of them is needed")


def _check_apart(general: Mapping[str, Any], table: Table) -> None:
    """Does for the table as it is written what `check_apart` does for settings: a clash is found even where only one
    of the two apps is meant."""
    seen = _Apart()
    for name, own in table.items():
        of_app = {**general, **own}
        image, tag = of_app.get("image_name") or own["app"], of_app.get("image_tag") or of_app.get("git_ref")
        namespace = of_app.get("namespace") or APP_CLASSES.get(str(of_app.get("app_class", DEFAULT_APP_CLASS)))
        seen.add(
            f"deploy.apps.{name}",
            place=f"{own['app']} in {namespace}",
            domains=_domains(name, general, own),
            image=f"{image}:{tag or '(the commit)'}",
            made_of=[of_app.get(key) for key in _MAKES_AN_IMAGE],
        )


def _domains(name: str, general: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[str, ...]:
    if is_given(own.get("domain")):
        return Origin(Source.APP, f"deploy.apps.{name}.domain").parsed(domains, own["domain"])
    if is_given(general.get("domain")):
        return Origin(Source.CONFIG, "deploy.domain").parsed(domains, general["domain"])
    return ()


def _own(general: Mapping[str, Any], name: str, table: object) -> Mapping[str, Any]:
    path = f"deploy.apps.{name}"
    Origin(Source.CONFIG, "deploy.apps").parsed(images.label, name)
    if name in _RESERVED:
        raise SettingsError(f"configuration {path}: {name!r} has a meaning of its own; name the app otherwise")
    if not isinstance(table or {}, Mapping):
        raise SettingsError(f"configuration {path} is no table of settings")
    own = _with_domains(dict(table or {}), path)  # type: ignore[call-overload]
    check_known(own, path)
    _check_ports(own, path)
    own = {"app": name, **{key: value for key, value in own.items() if is_given(value)}}
    return {**own, **_joined(general, own, path)}


def _with_domains(table: dict[str, Any], path: str) -> dict[str, Any]:
    """`table` with what the API calls `domains` under the name of the setting, which takes several."""
    if "domains" not in table:
        return table
    if "domain" in table:
        raise SettingsError(f"configuration {path} has domain and domains, where one of them is needed")
    return {**{key: value for key, value in table.items() if key != "domains"}, "domain": table["domains"]}


def _joined(general: Mapping[str, Any], own: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """What is for all and goes along with what an app has of its own. A name that the app has a value of its own for is
    not taken from elsewhere."""
    joined: dict[str, Any] = {}
    values = own["env"] if isinstance(own.get("env"), Mapping) else {}
    if values and isinstance(general.get("env"), Mapping):
        joined["env"] = {**general["env"], **values}
    for key, parse in _LISTS.items():
        if is_given(general.get(key)):
            for_all = Origin(Source.CONFIG, f"deploy.{key}").parsed(parse, general[key])
            its_own = Origin(Source.APP, f"{path}.{key}").parsed(parse, own[key]) if key in own else ()
            joined[key] = [*(text for text in for_all if key == "build_args" or text not in values), *its_own]
    return joined


def chosen(table: Table, text: str | None, origin: Origin = _FLAG) -> list[str]:
    """The names that `text` (`a`, `a,b`, `all`, or None for the only one) means, which is from `origin`. SettingsError
    names what there is."""
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
            said = next((f"{quoted(name)} is {key} here" for key, own in table.items() if own.get("app") == name), "")
            said = said or unknown("app here", name, table)
            mend = "; remove it, or name one of these" if origin.source is Source.CONFIG else ""
            raise SettingsError(f"{origin}: {said} (deploy.apps: {there}){mend}")
    return names


def is_several(text: str | None) -> bool:
    """Whether `text` asks for apps in the plural."""
    return text is not None and (text == ALL or "," in text)


def are_among(text: str, others: str | None) -> bool:
    """Whether all apps that `text` asks for are among those that `others` asks for."""
    names, known = ({name.strip() for name in said.split(",")} for said in (text, others or ""))
    return others == ALL or names <= known


def check_flags_of_several(flags: Mapping[str, Any]) -> None:
    """SettingsError where a flag is given that only one app can be meant with."""
    given = [f"--{key.replace('_', '-')}" for key in _OF_ONE_APP if flags.get(key)]
    if given:
        raise SettingsError(f"{', '.join(given)} can be meant for one app only: --app NAME")


def check_apart(several: Iterable[Settings]) -> None:
    """SettingsError where two apps would be one in the cluster, be reached at one domain, or push different images by
    one name and tag."""
    seen = _Apart()
    for settings in several:
        seen.add(
            str(settings.name),
            place=f"{settings.app} in {settings.namespace}",
            domains=settings.domain,
            image=f"{settings.image_name}:{settings.image_tag or settings.git_ref or '(the commit)'}",
            made_of=[getattr(settings, key) for key in _MAKES_AN_IMAGE],
        )


class _Apart:
    """Takes down what no two apps may have."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, object]] = {}

    def add(self, name: str, *, place: str, domains: Iterable[str], image: str, made_of: object) -> None:
        """SettingsError where an earlier app has this one's place in the cluster, one of its domains, or its image made
        of something else."""
        alone = [f"app {place}", *(f"domain {domain.lower()}" for domain in domains)]
        for mark, same in [*((mark, name) for mark in alone), (f"image {image}", made_of)]:
            other, before = self._seen.setdefault(mark, (name, same))
            if same != before:
                raise SettingsError(f"{other} and {name} both have {mark}")
