"""The tables of apps and environments in Invoke's configuration, and the apps that a call selects."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from msgspec import Struct

from .. import images
from ..deploy_config import APP_CLASSES, DEFAULT_APP_CLASS
from ..errors import SettingsError
from ..redaction import quoted
from .environments import check_names
from .schema import BY_KEY, JOINED, NOT_GIVEN
from .sources import Layer, Origin, Source, settle
from .values import domains, unknown

ALL = "all"
SEVERAL = re.compile(f"{ALL}|.*,.*")
"""A selection of several apps."""
# The state file of an app called in-flight would be the build in flight of a repository without a table.
_RESERVED = (ALL, "in-flight")
# Keys under `deploy` that are not settings. The last one is also allowed under an app.
_TABLES = ("apps", "environments")
_MAKES_AN_IMAGE = ("repo_url", "git_ref", "dockerfile", "build_context", "platform", "build_args", "build_args_from")
# Flags whose value can be for one app only.
_OF_ONE_APP = ("job", "build_id", "image_name", "domain")

Entry = Mapping[str, object]
Table = Mapping[str, Entry]


class Configuration(Struct, frozen=True):
    """The `deploy` part of the configuration, with raw values."""

    general: Entry
    """The settings for all apps and environments."""
    table: Table
    """`deploy.apps`: the entry of each app, with its `app`."""
    environments: Table
    """`deploy.environments`: the entry of each environment."""
    own: Mapping[str, Table]
    """`deploy.apps.<name>.environments`, by app."""
    names: Mapping[str | None, tuple[str, ...]]
    """The names of each app's environments, and under None those of all apps, in the order of the configuration."""

    def levels(self, app: str | None, environment: str | None) -> list[Layer]:
        """The layers of the configuration for an app in an environment, strongest first."""
        levels = [(Source.CONFIG, "deploy", self.general)]
        if app is not None:
            levels.append((Source.APP, f"deploy.apps.{app}", self.table[app]))
        if environment is not None:
            values = self.environments.get(environment, {})
            if app is not None:  # here `app` selects among the apps; it is not this app's name
                values = {key: value for key, value in values.items() if key != "app"}
            levels.append((Source.ENVIRONMENT, f"deploy.environments.{environment}", values))
        if app is not None and environment is not None:
            own = self.own[app].get(environment, {})
            levels.append((Source.APP_ENVIRONMENT, f"deploy.apps.{app}.environments.{environment}", own))
        return [Layer(source, "configuration", f"{path}.{{row.key}}", values) for source, path, values in levels[::-1]]


def split(config: Entry) -> Configuration:
    """The parts of the configuration. SettingsError names the path of an invalid entry."""
    general = {key: value for key, value in _checked(config, "deploy", _TABLES).items() if key not in _TABLES}
    environments = _entries(config, "deploy", "environments")
    table, own = {}, {}
    names: dict[str | None, tuple[str, ...]] = {None: (*environments,)}
    for name, entry in _entries(config, "deploy", "apps", _TABLES[1:]).items():
        Origin(Source.CONFIG, "configuration", "deploy.apps").parsed(images.label, name)
        path = f"deploy.apps.{name}"
        if name in _RESERVED:
            raise SettingsError(f"configuration {path}: an app cannot be called {name} here: the name is reserved")
        own[name] = _entries(entry, path, "environments")
        names[name] = tuple(dict.fromkeys((*environments, *own[name])))
        names[None] = tuple(dict.fromkeys((*names[None], *own[name])))
        table[name] = {"app": name, **{key: value for key, value in entry.items() if key not in _TABLES}}
    found = Configuration(general, table, environments, own, names)
    if names[None]:
        check_names(names[None])
    # All apps are checked, so that a conflict is found even if the call selects only one of the two.
    for environment in (None, *names[None]) if table else ():
        where = f" in {environment}" if environment else ""
        apps = {}
        for name in table:
            levels = found.levels(name, environment)
            written = {key: value for level in reversed(levels) for key, value in level.values.items()}
            apps[f"deploy.apps.{name}{where}"] = {**written, **settle(JOINED, levels)[0]}
        check_conflicts(apps)
    return found


def _entries(config: Entry, path: str, what: str, tables: Collection[str] = ()) -> dict[str, Entry]:
    """The checked entries of the table `what` (apps or environments) in `config`, without values that count as not
    given. `path` is that of `config`; `tables` are the tables that an entry may contain."""
    path, table = f"{path}.{what}", config.get(what) or {}
    if not isinstance(table, Mapping):
        raise SettingsError(f"configuration {path} is not a table of {what}")
    entries: dict[str, Entry] = {}
    for name, values in table.items():
        if not isinstance(values or {}, Mapping):
            raise SettingsError(f"configuration {path}.{name} is not a table of settings")
        checked = _checked(values or {}, f"{path}.{name}", tables, is_environment=what == "environments")
        entries[str(name)] = {key: value for key, value in checked.items() if value not in NOT_GIVEN}
    return entries


def _checked(values: Entry, path: str, tables: Collection[str], *, is_environment: bool = False) -> Entry:
    """`values` with `domains` (the API's name) renamed to `domain`. SettingsError for a key that is neither a setting
    nor one of the `tables`."""
    for one, other in (("domain", "domains"), ("port", "ports")):
        if values.get(one) not in NOT_GIVEN and values.get(other) not in NOT_GIVEN:
            raise SettingsError(f"configuration {path} has both {one} and {other}, but only one of them is allowed")
    renamed = {**values}
    if "domains" in renamed:
        renamed["domain"] = renamed.pop("domains") or renamed.get("domain")
    is_of_app = path.startswith("deploy.apps.")
    for key, value in renamed.items():
        if key in tables:
            continue
        row = BY_KEY.get(key)
        if row is None:
            known = [f"{path}.{name}" for name in (*BY_KEY, "domains", *tables)]
            raise SettingsError(f"configuration: {unknown('a setting', f'{path}.{key}', known)}")
        if row.is_global and is_of_app:
            where = "deploy or deploy.environments" if row.key != "environment" else "deploy"
            raise SettingsError(f"configuration {path}.{key} is for all apps, so it must be under {where}")
        if row.key == "environment" and is_environment:
            raise SettingsError(f"configuration {path}.{key}: an environment cannot select another")
        if row.of_environments and not is_environment:
            raise SettingsError(f"configuration {path}.{key}: only an environment can be {key}")
        if row.of_environments and value in NOT_GIVEN:
            # A missing value must not turn off the protection.
            raise SettingsError(f"configuration {path}.{key} has no value", next="Write true or false")
        if row.joined and value not in NOT_GIVEN:
            Origin(Source.CONFIG, "configuration", f"{path}.{key}").parsed(row.parse, value)
    return renamed


def named(table: Table, text: str | None, origin: Origin) -> list[str]:
    """The apps of the table that `text` selects: `a`, `a,b`, `all`, or None for the only one. SettingsError lists the
    available apps."""
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
    """Whether `others` names all apps that `text` names. Both are app names with commas, or `all`."""
    names, known = ({name.strip() for name in (said or "").split(",")} for said in (text, others))
    return others == ALL or names <= known


def check_flags_of_several(flags: Mapping[str, object]) -> None:
    """SettingsError for a flag whose value can be for one app only."""
    if wrong := [f"--{key.replace('_', '-')}" for key in _OF_ONE_APP if flags.get(key)]:
        raise SettingsError(f"{', '.join(wrong)} can be used for one app only", next="Use --app NAME")


def check_conflicts(apps: Table) -> None:
    """SettingsError if two apps have the same name and namespace, the same domain, or the same image tag for different
    images. `apps` may have raw or parsed values."""
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
