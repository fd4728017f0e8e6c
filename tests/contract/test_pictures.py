"""The README's pictures come from real runs."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

from tests.project import ROOT, clean_environment, completed


def words_in(picture: Path) -> str:
    return " ".join(ElementTree.parse(picture).getroot().itertext()).replace("\xa0", " ")  # noqa: S314 - our own


def test_the_pictures_are_drawn_from_real_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "invoke", "pictures", "--folder", str(tmp_path)]
    done = completed(command, cwd=ROOT, env=clean_environment(), text=True)
    assert done.returncode == 0, done.stderr
    drawn = sorted(path.name for path in tmp_path.glob("*.svg"))
    assert drawn == ["build-reuse.svg", "rollback.svg", "status.svg"]
    assert "2/2 ready in" in words_in(tmp_path / "build-reuse.svg")
    assert "going back to" in words_in(tmp_path / "rollback.svg")
    readme = (ROOT / "README.md").read_text()
    for name in drawn:
        assert f"docs/pictures/{name}" in readme
        committed = words_in(ROOT / "docs" / "pictures" / name)
        assert "invoke" in committed
        assert str(Path.home()) not in committed
