"""Kills processes while they write the state: `killed.py STATE_FILE TIMES`. Prints how often it found which record."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

from deploy_tasks.encoding import fields_of
from deploy_tasks.state.files import State
from deploy_tasks.state.records import BuildInFlight, HistoryEntry, Record

OLD, NEW = (Record(app="shop", image_name="shop", build_id="sha256:" + 64 * digit) for digit in "bc")


def write_until_killed(state: State, written: int) -> None:
    """Writes a byte to the pipe `written` after each file that it has written."""
    entry = HistoryEntry(**fields_of(NEW), time="now", who="me", what="build", outcome="recorded")
    target = {"app": "shop", "namespace": "apps", "image_name": "shop", "image_tag": "v1", "app_class": "business"}
    build = BuildInFlight(**target, job_name="build-1", api_url="http://127.0.0.1:9", started_at="now")
    while True:
        for record in (NEW, OLD):
            for write in (partial(state.save_record, record), partial(state.history_file.append, entry)):
                write()
                os.write(written, b".")
            state.save_in_flight(build)
            os.write(written, b".")


def main(file: str, times: str) -> None:
    state = State(Path(file))
    state.save_record(OLD)
    found = {"kills": 0, "old": 0, "new": 0}
    for _ in range(int(times)):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            write_until_killed(state, writer)
        os.close(writer)
        # After some writes, however slow the machine is, and then at any moment of the next one.
        for _ in range(random.randint(1, 9)):  # noqa: S311
            os.read(reader, 1)
        time.sleep(random.uniform(0, 0.001))  # noqa: S311
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        found["kills"] += 1
        state = State(Path(file))
        record = state.record()
        state.in_flight()
        assert record in (OLD, NEW), record
        found["old" if record == OLD else "new"] += 1
    sys.stdout.write(json.dumps(found))


main(*sys.argv[1:])
