"""What ran of an app, newest first, and what rollback goes back to."""

from __future__ import annotations

from typing import Any

import pytest

from deploy_tasks.deploy_config import DeployConfig
from deploy_tasks.state.history import History
from deploy_tasks.state.records import HistoryEntry, Ran
from deploy_tasks.state.what_ran import NOTHING, is_same, rollback_targets, what_ran


def config(replicas: int = 1, **more: Any) -> DeployConfig:
    return DeployConfig(port=3000, replicas=replicas, **more)


def running(letter: str, replicas: int = 1, **more: Any) -> Ran:
    """`a` as it ran with so many replicas; with 0, it is not known how it ran."""
    return Ran(build_id=f"sha256:{64 * letter}", deploy_config=config(replicas) if replicas else None, **more)


def entry(letter: str, replaced: Ran | None = None, outcome: str = "deployed", *, replicas: int = 1) -> HistoryEntry:
    fields: dict[str, Any] = {"app": "shop", "namespace": "apps", "time": "now", "who": "me", "what": "reuse"}
    ran = running(letter, replicas)
    return HistoryEntry(
        **fields, build_id=ran.build_id, deploy_config=ran.deploy_config, replaced=replaced, outcome=outcome
    )


def shown(one: Ran) -> str:
    return f"{str(one.build_id)[7]}{one.deploy_config.replicas if one.deploy_config else '?'}"


def listed(newest_first: list[HistoryEntry], now: Ran | None = None) -> str:
    return " ".join(shown(one) for one in what_ran(History(lambda: newest_first), "shop", "apps", now))


def back(newest_first: list[HistoryEntry], now: Ran | None = None) -> str:
    """What rollback goes to, with `--back` 1, 2, …"""
    ran = what_ran(History(lambda: newest_first), "shop", "apps", now)
    return " ".join(shown(one) for one in rollback_targets(ran, restores=False))


def test_it_lists_each_deploy_and_what_it_replaced() -> None:
    history = [entry("c", running("x", 5)), entry("b", running("a")), entry("a")]
    assert listed(history, running("c")) == "c1 x5 b1 a1"
    assert back(history, running("c")) == "x5 b1 a1", "x was deployed by somebody else"


def test_what_runs_now_comes_first_whoever_deployed_it() -> None:
    history = [entry("b", running("a")), entry("a")]
    assert listed(history, running("x", 2)) == "x2 b1 a1"
    assert listed(history, running("a")) == "a1 b1 a1"
    assert back(history, running("a")) == "b1", "it was deployed again, and b ran before that"


def test_without_an_answer_of_the_api_the_newest_deploy_runs() -> None:
    assert back([entry("c"), entry("b"), entry("a")]) == "b1 a1"
    assert back([entry("a")]) == ""
    assert back([]) == ""


def test_the_same_twice_in_a_row_is_one() -> None:
    assert listed([entry("b"), entry("b"), entry("a"), entry("a")]) == "b1 a1"
    assert listed([entry("a", running("a"), replicas=3), entry("a")]) == "a3 a1", "it ran in another way"


def test_going_back_twice_is_going_forward() -> None:
    history = [entry("a", running("b")), entry("b", running("a")), entry("a")]
    assert back(history, running("a")) == "b1", "the second a is what runs now, so it is no step"


def test_a_rollout_that_did_not_become_ready_excludes_nothing() -> None:
    history = [entry("c"), entry("b", outcome="not ready"), entry("b"), entry("a")]
    assert back(history) == "b1 a1"


def test_a_deploy_with_an_unknown_outcome_counts_unless_something_else_ran_after_it() -> None:
    unsure = entry("b", running("a"), "unknown")
    assert back([unsure, entry("a")]) == "a1", "nobody says that it did not happen"
    assert back([unsure, entry("a")], running("b")) == "a1"
    assert listed([unsure, entry("a")], running("a")) == "a1"
    assert listed([entry("c", running("a")), unsure, entry("a")], running("c")) == "c1 a1"
    assert listed([entry("c", running("b")), unsure, entry("a")], running("c")) == "c1 b1 a1"


def test_entries_of_earlier_versions_do_not_say_how_a_digest_ran() -> None:
    old = [entry("b", replicas=0), entry("a", replicas=0)]
    assert back(old) == "a?"
    assert listed([entry("b"), *old]) == "b1 a?", "the same digest twice in a row"
    assert listed(old, running("b")) == "b1 a?"


def test_the_same_digest_that_somebody_else_deployed_in_an_unknown_way_is_a_step() -> None:
    history = [entry("a", running("a", 0)), entry("b")]
    assert back(history, running("a")) == "a? b1"


def test_between_two_revisions_in_a_row_the_values_of_variables_differ() -> None:
    revisions = [running("a", revision=3), running("a", revision=2), running("b", revision=1)]
    assert [one.revision for one in rollback_targets(revisions, restores=True)] == [2, 1]
    assert [one.revision for one in rollback_targets(revisions, restores=False)] == [1]
    revisions = [running("b", revision=4), running("c", revision=3), running("b", revision=2), running("a", revision=1)]
    assert [one.revision for one in rollback_targets(revisions, restores=True)] == [3, 1], "b runs already"


def test_what_is_not_known_to_differ_is_a_step_only_right_before() -> None:
    history = [entry("a", running("b")), entry("b", running("a", 0)), entry("b")]
    assert back(history, running("a")) == "b1 b1", "a was deployed in an unknown way before b, and a runs now"
    three = Ran(build_id=running("a").build_id, replicas=3)
    assert back([entry("a", running("b")), entry("b", three)], running("a")) == "b1 a?", "with other replicas"
    assert is_same(running("a"), three) is False
    assert is_same(running("a"), Ran(build_id=three.build_id, replicas=1)) is None


def test_before_nothing_ran_what_was_deployed_last() -> None:
    history = [entry("c", outcome="unknown"), entry("b", running("a")), entry("a")]
    assert back(history, NOTHING) == "b1 a1", "c did not happen, as nothing runs"


def test_images_without_a_digest_are_never_the_same() -> None:
    tagged = Ran(image_name="ghcr.io/org/shop:v1")
    assert not is_same(tagged, tagged)
    assert len(list(what_ran(History(list), "shop", "apps", tagged))) == 1


@pytest.mark.parametrize(("name", "is_one"), [("shop", True), (None, True), ("team/shop", False)])
def test_the_same_digest_of_another_image_is_another(name: str | None, is_one: bool) -> None:
    assert is_same(running("a", image_name="shop"), running("a", image_name=name)) is is_one
