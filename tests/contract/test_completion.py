"""TAB in a shell that a person sits at."""

from __future__ import annotations

import os
import re
import select
import shutil
import sys
from pathlib import Path

import pytest

from tests.left_out import leave_out, need_the_program
from tests.project import SECONDS_A_COMMAND, Process, Project


class Shell:
    """An interactive bash on a terminal of its own."""

    def __init__(self, project: Project, program: str) -> None:
        if program == "deploy-tasks":
            need_the_program()
        bash = shutil.which("bash") or leave_out("bash is not installed")
        programs = f"{Path(sys.executable).parent}:{project.environment['PATH']}"
        self._inside, outside = os.openpty()
        self.process = Process(
            [bash, "--norc", "--noprofile", "-i"],
            cwd=project.folder,
            env={**project.environment, "PATH": programs, "TERM": "dumb", "PS1": "> ", "HISTFILE": os.devnull},
            stdin=outside,
            stdout=outside,
            stderr=outside,
        )
        os.close(outside)
        self.type(f"source <({program} --print-completion-script=bash); echo ready$((1 + 1))\n", until="ready2")

    def type(self, keys: str, *, until: str) -> str:
        """What the terminal shows after `keys`, up to the words `until`."""
        os.write(self._inside, keys.encode())
        shown = ""
        while not re.search(until, shown):
            assert select.select([self._inside], [], [], SECONDS_A_COMMAND)[0], shown
            shown += os.read(self._inside, 65_536).decode()
        return shown

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._inside)


@pytest.mark.parametrize("program", ["invoke", "deploy-tasks"])
def test_bash_completes_tasks_and_flags(project: Project, program: str) -> None:
    shell = Shell(project, program)
    try:
        assert f"{program} rollback" in shell.type(f"{program} rollb\t", until="rollback ")
        assert "--app-class" in shell.type("--app-c\t", until="--app-class ")
        shown = shell.type("\x15" + f"{program} lo\t\t", until=r"logs\s")
        assert {"local", "local-deploy", "logs"} <= set(shown.split())
    finally:
        shell.close()
