"""One exit code a kind of error: the classes, the drawing in errors.py and docs/exit-codes.md say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from invoke.exceptions import Exit

from deploy_tasks import errors
from deploy_tasks.errors import ApiRefused, DeployError, SomeFailed
from deploy_tasks.redaction import excerpt, keep_secret

PAGE = Path(__file__).parent.parent / "docs" / "exit-codes.md"


def kinds() -> dict[str, int]:
    found = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DeployError)]
    # SomeFailed has the code of one of the others.
    return {kind.__name__: kind.exit_code for kind in found if kind not in (DeployError, SomeFailed)}


def test_the_drawing_in_the_module_has_every_error_with_its_code() -> None:
    drawn = re.findall(r"^[├└]── (\w+) +(\d+)  ", errors.__doc__ or "", re.MULTILINE)
    assert {name: int(code) for name, code in drawn} == kinds()


def test_the_page_has_every_code() -> None:
    codes = [int(code) for code in re.findall(r"^\| (\d+) \| ", PAGE.read_text(), re.MULTILINE)]
    assert sorted(codes) == sorted({0, 1, *kinds().values()})


@pytest.mark.parametrize("code", kinds().values())
def test_a_code_is_one_that_a_shell_can_see(code: int) -> None:
    assert 1 < code < 126 or 128 < code < 160


def test_an_error_ends_any_invoke_program_with_its_line_and_code() -> None:
    error = ApiRefused("said no", 403)
    assert isinstance(error, Exit)
    assert (error.message, str(error), error.code, error.status) == ("said no", "said no", 4, 403)


def test_an_excerpt_is_redacted_before_it_is_cut() -> None:
    keep_secret(["s3cret-of-thirty-characters-ab"])
    assert "s3cret" not in excerpt("x" * 190 + "s3cret-of-thirty-characters-ab")
