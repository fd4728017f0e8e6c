"""A fake container engine: the test sets its output, and it records its calls."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from tests.faults.api import DIGEST
from tests.project import Project

# The step of a build that made an image.
WRITE_IMAGE_ID = f'while [ $# -gt 0 ]; do [ "$1" = --iidfile ] && echo sha256:{64 * "1"} > "$2"; shift; done'
# A docker without buildx: `info` names it; `build` writes the image's id, `push` prints what docker prints, and `image
# inspect` says that this image was pushed.
_USUAL = {
    "info": 'echo \'{"ClientInfo": {"Context": "default", "Plugins": []}}\'',
    "login": "cat > /dev/null",
    "build": f"{WRITE_IMAGE_ID}; echo built",
    "push": 'echo "${2##*:}: digest: DIGEST size: 1"'.replace("DIGEST", DIGEST),
    "image": f"echo '[\"HOST/shop@{DIGEST}\"]'",
}


class FakeEngine:
    """A program in `folder`, and DEPLOY_DOCKER names it. `steps` are shell lines that replace the usual ones."""

    def __init__(self, project: Project, folder: Path, **steps: str) -> None:
        folder.mkdir()
        self._seen = folder / "seen"
        self._seen.mkdir()
        self.program = folder / "engine"
        cases = "".join(f"{name}) {step} ;;\n" for name, step in {**_USUAL, **steps}.items())
        self.program.write_text(
            f"#!/bin/sh\nn={shlex.quote(str(self._seen))}/$$\n"
            'printf "%s\\n" "$@" > "$n.arguments"; env > "$n.environment"; echo "$1" >> '
            f"{shlex.quote(str(folder / 'commands'))}\n"
            f'case "$1" in\n{cases}esac\n'
        )
        self.program.chmod(0o755)
        project.environment["DEPLOY_DOCKER"] = str(self.program)

    @property
    def commands(self) -> list[str]:
        """The subcommands that were run, in order."""
        file = self.program.with_name("commands")
        return file.read_text().split() if file.exists() else []

    def arguments(self) -> str:
        """Every argument that it was run with."""
        return "\n".join(path.read_text() for path in sorted(self._seen.glob("*.arguments")))

    def seen(self) -> str:
        """Every argument and every environment that it was run with."""
        return "\n".join(path.read_text() for path in sorted(self._seen.iterdir()))


def prints_json(**fields: object) -> str:
    """A shell line that prints a JSON object."""
    return f"echo {shlex.quote(json.dumps(fields))}"
