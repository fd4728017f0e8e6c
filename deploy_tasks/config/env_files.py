"""The `.env` files: parsed and never loaded.

A `.env` file that is loaded can set HTTPS_PROXY, DOCKER_HOST or LD_PRELOAD. `${…}` is not replaced, since that happens
even in single quotes. A line that cannot be parsed is an error, since a lost setting goes unnoticed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from ..errors import SettingsError
from ..redaction import keep_secret
from .paths import status_of, unreadable
from .schema import secrets_in


class EnvFiles:
    """The `.env` files of the project at `root`. Each is read once, and its secrets are redacted from then on."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[str, Mapping[str, str] | None] = {}

    def of(self, named: str | None, of_app: str | None = None) -> dict[str, Mapping[str, str]]:
        """The files that count, strongest first: their variables by the name of the file. Raises SettingsError.

        `of_app` is the file of one app and may be missing; `named` (DEPLOY_ENV_FILE) replaces `.env.local` and `.env`.
        """
        found: dict[str, Mapping[str, str]] = {}
        for name in [*([of_app] if of_app else []), *([named] if named else [".env.local", ".env"])]:
            if name not in self._read:
                self._read[name] = variables = _variables(env_path(self._root, name))
                keep_secret(secrets_in(variables or {}))
            if (known := self._read[name]) is not None:
                found[name] = known
        if named and named not in found:
            raise SettingsError(f"DEPLOY_ENV_FILE names {named}, which does not exist")
        return found


def env_path(root: Path, name: str) -> Path:
    return root / os.path.expanduser(name)  # noqa: PTH111 - leaves an unknown user's folder as it is


def _variables(path: Path) -> Mapping[str, str] | None:
    """The variables in the file, the empty ones too; None if there is no file."""
    from dotenv.parser import parse_stream

    status = status_of(path)
    if status is None and not path.is_symlink():
        return None
    if status and not stat.S_ISREG(status.st_mode):
        raise SettingsError(f"{path} is not a regular file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError:
        # Not from the cause: it holds the whole file.
        raise SettingsError(f"{path} is not UTF-8 text", next="Save it as UTF-8") from None
    bindings = list(parse_stream(StringIO(text)))
    for binding in bindings:
        if binding.error:
            # The line may hold a secret, so only its number is shown.
            raise SettingsError(f"{path}, line {binding.original.line}: not KEY=value (a quote that is not closed?)")
    return {binding.key: binding.value or "" for binding in bindings if binding.key is not None}
