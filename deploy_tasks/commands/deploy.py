"""`reuse` and `rollback`: deploy a digest, follow the rollout, say how to undo it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain

from msgspec import Struct, structs

from .. import images
from ..api.rollout import wait_for_health, wait_for_rollout
from ..api.schemas import DeployRequest
from ..config.settings import Settings
from ..config.sources import of_flag
from ..config.values import as_text, whole_number
from ..deadline import Deadline
from ..deploy_config import DeployConfig, Metrics, Port
from ..encoding import as_builtins, fields_of
from ..errors import (
    ApiRefused,
    DigestNotFound,
    MayHaveStarted,
    NothingStarted,
    RolloutFailed,
    SettingsError,
    StateError,
    StillRunning,
)
from ..invocation.command import API, Command
from ..invocation.work import Remaining, Work
from ..next_steps import LEFT_OUT, Step
from ..redaction import keep_secret
from ..signals import in_background
from ..state import history
from ..state.records import HistoryEntry, Record
from ..ui import console
from .digest import steps_to_build

_SECONDS_TO_LOOK = 10.0
NEEDS = (*API, "port", "env_from")
# Flags that a suggested deploy does not repeat: they choose or build the digest, or control how this call runs.
_NOT_REPEATED = {
    *("build_id", "back", "image_tag", "dockerfile", "build_context", "build_arg", "platform"),
    *("timeout", "cache", "allow_unpushed", "logs", "allow_secrets_in_context", "json", "lock_timeout", "jobs"),
}


class DeployPlan(Struct, frozen=True):
    """A deploy of a digest: the request, what is known of that image, and how it is undone."""

    request: DeployRequest
    deployed: Record
    """The record to write once it is deployed."""
    known: Record | None
    """The record of this digest here, if there is one."""
    before: HistoryEntry | None
    """The deploy of another digest that `rollback` goes back to."""
    flags: Mapping[str, object]
    """The flags that a suggested deploy must repeat: flags are recorded nowhere."""
    says: str = ""
    """A line to print before the deploy."""

    def show(self, work: Work) -> None:
        if self.says:
            console.tell(self.says)
        # Hides the values that the app gets by name, even short ones, which redaction would miss.
        settings = work.settings
        body: dict[str, object] = as_builtins(self.request)
        typed = [text for text in work.options["env"] or [] if "=" not in text]
        by_name = {*settings.env_from, *settings.env_from_optional, *typed}
        config = body["deployConfig"]
        if isinstance(config, dict) and "env" in config:
            config["env"] = {key: "***" if key in by_name else value for key, value in config["env"].items()}
        work.would_send("POST", "/build", body)

    def execute(self, work: Work) -> Record:
        if self.says:
            console.tell(self.says)
        _tell_age(work, self.known)
        reference = _send(work, self)
        _follow(work, self)
        if self.before:
            undo = Step("rollback", self.flags)
            console.tell(f"undo: {undo} (back to {history.described(self.before)})")
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


def _plan_rollback(work: Work) -> DeployPlan:
    given = work.options["back"]
    back = of_flag("--back", partial(whole_number, "a number of digests", 1, 1000), 1 if given is None else given)
    if work.options["check_health"]:
        _check_domain(work.settings)  # before the API is asked
    app, namespace, now = work.settings.app, work.settings.namespace, None
    if not work.call.is_dry:
        with suppress(ApiRefused, NothingStarted):
            state = work.client.app(namespace, app, within=Deadline(_SECONDS_TO_LOOK))
            now = state.digest if state else None
    other = work.step_alone("reuse", "Deploy one that you know", build_id="DIGEST")
    before = work.history.digest_back(app, namespace, back, now, other=other)
    newest = next(work.history.deploys(app, namespace))
    if now not in (None, newest.build_id):
        console.warn(f"what runs now ({now}) is not what was deployed from here last ({newest.build_id})")
    says = f"going back to {history.described(before)}, deployed {before.time} by {before.who}"
    return plan_of(work, str(before.build_id), before, says)


reuse = Command("reuse", _plan_reuse, needs=NEEDS, uses_record=True)
rollback = Command("rollback", _plan_rollback, needs=NEEDS, uses_record=True)


def plan_of(work: Work, build_id: str, known: Record | None, says: str = "") -> DeployPlan:
    """The deploy of `build_id`; `known` is its record, if any. SettingsError if that is the record of another image."""
    settings, request = work.settings, request_of(work, build_id)
    if known and known.image_name not in (None, settings.image_name):
        steps = steps_to_build(work, None)
        # Of several apps, no record may reach another app.
        if not work.name:
            steps.append(work.step("reuse", "Or deploy that image", image_name=known.image_name))
        what = f"the recorded digest is of image {known.image_name}, not of {settings.image_name}"
        raise SettingsError(what, "Nothing was deployed", steps)
    return _plan_to_send(work, request, known, says)


def request_of(work: Work, build_id: str) -> DeployRequest:
    """The deploy of `build_id` that settings and flags ask for. SettingsError if they cannot be used; asks nothing, so
    that a command can check them before it asks the API for a digest."""
    settings, env = work.settings, work.options["env"] or []
    if work.options["check_health"]:
        _check_domain(settings)
    keep_secret(settings.secret_values_of(env), is_named=True)
    return deploy_request(settings, build_id, env=_environment(settings, env))


def of_another_digest(work: Work, plan: DeployPlan, record: Record) -> DeployPlan:
    """`plan` with the digest of `record`, which was built after `plan` was made."""
    return _plan_to_send(work, structs.replace(plan.request, build_id=str(record.build_id)), record, plan.says)


def _plan_to_send(work: Work, request: DeployRequest, known: Record | None, says: str) -> DeployPlan:
    deployed = structs.replace(
        Record(**fields_of(known, Record)) if known else Record(),
        app=request.app,
        namespace=request.namespace,
        image_name=request.image_name,
        build_id=request.build_id,
        app_class=request.deploy_config.app_class,
        environment=work.settings.environment,
    )
    # The deploy that `rollback` would go back to after this one.
    this = HistoryEntry(**fields_of(deployed, Record), time="", who="", what="", outcome=history.DEPLOYED)
    deploys = history.History(chain([this], work.history)).deploys(request.app, request.namespace)
    before = next((entry for entry in deploys if entry.build_id != request.build_id), None)
    flags = {key: value for key, value in work.call.given.items() if key not in _NOT_REPEATED}
    return DeployPlan(request, deployed, known, before, {**flags, **({"app": work.name} if work.name else {})}, says)


def _check_domain(settings: Settings) -> None:
    """SettingsError if there is no domain that `--check-health` can request."""
    if all(domain.startswith("*") for domain in settings.domain):
        what = "--check-health needs a domain to ask at, one without *"
        raise SettingsError(what, next="Set --domain or DEPLOY_DOMAIN")


def deploy_request(settings: Settings, build_id: str, *, env: dict[str, str]) -> DeployRequest:
    """The body of `POST /build` that deploys a digest without a build."""
    domains = list(settings.domain)
    several = len(domains) > 1 or any(domain.startswith("*") for domain in domains)
    config = DeployConfig(
        port=None if settings.ports else settings.port,
        ports=[Port(**fields_of(port)) for port in settings.ports] or None,
        replicas=settings.replicas,
        domain=domains[0] if domains and not several else None,
        domains=domains if several else None,
        health_path=settings.health_path,
        tls=settings.tls,
        env={**env},
        metrics=Metrics(**fields_of(settings.metrics)) if settings.metrics else None,
        app_class=settings.app_class,
    )
    return DeployRequest(
        app=settings.app,
        namespace=settings.namespace,
        image_name=settings.image_name,
        build_id=build_id,
        deploy=True,
        deploy_config=config,
    )


def _environment(settings: Settings, texts: Sequence[str]) -> dict[str, str]:
    """The app's environment: what the configuration says, then `texts`, which are `KEY=VALUE`, or `KEY` with its value
    from the shell or `.env`."""
    pairs = [of_flag("--env", as_text, text).partition("=") for text in texts]
    for name, equals, value in pairs:
        if not name:
            raise SettingsError(f"--env {equals!r} has no name: KEY=VALUE, or KEY")
        if equals + value == LEFT_OUT:
            raise SettingsError(f"--env {name}{LEFT_OUT}: the value was not repeated, so give it")
    named = settings.values_of([name for name, equals, _ in pairs if not equals], "--env")
    typed = {name: value if equals else named[name] for name, equals, value in pairs}
    environment = {**settings.configured_environment, **typed}
    if secret := settings.secrets_among(environment):
        raise SettingsError(f"the app's variable {', '.join(secret)} would hand a secret of the deploy to the app")
    return environment


def _tell_age(work: Work, known: Record | None) -> None:
    """Prints how the deployed commit relates to HEAD: people must see which code they deploy."""
    in_flight = work.state.in_flight()
    if in_flight and in_flight.app == work.settings.app:
        console.warn(
            f"{in_flight.job_name} was started at {in_flight.started_at} and not picked up: what is deployed is older; "
            f"for that one: {work.step_alone('wait')}, then reuse"
        )
    if known is None or known.build_id is None:
        return
    if known.dirty:
        console.tell(f"built from {history.source(known)}")
    elif known.git_ref and images.is_commit(known.git_ref):
        unknown = work.checkout.trouble or "which is not in this checkout"
        age = in_background(partial(work.checkout.age, known.git_ref))
        _ = work.client  # imports requests while git answers
        console.tell(age() or f"built from {known.git_ref[:7]}, {unknown}")


def _send(work: Work, plan: DeployPlan) -> str:
    """Deploys, and adds it to the history. Returns the pinned reference that runs then: the API's, as the cluster may
    know the registry by another name."""
    request, deployed = plan.request, plan.deployed
    flags = {"build_id": request.build_id, **plan.flags}
    again = Step("reuse", flags, "It is safe to deploy the same again", not work.is_of_several)
    unknown = partial(work.note, history.UNKNOWN, deployed)
    work.on_interrupt("The deploy may have happened", again, note=unknown, starts=True)
    try:
        said = work.client.deploy(request, again=again)
    except MayHaveStarted:
        with suppress(StateError):
            unknown()
        raise
    except DigestNotFound as error:
        steps = steps_to_build(work, None if deployed.dirty else deployed.git_ref)
        raise DigestNotFound(error.what, error.effect, [*steps, work.step_alone("history", "Others")]) from error
    reference = said or images.pinned(work.settings.registry, request.image_name, request.build_id)
    work.remaining = Remaining.NOTHING
    try:
        with work.undivided():
            work.note(history.DEPLOYED, deployed)
            work.on_interrupt(f"{request.app} is deployed, and its rollout goes on", work.step_alone("status", "Look"))
    except StateError as error:
        raise StateError(f"{reference} is deployed, but that was not recorded: {error.what}", "") from error
    classes = f"{request.namespace} ({work.settings.app_class} nodes)"
    console.tell(f"deployed {request.app} to {classes}, without a build")
    return reference


def _follow(work: Work, plan: DeployPlan) -> None:
    """Waits for the replicas (`--follow`) and the health path (`--check-health`), both within one deadline. Raises
    RolloutFailed or StillRunning."""
    request, config = plan.request, plan.request.deploy_config
    named = [domain for domain in [config.domain, *(config.domains or [])] if domain and not domain.startswith("*")]
    url = f"{'https' if config.tls else 'http'}://{named[0]}" if named else ""
    deadline = Deadline(work.settings.rollout_timeout)
    try:
        if work.options["follow"]:
            with console.progress(request.app) as progress:
                ready = wait_for_rollout(work.client, request, deadline=deadline, progress=progress)
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
        if plan.before:
            error.next = (*error.next, Step("rollback", plan.flags, f"Go back to {history.described(plan.before)}"))
        else:
            error.effect = "There is nothing to go back to yet"
        raise
