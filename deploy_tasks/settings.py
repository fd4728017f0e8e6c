"""One frozen `Settings`, resolved in one place; every value knows where it came from.

Precedence: flag, environment, `.env.local`, `.env`, Invoke configuration (`deploy:` in invoke.yaml, `INVOKE_DEPLOY_*`),
the record, git, default. `None` and the empty string are "not given". What the configuration says of one app alone
(`deploy.apps.<name>.<key>`) comes right after the flag: the other sources speak for all apps. `TABLE` is the list of
settings: a key is `deploy.<key>` in the configuration, `DEPLOY_<KEY>` in the environment and, where a task has it, a
flag; `CONFIGURED` lists those that only the configuration has.
"""

from __future__ import annotations

import os
import stat
from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from . import images, parsing
from .errors import SettingsError
from .models import APP_CLASSES, DEFAULT_APP_CLASS

_SHORTEST_SECRET = 6


class Settings:
    """What a task works with. A value that nobody gave is None; `sources` says where each of the others is from. Its
    own text shows none of them."""

    name: str | None
    """The app's name in the table of apps; None where there is no such table."""
    root: Path
    state_file: Path
    api_url: str | None
    api_key: str | None
    api_timeout: float
    registry: str
    registry_username: str | None
    registry_password: str | None
    git_token: str | None
    app: str | None
    namespace: str
    image_name: str | None
    app_class: str
    port: int | None
    replicas: int | None
    domain: tuple[str, ...]
    health_path: str | None
    tls: bool
    ports: tuple[Mapping[str, Any], ...]
    metrics: Mapping[str, Any] | None
    env: Mapping[str, str]
    env_from: tuple[str, ...]
    env_from_optional: tuple[str, ...]
    env_file: str | None
    docker: str
    platform: str
    dockerfile: str
    build_context: str
    repo_url: str | None
    git_ref: str | None
    image_tag: str | None
    builder: str | None
    build_args: tuple[str, ...]
    build_args_from: tuple[str, ...]
    timeout: float
    rollout_timeout: float
    build_if_needed: bool
    lock_timeout: float
    jobs: int | None
    sources: Mapping[str, str]
    flags: frozenset[str]
    """The settings that the task has a flag for."""
    variables: Mapping[str, str]
    """The environment, and what the `.env` files have beyond it."""
    env_files: Mapping[str, Mapping[str, str]]
    """What each of the `.env` files has, by its name."""

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)

    def __setattr__(self, key: str, value: object) -> NoReturn:
        raise AttributeError(f"{key} is settled")

    def require(self, *needs: str, given: Collection[str] = ()) -> Any:
        """The value of the first of `needs`: keys of settings; `env_from`, `build_args_from` for what they name;
        `files` for the Dockerfile and the build context, `cloned_files` for those that the cluster clones from here.
        `given` are names with a value from elsewhere. SettingsError says all that is missing, and how to give it."""
        unset = [row for row in TABLE if row.key in needs and getattr(self, row.key) is None]
        unset = [row for row in unset if row.key != "port" or not self.ports]
        unvalued = [name for key in ("env_from", "build_args_from") if key in needs for name in self._unvalued(key)]
        unvalued = [name for name in unvalued if name not in given]
        parts = [
            *([f"not set: {', '.join(map(self._ways, unset))}"] if unset else []),
            *([f"no value for {', '.join(dict.fromkeys(unvalued))}"] if unvalued else []),
        ]
        if unvalued or any("DEPLOY_" in self._ways(row) for row in unset):
            parts.append("put variables into the environment or into .env at the project's root")
        is_cloned_from_here = self.sources["repo_url"] == self.sources["git_ref"] == "git"
        parts = [*self._missing_files("files" in needs or ("cloned_files" in needs and is_cloned_from_here)), *parts]
        if parts:
            raise SettingsError(f"{'; '.join(parts)}; nothing was sent")
        return getattr(self, needs[0])

    def _ways(self, row: Setting) -> str:
        if self.name is not None and row.key not in OF_ALL_APPS:
            flag = f"{row.flag} or " if row.key in self.flags else ""
            return f"{flag}deploy.apps.{self.name}.{row.key} in invoke.yaml"
        return f"{row.flag} or {row.variable}" if row.key in self.flags else row.variable

    def _unvalued(self, key: str) -> list[str]:
        return [name for name in getattr(self, key) if not self.variables.get(name)]

    def _missing_files(self, to_build: bool) -> Iterator[str]:
        if self.env_file is not None and not _env_path(self.root, self.env_file).exists():
            yield f"there is no env_file at {self.root / self.env_file}"
        file, context = self.root / self.dockerfile, self.root / self.build_context
        own = f"deploy.apps.{self.name}." if self.name else ""
        if to_build and not file.is_file():
            yield f"there is no Dockerfile at {file}; name another with {f'{own}dockerfile' if own else '--dockerfile'}"
        if to_build and not context.is_dir():
            name = f"{own}build_context" if own else "--build-context"
            yield f"the build context {context} is not a folder; name one with {name}"

    @property
    def configured_environment(self) -> dict[str, str]:
        """What the configuration gives the app for its environment. The names that need a value have one by now."""
        named = [*self.env_from_optional, *self.env_from]
        return {**self.env, **{name: self.variables[name] for name in named if self.variables.get(name)}}

    def is_by_flag(self, key: str) -> bool:
        """Whether the value of `key` is that of the call's own flag."""
        return self.sources[key].startswith("flag")

    def given(self, key: str) -> Any:
        """The value of `key` if somebody chose it, None if it was made up: what a request may leave to the server."""
        return None if self.sources[key].startswith(("default", "git", "the record")) else getattr(self, key)

    @property
    def secrets(self) -> list[str]:
        """Every secret value, to be redacted on every way out: also what the app gets from the environment by name."""
        own = [value for row in TABLE if row.secret and (value := getattr(self, row.key))]
        return [*own, *self.secret_values_of((*self.env_from, *self.env_from_optional))]

    def values_of(self, names: Iterable[str], what: str) -> dict[str, str]:
        """The variables `names`, from the environment or the `.env` files. SettingsError names all that are missing,
        as `what`."""
        missing = [name for name in names if name not in self.variables]
        if missing:
            raise SettingsError(
                f"{what} {', '.join(missing)} has no value: give KEY=VALUE, or set it in the environment or in .env; "
                "nothing was sent"
            )
        return {name: self.variables[name] for name in names}

    def secret_values_of(self, names: Iterable[str]) -> list[str]:
        """The values of the variables `names`: what is given by name is not to be shown. A short one is a port or a
        switch, and redacting it would blot out half of every line."""
        return [value for name in names if len(value := self.variables.get(name, "")) >= _SHORTEST_SECRET]

    def misspelt(self) -> Iterator[str]:
        """What to say of each `DEPLOY_*` variable that is no setting and looks like one."""
        known = {*(row.variable for row in TABLE), "DEPLOY_ENV_FILE"}
        keys = [name.removeprefix("DEPLOY_") for name in known]
        for name in sorted(self.variables):
            if not name.startswith("DEPLOY_") or name in known:
                continue
            # Others have variables of this kind, too, so it must be very much like one.
            if key := parsing.nearest(name.removeprefix("DEPLOY_"), keys, likeness=0.8):
                yield f"{name} is no setting; did you mean DEPLOY_{key}?"

    @property
    def secret_files_others_can_read(self) -> list[Path]:
        """The `.env` files with a secret in them that the file's group or everybody may read."""
        secret = {row.variable for row in TABLE if row.secret}
        paths = [_env_path(self.root, name) for name, content in self.env_files.items() if secret & content.keys()]
        return [path for path in paths if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)]


class Setting(NamedTuple):
    """One row of the table. `parse` takes the text (or, from Python and YAML, the value) and raises SettingsError."""

    key: str
    parse: Callable[[Any], Any]
    default: Any
    reason: str
    secret: bool = False
    """Secrets have no flag."""

    @property
    def variable(self) -> str:
        return f"DEPLOY_{self.key.upper()}"

    @property
    def flag(self) -> str:
        return f"--{self.key.replace('_', '-')}"


def resolve(
    flags: Mapping[str, object],
    *,
    config: Mapping[str, object],
    name: str | None = None,
    own: Mapping[str, object] | None = None,
    environ: Mapping[str, str] = os.environ,
    folder: Path | None = None,
    record: Callable[[Path], Mapping[str, object]] | None = None,
    git: Mapping[str, Callable[[], str | None]] | None = None,
) -> Settings:
    """Settles every setting once.

    `flags` are this call's, by key; `config` is the `deploy` part of the Invoke configuration, without its apps; `name`
    and `own` are an app's name and entry there; `record` tells what an earlier build left in a state file, and `git`
    what the checkout knows, asked only for what nobody gave. The project's root is looked for from `folder` up, the
    current one unless given. Raises SettingsError.
    """
    root = project_root(folder or Path.cwd())
    own = own or {}
    configured = {row.key: _only_configured(row, name, own, config) for row in CONFIGURED}
    files = env_files(root, environ.get("DEPLOY_ENV_FILE"), configured["env_file"])
    recorded: Mapping[str, object] = {}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for row in TABLE:
        found = [
            (f"flag {row.flag}", flags.get(row.key)),
            (f"configuration deploy.apps.{name}.{row.key}", own.get(row.key)),
            (f"environment {row.variable}", environ.get(row.variable)),
            *((f"{file} {row.variable}", content.get(row.variable)) for file, content in files.items()),
            (f"configuration deploy.{row.key}", _configured(config, row.key, environ)),
            ("the record", recorded.get(row.key)),
        ]
        source, value = next(((source, value) for source, value in found if is_given(value)), ("git", None))
        if value is None and git and row.key in git:
            value = git[row.key]()
        if value is None:
            source, value = "default", row.default
        values[row.key] = None if value is None else _parsed(row, value, source)
        sources[row.key] = source
        if row.key == "state_file":
            values["state_file"] = _state_file(root / values["state_file"], name)
            recorded = record(values["state_file"]) if record else {}
        if row.key == "app" and recorded.get("app") not in (None, values["app"]):
            recorded = {}  # another app's record says nothing about this one
    _make_up(values, sources, recorded)
    if sources["port"].startswith("flag") or ("ports" not in own and sources["port"] != "default"):
        configured["ports"] = ()  # the port comes from a stronger source than they do
    return Settings(
        name=name,
        root=root,
        sources=sources,
        flags=frozenset(flags),
        variables=ChainMap(dict(environ), *map(dict, files.values())),
        env_files=files,
        **values,
        **configured,
    )


def _state_file(path: Path, name: str | None) -> Path:
    """Where the record of the app `name` of the table is kept; `path` is that of the only app."""
    return path if name is None else path.with_name(f"{path.stem}.{name}{path.suffix or '.json'}")


def _make_up(values: dict[str, Any], sources: dict[str, str], recorded: Mapping[str, object]) -> None:
    """Settles what follows from other settings where nobody gave it."""
    if sources["namespace"] == "the record" and values["app_class"] != (recorded.get("app_class") or DEFAULT_APP_CLASS):
        values["namespace"] = None  # another class than that of the recorded build has another place
    if values["namespace"] is None:
        values["namespace"], sources["namespace"] = APP_CLASSES[values["app_class"]], "default of app_class"
    if values["image_name"] is None:
        values["image_name"], sources["image_name"] = values["app"], "default of app"


def project_root(folder: Path) -> Path:
    """The nearest folder, from `folder` up, that has tasks of Invoke's or a `.git`; `folder` itself where none has. Not
    one where another user put them, as anybody can into /tmp, unless `folder` is that user's too."""
    candidates = (folder, *folder.parents)
    marks = ("tasks.py", "tasks/__init__.py", ".git")
    owner = folder.stat().st_uid
    paths = ((place, place / mark) for place in candidates for mark in marks)
    own = (place for place, path in paths if path.exists() and not is_of_another_user(path, owner))
    return next(own, folder)


def is_of_another_user(path: Path, *owners: int) -> bool:
    """Whether `path` belongs to somebody else than root, the user that runs this and `owners`."""
    return path.stat().st_uid not in (0, os.geteuid(), *owners)


def env_files(root: Path, named: str | None, of_app: str | None = None) -> dict[str, Mapping[str, str]]:
    """The `.env` files that count, strongest first, each by its name with its values; `os.environ` is left alone.

    `of_app` is one app's own, before the others, and is passed over where it is not there; `named` (DEPLOY_ENV_FILE)
    takes the place of `.env.local` and `.env` at the project's root.
    """
    first = {of_app: _env_path(root, of_app)} if of_app else {}
    if named and not _env_path(root, named).exists():
        raise SettingsError(f"DEPLOY_ENV_FILE names {named}, which is not there; nothing was sent")
    others = [named] if named else [".env.local", ".env"]
    paths = {**first, **{name: _env_path(root, name) for name in others}}
    return {name: _read_env_file(path) for name, path in paths.items() if path.exists() or path.is_symlink()}


def _env_path(root: Path, name: str) -> Path:
    return root / os.path.expanduser(name)  # noqa: PTH111 - leaves an unknown user's folder as it is


def _read_env_file(path: Path) -> Mapping[str, str]:
    # Parsed and never loaded: a loaded .env has set HTTPS_PROXY, DOCKER_HOST and LD_PRELOAD. Without interpolation,
    # which eats ${…} even in single quotes. A parse warning is an error, since a dropped key goes unnoticed.
    from dotenv.parser import parse_stream

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SettingsError(f"{path} is not a regular file; nothing was sent")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}); nothing was sent") from error
    except UnicodeDecodeError:
        # Not from the cause: it holds the whole file.
        raise SettingsError(f"{path} is not UTF-8 text; save it as UTF-8; nothing was sent") from None
    values = {}
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            # The statement itself may hold a secret, so only its place is told.
            raise SettingsError(
                f"{path}, line {binding.original.line}: not KEY=value (a quote that is not closed?); nothing was sent"
            )
        if binding.key is not None and binding.value:
            values[binding.key] = binding.value
    return values


def check_known(config: Mapping[str, object], path: str = "deploy") -> None:
    """SettingsError where the configuration has a key under `path` that is no setting (of one app alone)."""
    known = [row.key for row in (*TABLE, *CONFIGURED)]
    known += ["apps", "domains"]
    for key in config:
        if path != "deploy" and key in OF_ALL_APPS:
            raise SettingsError(f"configuration {path}.{key} is of all apps: put it under deploy; nothing was sent")
        if key not in known or (key == "apps" and path != "deploy"):
            said = parsing.unknown("setting", f"{path}.{key}", [f"{path}.{name}" for name in known])
            raise SettingsError(f"configuration: {said}; nothing was sent")


def _only_configured(row: Setting, name: str | None, own: Mapping[str, object], config: Mapping[str, object]) -> Any:
    source = f"configuration deploy.apps.{name}.{row.key}" if row.key in own else f"configuration deploy.{row.key}"
    value = own.get(row.key, config.get(row.key))
    try:
        return row.parse(value) if is_given(value) else row.default
    except SettingsError as error:
        raise SettingsError(f"{source}: {error}; nothing was sent") from error


def _configured(config: Mapping[str, object], key: str, environ: Mapping[str, str]) -> object:
    # Invoke reads INVOKE_DEPLOY_* only for keys that its configuration holds already, and ours are not put there: a
    # shallow merge at a developer's root collection would delete them.
    return config[key] if key in config else environ.get(f"INVOKE_DEPLOY_{key.upper()}")


def is_given(value: object) -> bool:
    """Whether a source that has `value` gives one: None and what is empty are "not given"."""
    return value is not None and value not in ("", [], (), {})


def _parsed(row: Setting, value: object, source: str) -> Any:
    if row.secret and source.startswith("flag"):
        raise SettingsError(f"a secret has no flag, since a command line is no place for one: set {row.variable}")
    if isinstance(value, list | tuple | Mapping) and row.key not in _OF_SEVERAL:
        raise SettingsError(f"{source}: that is one value, not a list or a table; nothing was sent")
    try:
        # What YAML takes for a number or for true is a word here.
        return row.parse(value if isinstance(value, list | tuple | Mapping) else parsing.as_text(value))
    except SettingsError as error:
        raise SettingsError(f"{source}: {error}; nothing was sent") from error


_OF_SEVERAL = ("domain", "build_args")
TABLE = (
    Setting(
        "state_file", parsing.file_path, ".deploy/build-id.json", "where the digest is kept, from the project's root"
    ),
    Setting("api_url", parsing.api_url, None, "where the Deploy API answers: https, or http on this machine"),
    Setting("api_key", parsing.api_key, None, "what the API knows you by (header X-API-Key)", secret=True),
    Setting("api_timeout", parsing.seconds, 30.0, "seconds one request may take"),
    Setting(
        "registry",
        parsing.registry_host,
        "registry.kubernetes.crianex.com",
        "the registry that images are pushed to and deployed from",
    ),
    Setting(
        "registry_username",
        parsing.printable,
        None,
        "given with the password, `local` logs the engine in; unset: the engine's own credentials are used",
    ),
    Setting("registry_password", parsing.secret, None, "goes to the engine over stdin", secret=True),
    Setting("git_token", parsing.secret, None, "lets the cluster clone a private repository", secret=True),
    Setting("app", parsing.app_or_apps, None, "the app's name in the cluster; unset: the repository's name"),
    Setting("namespace", images.label, None, "its namespace; unset: the app class decides (apps, non-business-apps)"),
    Setting("image_name", images.image_name, None, "the repository in the registry; unset: the app's name"),
    Setting("app_class", parsing.app_class, DEFAULT_APP_CLASS, "which nodes run it: business or non-business"),
    Setting("port", parsing.whole_number("a port", 1, 65535), None, "the port the app listens on; `reuse` needs it"),
    Setting(
        "replicas",
        parsing.whole_number("a number of replicas", 0, 1000),
        None,
        "how many replicas run; unset: the API's own default",
    ),
    Setting("domain", parsing.domains, (), "where the app is reached; several with commas between them, wildcards too"),
    Setting("health_path", parsing.path_on_site, None, "a path that answers 2xx once the app is well"),
    Setting("tls", parsing.switch, True, "whether the domains are served over TLS"),
    Setting("docker", parsing.not_a_flag, "docker", "the container engine's program: docker or podman"),
    Setting(
        "platform",
        parsing.platforms,
        "linux/amd64",
        "the cluster's platform; several with commas between them: an index of all is pushed",
    ),
    Setting("dockerfile", parsing.not_a_flag, "Dockerfile", "the Dockerfile, from the project's root"),
    Setting(
        "build_context",
        parsing.not_a_flag,
        ".",
        "the build context, from the project's root; a sub-folder for monorepos",
    ),
    Setting("repo_url", parsing.repo_url, None, "what the cluster clones; unset: the git remote, as https"),
    Setting("git_ref", parsing.not_a_flag, None, "what the cluster checks out; unset: the commit of HEAD"),
    Setting(
        "image_tag",
        images.tag,
        None,
        "the image's tag; unset: the commit (`build`), or `local-<UTC time>-<commit>[-dirty]` (`local`)",
    ),
    Setting(
        "builder",
        parsing.not_a_flag,
        None,
        "a buildx builder for `local`: remote, on Kubernetes, or of several platforms",
    ),
    Setting(
        "build_args",
        parsing.build_args,
        (),
        "of `local`: KEY=VALUE, or KEY with its value from the environment or `.env`; several with commas between them",
    ),
    Setting("timeout", parsing.seconds, 1800.0, "seconds to wait for a build"),
    Setting("rollout_timeout", parsing.seconds, 300.0, "seconds for what was deployed to come up"),
    Setting("build_if_needed", parsing.switch, False, "whether `build` leaves out what is built already"),
    Setting(
        "lock_timeout",
        parsing.seconds_or_zero,
        0.0,
        "seconds to wait for another run of this checkout to end; 0: it is refused at once",
    ),
    Setting(
        "jobs",
        parsing.whole_number("a number of apps", 1, 1000),
        None,
        "how many of several apps at once; unset: 12, builds by the engine here 2",
    ),
)
CONFIGURED = (
    Setting("env", parsing.environment, {}, "the app's environment: names and values"),
    Setting("env_from", parsing.variable_names, (), "names for it, with their values from the environment or `.env`"),
    Setting("env_from_optional", parsing.variable_names, (), "names for it that may have no value"),
    Setting("env_file", parsing.file_path, None, "a `.env` file of the app's own, before the root's"),
    Setting("build_args_from", parsing.variable_names, (), "of `local`: build args, with values as `env_from`"),
    Setting("ports", parsing.ports, (), "several ports, in place of `port`: a list of tables with `port` and `name`"),
    Setting("metrics", parsing.metrics, None, "where metrics are read: `port`, `path`, `scrape_interval`, `scheme`"),
)
"""What has no flag and no variable, since it is a table or a list."""
OF_ALL_APPS = {
    *("state_file", "api_url", "api_key", "api_timeout", "registry", "registry_username", "registry_password"),
    *("git_token", "docker", "lock_timeout", "jobs"),
}
"""Settings that an entry under `deploy.apps` may not have: they hold for the whole checkout."""
