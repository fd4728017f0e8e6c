"""What the history tells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from deploy_tasks.errors import SettingsError
from deploy_tasks.state.history import (
    deploys,
    described,
    digest_back,
    digest_meant,
    failed_build,
    of_image,
    outcomes,
    same_build,
    source,
)
from deploy_tasks.state.records import BuildInFlight, HistoryEntry


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


def test_behind_what_runs_without_having_come_up_is_what_was_deployed_before_it() -> None:
    entries = [entry("c", "unknown"), *oldest_first("a", "b!")]
    assert going_back(entries, 1, digest("b")).build_id == digest("a")


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


def test_not_ready_is_said_of_one_deploy_of_a_digest() -> None:
    assert back(2, "a", "b", "a!", "c") == "a", "it came up the first time"
    assert back(1, "a", "b", "a!", "c") == "b"
    assert back(1, "a!", "a", "b") == "a", "it came up the second time"
    assert back(1, "b", "a", "a!") == "b", "what runs now is no step back"


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


COMMIT = 40 * "c"


@pytest.mark.parametrize(
    "text", [12 * "a", f"sha256:{20 * 'a'}", f"{12 * 'a'}…", f"sha256:{12 * 'a'}…", f"{12 * 'a'}...", 64 * "a"]
)
def test_the_beginning_of_a_digest_means_that_digest(text: str) -> None:
    assert digest_meant([entry("a"), entry("b", "recorded"), entry("a")], text) == digest("a")


@pytest.mark.parametrize("text", [COMMIT[:7], COMMIT[:12], COMMIT])
def test_a_commit_means_what_was_built_from_it(text: str) -> None:
    made = entry("b", "recorded", git_ref=COMMIT)
    changed = entry("d", "recorded", git_ref=COMMIT, dirty=True)
    branch = entry("e", "recorded", git_ref="ccccccc")
    assert digest_meant([entry("a"), changed, branch, made], text) == digest("b")


@pytest.mark.parametrize("text", [digest("f"), "", "latest", "ffffff", "sha256:…", f"{12 * 'f'}\n", 65 * "f", 12 * "F"])
def test_what_is_no_abbreviation_stays_as_it_is(text: str) -> None:
    assert digest_meant([entry("a")], text) == text


def test_the_beginning_of_none_or_of_several_is_refused() -> None:
    others = [entry("a", build_id=f"sha256:{63 * 'a'}{digit}") for digit in "0123456789"]
    with pytest.raises(SettingsError, match=r"means 10 digests of the history: (sha256:a{12}…; ){5}and 5 more"):
        digest_meant(others, 12 * "a")
    with pytest.raises(SettingsError, match="means 2 digests of the history: sha256:aaaaaaaaaaaa…, commit ccccccc; "):
        digest_meant([entry("a", git_ref=COMMIT), entry("b", git_ref=COMMIT)], COMMIT)
    for text in (12 * "d", 7 * "a", f"sha256:{7 * 'c'}"):
        with pytest.raises(SettingsError, match="begins no digest of the history"):
            digest_meant([entry("a", git_ref=COMMIT)], text)


def test_the_digests_of_another_image_are_not_looked_at() -> None:
    ours, theirs = entry("a"), entry("a", image_name="worker")
    assert list(of_image([theirs, ours], "shop")) == [ours]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"git_ref": COMMIT}, "commit ccccccc"),
        ({"git_ref": COMMIT, "dirty": True}, "uncommitted changes on ccccccc"),
        ({"git_ref": "feature/x"}, "feature/x"),
        ({"dirty": True}, "uncommitted changes on no commit"),
        ({}, ""),
    ],
)
def test_what_an_image_was_built_from_is_said_with_its_uncommitted_changes(fields: dict[str, Any], says: str) -> None:
    assert source(entry("a", **fields)) == says
    assert described(entry("a", **fields)) == f"sha256:aaaaaaaaaaaa…{says and ', '}{says}"


def test_a_build_stays_failed_until_something_of_that_image_is_recorded() -> None:
    failed = HistoryEntry(app="shop", image_name="shop", time="now", who="me", what="build", outcome="failed")
    others = [entry("a", "recorded", app="other", image_name="other"), entry("a"), entry("a", "unknown")]
    assert failed_build([*others, failed, entry("b", "recorded")], "shop", "shop") is failed
    assert failed_build([entry("b", "recorded"), failed], "shop", "shop") is None
    assert failed_build([failed], "shop", "other") is None
    assert failed_build([failed], "other", "shop") is None
    assert failed_build([], "shop", "shop") is None


BUILD: dict[str, Any] = {"repo_url": "https://x/y", "git_ref": 40 * "1", "dockerfile": None, "build_context": None}
WANTED = BuildInFlight(image_name="shop", job_name="build-1", api_url="https://x", started_at="", **BUILD)


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
    assert (same_build([made], WANTED) is made) == is_same
