"""Finds files with secrets in a build context.

Ignore files are matched by a port of moby's matcher, since the rules of `.gitignore` differ.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from e2b_dockerfile_utils import PatternMatcher

from ..errors import SettingsError
from ..ui import console

# Examples contain no secrets.
_ENV_FILE = re.compile(r"\.env(?!\.(example|sample|template|dist)$)(rc|\..+)?", re.IGNORECASE)
_KEY_FILE = re.compile(r"[._]netrc|\.pypirc|\.git-credentials|id_(rsa|dsa|ecdsa|ed25519)(_sk)?")
# npm reads `${NAME}` from the environment, so it is not a secret in the file.
_NPM_SECRET = re.compile(r"_(authToken|auth|password)\s*=\s*(?!\$\{)\S", re.IGNORECASE)
_MAY_BE_SECRET = re.compile(r"(?!(example|sample|template|dist)\.).+\.env", re.IGNORECASE)
_MAY_BE_KEY = re.compile(r".+\.(pem|key)", re.IGNORECASE)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_STATE_FOLDER = ".deploy"
_SKIPPED = {".git", _STATE_FOLDER}
# Large, and full of other people's test keys.
_PACKAGES = "node_modules"
_MAX_NAMED = 3
_MAX_READ = 65_536


def check(context: Path, ignore_files: Sequence[Path]) -> None:
    """Warns about files in `context` that may contain a secret; SettingsError if one certainly does, or if `.deploy/`
    is in it.

    Files that all of `ignore_files` exclude do not count. The message says which lines to add to an ignore file.
    """
    rules = [_rules_of(file) for file in ignore_files]
    has_exceptions = any(pattern.startswith("!") for one in rules for pattern in one.patterns)

    def is_included(path: str) -> bool:
        return not rules or not all(one.matches(path) for one in rules)

    # An exception can include a file of an excluded folder.
    secrets = _secrets_in(context, lambda folder: has_exceptions or is_included(folder))
    found = [(path, is_certain) for path, is_certain in secrets if is_included(path)]
    leaks, suspects = ([path for path, is_certain in found if is_certain is kind] for kind in (True, False))
    where = ignore_files[0] if ignore_files else context / ".dockerignore"
    if leaks:
        raise SettingsError(
            f"{_named(leaks)} would go into the build context and may end up in the image",
            "Nothing was built",
            f"Add to {where}: {_lines_for(leaks)}, or pass --allow-secrets-in-context",
        )
    if suspects:
        console.warn(
            f"{_named(suspects)} may hold a secret and would go into the build context. To exclude it, add to "
            f"{where}: {_lines_for(suspects)}"
        )


def ignores(ignore_file: Path, path: str) -> bool:
    """Whether `ignore_file` exists and excludes `path` from a build context."""
    return ignore_file.is_file() and bool(_rules_of(ignore_file).matches(path))


def _rules_of(ignore_file: Path) -> PatternMatcher:
    try:
        # The engine compares bytes, in any encoding.
        return PatternMatcher(ignore_file.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{ignore_file} cannot be read as an ignore file ({error})", "Nothing was built") from error


def _named(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _MAX_NAMED} more" if len(paths) > _MAX_NAMED else ""
    return ", ".join(paths[:_MAX_NAMED]) + more


def _lines_for(paths: Sequence[str]) -> str:
    """The lines of an ignore file that exclude `paths` and files of the same name."""
    names = [path.rpartition("/")[2] for path in paths]
    return " and ".join(sorted({"**/.env*" if name.startswith(".env") else f"**/{name}" for name in names}))


def _secrets_in(context: Path, is_searched: Callable[[str], bool]) -> Iterator[tuple[str, bool]]:
    """The paths of `.deploy` folders and of files with secrets, relative to `context`; each with whether the secret is
    certain."""
    for folder, folders, files in os.walk(context):
        place = Path(folder).relative_to(context)
        if _STATE_FOLDER in folders and any((context / place / _STATE_FOLDER).iterdir()):
            yield (place / _STATE_FOLDER).as_posix(), True
        if _PACKAGES in folders and not is_searched((place / _PACKAGES).as_posix()):
            folders.remove(_PACKAGES)
        folders[:] = sorted(set(folders) - _SKIPPED)
        for name in sorted(files):
            is_certain = _holds_secret(Path(folder) / name)
            if is_certain or (is_certain is False and _PACKAGES not in place.parts):
                yield (place / name).as_posix(), is_certain


def _holds_secret(file: Path) -> bool | None:
    """True if `file` contains a secret, False if it may contain one, None if not."""
    name = file.name
    if _ENV_FILE.fullmatch(name) or _KEY_FILE.fullmatch(name) or (name == ".npmrc" and _contains(file, _NPM_SECRET)):
        return True
    if _MAY_BE_SECRET.fullmatch(name) or (_MAY_BE_KEY.fullmatch(name) and _contains(file, _PRIVATE_KEY)):
        return False
    return None


def _contains(file: Path, pattern: re.Pattern[str]) -> bool:
    try:
        if not file.is_file():  # reading a pipe would block
            return False
        with file.open(encoding="utf-8", errors="replace") as text:
            return pattern.search(text.read(_MAX_READ)) is not None
    except OSError:  # then the engine cannot read it either
        return False
