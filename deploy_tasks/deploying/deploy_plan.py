"""Every deploy: shows what changes, sends the request, records it, follows the rollout, and says how to undo it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from msgspec import Struct

from .. import images
from ..api import paths
from ..api.schemas import Deployed, DeployRequest, RollbackRequest
from ..building.steps import steps_to_build
from ..deploy_config import DEFAULT_APP_CLASS, DeployConfig, differences
from ..encoding import as_builtins
from ..errors import ChangedMeanwhile, DigestNotFound, MayHaveStarted, StateError
from ..invocation.confirm import confirm_change
from ..invocation.interruption import Remaining
from ..invocation.running import Running
from ..invocation.work import Work
from ..signals import in_background
from ..state import history
from ..state.records import HistoryEntry, Record
from ..state.what_ran import ran
from ..ui import console
from .follow import follow
from .image_lines import age, plan_line, when
from .undo import undo_of


class DeployPlan(Struct, frozen=True, kw_only=True):
    """A deploy of a digest."""

    request: DeployRequest
    deployed: Record
    """The image and where it is deployed, for the history."""
    says: tuple[str, ...] = ()
    """Lines to print before the deploy."""
    restores: RollbackRequest | None = None
    """Sent in place of `request` to a server that can restore a revision with the values of its variables."""
    is_built: bool = False
    """Whether the same task built the image, so that something else may run by now."""
    promoted_from: str | None = None
    """The environment that the image comes from."""

    def show(self, work: Work) -> None:
        for line in self.lines(work):
            console.tell(line)
        rollback = paths.APP_ROLLBACK.format(namespace=self.request.namespace, app=self.request.app)
        body: dict[str, object] = as_builtins(self.restores or self.request)
        # Values of variables that are given by name are hidden, even short ones, which redaction would miss.
        settings, typed = work.settings, [text for text in work.options["env"] or [] if "=" not in text]
        by_name = {*settings.env_from, *settings.env_from_optional, *typed}
        config = body.get("deployConfig")
        if isinstance(config, dict) and "env" in config:
            config["env"] = {key: "***" if key in by_name else value for key, value in config["env"].items()}
        work.would_send("POST", rollback if self.restores else paths.BUILD, body)

    def lines(self, work: Work) -> list[str]:
        """The plan for people: the target, what runs now, what will run, and what changes."""
        ran, image, config = work.look.now().ran, self.deployed, self.request.deploy_config
        new = f"  new: {plan_line(image, age(work, image), replicas=config.replicas)}"
        lines = [*self.says, *target_lines(work, config), new]
        if ran and ran.deploy_config and (changes := differences(ran.deploy_config, config)):
            lines.append(f"  changes: {', '.join(changes)}")
        return lines

    def execute(self, work: Work) -> Record:
        request = self.request
        accepted, before = self._deploy(work)
        # The API's reference first: the cluster may use another name for the registry.
        reference = accepted.image or images.pinned(work.settings.registry, request.image_name, request.build_id)
        work.remaining = Remaining.NOTHING
        goes_on, look = f"{request.app} is deployed, and its rollout goes on", work.step("status", "Check what runs")
        try:
            with work.uninterrupted():
                new = ran(self._note(work, history.DEPLOYED, before, accepted.revision))
                work.on_interrupt(goes_on, look)
        except StateError as error:
            raise StateError(f"{reference} is deployed, but that was not recorded: {error.what}", "") from error
        seen = work.call.chain.seen
        if work.place in seen:
            # A server that does not say what runs will not say it later either.
            seen[work.place] = before if before.why else Running(new, is_from_here=True)
        console.tell(f"deployed {_to(work, request.deploy_config)}{'' if self.is_built else ', without a build'}")
        undo = undo_of(work, new, before, is_unchanged=accepted.unchanged)
        work.on_interrupt(goes_on, look, *undo.steps)
        follow(work, request, self.deployed, accepted.revision, undo)
        console.tell(undo.line)
        outputs = {"build-id": request.build_id, "image": reference}
        details = {**as_builtins(self.deployed), "image": reference}
        work.result(reference, details, f"deployed {request.app}", outputs)
        return self.deployed

    def _deploy(self, work: Work) -> tuple[Deployed, Running]:
        """Deploys, unless something else runs than the person saw and they do not confirm that; returns the answer, and
        what was replaced."""
        # Look again only if time has passed since a person saw what runs, or since the plan was made. Of several apps,
        # one may be deployed long after all were planned.
        is_late = self.is_built or (work.is_of_several and work.look.seen is not None)
        seen = work.call.chain.seen.get(work.place) or (work.look.now() if is_late else None)
        now = work.look.again() if seen else work.look.now()
        changed = _changed(work, seen, now) if seen else None
        if not changed:
            in_flight = work.state.in_flight()
            if in_flight and in_flight.app == work.settings.app:
                console.warn(
                    f"{in_flight.job_name} was started at {in_flight.started_at} and not picked up: what is deployed "
                    f"is older; for that one: {work.step('wait')}, then reuse"
                )
            lines = self.lines(work)
            if not work.shown.issuperset(lines):
                for line in lines:
                    console.tell(line)
        accepted: Deployed | None = None
        while accepted is None:
            while changed:
                confirm_change(work, changed, self.lines(work))
                seen, now = now, work.look.again()
                changed = _changed(work, seen, now)
            try:
                accepted = self._send(work, now, seen.revision if seen and now.revision is None else now.revision)
            except ChangedMeanwhile as error:
                work.on_interrupt("Nothing was deployed")
                changed, now = error, work.look.again()
                if now.why:
                    raise
        revision, expected = accepted.revision, now.revision
        # A server without `revision-check` accepts a deploy even if another one came in between.
        if revision is None or expected is None or "revision-check" in work.client.features:
            return accepted, now
        if revision not in (expected, expected + 1):
            now = Running(why="something else was deployed right before this")
            console.warn(f"{now.why}, and this deploy replaced it")
        return accepted, now

    def _send(self, work: Work, now: Running, expected: int | None) -> Deployed:
        """Sends the deploy over what runs `now`, which has the revision `expected` (None: not known). If the outcome is
        not known, the history says so."""
        request, image = self.request, self.deployed
        if work.call.command.restores:
            # After it succeeds, the same command would go back further.
            again, unsure = work.again, work.step("status", "Check what runs first")
        else:
            same = {"build_id": request.build_id, "yes": work.call.given.get("yes")}
            again = work.step("reuse", "Try again", continues=True, **same)
            unsure = again._replace(says="It is safe to deploy the same again")
        unknown = partial(self._note, work, history.UNKNOWN, now)
        work.on_interrupt("The deploy may have happened", unsure, note=unknown, starts=True)
        try:
            return work.client.deploy(
                request,
                restores=self.restores,
                commit=None if self.restores else image.git_ref,
                is_dirty=bool(image.dirty),
                expected=expected,
                again=again,
                unsure=unsure,
                look=work.step("status", "Look before you run anything else"),
            )
        except MayHaveStarted:
            with suppress(StateError):
                unknown()
            raise
        except DigestNotFound as error:
            steps = steps_to_build(work, None if image.dirty else image.git_ref)
            raise DigestNotFound(error.what, error.effect, [*steps, work.step("history", "Others")]) from error

    def _note(self, work: Work, outcome: str, before: Running, revision: int | None = None) -> HistoryEntry:
        return work.note(
            outcome,
            self.deployed,
            deploy_config=self.request.deploy_config.for_history,
            replaced=before.ran,
            revision=revision,
            promoted_from=self.promoted_from,
        )


def plan_of(work: Work, image: Record, config: DeployConfig) -> DeployPlan:
    """The plan to deploy `image` with `config`. Only what the server itself restores may have no digest."""
    settings = work.settings
    request = DeployRequest(
        app=settings.app,
        namespace=settings.namespace,
        image_name=image.image_name or settings.image_name,
        build_id=image.build_id or "",
        deploy=True,
        deploy_config=config,
    )
    deployed = Record.of(
        image,
        app=request.app,
        namespace=request.namespace,
        image_name=request.image_name,
        app_class=config.app_class,
        environment=settings.environment,
    )
    if image.git_ref:
        in_background(partial(work.checkout.since, image.git_ref))  # so that the answer is there when it is shown
    if not work.is_of_several:  # of several apps, another may still be refused; then nothing must be sent
        work.look.begin()
    return DeployPlan(request=request, deployed=deployed)


def target_lines(work: Work, config: DeployConfig) -> list[str]:
    """Where a deploy goes and what runs there now, for people."""
    now, lines = work.look.now(), [f"deploy {_to(work, config)}"]
    if ran := now.ran:
        by = f"by {ran.deployed_by} at {ran.deployed_at}" if ran.deployed_by else ""
        replicas = ran.deploy_config.replicas if ran.deploy_config else None
        replicas = ran.replicas if replicas is None else replicas
        lines.append(f"  now: {plan_line(ran, history.source(ran), by, replicas=replicas)}")
        if not now.is_from_here:
            lines.append("  warning: what runs now was not deployed from here")
    else:
        lines.append(f"  now: {now.why or 'nothing'}")
    return lines


def _to(work: Work, config: DeployConfig) -> str:
    """The target of a deploy: `shop to apps (business nodes) in staging`."""
    settings, nodes = work.settings, config.app_class or DEFAULT_APP_CLASS
    return f"{settings.app} to {settings.namespace} ({nodes} nodes) in {settings.cluster}"


def _changed(work: Work, seen: Running, now: Running) -> ChangedMeanwhile | None:
    """The error of a deploy that was planned when `seen` ran, if something else runs `now`, or if neither the kit nor
    the server can tell; else None."""
    server_checks = now.why and seen.revision is not None and "revision-check" in work.client.features
    if server_checks or not now.differs_from(seen):
        return None
    what = "something else was deployed meanwhile: "
    if now.why:
        what = f"whether something else was deployed meanwhile is not known: {now.why}"
    elif now.ran is None:
        what += "nothing runs now"
    else:
        replicas = "" if now.ran.replicas is None else f" with {now.ran.replicas} replicas"
        what += f"{history.described(now.ran)} runs now{replicas}{when(now.ran)}"
    again = work.step(work.call.command.name, "Or deploy anyway")
    return ChangedMeanwhile(what, next=[work.step("status", "Check what runs"), again])
