"""The audit: one line of JSON for each change, with who made it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime, timezone
from typing import IO, Literal

from .interfaces import Author, Target

Change = Literal["build", "cancel", "deploy", "rollback", "remove"]

_log = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(timezone.utc)


class Audit:
    """Writes to `stream`, or nowhere where it is None. `clock` gives the time in UTC."""

    def __init__(self, stream: IO[str] | None, clock: Callable[[], datetime] = _now) -> None:
        self._stream, self._clock = stream, clock

    def record(self, change: Change, author: Author, target: Target, **details: str | int | None) -> None:
        """Writes the line of a change that was accepted. `details` are such as `job`, `image` and `revision`, never the
        values of variables, keys or tokens. One that is None is left out.

        A line that cannot be written is an error in the log, and the change stays.
        """
        if self._stream is None:
            return
        entry = {
            "time": self._clock().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "change": change,
            "namespace": target.namespace,
            "app": target.app,
            "key": author.key,
            "by": author.by,
            "commit": author.commit,
            **details,
        }
        line = json.dumps({name: value for name, value in entry.items() if value is not None})
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            _log.error("Cannot write the audit (%s): %s", error, line)
