"""Questions to the history."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from deploy_tasks.errors import SettingsError
from deploy_tasks.next_steps import Step
from deploy_tasks.state.history import History, described, source
from deploy_tasks.state.records import HistoryEntry, PlannedBuild

COMMIT = 40 * "c"


def digest(letter: str) -> str:
    return f"sha256:{64 * letter}"


def entry(letter: str, outcome: str = "deployed", **more: Any) -> HistoryEntry:
    fields = {"app": "shop", "namespace": "apps", "image_name": "shop", "time": "now", "who": "me", "what": "reuse"}
    return HistoryEntry(**{**fields, "build_id": digest(letter), "outcome": outcome, **more})


def oldest_first(*letters: str) -> list[HistoryEntry]:
    """The history of these deploys, newest first. `b!` did not become ready."""
    entries = []
    for letter in letters:
        entries.append(entry(letter[0]))
        if letter.endswith("!"):
            entries.append(entry(letter[0], "not ready"))
    return entries[::-1]


# --- reading --------------------------------------------------------------------------------------------------------


def test_an_entry_is_read_when_it_is_needed() -> None:
    read: list[str] = []

    def entries() -> Iterator[HistoryEntry]:
        for letter in "abc":
            read.append(letter)
            yield entry(letter)

    ours = History(entries, "https://x").of_image("shop")
    assert read == []
    assert next(iter(ours)).build_id == digest("a")
    assert read == ["a"]


def test_the_entries_of_one_cluster_include_those_that_name_none() -> None:
    one, other, unknown = (entry("a", api_url=url) for url in ("https://x", "https://y", None))
    assert list(History(lambda: [one, other, unknown], "https://x")) == [one, unknown]


def test_the_entries_of_an_environment_include_those_that_name_none() -> None:
    one, other, unknown = (entry("a", api_url="https://x", environment=name) for name in ("one", "two", None))
    assert list(History(lambda: [one, other, unknown], "https://x", "one")) == [one, unknown]
    assert list(History(lambda: [one, other, unknown], "https://x")) == [unknown]
    assert list(History(lambda: [one, other, unknown])) == [one, other, unknown]


def test_the_entries_of_another_image_are_left_out() -> None:
    ours, theirs = entry("a"), entry("a", image_name="worker")
    assert list(History(lambda: [theirs, ours]).of_image("shop")) == [ours]


# --- deploys --------------------------------------------------------------------------------------------------------


def test_each_deploy_has_one_outcome() -> None:
    entries = [
        entry("c", "unknown"),
        *oldest_first("a", "b!", "a"),
        entry("d", app="other"),
        entry("d", namespace="elsewhere"),
        entry("d", "recorded"),
    ]
    found = [f"{str(one.build_id)[7]} {one.outcome}" for one in History(lambda: entries).outcomes("shop", "apps")]
    assert found == ["c unknown", "a deployed", "b not ready", "a deployed"]


def test_a_deploy_counts_whether_or_not_it_became_ready() -> None:
    entries = [
        entry("c", "unknown"),
        *oldest_first("a", "b!"),
        entry("d", app="other"),
        entry("d", namespace="elsewhere"),
        entry("d", "recorded"),
    ]
    found = [str(one.build_id)[7] for one in History(lambda: entries).deploys("shop", "apps")]
    assert found == ["c", "b", "a"]


# --- abbreviations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [12 * "a", f"sha256:{20 * 'a'}", f"{12 * 'a'}…", f"sha256:{12 * 'a'}…", f"{12 * 'a'}...", 64 * "a"]
)
def test_the_beginning_of_a_digest_means_that_digest(text: str) -> None:
    assert History(lambda: [entry("a"), entry("b", "recorded"), entry("a")]).digest_for(text) == digest("a")


@pytest.mark.parametrize("text", [COMMIT[:7], COMMIT[:12], COMMIT])
def test_a_commit_means_the_digest_that_was_built_from_it(text: str) -> None:
    built = entry("b", "recorded", git_ref=COMMIT)
    with_changes = entry("d", "recorded", git_ref=COMMIT, dirty=True)
    of_branch = entry("e", "recorded", git_ref="ccccccc")
    assert History(lambda: [entry("a"), with_changes, of_branch, built]).digest_for(text) == digest("b")


@pytest.mark.parametrize("text", [digest("f"), "", "latest", "ffffff", "sha256:…", f"{12 * 'f'}\n", 65 * "f", 12 * "F"])
def test_a_text_that_is_no_abbreviation_is_returned_as_it_is(text: str) -> None:
    assert History(lambda: [entry("a")]).digest_for(text) == text


@pytest.mark.parametrize("text", [12 * "d", 7 * "a", f"sha256:{7 * 'c'}"])
def test_an_abbreviation_that_matches_nothing_is_an_error(text: str) -> None:
    with pytest.raises(SettingsError) as error:
        History(lambda: [entry("a", git_ref=COMMIT)]).digest_for(text)
    assert error.value.what == f"{text} matches no digest in the history, and no commit that one was built from"
    assert error.value.effect == "Nothing was deployed"
    assert error.value.next == (Step("history", says="Choose one"),)


def test_an_abbreviation_that_matches_several_digests_is_an_error() -> None:
    with pytest.raises(SettingsError) as error:
        History(lambda: [entry("a", git_ref=COMMIT), entry("b", git_ref=COMMIT)]).digest_for(COMMIT)
    both = "sha256:aaaaaaaaaaaa…, commit ccccccc, or sha256:bbbbbbbbbbbb…, commit ccccccc"
    assert error.value.what == f"{COMMIT} matches 2 digests in the history: {both}"
    assert error.value.effect == "Nothing was deployed"


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
def test_the_source_of_an_image_includes_its_uncommitted_changes(fields: dict[str, Any], says: str) -> None:
    assert source(entry("a", **fields)) == says
    assert described(entry("a", **fields)) == f"sha256:aaaaaaaaaaaa…{says and ', '}{says}"


# --- builds ---------------------------------------------------------------------------------------------------------


def test_a_build_counts_as_failed_until_something_is_recorded_for_its_image() -> None:
    failed = HistoryEntry(app="shop", image_name="shop", time="now", who="me", what="build", outcome="failed")
    others = [entry("a", "recorded", app="other", image_name="other"), entry("a"), entry("a", "unknown")]
    assert History(lambda: [*others, failed, entry("b", "recorded")]).failed_build("shop", "shop") is failed
    assert History(lambda: [entry("b", "recorded"), failed]).failed_build("shop", "shop") is None
    assert History(lambda: [failed]).failed_build("shop", "other") is None
    assert History(lambda: [failed]).failed_build("other", "shop") is None
    assert History(lambda: []).failed_build("shop", "shop") is None


SOURCE: dict[str, Any] = {"repo_url": "https://x/y", "git_ref": 40 * "1", "dockerfile": None, "build_context": None}
PLANNED = PlannedBuild(
    app="shop",
    namespace="apps",
    image_name="shop",
    image_tag="v1",
    app_class="business",
    asked_image="shop:v1",
    environment=None,
    api_url="https://x",
    **SOURCE,
)
BUILD = PLANNED.started("build-1", started_at="")


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
def test_a_build_is_the_same_only_if_everything_is(differs: dict[str, Any], is_same: bool) -> None:
    made = entry("a", **{"outcome": "recorded", "built": "cluster", **SOURCE, **differs})
    assert [*History(lambda: [made]).same_builds(PLANNED)] == [made] * is_same
