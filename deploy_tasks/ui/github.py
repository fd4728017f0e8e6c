"""Output for GitHub Actions: groups and annotations in the log, the step's outputs and its summary.

Source: GitHub's documentation, "Workflow commands for GitHub Actions". Elsewhere `group` and `annotate` do nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..errors import DeployError
from ..redaction import redact, sanitized
from .console import is_on_github, message_of, tell, warn


@contextmanager
def group(title: str) -> Iterator[None]:
    """Within the block, lines are in a group of the log, and GitHub Actions reads none of them as a command."""
    if not is_on_github():
        yield
        return
    import secrets

    token = secrets.token_hex(16)
    tell(f"::group::{_escaped(title)}", f"::stop-commands::{token}", is_command=True)
    try:
        yield
    finally:
        tell(f"::{token}::", "::endgroup::", is_command=True)


def annotate(title: str, error: DeployError) -> None:
    """Shows `error` at the top of the run."""
    if is_on_github():
        of_property = _escaped(title).replace(":", "%3A").replace(",", "%2C")
        tell(f"::error title={of_property}::{_escaped(message_of(error))}", is_command=True)


def outputs(title: str, values: Mapping[str, str]) -> None:
    """Sets `values` as outputs of the step (`steps.<id>.outputs.<name>`) and as a table under `title` in its summary. A
    value with a line break or a secret is left out: it would be several outputs, or name another image."""
    kept = {}
    for name, value in values.items():
        if not value.isprintable():
            warn(f"{name} is not an output of this step, since it contains a line break or a control character")
        elif redact(value) != value:
            warn(f"{name} is not an output of this step, since it contains a secret")
        else:
            kept[name] = value
    _append("GITHUB_OUTPUT", "".join(f"{name}={value}\n" for name, value in kept.items()))
    rows = "".join(f"| {name} | `{_literal(value)}` |\n" for name, value in kept.items())
    _append("GITHUB_STEP_SUMMARY", f"| {_literal(sanitized(title))} | |\n|---|---|\n{rows}\n")


def _append(variable: str, text: str) -> None:
    path = os.environ.get(variable)
    try:
        if path:
            with Path(path).open("a", encoding="utf-8", errors="replace") as file:
                file.write(text)
    except OSError as error:
        # The deploy is done: a missing file or a full disk must not fail it.
        warn(f"{variable} cannot be written ({error.strerror}): the step lacks its outputs or its summary")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _literal(text: str) -> str:
    """`text` without characters that are special in Markdown or HTML. Names, tags and digests have none."""
    return re.sub(r"[^\w ./:@+=-]", "?", text)
