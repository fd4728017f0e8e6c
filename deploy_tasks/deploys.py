"""Deploy a digest, follow what becomes of it, and say how to undo it."""

from __future__ import annotations

import shlex
import time
from contextlib import suppress
from functools import partial
from itertools import islice

from . import console, history, images
from .decide import app_environment, deploy_request, deployed_record
from .errors import ApiRefused, MayHaveStarted, NothingStarted, RolloutFailed, SettingsError, StateError, StillRunning
from .models import DeployRequest, HistoryEntry, Record, as_dict
from .parsing import of_flag, whole_number
from .redaction import keep_secret
from .rollout import wait_for_health, wait_for_rollout
from .run import AGAIN, API, NOTHING, TARGET, Act, Call, Run, begin
from .settings import Settings

_MOST_LOOKED_THROUGH = 1000
_SECONDS_TO_SAY = 10.0


def reuse(call: Call) -> Act:
    """Deploys a recorded digest; never builds."""
    run = begin_deploy(call)
    build_id: str | None = call.flags.get("build_id")

    def decided() -> tuple[Record | None, str | None]:
        wanted = None if build_id is None else history.completed_digest(run.state.history(), build_id)
        return known_build(run, wanted), wanted

    if call.is_of_several and run.is_unlocked:  # nothing is deployed by halves that can be known not to be
        _request(run, *decided())

    def act() -> Record | None:
        run.lock_before_deciding()
        return _deployed(run, *decided())

    return Act(run, act)


def rollback(call: Call) -> Act:
    """Deploys the digest that was deployed before the present one."""
    run = begin_deploy(call)
    steps = of_flag(
        "--back", whole_number("a number of digests", 1, 1000), 1 if call.flags["back"] is None else call.flags["back"]
    )

    if call.is_of_several and run.is_unlocked:
        deployed_before_now(run, steps)

    def act() -> Record | None:
        run.lock_before_deciding()
        before = deployed_before_now(run, steps)
        says = f"going back to {described(before)}, deployed {before.time} by {before.who}"
        return _deployed(run, before, before.build_id, says)

    return Act(run, act)


def begin_deploy(call: Call) -> Run:
    """What the tasks that deploy a digest begin with; what cannot be asked for is refused before any wait."""
    run = begin(call, needs=(*API, "port", "env_from"), from_record=True, git=("app",))
    keep_secret(run.settings.secret_values_of(call.flags["env"] or []))
    app_environment(run.settings, call.flags["env"] or [])
    check_health_is_askable(run.settings, call.flags["check_health"])
    return run


def _deployed(run: Run, known: Record | None, build_id: str | None, says: str = "") -> Record | None:
    """Deploys the digest `build_id`, or that of the record; `known` is what is known of it, `says` what a person is to
    know before."""
    request = _request(run, known, build_id)
    if says:
        console.tell(says)
    if run.dry:
        run.would_send("POST", "/build", request)
        return None
    run.lock()
    if known and known.git_ref and images.is_commit(known.git_ref) and not known.dirty:
        run.checkout.ask_for_age(known.git_ref)
    run.client.get_ready()
    tell_age(run, known)
    deployed = deploy(run, request, known)
    reference = images.pinned(run.settings.registry, request.image_name, request.build_id)
    run.result(reference, {**as_dict(deployed), "image": reference})
    return deployed


def _request(run: Run, known: Record | None, build_id: str | None) -> DeployRequest:
    env = app_environment(run.settings, run.call.flags["env"] or [])
    return deploy_request(run.settings, known, build_id=build_id, env=env)


def known_build(run: Run, build_id: str | None) -> Record | None:
    """What is known of the digest to deploy, the record's or `build_id`; None where that came from elsewhere."""
    record = run.record
    if build_id is None or (record and record.build_id == build_id):
        return record
    return next((entry for entry in run.state.history() if entry.build_id == build_id), None)


def tell_age(run: Run, known: Record | None) -> None:
    """Says how what is deployed relates to HEAD: nobody shall deploy other code than they think."""
    if in_flight := run.state.in_flight():
        console.warn(
            f"{in_flight.job_name} still builds, and what is deployed is what was recorded before it; "
            f"for that one: {run.command('wait')}, then reuse"
        )
    if known is None or known.build_id is None:
        return
    if known.dirty:
        console.tell(f"built from uncommitted changes on {(known.git_ref or 'no commit')[:7]}")
    elif known.git_ref and images.is_commit(known.git_ref):
        console.tell(
            run.checkout.age(known.git_ref) or f"built from {known.git_ref[:7]}, which is not in this checkout"
        )


def check_health_is_askable(settings: Settings, check_health: bool) -> None:
    """SettingsError where there is no address to ask for the health of."""
    if check_health and all(domain.startswith("*") for domain in settings.domain):
        raise SettingsError("--check-health needs a domain to ask at: --domain or DEPLOY_DOMAIN; nothing was sent")


def deployed_before_now(run: Run, back: int) -> HistoryEntry:
    """The deploy that lies `back` digests behind what runs now. SettingsError where there is none."""
    app, namespace = run.settings.require("app"), run.settings.namespace
    now = None if run.dry else _running(run)
    other = run.command("reuse --build-id sha256:…")
    before = history.deployed_before(run.state.history(), app, namespace, back, now, other=other)
    newest = next(history.deploys(run.state.history(), app, namespace))
    if now not in (None, newest.build_id):
        console.warn(f"what runs now ({now}) is not what was deployed from here last ({newest.build_id})")
    return before


def _running(run: Run) -> str | None:
    try:
        state = run.client.app(run.settings.namespace, run.settings.require("app"), within=_SECONDS_TO_SAY)
    except (ApiRefused, NothingStarted):
        return None
    return state.digest if state else None


def deploy(run: Run, request: DeployRequest, known: Record | None) -> Record:
    """Deploys, notes it in the history, and follows the rollout. Raises RolloutFailed where it does not come up, and
    StateError where it could not be noted."""
    flags = _flags_given(run)
    again = f"invoke reuse --build-id {request.build_id}{flags}"
    deployed = deployed_record(request, known)
    run.check_awaited()
    run.if_interrupted = f"stopped; the deploy may have happened; saying it twice does no harm: {again}"
    run.when_interrupted = partial(run.note, history.UNKNOWN, deployed)
    try:
        with run.interruptible():
            run.client.deploy(request, again=again)
    except MayHaveStarted:
        with suppress(StateError):
            run.note(history.UNKNOWN, deployed)
        raise
    run.left = NOTHING
    reference = images.pinned(run.settings.registry, request.image_name, request.build_id)
    try:
        with run.undivided():
            run.note(history.DEPLOYED, deployed)
            run.when_interrupted = lambda: None
            run.if_interrupted = (
                f"stopped; {request.app} is deployed and comes up by itself; look: {run.command('status')}"
            )
    except StateError as error:
        raise StateError(f"{reference} is deployed, but that was not recorded: {error}") from None
    before = _deployed_before(run, request)
    console.tell(f"deployed {request.app} to {request.namespace} ({run.settings.app_class} nodes), without a build")
    undo = f"invoke rollback{flags}"
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
        back = f"go back to {described(before)}: {undo}" if before else "there is nothing to go back to yet"
        raise RolloutFailed(f"{error}; {back}") from None
    if before:
        console.tell(f"undo: {undo} (back to {described(before)})")
    run.output(f"deployed {request.app}", {"build-id": request.build_id, "image": reference})
    return deployed


def _follow(run: Run, request: DeployRequest) -> None:
    """Waits for the replicas and for the health path, as far as the flags ask for either; for both no longer than the
    one deadline. RolloutFailed or StillRunning after it."""
    flags, seconds, start = run.call.flags, run.settings.rollout_timeout, time.monotonic()
    if flags["follow"]:
        _follow_rollout(run, request)
    if flags["check_health"]:
        from .transport import health_of

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


def _deployed_before(run: Run, request: DeployRequest) -> HistoryEntry | None:
    entries = islice(run.state.history(), _MOST_LOOKED_THROUGH)
    earlier = history.deploys(entries, request.app, request.namespace)
    return next((entry for entry in earlier if entry.build_id != request.build_id), None)


def _flags_given(run: Run) -> str:
    """The flags of this call, as a person would type them again: what a flag said is said nowhere else. Of the app's
    environment only the names, since a value may be a secret; without one, the command asks for it."""
    words = [f"--app={run.call.name}"] if run.call.name else []
    for key in (*TARGET, "port", "replicas", "domain", "health_path"):
        if run.settings.sources[key].startswith("flag"):
            value = getattr(run.settings, key)
            words += [f"--{key.replace('_', '-')}={text}" for text in (value if isinstance(value, tuple) else [value])]
    words += {True: ["--tls"], False: ["--no-tls"]}.get(run.call.flags["tls"], [])
    words += [f"--env={text.partition('=')[0]}" for text in run.call.flags["env"] or []]
    return "".join(f" {shlex.quote(word)}" for word in words)


def described(entry: HistoryEntry) -> str:
    """A digest of the history, as short as a person needs it."""
    commit = f", commit {entry.git_ref[:7]}" if entry.git_ref else ""
    return f"{images.shortened(entry.build_id or '')}{commit}"
