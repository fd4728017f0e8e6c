"""Environments (named clusters): checks their names, and that no source mixes up two of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

from .. import images
from ..errors import SettingsError
from ..redaction import quoted
from .schema import DECIDES_CLUSTER, WITH_VARIABLE, suffix_of
from .sources import Layer, Origin, Source, settle
from .values import unknown

_CALLED = {
    "api_url": "API address",
    "api_key": "API key",
    "registry": "registry",
    "registry_username": "registry's user",
    "registry_password": "registry's password",
}
# `.env.<name>` has another meaning for these: values of this machine, or a committed example.
_RESERVED = ("local", "example", "sample", "template", "dist")


def check_names(names: Iterable[str]) -> None:
    """SettingsError for an environment's name whose variables or files would have a second meaning."""
    taken = {row.variable: f"the setting {row.key}" for row in WITH_VARIABLE}
    taken["DEPLOY_ENV_FILE"] = "the name of a file"
    for name in dict.fromkeys(names):
        path = f"configuration deploy.environments.{name}"
        Origin(Source.CONFIG, "configuration", "deploy.environments").parsed(images.label, name)
        if name in _RESERVED:
            raise SettingsError(f"{path}: an environment cannot be called {name}, since .env.{name} is reserved")
        for row in WITH_VARIABLE:
            variable = f"{row.variable}{suffix_of(name)}"
            if variable in taken:
                raise SettingsError(
                    f"{path}: an environment cannot be called {name} here, since {variable} is {taken[variable]}"
                )
            taken[variable] = f"{row.key} of environment {name}"


def check_file(named: str, names: Sequence[str], environment: str | None, origin: Origin) -> None:
    """SettingsError if DEPLOY_ENV_FILE names the file of an environment that is not selected: its key and other values
    would go to another cluster."""
    file = PurePath(named).name.removesuffix(".local")
    other = next((name for name in names if file == f".env.{name}"), environment)
    if other != environment:
        here = f"{environment} is selected ({origin})" if environment else "no environment is selected"
        raise SettingsError(
            f"DEPLOY_ENV_FILE names {named}, the file of environment {other}, but {here}",
            next=[f"Use --environment {other}, which reads that file", "Or leave out DEPLOY_ENV_FILE"],
        )


def check_known(name: str, names: Sequence[str], where: str, flag: str = "--environment") -> None:
    """SettingsError if `name` is empty or not one of the environments `names`. Its text begins with `where` and
    suggests the `flag`."""
    if name in names:
        return
    from difflib import SequenceMatcher

    nearest = sorted(names, key=lambda known: SequenceMatcher(None, name, known).ratio(), reverse=True)
    step = f"Use {flag} NAME (available: {', '.join(nearest)})"
    if not names:
        step = "No environment is configured: list it under deploy.environments in invoke.yaml"
    what = unknown("an environment here", name, names) if name else "the name is empty"
    raise SettingsError(f"{where}{what}", next=step)


def check_agree(
    layers: Sequence[Layer],
    levels: Sequence[Layer],
    environ: Mapping[str, str],
    environment: str | None,
    *,
    is_selected: bool,
    is_by_flag: bool,
) -> None:
    """SettingsError if variables of the call contradict a more trusted source about the API's URL, its key, or the
    registry: a variable that is still set from earlier would lead to another cluster, or send it this cluster's key.

    Most trusted are the configuration and files of the environment, then the call's variables for that environment
    only, then the general configuration and variables; of the call, DEPLOY_ENV_FILE before the shell. `levels` is the
    configuration without INVOKE_* variables. `is_by_flag`: a flag selects the environment.
    """
    of_call = [layer for layer in reversed(layers) if layer.is_of_call]
    trusted = [layer for layer in of_call if layer.suffix]
    if environment:
        *for_environment, for_all = levels
        of_files = [layer for layer in layers if layer.source is Source.ENV_FILE and not layer.is_of_call]
        trusted = [*for_environment, *of_files, *trusted, for_all]
    trusted += [layer for layer in of_call if not layer.suffix]
    for row in DECIDES_CLUSTER:
        to_invoke = [f"INVOKE_{row.variable}"] if is_selected else []
        if environment:
            to_invoke.insert(0, f"INVOKE_DEPLOY_ENVIRONMENTS{suffix_of(environment)}_{row.key.upper()}")
        by_invoke = [
            Layer(Source.VARIABLE, "shell variable", name, {row.key: environ.get(name)}, is_of_call=True)
            for name in to_invoke
        ]
        meant = meant_by = None
        for layer in (*trusted, *by_invoke):
            if meant_by and not layer.is_of_call:
                continue
            values, origins = settle([row], [layer])
            value, origin = values[row.key], origins[row.key]
            if origin.source is Source.DEFAULT:
                continue
            if not meant_by:
                meant, meant_by = value, origin
            elif value != meant:
                texts = ("", "") if row.secret else (f" ({quoted(meant)})", f" ({quoted(value)})")
                of = f" of {environment}" if environment else ""
                variable = origin.key if origin.source is Source.VARIABLE else "DEPLOY_ENV_FILE"
                steps = [f"Run: unset {variable}"]
                if environment and not is_by_flag:
                    steps.append("Or select no environment, with DEPLOY_ENVIRONMENT= before the command")
                what = f"{origin}{texts[1]} contradicts the {_CALLED[row.key]}{of}, {meant_by}{texts[0]}"
                raise SettingsError(what, next=steps)
