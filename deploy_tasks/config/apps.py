"""The table of apps, `deploy.apps` in the Invoke configuration: what each app has, and which apps a call means."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .. import images
from ..app_class import APP_CLASSES, DEFAULT_APP_CLASS
from ..errors import SettingsError
from ..redaction import quoted
from .schema import BY_KEY, NOT_GIVEN, SETTINGS
from .sources import Origin, Source
from .values import domains, unknown

ALL = "all"
SEVERAL = re.compile(f"{ALL}|.*,.*")
"""What asks for apps in the plural."""
# The state file of an app called so would be the build in flight of a repository without a table.
_RESERVED = (ALL, "in-flight")
_MAKES_AN_IMAGE = ("repo_url", "git_ref", "dockerfile", "build_context", "platform", "build_args", "build_args_from")
# One value of these cannot be meant for several apps.
_OF_ONE_APP = ("job", "build_id", "image_name", "domain")

Entry = Mapping[str, object]
Table = Mapping[str, Entry]


def split(config: Entry) -> tuple[Entry, Table]:
    """The part of the configuration for all apps, and the entry of each app. SettingsError names the path of what is
    wrong in any of them."""
    general = _checked({key: value for key, value in config.items() if key != "apps"}, "deploy")
    entries = config.get("apps") or {}
    if not isinstance(entries, Mapping):
        raise SettingsError("configuration deploy.apps is not a table of apps")
    table = {str(name): _entry(general, str(name), entry or {}) for name, entry in entries.items()}
    if table:
        # As written, so that a conflict is found even if only one of the two apps is meant.
        check_apart({f"deploy.apps.{name}": {**general, **entry} for name, entry in table.items()})
    return general, table


def _checked(values: Entry, path: str) -> Entry:
    """`values` with `domains`, as the API calls it, under `domain`. SettingsError for a key that is not a setting."""
    for one, other in (("domain", "domains"), ("port", "ports")):
        if values.get(one) not in NOT_GIVEN and values.get(other) not in NOT_GIVEN:
            raise SettingsError(f"configuration {path} has both {one} and {other}, but only one of them is allowed")
    renamed = {**values}
    if "domains" in renamed:
        renamed["domain"] = renamed.pop("domains") or renamed.get("domain")
    for key in renamed:
        if key not in BY_KEY:
            known = [f"{path}.{name}" for name in (*BY_KEY, "domains", *(["apps"] if path == "deploy" else []))]
            raise SettingsError(f"configuration: {unknown('a setting', f'{path}.{key}', known)}")
        if BY_KEY[key].is_global and path != "deploy":
            raise SettingsError(f"configuration {path}.{key} is for all apps, so it must be under deploy")
    return renamed


def _entry(general: Entry, name: str, values: object) -> Entry:
    """What the app `name` has of its own. Some lists and tables are the general entries and its own; a variable with a
    value of the app is then not taken from elsewhere."""
    path = f"deploy.apps.{name}"
    Origin(Source.CONFIG, "configuration", "deploy.apps").parsed(images.label, name)
    if name in _RESERVED:
        raise SettingsError(f"configuration {path}: an app cannot be called {name} here, since that has a meaning")
    if not isinstance(values, Mapping):
        raise SettingsError(f"configuration {path} is not a table of settings")
    own = {key: value for key, value in _checked(values, path).items() if value not in NOT_GIVEN}
    entry, variables = {"app": name, **own}, own.get("env")
    for row in SETTINGS:
        if not row.joined or general.get(row.key) in NOT_GIVEN:
            continue
        for_all = Origin(Source.CONFIG, "configuration", f"deploy.{row.key}").parsed(row.parse, general[row.key])
        origin = Origin(Source.APP, "configuration", f"{path}.{row.key}")
        of_app = origin.parsed(row.parse, own[row.key]) if row.key in own else ()
        if isinstance(for_all, Mapping):
            entry[row.key] = {**for_all, **dict(of_app)}
        else:
            with_value = variables if isinstance(variables, Mapping) and row.key != "build_args" else ()
            entry[row.key] = [*(text for text in for_all if text not in with_value), *of_app]
    return entry


def named(table: Table, text: str | None, origin: Origin) -> list[str]:
    """The names in the table that `text` means: `a`, `a,b`, `all`, or None for the only one. SettingsError lists the
    apps."""
    steps = [f"Use --app NAME, --app NAME,NAME or --app all (available: {', '.join(table)})"]
    if text is None and len(table) > 1:
        raise SettingsError("no app is selected", next=steps)
    if text is None or text == ALL:
        return list(table)
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in table:
            called = next((key for key, entry in table.items() if entry["app"] == name), None)
            what = f"{quoted(name)} is called {called} here" if called else unknown("an app here", name, table)
            remove = [f"Remove {origin.key} from the configuration"] if origin.source is Source.CONFIG else []
            raise SettingsError(f"{origin}: {what}", next=[*remove, *steps])
    return names


def are_among(text: str, others: str | None) -> bool:
    """Whether all apps that `text` names are among those that `others` names."""
    names, known = ({name.strip() for name in (said or "").split(",")} for said in (text, others))
    return others == ALL or names <= known


def check_flags_of_several(flags: Mapping[str, object]) -> None:
    """SettingsError for a flag whose value can be meant for one app only."""
    if wrong := [f"--{key.replace('_', '-')}" for key in _OF_ONE_APP if flags.get(key)]:
        raise SettingsError(f"{', '.join(wrong)} can be used for one app only", next="Use --app NAME")


def check_apart(apps: Table) -> None:
    """SettingsError if two apps have the same place in the cluster, the same domain, or the same image tag for
    different images. Their settings are as they are written, or settled."""
    seen: dict[str, tuple[str, object]] = {}
    for name, values in apps.items():
        app, app_class = values["app"], values.get("app_class") or DEFAULT_APP_CLASS
        namespace = values.get("namespace") or APP_CLASSES.get(str(app_class))
        tag = values.get("image_tag") or values.get("git_ref") or "(the commit)"
        domain = values.get("domain")
        origin = Origin(Source.CONFIG, "configuration", f"{name}.domain")
        hosts = () if domain in NOT_GIVEN else origin.parsed(domains, domain)
        marks: dict[str, object] = {
            **dict.fromkeys((f"app {app} in {namespace}", *(f"domain {host.lower()}" for host in hosts)), name),
            f"image {values.get('image_name') or app}:{tag}": [values.get(key) for key in _MAKES_AN_IMAGE],
        }
        for mark, same in marks.items():
            other, before = seen.setdefault(mark, (name, same))
            if same != before:
                raise SettingsError(f"{other} and {name} both have {mark}")
