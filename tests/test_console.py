"""What is written without a terminal, and how an error is shown."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from io import StringIO

import pytest

from deploy_tasks.errors import SettingsError, SomeFailed
from deploy_tasks.invocation.ending import task_boundary
from deploy_tasks.next_steps import Step
from deploy_tasks.redaction import keep_secret
from deploy_tasks.signals import in_background
from deploy_tasks.tasks import reuse
from deploy_tasks.ui import console, github
from deploy_tasks.ui.progress import board_of, progress_of
from tests.clock import Clock


def test_without_a_terminal_progress_is_a_line_every_fifteen_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr("deploy_tasks.ui.progress.time.monotonic", clock)
    with progress_of("build-1") as show:
        for _ in range(61):
            show("running")
            clock.now += 1
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 5
    assert lines[0] == "build-1: running, 14 s"


def test_a_table_without_a_terminal_is_aligned_text() -> None:
    assert console.table(("A", "LONG"), [("aaa", "b"), ("c", "")], to=None) == ["A    LONG", "aaa  b", "c"]


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


def test_a_warning_is_written_once_in_a_task_and_its_threads(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingsError), task_boundary(reuse):
        with board_of(["one", "two"], is_shown=False):
            for _ in range(2):
                copy_context().run(console.warn, "look")
        console.warn("look")
        raise SettingsError("look there")
    assert capsys.readouterr().err == "warning: look\n"
    console.warn("look")
    assert capsys.readouterr().err == "warning: look\n", "what comes after the task is warned, too"


def test_what_is_written_in_the_background_belongs_to_its_app(capsys: pytest.CaptureFixture[str]) -> None:
    with board_of(["one", "two"], is_shown=False) as board, board.output_of("one"):
        in_background(lambda: console.tell("a line"))(30)
    assert capsys.readouterr().err == "one | a line\n"


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A stderr on which live lines are drawn."""
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def test_a_live_line_that_ends_first_leaves_the_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    first, second = progress_of("first"), progress_of("second")
    first.__enter__()
    with second:
        first.__exit__(None, None, None)
        console.tell("a line")
        assert "a line" in terminal.getvalue()
        assert console.above_live_line
    assert not console.above_live_line


ERROR = SettingsError("the key is s3cret-value\n::error::FORGED", next=Step("init", says="Set up"))
TEXT = "the key is ***\\n::error::FORGED. Nothing was sent. Set up: invoke init"


def test_an_error_is_shown_to_a_person_as_one_safe_line() -> None:
    keep_secret(["s3cret-value"])
    assert console.message_of(ERROR) == TEXT


def test_the_error_of_several_apps_is_shown_with_the_lines_below_it() -> None:
    keep_secret(["s3cret-value"])
    failed = {"one": ERROR}
    assert console.message_of(SomeFailed("1 of 2 apps failed", failed)) == "1 of 2 apps failed"
    assert console.message_of(SomeFailed("1 of 2 failed:", failed, is_list=True)) == (
        "1 of 2 failed:\n  one: the key is ***\\n::error::FORGED. Set up: invoke init"
    )


def test_an_error_on_github_is_an_annotation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    keep_secret(["s3cret-value"])
    github.annotate("build failed: a, b", ERROR)
    assert capsys.readouterr().err == f"::error title=build failed%3A a%2C b::{TEXT}\n"


def test_an_error_is_not_annotated_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    github.annotate("build failed", ERROR)
    assert capsys.readouterr().err == ""


def test_lines_that_look_like_commands_of_github_are_defused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console.tell("::error::a")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for line in ("::error::a", " \t::error::a", "##[error]a", "a::b"):
        console.relay(line)
    console.print_lines("::error::a")
    out, err = capsys.readouterr()
    lines = ["::error::a", ": :error::a", "        : :error::a", "## [error]a", "a::b"]
    assert (out, err.splitlines()) == (": :error::a\n", lines)


@pytest.mark.parametrize(
    "write",
    [
        console.tell,
        console.warn,
        console.relay,
        console.print_lines,
        console.print_json,
        lambda text: console.result([text], None, as_json=False),
        lambda text: console.result([], {text: [text]}, as_json=True),
        lambda text: console.tell_table(["A"], [[text]]),
        lambda text: console.print_table(["A"], [[text]]),
    ],
)
def test_every_output_is_redacted_and_escaped(write: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    keep_secret(["s3cret-value"])
    write("s3cret-value\x1b[2J\u202e")
    written = "".join(capsys.readouterr())
    assert "***" in written
    assert written.replace("\n", "").isprintable()


@pytest.mark.parametrize("is_of_several", [False, True])
def test_a_live_line_is_redacted_and_escaped(monkeypatch: pytest.MonkeyPatch, is_of_several: bool) -> None:
    terminal = on_terminal(monkeypatch)
    keep_secret(["s3cret-value"])
    hostile = "s3cret-value\x1b]52;c;\x07"
    if is_of_several:
        with board_of(["one", "two"], is_shown=True) as board:
            board.set("one", hostile)
            console.tell(hostile)
    else:
        with progress_of(hostile) as show:
            show(hostile)
            console.tell(hostile)
    text = terminal.getvalue()
    assert text.count("***") >= (2 if is_of_several else 3)
    assert text.count("\\x1b]52;c;\\x07") >= (2 if is_of_several else 3)
    assert "s3cret" not in text
    assert "\x1b]" not in text
