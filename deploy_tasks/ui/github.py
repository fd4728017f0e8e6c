"""What GitHub Actions understands: groups and annotations in the log, outputs of the step, its summary.

Source: GitHub's documentation, "Workflow commands for GitHub Actions". Nothing happens anywhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..redaction import fit, redact
from . import console


@contextmanager
def group(title: str) -> Iterator[None]:
    """What is told within it can be folded away, and is no command, whatever a build prints."""
    if not console.is_on_github():
        yield
        return
    import secrets

    token = secrets.token_hex(16)
    console.to_runner(f"::group::{_escaped(title)}")
    console.to_runner(f"::stop-commands::{token}")
    try:
        yield
    finally:
        console.to_runner(f"::{token}::")
        console.to_runner("::endgroup::")


def annotate(title: str, message: str) -> None:
    """Shows `message` as an error at the head of the run."""
    if console.is_on_github():
        of_property = _escaped(title).replace(":", "%3A").replace(",", "%2C")
        console.to_runner(f"::error title={of_property}::{_escaped(message)}")


def outputs(title: str, values: Mapping[str, str]) -> None:
    """Makes `values` outputs of the step, `steps.<id>.outputs.<name>`, and a table of its summary under `title`. What
    has a line break in it, or is no plain text, would be more outputs than one; without a secret that is in it, it
    would name another image. Such a value is left out."""
    if not console.is_on_github():
        return
    for name, value in values.items():
        if not value.isprintable():
            console.warn(f"{name} is no output of this step: there is a line break or a control character in it")
        elif redact(value) != value:
            console.warn(f"{name} is no output of this step: there is a secret in it")
    values = {name: value for name, value in values.items() if value.isprintable() and redact(value) == value}
    _append("GITHUB_OUTPUT", "".join(f"{name}={value}\n" for name, value in values.items()))
    rows = "".join(f"| {name} | `{_literal(value)}` |\n" for name, value in values.items())
    _append("GITHUB_STEP_SUMMARY", f"| {_literal(fit(title))} | |\n|---|---|\n{rows}\n")


def _append(variable: str, text: str) -> None:
    path = os.environ.get(variable)
    try:
        if path:
            with open(path, "a", encoding="utf-8", errors="replace", opener=_open_at_once) as file:
                file.write(text)
    except OSError as error:
        # Neither a missing file nor a full disk there is worth a deploy.
        console.warn(f"{variable} cannot be written ({error.strerror}): the step lacks its outputs or its summary")


def _open_at_once(path: str, flags: int) -> int:
    # A pipe would wait for its reader.
    return os.open(path, flags | os.O_NONBLOCK, 0o666)


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _literal(text: str) -> str:
    """`text` without what means something in Markdown or HTML; of names, tags and digests that is nothing."""
    return re.sub(r"[^\w ./:@+=-]", "?", text)
