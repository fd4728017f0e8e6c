"""`reuse`: deploys a digest over what runs, says how to undo that, and follows the rollout. So does every deploy."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from itertools import chain

from msgspec import Struct, structs

from .. import images
from ..api.rollout import wait_for_health, wait_for_rollout
from ..api.schemas import Deployed, DeployRequest, RollbackRequest
from ..deadline import Deadline
from ..encoding import as_builtins, fields_of
from ..errors import (
    ChangedMeanwhile,
    DigestNotFound,
    MayHaveStarted,
    RolloutFailed,
    SettingsError,
    StateError,
    StillRunning,
)
from ..invocation.command import API, Command
from ..invocation.confirm import confirm_change
from ..invocation.running import Running
from ..invocation.work import Remaining, Work
from ..next_steps import Step
from ..redaction import keep_secret
from ..signals import in_background
from ..state import history
from ..state.records import HistoryEntry, Ran, Record
from ..state.what_ran import ran
from ..ui import console
from ..ui.progress import progress_of
from .app_config import check_domain, config_of, environment_of
from .deploy_lines import lines_of, place, when
from .digest import steps_to_build
from .way_back import Undo, undo_of

NEEDS = (*API, "port", "env_from")
# Flags that a suggested deploy does not repeat: they choose or build the digest, or control how this call runs.
_NOT_REPEATED = {
    *("build_id", "from_", "back", "image_tag", "dockerfile", "build_context", "build_arg", "platform"),
    *("timeout", "cache", "allow_unpushed", "logs", "allow_secrets_in_context", "json", "lock_timeout", "jobs"),
}


class DeployPlan(Struct, frozen=True):
    """A deploy of a digest: the request, and what is known of that image."""

    request: DeployRequest
    deployed: Record
    """What the history keeps of the image."""
    known: Record | None
    """What is known of this image, if anything is."""
    again: Step
    """The same deploy again, where it has not happened."""
    unsure: Step
    """What to do where it may have happened."""
    says: tuple[str, ...] = ()
    """Lines to print before the deploy."""
    restores: RollbackRequest | None = None
    """What is sent in place of `request` to a server that restores a revision with the values of its variables."""
    is_late: bool = False
    """Whether something was built since it was planned, so that something else may run by now."""
    promoted_from: str | None = None

    def show(self, work: Work) -> None:
        for line in self.lines(work):
            console.tell(line)
        if self.restores:
            path = f"/api/apps/{self.request.namespace}/{self.request.app}/rollback"
            work.would_send("POST", path, _hidden(work, self.restores))
        else:
            work.would_send("POST", "/build", _hidden(work, self.request))

    def lines(self, work: Work) -> list[str]:
        """What runs, what is to run in its place, and what changes, in lines for people."""
        return [*self.says, *lines_of(work, self.request, self.deployed, self.known)]

    def execute(self, work: Work) -> Record:
        # Only where time has passed since somebody saw what runs, or since this was planned. Of several apps, one may
        # be deployed long after all were planned.
        is_late = self.is_late or (work.is_of_several and work.has_looked)
        seen = work.call.chain.seen.get(work.place) or (work.running() if is_late else None)
        now = work.look_again() if seen else work.running()
        seen = seen or now
        changed = _changed(work, seen, now)
        while True:
            if changed:
                confirm_change(work, changed, self.lines(work))
                seen, now = now, work.look_again()
                if changed := _changed(work, seen, now):
                    continue
            else:
                _tell_plan(work, self)
            try:
                accepted = _send(work, self, now, expected=seen.revision if now.revision is None else now.revision)
                break
            except ChangedMeanwhile as error:
                work.on_interrupt("Nothing was deployed")
                changed, now = error, work.look_again()
                if now.why:
                    raise
        now = _replaced(work, now, accepted)
        reference, new = _record(work, self, now, accepted)
        undo = undo_of(work, new, now, is_unchanged=accepted.unchanged)
        _follow(work, self, accepted, undo)
        console.tell(undo.line)
        outputs = {"build-id": self.request.build_id, "image": reference}
        work.output(f"deployed {self.request.app}", outputs)
        work.result(reference, {**as_builtins(self.deployed), "image": reference})
        return self.deployed


def _plan_reuse(work: Work) -> DeployPlan:
    record, image_name, wanted = work.record, work.settings.image_name, work.options["build_id"]
    if wanted is None:
        if record is None or record.build_id is None:
            raise SettingsError("no digest is recorded yet", "Nothing was deployed", steps_to_build(work, None))
        return plan_of(work, record.build_id, record)
    entries = work.state.history
    try:
        build_id = images.digest(entries.of_image(image_name).digest_for(wanted))
    except ValueError as error:
        # A failed `"$(…)"` in a shell gives an empty text, so an empty text does not mean "not given".
        raise SettingsError(f"flag --build-id: {error} (of a recorded one its first 12 will do)") from error
    known: Record | None = None
    for entry in chain([record] if record else [], entries):
        if entry.build_id == build_id:
            known = known or entry
            if entry.image_name == image_name:  # wins over one of another image
                known = entry
                break
    return plan_of(work, build_id, known)


reuse = Command("reuse", _plan_reuse, needs=NEEDS, uses_record=True)


def plan_of(work: Work, build_id: str, known: Record | None, *, promoted_from: str | None = None) -> DeployPlan:
    """The deploy of `build_id` with the settings. `known` is its record, if any; `promoted_from` is the environment
    that it comes from. SettingsError if `known` is of another image."""
    settings = work.settings
    if known and known.image_name not in (None, settings.image_name):
        steps = steps_to_build(work, None)
        # Of several apps, no record may reach another app.
        if not work.name:
            steps.append(work.step("reuse", "Or deploy that image", image_name=known.image_name))
        what = f"the recorded digest is of image {known.image_name}, not of {settings.image_name}"
        raise SettingsError(what, "Nothing was deployed", steps)
    request = request_of(work, build_id)
    if known and known.git_ref:
        in_background(partial(work.checkout.age, known.git_ref))  # git answers meanwhile
    if not work.is_of_several:  # of those, one may be refused yet, and then nothing is to be sent
        work.begin_to_look()
    return _plan_to_deploy(work, request, known, promoted_from=promoted_from)


def request_of(work: Work, build_id: str) -> DeployRequest:
    """The request that deploys `build_id` with the settings and flags, which are checked."""
    settings, env = work.settings, work.options["env"] or []
    keep_secret(settings.secret_values_of(env), is_named=True)
    request = DeployRequest(
        app=settings.app,
        namespace=settings.namespace,
        image_name=settings.image_name,
        build_id=build_id,
        deploy=True,
        deploy_config=config_of(settings, environment_of(settings, env)),
    )
    if work.options["check_health"]:
        check_domain(request.deploy_config)
    return request


def of_another_digest(work: Work, plan: DeployPlan, record: Record) -> DeployPlan:
    """`plan` with the digest of `record`, which was built after `plan` was made."""
    request = structs.replace(plan.request, build_id=str(record.build_id))
    return _plan_to_deploy(work, request, record, is_late=True, promoted_from=plan.promoted_from)


def _plan_to_deploy(
    work: Work, request: DeployRequest, known: Record | None, *, is_late: bool = False, promoted_from: str | None
) -> DeployPlan:
    """The plan that sends `request`, which is the same however often it is sent."""
    flags = {key: value for key, value in work.call.given.items() if key not in _NOT_REPEATED}
    flags = {"build_id": request.build_id, **flags, **({"app": work.name} if work.name else {})}
    again = Step("reuse", flags, "It is safe to deploy the same again", not work.is_of_several)
    deployed = deployed_record(work, request, known)
    return DeployPlan(request, deployed, known, again, again, is_late=is_late, promoted_from=promoted_from)


def deployed_record(work: Work, request: DeployRequest, known: Record | None) -> Record:
    """What the history keeps of the image that `request` deploys, where it deploys it."""
    return structs.replace(
        Record(**fields_of(known, Record)) if known else Record(),
        app=request.app,
        namespace=request.namespace,
        image_name=request.image_name,
        build_id=request.build_id or None,
        app_class=request.deploy_config.app_class,
        environment=work.settings.environment,
    )


def _hidden(work: Work, request: DeployRequest | RollbackRequest) -> dict[str, object]:
    """`request` without the values that the app gets by name, even short ones, which redaction would miss."""
    settings = work.settings
    body: dict[str, object] = as_builtins(request)
    typed = [text for text in work.options["env"] or [] if "=" not in text]
    by_name = {*settings.env_from, *settings.env_from_optional, *typed}
    config = body.get("deployConfig")
    if isinstance(config, dict) and "env" in config:
        config["env"] = {key: "***" if key in by_name else value for key, value in config["env"].items()}
    return body


def _tell_plan(work: Work, plan: DeployPlan) -> None:
    in_flight = work.state.in_flight()
    if in_flight and in_flight.app == work.settings.app:
        console.warn(
            f"{in_flight.job_name} was started at {in_flight.started_at} and not picked up: what is deployed is older; "
            f"for that one: {work.step_alone('wait')}, then reuse"
        )
    work.tell_plan(plan.lines(work))


def _changed(work: Work, seen: Running, now: Running) -> ChangedMeanwhile | None:
    """The error of a deploy whose plan was made when `seen` ran, if something else runs `now`, or if that cannot be
    told any more, neither from here nor by the server."""
    is_checked = now.why and seen.revision is not None and "revision-check" in work.client.features
    if is_checked or not now.differs_from(seen):
        return None
    what = "something else was deployed meanwhile: "
    if now.why:
        what = f"whether something else was deployed meanwhile is not known: {now.why}"
    elif now.ran is None:
        what += "nothing runs now"
    else:
        replicas = "" if now.ran.replicas is None else f" with {now.ran.replicas} replicas"
        what += f"{history.described(now.ran)} runs now{replicas}{when(now.ran)}"
    again = work.step(work.call.command.name, "Or do it all the same")
    return ChangedMeanwhile(what, next=[work.step_alone("status", "Look"), again])


def _replaced(work: Work, now: Running, accepted: Deployed) -> Running:
    """What a deploy replaced: what ran `now`, unless the number of the new revision shows that another one came in
    between, which a server without `revision-check` does not refuse."""
    if None in (accepted.revision, now.revision) or "revision-check" in work.client.features:
        return now
    if accepted.revision in (now.revision, (now.revision or 0) + 1):
        return now
    why = "something else was deployed right before this"
    console.warn(f"{why}, and this has replaced it")
    return Running(why=why)


def _send(work: Work, plan: DeployPlan, now: Running, *, expected: int | None) -> Deployed:
    """Deploys over what runs `now`, which is the revision `expected`, if that is known. The history keeps it if the
    outcome is not known."""
    deployed = plan.deployed
    unknown = partial(_note, work, history.UNKNOWN, plan, now)
    work.on_interrupt("The deploy may have happened", plan.unsure, note=unknown, starts=True)
    try:
        commit = None if plan.restores else f"{deployed.git_ref or ''}{'-dirty' if deployed.dirty else ''}"
        return work.client.deploy(
            plan.request,
            restores=plan.restores,
            commit=commit,
            expected=expected,
            again=plan.again,
            unsure=plan.unsure,
        )
    except MayHaveStarted:
        with suppress(StateError):
            unknown()
        raise
    except DigestNotFound as error:
        steps = steps_to_build(work, None if deployed.dirty else deployed.git_ref)
        raise DigestNotFound(error.what, error.effect, [*steps, work.step_alone("history", "Others")]) from error


def _note(work: Work, outcome: str, plan: DeployPlan, now: Running, revision: int | None = None) -> HistoryEntry:
    return work.note(
        outcome,
        plan.deployed,
        deploy_config=plan.request.deploy_config.to_keep,
        replaced=now.ran,
        revision=revision,
        promoted_from=plan.promoted_from,
    )


def _record(work: Work, plan: DeployPlan, now: Running, accepted: Deployed) -> tuple[str, Ran]:
    """Adds the deploy to the history and tells of it. Returns the pinned reference of what runs now, and that itself.
    The reference is the API's, as the cluster may know the registry by another name."""
    request = plan.request
    reference = accepted.image or images.pinned(work.settings.registry, request.image_name, request.build_id)
    work.remaining = Remaining.NOTHING
    try:
        with work.undivided():
            new = ran(_note(work, history.DEPLOYED, plan, now, accepted.revision))
            work.on_interrupt(f"{request.app} is deployed, and its rollout goes on", work.step_alone("status", "Look"))
    except StateError as error:
        raise StateError(f"{reference} is deployed, but that was not recorded: {error.what}", "") from error
    if work.place in work.call.chain.seen:
        # A server that did not say what ran does not say it later either.
        work.call.chain.seen[work.place] = now if now.why else Running(new, is_from_here=True)
    console.tell(f"deployed {request.app} to {place(request)} in {work.settings.cluster}, without a build")
    return reference, new


def _follow(work: Work, plan: DeployPlan, accepted: Deployed, undo: Undo) -> None:
    """Waits for the replicas (`--follow`) and the health path (`--check-health`), both within one deadline. Raises
    RolloutFailed or StillRunning."""
    request, config = plan.request, plan.request.deploy_config
    named = [domain for domain in config.all_domains if not domain.startswith("*")]
    url = f"{'http' if config.tls is False else 'https'}://{named[0]}" if named else ""
    deadline = Deadline(work.settings.rollout_timeout)
    try:
        if work.options["follow"]:
            with progress_of(request.app) as progress:
                ready = wait_for_rollout(
                    work.client, request, deadline=deadline, progress=progress, revision=accepted.revision
                )
            if ready is None:
                console.tell("the API does not say how apps run, so the rollout was not followed")
            else:
                console.tell(
                    f"{ready}/{ready} ready in {deadline.seconds - deadline.left():.0f} s{f': {url}' if url else ''}"
                )
        if work.options["check_health"]:
            health = f"{url}{config.health_path or '/'}"
            with progress_of(request.app) as progress:
                wait_for_health(health, deadline=deadline, progress=progress)
            console.tell(f"{health} answers")
    except (StillRunning, RolloutFailed) as error:
        work.remaining = Remaining.AGAIN
        if isinstance(error, StillRunning):
            raise
        if error.blames:
            with suppress(StateError):  # the rollout's failure is what matters
                work.note(history.NOT_READY, plan.deployed)
        if undo.step:
            back = f"Go back to {history.described(undo.to)}" if undo.to else "Go back"
            error.next = (*error.next, undo.step._replace(says=back))
        else:
            effect = undo.line.partition(": ")[2] if undo.is_same else undo.line
            error.effect = effect[:1].upper() + effect[1:]
        raise
