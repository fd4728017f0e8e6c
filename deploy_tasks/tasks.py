"""The tasks: read the call, call what is below, say what happened.

Each is a function that a developer's own task can call: it takes the context `c` and its flags as keywords, and returns
what it found out. A flag that is a row of `settings.py` may be given by any of its sources; None is "not given".
With Invoke's `--dry` nothing is run, sent or written, and a task returns None where it has nothing to return.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.context import Context

from . import build_context as build_context_rules
from . import builds, console, decide, deploys, images, parsing, preflight
from . import history as past
from .engine import Engine
from .errors import DigestNotFound, SettingsError
from .models import BuildInFlight, Record, as_dict, record_as_json
from .redaction import keep_secret
from .run import Run, begin
from .task import API, deploy_task
from .views import doctor, history, init, logs, status

_SANDBOX_PORT = 8077

# `from deploy_tasks.tasks import *` makes all of them tasks of a developer's own tasks.py.
__all__ = [
    "build",
    "digest",
    "doctor",
    "history",
    "init",
    "local",
    "local_deploy",
    "logs",
    "reuse",
    "rollback",
    "sandbox",
    "status",
    "wait",
]


@deploy_task()
def build(
    c: Context,
    app: str | None = None,
    namespace: str | None = None,
    image_name: str | None = None,
    app_class: str | None = None,
    json: bool = False,
    lock_timeout: float | None = None,
    repo_url: str | None = None,
    git_ref: str | None = None,
    image_tag: str | None = None,
    dockerfile: str | None = None,
    build_context: str | None = None,
    timeout: float | None = None,
    cache: bool = True,
    wait: bool = True,
    allow_unpushed: bool = False,
    if_needed: bool = False,
    logs: bool = True,
) -> Record | BuildInFlight | None:
    """Build in the cluster, wait for it, and record the digest."""
    run = begin(
        c,
        "build",
        needs=(*API, "repo_url", "git_ref"),
        git=("app", "repo_url", "git_ref"),
        app=app,
        namespace=namespace,
        image_name=image_name,
        app_class=app_class,
        lock_timeout=lock_timeout,
        repo_url=repo_url,
        git_ref=git_ref,
        image_tag=image_tag,
        dockerfile=dockerfile,
        build_context=build_context,
        timeout=timeout,
        build_if_needed=if_needed or None,
    )
    request = decide.build_request(run.settings, run.checkout, cache=cache)
    builds.check_clonable(run, request.git_ref, allow_unpushed=allow_unpushed)
    if run.dry:
        run.would_send("POST", "/build", request)
        run.pretend(decide.build_in_flight(run.settings, request, job=""))
        return None
    run.lock()
    with run.interruptible():
        if run.settings.build_if_needed and cache and (known := builds.built_already(run, request)):
            return _told(known, json)
        build_in_flight = builds.start_or_join(run, request)
        if not wait:
            console.tell("the build goes on by itself; pick it up: invoke wait")
            console.result(build_in_flight.job_name, build_in_flight, as_json=json)
            return build_in_flight
        return _told(builds.finish(run, build_in_flight, logs=logs), json)


@deploy_task()
def wait(
    c: Context,
    app: str | None = None,
    namespace: str | None = None,
    image_name: str | None = None,
    app_class: str | None = None,
    json: bool = False,
    lock_timeout: float | None = None,
    job: str | None = None,
    image_tag: str | None = None,
    timeout: float | None = None,
    logs: bool = True,
) -> Record | None:
    """Wait for the build in flight, and record its digest."""
    run = begin(
        c,
        "wait",
        needs=API,
        from_record=True,
        git=("app", "repo_url", "git_ref"),
        app=app,
        namespace=namespace,
        image_name=image_name,
        app_class=app_class,
        lock_timeout=lock_timeout,
        image_tag=image_tag,
        timeout=timeout,
    )
    if run.dry:
        run.would_send("POST", f"/build/{job or '<job>'}/wait")
        return None
    before = run.state.in_flight()
    run.lock_before_deciding()
    if known := builds.recorded_meanwhile(run, before, job):
        return _told(known, json)
    build_in_flight = builds.pick_up(run, job)
    run.lock()
    with run.interruptible():
        return _told(builds.finish(run, build_in_flight, logs=logs), json)


@deploy_task()
def digest(
    c: Context,
    app: str | None = None,
    namespace: str | None = None,
    image_name: str | None = None,
    app_class: str | None = None,
    json: bool = False,
    lock_timeout: float | None = None,
    image_tag: str | None = None,
) -> Record | None:
    """Resolve the digest of a tag, record it, and print it."""
    run = begin(
        c,
        "digest",
        needs=API,
        from_record=True,
        git=("app", "repo_url", "git_ref"),
        app=app,
        namespace=namespace,
        image_name=image_name,
        app_class=app_class,
        lock_timeout=lock_timeout,
        image_tag=image_tag,
    )
    run.lock_before_deciding()
    target = decide.target_of_tag(run.settings, run.checkout, run.recorded_here)
    if run.dry:
        run.would_send("GET", f"/registry/{target.image_name}/digest?tag={target.image_tag}")
        run.pretend(target)
        return None
    run.lock()
    try:
        build_id = run.client.digest(target.image_name or "", tag=target.image_tag or "")
    except DigestNotFound as error:
        raise DigestNotFound(f"{error}; build it: invoke build, or invoke local") from None
    return _told(builds.keep(run, target, build_id), json)


@deploy_task(aliases=["reuse-deploy"])
def reuse(
    c: Context,
    app: str | None = None,
    namespace: str | None = None,
    image_name: str | None = None,
    app_class: str | None = None,
    json: bool = False,
    lock_timeout: float | None = None,
    build_id: str | None = None,
    port: int | None = None,
    replicas: int | None = None,
    domain: list[str] | None = None,
    health_path: str | None = None,
    tls: bool = True,
    env: list[str] | None = None,
    follow: bool = True,
    rollout_timeout: float | None = None,
    check_health: bool = False,
) -> Record | None:
    """Deploy a recorded digest; never builds."""
    run = _begin_deploy(
        c,
        "reuse",
        env,
        check_health=check_health,
        app=app,
        namespace=namespace,
        image_name=image_name,
        app_class=app_class,
        lock_timeout=lock_timeout,
        port=port,
        replicas=replicas,
        domain=domain,
        health_path=health_path,
        rollout_timeout=rollout_timeout,
    )
    run.lock_before_deciding()
    wanted = None if build_id is None else past.completed_digest(run.state.history(), build_id)
    known = deploys.known_build(run, wanted)
    return _deployed(run, known, wanted, json, tls=tls, env=env, follow=follow, check_health=check_health)


@deploy_task()
def rollback(
    c: Context,
    app: str | None = None,
    namespace: str | None = None,
    image_name: str | None = None,
    app_class: str | None = None,
    json: bool = False,
    lock_timeout: float | None = None,
    back: int | None = None,
    port: int | None = None,
    replicas: int | None = None,
    domain: list[str] | None = None,
    health_path: str | None = None,
    tls: bool = True,
    env: list[str] | None = None,
    follow: bool = True,
    rollout_timeout: float | None = None,
    check_health: bool = False,
) -> Record | None:
    """Deploy the digest that was deployed before the present one."""
    run = _begin_deploy(
        c,
        "rollback",
        env,
        check_health=check_health,
        app=app,
        namespace=namespace,
        image_name=image_name,
        app_class=app_class,
        lock_timeout=lock_timeout,
        port=port,
        replicas=replicas,
        domain=domain,
        health_path=health_path,
        rollout_timeout=rollout_timeout,
    )
    steps = parsing.of_flag("--back", parsing.whole_number("a number of digests", 1, 1000), 1 if back is None else back)
    run.lock_before_deciding()
    before = deploys.deployed_before_now(run, steps)
    says = f"going back to {deploys.described(before)}, deployed {before.time} by {before.who}"
    how: dict[str, Any] = {"tls": tls, "env": env, "follow": follow, "check_health": check_health}
    return _deployed(run, before, before.build_id, json, says, **how)


def _begin_deploy(c: Context, task: str, env: list[str] | None, *, check_health: bool, **flags: Any) -> Run:
    """What the tasks that deploy a digest begin with; what cannot be asked for is refused before any wait."""
    run = begin(c, task, needs=(*API, "port"), from_record=True, git=("app",), **flags)
    keep_secret(run.settings.secret_values_of(env or []))
    deploys.check_health_is_askable(run.settings, check_health)
    return run


def _deployed(
    run: Run,
    known: Record | None,
    build_id: str | None,
    as_json: bool,
    says: str = "",
    *,
    tls: bool,
    env: list[str] | None,
    follow: bool,
    check_health: bool,
) -> Record | None:
    """Deploys the digest `build_id`, or that of the record; `known` is what is known of it, `says` what a person is to
    know before."""
    app_environment = decide.app_environment(run.settings, env or [])
    request = decide.deploy_request(run.settings, known, build_id=build_id, tls=tls, env=app_environment)
    if says:
        console.tell(says)
    if run.dry:
        run.would_send("POST", "/build", request)
        return None
    run.lock()
    deploys.tell_age(run, known)
    flags = deploys.flags_given(run, tls=tls, env=env or [])
    deployed = deploys.deploy(run, request, known, flags=flags, follow=follow, check_health=check_health)
    reference = images.pinned(run.settings.registry, request.image_name, request.build_id)
    console.result(reference, {**as_dict(deployed), "image": reference}, as_json=as_json)
    return deployed


@deploy_task()
def local(
    c: Context,
    app: str | None = None,
    namespace: str | None = None,
    image_name: str | None = None,
    app_class: str | None = None,
    json: bool = False,
    lock_timeout: float | None = None,
    image_tag: str | None = None,
    dockerfile: str | None = None,
    build_context: str | None = None,
    build_arg: list[str] | None = None,
    platform: str | None = None,
    allow_secrets_in_context: bool = False,
) -> Record | None:
    """Build on this machine, push, and record the digest of that push."""
    run = begin(
        c,
        "local",
        needs=API,
        git=("app", "repo_url", "git_ref"),
        app=app,
        namespace=namespace,
        image_name=image_name,
        app_class=app_class,
        lock_timeout=lock_timeout,
        image_tag=image_tag,
        dockerfile=dockerfile,
        build_context=build_context,
        platform=platform,
    )
    target = decide.local_target(run.settings, run.checkout)
    image = decide.local_image(run.settings, target, build_arg or [])
    keep_secret(run.settings.secret_values_of(image.variables))
    settings, client = run.settings, run.client
    engine = Engine(c, settings.docker, builder=settings.builder)
    if run.dry:
        engine.look()
    else:
        run.lock()
        preflight.check(client, engine, settings.registry, target)
    if not allow_secrets_in_context:
        build_context_rules.check(image.context, engine.ignore_files(image))
    if settings.registry_username and settings.registry_password:
        engine.login(settings.registry, settings.registry_username, settings.registry_password)
    build_id = engine.publish(image)
    if run.dry:
        run.pretend(target)
        return None
    dirty = run.checkout.dirty if run.checkout.commit else None
    record = builds.keep(run, target, build_id, built={"built": "local"}, dirty=dirty)
    preflight.check_tag(client, settings.registry, target, build_id)
    return _told(record, json)


@deploy_task()
def local_deploy(
    c: Context,
    app: str | None = None,
    namespace: str | None = None,
    image_name: str | None = None,
    app_class: str | None = None,
    json: bool = False,
    lock_timeout: float | None = None,
    image_tag: str | None = None,
    dockerfile: str | None = None,
    build_context: str | None = None,
    build_arg: list[str] | None = None,
    platform: str | None = None,
    allow_secrets_in_context: bool = False,
    port: int | None = None,
    replicas: int | None = None,
    domain: list[str] | None = None,
    health_path: str | None = None,
    tls: bool = True,
    env: list[str] | None = None,
    follow: bool = True,
    rollout_timeout: float | None = None,
    check_health: bool = False,
) -> Record | None:
    """`local`, then `reuse`: build here, push, deploy that image."""
    # What `reuse` needs is asked for now: nothing is built that cannot be deployed.
    reuse_settings: dict[str, Any] = {
        "port": port,
        "replicas": replicas,
        "domain": domain,
        "health_path": health_path,
        "rollout_timeout": rollout_timeout,
    }
    target: dict[str, Any] = {
        "app": app,
        "namespace": namespace,
        "image_name": image_name,
        "app_class": app_class,
        "lock_timeout": lock_timeout,
    }
    run = begin(c, "local-deploy", needs=(*API, "port"), git=("app",), **target, **reuse_settings)
    decide.app_environment(run.settings, env or [])
    deploys.check_health_is_askable(run.settings, check_health)
    target["json"] = json
    local(
        c,
        **target,
        image_tag=image_tag,
        dockerfile=dockerfile,
        build_context=build_context,
        build_arg=build_arg,
        platform=platform,
        allow_secrets_in_context=allow_secrets_in_context,
    )
    deployed: Record | None = reuse(
        c, **target, **reuse_settings, tls=tls, env=env, follow=follow, check_health=check_health
    )
    return deployed


@deploy_task(
    help={
        "port": "The port to listen on; 0 takes a free one (8077)",
        "host": "The address to listen on (127.0.0.1)",
        "registry": "Another registry, host:port, in place of the sandbox's own",
        "builder": "archive (packs the files, runs no RUN) or docker (archive)",
        "key": "The API key to ask for (a random one)",
        "data": "A folder to keep images in (a temporary one)",
        "build_seconds": "How long a build takes at the least (0)",
        "replica_seconds": "How long each replica takes to be ready (0.2)",
        "minimal": "Serve only what the API's specification has",
    }
)
def sandbox(
    c: Context,
    port: int | None = None,
    host: str = "127.0.0.1",
    registry: str | None = None,
    builder: str = "archive",
    key: str | None = None,
    data: str | None = None,
    build_seconds: float | None = None,
    replica_seconds: float | None = None,
    minimal: bool = False,
) -> None:
    """Serve a Deploy API with a registry on this machine, until Ctrl-C."""
    try:
        from .sandbox.app import Options, SandboxError, serve
    except ImportError as error:
        raise SettingsError(f"the sandbox needs {error.name}: pip install 'deploy-tasks[sandbox]'") from None
    run = begin(c, "sandbox")
    settings = run.settings
    options = Options(
        port=_SANDBOX_PORT if port is None else parsing.whole_number("a port", 0, 65535)(port),
        host=host,
        registry=None if registry is None else parsing.registry_host(registry),
        registry_username=settings.registry_username,
        registry_password=settings.registry_password,
        builder=builder,
        key=None if key is None else parsing.api_key(key),
        data=Path(data) if data else None,
        build_seconds=0.0 if build_seconds is None else parsing.seconds(build_seconds),
        replica_seconds=0.2 if replica_seconds is None else parsing.seconds(replica_seconds),
        minimal=minimal,
    )
    if run.dry:
        return console.tell("dry run: no sandbox was started")
    try:
        serve(options)
    except SandboxError as error:
        raise SettingsError(f"the sandbox cannot start: {error}") from None


@deploy_task()
def demo(c: Context) -> None:
    """Tell the whole story on this terminal: sandbox, build, reuse."""
    from .demo import DemoError, tell_story

    if c.config.run.dry:
        return console.tell("dry run: no story was told")

    try:
        tell_story()
    except DemoError as error:
        raise SettingsError(str(error)) from None


def _told(record: Record, as_json: bool) -> Record:
    console.result(record.build_id or "", record_as_json(record, {}), as_json=as_json)
    return record


ns = Collection(
    *(build, wait, digest, reuse, rollback, local, local_deploy),
    *(logs, history, status, doctor, init),
    *(sandbox, demo),
)
