"""What `init` puts into a developer's repository. What is there stays as it is; ignore files get lines at their end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from .git import Checkout
from .settings import TABLE, Setting, project_root

_TASKS = 'from deploy_tasks import ns\n\n__all__ = ["ns"]\n'
_LINES_FOR_TASKS = "from deploy_tasks import ns as deploy; ns.add_collection(deploy, 'deploy')"
_GIT_IGNORES = (".deploy/", ".env", ".env.*", "!.env.example")
_DOCKER_IGNORES = ("**/.env*", "**/.deploy")
# What a first deploy cannot do without.
_NEEDED = {"api_url": "https://deploy.kubernetes.crianex.com", "api_key": "", "port": "3000"}
_HEAD = """\
# Copy to .env (or .env.local, which goes before it) at your project's root: chmod 600 .env, and keep it out of git.
# The file is read, never loaded into the environment. A variable of the environment goes before it.
"""


def set_up(*, dry: bool) -> Iterator[str]:
    """Sets up the project around the current folder; yields what was done, in lines. With `dry` nothing is done."""
    root = project_root(Path.cwd())
    known = _known(root)
    yield from _new(root / "tasks.py", _TASKS, dry, f"add to it: {_LINES_FOR_TASKS}", unless="deploy_tasks")
    of_deploy = "deploy:\n" + "".join(f"  {key}: {value}\n" for key, value in known.items())
    advice = f"add to it: {of_deploy.strip()!r}"
    yield from _new(root / "invoke.yaml", of_deploy, dry, advice, unless="deploy:")
    yield from _new(
        root / ".env", example(leave_out=known.keys() & {"port"}), dry, "its settings: invoke doctor", mode=0o600
    )
    yield from _add_lines(root / ".gitignore", _GIT_IGNORES, dry)
    yield from _add_lines(root / ".dockerignore", _DOCKER_IGNORES, dry)
    yield "next: put DEPLOY_API_KEY into .env, then: invoke doctor, and: invoke build reuse"


def example(leave_out: Sequence[str] | frozenset[str] | set[str] = ()) -> str:
    """A .env with every setting and its reason; those that a first deploy needs are not commented out, but for
    `leave_out`."""
    return _HEAD + "".join(f"\n# {row.reason[0].upper()}{row.reason[1:]}.\n{_line(row, leave_out)}\n" for row in TABLE)


def _line(row: Setting, leave_out: Sequence[str] | frozenset[str] | set[str]) -> str:
    if row.key in _NEEDED and row.key not in leave_out:
        return f"{row.variable}={_NEEDED[row.key]}"
    default = (
        "" if row.default in (None, ()) else str(row.default).lower() if isinstance(row.default, bool) else row.default
    )
    return f"# {row.variable}={default:g}" if isinstance(default, float) else f"# {row.variable}={default}"


def _known(root: Path) -> dict[str, str]:
    """What git and the Dockerfile know: the app's name, and the port that it exposes."""
    known = {"app": Checkout(root).app or "my-app"}
    dockerfile = root / "Dockerfile"
    exposed = re.findall(
        r"^\s*EXPOSE\s+(\d+)", dockerfile.read_text(errors="replace") if dockerfile.is_file() else "", re.M | re.I
    )
    return {**known, "port": exposed[-1]} if exposed else known


def _new(path: Path, text: str, dry: bool, advice: str, *, unless: str = "", mode: int = 0o644) -> Iterator[str]:
    if path.exists() or path.is_symlink():
        done = unless and path.is_file() and unless in path.read_text(errors="replace")
        yield f"{path.name} is there and stays as it is{'' if done else f'; {advice}'}"
        return
    if not dry:
        path.touch(mode)
        path.write_text(text)
    yield f"{'would write' if dry else 'wrote'} {path.name}"


def _add_lines(path: Path, lines: Sequence[str], dry: bool) -> Iterator[str]:
    text = path.read_text(errors="surrogateescape") if path.exists() else ""
    missing = [line for line in lines if line not in text.splitlines()]
    if not missing:
        yield f"{path.name} has its lines already"
        return
    if not dry:
        with path.open("a", errors="surrogateescape") as file:
            file.write(("" if not text or text.endswith("\n") else "\n") + "\n".join(missing) + "\n")
    yield f"{'would add' if dry else 'added'} to {path.name}: {' '.join(missing)}"
