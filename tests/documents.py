"""Reads README.md and docs/, and runs what stands there, as a reader would: files are written, commands are run, and
what they print is compared with what the page shows.

A block of `sh` is run line by line. In one of `console`, what stands after `$` is run, and must print what stands below
it: a line of `…` is any number of lines, `…` within a line any text, and digests, commits, times and hosts are whatever
they are. It must end with 0, or with what `# exit code N` behind the command says. A block of another language whose
first line is a comment with a path is that file.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from tests.left_out import need_the_program
from tests.project import SECONDS_A_COMMAND, Process, Project, completed

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
}
_COMMANDS = ("sh", "console")
_END = "\x1e"
_LOOSE = re.compile(
    r"(?P<digest>sha256:[0-9a-f]+)|(?P<host>registry\.kubernetes\.crianex\.com|127\.0\.0\.1:8077)"
    r"|(?P<hex>\b(?=[0-9a-f]*\d)[0-9a-f]{7,})|(?P<number>\d+(?:\.\d+)?)|(?P<any>…)|(?P<space> +)"
)
_ANY = {
    "digest": "sha256:[0-9a-f]+…?",
    "host": r"[\w.:-]+",
    "hex": "[0-9a-f]+",
    "number": r"[\d.]+",
    "any": ".*",
    "space": " +",
}


class Block(NamedTuple):
    """A fenced block: what stands behind the fence, what is in it, and in which line it begins."""

    info: str
    text: str
    line: int

    @property
    def language(self) -> str:
        return self.info.partition(" ")[0]

    @property
    def file(self) -> str | None:
        """The path that the block says it is the content of."""
        named = re.match(r"# ([\w./-]+)\n", self.text) if self.language not in ("", *_COMMANDS) else None
        return named[1] if named else None


class Command(NamedTuple):
    """A command, the lines that it prints, and its exit code."""

    text: str
    shows: list[str]
    code: int


def blocks(text: str) -> Iterator[Block]:
    for found in re.finditer(r"^( *)```(.*)\n((?:.*\n)*?) *```$", text, re.MULTILINE):
        indent, info, inside = found.groups()
        yield Block(info, re.sub(f"^{indent}", "", inside, flags=re.MULTILINE), text.count("\n", 0, found.start()) + 1)


def commands(block: Block) -> list[Command]:
    if block.language == "sh":
        lines = [line for line in block.text.splitlines() if line and not line.startswith("#")]
        return [Command(line, [], 0) for line in lines]
    found: list[Command] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            code = re.search(r"# exit code (\d+)$", line)
            found.append(Command(line[2:], [], int(code[1]) if code else 0))
        else:
            found[-1].shows.append(line)
    return found


def inline_commands(text: str) -> Iterator[list[str]]:
    """The words of each command of the kit within a sentence or a table, without what follows a pipe, `&` or `;`."""
    prose = re.sub(r"^( *)```.*\n(?:.*\n)*?\1```$", "", text, flags=re.MULTILINE)
    for span in re.findall(r"`([^`\n]+)`", prose):
        named = re.match(r"(?:invoke|deploy-tasks|python -m deploy_tasks) ([^…|&;]+)", span)
        if named:
            yield named[1].replace("TASK", "build").split()


def pattern(lines: list[str]) -> str:
    """What `lines` of a page match: the whole of an output."""
    return "".join(r"(?:.*\n)*?" if line == "…" else f"{_loose(line)}\n" for line in lines)


def _loose(line: str) -> str:
    pieces, end = [], 0
    for found in _LOOSE.finditer(line):
        pieces += [re.escape(line[end : found.start()]), _ANY[found.lastgroup or ""]]
        end = found.end()
    return "".join([*pieces, re.escape(line[end:])])


def follow(page: str, project: Project, replaced: Mapping[str, str] | None = None) -> None:
    """Does what `page` says, in `project`; `replaced` are those words of it that mean something else here."""
    text = PAGES[page].read_text()
    for there, here in (replaced or {}).items():
        assert there in text, there
        text = text.replace(there, here)
    with ExitStack() as going_on:
        for block in blocks(text):
            if block.file:
                path = project.write(block.file, block.text)
                path.chmod(0o600 if path.name.startswith(".env") else 0o644)
            elif block.info.endswith("until Ctrl-C"):
                going_on.enter_context(_started(page, block, project))
            elif block.language in _COMMANDS:
                _run(page, block, project)


@contextmanager
def _started(page: str, block: Block, project: Project) -> Iterator[None]:
    """Starts what goes on until Ctrl-C, and waits until it printed what the page shows, among other lines. The rest has
    the variables that it exports."""
    (command,) = commands(block)
    # Its usual port may be taken here.
    port = "" if "--port" in command.text else "--port 0"
    with Process(
        ["bash", "-c", f"exec {command.text} {port}"],
        cwd=project.folder,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for shown in command.shows:
            printed = [process.stdout.readline()]
            while not re.fullmatch(pattern([shown]), printed[-1]):
                assert printed[-1], (page, shown, printed)
                printed.append(process.stdout.readline())
            name, _, value = printed[-1].removeprefix("export ").strip().partition("=")
            project.environment.update({name: value} if printed[-1].startswith("export ") else {})
        Thread(target=process.stdout.read, daemon=True).start()  # so that what it writes meanwhile does not block it
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS_A_COMMAND) in (0, 130)


def _run(page: str, block: Block, project: Project) -> None:
    todo = commands(block)
    script = "".join(f"{command.text}\nprintf '{_END}%d{_END}' $?\n" for command in todo)
    done = completed(
        ["bash", "-c", script], cwd=project.folder, env=project.environment, stderr=subprocess.STDOUT, text=True
    )
    printed = done.stdout.split(_END)
    for number, command in enumerate(todo):
        output, code = printed[2 * number], int(printed[2 * number + 1])
        output += "" if output.endswith("\n") else "\n"
        where = f"{page}, the block of line {block.line}: {command.text}"
        assert "Traceback" not in output, f"{where}\nprints:\n{output}"
        assert code == command.code, f"{where}\nends with {code}:\n{output}"
        if command.shows:
            expected = pattern(command.shows)
            assert re.fullmatch(expected, output), f"{where}\nprints:\n{output}\nand the page shows:\n" + "\n".join(
                command.shows
            )


def with_programs(project: Project, home: Path) -> Project:
    """`project` with the programs of this interpreter on its PATH, and a home of its own. Pages install the package; no
    index is asked, so it must be installed already."""
    need_the_program()
    home.mkdir()
    programs = f"{Path(sys.executable).parent}:{project.environment['PATH']}"
    project.environment.update(HOME=str(home), PATH=programs, PIP_NO_INDEX="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    return project
