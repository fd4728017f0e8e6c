"""`reuse` and `rollback`: deploy a digest or what ran before, say what that replaces, follow the rollout, say how to
undo it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from typing import NamedTuple

from msgspec import Struct, structs

from .. import images
from ..api.rollout import wait_for_health, wait_for_rollout
from ..api.schemas import Deployed, DeployRequest, RollbackRequest
from ..app_class import DEFAULT_APP_CLASS
from ..config.settings import Settings
from ..config.sources import Source, of_flag
from ..config.values import as_text, whole_number
from ..deadline import Deadline
from ..deploy_config import DeployConfig, Metrics, Port, differences, put_over
from ..encoding import as_builtins, fields_of
from ..errors import (
    ApiRefused,
    ChangedMeanwhile,
    DigestNotFound,
    MayHaveStarted,
    NothingStarted,
    RolloutFailed,
    SettingsError,
    StateError,
    StillRunning,
)
from ..invocation.command import API, Command
from ..invocation.confirm import confirm_change
from ..invocation.running import Running, ran_of
from ..invocation.work import Remaining, Work
from ..next_steps import LEFT_OUT, Step
from ..redaction import keep_secret
from ..signals import in_background
from ..state import history
from ..state.records import Ran, Record
from ..state.what_ran import goes_back, is_same, ran, what_ran
from ..ui import console
from .digest import steps_to_build

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
    known: Record | Ran | None
    """What is known of this digest, if anything is."""
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
        request, now = self.request, work.running()
        config, runs = request.deploy_config, now.ran
        lines = [*self.says, f"deploy {request.app} to {_place(request)} in {work.settings.cluster}"]
        if runs is None:
            lines.append(f"  now: {now.why or 'nothing'}")
        else:
            known = [_digits(runs), history.source(runs), _author(runs), _replicas(runs.deploy_config, now.replicas)]
            lines.append(f"  now: {', '.join(text for text in known if text)}")
        if not request.build_id and not self.restores:
            return lines
        new = [_digits(self.deployed), _age(work, self.known), _replicas(config, None)]
        lines.append(f"  new: {', '.join(text for text in new if text)}")
        if runs and runs.deploy_config and (changes := differences(runs.deploy_config, config)):
            lines.append(f"  changes: {', '.join(changes)}")
        return lines

    def execute(self, work: Work) -> Record:
        # Only where time has passed since somebody saw what runs, or since this was planned.
        seen = work.call.chain.seen.get(work.place) or (work.running() if self.is_late else None)
        now = work.look_again() if seen else work.running()
        changed = _changed(work, now) if seen and now.differs_from(seen) else None
        while True:
            if changed:
                confirm_change(work, changed, self.lines(work))
                confirmed, now = now, work.look_again()
                changed = _changed(work, now) if now.differs_from(confirmed) else None
                if changed:
                    continue
            else:
                _tell_plan(work, self, now)
            try:
                accepted = _send(work, self, now)
                break
            except ChangedMeanwhile as error:
                work.on_interrupt("Nothing was deployed")
                changed, now = error, work.look_again()
        reference = _record(work, self, now, accepted)
        undo = _undo(work, self, now, accepted)
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
    entries = work.state.history()
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
    work.begin_to_look()
    return _plan_to_send(work, request, known, promoted_from=promoted_from)


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
        deploy_config=_config(settings, _environment(settings, env)),
    )
    if work.options["check_health"]:
        _check_domain(request.deploy_config)
    return request


def of_another_digest(work: Work, plan: DeployPlan, record: Record) -> DeployPlan:
    """`plan` with the digest of `record`, which was built after `plan` was made."""
    request = structs.replace(plan.request, build_id=str(record.build_id))
    return _plan_to_send(work, request, record, is_late=True, promoted_from=plan.promoted_from)


def _plan_to_send(
    work: Work,
    request: DeployRequest,
    known: Record | Ran | None,
    *,
    says: Sequence[str] = (),
    restores: RollbackRequest | None = None,
    is_late: bool = False,
    promoted_from: str | None = None,
) -> DeployPlan:
    shared = {name: getattr(known, name) for name in Record.__struct_fields__ if hasattr(known, name)}
    deployed = structs.replace(
        Record(**shared),
        app=request.app,
        namespace=request.namespace,
        image_name=request.image_name,
        build_id=request.build_id or None,
        app_class=request.deploy_config.app_class,
        environment=work.settings.environment,
    )
    if isinstance(known, Ran):
        again = work.step(rollback.name)
        # Once it has happened, the same command would go back from there.
        unsure = work.step_alone("status", "Look at what runs first")
    else:
        flags = {key: value for key, value in work.call.given.items() if key not in _NOT_REPEATED}
        flags = {"build_id": request.build_id, **flags, **({"app": work.name} if work.name else {})}
        again = Step("reuse", flags, "It is safe to deploy the same again", not work.is_of_several)
        unsure = again
    return DeployPlan(request, deployed, known, again, unsure, tuple(says), restores, is_late, promoted_from)


# --- back to what ran before ----------------------------------------------------------------------------------------


def _plan_rollback(work: Work) -> DeployPlan:
    """Of what ran before, with how it ran then; only flags change that."""
    settings, texts, given = work.settings, work.options["env"] or [], work.options["back"]
    back = of_flag("--back", partial(whole_number, "a number of deploys", 1, 1000), 1 if given is None else given)
    keep_secret(settings.secret_values_of(texts), is_named=True)
    changes = _config(settings, _typed(settings, texts), is_by_flag=True)
    target, says = _before(work, work.running().ran, back)
    then = target.deploy_config
    says = [f"going back to {history.described(target)}{_when(target)}", *says]
    restores = None
    if target.revision is not None and "rollback" in work.client.features:
        config = put_over(then or DeployConfig(), changes)
        restores = RollbackRequest(
            revision=target.revision, deploy_config=changes if changes != DeployConfig() else None
        )
    else:
        if not target.build_id:
            what = f"what ran before ({target.image_name or 'not known'}) has no digest, so it cannot be deployed again"
            raise SettingsError(what, "Nothing was deployed", _other(work))
        config, more = _as_then(work, then, changes, texts)
        says += more
    if work.options["check_health"]:
        _check_domain(config)
    request = DeployRequest(
        app=settings.app,
        namespace=settings.namespace,
        image_name=target.image_name or settings.image_name,
        build_id=target.build_id or "",
        deploy=True,
        deploy_config=config,
    )
    return _plan_to_send(work, request, target, says=says, restores=restores)


rollback = Command("rollback", _plan_rollback, uses_record=True, restores=True)


class _WaysBack(NamedTuple):
    """What `rollback` can go back to, nearest first; the revisions that it passes over; and who says so."""

    ones: Iterator[Ran]
    failed: Sequence[int]
    source: str


def _ways_back(work: Work, now: Ran | None) -> _WaysBack:
    """From the history of the server, if it has one, else from the history here. `now` is what runs, if it is known."""
    app, namespace = work.settings.app, work.settings.namespace
    revisions = work.client.history(namespace, app) if now else None
    if revisions is None:
        ran_here = what_ran(work.history, app, namespace, now)
        return _WaysBack(goes_back(ran_here, is_numbered=False), [], "as far as is known here")
    failed = [one.revision for one in revisions[1:] if one.status == "failed"]
    well = [one for one in revisions if one.revision not in failed]
    is_numbered = well[:2] == revisions[:2]
    return _WaysBack(goes_back(map(ran_of, well), is_numbered=is_numbered), failed, "as the API says")


def _before(work: Work, now: Ran | None, back: int) -> tuple[Ran, list[str]]:
    """What ran `back` deploys ago, and what a person should know of it, in lines. SettingsError if nothing did."""
    ways = _ways_back(work, now)
    found = list(islice(ways.ones, back))
    if len(found) < back:
        earlier = {0: "nothing else ran before", 1: "only one other deploy ran before"}.get(
            len(found), f"only {len(found)} other deploys ran before"
        )
        what = f"{work.settings.app} in {work.settings.namespace} cannot go back by {back}: {earlier}, {ways.source}"
        raise SettingsError(what, "Nothing was deployed", _other(work))
    target = found[-1]
    passed = [str(one) for one in ways.failed if target.revision is None or one > target.revision]
    return target, [f"revision {', '.join(passed)} is passed over: its rollout failed"] if passed else []


def _other(work: Work) -> Step:
    return work.step_alone("reuse", "Deploy one that you know", build_id="DIGEST")


def _as_then(
    work: Work, then: DeployConfig | None, changes: DeployConfig, texts: Sequence[str]
) -> tuple[DeployConfig, list[str]]:
    """How the app ran `then`, with `changes`, and today's values of its variables, since no other place has them; and
    what a person should know of it, in lines."""
    settings = work.settings
    settings.check("env_from", *(() if then else ("port",)), given=[text.partition("=")[0] for text in texts])
    env = _environment(settings, texts)
    if then is None:
        return _config(settings, env), ["how it ran then is not known, so it gets the settings of now"]
    config = structs.replace(put_over(then, changes), env={**env})
    names = differences(DeployConfig(env=then.env), DeployConfig(env={**env}))
    since = f" ({names[0]} since then)" if names else ""
    return config, [f"its variables get the values of now{since}"] if env or names else []


# --- what is sent ---------------------------------------------------------------------------------------------------


def _check_domain(config: DeployConfig) -> None:
    """SettingsError if there is no domain that `--check-health` can request."""
    if all(domain.startswith("*") for domain in config.all_domains):
        what = "--check-health needs a domain to ask at, one without *"
        raise SettingsError(what, next="Set --domain or DEPLOY_DOMAIN")


def _config(settings: Settings, env: Mapping[str, str], *, is_by_flag: bool = False) -> DeployConfig:
    """How the settings let the app run, with the variables `env`; if it `is_by_flag`, only what flags say."""

    def has(key: str) -> bool:
        return settings.is_by_flag(key) or not is_by_flag

    domains = list(settings.domain) if has("domain") else []
    several = len(domains) > 1 or any(domain.startswith("*") for domain in domains)
    tls = settings.tls if settings.is_by_flag("tls") and is_by_flag else None
    return DeployConfig(
        port=settings.port if has("port") and not settings.ports else None,
        ports=[Port(**fields_of(port)) for port in settings.ports] or None if has("ports") else None,
        replicas=settings.replicas if has("replicas") else None,
        domain=domains[0] if domains and not several else None,
        domains=domains if several else None,
        health_path=settings.health_path if has("health_path") else None,
        tls=tls if is_by_flag else None if settings.tls else False,
        env={**env},
        metrics=Metrics(**fields_of(settings.metrics)) if settings.metrics and has("metrics") else None,
        app_class=settings.app_class if has("app_class") else None,
    )


def _typed(settings: Settings, texts: Sequence[str]) -> dict[str, str]:
    """The variables that `texts` name: `KEY=VALUE`, or `KEY` with its value from the environment or `.env`."""
    pairs = [of_flag("--env", as_text, text).partition("=") for text in texts]
    for name, equals, value in pairs:
        if not name:
            raise SettingsError(f"--env {equals!r} has no name: KEY=VALUE, or KEY")
        if equals + value == LEFT_OUT:
            raise SettingsError(f"--env {name}{LEFT_OUT}: the value was not repeated, so give it")
    named = settings.values_of([name for name, equals, _ in pairs if not equals], "--env")
    return _checked(settings, {name: value if equals else named[name] for name, equals, value in pairs})


def _environment(settings: Settings, texts: Sequence[str]) -> dict[str, str]:
    """The app's environment: what the configuration says, then what `texts` say (see `_typed`)."""
    return _checked(settings, {**settings.configured_environment, **_typed(settings, texts)})


def _checked(settings: Settings, environment: dict[str, str]) -> dict[str, str]:
    if secret := settings.secrets_among(environment):
        raise SettingsError(f"the app's variable {', '.join(secret)} would hand a secret of the deploy to the app")
    return environment


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


# --- what is said ---------------------------------------------------------------------------------------------------


def _place(request: DeployRequest) -> str:
    return f"{request.namespace} ({request.deploy_config.app_class or DEFAULT_APP_CLASS} nodes)"


def _digits(image: Record | Ran) -> str:
    """The first 12 digits of the digest; of an image without one, its name."""
    return image.build_id.removeprefix("sha256:")[:12] if image.build_id else image.image_name or "an unknown image"


def _author(image: Ran) -> str:
    return f"by {image.deployed_by} at {image.deployed_at}" if image.deployed_by else ""


def _when(image: Ran) -> str:
    return f", deployed {image.deployed_at} by {image.deployed_by}" if image.deployed_by else ""


def _replicas(config: DeployConfig | None, seen: int | None) -> str:
    replicas = config.replicas if config and config.replicas is not None else seen
    return "" if replicas is None else f"replicas {replicas}"


def _age(work: Work, known: Record | Ran | None) -> str:
    """How the image relates to HEAD: people must see which code they deploy."""
    if known is None or known.build_id is None:
        return ""
    if known.dirty or not images.is_commit(known.git_ref):
        source = history.source(known)
        return f"built from {source}" if source else ""
    unknown = work.checkout.trouble or "which is not in this checkout"
    return work.checkout.age(known.git_ref) or f"built from {known.git_ref[:7]}, {unknown}"


def _tell_plan(work: Work, plan: DeployPlan, now: Running) -> None:
    in_flight = work.state.in_flight()
    if in_flight and in_flight.app == work.settings.app:
        console.warn(
            f"{in_flight.job_name} was started at {in_flight.started_at} and not picked up: what is deployed is older; "
            f"for that one: {work.step_alone('wait')}, then reuse"
        )
    for line in plan.lines(work):
        console.tell(line)
    if now.ran and not now.is_from_here:
        console.warn(f"what runs now ({_digits(now.ran)}) was not deployed from here")


def _changed(work: Work, now: Running) -> ChangedMeanwhile:
    """The error of a deploy whose plan was made when something else ran."""
    runs = f"{history.described(now.ran)} runs now{_when(now.ran)}" if now.ran else "nothing runs now"
    again = work.step(work.call.command.name, "Or do it all the same")
    return ChangedMeanwhile(
        f"something else was deployed meanwhile: {runs}", next=[work.step_alone("status", "Look"), again]
    )


# --- what is done ---------------------------------------------------------------------------------------------------


def _send(work: Work, plan: DeployPlan, now: Running) -> Deployed:
    """Deploys over what runs `now`. The history keeps it if the outcome is not known."""
    request, deployed = plan.request, plan.deployed
    unknown = partial(_note, work, history.UNKNOWN, plan, now)
    work.on_interrupt("The deploy may have happened", plan.unsure, note=unknown, starts=True)
    try:
        if plan.restores:
            return work.client.rollback(
                request.namespace,
                request.app,
                plan.restores,
                image_name=request.image_name,
                build_id=request.build_id or None,
                expected=now.revision,
                again=plan.again,
                unsure=plan.unsure,
            )
        commit = f"{deployed.git_ref or ''}{'-dirty' if deployed.dirty else ''}"
        return work.client.deploy(request, commit=commit, expected=now.revision, again=plan.again, unsure=plan.unsure)
    except MayHaveStarted:
        with suppress(StateError):
            unknown()
        raise
    except DigestNotFound as error:
        steps = steps_to_build(work, None if deployed.dirty else deployed.git_ref)
        raise DigestNotFound(error.what, error.effect, [*steps, work.step_alone("history", "Others")]) from error


def _note(work: Work, outcome: str, plan: DeployPlan, now: Running, revision: int | None = None) -> None:
    work.note(
        outcome,
        plan.deployed,
        deploy_config=plan.request.deploy_config.without_values,
        replaced=now.ran,
        revision=revision,
        promoted_from=plan.promoted_from,
    )


def _record(work: Work, plan: DeployPlan, now: Running, accepted: Deployed) -> str:
    """Adds the deploy to the history and tells of it. Returns the pinned reference that runs now: the API's, as the
    cluster may know the registry by another name."""
    request = plan.request
    reference = accepted.image or images.pinned(work.settings.registry, request.image_name, request.build_id)
    work.remaining = Remaining.NOTHING
    try:
        with work.undivided():
            _note(work, history.DEPLOYED, plan, now, accepted.revision)
            work.on_interrupt(f"{request.app} is deployed, and its rollout goes on", work.step_alone("status", "Look"))
    except StateError as error:
        raise StateError(f"{reference} is deployed, but that was not recorded: {error.what}", "") from error
    if work.place in work.call.chain.seen:
        work.call.chain.seen[work.place] = Running(_new(plan, accepted), is_from_here=True)
    console.tell(f"deployed {request.app} to {_place(request)} in {work.settings.cluster}, without a build")
    return reference


def _new(plan: DeployPlan, accepted: Deployed) -> Ran:
    shared = {name: getattr(plan.deployed, name) for name in ("build_id", "image_name", "git_ref", "dirty")}
    return Ran(**shared, revision=accepted.revision, deploy_config=plan.request.deploy_config.without_values)


class _Undo(NamedTuple):
    """The command that goes back to what ran before a deploy, None if there is nothing to go back to; what that is, if
    it is known; and a line that says it."""

    step: Step | None
    to: Ran | None
    line: str


def _undo(work: Work, plan: DeployPlan, now: Running, accepted: Deployed) -> _Undo:
    """How to undo a deploy in the place of what ran until `now`. It is the choice that `rollback` makes."""
    app, namespace, settings = plan.request.app, plan.request.namespace, work.settings
    new, before = _new(plan, accepted), now.ran
    if now.why:
        # The deploy before, as far as is known here.
        before = next((ran(entry) for entry in islice(work.history.deploys(app, namespace), 1, None)), None)
    elif before is None:
        return _Undo(None, None, "nothing ran before, so there is nothing to go back to yet")
    if before and (accepted.unchanged or (is_same(before, new) and accepted.revision in (None, before.revision))):
        return _Undo(None, None, "nothing changed: the same ran before")
    if now.why or now.has_failed or "app-history" not in work.client.features:
        try:
            to = next(_ways_back(work, new).ones, None)
        except (ApiRefused, NothingStarted):
            to = None
    else:
        to = before
    if to is None and now.why:
        return _Undo(
            None, None, f"{now.why}, and nothing else was deployed from here: there is nothing to go back to yet"
        )
    by_class = settings.is_by_flag("app_class") and settings.origins["namespace"].source is Source.DEFAULT
    needed = {
        "app": work.name or (settings.app if settings.is_by_flag("app") else None),
        "namespace": settings.namespace if settings.is_by_flag("namespace") or by_class else None,
    }
    step = Step("rollback", needed)
    if to is None:
        return _Undo(step, None, f"undo: {step}")
    source = history.source(to)
    text = f"{_digits(to)}{f' ({source})' if source else ''}"
    if to.build_id == new.build_id and to.deploy_config and new.deploy_config:
        text = ", ".join([text, *differences(new.deploy_config, to.deploy_config)])
    return _Undo(step, to, f"undo: {step} → {text}")


def _follow(work: Work, plan: DeployPlan, accepted: Deployed, undo: _Undo) -> None:
    """Waits for the replicas (`--follow`) and the health path (`--check-health`), both within one deadline. Raises
    RolloutFailed or StillRunning."""
    request, config = plan.request, plan.request.deploy_config
    named = [domain for domain in config.all_domains if not domain.startswith("*")]
    url = f"{'http' if config.tls is False else 'https'}://{named[0]}" if named else ""
    deadline = Deadline(work.settings.rollout_timeout)
    try:
        if work.options["follow"]:
            with console.progress(request.app) as progress:
                ready = wait_for_rollout(
                    work.client, request, deadline=deadline, progress=progress, revision=accepted.revision
                )
            if ready is None:
                console.tell("the API does not say how apps run, so the rollout was not followed")
            else:
                console.tell(f"{ready}/{ready} ready in {deadline.passed():.0f} s{f': {url}' if url else ''}")
        if work.options["check_health"]:
            health = f"{url}{config.health_path or '/'}"
            with console.progress(request.app) as progress:
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
            error.effect = undo.line[:1].upper() + undo.line[1:]
        raise
