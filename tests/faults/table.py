"""The tables in docs/reliability.md: made by the tests, and compared with what they see."""

from __future__ import annotations

import re
from pathlib import Path

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "reliability.md"
_MARK = "<!-- {}: made by the tests: pytest tests/faults --write-tables -->"
_END = "<!-- end -->"
_HEADS = {
    "faults": "| # | fault | exit code | requests that arrived | the last line on stderr |\n|---|---|---|---|---|",
    "inputs": "| of | bad input | exit code | requests that arrived | the last line on stderr |\n|---|---|---|---|---|",
}


def row(*cells: object) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


class Tables:
    """What this test run saw, beside what is committed."""

    def __init__(self, *, write: bool) -> None:
        self.write = write
        self.seen: dict[str, dict[str, str]] = {name: {} for name in _HEADS}
        self.committed = {name: _rows(name) for name in _HEADS}

    def saw(self, table: str, *cells: object) -> None:
        """One row; its first two cells name it. Fails where it is not as committed."""
        key, text = row(*cells[:2]), row(*cells)
        assert key not in self.seen[table], f"two tests see {key}"
        self.seen[table][key] = text
        if not self.write:
            assert self.committed[table].get(key) == text, (
                f"docs/reliability.md says otherwise: {self.committed[table].get(key)}. If what is seen now is right: "
                "pytest tests/faults --write-tables"
            )

    def stale(self) -> list[str]:
        """What is committed and was not seen."""
        return stale({key for rows in self.seen.values() for key in rows})

    def save(self, *, complete: bool) -> None:
        """Writes what was seen; what was not goes where all tests ran."""
        for name, seen in self.seen.items():
            # In the order that is committed, whatever the order of the tests.
            all_rows = {**self.committed[name], **seen}
            rows = {key: text for key, text in all_rows.items() if key in seen or not complete}
            lines = sorted(rows.values(), key=_place) if name == "faults" else list(rows.values())
            before, _, rest = DOCUMENT.read_text().partition(_MARK.format(name))
            after = rest.partition(_END)[2]
            DOCUMENT.write_text(before + "\n".join([_MARK.format(name), _HEADS[name], *lines, _END]) + after)


def stale(seen: set[str]) -> list[str]:
    """The committed rows whose keys are not among those `seen`."""
    return [text for name in _HEADS for key, text in _rows(name).items() if key not in seen]


def _place(line: str) -> tuple[int, str]:
    number = line.split(" ")[1]
    digits = re.match(r"\d*", number)
    assert digits is not None
    return int(digits[0] or 99), number


def _rows(name: str) -> dict[str, str]:
    table = DOCUMENT.read_text().partition(_MARK.format(name))[2].partition(_END)[0]
    lines = table.splitlines()[3:]
    return {" | ".join(line.split(" | ")[:2]) + " |": line for line in lines}
