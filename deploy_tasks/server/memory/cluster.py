"""A simulated cluster: revisions, pods that become ready one after the other or never, and their logs."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from math import inf

import msgspec
from anyio import move_on_after

from ..interfaces import Author, Deploy, Refused, Target, unknown_app
from ..schemas import AppState, DeployConfig, NamedPort, Revision, RolloutStatus
from .pods import Pod, Template, rolled_out

_MOST_REVISIONS = 50
_SECONDS_A_LOOK = 0.5
# Naming one of a pair takes the other one out.
_INSTEAD = {"port": "ports", "ports": "port", "domain": "domains", "domains": "domain"}


@dataclass(eq=False)
class _Deployed:
    """A revision, with the values of its variables. `asked` is when it was last asked for, as in Deploy; `ended_as` is
    its last status once there is a newer one."""

    number: int
    image: str
    config: DeployConfig = field(repr=False)
    author: Author
    at: float
    template: Template
    asked: int
    ended_as: RolloutStatus | None = None


@dataclass(eq=False)
class _App:
    """`replaced` is set when its pods are replaced or the app is removed."""

    target: Target
    revisions: list[_Deployed] = field(default_factory=list)
    pods: list[Pod] = field(default_factory=list)
    replaced: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def newest(self) -> _Deployed:
        return self.revisions[-1]

    def pods_of_newest(self, now: float) -> list[Pod]:
        return [pod for pod in self.pods if pod.template == self.newest.template and pod.is_there(now)]


class MemoryCluster:
    """Apps in memory. A replica is ready `replica_seconds` after it starts, and starts when the one before is ready.

    While `fail_rollout` is set, new pods never become ready. `clock` returns seconds since 1970.
    """

    def __init__(
        self, replica_seconds: float, fail_rollout: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self.fail_rollout = fail_rollout
        self._replica_seconds = replica_seconds
        self._clock = clock
        self._apps: dict[Target, _App] = {}
        # Pods' names show the hash of their template, which covers the values of variables. Without a key, anyone who
        # sees a name could check guesses of a value.
        self._hash_key = secrets.token_bytes(32)

    async def deploy(self, deploy: Deploy, expected: int | None) -> Revision:
        return self._deploy(deploy, expected)

    async def state(self, target: Target) -> AppState | None:
        app = self._apps.get(target)
        return self._state(app) if app else None

    async def history(self, target: Target) -> list[Revision]:
        app = self._apps.get(target)
        return [self._shown(app, revision) for revision in reversed(app.revisions)] if app else []

    async def rollback(
        self, target: Target, revision: int | None, changes: DeployConfig, author: Author, expected: int | None
    ) -> Revision:
        """See Cluster. Fields in `changes` replace those of the revision; `env` is merged variable by variable."""
        app = self._app(target)
        self._check(target, expected)
        number = app.newest.number - 1 if revision is None else revision
        earlier = next((kept for kept in app.revisions if kept.number == number), None)
        if earlier is None and revision is None:
            raise Refused(409, "no-earlier-revision", f"{target.app} has no revision before the one that is running.")
        if earlier is None:
            raise Refused(404, "unknown-revision", f"{target.app} has no revision {number}. Take one from its history.")
        config = _changed(earlier.config, changes)
        # What the client says is the commit of its own checkout, and not of the image that returns.
        author = replace(author, commit=earlier.author.commit)
        return self._deploy(Deploy(target, earlier.image, config, author), None)

    def logs(
        self, target: Target, tail: int | None, since: float | None, follow: bool, previous: bool
    ) -> AsyncIterator[str]:
        """Lines without line ends, at most `tail` of each pod. Follows until the pods are replaced.

        Raises Refused (404) when called, not at the first line, if there is no such app.
        """
        return self._logs(self._app(target), tail, since, follow, previous)

    async def remove(self, target: Target) -> bool:
        app = self._apps.pop(target, None)
        if app:
            app.replaced.set()
        return app is not None

    async def problem(self) -> str | None:
        return None

    def _app(self, target: Target) -> _App:
        app = self._apps.get(target)
        if app is None:
            raise unknown_app(target)
        return app

    def _check(self, target: Target, expected: int | None) -> None:
        app = self._apps.get(target)
        running = app.newest.number if app else 0
        if expected is not None and expected != running:
            what = f"Revision {running} of {target.app} is running" if app else f"{target.app} is not deployed"
            raise Refused(
                412,
                "revision-changed",
                f"{what}, not revision {expected}. Nothing was deployed. Check what is running, then deploy again.",
                self._state(app) if app else None,
            )

    def _deploy(self, deploy: Deploy, expected: int | None) -> Revision:
        """Without an `await`: nothing else happens between the check and the change."""
        target, now = deploy.target, self._clock()
        asked = time.time_ns() if deploy.asked is None else deploy.asked
        self._check(target, expected)
        app = self._apps.setdefault(target, _App(target))
        template = self._template(deploy)
        if app.revisions:
            newest = app.newest
            if asked < newest.asked and deploy.asked is not None:
                raise Refused(
                    409,
                    "superseded",
                    f"{target.app} has got another deploy since this one was asked for, and that stays. Nothing was "
                    "deployed. If this image is to run, deploy it by its digest.",
                )
            newest.asked = asked
            if newest.image == deploy.image and _effective(newest.config) == _effective(deploy.config):
                return self._shown(app, newest)
            newest.ended_as = self._rollout(app)[0]
            if newest.template != template:
                app.replaced.set()
                app.replaced = asyncio.Event()
        number = app.newest.number + 1 if app.revisions else 1
        revision = _Deployed(number, deploy.image, deploy.config, deploy.author, now, template, asked)
        app.revisions = [*app.revisions, revision][-_MOST_REVISIONS:]
        seconds = inf if self.fail_rollout else self._replica_seconds
        app.pods = rolled_out(app.pods, template, _replicas(deploy.config), now, seconds)
        return self._shown(app, revision)

    def _template(self, deploy: Deploy) -> Template:
        config = _effective(deploy.config)
        parts = (deploy.image, config.ports, config.env, config.health_path, config.app_class, config.metrics)
        content = msgspec.json.encode(parts, order="deterministic")
        digest = hashlib.blake2b(content, digest_size=5, key=self._hash_key).hexdigest()
        port = config.ports[0].port if config.ports else 0
        return Template(deploy.target.app, digest, port, config.health_path)

    def _state(self, app: _App) -> AppState:
        now, newest = self._clock(), app.newest
        status, reason, message = self._rollout(app)
        pods = app.pods_of_newest(now)
        ready = sum(pod.ready <= now for pod in pods)
        return AppState(
            name=app.target.app,
            namespace=app.target.namespace,
            image=newest.image,
            revision=newest.number,
            replicas=_replicas(newest.config),
            ready_replicas=ready,
            updated_replicas=len(pods),
            available_replicas=ready,
            status=status,
            reason=reason,
            message=message,
            commit=newest.author.commit,
            deployed_by=newest.author.shown,
            deployed_at=_iso(newest.at),
            deploy_config=_without_values(newest.config),
        )

    def _rollout(self, app: _App) -> tuple[RolloutStatus, str | None, str | None]:
        """Status, reason and message of the newest revision."""
        now = self._clock()
        pods = app.pods_of_newest(now)
        crashed = next((pod for pod in pods if pod.fails and now >= pod.started + self._replica_seconds), None)
        if crashed:
            return "failed", "CrashLoopBackOff", f"The container of pod {crashed.name} keeps crashing. Read its log."
        ready, replicas = sum(pod.ready <= now for pod in pods), _replicas(app.newest.config)
        if ready < replicas:
            return "progressing", None, f"{ready} of {replicas} pods are ready."
        return "ready", None, None

    def _shown(self, app: _App, revision: _Deployed) -> Revision:
        return Revision(
            revision=revision.number,
            image=revision.image,
            commit=revision.author.commit,
            deployed_by=revision.author.shown,
            deployed_at=_iso(revision.at),
            deploy_config=_without_values(revision.config),
            status=revision.ended_as or self._rollout(app)[0],
        )

    async def _logs(
        self, app: _App, tail: int | None, since: float | None, follow: bool, previous: bool
    ) -> AsyncIterator[str]:
        replaced, until = app.replaced, self._clock()
        pods = [pod for pod in app.pods if pod.is_there(until)]
        for line in _lines(pods, -inf if since is None else until - since, until, previous, tail):
            yield line
        while follow and not previous and not replaced.is_set():
            with move_on_after(_SECONDS_A_LOOK):
                await replaced.wait()
            if not replaced.is_set():
                pods = app.pods
            after, until = until, self._clock()
            for line in _lines(pods, after, until, previous, None):
                yield line


def _lines(pods: list[Pod], after: float, until: float, previous: bool, tail: int | None) -> list[str]:
    """What the pods logged later than `after`, up to `until`, sorted by time; of each pod the last `tail` lines."""
    lines: list[tuple[float, str]] = []
    for pod in pods:
        of_pod = [line for line in pod.lines(until, previous) if line[0] > after]
        lines += of_pod if tail is None else of_pod[max(0, len(of_pod) - tail) :]
    return [text for _, text in sorted(lines, key=lambda line: line[0])]


def _replicas(config: DeployConfig) -> int:
    return 1 if config.replicas is None else config.replicas


def _effective(config: DeployConfig) -> DeployConfig:
    """The config with every default filled in: two equal ones run the same."""
    return msgspec.structs.replace(
        config,
        port=None,
        ports=config.ports or ([NamedPort(config.port)] if config.port else []),
        replicas=_replicas(config),
        domain=None,
        domains=config.domains or ([config.domain] if config.domain else []),
        tls=config.tls is not False,
        app_class=config.app_class or "business",
        env=config.env or {},
    )


def _changed(config: DeployConfig, changes: DeployConfig) -> DeployConfig:
    named = {name: value for name in changes.__struct_fields__ if (value := getattr(changes, name)) is not None}
    if "env" in named:
        named["env"] = {**(config.env or {}), **named["env"]}
    taken_out = {_INSTEAD[name]: None for name in named if name in _INSTEAD}
    return msgspec.structs.replace(config, **{**taken_out, **named})


def _without_values(config: DeployConfig) -> DeployConfig:
    return msgspec.structs.replace(config, env=config.env and dict.fromkeys(config.env))


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
