"""Something else in place of a file under .deploy/, files of other users, and symbolic links: noticed beforehand."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.api import DIGEST, FaultyApi
from tests.left_out import need_root_and
from tests.project import Project, without_root_rights

READ_BY = {
    "build-id.json": ["status", "history", "wait", "digest", "reuse", "rollback", "build"],
    "build-id.in-flight.json": ["status", "wait", "reuse", "build"],
    "history.jsonl": ["status", "history", "wait", "digest", "reuse", "rollback", "build"],
    "build-id.json.lock": ["reuse", "wait", "digest", "rollback", "build"],
}


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path has room for 107 characters
        try:
            listener.bind(path.name)
        finally:
            os.chdir(here)


def a_device(path: Path) -> None:
    need_root_and()
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero, which has no end


INSTEAD: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a socket": a_socket,
    "a device": a_device,
    "a folder": Path.mkdir,
}


@pytest.fixture
def deployed(shop: Project, api: FaultyApi) -> Project:
    """A project that was deployed, so that each file exists."""
    done = shop.invoke("build", "reuse")
    assert done.returncode == 0, done.stderr
    api.requests.clear()
    return shop


@pytest.mark.parametrize("what", INSTEAD)
@pytest.mark.parametrize("name", READ_BY)
def test_something_else_in_place_of_a_file_is_named_and_blocks_nothing(
    deployed: Project, api: FaultyApi, name: str, what: str
) -> None:
    path = deployed.folder / ".deploy" / name
    path.unlink(missing_ok=True)
    INSTEAD[what](path)
    # Only a FIFO would block. For the others, one task that reads and one that writes are enough.
    for task in READ_BY[name] if what == "a FIFO" else (READ_BY[name][0], READ_BY[name][-1]):
        done = deployed.invoke(task)
        assert done.returncode == 10, (task, done.stderr)
        (line,) = done.stderr.splitlines()[-1:]
        assert line.startswith(f"{path} is not a file"), (task, done.stderr)
        assert "Traceback" not in done.stderr
    assert api.count("start") == api.count("deploy") == 0


def test_a_read_only_history_is_noticed_before_the_build(deployed: Project, api: FaultyApi) -> None:
    path = deployed.folder / ".deploy" / "history.jsonl"
    path.chmod(0o444)
    for task in ("build", "reuse", "digest"):
        done = deployed.run(*without_root_rights(), sys.executable, "-m", "invoke", task)
        assert done.returncode == 10, done.stderr
        assert f"{path} cannot be written (Permission denied). Nothing was started. " in done.stderr
    assert api.count("start") == api.count("deploy") == 0


def test_the_lock_file_of_another_user_can_be_locked(deployed: Project, api: FaultyApi) -> None:
    path = deployed.folder / ".deploy" / "build-id.json.lock"
    path.chmod(0o444)
    reuse = [*without_root_rights(), sys.executable, "-m", "invoke", "reuse"]
    assert deployed.run(*reuse).returncode == 0
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = deployed.run(*reuse)
    assert done.returncode == 11, done.stderr
    assert api.count("deploy") == 1


def init(shop: Project) -> subprocess.CompletedProcess[str]:
    return shop.run(sys.executable, "-m", "deploy_tasks", "init")


@pytest.mark.parametrize(
    "name", [".deploy/.gitignore", ".gitignore", ".dockerignore", "tasks.py", "invoke.yaml", ".env"]
)
def test_no_file_is_created_through_a_dangling_link(shop: Project, tmp_path: Path, name: str) -> None:
    link, elsewhere = shop.folder / name, tmp_path / "elsewhere"
    link.unlink(missing_ok=True)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere)
    done = shop.invoke("build", "--no-wait") if ".deploy" in name else init(shop)
    assert done.returncode == 0, done.stderr
    assert not elsewhere.exists()
    assert link.is_symlink()


@pytest.mark.parametrize("name", [".gitignore", ".dockerignore"])
def test_init_does_not_write_through_a_link(shop: Project, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "shared"
    elsewhere.write_text("*.o\n")
    link = shop.folder / name
    link.unlink()
    link.symlink_to(elsewhere)
    done = init(shop)
    assert done.returncode == 0, done.stderr
    assert elsewhere.read_text() == "*.o\n"
    (line,) = [line for line in done.stderr.splitlines() if line.startswith(f"{name} ")]
    assert line.startswith(f"{name} is a symbolic link and stays as it is; add to it: ")
    assert DIGEST not in line
