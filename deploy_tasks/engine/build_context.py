"""What of a build context an engine would take into the image, and whether a secret is among it.

The rules of the ignore files are moby's, by a port of its matcher: `.gitignore`'s are others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..errors import SettingsError
from ..ui import console

# Examples are made to be shown.
_ENV_FILE = re.compile(r"\.env(?!\.(example|sample|template|dist)$)(rc|\..+)?", re.IGNORECASE)
_KEY_FILE = re.compile(r"[._]netrc|\.pypirc|\.git-credentials|id_(rsa|dsa|ecdsa|ed25519)(_sk)?")
# What npm takes from the environment is no secret in the file.
_NPM_SECRET = re.compile(r"_(authToken|auth|password)\s*=\s*(?!\$\{)\S", re.IGNORECASE)
_MAY_BE_SECRET = re.compile(r"(?!(example|sample|template|dist)\.).+\.env", re.IGNORECASE)
_MAY_BE_KEY = re.compile(r".+\.(pem|key)", re.IGNORECASE)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_STATE_FOLDER = ".deploy"
# The secrets in it, if any, are git's own.
_NOT_LOOKED_INTO = ".git"
# Large, and full of other people's test keys.
_PACKAGES = "node_modules"
_MOST_NAMED = 3
_MOST_READ = 65_536


def check(context: Path, ignore_files: Sequence[Path]) -> None:
    """Warns of files in `context` that often hold a secret; SettingsError where one surely does, or lies in `.deploy/`.
    Both only where one of `ignore_files` lets it into the image, or there is none; the message names the lines to add.
    """
    matchers = [_Matcher(file) for file in ignore_files]
    has_exceptions = any(rules.has_exceptions for rules in matchers)

    def is_taken(path: str) -> bool:
        return not matchers or not all(rules.ignore(path) for rules in matchers)

    # Of a folder that is left out, something may be taken all the same.
    found = _secrets_in(context, lambda folder: has_exceptions or is_taken(folder))
    taken = [(path, is_sure) for path, is_sure in found if is_taken(path)]
    leaks = [path for path, is_sure in taken if is_sure]
    suspects = [path for path, is_sure in taken if not is_sure]
    where = ignore_files[0] if ignore_files else context / ".dockerignore"
    if leaks:
        raise SettingsError(
            f"{_named(leaks)} would go into the build context and so may end in the image; nothing was built. Add to "
            f"{where}: {_rules(leaks)}, or pass --allow-secrets-in-context"
        )
    if suspects:
        console.warn(
            f"{_named(suspects)} may hold a secret and would go into the build context; to keep that out, add to "
            f"{where}: {_rules(suspects)}"
        )


def _named(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
    return ", ".join(paths[:_MOST_NAMED]) + more


def _rules(paths: Sequence[str]) -> str:
    """The lines of an ignore file that keep out `paths`, and others like them."""
    names = [path.rpartition("/")[2] for path in paths]
    return " and ".join(sorted({"**/.env*" if name.startswith(".env") else f"**/{name}" for name in names}))


def ignores(ignore_file: Path, path: str) -> bool:
    """Whether `ignore_file` keeps `path` out of a build context; a file that is not there keeps nothing out."""
    return ignore_file.is_file() and _Matcher(ignore_file).ignore(path)


def _secrets_in(context: Path, is_looked_into: Callable[[str], bool]) -> Iterator[tuple[str, bool]]:
    """The paths, from `context` on and with `/`, of `.deploy` and of files with secrets, and whether that is sure."""
    for folder, folders, files in os.walk(context):
        place = Path(folder).relative_to(context)
        if _STATE_FOLDER in folders and any((context / place / _STATE_FOLDER).iterdir()):
            yield (place / _STATE_FOLDER).as_posix(), True
        if _PACKAGES in folders and not is_looked_into((place / _PACKAGES).as_posix()):
            folders.remove(_PACKAGES)
        folders[:] = sorted(name for name in folders if name not in {_NOT_LOOKED_INTO, _STATE_FOLDER})
        of_others = _PACKAGES in place.parts
        for name in sorted(files):
            if (is_sure := _holds_secret(Path(folder) / name)) or (is_sure is not None and not of_others):
                yield (place / name).as_posix(), is_sure


def _holds_secret(file: Path) -> bool | None:
    """True for a file that holds secrets, False for one that often does, None for any other."""
    name = file.name
    if _ENV_FILE.fullmatch(name) or _KEY_FILE.fullmatch(name):
        return True
    if name == ".npmrc":
        return True if _NPM_SECRET.search(_beginning(file)) else None
    if _MAY_BE_SECRET.fullmatch(name):
        return False
    return False if _MAY_BE_KEY.fullmatch(name) and _PRIVATE_KEY.search(_beginning(file)) else None


def _beginning(file: Path) -> str:
    try:
        if not file.is_file():  # a pipe would not end
            return ""
        with file.open(encoding="utf-8", errors="replace") as text:
            return text.read(_MOST_READ)
    except OSError:  # then the engine cannot read it either
        return ""


class _Matcher:
    def __init__(self, file: Path) -> None:
        from e2b_dockerfile_utils import PatternMatcher

        try:
            # The engine compares bytes, in whatever encoding.
            text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
            self._rules = PatternMatcher(text.splitlines())
        except (OSError, ValueError) as error:
            raise SettingsError(f"{file} cannot be read as the engine would ({error})") from error
        self.has_exceptions = any(pattern.startswith("!") for pattern in self._rules.patterns)

    def ignore(self, path: str) -> bool:
        return bool(self._rules.matches(path))
