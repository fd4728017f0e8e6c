"""Kills processes while they write the state: `killed.py STATE_FILE TIMES`. Prints how often it found which record."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from deploy_tasks.encoding import fields_of
from deploy_tasks.state.files import State
from deploy_tasks.state.records import BuildInFlight, HistoryEntry, Record

OLD, NEW = (Record(app="shop", image_name="shop", build_id="sha256:" + 64 * digit) for digit in "bc")


def write_until_killed(state: State, begun: int) -> None:
    """Closes the pipe `begun` after the first record."""
    entry = HistoryEntry(**fields_of(NEW), time="now", who="me", what="build", outcome="recorded")
    target = {"app": "shop", "namespace": "apps", "image_name": "shop", "image_tag": "v1", "app_class": "business"}
    build = BuildInFlight(**target, job_name="build-1", api_url="http://127.0.0.1:9", started_at="now")
    state.save_record(NEW)
    os.close(begun)
    while True:
        for record in (OLD, NEW):
            state.save_record(record)
            state.append(entry)
            state.save_in_flight(build)


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
        os.read(reader, 1)
        os.close(reader)
        # At any moment of a write, which takes about a millisecond.
        time.sleep(random.uniform(0, 0.01))  # noqa: S311
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found["kills"] += 1
        state.reread()
        record = state.record()
        state.in_flight()
        assert record in (OLD, NEW), record
        found["old" if record == OLD else "new"] += 1
    sys.stdout.write(json.dumps(found))


main(*sys.argv[1:])
