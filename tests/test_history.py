"""What the history tells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from deploy_tasks.errors import SettingsError
from deploy_tasks.history import completed_digest, deploys, digest_back, outcomes, same_build
from deploy_tasks.models import BuildRequest, HistoryEntry


def digest(letter: str) -> str:
    return f"sha256:{64 * letter}"


def entry(letter: str, outcome: str = "deployed", **more: Any) -> HistoryEntry:
    fields = {"app": "shop", "namespace": "apps", "image_name": "shop", "time": "now", "who": "me", "what": "reuse"}
    return HistoryEntry(**{**fields, "build_id": digest(letter), "outcome": outcome, **more})


def oldest_first(*letters: str) -> list[HistoryEntry]:
    """The history of these deploys, as State gives it: newest first. `b!` did not come up."""
    lines = []
    for letter in letters:
        lines.append(entry(letter[0]))
        if letter.endswith("!"):
            lines.append(entry(letter[0], "not ready"))
    return lines[::-1]


def going_back(entries: Iterable[HistoryEntry], by: int, now: str | None = None) -> HistoryEntry:
    return digest_back(entries, "shop", "apps", by, now, other="invoke reuse --build-id sha256:…")


def back(by: int, *letters: str) -> str:
    return (going_back(oldest_first(*letters), by).build_id or "")[7]


def test_it_goes_back_to_the_digest_before() -> None:
    assert back(1, "a", "b", "c") == "b"
    assert back(2, "a", "b", "c") == "a"


@pytest.mark.parametrize(("running", "target"), [("c", "b"), ("b", "a"), ("z", "c"), (None, "b")])
def test_what_runs_is_what_it_goes_back_from(running: str | None, target: str) -> None:
    now = None if running is None else digest(running)
    assert going_back(oldest_first("a", "b", "c"), 1, now).build_id == digest(target)


def test_what_may_have_been_deployed_is_what_it_goes_back_from() -> None:
    entries = [entry("b", "unknown"), entry("a")]
    assert going_back(entries, 1).build_id == digest("a")


def test_the_same_digest_twice_is_no_step() -> None:
    assert back(1, "a", "b", "b", "b") == "a"


def test_going_back_twice_is_going_forward() -> None:
    assert back(1, "a", "b", "a") == "b"


def test_what_did_not_come_up_is_passed_over() -> None:
    assert back(1, "a", "b!", "c!") == "a"
    assert back(1, "a", "b!") == "a"


def test_what_became_of_each_deploy_is_told_once() -> None:
    entries = [
        entry("c", "unknown"),
        *oldest_first("a", "b!", "a"),
        entry("d", app="other"),
        entry("d", namespace="elsewhere"),
        entry("d", "recorded"),
    ]
    told = [(found.build_id or "")[7] + " " + found.outcome for found in outcomes(entries, "shop", "apps")]
    assert told == ["c unknown", "a deployed", "b not ready", "a deployed"]


def test_deploys_of_another_app_or_namespace_are_none_of_ours() -> None:
    entries = [entry("c"), entry("b", namespace="other"), entry("b", app="other"), entry("a")]
    assert going_back(entries, 1).build_id == digest("a")
    assert [found.build_id for found in deploys(entries, "shop", "apps")] == [digest("c"), digest("a")]


@pytest.mark.parametrize(
    ("letters", "says"),
    [((), "nothing was deployed"), (("a", "a"), "only one digest was"), (("a", "b"), "only 2 digests were")],
)
def test_where_there_is_nothing_to_go_back_to_it_says_so(letters: tuple[str, ...], says: str) -> None:
    with pytest.raises(SettingsError, match=f"cannot go back by 2: {says}"):
        back(2, *letters)


def test_the_beginning_of_a_digest_is_completed() -> None:
    entries = [entry("a"), entry("b", "recorded"), entry("a")]
    assert completed_digest(entries, 12 * "a") == completed_digest(entries, f"sha256:{20 * 'a'}") == digest("a")
    assert completed_digest(entries, digest("c")) == digest("c")
    assert completed_digest(entries, 11 * "a") == 11 * "a", "too short to be one: the grammar refuses it"


def test_the_beginning_of_none_or_of_several_is_refused() -> None:
    others = [entry("a", build_id=f"sha256:{63 * 'a'}{letter}") for letter in "bc"]
    with pytest.raises(SettingsError, match="begins 2 digests of the history"):
        completed_digest(others, 12 * "a")
    with pytest.raises(SettingsError, match="begins no digest of the history"):
        completed_digest(others, 12 * "d")


BUILD: dict[str, Any] = {"repo_url": "https://x/y", "git_ref": 40 * "1", "dockerfile": None, "build_context": None}
REQUEST = BuildRequest(app="shop", namespace="apps", image_tag="v1", cache=True, deploy=False, **BUILD)


@pytest.mark.parametrize(
    ("differs", "is_same"),
    [
        ({}, True),
        ({"git_ref": 40 * "2"}, False),
        ({"repo_url": "https://x/z"}, False),
        ({"dockerfile": "Other"}, False),
        ({"build_context": "api"}, False),
        ({"image_name": "other"}, False),
        ({"built": "local"}, False),
        ({"built": None}, False),
        ({"outcome": "deployed"}, False),
    ],
    ids=str,
)
def test_a_build_is_the_same_only_in_everything(differs: dict[str, Any], is_same: bool) -> None:
    made = entry("a", **{"outcome": "recorded", "built": "cluster", **BUILD, **differs})
    assert (same_build([made], REQUEST, "shop") is made) == is_same
