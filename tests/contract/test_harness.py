"""The tests' own ground: what one test leaves does not reach the next, and signals reach the processes of a test."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.project import ROOT, clean_environment, completed

TESTS = """
import os
import signal
from pathlib import Path

import pytest

from tests.project import Process, completed

PID = Path(__file__).with_name("pid")

def test_one_that_fails():
    process = Process(["sh", "-c", "echo $$; exec sleep 3600"], stdout=-1, text=True)
    PID.write_text(process.stdout.readline())
    with Process(["sh", "-c", "sleep 3600"]):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise ZeroDivisionError

def test_the_next():
    with pytest.raises(ProcessLookupError):
        os.kill(int(PID.read_text()), 0)
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN

@pytest.mark.parametrize("name", ["INT", "HUP"])
def test_a_signal(name):
    done = completed(["sh", "-c", f"kill -{name} $$; echo ignored"], text=True)
    assert (done.stdout, done.returncode) == ("", -getattr(signal, f"SIG{name}"))
"""


def test_a_test_that_fails_leaves_nothing_and_ignored_signals_reach_children(tmp_path: Path) -> None:
    (tmp_path / "test_these.py").write_text(TESTS)
    pytest = f"{sys.executable} -m pytest -q -p tests.conftest -p no:randomly -p no:cacheprovider --rootdir={tmp_path}"
    done = completed(
        ["sh", "-c", f"trap '' INT HUP; exec {pytest} {tmp_path}/test_these.py"],
        cwd=ROOT,
        env=clean_environment(),
        text=True,
    )
    assert "1 failed, 3 passed" in done.stdout, done.stdout + done.stderr
    assert "ZeroDivisionError" in done.stdout
