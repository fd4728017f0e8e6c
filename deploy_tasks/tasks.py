"""The tasks: read the call, call what is below, say what happened.

Each is a function that a developer's own task can call: it takes the context `c` and its flags as keywords, and returns
what it found out. A flag that is a row of `settings.py` may be given by any of its sources; None is "not given".
With Invoke's `--dry` nothing is run, sent or written, and a task returns None where it has nothing to return.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import Task, task

from . import build_context as build_context_rules
from . import builds, console, decide, images, parsing, preflight, signals
from .engine import Engine
from .errors import DeployError, DigestNotFound, Interrupted, SettingsError, StateError
from .models import BuildInFlight, DeployRequest, Record, as_dict, record_as_json
from .run import begin

_HELP = {
    "app": "The app's name in the cluster (the repository's name)",
    "namespace": "Its namespace (the app class decides)",
    "image_name": "The repository in the registry (the app's name)",
    "app_class": "business or non-business: which nodes run it (business)",
    "lock_timeout": "Seconds to wait for another run of this checkout (0: not at all)",
    "json": "Print one JSON object instead of the plain result",
    "image_tag": "The image's tag",
    "dockerfile": "The Dockerfile, from the project's root (Dockerfile)",
    "build_context": "The build context, from the project's root (.)",
    "timeout": "Seconds to wait for the build (1800)",
    "repo_url": "What the cluster clones (the git remote, as https)",
    "git_ref": "What the cluster checks out (the commit of HEAD)",
    "cache": "Whether the build may use the builder's cache",
    "wait": "Whether to wait; without, `invoke wait` picks the build up",
    "allow_unpushed": "Build a commit that no remote branch is known to hold",
    "job": "The build job to wait for (the build in flight)",
    "build_id": "The digest to deploy (the recorded one)",
    "port": "The port the app listens on",
    "replicas": "How many replicas run (the API's default)",
    "domain": "A domain the app is reached at; repeatable",
    "health_path": "A path that answers 2xx once the app is well",
    "tls": "Whether the domains are served over TLS",
    "env": "KEY=VALUE, or KEY with its value from the environment or .env, for the app; repeatable",
    "build_arg": "KEY=VALUE, or KEY with its value from the environment or .env; repeatable",
    "platform": "What the image is built for; several with commas between them (linux/amd64)",
    "allow_secrets_in_context": "Build although .env or .deploy may get into the image",
}


_REPEATABLE = ("domain", "env", "build_arg")
_SANDBOX_PORT = 8077
_API = ("api_url", "api_key", "app")


class DeployTask(Task):  # type: ignore[type-arg]  # generic over its function, which every use below fills in itself
    """A task whose calls are never equal, since Invoke drops a call that equals an earlier one: of
    `local --app a reuse local --app b reuse` it ran one `reuse` only. Its errors show no secret."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = Task.__hash__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            with signals.raised():
                return super().__call__(*args, **kwargs)
        except DeployError as error:
            error.message = console.redact(error.message or "")
            error.args = (error.message,)
            raise
        except KeyboardInterrupt as interrupt:
            raise Interrupted("stopped", signals.signal_number(interrupt)) from None


def _task(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    own_help = options.pop("help", {})

    def make(body: Callable[..., Any]) -> Any:
        names = body.__code__.co_varnames[: body.__code__.co_argcount]
        known = {name: text for name, text in {**_HELP, **own_help}.items() if name in names}
        several = [name for name in _REPEATABLE if name in names]
        return task(klass=DeployTask, auto_shortflags=False, help=known, iterable=several, **options)(body)

    return make


@_task()
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
) -> Record | BuildInFlight | None:
    """Build in the cluster, wait for it, and record the digest."""
    run = begin(
        c,
        "build",
        needs=(*_API, "repo_url", "git_ref"),
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
    )
    request = decide.build_request(run.settings, run.checkout, cache=cache)
    builds.check_clonable(run, request.git_ref, allow_unpushed=allow_unpushed)
    if run.dry:
        run.would_send("POST", "/build", request)
        run.pretend(decide.build_in_flight(run.settings, request, job=""))
        return None
    run.lock()
    with run.interruptible():
        build_in_flight = builds.start_or_join(run, request)
        if not wait:
            console.tell("the build goes on by itself; pick it up: invoke wait")
            console.result(build_in_flight.job_name, build_in_flight, as_json=json)
            return build_in_flight
        return _told(builds.finish(run, build_in_flight), json)


@_task()
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
) -> Record | None:
    """Wait for the build in flight, and record its digest."""
    run = begin(
        c,
        "wait",
        needs=_API,
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
    builds.pick_up(run, job)  # what cannot be waited for is refused before anything is changed
    run.lock()
    build_in_flight = builds.pick_up(run, job)
    with run.interruptible():
        return _told(builds.finish(run, build_in_flight), json)


@_task()
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
        needs=_API,
        from_record=True,
        git=("app", "repo_url", "git_ref"),
        app=app,
        namespace=namespace,
        image_name=image_name,
        app_class=app_class,
        lock_timeout=lock_timeout,
        image_tag=image_tag,
    )
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


@_task(aliases=["reuse-deploy"])
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
) -> Record | None:
    """Deploy a recorded digest; never builds."""
    run = begin(
        c,
        "reuse",
        needs=(*_API, "port"),
        from_record=True,
        git=("app",),
        app=app,
        namespace=namespace,
        image_name=image_name,
        app_class=app_class,
        lock_timeout=lock_timeout,
        port=port,
        replicas=replicas,
        domain=domain,
        health_path=health_path,
    )
    console.keep_secret(run.settings.secret_values_of(env or []))

    def decided() -> tuple[Record | None, DeployRequest]:
        settings, record = run.settings, run.record
        app_environment = decide.app_environment(settings, env or [])
        return record, decide.deploy_request(settings, record, build_id=build_id, tls=tls, env=app_environment)

    record, request = decided()
    if run.dry:
        run.would_send("POST", "/build", request)
        return None
    run.lock()
    record, request = decided()
    run.if_interrupted = "stopped; the deploy may have happened; saying it twice does no harm: invoke reuse"
    with run.interruptible():
        run.client.deploy(request)
    console.tell(f"deployed {request.app} to {request.namespace} ({run.settings.app_class} nodes), without a build")
    deployed = decide.deployed_record(request, record)
    reference = images.pinned(run.settings.registry, request.image_name, request.build_id)
    try:
        run.note("deployed", deployed)
    except StateError as error:
        raise StateError(f"{reference} is deployed, but that was not recorded: {error}") from None
    console.result(reference, {**as_dict(deployed), "image": reference}, as_json=json)
    return deployed


@_task()
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
        needs=_API,
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
    console.keep_secret(run.settings.secret_values_of(image.variables))
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
    preflight.check_tag(client, settings.registry, target, build_id)
    return _told(builds.keep(run, target, build_id, built="local"), json)


@_task()
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
) -> Record | None:
    """`local`, then `reuse`: build here, push, deploy that image."""
    # What `reuse` needs is asked for now: nothing is built that cannot be deployed.
    reuse_settings: dict[str, Any] = {"port": port, "replicas": replicas, "domain": domain, "health_path": health_path}
    target: dict[str, Any] = {
        "app": app,
        "namespace": namespace,
        "image_name": image_name,
        "app_class": app_class,
        "lock_timeout": lock_timeout,
    }
    run = begin(c, "local-deploy", needs=(*_API, "port"), git=("app",), **target, **reuse_settings)
    decide.app_environment(run.settings, env or [])
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
    deployed: Record | None = reuse(c, **target, **reuse_settings, tls=tls, env=env)
    return deployed


@_task(
    help={
        "port": "The port to listen on; 0 takes a free one (8077)",
        "host": "The address to listen on (127.0.0.1)",
        "registry": "Another registry, host:port, in place of the sandbox's own",
        "builder": "archive (packs the files, runs no RUN) or docker (archive)",
        "key": "The API key to ask for (a random one)",
        "data": "A folder to keep images in (a temporary one)",
        "build_seconds": "How long a build takes at the least (0)",
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
        minimal=minimal,
    )
    if run.dry:
        return console.tell("dry run: no sandbox was started")
    try:
        serve(options)
    except SandboxError as error:
        raise SettingsError(f"the sandbox cannot start: {error}") from None


@_task()
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


ns = Collection(build, wait, digest, reuse, local, local_deploy, sandbox, demo)
