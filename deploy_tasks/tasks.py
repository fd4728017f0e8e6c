"""The tasks: read the call, call what is below, say what happened.

Each is a function that a developer's own task can call: it takes the context `c` and its flags as keywords, and returns
what it found out; for several apps (`app="all"`) a dict of that by their names. A flag that is a row of `settings.py`
may be given by any of its sources; None is "not given". With Invoke's `--dry` nothing is run, sent or written, and a
task returns None where it has nothing to return.

What stands here of each is its part for one app (`task.app_task`): it decides, and returns what is to be done.
"""

from __future__ import annotations

from pathlib import Path

from invoke.collection import Collection
from invoke.context import Context

from . import build_context as build_context_rules
from . import builds, console, decide, deploys, images, parsing, preflight
from . import history as past
from .engine import Engine
from .errors import DigestNotFound, SettingsError
from .models import BuildInFlight, Record, as_dict, record_as_json
from .parallel import Act
from .redaction import keep_secret
from .run import Call, Run, begin
from .task import API, app_task, deploy_task
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


@app_task()
def build(
    call: Call,
    app: str | None = None,
    namespace: str | None = None,
    image_name: str | None = None,
    app_class: str | None = None,
    json: bool = False,
    lock_timeout: float | None = None,
    jobs: int | None = None,
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
) -> Act:
    """Build in the cluster, wait for it, and record the digest."""
    run = begin(call, needs=(*API, "repo_url", "git_ref", *_all_of_an_app(call)), git=("app", "repo_url", "git_ref"))
    request = decide.build_request(run.settings, run.checkout, cache=cache)
    builds.check_clonable(run, request.git_ref, allow_unpushed=allow_unpushed)
    builds.warn_of_build_args(run)

    def act() -> Record | BuildInFlight | None:
        if run.dry:
            run.would_send("POST", "/build", request)
            run.pretend(decide.build_in_flight(run.settings, request, job=""))
            return None
        run.lock()
        with run.interruptible():
            if run.settings.build_if_needed and cache and (known := builds.built_already(run, request)):
                return _told(run, known)
            build_in_flight = builds.start_or_join(run, request)
            if not wait:
                console.tell(f"the build goes on by itself; pick it up: {run.command('wait')}")
                run.result(build_in_flight.job_name, build_in_flight)
                return build_in_flight
            return _told(run, builds.finish(run, build_in_flight, logs=logs))

    return Act(run, act)


@app_task()
def wait(
    call: Call,
    app: str | None = None,
    namespace: str | None = None,
    image_name: str | None = None,
    app_class: str | None = None,
    json: bool = False,
    lock_timeout: float | None = None,
    jobs: int | None = None,
    job: str | None = None,
    image_tag: str | None = None,
    timeout: float | None = None,
    logs: bool = True,
) -> Act:
    """Wait for the build in flight, and record its digest."""
    run = begin(call, needs=API, from_record=True, git=("app", "repo_url", "git_ref"))
    before = run.state.in_flight()

    def act() -> Record | None:
        if run.dry:
            run.would_send("POST", f"/build/{job or '<job>'}/wait")
            return None
        run.lock_before_deciding()
        if known := builds.recorded_meanwhile(run, before, job):
            return _told(run, known)
        build_in_flight = builds.pick_up(run, job)
        run.lock()
        with run.interruptible():
            return _told(run, builds.finish(run, build_in_flight, logs=logs))

    return Act(run, act)


@app_task()
def digest(
    call: Call,
    app: str | None = None,
    namespace: str | None = None,
    image_name: str | None = None,
    app_class: str | None = None,
    json: bool = False,
    lock_timeout: float | None = None,
    jobs: int | None = None,
    image_tag: str | None = None,
) -> Act:
    """Resolve the digest of a tag, record it, and print it."""
    run = begin(call, needs=API, from_record=True, git=("app", "repo_url", "git_ref"))

    def act() -> Record | None:
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
            raise DigestNotFound(f"{error}; build it: {run.command('build')}, or {run.command('local')}") from None
        return _told(run, builds.keep(run, target, build_id))

    return Act(run, act)


@app_task(aliases=["reuse-deploy"])
def reuse(
    call: Call,
    app: str | None = None,
    namespace: str | None = None,
    image_name: str | None = None,
    app_class: str | None = None,
    json: bool = False,
    lock_timeout: float | None = None,
    jobs: int | None = None,
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
) -> Act:
    """Deploy a recorded digest; never builds."""
    run = _begin_deploy(call)

    def act() -> Record | None:
        run.lock_before_deciding()
        wanted = None if build_id is None else past.completed_digest(run.state.history(), build_id)
        return _deployed(run, deploys.known_build(run, wanted), wanted)

    return Act(run, act)


@app_task()
def rollback(
    call: Call,
    app: str | None = None,
    namespace: str | None = None,
    image_name: str | None = None,
    app_class: str | None = None,
    json: bool = False,
    lock_timeout: float | None = None,
    jobs: int | None = None,
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
) -> Act:
    """Deploy the digest that was deployed before the present one."""
    run = _begin_deploy(call)
    steps = parsing.of_flag("--back", parsing.whole_number("a number of digests", 1, 1000), 1 if back is None else back)

    def act() -> Record | None:
        run.lock_before_deciding()
        before = deploys.deployed_before_now(run, steps)
        says = f"going back to {deploys.described(before)}, deployed {before.time} by {before.who}"
        return _deployed(run, before, before.build_id, says)

    return Act(run, act)


def _begin_deploy(call: Call) -> Run:
    """What the tasks that deploy a digest begin with; what cannot be asked for is refused before any wait."""
    run = begin(call, needs=(*API, "port", "env_from"), from_record=True, git=("app",))
    keep_secret(run.settings.secret_values_of(call.flags["env"] or []))
    decide.app_environment(run.settings, call.flags["env"] or [])
    deploys.check_health_is_askable(run.settings, call.flags["check_health"])
    return run


def _deployed(run: Run, known: Record | None, build_id: str | None, says: str = "") -> Record | None:
    """Deploys the digest `build_id`, or that of the record; `known` is what is known of it, `says` what a person is to
    know before."""
    flags = run.call.flags
    app_environment = decide.app_environment(run.settings, flags["env"] or [])
    request = decide.deploy_request(run.settings, known, build_id=build_id, env=app_environment)
    if says:
        console.tell(says)
    if run.dry:
        run.would_send("POST", "/build", request)
        return None
    run.lock()
    deploys.tell_age(run, known)
    deployed = deploys.deploy(run, request, known, follow=flags["follow"], check_health=flags["check_health"])
    reference = images.pinned(run.settings.registry, request.image_name, request.build_id)
    run.result(reference, {**as_dict(deployed), "image": reference})
    return deployed


@app_task(jobs=2)
def local(
    call: Call,
    app: str | None = None,
    namespace: str | None = None,
    image_name: str | None = None,
    app_class: str | None = None,
    json: bool = False,
    lock_timeout: float | None = None,
    jobs: int | None = None,
    image_tag: str | None = None,
    dockerfile: str | None = None,
    build_context: str | None = None,
    build_arg: list[str] | None = None,
    platform: str | None = None,
    allow_secrets_in_context: bool = False,
) -> Act:
    """Build on this machine, push, and record the digest of that push."""
    run = begin(
        call, needs=(*API, "files", "build_args_from", *_all_of_an_app(call)), git=("app", "repo_url", "git_ref")
    )
    target = decide.local_target(run.settings, run.checkout)
    image = decide.local_image(run.settings, target, build_arg or [])
    keep_secret(run.settings.secret_values_of(image.variables))

    def act() -> Record | None:
        settings, engine = run.settings, Engine(call.c, run.settings.docker, builder=run.settings.builder)
        if run.dry:
            engine.look()
        else:
            run.lock()
            preflight.check(run.client, engine, settings.registry, target)
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
        preflight.check_tag(run.client, settings.registry, target, build_id)
        return _told(run, record)

    return Act(run, act)


@app_task(jobs=2)
def local_deploy(
    call: Call,
    app: str | None = None,
    namespace: str | None = None,
    image_name: str | None = None,
    app_class: str | None = None,
    json: bool = False,
    lock_timeout: float | None = None,
    jobs: int | None = None,
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
) -> Act:
    """`local`, then `reuse`: build here, push, deploy that image."""
    both: Act = local.of_one(call)
    _begin_deploy(call)  # nothing is built that cannot be deployed
    build_and_push = both.do

    def act() -> Record | None:
        build_and_push()
        deploy: Act = reuse.of_one(call)
        deploy.run.results = both.run.results
        both.run = deploy.run
        deployed: Record | None = deploy.do()
        return deployed

    both.do = act
    return both


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
    settings = begin(Call.of(c, "sandbox", {})).settings
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
    if c.config.run.dry:
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


def _all_of_an_app(call: Call) -> tuple[str, ...]:
    """What a build asks for beyond its own needs: an app of the table is not built that cannot be deployed."""
    return ("port", "env_from", "cloned_files") if call.name or call.task == "local-deploy" else ()


def _told(run: Run, record: Record) -> Record:
    run.result(record.build_id or "", record_as_json(record, {}))
    return record


ns = Collection(
    *(build, wait, digest, reuse, rollback, local, local_deploy),
    *(logs, history, status, doctor, init),
    *(sandbox, demo),
)
