"""The state files: written whole, in the format of other scripts, and never replaced if they are malformed."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import tracemalloc
from pathlib import Path

import pytest
from msgspec.structs import replace

from deploy_tasks.errors import StateError
from deploy_tasks.state.files import State
from deploy_tasks.state.records import HistoryEntry, Record
from tests.test_history import BUILD, entry

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


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / ".deploy" / "build-id.json")


def test_nothing_is_recorded_at_first(state: State) -> None:
    assert (state.record(), state.in_flight()) == (None, None)


def test_the_record_has_the_keys_of_other_scripts_in_their_order(state: State) -> None:
    state.save_record(RECORD)
    keys = ["repoUrl", "gitRef", "app", "namespace", "imageName", "imageTag", "buildId", "appClass"]
    assert list(json.loads(state.path.read_text())) == keys
    assert state.record() == RECORD


def test_an_unknown_value_is_null_as_other_scripts_write_it(state: State) -> None:
    state.save_record(Record(image_name="myapp", build_id=DIGEST))
    content = json.loads(state.path.read_text())
    assert content["repoUrl"] is None
    assert "appClass" not in content


def test_a_new_record_keeps_unknown_keys(state: State) -> None:
    state.path.parent.mkdir()
    state.path.write_text(json.dumps({"buildId": OLD, "team": {"name": "blue"}}))
    state.save_record(RECORD)
    content = json.loads(state.path.read_text())
    assert (content["buildId"], content["team"]) == (DIGEST, {"name": "blue"})


def test_the_build_in_flight_has_its_own_file(state: State) -> None:
    state.save_record(RECORD)
    state.save_in_flight(BUILD)
    assert (state.record(), state.in_flight()) == (RECORD, BUILD)
    state.clear_in_flight("another-job")
    assert state.in_flight() == BUILD
    state.clear_in_flight("build-1")
    assert state.in_flight() is None


def test_a_build_that_another_run_has_put_in_flight_stays(state: State) -> None:
    """After `git clean -fdx`, that run has another lock file."""
    state.save_in_flight(BUILD)
    State(state.path).save_in_flight(replace(BUILD, job_name="build-2"))
    state.clear_in_flight(BUILD.job_name)
    build = State(state.path).in_flight()
    assert build is not None
    assert build.job_name == "build-2"


def test_each_environment_has_a_build_in_flight_of_its_own(state: State) -> None:
    staging, production = State(state.path, "staging"), State(state.path, "production")
    staging.save_in_flight(BUILD)
    assert (state.in_flight(), production.in_flight(), staging.in_flight()) == (None, None, BUILD)
    assert staging.in_flight_path.name == "build-id.in-flight.staging.json"
    staging.save_record(RECORD)
    assert production.record() == RECORD


def test_a_build_in_flight_without_an_app_class_is_business(state: State) -> None:
    state.save_in_flight(BUILD)
    content = json.loads(state.in_flight_path.read_text())
    assert content.pop("appClass") == "business"
    state.in_flight_path.write_text(json.dumps(content))
    state = State(state.path)
    assert state.in_flight() == BUILD


@pytest.mark.parametrize("key", ["app", "namespace", "imageName", "imageTag", "jobName", "apiUrl"])
def test_a_build_in_flight_without_its_image_is_malformed(state: State, key: str) -> None:
    state.save_in_flight(BUILD)
    content = json.loads(state.in_flight_path.read_text())
    del content[key]
    state.in_flight_path.write_text(json.dumps(content))
    state = State(state.path)
    with pytest.raises(StateError, match=f"required field `{key}`"):
        state.in_flight()


def test_each_file_is_read_once_and_what_is_written_is_known(state: State) -> None:
    state.save_record(RECORD)
    state.save_in_flight(BUILD)
    state.history_file.append(entry("a", image_tag="v1"))

    def read() -> tuple[object, object, list[HistoryEntry]]:
        return state.record(), state.in_flight(), list(state.history)

    before = read()
    other = State(state.path)
    other.save_record(Record(build_id=OLD))
    other.clear_in_flight(BUILD.job_name)
    other.history_file.append(entry("b", image_tag="v2"))
    assert read() == before
    state.history_file.append(entry("c", image_tag="v3"))
    assert (state.record(), state.in_flight(), tags(state)) == (RECORD, BUILD, ["v3", "v1"])
    state = State(state.path)
    assert (state.record(), state.in_flight(), tags(state)) == (Record(build_id=OLD), None, ["v3", "v2", "v1"])
    assert state.save_record(RECORD) == Record(build_id=OLD)
    assert state.record() == RECORD


def test_the_state_elsewhere_reads_the_shared_files_once_and_has_a_build_in_flight_of_its_own(state: State) -> None:
    state.save_record(RECORD)
    staging = state.elsewhere("staging")
    other = State(state.path)
    other.save_record(Record(build_id=OLD))
    other.save_in_flight(BUILD)
    state.history_file.append(entry("a", image_tag="v1"))
    other.history_file.append(entry("b", image_tag="v2"))
    assert (staging.record(), staging.in_flight(), tags(staging)) == (RECORD, None, ["v1"])
    assert state.in_flight() == BUILD


def test_a_history_that_cannot_be_read_is_an_error_each_time(state: State) -> None:
    state.history_path.mkdir(parents=True)
    for _ in range(2):
        with pytest.raises(StateError, match="is not a file"):
            list(state.history)


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
def test_a_malformed_file_is_named_and_kept(state: State, content: bytes) -> None:
    state.path.parent.mkdir()
    for path, read in ((state.path, state.record), (state.in_flight_path, state.in_flight)):
        path.write_bytes(content)
        with pytest.raises(StateError) as error:
            read()
        assert error.value.what.startswith(f"{path} is not a state file of deploy-tasks (")
        assert error.value.next == ("Fix it, or move it away",)
        assert "\n" not in error.value.what
        assert path.read_bytes() == content
    with pytest.raises(StateError):
        state.save_record(RECORD)
    assert state.path.read_bytes() == content


def test_the_error_names_the_malformed_field(state: State) -> None:
    state.path.parent.mkdir()
    state.path.write_text('{"buildId": 5}')
    with pytest.raises(StateError, match=r"\$\.buildId"):
        state.record()


def test_it_is_known_beforehand_that_a_file_cannot_be_written(state: State, tmp_path: Path) -> None:
    state.check_writable()
    assert not state.path.exists()
    (tmp_path / "file").touch()
    with pytest.raises(StateError) as error:
        State(tmp_path / "file" / ".deploy" / "build-id.json").check_writable()
    assert error.value.what == f"{tmp_path}/file/.deploy cannot be written (Not a directory)"


@pytest.mark.parametrize("version", ["2", '"1"', "null"])
def test_the_file_of_a_newer_version_is_not_replaced(state: State, version: str) -> None:
    state.path.parent.mkdir()
    state.path.write_text(f'{{"schemaVersion": {version}}}')
    with pytest.raises(StateError, match="written by a newer deploy-tasks"):
        state.save_record(RECORD)


def test_a_folder_is_not_a_record(state: State) -> None:
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
    with pytest.raises(StateError, match=r"cannot be written \(No space left on device\)"):
        state.save_record(Record(build_id=DIGEST))
    assert state.path.read_bytes() == before
    assert sorted(path.name for path in state.path.parent.iterdir()) == [".gitignore", "build-id.json"]


def test_only_the_temporary_files_of_killed_runs_are_swept(state: State) -> None:
    state.save_record(RECORD)
    names = (".build-id.json.4711.tmp", ".build-id.in-flight.json.4711.tmp", ".build-id.other.json.4711.tmp", "own.tmp")
    for name in names:
        (state.path.parent / name).touch()
    state.sweep()
    left = {path.name for path in state.path.parent.iterdir()}
    assert left == {".gitignore", "build-id.json", ".build-id.other.json.4711.tmp", "own.tmp"}


def test_the_files_never_have_the_same_name(tmp_path: Path) -> None:
    for name in ("shop.lock", "x.in-flight.json"):
        state = State(tmp_path / name)
        assert len({state.path, state.lock_path, state.in_flight_path, state.history_path}) == 4


def test_git_ignores_the_state(state: State) -> None:
    state.save_record(RECORD)
    assert (state.path.parent / ".gitignore").read_text() == "*\n"


def test_only_the_deploy_folder_gets_a_gitignore(tmp_path: Path) -> None:
    State(tmp_path / "own" / "digest.json").save_record(RECORD)
    assert not (tmp_path / "own" / ".gitignore").exists()


# --- the history ----------------------------------------------------------------------------------------------------


def tags(state: State) -> list[str | None]:
    return [found.image_tag for found in state.history]


def test_the_newest_entry_is_first_over_many_blocks(state: State) -> None:
    assert tags(state) == []
    for number in range(500):
        state.history_file.append(entry("a", image_tag=f"v{number}", repo_url="https://x/" + 200 * "y"))
    assert state.history_path.stat().st_size > 2 * 65_536
    assert tags(state) == [f"v{number}" for number in range(499, -1, -1)]


def test_only_the_entries_that_are_needed_are_read(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(500):
        state.history_file.append(entry("a", image_tag=f"v{number}", repo_url="https://x/" + 200 * "y"))
    with state.history_path.open("r+b") as file:
        file.write(b"\xff" * 100)  # the oldest line
    assert next(iter(state.history)).image_tag == "v499"


def test_a_torn_line_does_not_affect_other_lines(state: State) -> None:
    state.history_file.append(entry("a", image_tag="v1"))
    with state.history_path.open("ab") as file:
        file.write(b'{"time": "now", "wh')
    state.history_file.append(entry("b", image_tag="v2"))
    assert tags(state) == ["v2", "v1"]


def test_a_line_that_cannot_be_written_whole_is_not_written(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    state.history_file.append(entry("a", image_tag="v1"))
    before = state.history_path.read_bytes()
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, text: real(file, text[:10]))
    with pytest.raises(StateError, match="No space left on device"):
        state.history_file.append(entry("b"))
    assert state.history_path.read_bytes() == before


def test_lines_are_added_one_after_the_other(state: State) -> None:
    state.history_file.append(entry("a", image_tag="v1"))
    with state.history_path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread = threading.Thread(target=lambda: state.history_file.append(entry("b", image_tag="v2")))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        assert tags(State(state.path)) == ["v1"]
    thread.join(10)
    assert tags(state) == ["v2", "v1"]


def test_a_history_behind_a_symbolic_link_is_not_written_through(state: State, tmp_path: Path) -> None:
    state.path.parent.mkdir()
    state.history_path.symlink_to(tmp_path / "elsewhere")
    for write in (state.check_writable, lambda: state.history_file.append(entry("a"))):
        with pytest.raises(StateError, match="symbolic link"):
            write()
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_in_place_of_the_history_is_noticed_beforehand(state: State) -> None:
    state.history_path.mkdir(parents=True)
    with pytest.raises(StateError) as error:
        state.check_writable()
    assert error.value.what == f"{state.history_path} is not a file"
    assert error.value.next == ("Move it away",)


def test_a_file_of_a_terabyte_is_malformed(state: State) -> None:
    state.save_record(RECORD)
    os.truncate(state.path, 1 << 40)
    state = State(state.path)
    with pytest.raises(StateError, match="it has more than 1048576 bytes"):
        state.record()


def test_a_huge_line_uses_no_memory_and_does_not_affect_other_lines(state: State) -> None:
    state.history_file.append(entry("a"))
    with state.history_path.open("ab") as file:
        file.write(b"x" * 4_000_000 + b"\n")
    state.history_file.append(entry("b"))
    tracemalloc.start()
    try:
        assert [found.build_id for found in state.history] == [OLD, DIGEST]
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_the_error_names_a_file_that_cannot_be_removed(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    state.save_in_flight(BUILD)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StateError, match=r"build-id\.in-flight\.json cannot be removed \(Operation not permitted\)"):
        state.clear_in_flight(BUILD.job_name)
