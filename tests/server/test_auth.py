"""Keys are kept as hashes, and each may do what its entry says."""

from __future__ import annotations

import json
import logging
import stat
from pathlib import Path

import pytest

from deploy_tasks.server.auth import RIGHTS, Key, KeyFileError, Keys, add


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def found(keys: Keys, text: str) -> Key:
    key = keys.find(text)
    assert key is not None
    return key


def test_a_key_is_found_by_its_text_and_another_text_is_not(path: Path) -> None:
    one, other = add(path, "ci", ["apps"], ["read"]), add(path, "admin", ["*"], list(RIGHTS))
    keys = Keys.of_file(path)
    assert found(keys, one).name == "ci"
    assert found(keys, other).name == "admin"
    for wrong in (one[:-1], one + "0", one.upper(), "", None, "ü", "sha256:" + 64 * "0"):
        assert keys.find(wrong) is None


def test_a_right_counts_in_the_namespaces_of_the_key_only() -> None:
    key = Key("ci", ("apps", "tests"), ("read", "build"))
    assert key.may("build", "tests")
    assert not key.may("build", "other")
    assert not key.may("deploy", "apps")
    assert key.may("read", None)
    assert not key.may("deploy", None)


def test_a_star_is_every_namespace() -> None:
    key = Key("admin", ("*",), ("deploy",))
    assert key.may("deploy", "anything")
    assert not key.may("read", "anything")


def test_a_key_sees_a_namespace_in_which_it_has_any_right() -> None:
    assert Key("ci", ("apps",), ("build",)).sees("apps")
    assert not Key("ci", ("apps",), ("build",)).sees("other")
    assert not Key("ci", ("apps",), ()).sees("apps")
    assert not Key("ci", (), ("read",)).may("read", None)


def test_a_single_key_may_do_everything() -> None:
    key = found(Keys.single("sandbox", "mine"), "mine")
    assert all(key.may(right, "apps") for right in RIGHTS)


def test_a_key_beyond_ascii_is_found_by_its_bytes_as_a_header_has_them() -> None:
    assert Keys.single("sandbox", "schlüssel").find("schlüssel".encode().decode("latin-1")) is not None


def test_the_file_holds_hashes_and_no_key_and_only_its_owner_may_read_it(path: Path) -> None:
    path.write_text('{"keys": []}')
    path.chmod(0o644)
    key = add(path, "ci", ["apps"], ["read", "deploy"])
    text = path.read_text()
    assert key not in text
    entry = json.loads(text)["keys"][0]
    assert {**entry, "hash": entry["hash"][:7]} == {
        "name": "ci",
        "namespaces": ["apps"],
        "rights": ["read", "deploy"],
        "hash": "sha256:",
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.glob("*keys*")) == [path]


def test_neither_a_key_nor_its_hash_is_shown_by_repr(path: Path) -> None:
    key = add(path, "ci", ["apps"], ["read"])
    keys = Keys.of_file(path)
    shown = repr(keys) + repr(found(keys, key))
    assert key not in shown
    assert json.loads(path.read_text())["keys"][0]["hash"] not in shown


def test_two_keys_are_never_alike(path: Path) -> None:
    assert add(path, "one", ["*"], ["read"]) != add(path, "two", ["*"], ["read"])


def test_a_name_that_is_taken_is_refused_and_the_file_stays(path: Path) -> None:
    add(path, "ci", ["apps"], ["read"])
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match="has a key called ci already"):
        add(path, "ci", ["apps"], ["read"])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "namespace"),
    [("", "apps"), ("a b", "apps"), ("ci\n", "apps"), ("ci", "Apps"), ("ci", "apps\n"), ("ci", "**")],
)
def test_a_malformed_name_or_namespace_is_refused_and_no_file_is_written(path: Path, name: str, namespace: str) -> None:
    with pytest.raises(KeyFileError, match=r"this is not (the name of a key|a namespace)"):
        add(path, name, [namespace], ["read"])
    assert not path.exists()


_HASH = f"sha256:{64 * '0'}"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"keys": [{"name": "ci"}]}',
        json.dumps({"keys": [{"name": "ci", "hash": "sha256:00", "namespaces": ["*"], "rights": ["read"]}]}),
        json.dumps({"keys": [{"name": "ci", "hash": _HASH, "namespaces": ["*"], "rights": ["all"]}]}),
        json.dumps({"keys": 2 * [{"name": "ci", "hash": _HASH, "namespaces": ["*"], "rights": []}]}),
    ],
)
def test_a_file_that_is_none_of_keys_is_refused_by_name(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(KeyFileError, match=f"{path} is not a file of keys"):
        Keys.of_file(path)


def test_a_file_that_is_missing_says_how_to_make_one(path: Path) -> None:
    with pytest.raises(KeyFileError, match=f"No such file or directory. Run: deploy-api keys add NAME --keys {path}"):
        Keys.of_file(path)


def test_a_file_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"No such file or directory\. No key was added"):
        add(tmp_path / "missing" / "keys.json", "ci", ["*"], ["read"])


def test_a_file_that_changed_is_read_again(path: Path) -> None:
    first = add(path, "first", ["*"], ["read"])
    keys = Keys.of_file(path)
    second = add(path, "second", ["*"], ["read"])
    assert found(keys, second).name == "second"
    path.write_text('{"keys": []}')
    assert keys.find(first) is None


def test_a_mounted_secret_that_changes_by_its_symlink_is_read_again(tmp_path: Path) -> None:
    key = ""
    for folder in ("..one", "..two"):
        (tmp_path / folder).mkdir()
        key = add(tmp_path / folder / "keys.json", "ci", [folder.strip(".")], ["read"])
        if folder == "..one":
            (tmp_path / "..data").symlink_to(folder)
            (tmp_path / "keys.json").symlink_to("..data/keys.json")
            keys = Keys.of_file(tmp_path / "keys.json")
            assert found(keys, key).namespaces == ("one",)
    (tmp_path / "..new").symlink_to("..two")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert found(keys, key).namespaces == ("two",)


def test_a_key_is_added_to_the_file_that_a_symlink_names(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to("real.json")
    key = add(tmp_path / "link.json", "ci", ["*"], ["read"])
    assert (tmp_path / "link.json").is_symlink()
    assert Keys.of_file(tmp_path / "real.json").find(key) is not None


@pytest.mark.parametrize("broken", [True, False], ids=["broken", "gone"])
def test_a_file_that_cannot_be_used_any_more_locks_nobody_out_and_is_logged_once(
    path: Path, broken: bool, caplog: pytest.LogCaptureFixture
) -> None:
    key = add(path, "ci", ["*"], ["read"])
    good = path.read_bytes()
    keys = Keys.of_file(path)
    if broken:
        path.write_text("{")
    else:
        path.unlink()
    with caplog.at_level(logging.ERROR):
        assert [found(keys, key).name for _ in range(3)] == 3 * ["ci"]
    assert len(caplog.records) == 1
    assert "stay as they were" in caplog.text
    path.write_bytes(good.replace(b'"ci"', b'"again"'))
    assert found(keys, key).name == "again"
