"""What people see where nobody can draw."""

from __future__ import annotations

import threading

import pytest

from deploy_tasks.ui import console
from tests.clock import Clock


def test_without_a_terminal_there_is_a_sign_of_life_every_fifteen_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr("deploy_tasks.ui.console.time.monotonic", clock)
    with console.progress("build-1") as progress:
        for _ in range(61):
            progress("running")
            clock.now += 1
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 5
    assert lines[0] == "build-1: running, 14 s"


def test_a_table_without_a_terminal_is_aligned_text() -> None:
    assert console.table(("A", "LONG"), [("aaa", "b"), ("c", "")], to=None) == "A    LONG\naaa  b\nc"


def test_lines_of_several_threads_are_not_torn(capfd: pytest.CaptureFixture[str]) -> None:
    lines = [f"line {number} " + 200 * str(number) for number in range(4)]

    def tell(line: str) -> None:
        for _ in range(200):
            console.tell(line)

    threads = [threading.Thread(target=tell, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(capfd.readouterr().err.splitlines()) == sorted(lines * 200)
