"""Files and folders: their type and permissions, and the project's root."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import SettingsError

_MARKS = ("tasks.py", "tasks/__init__.py", "invoke.yaml", "invoke.yml", "invoke.json", ".git")


def mode_of(path: Path) -> int:
    """The `st_mode` of `path`; 0 if nothing is there. SettingsError if `stat` fails: in another user's folder, for a
    name that is too long, in a loop of links."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except (OSError, ValueError) as error:  # ValueError: a NUL in it
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> SettingsError:
    return SettingsError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error})")


def project_root(folder: Path) -> Path:
    """The project's root if Invoke loaded no tasks.py: the nearest folder, from `folder` up, with a tasks.py, an
    invoke.yaml (.yml, .json) or a `.git`; else `folder` itself. Files of another user do not count, since anyone can
    put them into /tmp, unless that user also owns `folder`."""
    trusted = (0, os.geteuid(), folder.stat().st_uid)
    marked = ((place, place / mark) for place in (folder, *folder.parents) for mark in _MARKS)
    return next((place for place, path in marked if mode_of(path) and path.stat().st_uid in trusted), folder)
