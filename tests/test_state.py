"""The state files: whole, in the format of other scripts, never overwritten where they cannot be read."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import tracemalloc
from pathlib import Path

import pytest

from deploy_tasks.errors import StateError
from deploy_tasks.state.files import State
from deploy_tasks.state.records import BuildInFlight, Record
from tests.test_history import entry

DIGEST = "sha256:" + 64 * "a"
OLD = "sha256:" + 64 * "b"
RECORD = Record(
    repo_url="https://github.com/org/repo",
    git_ref="abc",
    app="myapp",
    namespace="apps",
    image_name="myapp",
    image_tag="v1",
    build_id=DIGEST,
    app_class="business",
)
BUILD = BuildInFlight(job_name="build-1", api_url="https://x", started_at="2026-01-01T00:00:00+00:00")


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / ".deploy" / "build-id.json")


def test_nothing_is_recorded_at_first(state: State) -> None:
    assert (state.record(), state.in_flight()) == (None, None)


def test_the_record_has_the_users_keys_in_the_users_order(state: State) -> None:
    state.save_record(RECORD)
    keys = ["repoUrl", "gitRef", "app", "namespace", "imageName", "imageTag", "buildId", "appClass"]
    assert list(json.loads(state.path.read_text())) == keys
    assert state.record() == RECORD


def test_what_is_not_known_is_null_as_the_reference_client_has_it(state: State) -> None:
    state.save_record(Record(image_name="myapp", build_id=DIGEST))
    content = json.loads(state.path.read_text())
    assert content["repoUrl"] is None
    assert "appClass" not in content


def test_unknown_keys_are_kept(state: State) -> None:
    state.path.parent.mkdir()
    state.path.write_text(json.dumps({"buildId": OLD, "team": {"name": "blue"}}))
    state.save_record(RECORD)
    content = json.loads(state.path.read_text())
    assert (content["buildId"], content["team"]) == (DIGEST, {"name": "blue"})


def test_a_build_in_flight_is_a_file_of_its_own(state: State) -> None:
    state.save_record(RECORD)
    state.save_in_flight(BUILD)
    assert (state.record(), state.in_flight()) == (RECORD, BUILD)
    state.clear_in_flight("another-job")
    assert state.in_flight() == BUILD
    state.clear_in_flight("build-1")
    assert state.in_flight() is None


BAD_CONTENTS = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"{} {}",
    b'{"buildId": NaN}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"1" * 5_000,
    b"\xff\xfe{}",
    b'{"buildId": 5}',
    b'{"app": {}}',
    b'{"buildId": "sha256:ABC", "jobName": "../x", "apiUrl": "https://x", "startedAt": "x"}',
]


@pytest.mark.parametrize("content", BAD_CONTENTS, ids=lambda content: repr(content[:12]))
def test_a_file_that_is_no_record_is_named_and_kept(state: State, content: bytes) -> None:
    state.path.parent.mkdir()
    for path, read in ((state.path, state.record), (state.in_flight_path, state.in_flight)):
        path.write_bytes(content)
        with pytest.raises(StateError, match=path.name) as error:
            read()
        assert "\n" not in str(error.value)
        assert path.read_bytes() == content
    with pytest.raises(StateError):
        state.save_record(RECORD)
    assert state.path.read_bytes() == content


def test_the_field_that_does_not_fit_is_named(state: State) -> None:
    state.path.parent.mkdir()
    state.path.write_text('{"buildId": 5}')
    with pytest.raises(StateError, match=r"\$\.buildId"):
        state.record()


def test_what_cannot_be_written_is_known_beforehand(state: State, tmp_path: Path) -> None:
    state.check_writable()
    assert not state.path.exists()
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match=r"cannot be written .Not a directory.; nothing was started"):
        State(tmp_path / "file" / ".deploy" / "build-id.json").check_writable()


@pytest.mark.parametrize("version", ["2", '"1"', "null"])
def test_a_newer_file_is_not_touched(state: State, version: str) -> None:
    state.path.parent.mkdir()
    state.path.write_text(f'{{"schemaVersion": {version}}}')
    with pytest.raises(StateError, match="written by a newer deploy-tasks"):
        state.save_record(RECORD)


def test_a_folder_in_the_place_of_the_file(state: State) -> None:
    state.path.mkdir(parents=True)
    with pytest.raises(StateError, match="is not a file"):
        state.record()


def test_a_symbolic_link_is_not_written_through(state: State, tmp_path: Path) -> None:
    state.path.parent.mkdir()
    (tmp_path / "elsewhere").write_text("{}")
    state.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="symbolic link"):
        state.save_record(RECORD)
    assert (tmp_path / "elsewhere").read_text() == "{}"


def test_a_write_that_fails_leaves_the_old_file_and_no_other(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    state.save_record(RECORD)
    before = state.path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError, match=r"cannot be written .*it is as it was"):
        state.save_record(Record(build_id=DIGEST))
    assert state.path.read_bytes() == before
    assert sorted(path.name for path in state.path.parent.iterdir()) == [".gitignore", "build-id.json"]


def test_what_a_killed_run_left_is_swept_and_nothing_else(state: State) -> None:
    state.save_record(RECORD)
    names = (".build-id.json.4711.tmp", ".build-id.in-flight.json.4711.tmp", ".build-id.other.json.4711.tmp", "own.tmp")
    for name in names:
        (state.path.parent / name).touch()
    state.sweep()
    left = {path.name for path in state.path.parent.iterdir()}
    assert left == {".gitignore", "build-id.json", ".build-id.other.json.4711.tmp", "own.tmp"}


def test_the_lock_is_never_the_record(tmp_path: Path) -> None:
    for name in ("shop.lock", "x.in-flight.json"):
        state = State(tmp_path / name)
        assert len({state.path, state.lock_path, state.in_flight_path, state.history_path}) == 4


def test_git_does_not_see_the_state(state: State) -> None:
    state.save_record(RECORD)
    assert (state.path.parent / ".gitignore").read_text() == "*\n"


def test_a_folder_of_the_users_own_gets_no_gitignore(tmp_path: Path) -> None:
    State(tmp_path / "own" / "digest.json").save_record(RECORD)
    assert not (tmp_path / "own" / ".gitignore").exists()


# --- the history ----------------------------------------------------------------------------------------------------


def tags(state: State) -> list[str | None]:
    return [found.image_tag for found in state.history()]


def test_the_newest_is_first_over_many_blocks(state: State) -> None:
    assert tags(state) == []
    for number in range(500):
        state.append(entry("a", image_tag=f"v{number}", repo_url="https://x/" + 200 * "y"))
    assert state.history_path.stat().st_size > 2 * 65_536
    assert tags(state) == [f"v{number}" for number in range(499, -1, -1)]


def test_only_what_is_asked_for_is_read(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(500):
        state.append(entry("a", image_tag=f"v{number}", repo_url="https://x/" + 200 * "y"))
    with state.history_path.open("r+b") as file:
        file.write(b"\xff" * 100)  # nobody looks at the oldest line
    assert next(state.history()).image_tag == "v499"


def test_a_line_that_a_power_cut_tore_costs_no_other(state: State) -> None:
    state.append(entry("a", image_tag="v1"))
    with state.history_path.open("ab") as file:
        file.write(b'{"time": "now", "wh')
    state.append(entry("b", image_tag="v2"))
    assert tags(state) == ["v2", "v1"]


def test_a_line_that_cannot_be_written_whole_is_not_there_at_all(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    state.append(entry("a", image_tag="v1"))
    before = state.history_path.read_bytes()
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, text: real(file, text[:10]))
    with pytest.raises(StateError, match="No space left on device"):
        state.append(entry("b"))
    assert state.history_path.read_bytes() == before


def test_who_adds_a_line_waits_for_another_who_does(state: State) -> None:
    state.append(entry("a", image_tag="v1"))
    with state.history_path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread = threading.Thread(target=lambda: state.append(entry("b", image_tag="v2")))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        assert tags(state) == ["v1"]
    thread.join(10)
    assert tags(state) == ["v2", "v1"]


def test_a_history_behind_a_symbolic_link_is_not_written_through(state: State, tmp_path: Path) -> None:
    state.path.parent.mkdir()
    state.history_path.symlink_to(tmp_path / "elsewhere")
    for write in (state.check_writable, lambda: state.append(entry("a"))):
        with pytest.raises(StateError, match="symbolic link"):
            write()
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_in_its_place_is_noticed_before_anything_is_started(state: State) -> None:
    state.history_path.mkdir(parents=True)
    with pytest.raises(StateError, match="is not a file; move it away; nothing was started"):
        state.check_writable()


def test_a_file_of_a_terabyte_is_no_record(state: State) -> None:
    state.save_record(RECORD)
    os.truncate(state.path, 1 << 40)
    with pytest.raises(StateError, match="it has more than 1048576 bytes"):
        state.record()


def test_a_line_without_end_costs_no_memory_and_no_other_line(state: State) -> None:
    state.append(entry("a"))
    with state.history_path.open("ab") as file:
        file.write(b"x" * 4_000_000 + b"\n")
    state.append(entry("b"))
    tracemalloc.start()
    try:
        assert [found.build_id for found in state.history()] == [OLD, DIGEST]
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_build_in_flight_that_cannot_be_removed_is_named(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    state.save_in_flight(BUILD)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StateError, match=r"build-id\.in-flight\.json cannot be removed \(Operation not permitted\)"):
        state.clear_in_flight(BUILD.job_name)
