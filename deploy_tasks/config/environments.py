"""Environments, named clusters: the names they may have, which one a call means, and that nothing leads to another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

from .. import images
from ..errors import SettingsError
from ..redaction import quoted
from .schema import DECIDES_CLUSTER, WITH_VARIABLE, Setting, suffix_of
from .settings import Layer, settle
from .sources import Origin, Source
from .values import unknown

_CALLED = {
    "api_url": "API address",
    "api_key": "API key",
    "registry": "registry",
    "registry_username": "registry's user",
    "registry_password": "registry's password",
}
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


def check_file(named: str, names: Sequence[str], environment: str | None, origin: Origin) -> None:
    """SettingsError if DEPLOY_ENV_FILE names the file of another environment than the selected one: what it holds, such
    as the key, would go to another cluster."""
    file = PurePath(named).name.removesuffix(".local")
    other = next((name for name in names if file == f".env.{name}"), environment)
    if other != environment:
        here = f"{environment} is selected ({origin})" if environment else "no environment is selected"
        raise SettingsError(
            f"DEPLOY_ENV_FILE names {named}, the file of environment {other}, but {here}",
            next=[f"Use --environment {other}, which reads that file", "Or leave out DEPLOY_ENV_FILE"],
        )


def check_known(name: str, names: Sequence[str], where: str, flag: str = "--environment") -> None:
    """SettingsError, which begins with `where`, if `name` is not one of the environments `names`; it says to use the
    `flag`."""
    if name not in names:
        from difflib import SequenceMatcher

        nearest = sorted(names, key=lambda known: SequenceMatcher(None, name, known).ratio(), reverse=True)
        raise SettingsError(f"{where}{unknown('an environment here', name, names)}", next=choose(nearest, flag))


def choose(names: Sequence[str], flag: str = "--environment") -> str:
    if not names:
        return "No environment is configured: list it under deploy.environments in invoke.yaml"
    return f"Use {flag} NAME (available: {', '.join(names)})"


def check_agree(layers: Iterable[Layer], environment: str | None, *, is_by_flag: bool) -> None:
    """SettingsError if one of `layers`, the most trusted first, that is of the call disagrees with a more trusted one
    about the API address, its key, or the registry: a variable that is still set from earlier would lead to another
    cluster, or give it the key of this one. `is_by_flag`: no variable or default selects the environment."""
    for row in DECIDES_CLUSTER:
        meant: tuple[Origin, object] | None = None
        for layer in layers:
            if meant is not None and not layer.is_of_call:
                continue
            values, origins = settle([row], [layer])
            origin, value = origins[row.key], values[row.key]
            if origin.source is Source.DEFAULT:
                continue
            meant = meant or (origin, value)
            if value != meant[1]:
                error = _contradiction(row, *meant, origin, value, environment)
                if environment and not is_by_flag:
                    error.next += ("Or select no environment, with DEPLOY_ENVIRONMENT= before the command",)
                raise error


def _contradiction(
    row: Setting, meant: Origin, value: object, origin: Origin, other: object, environment: str | None
) -> SettingsError:
    """`row` is `value` by `meant`, but `other` by `origin`."""
    texts = ("", "") if row.secret else (f" ({quoted(value)})", f" ({quoted(other)})")
    of = f" of {environment}" if environment else ""
    what = f"{origin}{texts[1]} contradicts the {_CALLED[row.key]}{of}, {meant}{texts[0]}"
    is_variable = origin.source is Source.VARIABLE
    return SettingsError(what, next=f"Run: unset {origin.key if is_variable else 'DEPLOY_ENV_FILE'}")
