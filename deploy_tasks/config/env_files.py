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
from typing import NamedTuple

from ..errors import SettingsError
from ..redaction import keep_secret
from .paths import mode_of, unreadable
from .schema import SECRET_VARIABLE


class EnvFile(NamedTuple):
    """What is in one `.env` file."""

    path: Path
    variables: Mapping[str, str]
    """All of them, the empty ones too."""
    has_secret: bool
    """Whether it holds a secret of the kit."""
    exposes_secret: bool
    """Whether it does, and others on this machine can read it."""


def env_file(root: Path, name: str) -> EnvFile | None:
    """The file of this name (a path from `root`; `~` is a home); None if there is none. Raises SettingsError. From now
    on its secrets are redacted."""
    path = root / os.path.expanduser(name)  # noqa: PTH111 - leaves an unknown user's as it is
    mode = mode_of(path)
    if not mode and not path.is_symlink():
        return None
    if mode and not stat.S_ISREG(mode):
        raise SettingsError(f"{path} is not a regular file")
    from dotenv.parser import parse_stream

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
    variables = {binding.key: binding.value or "" for binding in bindings if binding.key is not None}
    secrets = [value for name, value in variables.items() if value and SECRET_VARIABLE.fullmatch(name)]
    keep_secret(secrets)
    return EnvFile(path, variables, bool(secrets), bool(secrets and mode & (stat.S_IRGRP | stat.S_IROTH)))
