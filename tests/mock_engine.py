"""A container engine in the place of `c.run`: it gives the results of a test, and writes the ID of its build."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invoke.context import MockContext
from invoke.runners import Result

IMAGE_ID = "sha256:" + 64 * "1"


class MockEngine(MockContext):
    """`run` are the results of the commands in order. A command that succeeds writes the `files` of its flags. `image
    inspect` needs no result: it lists the digests that were pushed."""

    def __init__(self, *, run: Any, files: Mapping[str, str | None] | None = None, **more: Any) -> None:
        super().__init__(run=run, **{"repeat": False, **more})
        self._set(_files={"--iidfile": IMAGE_ID, **(files or {})}, _pushed="", _written=[])

    def run(self, command: str, *arguments: Any, **options: Any) -> Result:
        words = shlex.split(command)
        if words[1:3] == ["image", "inspect"]:
            return Result(
                json.dumps([f"r:5000/shop@{digest}" for digest in re.findall("sha256:[0-9a-f]+", self._pushed)])
            )
        result: Result = super().run(command, *arguments, **options)
        if words[1] == "push":
            self._set(_pushed=self._pushed + result.stdout)
        for flag, content in self._files.items():
            if flag in words and not result.exited:
                file = Path(words[words.index(flag) + 1])
                assert not file.exists()
                self._written.append(file)
                if content is not None:
                    file.write_text(content)
        return result


def commands(c: Any) -> list[str]:
    """The commands that were run, with FOLDER for the temporary folder."""
    return [re.sub(r"\S*/deploy-tasks-\w+/", "FOLDER/", call.args[0]) for call in c.run.call_args_list]
