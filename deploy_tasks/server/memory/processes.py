"""The commands of a build: each runs in a session of its own, and ends with the build."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress

# What git begins the line with that says why it failed; more lines follow it.
_REASONS = ("fatal:", "error:")
_LONGEST_LINE_BYTES = 64 * 1024

Log = Callable[[str], None]


class BuildFailure(Exception):
    """A build that failed by the user's doing; the message is for the log."""


async def run(argv: Sequence[str], log: Log, environment: Mapping[str, str] | None = None) -> None:
    """Runs a command and logs each line that it writes. Cancelled, it ends the command and all that this started.

    Raises BuildFailure with the line that says why the command failed.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, env=environment, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, start_new_session=True
        )
    except OSError as error:
        raise BuildFailure(f"{argv[0]}: {error.strerror}") from error
    why = ""
    try:
        async for line in _lines(process):
            log(line)
            if not why.startswith(_REASONS) or line.startswith(_REASONS):
                why = line
        code = await process.wait()
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    if code:
        raise BuildFailure(f"{argv[0]} failed with exit code {code}: {why}")


async def _lines(process: Process) -> AsyncIterator[str]:
    """Each line of the output, a very long one in pieces. (`readline` raises an error for a very long line.)"""
    assert process.stdout is not None  # noqa: S101 - it is piped
    rest = b""
    while piece := await process.stdout.read(_LONGEST_LINE_BYTES):
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) >= _LONGEST_LINE_BYTES:
            lines, rest = [*lines, rest], b""
        for line in lines:
            yield line.decode(errors="replace").rstrip()
    if rest:
        yield rest.decode(errors="replace").rstrip()
