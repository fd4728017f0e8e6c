"""Draws the README's pictures from real runs: a sandbox, a repository, and `invoke` on a terminal of its own."""

from __future__ import annotations

import io
import os
import re
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from tests.project import Project
from tests.sandboxes import SandboxProcess

WIDTH = 124
# What is drawn over: to the line's beginning, erase it, one line up, and what only hides or shows the cursor.
_CONTROL = re.compile(r"(\r\n|\n|\r|\x1b\[2K|\x1b\[1A|\x1b\[\?25[lh])")
_SHOP = {
    "Dockerfile": "FROM scratch\nEXPOSE 3000\nCOPY . /\n",
    "invoke.yaml": "deploy:\n  app: shop\n  port: 3000\n  replicas: 2\n  domain: shop.example.com\n",
}


def draw(folder: Path) -> list[Path]:
    """Draws every picture in `folder`; returns their paths."""
    with tempfile.TemporaryDirectory(prefix="pictures-") as place:
        shop = Project.make(Path(place) / "shop", _SHOP)
        sandbox = SandboxProcess(Path(place) / "sandbox", "--build-seconds", "3", "--replica-seconds", "0.7")
        try:
            shop.environment.update(sandbox.settings, LOGNAME="ann")
            _change(shop, "first")
            _run(shop, "build reuse")
            _change(shop, "second")
            pictures = {
                "build-reuse": _run(shop, "build reuse"),
                "rollback": _run(shop, "rollback"),
                "status": [*_run(shop, "status"), "", *_run(shop, "history --limit 4")],
            }
        finally:
            sandbox.stop()
    return [_drawn(folder / f"{name}.svg", lines) for name, lines in pictures.items()]


def _change(shop: Project, text: str) -> None:
    shop.write("page.html", text)
    shop.commit(text)
    shop.push()


def _run(shop: Project, words: str) -> list[str]:
    """The lines that `invoke` leaves on a terminal, with their colours."""
    written = shop.on_a_terminal(*words.split(), COLUMNS=str(WIDTH))
    shown = written.replace(str(shop.folder.parent), "/home/ann").replace(os.uname().nodename, "laptop")
    return [f"\x1b[1m$ invoke {words}\x1b[0m", *_screen(shown)]


def _screen(written: str) -> list[str]:
    lines, row = [""], 0
    for piece in _CONTROL.split(written):
        if piece in ("\n", "\r\n"):
            row += 1
            lines += [""] * (row == len(lines))
        elif piece == "\x1b[1A":
            row -= 1
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif piece and not _CONTROL.fullmatch(piece):
            lines[row] += piece
    return [line.rstrip() for line in lines if line.rstrip()]


def _drawn(path: Path, lines: list[str]) -> Path:
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the fonts that it would fetch from elsewhere.
    form = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    path.write_text(console.export_svg(title="deploy-tasks", code_format=form))
    return path
