"""The sandbox's cluster, by a clock that the test winds."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from deploy_tasks.server.interfaces import Author, Cluster, Deploy, Refused, Target
from deploy_tasks.server.memory.cluster import MemoryCluster
from deploy_tasks.server.schemas import AppState, DeployConfig, Metrics, NamedPort
from tests.clock import Clock
from tests.project import SECONDS_A_COMMAND

SHOP = Target("apps", "shop")
CI = Author("ci", "runner@ci", 40 * "a")
OLD = f"r/shop@sha256:{64 * '1'}"
NEW = f"r/shop@sha256:{64 * '2'}"
SECRET = "value-of-a-variable"
CONFIG = DeployConfig(port=3000, replicas=2, health_path="/health", env={"KEY": SECRET})


def config(**changes: Any) -> DeployConfig:
    fields = {name: getattr(CONFIG, name) for name in CONFIG.__struct_fields__}
    return DeployConfig(**{**fields, **changes})


class Watched:
    """A cluster whose replicas take ten seconds, and its clock."""

    def __init__(self, fail_rollout: bool = False) -> None:
        self.clock = Clock()
        self.clock.now = 1_700_000_000.0
        self.cluster = MemoryCluster(10.0, fail_rollout, self.clock)

    async def deploy(
        self, image: str = OLD, config: DeployConfig = CONFIG, target: Target = SHOP, expected: int | None = None
    ) -> int:
        return (await self.cluster.deploy(Deploy(target, image, config, CI), expected)).revision

    async def rollback(self, revision: int | None = None, **changes: Any) -> int:
        return (await self.cluster.rollback(SHOP, revision, DeployConfig(**changes), CI, None)).revision

    async def state(self) -> AppState:
        state = await self.cluster.state(SHOP)
        assert state is not None
        return state

    async def passed(self, seconds: float) -> AppState:
        self.clock.now += seconds
        return await self.state()

    async def lines(self, **options: Any) -> list[str]:
        return [line async for line in self.logs(**options)]

    def logs(
        self, tail: int | None = None, since: float | None = None, follow: bool = False, previous: bool = False
    ) -> AsyncIterator[str]:
        return self.cluster.logs(SHOP, tail, since, follow, previous)

    async def pods(self) -> set[str]:
        return {line.partition(" ")[0] for line in await self.lines()}


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        await asyncio.wait_for(scenario(), SECONDS_A_COMMAND)

    asyncio.run(within())


async def refused(asked: Awaitable[object]) -> tuple[int, str, AppState | None]:
    with pytest.raises(Refused) as caught:
        await asked
    return caught.value.status, caught.value.code, caught.value.app


def test_replicas_become_ready_one_after_the_other() -> None:
    async def scenario() -> None:
        shop = Watched()
        accepted: Cluster = shop.cluster
        revision = await accepted.deploy(Deploy(SHOP, OLD, config(replicas=3), CI), None)
        assert (revision.revision, revision.status) == (1, "progressing")
        for seconds, updated, ready, status in [
            (0.0, 1, 0, "progressing"),
            (9.9, 1, 0, "progressing"),
            (0.2, 2, 1, "progressing"),
            (10.0, 3, 2, "progressing"),
            (10.0, 3, 3, "ready"),
            (9999.0, 3, 3, "ready"),
        ]:
            state = await shop.passed(seconds)
            assert (state.updated_replicas, state.ready_replicas, state.available_replicas) == (updated, ready, ready)
            assert (state.status, state.reason, state.replicas) == (status, None, 3)

    run(scenario)


def test_a_state_says_who_deployed_what_and_when_and_no_value() -> None:
    async def scenario() -> None:
        shop = Watched()
        assert await shop.cluster.state(SHOP) is None
        await shop.deploy()
        state = await shop.state()
        assert (state.name, state.namespace, state.image, state.revision) == ("shop", "apps", OLD, 1)
        assert (state.deployed_by, state.commit) == ("ci (runner@ci)", 40 * "a")
        assert state.deployed_at == "2023-11-14T22:13:20Z"
        assert state.deploy_config == config(env={"KEY": None})
        await shop.deploy(NEW)
        told = [state, await shop.state(), *await shop.cluster.history(SHOP), vars(shop.cluster)]
        assert SECRET not in str(told)

    run(scenario)


def test_one_replica_is_the_default_and_none_is_ready_at_once() -> None:
    async def scenario() -> None:
        shop = Watched()
        await shop.deploy(config=config(replicas=None))
        assert (await shop.passed(10)).ready_replicas == 1
        await shop.deploy(config=config(replicas=0))
        state = await shop.state()
        assert (state.status, state.replicas, state.ready_replicas) == ("ready", 0, 0)
        assert await shop.lines() == []

    run(scenario)


def test_apps_of_other_names_and_namespaces_are_others() -> None:
    async def scenario() -> None:
        shop = Watched()
        await shop.deploy()
        assert await shop.deploy(NEW, target=Target("others", "shop"), expected=0) == 1
        assert await shop.deploy(NEW, target=Target("apps", "web"), expected=0) == 1
        assert (await shop.state()).image == OLD

    run(scenario)


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (config(), config(env={"KEY": SECRET})),
        (config(replicas=None), config(replicas=1)),
        (config(tls=None, app_class=None), config(tls=True, app_class="business")),
        (config(env=None), config(env={})),
        (config(), config(port=None, ports=[NamedPort(3000)])),
        (config(domain="a.example"), config(domains=["a.example"])),
    ],
)
def test_a_deploy_that_changes_nothing_is_the_same_revision(one: DeployConfig, same: DeployConfig) -> None:
    async def scenario() -> None:
        shop = Watched()
        await shop.deploy(config=one)
        await shop.passed(100)
        pods = await shop.pods()
        assert await shop.deploy(config=same) == 1
        assert (await shop.state()).status == "ready"
        assert await shop.pods() == pods
        assert len(await shop.cluster.history(SHOP)) == 1

    run(scenario)


@pytest.mark.parametrize(
    "changed",
    [
        {"port": 4000},
        {"ports": [NamedPort(3000, "http"), NamedPort(9000, "more")]},
        {"env": {"KEY": "other"}},
        {"health_path": "/other"},
        {"app_class": "non-business"},
        {"metrics": Metrics(9000)},
        {},
    ],
)
def test_a_change_of_image_or_template_replaces_the_pods_one_by_one(changed: dict[str, Any]) -> None:
    async def scenario() -> None:
        shop = Watched()
        await shop.deploy()
        await shop.passed(100)
        old = await shop.pods()
        assert await shop.deploy(OLD if changed else NEW, config(**changed)) == 2
        assert (await shop.state()).ready_replicas == 0, "pods of the version before are not counted"
        assert len(await shop.pods() & old) == 2, "but they serve"
        assert (await shop.passed(10)).ready_replicas == 1
        during = await shop.pods()
        assert (len(during), len(during & old)) == (3, 1)
        assert (await shop.passed(10)).status == "ready"
        after = await shop.pods()
        assert (len(after), len(after & old)) == (2, 0)
        assert len({pod.rsplit("-", 1)[0] for pod in after}) == 1
        assert all(re.fullmatch(r"shop-[0-9a-f]{10}-[a-z2-9]{5}", pod) for pod in after)

    run(scenario)


@pytest.mark.parametrize("changed", [{"domain": "a.example"}, {"domains": ["*.a.example"]}, {"tls": False}])
def test_what_is_not_in_the_pods_is_a_revision_that_replaces_none(changed: dict[str, Any]) -> None:
    async def scenario() -> None:
        shop = Watched()
        await shop.deploy()
        await shop.passed(100)
        pods = await shop.pods()
        assert await shop.deploy(config=config(**changed)) == 2
        state = await shop.state()
        assert (state.status, state.ready_replicas) == ("ready", 2)
        assert await shop.pods() == pods

    run(scenario)


def test_scaling_keeps_the_pods_that_are_enough() -> None:
    async def scenario() -> None:
        shop = Watched()
        await shop.deploy()
        await shop.passed(100)
        two = await shop.pods()
        await shop.deploy(config=config(replicas=3))
        state = await shop.state()
        assert (state.status, state.ready_replicas) == ("progressing", 2)
        assert (await shop.passed(10)).status == "ready"
        three = await shop.pods()
        assert (len(three), two < three) == (3, True)
        await shop.deploy(config=config(replicas=1))
        assert (await shop.state()).status == "ready"
        assert len(await shop.pods() & two) == 1

    run(scenario)


def test_a_deploy_amid_a_rollout_replaces_the_pods_of_both() -> None:
    async def scenario() -> None:
        shop = Watched()
        await shop.deploy()
        await shop.passed(100)
        await shop.deploy(NEW)
        await shop.passed(15)
        assert len(await shop.pods()) == 3
        await shop.deploy(NEW, config(port=4000))
        assert (await shop.passed(15)).ready_replicas == 1
        assert (await shop.passed(10)).status == "ready"
        assert len(await shop.pods()) == 2
        assert [revision.status for revision in await shop.cluster.history(SHOP)] == ["ready", "progressing", "ready"]

    run(scenario)


def test_a_rollout_that_fails_says_why_and_leaves_the_version_before_alone() -> None:
    async def scenario() -> None:
        shop = Watched()
        await shop.deploy()
        await shop.passed(100)
        old = await shop.pods()
        shop.cluster.fail_rollout = True
        await shop.deploy(NEW)
        assert (await shop.state()).status == "progressing"
        state = await shop.passed(10)
        assert (state.status, state.reason) == ("failed", "CrashLoopBackOff")
        (crashing,) = await shop.pods() - old
        assert state.message == f"The container of pod {crashing} keeps crashing. Read its log."
        assert (state.ready_replicas, state.available_replicas) == (0, 0)
        assert old < await shop.pods()
        assert [line for line in await shop.lines() if line.startswith(crashing)] == [
            f"{crashing} started",
            f"{crashing} error: this version cannot start (simulated, see --fail-rollout)",
        ]
        assert [line.partition(" ")[0] for line in await shop.lines(previous=True)] == [crashing, crashing]

        shop.cluster.fail_rollout = False
        assert await shop.rollback() == 3
        state = await shop.state()
        assert (state.image, state.status, state.ready_replicas) == (OLD, "ready", 2), "its pods never ended"
        assert await shop.pods() == old
        assert [revision.status for revision in await shop.cluster.history(SHOP)] == ["ready", "failed", "ready"]

    run(scenario)


def test_a_first_rollout_that_fails_has_no_ready_pod_until_a_better_one() -> None:
    async def scenario() -> None:
        shop = Watched(fail_rollout=True)
        await shop.deploy()
        state = await shop.passed(9999)
        assert (state.status, state.ready_replicas, state.replicas) == ("failed", 0, 2)
        shop.cluster.fail_rollout = False
        await shop.deploy(NEW)
        assert (await shop.passed(20)).status == "ready"
        assert len(await shop.pods()) == 2

    run(scenario)


def test_the_history_is_newest_first_and_has_the_last_fifty() -> None:
    async def scenario() -> None:
        shop = Watched()
        assert await shop.cluster.history(SHOP) == []
        for number in range(1, 61):
            shop.clock.now += 1
            assert await shop.deploy(config=config(port=number)) == number
        history = await shop.cluster.history(SHOP)
        assert [revision.revision for revision in history] == list(range(60, 10, -1))
        assert history[0].deploy_config == config(port=60, env={"KEY": None})
        assert history[-1].deployed_at == "2023-11-14T22:13:31Z"
        assert await refused(shop.rollback(10)) == (404, "unknown-revision", None)
        assert await shop.rollback(11) == 61
        assert (await shop.state()).deploy_config.port == 11

    run(scenario)


def test_a_rollback_brings_the_revision_before_with_its_values() -> None:
    async def scenario() -> None:
        shop = Watched()
        await shop.deploy()
        await shop.deploy(NEW, config(env={"KEY": "new", "MORE": "1"}))
        before = await shop.cluster.rollback(SHOP, None, DeployConfig(), Author("dev"), None)
        assert (before.revision, before.image, before.deployed_by, before.commit) == (3, OLD, "dev", CI.commit)
        assert await shop.deploy(OLD, CONFIG) == 3, "just this runs, values and all"
        assert await shop.rollback() == 4, "the one before that again"
        assert await shop.deploy(NEW, config(env={"KEY": "new", "MORE": "1"})) == 4
        assert await shop.rollback(4) == 4, "nothing changes"

    run(scenario)


@pytest.mark.parametrize(
    ("earlier", "changes", "after"),
    [
        ({}, {"replicas": 5}, {"replicas": 5}),
        ({}, {"env": {"MORE": "1"}}, {"env": {"KEY": SECRET, "MORE": "1"}}),
        ({}, {"env": {"KEY": "new"}}, {"env": {"KEY": "new"}}),
        ({}, {"ports": [NamedPort(1, "http")]}, {"port": None, "ports": [NamedPort(1, "http")]}),
        ({"port": None, "ports": [NamedPort(1)]}, {"port": 2}, {"port": 2, "ports": None}),
        ({"domain": "a.example"}, {"domains": ["b.example"]}, {"domain": None, "domains": ["b.example"]}),
        ({"domains": ["a.example"]}, {"domain": "b.example"}, {"domain": "b.example", "domains": None}),
        ({"domain": "a.example", "tls": False}, {"port": 5}, {"domain": "a.example", "tls": False, "port": 5}),
    ],
)
def test_a_rollback_puts_what_is_named_over_the_revision(
    earlier: dict[str, Any], changes: dict[str, Any], after: dict[str, Any]
) -> None:
    async def scenario() -> None:
        shop = Watched()
        await shop.deploy(config=config(**earlier))
        await shop.deploy(NEW)
        await shop.rollback(**changes)
        expected = config(**{**earlier, **after})
        shown = (await shop.state()).deploy_config
        assert shown == config(**{**earlier, **after, "env": dict.fromkeys(expected.env or {})})
        assert await shop.deploy(OLD, expected) == 3, "just this runs, values and all"

    run(scenario)


def test_a_rollback_to_nothing_is_refused() -> None:
    async def scenario() -> None:
        shop = Watched()
        assert await refused(shop.rollback()) == (404, "unknown-app", None)
        await shop.deploy()
        assert await refused(shop.rollback()) == (409, "no-earlier-revision", None)
        assert await refused(shop.rollback(2)) == (404, "unknown-revision", None)

    run(scenario)


def test_another_revision_than_the_expected_one_is_left_alone() -> None:
    async def scenario() -> None:
        shop = Watched()
        assert await refused(shop.deploy(expected=1)) == (412, "revision-changed", None)
        assert await shop.deploy(expected=0) == 1
        assert await shop.deploy(expected=1) == 1
        for expected in (0, 2):
            answer = await refused(shop.deploy(NEW, expected=expected))
            assert answer == (412, "revision-changed", await shop.state())
        assert await shop.deploy(NEW, expected=1) == 2
        back = shop.cluster.rollback(SHOP, None, DeployConfig(), CI, 1)
        assert await refused(back) == (412, "revision-changed", await shop.state())
        assert (await shop.cluster.rollback(SHOP, None, DeployConfig(), CI, 2)).revision == 3

    run(scenario)


def test_of_many_deploys_of_one_expected_revision_one_is_done() -> None:
    async def scenario() -> None:
        shop = Watched()
        deploys = [shop.deploy(config=config(port=port), expected=0) for port in range(1, 51)]
        answers = await asyncio.gather(*deploys, return_exceptions=True)
        assert [answer for answer in answers if not isinstance(answer, Refused)] == [1]

    run(scenario)


def test_pods_log_that_they_started_listen_and_are_healthy() -> None:
    async def scenario() -> None:
        shop = Watched()
        await shop.deploy(config=config(replicas=1))
        (pod,) = await shop.pods()
        assert await shop.lines() == [f"{pod} started"]
        await shop.passed(25)
        check = f"{pod} GET /health 200"
        assert await shop.lines() == [f"{pod} started", f"{pod} listening on port 3000", check, check]
        assert await shop.lines(tail=3) == [f"{pod} listening on port 3000", check, check]
        assert await shop.lines(tail=0) == []
        assert await shop.lines(since=10) == [check]
        assert await shop.lines(previous=True) == []
        await shop.passed(1_000_000)
        assert len(await shop.lines()) == 1002

    run(scenario)


def test_the_logs_of_an_app_that_is_not_there_are_refused_at_once() -> None:
    async def scenario() -> None:
        with pytest.raises(Refused, match="Nothing is deployed as shop in apps"):
            Watched().logs()

    run(scenario)


@pytest.mark.parametrize("how", ["deploy", "remove"])
def test_logs_are_followed_until_the_app_is_replaced(how: str) -> None:
    async def scenario() -> None:
        shop = Watched()
        await shop.deploy(config=config(replicas=1))
        (pod,) = await shop.pods()
        lines = shop.logs(follow=True)
        assert await anext(lines) == f"{pod} started"
        shop.clock.now += 10
        assert [await anext(lines) for _ in range(2)] == [f"{pod} listening on port 3000", f"{pod} GET /health 200"]
        await shop.deploy(config=config(replicas=1, domain="a.example"))
        shop.clock.now += 10
        assert await anext(lines) == f"{pod} GET /health 200", "its pods were not replaced"
        if how == "deploy":
            await shop.deploy(NEW)
        else:
            assert await shop.cluster.remove(SHOP)
        assert [line async for line in lines] == []

    run(scenario)


def test_an_app_that_was_removed_is_gone_with_its_history() -> None:
    async def scenario() -> None:
        shop = Watched()
        assert await shop.cluster.remove(SHOP) is False
        await shop.deploy()
        assert await shop.cluster.remove(SHOP) is True
        assert await shop.cluster.state(SHOP) is None
        assert await shop.cluster.history(SHOP) == []
        assert await shop.deploy(NEW, expected=0) == 1
        assert await shop.cluster.problem() is None

    run(scenario)
