"""The tasks: what each takes, and what it says of itself. What it does has the same name in the room named beside it.

Each is a function that a developer's own task can call: it takes the context `c` and its flags as keywords, and returns
what it found out; for several apps (`app="all"`) a dict of that by their names. A flag that is a row of `settings.py`
may be given by any of its sources; None is "not given". With Invoke's `--dry` nothing is run, sent or written, and a
task returns None where it has nothing to return.

Nothing else is loaded here: `invoke --list` and the shell's completion read no more than this.
"""

# mypy: disable-error-code="empty-body"

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke.collection import Collection
from invoke.context import Context

from .invocation.task import app_task, deploy_task

if TYPE_CHECKING:
    from .commands.doctor import Finding
    from .state.records import BuildInFlight, HistoryEntry, Record

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


@app_task("build")
def build(
    c: Context,
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
) -> Record | BuildInFlight | None:
    """Build in the cluster, wait for it, and record the digest."""


@app_task("build")
def wait(
    c: Context,
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
) -> Record | None:
    """Wait for the build in flight, and record its digest."""


@app_task("digest", help={"image_tag": "The image's tag (the one just built on this command line, or HEAD's commit)"})
def digest(
    c: Context,
    app: str | None = None,
    namespace: str | None = None,
    image_name: str | None = None,
    app_class: str | None = None,
    json: bool = False,
    lock_timeout: float | None = None,
    jobs: int | None = None,
    image_tag: str | None = None,
) -> Record | None:
    """Resolve the digest of a tag, record it, and print it."""


@app_task("deploy", aliases=("reuse-deploy",))
def reuse(
    c: Context,
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
    tls: bool | None = None,
    env: list[str] | None = None,
    follow: bool = True,
    rollout_timeout: float | None = None,
    check_health: bool = False,
) -> Record | None:
    """Deploy a recorded digest; never builds."""


@app_task("deploy")
def rollback(
    c: Context,
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
    tls: bool | None = None,
    env: list[str] | None = None,
    follow: bool = True,
    rollout_timeout: float | None = None,
    check_health: bool = False,
) -> Record | None:
    """Deploy the digest that was deployed before the present one."""


@app_task("local", jobs=2)
def local(
    c: Context,
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
) -> Record | None:
    """Build on this machine, push, and record the digest of that push."""


@app_task("local", jobs=2)
def local_deploy(
    c: Context,
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
    tls: bool | None = None,
    env: list[str] | None = None,
    follow: bool = True,
    rollout_timeout: float | None = None,
    check_health: bool = False,
) -> Record | None:
    """`local`, then `reuse`: build here, push, deploy that image."""


@app_task("views", changes=False, help={"follow": "Print it as it grows, until the build is over"})
def logs(
    c: Context,
    app: str | None = None,
    job: str | None = None,
    follow: bool = False,
    timeout: float | None = None,
    jobs: int | None = None,
) -> None:
    """Print the log of a build: the one in flight, or the last one."""


@deploy_task("views", help={"limit": "How many lines (20)", "json": "Print one JSON object a line"})
def history(c: Context, app: str | None = None, limit: int | None = None, json: bool = False) -> list[HistoryEntry]:
    """Print what was recorded and deployed, newest first."""


@app_task("views", changes=False)
def status(
    c: Context,
    app: str | None = None,
    namespace: str | None = None,
    image_name: str | None = None,
    app_class: str | None = None,
    json: bool = False,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Show how things stand: target, record, build in flight, replicas, last deploys."""


@deploy_task("doctor")
def doctor(c: Context, app: str | None = None, json: bool = False) -> list[Finding]:
    """Check settings, git, engine, registry and API, and say what mends what is wrong."""


@deploy_task("init")
def init(c: Context) -> None:
    """Set up this repository: tasks.py, invoke.yaml, .env, ignore files. Changes nothing that is there."""


@deploy_task(
    "sandbox",
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
    },
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


@deploy_task("sandbox")
def demo(c: Context) -> None:
    """Tell the whole story on this terminal: sandbox, build, reuse."""


ns = Collection(
    *(build, wait, digest, reuse, rollback, local, local_deploy),
    *(logs, history, status, doctor, init),
    *(sandbox, demo),
)
