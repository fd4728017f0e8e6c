"""What a machine cannot run is said in a line; with ENGINE_REQUIRED set, as in CI, it fails instead."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest


def leave_out(reason: str) -> NoReturn:
    if os.environ.get("ENGINE_REQUIRED"):
        pytest.fail(f"{reason}, and ENGINE_REQUIRED is set")
    pytest.skip(reason)


def need_the_program() -> str:
    """The path of the program `deploy-tasks`, which pip makes where it installs the package."""
    program = Path(sys.executable).with_name("deploy-tasks")
    return str(program) if program.exists() else leave_out("needs the package installed: make .venv/.dev")


def need_root_and(*programs: str) -> None:
    """For what only root may set up: a file system of a few kilobytes, a network of its own."""
    missing = [program for program in programs if shutil.which(program) is None]
    if os.getuid() != 0 or missing:
        leave_out(f"needs root and {', '.join(programs)}")
