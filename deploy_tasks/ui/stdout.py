"""Results, to stdout: lines, or JSON with `--json`. Redacted and escaped as all output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from ..encoding import as_builtins
from ..errors import DeployError, Next
from ..redaction import fit, plain, redact
from .stderr import one_at_a_time, safe


def result(lines: Sequence[str], details: object, *, as_json: bool) -> None:
    """Prints a task's result: its `lines`, or `details` as one JSON object. DeployError if it cannot be written; the
    task itself is done and recorded by then."""
    printed = [_json(details)] if as_json else [fit(line) for line in lines]
    write(printed, "The task itself is done", f"Its result: {'; '.join(printed)}")


def print_json(value: object) -> None:
    """Prints a part of a result as one line of JSON. BrokenPipeError if its reader has closed the pipe, DeployError if
    it cannot be written."""
    write([_json(value)])


def print_lines(text: str) -> None:
    """Prints third-party output, the log of a build. Raises as `print_json` does."""
    write(fit(plain(line)) for line in text.split("\n"))


def error_as_json(error: DeployError) -> dict[str, object]:
    """`error` as JSON, printed instead of a result."""
    return {"error": str(error), "exitCode": error.exit_code}


def _json(value: object) -> str:
    """`value` as one line of JSON with redacted strings. Characters that are not printable are escaped, and so is
    `##[`, a command for GitHub Actions: it can only be in a string."""
    text = json.dumps(_redacted(as_builtins(value)), ensure_ascii=False, separators=(",", ":"))
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)
    return text.replace("##[", "#\\u0023[")


def _redacted(value: Any) -> Any:  # any JSON value
    """`value` with redacted strings. The whole text is not redacted, since a secret may be `true` or a number."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(key): _redacted(item) for key, item in value.items()}
    return [_redacted(item) for item in value] if isinstance(value, list) else value


def write(lines: Iterable[str], effect: str = "", next: Next = ()) -> None:
    """Writes printable `lines`. `effect` and `next` are those of the error if that fails."""
    try:
        with one_at_a_time:
            if sys.stdout is not None:
                sys.stdout.write(safe(lines, sys.stdout))
                sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # Python would fail again at exit when it flushes the rest.
        sys.stdout = None
        raise DeployError(f"stdout cannot be written ({error.strerror})", effect, next) from error
