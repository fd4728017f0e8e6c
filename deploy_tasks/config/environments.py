"""Environments, named clusters: the names they may have, which one a call means, and that nothing leads to another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .. import images
from ..errors import SettingsError
from ..redaction import quoted
from .schema import BY_KEY, DECIDES_CLUSTER, NOT_GIVEN, WITH_VARIABLE, Setting, suffix_of
from .settings import Layer, settle
from .sources import Origin, Source
from .values import unknown

_CALLED = {"api_url": "API address", "api_key": "API key", "registry": "registry"}
# `.env.<name>` has another meaning: values of this machine, or an example that is committed.
_RESERVED = ("local", "example", "sample", "template", "dist")


def check_names(names: Iterable[str]) -> None:
    """SettingsError for the name of an environment that cannot be used: its variables or files would mean something
    else too."""
    taken = {row.variable: f"the setting {row.key}" for row in WITH_VARIABLE}
    taken["DEPLOY_ENV_FILE"] = "the name of a file"
    for name in dict.fromkeys(names):
        path = f"configuration deploy.environments.{name}"
        Origin(Source.CONFIG, "configuration", "deploy.environments").parsed(images.label, name)
        if name in _RESERVED:
            raise SettingsError(f"{path}: an environment cannot be called {name}, since .env.{name} has a meaning")
        for row in WITH_VARIABLE:
            variable = f"{row.variable}{suffix_of(name)}"
            if variable in taken:
                raise SettingsError(
                    f"{path}: an environment cannot be called {name} here, since {variable} is {taken[variable]}"
                )
            taken[variable] = f"{row.key} of environment {name}"


def selected(names: Sequence[str], layers: Sequence[Layer]) -> tuple[str | None, Origin]:
    """The environment that the first of `layers` names, and where it does. None if none does, or if it is selected by
    an empty variable of the shell. SettingsError if it is not one of `names`, or if a flag is empty."""
    row = BY_KEY["environment"]
    for layer in layers:
        value = layer.get(row)
        if value == "" and layer.source is Source.FLAG:
            raise SettingsError(f"{layer.origin(row)}: the name is empty", next=_choose(names))
        if value == "" and layer.source is Source.VARIABLE:
            return None, layer.origin(row)
        if value not in NOT_GIVEN:
            origin = layer.origin(row)
            name = origin.parsed(row.parse, value)
            check_known(name, names, f"{origin}: ")
            return name, origin
    return None, Origin(Source.DEFAULT, "default")


def check_known(name: str, names: Sequence[str], where: str) -> None:
    """SettingsError, which begins with `where`, if `name` is not one of the environments `names`."""
    if name not in names:
        from difflib import SequenceMatcher

        nearest = sorted(names, key=lambda known: SequenceMatcher(None, name, known).ratio(), reverse=True)
        raise SettingsError(f"{where}{unknown('an environment here', name, names)}", next=_choose(nearest))


def _choose(names: Sequence[str]) -> str:
    if not names:
        return "No environment is configured: list it under deploy.environments in invoke.yaml"
    return f"Use --environment NAME (available: {', '.join(names)})"


def check_agree(places: Iterable[Sequence[Layer]], environment: str | None) -> None:
    """SettingsError if two of the `places` disagree about the API address, its key, or the registry: a variable that is
    still set from earlier would lead to another cluster, or give it the key of this one. The first place that has a
    value is the one that is meant."""
    given = [settle(DECIDES_CLUSTER, layers) for layers in places]
    for row in DECIDES_CLUSTER:
        found = [(origins[row.key], values[row.key]) for values, origins in given]
        found = [(origin, value) for origin, value in found if origin.source is not Source.DEFAULT]
        for origin, value in found[1:]:
            if value != found[0][1]:
                raise _contradiction(row, *found[0], origin, value, environment)


def _contradiction(
    row: Setting, meant: Origin, value: object, origin: Origin, other: object, environment: str | None
) -> SettingsError:
    """`row` is `value` by `meant`, but `other` by `origin`."""
    texts = ("", "") if row.secret else (f" ({quoted(value)})", f" ({quoted(other)})")
    of = f" of {environment}" if environment else ""
    what = f"{origin}{texts[1]} contradicts the {_CALLED[row.key]}{of}, {meant}{texts[0]}"
    is_variable = origin.source is Source.VARIABLE
    steps = [f"Run: unset {origin.key if is_variable else 'DEPLOY_ENV_FILE'}"]
    if environment:
        steps.append("Or select no environment, with DEPLOY_ENVIRONMENT= before the command")
    return SettingsError(what, next=steps)
