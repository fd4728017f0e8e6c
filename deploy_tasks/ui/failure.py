"""How an error is shown: to a person, in `--json`, on GitHub. Nothing else takes its fields apart."""

from __future__ import annotations

from ..errors import DeployError, SomeFailed
from . import github
from .stderr import shown


def message_of(error: DeployError) -> str:
    """The text of `error` as it may be printed; of several apps, with the lines below it."""
    if error.shown is not None:
        return error.shown
    return shown([str(error), *(error.lines if isinstance(error, SomeFailed) else ())])


def error_as_json(error: DeployError) -> dict[str, object]:
    """`error` as JSON, printed instead of a result."""
    return {"error": str(error), "exitCode": error.exit_code}


def annotate(title: str, error: DeployError) -> None:
    """Shows `error` at the top of the run on GitHub."""
    github.annotate(title, message_of(error))
