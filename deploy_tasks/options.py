"""The flags of the tasks: one annotated type each, with its help text.

A flag that is also a setting (a row of `config/schema.py`) may come from any other source of that setting. None means
"not given".
"""

# Without `from __future__ import annotations`: the help is read from these types.

from typing import Annotated, NamedTuple, TypedDict


class Flag(NamedTuple):
    """How Invoke parses a flag. A `switch` is a setting that is on by default: its parsed default is None, so that
    other sources of the setting count unless the flag is given."""

    help: str
    repeatable: bool = False
    switch: bool = False
    short: str | None = None


# Which app, and where.
App = Annotated[
    str | None,
    Flag(
        "The app's name in the cluster (the repository's name); with deploy.apps: a name, several with commas, or all"
    ),
]
Environment = Annotated[
    str | None,
    Flag("The environment: which cluster (DEPLOY_ENVIRONMENT, else `environment` in invoke.yaml)", short="E"),
]
Namespace = Annotated[str | None, Flag("The app's namespace (that of the app class)")]
ImageName = Annotated[str | None, Flag("The repository in the registry (the app's name)")]
AppClass = Annotated[str | None, Flag("business or non-business: which nodes run it (business)")]
TARGET = ("app", "namespace", "image_name", "app_class")
"""The flags that name the target: an app, its place and its image."""

# How the task runs.
Json = Annotated[bool, Flag("Print one JSON object instead of the plain result")]
LockTimeout = Annotated[float | None, Flag("Seconds to wait for another run of this checkout (0: not at all)")]
Jobs = Annotated[int | None, Flag("How many apps run at once (12; builds on this machine: 2)")]

Yes = Annotated[bool, Flag("Confirm what is built or deployed in a protected environment")]

# What is built.
RepoUrl = Annotated[str | None, Flag("The repository that the cluster clones (the git remote, as https)")]
GitRef = Annotated[str | None, Flag("The commit, branch or tag that the cluster builds (HEAD's commit)")]
ImageTag = Annotated[str | None, Flag("The image's tag")]
TagToResolve = Annotated[
    str | None, Flag("The image's tag (the one just built on this command line, or HEAD's commit)")
]
Dockerfile = Annotated[str | None, Flag("The Dockerfile, from the project's root (Dockerfile)")]
BuildContext = Annotated[str | None, Flag("The build context, from the project's root (.)")]
IMAGE = ("image_tag", "dockerfile", "build_context")
"""The flags of an image that every build has, in the cluster or on this machine."""
BuildArg = Annotated[
    list[str] | None,
    Flag("A build arg: KEY=VALUE, or KEY with its value from the shell or .env; repeatable", repeatable=True),
]
Platform = Annotated[str | None, Flag("The image's platform, or several separated by commas (linux/amd64)")]
AllowSecretsInContext = Annotated[bool, Flag("Build although .env or .deploy may get into the image")]

# How a build in the cluster is started and waited for.
Timeout = Annotated[float | None, Flag("Seconds to wait for the build (1800)")]
Cache = Annotated[bool, Flag("Whether the build may use the builder's cache")]
Wait = Annotated[bool, Flag("Whether to wait; if not, `invoke wait` picks up the build")]
AllowUnpushed = Annotated[bool, Flag("Build a commit even if no remote branch is known to contain it")]
IfNeeded = Annotated[bool, Flag("Skip the build if the same commit is already built and still in the registry")]
Logs = Annotated[bool, Flag("Whether to show the build's log while waiting")]
Job = Annotated[str | None, Flag("The build job (the build in flight)")]
FollowLog = Annotated[bool, Flag("Print new lines as they come, until the build ends")]

# What is deployed, and how.
BuildId = Annotated[
    str | None,
    Flag("The digest to deploy, its first 12 digits or more, or 7 or more of its commit (the recorded one)"),
]
From = Annotated[str | None, Flag("The environment to take the running digest from")]
Back = Annotated[int | None, Flag("How many deploys to go back (1)")]
Port = Annotated[int | None, Flag("The port the app listens on")]
Replicas = Annotated[int | None, Flag("How many replicas run (the API's default)")]
Domain = Annotated[list[str] | None, Flag("A domain the app is reached at; repeatable", repeatable=True)]
HealthPath = Annotated[str | None, Flag("A path that answers 2xx once the app is healthy")]
Tls = Annotated[bool | None, Flag("Whether the domains are served over TLS", switch=True)]
Env = Annotated[
    list[str] | None,
    Flag("A variable of the app: KEY=VALUE, or KEY with its value from the shell or .env; repeatable", repeatable=True),
]
HOW_IT_RUNS = ("port", "replicas", "domain", "health_path", "tls", "env")
"""The flags that say how the app runs."""
Follow = Annotated[bool, Flag("Whether to wait until all replicas are ready")]
RolloutTimeout = Annotated[float | None, Flag("Seconds to wait until the deployed app is ready (300)")]
CheckHealth = Annotated[bool, Flag("Also wait until https://DOMAIN/HEALTH_PATH answers 2xx")]
FOLLOWED = ("follow", "rollout_timeout", "check_health")
"""The flags that say how long a deploy waits for the app."""

# history
OnlyEnvironment = Annotated[str | None, Flag("Only what was built or deployed in this environment", short="E")]
Limit = Annotated[int | None, Flag("How many lines (20)")]
JsonLines = Annotated[bool, Flag("Print one JSON object per line")]

# sandbox
SandboxPort = Annotated[int | None, Flag("The port to listen on; 0 takes a free one (8077)")]
Host = Annotated[str, Flag("The address to listen on (127.0.0.1)")]
SandboxRegistry = Annotated[str | None, Flag("Another registry, host:port, instead of the sandbox's own")]
Builder = Annotated[str, Flag("archive (packs the files, runs no RUN) or docker (archive)")]
Key = Annotated[str | None, Flag("The API key that clients must send (a random one)")]
Data = Annotated[str | None, Flag("A folder to keep images in (a temporary one)")]
BuildSeconds = Annotated[float | None, Flag("The minimum duration of a build, in seconds (0)")]
ReplicaSeconds = Annotated[float | None, Flag("Seconds until each replica is ready (0.2)")]
FailRollout = Annotated[bool, Flag("Fail every rollout: new replicas never become ready")]
Minimal = Annotated[bool, Flag("Serve only what the API's specification defines")]


class Options(TypedDict, total=False):
    """The flags of one call, as the commands read them. The commands read flags that are also settings from
    `Settings`."""

    app: App
    environment: Environment
    json: Json
    jobs: Jobs
    yes: Yes
    build_arg: BuildArg
    allow_secrets_in_context: AllowSecretsInContext
    cache: Cache
    wait: Wait
    allow_unpushed: AllowUnpushed
    logs: Logs
    job: Job
    build_id: BuildId
    from_: From
    back: Back
    env: Env
    follow: Follow
    check_health: CheckHealth
