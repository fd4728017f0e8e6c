"""Files are synced so that they survive a power cut: a new file before it is in place, then its folder, and each line
of the history."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy_tasks.state.files import State
from deploy_tasks.state.records import Record
from tests.test_history import entry

DIGEST = "sha256:" + 64 * "a"


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / ".deploy" / "build-id.json")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, bool]]:
    """Inode and size of each file when it is synced, and whether the record is in place then."""
    seen: list[tuple[int, int, bool]] = []
    real = os.fsync

    def fsync(file: int) -> None:
        found = os.fstat(file)
        seen.append((found.st_ino, found.st_size, Path("record").exists()))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


def test_a_record_is_synced_before_it_is_in_place_and_its_folder_after(
    state: State, synced: list[tuple[int, int, bool]]
) -> None:
    Path("record").symlink_to(state.path)
    state.save_record(Record(build_id=DIGEST))
    (file, size, was_in_place), (folder, _, is_in_place) = synced
    record = state.path.stat()
    assert (file, size, was_in_place) == (record.st_ino, record.st_size, False)
    assert (folder, is_in_place) == (state.path.parent.stat().st_ino, True)


def test_a_line_of_the_history_is_synced_after_it_is_written(state: State, synced: list[tuple[int, int, bool]]) -> None:
    state.history_file.append(entry("a"))
    history = state.history_path.stat()
    assert [(file, size) for file, size, _ in synced] == [(history.st_ino, history.st_size)]
