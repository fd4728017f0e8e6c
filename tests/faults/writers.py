"""Processes that write the state at the same time: `writers.py STATE_FILE PROCESSES RECORDS`. Each record adds one to
a count in the file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from deploy_tasks.encoding import fields_of
from deploy_tasks.state import lock
from deploy_tasks.state.files import State
from deploy_tasks.state.records import HistoryEntry, Record


def write(state: State, number: int, records: int) -> None:
    for turn in range(records):
        record = Record(image_name="shop", image_tag=f"tag-{turn}", build_id="sha256:" + 64 * "c")
        lock.take(state.lock_path, f"writer-{number}", seconds=600, tell=lambda _: None)
        state.save_record(record)
        known = json.loads(state.path.read_text())
        state.path.write_text(json.dumps({**known, "count": known.get("count", 0) + 1}))
        lock.release()
        entry = HistoryEntry(**fields_of(record), time="now", who=f"writer-{number}", what="build", outcome="recorded")
        state.history_file.append(entry)


def main(file: str, processes: str, records: str) -> None:
    state = State(Path(file))
    children = []
    for number in range(int(processes)):
        child = os.fork()
        if not child:
            write(state, number, int(records))
            os._exit(0)
        children.append(child)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children))


main(*sys.argv[1:])
