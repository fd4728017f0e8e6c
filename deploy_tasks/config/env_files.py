"""The `.env` files: parsed, never loaded into the process.

A loaded `.env` file could set HTTPS_PROXY, DOCKER_HOST or LD_PRELOAD. `${…}` is not expanded, since the parser would
expand it even in single quotes. A line that cannot be parsed is an error, so that no setting is lost unnoticed.
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
    """The content of one `.env` file."""

    path: Path
    variables: Mapping[str, str]
    """All variables, including empty ones."""
    has_secret: bool
    """Whether it contains a secret of the kit."""
    exposes_secret: bool
    """Whether it contains a secret and other users of this machine can read it."""


def env_file(root: Path, name: str) -> EnvFile | None:
    """The file `name` (a path from `root`; `~` is the home folder); None if it does not exist. Raises SettingsError.
    From now on, its secrets are redacted."""
    path = root / os.path.expanduser(name)  # noqa: PTH111 - does not raise for an unknown user
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
        # Without the cause: it holds the whole file.
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
