"""The engine's commands, compared whole; what a push says; what a child process sees. Real engines: tests/engine."""

from __future__ import annotations

import os
import re
import shlex
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context, MockContext
from invoke.runners import Result

from deploy_tasks import signals
from deploy_tasks.engine import Engine, build_command, check_build_args, digest_lines
from deploy_tasks.errors import EngineError, Interrupted, SettingsError

DIGEST = "sha256:" + 64 * "a"
OTHER = "sha256:" + 64 * "b"
REFERENCE = "r:5000/shop:v1"


def line(digest: str = DIGEST, tag: str = "v1") -> str:
    return f"{tag}: digest: {digest} size: 528\n"


def mock(*results: Result) -> Any:
    return MockContext(run=list(results), repeat=False)


def commands(c: Any) -> list[str]:
    return [call.args[0] for call in c.run.call_args_list]


def test_the_build_command_word_for_word() -> None:
    command = build_command("docker", REFERENCE, Path("/a b/ctx"), Path("/a b/File"), "linux/amd64", ["A=b c", "D"])
    assert command == [
        *["docker", "build", "--platform", "linux/amd64", "--tag", REFERENCE, "--file", "/a b/File"],
        *["--build-arg", "A=b c", "--build-arg", "D", "/a b/ctx"],
    ]


def test_words_are_quoted_once_for_the_shell() -> None:
    c = mock(Result())
    Engine(c, "docker").build(
        REFERENCE, context=Path("/a b"), dockerfile=Path("/$(id)"), platform="linux/amd64", build_args=["A=';id"]
    )
    (command,) = commands(c)
    assert shlex.split(command)[-4:] == ["/$(id)", "--build-arg", "A=';id", "/a b"]


def test_the_digest_of_a_docker_push_is_the_line_of_its_tag() -> None:
    c = mock(Result(f"The push refers to repository\nabc: Pushed\n{line()}"))
    assert Engine(c, "docker").push(REFERENCE) == DIGEST
    assert commands(c) == [f"docker push {REFERENCE}"]


@pytest.mark.parametrize(
    "output", ["", "abc: Pushed\n", line(tag="v2"), line() + line(OTHER), line(DIGEST[:-1]), f"x {line()}"]
)
def test_a_push_without_exactly_one_digest_line_is_refused(output: str) -> None:
    with pytest.raises(EngineError, match=r"named \d digests where one is needed.*nothing was recorded or deployed"):
        Engine(mock(Result(output)), "docker").push(REFERENCE)


def test_a_failed_push_is_a_failure_even_with_a_digest_line() -> None:
    with pytest.raises(EngineError, match=r"the push of r:5000/shop:v1 failed \(exit code 1, see above\)"):
        Engine(mock(Result(line(), exited=1)), "docker").push(REFERENCE)


@pytest.mark.parametrize("program", ["podman", "/usr/bin/podman", "podman-remote"])
def test_podman_says_its_digest_in_a_fresh_file(program: str) -> None:
    files: list[Path] = []

    class Podman(MockContext):
        def run(self, command: str, *_: Any, **__: Any) -> Result:
            words = shlex.split(command)
            files.append(Path(words[words.index("--digestfile") + 1]))
            assert not files[-1].exists()
            files[-1].write_text(DIGEST)
            return Result()

    assert Engine(Podman(), program).push(REFERENCE) == DIGEST
    assert not files[0].parent.exists()


def test_podman_without_a_digest_file_is_refused() -> None:
    with pytest.raises(EngineError, match="named 0 digests"):
        Engine(mock(Result(line())), "podman").push(REFERENCE)


@pytest.mark.parametrize(("code", "says"), [(127, "is not installed"), (1, "does not answer; start it")])
def test_an_engine_that_is_not_there_or_down(code: int, says: str) -> None:
    with pytest.raises(EngineError, match=re.escape(f"the container engine 'docker' {says}, or name another")):
        Engine(mock(Result(exited=code)), "docker").check()


def test_the_password_goes_over_stdin_only() -> None:
    c = mock(Result())
    Engine(c, "docker").login("r:5000", "robot", "s3 cret")
    (call,) = c.run.call_args_list
    assert call.args == ("docker login --username robot --password-stdin r:5000",)
    assert call.kwargs["in_stream"].read() == "s3 cret"
    assert (call.kwargs["echo"], call.kwargs["hide"], call.kwargs["pty"]) == (False, True, False)


def test_a_refused_login_names_the_settings_and_not_the_password() -> None:
    with pytest.raises(EngineError, match=r"check DEPLOY_REGISTRY_USERNAME and DEPLOY_REGISTRY_PASSWORD") as error:
        Engine(mock(Result(exited=1)), "docker").login("r:5000", "robot", "s3cret")
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("text", ["=x", "1A=x", "A B=x", "--help", ""])
def test_a_build_arg_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="has no name"):
        check_build_args([text])


def test_digest_lines_of_another_tag_do_not_count() -> None:
    assert digest_lines(line(tag="v1.0") + line(OTHER, tag="v1"), "v1") == [OTHER]


# --- with real commands in the place of an engine -------------------------------------------------------------------


def engine(tmp_path: Path, script: str) -> Engine:
    program = tmp_path / "engine"
    program.write_text(f"#!/bin/bash\n{script}\n")
    program.chmod(0o755)
    return Engine(Context(), str(program))


def test_a_child_sees_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEPLOY_API_KEY", "DEPLOY_REGISTRY_PASSWORD", "DEPLOY_GIT_TOKEN"):
        monkeypatch.setenv(name, "s3cret")
    monkeypatch.setenv("KEPT", "yes")
    engine(tmp_path, f"env > {tmp_path}/env").check()
    seen = (tmp_path / "env").read_text()
    assert "s3cret" not in seen
    assert "KEPT=yes" in seen


def test_output_goes_to_stderr_and_long_output_costs_no_time(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    pushed = engine(tmp_path, f"head -c 16000000 /dev/zero | tr '\\0' x; echo; echo '{line().strip()}'").push(REFERENCE)
    assert time.monotonic() - start < 5, "Invoke's own runner takes over 20 s for this"
    out, err = capfd.readouterr()
    assert (pushed, out) == (DIGEST, "")
    assert len(err) > 16_000_000


def test_echo_and_dry_run_show_the_command_on_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dry = engine(tmp_path, "exit 1")
    dry._c.config.run.dry = True
    assert dry.push(REFERENCE) == ""
    out, err = capfd.readouterr()
    assert (out, f"{tmp_path}/engine push {REFERENCE}" in err) == ("", True)


def test_a_long_password_takes_no_noticeable_time(tmp_path: Path) -> None:
    start = time.monotonic()
    engine(tmp_path, f"cat > {tmp_path}/password").login("r:5000", "robot", "x" * 1000)
    assert time.monotonic() - start < 5, "ten milliseconds a character would be 10 s"
    assert (tmp_path / "password").read_text() == "x" * 1000


@pytest.mark.parametrize("config", [{"warn": True}, {"warn": False}])
def test_invokes_warn_setting_changes_nothing_about_a_failure(tmp_path: Path, config: dict[str, bool]) -> None:
    failing = engine(tmp_path, "exit 3")
    failing._c.config.run.update(config)
    with pytest.raises(EngineError, match="exit code 3"):
        failing.push(REFERENCE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_engine_and_all_that_it_started(tmp_path: Path, number: signal.Signals) -> None:
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    slow = engine(tmp_path, f"sleep 60 > {alive} & wait")
    readers = []

    def interrupt() -> None:
        readers.append(alive.open("rb"))  # opens once the sleep holds the other end
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt).start()
    with signals.raised(), pytest.raises(Interrupted, match="stopped, and the engine with it") as stopped:
        slow.push(REFERENCE)
    assert stopped.value.code == 128 + number
    with readers[0] as reader:
        assert reader.read() == b"", "ends when nobody holds the other end any more"
