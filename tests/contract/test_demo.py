"""The story that `invoke demo` tells, told."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.project import Project


def test_the_demo_deploys_what_it_built_and_leaves_nothing_behind(project: Project, tmp_path: Path) -> None:
    rooms = tmp_path / "rooms"
    rooms.mkdir()
    # A path with git and no engine on it: the story with an engine is told by `make demo` in CI.
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for program in ("git", "sh"):
        (bin_folder / program).symlink_to(shutil.which(program) or "")
    told = project.invoke("demo", TMPDIR=str(rooms), PATH=str(bin_folder))
    assert told.returncode == 0, told.stderr
    digests = re.findall(r"^(sha256:[0-9a-f]{64})$", told.stdout, re.MULTILINE)
    deployed = re.findall(r"^127\.0\.0\.1:\d+/hello@(sha256:[0-9a-f]{64})$", told.stdout, re.MULTILINE)
    assert deployed == [digests[0], digests[0], digests[1], digests[0]], "twice, the second version, and back"
    assert '"buildId": "' + digests[0] in told.stdout
    assert re.search(r"# The build took \d+\.\d s, this deploy \d+\.\d s", told.stdout)
    assert "Nothing was built or deployed" in told.stderr
    assert "No container engine answers here" in told.stdout
    assert list(rooms.iterdir()) == []


def test_the_demo_without_git_says_so(project: Project, tmp_path: Path) -> None:
    told = project.invoke("demo", PATH=str(tmp_path))
    assert told.returncode == 2
    assert told.stderr == "the demo needs git; install it and run the demo again\n"
