"""Every task: its flags, its help, and a body that calls its command.

A developer's own task can call each one as a function: it takes the context `c` and its flags as keywords, and returns
its result. For several apps, `build(c, app="all")` returns None, and `build.each(c, app="all")` a dict of the results
by app. With Invoke's `--dry`, a task runs, sends and writes nothing, and returns None if it has no result.

A body imports its command when it is called, so that `invoke --list` and shell completion load only this file. It reads
its flags (`locals()`) first, since its imports become local names too.
"""

# Without `from __future__ import annotations`: the flags' help is read from their types.

from typing import TYPE_CHECKING

from invoke.collection import Collection
from invoke.context import Context

from . import options as flag
from .invocation.task import AppTask, DeployTask

if TYPE_CHECKING:
    from .commands.doctor import Finding
    from .commands.status import AllStatus, Status
    from .invocation.command import Results
    from .state.records import BuildInFlight, HistoryEntry, Record

# `from deploy_tasks.tasks import *` makes all of them tasks of a developer's own tasks.py.
__all__ = [
    "build",
    "deploy",
    "digest",
    "doctor",
    "history",
    "init",
    "local",
    "local_deploy",
    "logs",
    "promote",
    "reuse",
    "rollback",
    "sandbox",
    "status",
    "wait",
]


@AppTask
def build(
    c: Context,
    app: flag.App = None,
    environment: flag.Environment = None,
    namespace: flag.Namespace = None,
    image_name: flag.ImageName = None,
    app_class: flag.AppClass = None,
    yes: flag.Yes = False,
    json: flag.Json = False,
    lock_timeout: flag.LockTimeout = None,
    jobs: flag.Jobs = None,
    repo_url: flag.RepoUrl = None,
    git_ref: flag.GitRef = None,
    image_tag: flag.ImageTag = None,
    dockerfile: flag.Dockerfile = None,
    build_context: flag.BuildContext = None,
    timeout: flag.Timeout = None,
    cache: flag.Cache = True,
    wait: flag.Wait = True,
    allow_unpushed: flag.AllowUnpushed = False,
    if_needed: flag.IfNeeded = False,
    logs: flag.Logs = True,
) -> "Results[Record | BuildInFlight | None]":
    """Build in the cluster, wait for it, and record the digest."""
    options = dict(locals())
    from .building import build
    from .invocation.run import run

    return run(c, build.build, options)


@AppTask
def wait(
    c: Context,
    app: flag.App = None,
    environment: flag.Environment = None,
    namespace: flag.Namespace = None,
    image_name: flag.ImageName = None,
    app_class: flag.AppClass = None,
    json: flag.Json = False,
    lock_timeout: flag.LockTimeout = None,
    jobs: flag.Jobs = None,
    job: flag.Job = None,
    image_tag: flag.ImageTag = None,
    timeout: flag.Timeout = None,
    logs: flag.Logs = True,
) -> "Results[Record | None]":
    """Wait for the build in flight, and record its digest."""
    options = dict(locals())
    from .building import wait
    from .invocation.run import run

    return run(c, wait.wait, options)


@AppTask
def digest(
    c: Context,
    app: flag.App = None,
    environment: flag.Environment = None,
    namespace: flag.Namespace = None,
    image_name: flag.ImageName = None,
    app_class: flag.AppClass = None,
    json: flag.Json = False,
    lock_timeout: flag.LockTimeout = None,
    jobs: flag.Jobs = None,
    image_tag: flag.TagToResolve = None,
) -> "Results[Record | None]":
    """Resolve the digest of a tag, record it, and print it."""
    options = dict(locals())
    from .building import digest
    from .invocation.run import run

    return run(c, digest.digest, options)


@AppTask
def deploy(
    c: Context,
    app: flag.App = None,
    environment: flag.Environment = None,
    namespace: flag.Namespace = None,
    image_name: flag.ImageName = None,
    app_class: flag.AppClass = None,
    yes: flag.Yes = False,
    json: flag.Json = False,
    lock_timeout: flag.LockTimeout = None,
    jobs: flag.Jobs = None,
    dockerfile: flag.Dockerfile = None,
    build_context: flag.BuildContext = None,
    timeout: flag.Timeout = None,
    cache: flag.Cache = True,
    allow_unpushed: flag.AllowUnpushed = False,
    logs: flag.Logs = True,
    port: flag.Port = None,
    replicas: flag.Replicas = None,
    domain: flag.Domain = None,
    health_path: flag.HealthPath = None,
    tls: flag.Tls = None,
    env: flag.Env = None,
    follow: flag.Follow = True,
    rollout_timeout: flag.RolloutTimeout = None,
    check_health: flag.CheckHealth = False,
) -> "Results[Record | None]":
    """Build HEAD in the cluster, unless its commit's image exists, and deploy that image."""
    options = dict(locals())
    from .deploying import deploy
    from .invocation.run import run

    return run(c, deploy.deploy, options)


@AppTask
def reuse(
    c: Context,
    app: flag.App = None,
    environment: flag.Environment = None,
    namespace: flag.Namespace = None,
    image_name: flag.ImageName = None,
    app_class: flag.AppClass = None,
    yes: flag.Yes = False,
    json: flag.Json = False,
    lock_timeout: flag.LockTimeout = None,
    jobs: flag.Jobs = None,
    build_id: flag.BuildId = None,
    port: flag.Port = None,
    replicas: flag.Replicas = None,
    domain: flag.Domain = None,
    health_path: flag.HealthPath = None,
    tls: flag.Tls = None,
    env: flag.Env = None,
    follow: flag.Follow = True,
    rollout_timeout: flag.RolloutTimeout = None,
    check_health: flag.CheckHealth = False,
) -> "Results[Record | None]":
    """Deploy a recorded digest; never builds."""
    options = dict(locals())
    from .deploying import reuse
    from .invocation.run import run

    return run(c, reuse.reuse, options)


reuse.aliases = ("reuse-deploy",)


@AppTask
def promote(
    c: Context,
    app: flag.App = None,
    environment: flag.Environment = None,
    namespace: flag.Namespace = None,
    image_name: flag.ImageName = None,
    app_class: flag.AppClass = None,
    yes: flag.Yes = False,
    json: flag.Json = False,
    lock_timeout: flag.LockTimeout = None,
    jobs: flag.Jobs = None,
    from_: flag.From = None,
    port: flag.Port = None,
    replicas: flag.Replicas = None,
    domain: flag.Domain = None,
    health_path: flag.HealthPath = None,
    tls: flag.Tls = None,
    env: flag.Env = None,
    follow: flag.Follow = True,
    rollout_timeout: flag.RolloutTimeout = None,
    check_health: flag.CheckHealth = False,
) -> "Results[Record | None]":
    """Deploy the digest that runs in one environment to another; never builds."""
    options = dict(locals())
    from .deploying import promote
    from .invocation.run import run

    return run(c, promote.promote, options)


@AppTask
def rollback(
    c: Context,
    app: flag.App = None,
    environment: flag.Environment = None,
    namespace: flag.Namespace = None,
    image_name: flag.ImageName = None,
    app_class: flag.AppClass = None,
    yes: flag.Yes = False,
    json: flag.Json = False,
    lock_timeout: flag.LockTimeout = None,
    jobs: flag.Jobs = None,
    back: flag.Back = None,
    port: flag.Port = None,
    replicas: flag.Replicas = None,
    domain: flag.Domain = None,
    health_path: flag.HealthPath = None,
    tls: flag.Tls = None,
    env: flag.Env = None,
    follow: flag.Follow = True,
    rollout_timeout: flag.RolloutTimeout = None,
    check_health: flag.CheckHealth = False,
) -> "Results[Record | None]":
    """Deploy what ran before the current deploy, with the settings that it ran with."""
    options = dict(locals())
    from .deploying import rollback
    from .invocation.run import run

    return run(c, rollback.rollback, options)


@AppTask
def local(
    c: Context,
    app: flag.App = None,
    environment: flag.Environment = None,
    namespace: flag.Namespace = None,
    image_name: flag.ImageName = None,
    app_class: flag.AppClass = None,
    yes: flag.Yes = False,
    json: flag.Json = False,
    lock_timeout: flag.LockTimeout = None,
    jobs: flag.Jobs = None,
    image_tag: flag.ImageTag = None,
    dockerfile: flag.Dockerfile = None,
    build_context: flag.BuildContext = None,
    build_arg: flag.BuildArg = None,
    platform: flag.Platform = None,
    allow_secrets_in_context: flag.AllowSecretsInContext = False,
) -> "Results[Record | None]":
    """Build on this machine, push, and record the digest of that push."""
    options = dict(locals())
    from .building import local
    from .invocation.run import run

    return run(c, local.local, options)


@AppTask
def local_deploy(
    c: Context,
    app: flag.App = None,
    environment: flag.Environment = None,
    namespace: flag.Namespace = None,
    image_name: flag.ImageName = None,
    app_class: flag.AppClass = None,
    yes: flag.Yes = False,
    json: flag.Json = False,
    lock_timeout: flag.LockTimeout = None,
    jobs: flag.Jobs = None,
    image_tag: flag.ImageTag = None,
    dockerfile: flag.Dockerfile = None,
    build_context: flag.BuildContext = None,
    build_arg: flag.BuildArg = None,
    platform: flag.Platform = None,
    allow_secrets_in_context: flag.AllowSecretsInContext = False,
    port: flag.Port = None,
    replicas: flag.Replicas = None,
    domain: flag.Domain = None,
    health_path: flag.HealthPath = None,
    tls: flag.Tls = None,
    env: flag.Env = None,
    follow: flag.Follow = True,
    rollout_timeout: flag.RolloutTimeout = None,
    check_health: flag.CheckHealth = False,
) -> "Results[Record | None]":
    """`local`, then `reuse`: build here, push, deploy that image."""
    options = dict(locals())
    from .deploying import deploy
    from .invocation.run import run

    return run(c, deploy.local_deploy, options)


@AppTask
def logs(
    c: Context,
    app: flag.App = None,
    environment: flag.Environment = None,
    job: flag.Job = None,
    follow: flag.FollowLog = False,
    timeout: flag.Timeout = None,
    jobs: flag.Jobs = None,
) -> "Results[None]":
    """Print the log of a build: the one in flight, or the last one."""
    options = dict(locals())
    from .commands import logs
    from .invocation.run import run

    return run(c, logs.logs, options)


@DeployTask
def history(
    c: Context,
    app: flag.App = None,
    environment: flag.OnlyEnvironment = None,
    limit: flag.Limit = None,
    json: flag.JsonLines = False,
) -> "list[HistoryEntry]":
    """Print what was recorded and deployed, newest first."""
    from .commands import history

    return history.history(c, app, environment, limit, json)


@AppTask
def status(
    c: Context,
    app: flag.App = None,
    environment: flag.Environment = None,
    namespace: flag.Namespace = None,
    image_name: flag.ImageName = None,
    app_class: flag.AppClass = None,
    json: flag.Json = False,
    jobs: flag.Jobs = None,
) -> "Results[Status | AllStatus]":
    """Show what runs in all environments; or one in detail: record, build in flight, last deploys."""
    options = dict(locals())
    from .commands import status
    from .invocation.run import run

    return run(c, status.status, options)


@DeployTask
def doctor(
    c: Context,
    app: flag.App = None,
    environment: flag.Environment = None,
    json: flag.Json = False,
) -> "list[Finding]":
    """Check settings, git, engine, registry and API, and print how to fix what is broken."""
    from .commands import doctor

    return doctor.doctor(c, app, environment, json)


@DeployTask
def init(
    c: Context,
) -> None:
    """Set up this repository: tasks.py, invoke.yaml, .env, ignore files. Existing files are kept."""
    from .commands import init

    init.init(c)


@DeployTask
def sandbox(
    c: Context,
    port: flag.SandboxPort = None,
    host: flag.Host = "127.0.0.1",
    registry: flag.SandboxRegistry = None,
    builder: flag.Builder = "archive",
    key: flag.Key = None,
    data: flag.Data = None,
    build_seconds: flag.BuildSeconds = None,
    replica_seconds: flag.ReplicaSeconds = None,
    fail_rollout: flag.FailRollout = False,
    minimal: flag.Minimal = False,
) -> None:
    """Serve a Deploy API with a registry on this machine, until Ctrl-C."""
    from .commands import sandbox

    sandbox.sandbox(
        c,
        port=port,
        host=host,
        registry=registry,
        builder=builder,
        key=key,
        data=data,
        build_seconds=build_seconds,
        replica_seconds=replica_seconds,
        fail_rollout=fail_rollout,
        minimal=minimal,
    )


@DeployTask
def demo(
    c: Context,
) -> None:
    """Run a full demo on this machine: sandbox, build, reuse; about 30 s."""
    from .commands import demo

    demo.demo(c)


ns = Collection(
    *(build, wait, digest, deploy, reuse, promote, rollback, local, local_deploy),
    *(logs, history, status, doctor, init),
    *(sandbox, demo),
)
