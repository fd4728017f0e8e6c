"""Faults of the build's log: none of them costs a line of it."""

from __future__ import annotations

import subprocess

import pytest

from tests.faults.api import Answer, Connection, FaultyApi, close, half_a_body, http, reset, silence
from tests.project import Project

LINES = [f"line {number} of the build" for number in range(44)]


@pytest.mark.parametrize("fault", [reset, close, silence, half_a_body, http(503), http(302, Location="/elsewhere")])
def test_the_rest_of_the_log_comes_at_the_end_whatever_becomes_of_the_look_at_its_size(
    shop: Project, api: FaultyApi, fault: Answer
) -> None:
    is_over = False

    def log(connection: Connection) -> object:
        if connection.request.method == "HEAD":
            return fault(connection)
        lines = LINES if is_over else LINES[:1]
        return http(200, {"logs": "".join(f"{line}\n" for line in lines)})(connection)

    api.always("logs", log)
    api.answers["wait"] = [silence]
    process = shop.start("build")
    api.until("logs", 2)
    is_over = True
    assert lines_at_the_end(process, api) == LINES


@pytest.mark.parametrize("end", [http(200, {"status": "succeeded"}), http(200, {"status": "failed"})])
def test_the_rest_of_the_log_comes_at_the_end_although_an_earlier_request_hangs(
    shop: Project, api: FaultyApi, end: Answer
) -> None:
    whole = http(200, {"logs": "".join(f"{line}\n" for line in LINES)})
    api.answers["logs"] = [http(200, {"logs": ""}), silence, whole]
    api.answers["wait"] = [silence, end]
    process = shop.start("build")
    api.until("logs", 2)
    assert lines_at_the_end(process, api) == LINES


def lines_at_the_end(process: subprocess.Popen[str], api: FaultyApi) -> list[str]:
    """The lines of the log that `process` shows until the build is over."""
    api.let_go("wait")
    _, told = process.communicate(timeout=60)
    assert process.returncode in (0, 9), told
    return [line for line in told.splitlines() if line.startswith("line ")]
