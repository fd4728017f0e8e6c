"""What is asked before a build on this machine, of servers that say nothing."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.project import Process, Project


def test_ctrl_c_while_the_api_says_nothing_ends_at_once_and_nothing_is_built(project: Project, tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    engine.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/commands\necho \'{{"ID": "x"}}\'\n')
    engine.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        settings = {"API_URL": f"http://{address}", "API_KEY": "k3y", "REGISTRY": address, "DOCKER": str(engine)}
        settings["API_TIMEOUT"] = "3600"
        process = Process(
            [sys.executable, "-m", "invoke", "local"],
            cwd=project.folder,
            env={**project.environment, **{f"DEPLOY_{name}": value for name, value in settings.items()}},
            stderr=subprocess.PIPE,
            text=True,
        )
        connections = [silent.accept()[0] for _ in range(2)]
        process.send_signal(signal.SIGINT)
        _, said = process.finish()  # while both requests still wait for an answer
        for connection in connections:
            connection.close()
    assert process.returncode == 130
    assert said.startswith("stopped")
    assert len(said.splitlines()) == 1
    commands = tmp_path / "commands"
    assert not commands.exists() or commands.read_text() == "info\n"
