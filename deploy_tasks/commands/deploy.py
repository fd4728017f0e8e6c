"""Deploy a digest, follow what becomes of it, and say how to undo it."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from itertools import chain

from .. import images, next_steps
from ..api.rollout import wait_for_health, wait_for_rollout
from ..api.schemas import DeployRequest
from ..config.settings import Settings
from ..config.values import of_flag, whole_number
from ..encoding import as_dict
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
from ..invocation.call import TARGET, Call
from ..invocation.work import AGAIN, API, NOTHING, Act, Run, begin
from ..next_steps import Step
from ..redaction import keep_named_secret
from ..state import history
from ..state.records import HistoryEntry, Record
from ..ui import console
from .decide import app_environment, deploy_request, deployed_record, digest_of_flag, digest_of_record
from .digest import ways_to_build

_SECONDS_TO_SAY = 10.0
# A digest that was not deployed from here, behind which the whole history lies.
_FROM_ELSEWHERE = ""


def reuse(call: Call) -> Act:
    """Deploys a recorded digest; never builds."""
    run = begin_deploy(call)
    # `local-deploy` has no such flag.
    wanted: str | None = call.flags.get("build_id")

    if call.is_of_several and run.is_unlocked:  # nothing is deployed by halves that can be known not to be
        _request(run, *_to_deploy(run, wanted))

    def act() -> Record | None:
        run.lock_before_deciding()
        return _deploy_decided(run, *_to_deploy(run, wanted))

    return Act(run, act)


def _to_deploy(run: Run, wanted: str | None) -> tuple[str, Record | None]:
    """The digest to deploy, `wanted` or that of the record, and what is known of it: nothing where it came from
    elsewhere. What is known of it as another image counts only where it is not known as this one."""
    record, image_name = run.record, run.settings.image_name
    if wanted is None:
        return digest_of_record(run.settings, record), record
    build_id = digest_of_flag(run.state.history().of_image(run.settings.require("image_name")).digest_meant(wanted))
    other: Record | None = None
    for known in chain([record] if record else [], run.state.history()):
        if known.build_id == build_id and known.image_name == image_name:
            return build_id, known
        if known.build_id == build_id:
            other = other or known
    return build_id, other


def rollback(call: Call) -> Act:
    """Deploys the digest that was deployed before the present one."""
    run = begin_deploy(call)
    steps = of_flag(
        "--back", whole_number("a number of digests", 1, 1000), 1 if call.flags["back"] is None else call.flags["back"]
    )

    if call.is_of_several and run.is_unlocked:
        _digest_back(run, steps, _FROM_ELSEWHERE)  # whatever runs now, which only the act asks

    def act() -> Record | None:
        run.lock_before_deciding()
        before = to_go_back_to(run, steps)
        says = f"going back to {history.described(before)}, deployed {before.time} by {before.who}"
        return _deploy_decided(run, before.build_id or "", before, says)

    return Act(run, act)


def begin_deploy(call: Call) -> Run:
    """What the tasks that deploy a digest begin with; what cannot be asked for is refused before any wait."""
    run = begin(call, needs=(*API, "port", "env_from"), from_record=True, git=("app",))
    keep_named_secret(run.settings.secret_values_of(call.flags["env"] or []))
    app_environment(run.settings, call.flags["env"] or [])
    check_health_is_askable(run.settings, call.flags["check_health"])
    return run


def _deploy_decided(run: Run, build_id: str, known: Record | None, says: str = "") -> Record | None:
    """Deploys the digest `build_id`; `known` is what is known of it, `says` what a person is to know before."""
    request = _request(run, build_id, known)
    if says:
        console.tell(says)
    if run.dry:
        run.would_send("POST", "/build", _without_values(run, request))
        return None
    run.lock()
    if known and known.git_ref and images.is_commit(known.git_ref) and not known.dirty:
        run.checkout.ask_for_age(known.git_ref)
    run.client.get_ready()
    tell_age(run, known)
    deployed, reference = deploy(run, request, known)
    run.result(reference, {**as_dict(deployed), "image": reference})
    return deployed


def _without_values(run: Run, request: DeployRequest) -> dict[str, object]:
    """`request` for a person to look at: without what the app gets by name, however short."""
    settings, body = run.settings, as_dict(request)
    typed = [text for text in run.call.flags["env"] or [] if "=" not in text]
    by_name = {*settings.env_from, *settings.env_from_optional, *typed}
    config = body["deployConfig"]
    if isinstance(config, dict) and "env" in config:
        config["env"] = {key: "***" if key in by_name else value for key, value in config["env"].items()}
    return body


def _request(run: Run, build_id: str, known: Record | None) -> DeployRequest:
    env = app_environment(run.settings, run.call.flags["env"] or [])
    return deploy_request(run.settings, build_id, known, env=env)


def tell_age(run: Run, known: Record | None) -> None:
    """Says how what is deployed relates to HEAD: nobody shall deploy other code than they think."""
    in_flight = run.state.in_flight()
    if in_flight and in_flight.app == run.settings.app:
        console.warn(
            f"{in_flight.job_name} was started at {in_flight.started_at} and not picked up: what is deployed is older; "
            f"for that one: {run.command('wait')}, then reuse"
        )
    if known is None or known.build_id is None:
        return
    if known.dirty:
        console.tell(f"built from {history.source(known)}")
    elif known.git_ref and images.is_commit(known.git_ref):
        unknown = run.checkout.trouble or "which is not in this checkout"
        console.tell(run.checkout.age(known.git_ref) or f"built from {known.git_ref[:7]}, {unknown}")


def check_health_is_askable(settings: Settings, check_health: bool) -> None:
    """SettingsError where there is no address to ask for the health of."""
    if check_health and all(domain.startswith("*") for domain in settings.domain):
        raise SettingsError("--check-health needs a domain to ask at, one without *: --domain or DEPLOY_DOMAIN")


def to_go_back_to(run: Run, back: int) -> HistoryEntry:
    """The deploy that lies `back` digests behind what runs now. SettingsError where there is none."""
    now = None if run.dry else _running(run)
    before = _digest_back(run, back, now)
    newest = next(run.history().deploys(run.settings.require("app"), run.settings.namespace))
    if now not in (None, newest.build_id):
        console.warn(f"what runs now ({now}) is not what was deployed from here last ({newest.build_id})")
    return before


def _digest_back(run: Run, back: int, now: str | None) -> HistoryEntry:
    app, namespace = run.settings.require("app"), run.settings.namespace
    flags = {"build_id": "sha256:…", **{key: run.call.given[key] for key in TARGET if key in run.call.given}}
    other = Step("reuse", {**flags, "app": run.call.name or flags.get("app")}, says="Deploy one that you know")
    return run.history().digest_back(app, namespace, back, now, other=other)


def _running(run: Run) -> str | None:
    try:
        state = run.client.app(run.settings.namespace, run.settings.require("app"), within=_SECONDS_TO_SAY)
    except (ApiRefused, NothingStarted):
        return None
    return state.digest if state else None


def deploy(run: Run, request: DeployRequest, known: Record | None) -> tuple[Record, str]:
    """Deploys, notes it in the history, and follows the rollout. Returns what is deployed, and its pinned reference.
    Raises RolloutFailed where it does not come up, and StateError where it could not be noted."""
    deployed, flags = deployed_record(request, known), _flags_given(run)
    again = next_steps.line("reuse", {"build_id": request.build_id, **flags}) + run.rest
    reference = _send(run, request, deployed, again=again)
    before, undo = _earlier_deploy(run, request), next_steps.line("rollback", flags)
    console.tell(f"deployed {request.app} to {request.namespace} ({run.settings.app_class} nodes), without a build")
    try:
        with run.interruptible():
            _follow(run, request)
    except StillRunning:
        run.left = AGAIN
        raise
    except RolloutFailed as error:
        run.left = AGAIN
        if error.blames:
            with suppress(StateError):  # that it does not come up is what matters
                run.note(history.NOT_READY, deployed)
        back = f"go back to {history.described(before)}: {undo}" if before else "there is nothing to go back to yet"
        raise RolloutFailed(f"{error}; {back}") from error
    if before:
        console.tell(f"undo: {undo} (back to {history.described(before)})")
    run.output(f"deployed {request.app}", {"build-id": request.build_id, "image": reference})
    return deployed, reference


def _send(run: Run, request: DeployRequest, deployed: Record, *, again: str) -> str:
    """Deploys, and notes it; `again` is the command that deploys the same once more. Returns the pinned reference of
    what runs then: the API's, since its registry may have another name than the one here."""
    run.check_awaited()
    run.if_interrupted = f"stopped; the deploy may have happened; saying it twice does no harm: {again}"
    run.when_interrupted = partial(run.note, history.UNKNOWN, deployed)
    try:
        with run.interruptible():
            said = run.client.deploy(request, again=again).image
    except MayHaveStarted:
        with suppress(StateError):
            run.note(history.UNKNOWN, deployed)
        raise
    except DigestNotFound as error:
        built_from = None if deployed.dirty else deployed.git_ref
        build = ways_to_build(run, built_from)
        raise DigestNotFound(f"{error}. {build}. Others: {run.command('history')}") from error
    reference = said or images.pinned(run.settings.registry, request.image_name, request.build_id)
    run.left = NOTHING
    try:
        with run.undivided():
            run.note(history.DEPLOYED, deployed)
            run.when_interrupted = lambda: None
            run.if_interrupted = (
                f"stopped; {request.app} is deployed and comes up by itself; look: {run.command('status')}"
            )
    except StateError as error:
        raise StateError(f"{reference} is deployed, but that was not recorded: {error}") from error
    return reference


def _follow(run: Run, request: DeployRequest) -> None:
    """Waits for the replicas and for the health path, as far as the flags ask for either; for both no longer than the
    one deadline. RolloutFailed or StillRunning after it."""
    flags, seconds, start = run.call.flags, run.settings.rollout_timeout, time.monotonic()
    if flags["follow"]:
        _follow_rollout(run, request)
    if flags["check_health"]:
        from ..api.transport import health_of

        health = _url(request) + (request.deploy_config.health_path or "/")
        with console.progress(request.app) as progress:
            left = max(1.0, seconds - (time.monotonic() - start))
            wait_for_health(health, health_of, seconds=left, progress=progress)
        console.tell(f"{health} answers")


def _follow_rollout(run: Run, request: DeployRequest) -> None:
    start, url = time.monotonic(), _url(request)
    with console.progress(request.app) as progress:
        ready = wait_for_rollout(run.client, request, seconds=run.settings.rollout_timeout, progress=progress)
    if ready is None:
        console.tell("the API does not say how apps run, so the rollout was not followed")
    else:
        console.tell(f"{ready}/{ready} ready in {time.monotonic() - start:.0f} s{f': {url}' if url else ''}")


def _url(request: DeployRequest) -> str:
    config = request.deploy_config
    named = [domain for domain in [config.domain, *(config.domains or [])] if domain and not domain.startswith("*")]
    return f"{'https' if config.tls else 'http'}://{named[0]}" if named else ""


def _earlier_deploy(run: Run, request: DeployRequest) -> HistoryEntry | None:
    earlier = run.history().deploys(request.app, request.namespace)
    return next((entry for entry in earlier if entry.build_id != request.build_id), None)


def _flags_given(run: Run) -> dict[str, object]:
    """The flags of this call, for a person to type again: what a flag said is said nowhere else."""
    settings, flags = run.settings, run.call.flags
    keys = (*TARGET, "port", "replicas", "domain", "health_path", "rollout_timeout")
    of_settings = {key: getattr(settings, key) for key in keys if settings.is_by_flag(key)}
    of_wait = {"follow": flags["follow"] and None, "check_health": flags["check_health"] or None}
    return {"app": run.call.name, **of_settings, "tls": flags["tls"], "env": flags["env"], **of_wait}
