"""The tables of apps and environments in the Invoke configuration: what each has, and which apps a call means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from .. import images
from ..app_class import APP_CLASSES, DEFAULT_APP_CLASS
from ..errors import SettingsError
from ..redaction import quoted
from .environments import check_names
from .schema import BY_KEY, JOINED, NOT_GIVEN, SECRETS
from .settings import Layer
from .sources import Origin, Source
from .values import domains, unknown

ALL = "all"
SEVERAL = re.compile(f"{ALL}|.*,.*")
"""What asks for apps in the plural."""
# The state file of an app called so would be the build in flight of a repository without a table.
_RESERVED = (ALL, "in-flight")
# What stands under `deploy` and is not a setting; the last one under an app, too.
_TABLES = ("apps", "environments")
_MAKES_AN_IMAGE = ("repo_url", "git_ref", "dockerfile", "build_context", "platform", "build_args", "build_args_from")
# One value of these cannot be meant for several apps.
_OF_ONE_APP = ("job", "build_id", "image_name", "domain")

Entry = Mapping[str, object]
Table = Mapping[str, Entry]


class Configuration(Struct, frozen=True):
    """The `deploy` part of the configuration, each value as it is written."""

    general: Entry
    """What holds for all apps and environments."""
    table: Table = {}
    """`deploy.apps`: the entry of each app, with its `app`."""
    environments: Table = {}
    """`deploy.environments`: the entry of each environment."""
    own: Mapping[str, Table] = {}
    """`deploy.apps.<name>.environments`: by the app, what it has of its own in environments."""

    def all_environments(self, app: str | None = None) -> tuple[str, ...]:
        """The names of the environments of an app, or of all apps, in the order of the configuration."""
        tables = [self.own.get(app, {})] if app is not None else self.own.values()
        return tuple(dict.fromkeys(name for table in (self.environments, *tables) for name in table))

    def secrets(self) -> Iterator[str]:
        """The paths of the secrets in it."""
        environments = {f"deploy.environments.{name}": entry for name, entry in self.environments.items()}
        for path, entry in {"deploy": self.general, **environments}.items():
            yield from (f"{path}.{row.key}" for row in SECRETS if entry.get(row.key) not in NOT_GIVEN)

    def levels(self, app: str | None, environment: str | None) -> list[Layer]:
        """What the configuration has for an app in an environment, strongest first."""
        levels = [Layer(Source.CONFIG, "configuration", "deploy.{row.key}", self.general)]
        if app is not None:
            shown = f"deploy.apps.{app}.{{row.key}}"
            levels.append(Layer(Source.APP, "configuration", shown, self.table[app]))
        if environment is not None:
            shown, values = f"deploy.environments.{environment}.{{row.key}}", self.environments.get(environment, {})
            if app is not None:  # what an app is called is its own; here it is a choice among apps
                values = {key: value for key, value in values.items() if key != "app"}
            levels.append(Layer(Source.ENVIRONMENT, "configuration", shown, values))
        if app is not None and environment is not None:
            shown, values = f"deploy.apps.{app}.environments.{environment}.{{row.key}}", self.own.get(app, {})
            levels.append(Layer(Source.APP_ENVIRONMENT, "configuration", shown, values.get(environment, {})))
        return _joined(levels[::-1])


def split(config: Entry) -> Configuration:
    """The parts of the configuration. SettingsError names the path of what is wrong in any of them."""
    general = _checked({key: value for key, value in config.items() if key not in _TABLES}, "deploy")
    environments = _environments(config.get("environments"), "deploy")
    table, own = {}, {}
    for name, values in _entries(config.get("apps"), "deploy.apps", "apps").items():
        path = f"deploy.apps.{name}"
        Origin(Source.CONFIG, "configuration", "deploy.apps").parsed(images.label, name)
        if name in _RESERVED:
            raise SettingsError(f"configuration {path}: an app cannot be called {name} here, since that has a meaning")
        own[name] = _environments(values.get("environments"), path)
        entry = {key: value for key, value in values.items() if key != "environments"}
        table[name] = {"app": name, **_given(_checked(entry, path))}
    found = Configuration(general, table, environments, own)
    every = found.all_environments()
    if every:
        check_names(every)
    if table:
        # As written, so that a conflict is found even if only one of the two apps is meant.
        for environment in (None, *every):
            where = f" in {environment}" if environment else ""
            check_apart({f"deploy.apps.{name}{where}": _merged(found.levels(name, environment)) for name in table})
    return found


def _entries(table: object, path: str, what: str) -> dict[str, Entry]:
    """The entries of the table at `path`, by their names; one without a value is empty."""
    if not isinstance(table or {}, Mapping):
        raise SettingsError(f"configuration {path} is not a table of {what}")
    entries: dict[str, Entry] = {}
    for name, values in dict(table or {}).items():  # type: ignore[call-overload]  # a Mapping
        if not isinstance(values or {}, Mapping):
            raise SettingsError(f"configuration {path}.{name} is not a table of settings")
        entries[str(name)] = values or {}
    return entries


def _environments(table: object, path: str) -> dict[str, Entry]:
    """The entries of the environments under `path`."""
    path = f"{path}.environments"
    return {
        name: _given(_checked(values, f"{path}.{name}", is_environment=True))
        for name, values in _entries(table, path, "environments").items()
    }


def _given(values: Entry) -> Entry:
    return {key: value for key, value in values.items() if value not in NOT_GIVEN}


def _merged(levels: Iterable[Layer]) -> Entry:
    return {key: value for level in reversed([*levels]) for key, value in level.values.items()}


def _checked(values: Entry, path: str, *, is_environment: bool = False) -> Entry:
    """`values` with `domains`, as the API calls it, under `domain`. SettingsError for a key that is not a setting."""
    for one, other in (("domain", "domains"), ("port", "ports")):
        if values.get(one) not in NOT_GIVEN and values.get(other) not in NOT_GIVEN:
            raise SettingsError(f"configuration {path} has both {one} and {other}, but only one of them is allowed")
    renamed = {**values}
    if "domains" in renamed:
        renamed["domain"] = renamed.pop("domains") or renamed.get("domain")
    is_of_app = path.startswith("deploy.apps.")
    tables = () if is_environment else _TABLES[1:] if is_of_app else _TABLES
    for key, value in renamed.items():
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
            # It guards something, so that no value must not mean the default.
            raise SettingsError(f"configuration {path}.{key} has no value", next="Write true or false")
        if row.joined and value not in NOT_GIVEN:
            Origin(Source.CONFIG, "configuration", f"{path}.{key}").parsed(row.parse, value)
    return renamed


def _joined(levels: Sequence[Layer]) -> list[Layer]:
    """`levels`, strongest first. What they have of each joined list or table stands in the strongest that has any of
    it. Where a level has the value of a variable, weaker levels do not name it."""
    found = [level._replace(values={**level.values}) for level in levels]
    for row in JOINED:
        table: dict[str, object] = {}
        items: list[object] = []
        having: list[dict[str, object]] = []
        for level, joined in zip(levels[::-1], found[::-1], strict=True):
            own, with_value = level.values.get(row.key), level.values.get("env") or ()
            if row.key not in ("env", "build_args"):
                items = [item for item in items if item not in with_value]  # type: ignore[operator]  # a table
            if own in NOT_GIVEN:
                continue
            parsed = level.origin(row).parsed(row.parse, own)
            if isinstance(parsed, Mapping):
                table.update(parsed)
            else:
                items += parsed
            having.append(joined.values)  # type: ignore[arg-type]  # made above
        for values in having:
            del values[row.key]
        if having:
            having[-1][row.key] = table or items
    return found


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
