"""The log of a build: no line twice, none lost, and less than four times its length transferred."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import SupportsIndex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy_tasks.api import build_log
from deploy_tasks.api.build_log import LogFollower, LogText, Schedule, tail
from deploy_tasks.api.client import DeployClient
from deploy_tasks.api.schemas import Log
from deploy_tasks.errors import DeployError, NothingStarted
from tests.clock import Clock


def lines_of(texts: list[str]) -> list[str]:
    log = LogText()
    return [*(line for text in texts for line in log.feed(text)), *log.end()]


@given(text=st.text(alphabet="ab\n", max_size=40), places=st.lists(st.integers(0, 40), max_size=6))
def test_every_line_comes_once_however_the_text_grows(text: str, places: list[int]) -> None:
    whole = text.split("\n")
    expected = whole[:-1] if whole[-1] == "" else whole
    assert lines_of([*(text[:place] for place in sorted(places)), text]) == expected


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    kept=st.integers(20, 200),
)
def test_every_line_comes_once_where_the_text_is_cut_at_its_front(sizes: list[int], kept: int) -> None:
    written, shown, number = "", [], 0
    log = LogText()
    for size in sizes:
        added = "".join(f"line {n} of the build\n" for n in range(number, number + size))
        number += size
        written += added
        # The API keeps the end: never less than what is new, so that nothing can be lost.
        shown += log.feed(written[-max(kept, len(added) + 25) :])
    assert [line for line in shown if not line.startswith("…")][-number:] == [
        f"line {n} of the build" for n in range(number)
    ][-len(shown) :]
    assert len(set(shown)) == len(shown), "a line came twice"


def test_a_line_says_where_lines_are_missing() -> None:
    assert lines_of(["a\nb\n", "y\nz\n"]) == ["a", "b", "", "… (the API cut its log here)", "y", "z"]


class Counting(str):
    """A text that counts how often it is sliced."""

    __slots__ = ()
    cuts = 0

    def __getitem__(self, place: SupportsIndex | slice) -> str:
        Counting.cuts += 1
        return super().__getitem__(place)


def test_a_log_of_equal_lines_is_not_compared_line_by_line() -> None:
    log, lines = LogText(), "y\n" * 2_000
    log.feed(f"{lines}the end\n")
    shown = log.feed(Counting(f"{lines}another end\n"))
    assert shown[-1] == "another end"
    assert Counting.cuts < 1_000


def test_an_older_answer_shows_no_line_twice() -> None:
    assert lines_of(["a\nb\n", "a\n", "", "a\nb\nc\n"]) == ["a", "b", "c"]


GROWTHS: dict[str, Callable[[float], float]] = {
    "evenly": lambda share: share,
    "at once, then nothing": lambda share: 1.0 if share > 0 else 0.0,
    "nothing, then at once": lambda share: 1.0 if share > 0.98 else 0.0,
    "faster and faster": lambda share: share**4,
    "slower and slower": lambda share: share**0.25,
    "in three pieces": lambda share: int(share * 3) / 3,
    "a little, a pause, the rest": lambda share: 0.01 if share < 0.8 else share,
}


@pytest.mark.parametrize("growth", GROWTHS)
@pytest.mark.parametrize("seconds", [5.0, 60.0, 900.0])
@pytest.mark.parametrize("length", [100, 20_000, 20_000_000])
def test_less_than_four_times_the_log_is_transferred(growth: str, seconds: float, length: int) -> None:
    clock, transferred, polls = Clock(), 0, []
    schedule = Schedule(clock)

    def ask() -> Log:
        nonlocal transferred
        text = "x" * int(length * min(1.0, GROWTHS[growth](min(1.0, clock.now / seconds))))
        size = len(text) + (len(text) // 50 if text else 0)  # JSON escapes line breaks
        transferred += size
        polls.append(clock.now)
        return Log(text, size)

    while (delay := schedule.next(ask())) is not None and clock.now + delay < seconds:
        clock.now += delay
    clock.now = seconds
    ask()  # the last time, once the build is over
    assert transferred < 4 * length
    assert len(polls) < seconds + 5, "under one request a second"
    if growth == "evenly" and length > 100 and seconds >= 60:
        assert len(polls) > 7
        assert max(after - before for before, after in pairwise(polls)) < 0.6 * seconds


class Growing(DeployClient):
    """Answers with these texts, the last one for ever; None is a cut. `sizes` are its answers to `log_size`."""

    sizes: Sequence[int] = ()

    def log_size(self, job: str) -> int | None:
        first, *self.sizes = self.sizes or [0]
        return first or None

    def __init__(self, *texts: str | None) -> None:
        super().__init__("https://deploy.example.com", "k3y")
        self._texts = list(texts)
        self.asked = threading.Semaphore(0)

    def logs(self, job: str) -> Log | None:
        text = self._texts.pop(0) if len(self._texts) > 1 else self._texts[0]
        self.asked.release()
        if text is None:
            raise NothingStarted("cut")
        return Log(text, len(text))


@pytest.fixture
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Schedule, "next", lambda *_: 0.0)


def test_the_last_lines_are_shown() -> None:
    shown: list[str] = []
    client = Growing("one\n", "one\ntwo\nhalf")
    with LogFollower(client, "job", shown.append):
        assert client.asked.acquire(timeout=600)
    assert shown == ["one", "two", "half"]


@pytest.mark.usefixtures("no_delays")
def test_a_cut_loses_no_line() -> None:
    shown: list[str] = []
    client = Growing("one\n", None, "one\ntwo\n")
    with LogFollower(client, "job", shown.append):
        assert client.asked.acquire(timeout=600)
        assert client.asked.acquire(timeout=600)
    assert shown == ["one", "two"]


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("closed file"), DeployError("stdout is full")])
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.usefixtures("no_delays")
def test_after_a_failed_write_nothing_is_written_and_the_log_is_still_followed(error: Exception) -> None:
    shown: list[str] = []

    def show(text: str) -> None:
        shown.append(text)
        raise error

    client = Growing("one\n", "one\ntwo\n", "one\ntwo\nthree\n")
    with LogFollower(client, "job", show):
        for _ in range(3):
            assert client.asked.acquire(timeout=600)
    assert shown == ["one"]


def test_after_a_long_silence_the_log_is_requested_when_its_size_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_log, "_SECONDS_BETWEEN_SIZES", 0.0)
    monkeypatch.setattr(Schedule, "next", lambda *_: None)
    monkeypatch.setattr(Schedule, "affords", lambda _, size: size == 9)
    shown: list[str] = []
    client = Growing("one\n", "one\ntwo\n")
    client.sizes = [4, 4, 9]
    with LogFollower(client, "job", shown.append):
        assert client.asked.acquire(timeout=600)
        assert client.asked.acquire(timeout=600)
    assert shown == ["one", "two"]
    assert client.sizes == []


def test_a_size_is_worth_a_request_if_all_transfers_stay_within_bounds() -> None:
    clock = Clock()
    schedule = Schedule(clock)
    for _ in range(3):
        clock.now += 1
        delay = schedule.next(Log("x" * 1000, 1000))
    assert delay is None
    assert not schedule.affords(1000)
    assert not schedule.affords(1400)
    assert schedule.affords(1500)


def test_a_server_that_does_not_serve_logs_is_asked_once() -> None:
    asked: list[str] = []

    class Without(Growing):
        def logs(self, job: str) -> Log | None:
            asked.append(job)
            return None

    with LogFollower(Without(), "job", pytest.fail) as follower:
        follower._thread.join(600)
    assert asked == ["job"]
    assert not follower.served


def test_the_tail_is_the_last_thirty_lines() -> None:
    assert tail(Growing("".join(f"line {n}\n" for n in range(40))), "job") == [f"  line {n}" for n in range(10, 40)]
    assert tail(Growing(None), "job") == []


def test_lines_that_come_after_the_end_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_log, "_SECONDS_TO_FINISH", 0.0)
    shown: list[str] = []
    asked, go_on = threading.Event(), threading.Event()

    class Late(Growing):
        def logs(self, job: str) -> Log | None:
            asked.set()
            go_on.wait()
            return super().logs(job)

    with LogFollower(Late("one\n"), "job", shown.append) as follower:
        assert asked.wait(600)
    go_on.set()
    follower._thread.join(600)
    assert shown == []
