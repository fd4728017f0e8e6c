"""Draws the README's pictures from real runs: a sandbox, a repository, and `invoke` on a terminal of its own."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

WIDTH = 124
# What is drawn over: to the line's beginning, erase it, one line up, and what only hides or shows the cursor.
_CONTROL = re.compile(r"(\r\n|\n|\r|\x1b\[2K|\x1b\[1A|\x1b\[\?25[lh])")
_SHOP = {
    "tasks.py": "from deploy_tasks import ns\n",
    "Dockerfile": "FROM scratch\nEXPOSE 3000\nCOPY . /\n",
    ".gitignore": ".env*\n",
    "invoke.yaml": "deploy:\n  app: shop\n  port: 3000\n  replicas: 2\n  domain: shop.example.com\n",
}


def draw(folder: Path) -> list[Path]:
    """Makes every picture anew in `folder`; returns their paths."""
    with tempfile.TemporaryDirectory(prefix="pictures-") as place:
        shop = Path(place) / "shop"
        environment = _environment()
        _make(shop, environment)
        with _sandbox(shop, environment):
            _change(shop, environment, "first")
            _run(shop, environment, "build reuse")
            _change(shop, environment, "second")
            pictures = {
                "build-reuse": _run(shop, environment, "build reuse"),
                "rollback": _run(shop, environment, "rollback"),
                "status": [*_run(shop, environment, "status"), "", *_run(shop, environment, "history --limit 4")],
            }
    return [_drawn(folder / f"{name}.svg", lines) for name, lines in pictures.items()]


def _environment() -> dict[str, str]:
    not_ours = ("DEPLOY_", "INVOKE_", "GIT_", "GITHUB_")
    own = {key: value for key, value in os.environ.items() if not key.startswith(not_ours)}
    names = {f"GIT_{who}_{what}": "ann" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    terminal = {"TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
    return {**own, **names, **terminal, "GIT_CONFIG_GLOBAL": os.devnull, "LOGNAME": "ann"}


def _make(shop: Path, environment: dict[str, str]) -> None:
    shop.mkdir()
    for name, text in _SHOP.items():
        (shop / name).write_text(text)
    origin = str(shop.with_name("shop.git"))
    for words in ("init -q --bare " + origin, "init -q -b main", "remote add origin " + origin):
        subprocess.run(["git", *words.split()], cwd=shop, env=environment, check=True)


def _change(shop: Path, environment: dict[str, str], text: str) -> None:
    (shop / "page.html").write_text(text)
    for command in (["add", "-A"], ["commit", "-q", "-m", text], ["push", "-q", "-u", "origin", "main"]):
        subprocess.run(["git", *command], cwd=shop, env=environment, check=True)


@contextmanager
def _sandbox(shop: Path, environment: dict[str, str]) -> Iterator[None]:
    options = ["--port", "0", "--build-seconds", "3", "--replica-seconds", "0.7"]
    with subprocess.Popen(
        [sys.executable, "-m", "invoke", "sandbox", *options],
        cwd=shop,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        (shop / ".env").touch(0o600)
        (shop / ".env").write_text("".join(process.stdout.readline() for _ in range(3)))
        try:
            yield
        finally:
            process.terminate()


def _run(shop: Path, environment: dict[str, str], words: str) -> list[str]:
    """The lines that `invoke` leaves on a terminal, with their colours."""
    inside, outside = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "invoke", *words.split()],
        cwd=shop,
        env=environment,
        stdin=outside,
        stdout=outside,
        stderr=outside,
    ) as process:
        os.close(outside)
        written = b"".join(_read(inside))
        os.close(inside)
    if process.returncode:
        raise SystemExit(f"invoke {words} ended with {process.returncode}: {written.decode()}")
    shown = written.decode().replace(str(shop.parent), "/home/ann").replace(os.uname().nodename, "laptop")
    return [f"\x1b[1m$ invoke {words}\x1b[0m", *_screen(shown)]


def _read(inside: int) -> Iterator[bytes]:
    while True:
        try:
            piece = os.read(inside, 65_536)
        except OSError:  # Linux has no other end for a terminal that nobody holds any more
            return
        if not piece:
            return
        yield piece


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
