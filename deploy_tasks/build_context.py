"""What of a build context an engine would take into the image, and whether a secret is among it.

The rules of the ignore files are moby's, by a port of its matcher: `.gitignore`'s are others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from .errors import SettingsError

# Examples are made to be shown.
_SECRET_FILE = re.compile(r"\.env(?!\.(example|sample|template|dist)$)(\..+)?")
_STATE_FOLDER = ".deploy"
# Neither holds settings of this project, and both are large.
_NOT_LOOKED_INTO = {".git", "node_modules"}
_MOST_NAMED = 3


def check(context: Path, ignore_files: Sequence[Path]) -> None:
    """SettingsError where `.env`, `.env.*` or `.deploy/` lies in `context` and one of `ignore_files` (or none being
    there) lets it into the image; the message names the lines to add."""
    matchers = [_Matcher(file) for file in ignore_files]
    leaks = [path for path in _secrets_in(context) if not matchers or not all(rules.ignore(path) for rules in matchers)]
    if not leaks:
        return
    named = ", ".join(leaks[:_MOST_NAMED]) + (
        f" and {len(leaks) - _MOST_NAMED} more" if len(leaks) > _MOST_NAMED else ""
    )
    lines = sorted({f"**/{_STATE_FOLDER}" if path.endswith(_STATE_FOLDER) else "**/.env*" for path in leaks})
    where = ignore_files[0] if ignore_files else context / ".dockerignore"
    raise SettingsError(
        f"{named} would go into the build context and so may end in the image; nothing was built. Add to {where}: "
        f"{' and '.join(lines)}, or pass --allow-secrets-in-context"
    )


def ignores(ignore_file: Path, path: str) -> bool:
    """Whether `ignore_file` keeps `path` out of a build context; a file that is not there keeps nothing out."""
    return ignore_file.is_file() and _Matcher(ignore_file).ignore(path)


def _secrets_in(context: Path) -> Iterator[str]:
    """Their paths from `context` on, with `/`."""
    for folder, folders, files in os.walk(context):
        place = Path(folder).relative_to(context)
        if _STATE_FOLDER in folders and any((context / place / _STATE_FOLDER).iterdir()):
            yield (place / _STATE_FOLDER).as_posix()
        folders[:] = sorted(name for name in folders if name not in {*_NOT_LOOKED_INTO, _STATE_FOLDER})
        yield from ((place / name).as_posix() for name in sorted(files) if _SECRET_FILE.fullmatch(name))


class _Matcher:
    def __init__(self, file: Path) -> None:
        from e2b_dockerfile_utils import PatternMatcher

        try:
            self._rules = PatternMatcher(file.read_text(encoding="utf-8-sig").splitlines())
        except (OSError, ValueError) as error:
            raise SettingsError(f"{file} cannot be read as the engine would ({error}); nothing was built") from error

    def ignore(self, path: str) -> bool:
        return bool(self._rules.matches(path))
