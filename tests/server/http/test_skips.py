"""How much of this suite an implementation leaves out is known, and does not grow unseen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.server.http.implementations import IMPLEMENTATIONS

LEFT_OUT = {"memory": 0}
_TESTS = {
    name
    for path in Path(__file__).parent.glob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("name", sorted(IMPLEMENTATIONS))
def test_an_implementation_leaves_out_what_is_listed_and_no_more(name: str) -> None:
    cannot = IMPLEMENTATIONS[name].cannot
    assert len(cannot) == LEFT_OUT[name]
    assert cannot.keys() <= _TESTS
