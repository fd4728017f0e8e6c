"""What GitHub Actions understands: groups and annotations in the log, outputs of the step, its summary.

Source: GitHub's documentation, "Workflow commands for GitHub Actions". Nothing happens anywhere else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from . import console


def is_here() -> bool:
    """Whether this process runs in GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


@contextmanager
def group(title: str) -> Iterator[None]:
    """What is told within it can be folded away, and is no command, whatever a build prints."""
    if not is_here():
        yield
        return
    import secrets

    token = secrets.token_hex(16)
    console.tell(f"::group::{_escaped(title)}\n::stop-commands::{token}")
    try:
        yield
    finally:
        console.tell(f"::{token}::\n::endgroup::")


def annotate(title: str, message: str) -> None:
    """Shows `message` as an error at the head of the run."""
    if is_here():
        of_property = _escaped(title).replace(":", "%3A").replace(",", "%2C")
        console.tell(f"::error title={of_property}::{_escaped(message)}")


def outputs(title: str, values: Mapping[str, str]) -> None:
    """Makes `values` outputs of the step, `steps.<id>.outputs.<name>`, and a table of its summary under `title`."""
    if is_here():
        _append("GITHUB_OUTPUT", "".join(f"{name}={value}\n" for name, value in values.items()))
        rows = "".join(f"| {name} | `{value}` |\n" for name, value in values.items())
        _append("GITHUB_STEP_SUMMARY", f"| {title} | |\n|---|---|\n{rows}\n")


def _append(variable: str, text: str) -> None:
    path = os.environ.get(variable)
    # Neither a missing file nor a full disk there is worth a deploy.
    with suppress(OSError):
        if path:
            with Path(path).open("a") as file:
                file.write(text)


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
