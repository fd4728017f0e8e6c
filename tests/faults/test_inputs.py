"""Every bad input, given to a real process: one line, exit code 2 (a state file: 10), nothing sent, nothing changed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.api import FaultyApi
from tests.faults.conftest import Saw
from tests.faults.engine import FakeEngine
from tests.project import Project, completed, without_root_rights

DIGEST = "sha256:" + 64 * "a"


class Bad(NamedTuple):
    """A bad input: of what it is, how the table shows it, the command line, and the environment or the file to make."""

    of: str
    shown: str
    line: list[str]
    environment: dict[str, str | bytes] = {}  # noqa: RUF012 - never changed
    make: Callable[[Path], object] | None = None
    code: int = 2


def of_environment(of: str, variable: str, *values: str, line: str = "build") -> Iterator[Bad]:
    for value in values:
        yield Bad(of, shown(value), [line], {variable: value})


def of_flag(of: str, line: list[str], flag: str, *values: str) -> Iterator[Bad]:
    for value in values:
        yield Bad(of, f"{flag} {shown(value)}", [*line, f"{flag}={value}"])


def shown(value: str) -> str:
    text = repr(value)[1:-1] if not value.isprintable() or not value.isascii() else value
    return f"`{text}`" if len(text) < 60 else f"`{text[:20]}…` ({len(value)} characters)"


def env_file(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / ".env").write_bytes(content)


def state_file(content: bytes) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        (folder / ".deploy").mkdir()
        (folder / ".deploy" / "build-id.json").write_bytes(content)

    return write


def link(folder: Path) -> None:
    state_file(b"{}")(folder)
    state = folder / ".deploy" / "build-id.json"
    state.rename(folder / "elsewhere.json")
    state.symlink_to("../elsewhere.json")


def unreadable(folder: Path) -> None:
    env_file(b"DEPLOY_APP=shop\n")(folder)
    (folder / ".env").chmod(0)


def cannot_be_looked_at(folder: Path) -> None:
    (folder / "theirs").mkdir()
    (folder / "theirs" / "file").touch()
    (folder / "theirs").chmod(0)
    (folder / "loop").symlink_to("loop")


def env_file_of_app(path: str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        cannot_be_looked_at(folder)
        (folder / "invoke.yaml").write_text(f"deploy: {{env_file: {path}}}\n")

    return write


PATHS = {"in another user's folder": "theirs/file", "300 characters": 300 * "x", "a loop of links": "loop/file"}
LABEL_OF_70 = 70 * "x" + ".example.com"
KEYS = {
    "spaces": "a key",
    "trailing newline": "key\n",
    "CR LF": "key\r\nX-Admin: 1",
    "U+2019": "key\u2019s",
    "only spaces": "  ",
}
STATES = {
    "empty": b"",
    "`{`": b"{",
    "`null`": b"null",
    "`[]`": b"[]",
    "two objects": b"{} {}",
    "`NaN`": b'{"buildId": NaN}',
    "100,000 `[`": b"[" * 100_000,
    "100,000 nested objects": b'{"a":' * 100_000,
    "an integer of 5,000 digits": b'{"port": ' + b"1" * 5_000 + b"}",
    "invalid UTF-8": b'{"app": "\xff"}',
    "a buildId that is none": b'{"buildId": "sha256:ABC"}',
    "a newer schema": b'{"schemaVersion": 2}',
}
DIGESTS = {
    "upper-case hex": "sha256:" + 64 * "A",
    "`SHA256:`": "SHA256:" + 64 * "a",
    "63 digits": "sha256:" + 63 * "a",
    "65 digits": "sha256:" + 65 * "a",
    "sha512": "sha512:" + 64 * "a",
    "a trailing newline": f"{DIGEST}\n",
    "a tag": "latest",
    "empty": "",
}
REUSE = ["reuse", "--build-id"]

BAD: list[Bad] = [
    *(Bad("URL", "empty", [task], {"DEPLOY_API_URL": ""}) for task in ("build",)),
    *of_environment(
        "URL",
        "DEPLOY_API_URL",
        *("deploy.local", "localhost:8080", "ftp://x", "file:///etc/passwd", "http://", "http://[::1", "http://a b/"),
        *("https://x:99999", "https://x:0", "https://x:abc", "https://user:canary@x", f"https://{LABEL_OF_70}"),
        *(
            "http://deploy.example.com",
            "http://127.256.1.1",
            "https://x/?key=canary",
            "https://x/#a",
            "https://\x1b[2J",
        ),
    ),
    Bad("key", "empty", ["build"], {"DEPLOY_API_KEY": ""}),
    *(Bad("key", name, ["build"], {"DEPLOY_API_KEY": f"canary{key}"}) for name, key in KEYS.items()),
    *of_environment("timeout", "DEPLOY_TIMEOUT", "abc", "0", "-1", "nan", "inf", "1e12", "1,2"),
    *of_environment("API timeout", "DEPLOY_API_TIMEOUT", "0", "inf"),
    *of_environment("lock timeout", "DEPLOY_LOCK_TIMEOUT", "-1", "soon"),
    Bad(".env", "UTF-16", ["build"], make=env_file("DEPLOY_APP=shop\n".encode("utf-16"))),
    Bad(".env", "latin-1", ["build"], make=env_file("DEPLOY_APP=caf\xe9\n".encode("latin-1"))),
    Bad(".env", "an unclosed quote", ["build"], make=env_file(b"A=1\nDEPLOY_GIT_TOKEN='canary\nB=2\n")),
    Bad(".env", "a FIFO", ["build"], make=lambda folder: os.mkfifo(folder / ".env")),
    Bad(".env", "a folder", ["build"], make=lambda folder: (folder / ".env").mkdir()),
    Bad(".env", "unreadable", ["build"], make=unreadable),
    Bad(".env", "DEPLOY_ENV_FILE that is not there", ["build"], {"DEPLOY_ENV_FILE": "no.env"}),
    *(
        Bad(of, name, [line], {variable: path}, make=cannot_be_looked_at, code=code)
        for of, variable, line, code in (
            (".env", "DEPLOY_ENV_FILE", "build", 2),
            ("Dockerfile", "DEPLOY_DOCKERFILE", "local", 2),
            ("build context", "DEPLOY_BUILD_CONTEXT", "local", 2),
            ("state", "DEPLOY_STATE_FILE", "reuse", 10),
        )
        for name, path in PATHS.items()
    ),
    *(Bad("env_file", name, ["build"], make=env_file_of_app(path)) for name, path in PATHS.items()),
    *(Bad("state", name, ["reuse"], make=state_file(content), code=10) for name, content in STATES.items()),
    Bad(
        "state",
        "a folder",
        ["reuse"],
        make=lambda folder: (folder / ".deploy/build-id.json").mkdir(parents=True),
        code=10,
    ),
    Bad("state", "a symbolic link", ["digest"], make=link, code=10),
    Bad("state", "none", ["reuse"]),
    *(Bad("digest", name, ["reuse", f"--build-id={digest}"]) for name, digest in DIGESTS.items()),
    *of_flag("image name", ["build"], "--image-name", "..", "../../build", "Team/App", "a//b", "a\n", "host:5000/app"),
    *of_flag("tag", ["build"], "--image-tag", "-v", 129 * "t", "$(id)", "a b", "a/b"),
    *of_flag("job", ["wait", "--image-tag=v1"], "--job", "../x", "a/b", "A", "x?y", ""),
    *of_flag("build context", ["local"], "--build-context", "--help", "-", "missing", "Dockerfile"),
    *of_flag("Dockerfile", ["local"], "--dockerfile", "missing", ".", "--help"),
    *of_flag("build arg", ["local"], "--build-arg", "=value", "1A=x", "NOT_SET", "DEPLOY_API_KEY"),
    *of_flag("environment", ["reuse", f"--build-id={DIGEST}"], "--env", "=value", "NOT_SET", "DEPLOY_API_KEY"),
    *of_flag("app class", ["build"], "--app-class", "gold"),
    *of_flag("app", ["build"], "--app", "Shop", "../x", "-x", 64 * "a"),
    *of_flag("namespace", ["build"], "--namespace", "a/b"),
    *of_flag("port", [*REUSE, DIGEST], "--port", "0", "010", "70000", "http"),
    *of_flag("replicas", [*REUSE, DIGEST], "--replicas", "-1", "many"),
    *of_flag("domain", [*REUSE, DIGEST], "--domain", "a b", "https://x", "*"),
    *of_flag("health path", [*REUSE, DIGEST], "--health-path", "health", "/a b"),
    *of_flag("git ref", ["build"], "--git-ref", "--upload-pack=x", "a\nb"),
    *of_flag("repository", ["build"], "--repo-url", "https://user:canary@x/y", "--help"),
    *of_flag("repository", ["build"], "--repo-url", "u:canary@x:y", "canary@x/y", "https://x/y?key=canary"),
    *of_flag("platform", ["local"], "--platform", "linux", "Linux/AMD64", "linux/nonsense"),
    *of_environment("registry", "DEPLOY_REGISTRY", "https://x", "x:70000", "x/y", "robot:canary@x", line="local"),
    *of_environment("engine", "DEPLOY_DOCKER", "--help", line="local"),
    *of_environment("registry password", "DEPLOY_REGISTRY_PASSWORD", "canary\nx", line="local"),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad.of} {bad.shown}"[:60])
def test_a_bad_input_is_one_line_and_changes_nothing(
    shop: Project, api: FaultyApi, saw: Saw, tmp_path: Path, bad: Bad
) -> None:
    engine = FakeEngine(shop, tmp_path / "engine")
    if bad.make:
        bad.make(shop.folder)
    before = everything_in(shop.folder)
    done = completed(
        [*without_root_rights(), sys.executable, "-m", "invoke", *bad.line],
        cwd=shop.folder,
        env={**shop.environment, **bad.environment},
        text=True,
    )
    line = saw("inputs", bad.of, bad.shown, done, api.summary)
    assert done.returncode == bad.code
    assert done.stdout == ""
    assert done.stderr == f"{line}\n", "one line"
    assert line.isprintable()
    assert len(line) < 500
    assert api.summary == "none"
    assert engine.commands == []
    assert everything_in(shop.folder) == before


def test_an_empty_timeout_is_the_default(shop: Project, api: FaultyApi) -> None:
    assert shop.invoke("build", DEPLOY_TIMEOUT="", DEPLOY_API_TIMEOUT="").returncode == 0


def test_a_key_with_a_nul_reaches_no_environment(shop: Project, api: FaultyApi) -> None:
    # An environment cannot hold one; a file can.
    shop.write(".env", "DEPLOY_API_KEY=canary\0key\n").chmod(0o600)
    del shop.environment["DEPLOY_API_KEY"]
    done = shop.invoke("build")
    assert done.returncode == 2
    assert "canary" not in done.stderr
    assert api.summary == "none"


def everything_in(folder: Path) -> dict[str, object]:
    """Every path outside `.git`, with what is there."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.is_file() and path.read_bytes())
        for path in folder.rglob("*")
        if ".git" not in path.parts and "__pycache__" not in path.parts
    }
