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

from ..app_class import APP_CLASSES, DEFAULT_APP_CLASS
from ..errors import SettingsError
from ..redaction import keep_secret
from . import values as parsing
from .sources import Origin, Source


class Settings:
    """What a task works with. A value that nobody gave is None; `origins` says where each of the others is from. Its
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
    origins: Mapping[str, Origin]
    flags: frozenset[str]
    """The settings that the task has a flag for."""
    variables: Mapping[str, str]
    """The environment, and what the `.env` files have beyond it. An empty variable is not set, so it is not in here."""
    empty_variables: frozenset[str]
    """The names that are there without a value, for messages."""
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
        unvalued = [name for name in dict.fromkeys(unvalued) if name not in given]
        is_cloned_from_here = all(self.origins[key].source is Source.GIT for key in ("repo_url", "git_ref"))
        needs_files = "files" in needs or ("cloned_files" in needs and is_cloned_from_here)
        wrong_files = self.wrong_files() if needs_files else ()
        parts = [f"{said}; name another with {self._way(key)}" for key, said in wrong_files]
        if unset:
            parts.append(f"not set: {', '.join(map(self.ways_to_set, unset))}")
        if unvalued:
            parts.append(f"no value for {', '.join(map(self._named, unvalued))}")
        if (unset or unvalued) and self.env_file and self.env_file not in self.env_files:
            parts.append(f"there is no env_file at {_env_path(self.root, self.env_file)}")
        if unvalued or any(row.key in OF_ALL_APPS for row in unset):
            parts.append("put variables into the environment or into .env at the project's root")
        if parts:
            raise SettingsError(f"{'; '.join(parts)}")
        return getattr(self, needs[0])

    def ways_to_set(self, row: Setting) -> str:
        """How to give the value of a setting that has none."""
        if self.name is not None and row.key not in OF_ALL_APPS:
            flag = f"{row.flag} or " if row.key in self.flags else ""
            return f"{flag}deploy.apps.{self.name}.{row.key} in invoke.yaml"
        ways = [*([row.flag] if row.key in self.flags else []), self._named(row.variable)]
        if row.key in _SAME_FOR_EVERYBODY:
            ways.append(f"{row.key} under deploy: in invoke.yaml")
        return " or ".join(ways)

    def _way(self, key: str) -> str:
        return f"deploy.apps.{self.name}.{key}" if self.name else f"--{key.replace('_', '-')}"

    def _named(self, variable: str) -> str:
        return f"{variable} (it is empty)" if variable in self.empty_variables else variable

    def _unvalued(self, key: str) -> list[str]:
        return [name for name in getattr(self, key) if name not in self.variables]

    def wrong_files(self) -> Iterator[tuple[str, str]]:
        """The keys of the Dockerfile and of the build context that cannot be built from, each with why."""
        file, context = self.root / self.dockerfile, self.root / self.build_context
        if not _is(stat.S_ISREG, file):
            yield "dockerfile", f"there is no Dockerfile at {file}"
        elif not os.access(file, os.R_OK):
            yield "dockerfile", f"the Dockerfile {file} cannot be read"
        if not _is(stat.S_ISDIR, context):
            yield "build_context", f"the build context {context} is not a folder"
        elif not os.access(context, os.R_OK | os.X_OK):
            yield "build_context", f"the build context {context} cannot be read"

    @property
    def configured_environment(self) -> dict[str, str]:
        """What the configuration gives the app for its environment. The names that need a value have one by now."""
        named = [*self.env_from_optional, *self.env_from]
        return {**self.env, **{name: self.variables[name] for name in named if name in self.variables}}

    def is_by_flag(self, key: str) -> bool:
        """Whether the value of `key` is that of the call's own flag."""
        return self.origins[key].source is Source.FLAG

    def given(self, key: str) -> Any:
        """The value of `key` if somebody chose it, None if it was made up: what a request may leave to the server."""
        return None if self.origins[key].source >= Source.RECORD else getattr(self, key)

    @property
    def secrets(self) -> list[str]:
        """The kit's own secrets, to be redacted on every way out."""
        return [value for row in TABLE if row.secret and (value := getattr(self, row.key))]

    def secrets_among(self, values: Mapping[str, str]) -> list[str]:
        """The names in `values` that carry a secret of the deploy: a name that is a secret's own, or the value of one,
        whatever it is called."""
        names = {f"{prefix}{row.variable}" for row in TABLE if row.secret for prefix in ("", "INVOKE_")}
        places = (self.variables, *self.env_files.values())
        secrets = {*self.secrets, *(has[name] for has in places for name in names if has.get(name))}
        return [name for name, value in values.items() if name in names or value in secrets]

    def values_of(self, names: Iterable[str], what: str) -> dict[str, str]:
        """The variables `names`, from the environment or the `.env` files. SettingsError names all that are missing,
        as `what`."""
        missing = [name for name in names if name not in self.variables]
        if missing:
            empty = next((name for name in missing if name in self.empty_variables), None)
            hint = f", or {empty}= for an empty value" if empty else ""
            raise SettingsError(
                f"{what} {', '.join(map(self._named, missing))} has no value: give KEY=VALUE{hint}, or set it in the "
                "environment or in .env"
            )
        return {name: self.variables[name] for name in names}

    def secret_values_of(self, names: Iterable[str]) -> list[str]:
        """The values of the variables `names`: what is given by name is not to be shown. What a plain setting holds, a
        namespace say, is no secret, and commands to run could not be read without it."""
        plain = {text for row in TABLE if not row.secret for text in _texts(getattr(self, row.key))}
        values = (self.variables.get(name, "") for name in names)
        return [value for value in values if value and not any(value in text for text in plain)]

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
        holders = (name for name, has in self.env_files.items() if any(has.get(variable) for variable in secret))
        paths = [_env_path(self.root, name) for name in holders]
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
    what the checkout knows, asked only for what nobody gave. The project's root is `folder`, or what is found from the
    current folder up. Raises SettingsError.
    """
    root = folder or project_root(Path.cwd())
    own = own or {}
    configured = {row.key: _only_configured(row, name, own, config) for row in CONFIGURED}
    files = env_files(root, environ.get("DEPLOY_ENV_FILE"), configured["env_file"])
    keep_secrets_of(environ, *files.values(), config)
    recorded: Mapping[str, object] = {}
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for row in TABLE:
        found = [
            (Origin(Source.FLAG, row.flag), flags.get(row.key)),
            (Origin(Source.APP, f"deploy.apps.{name}.{row.key}"), own.get(row.key)),
            (Origin(Source.VARIABLE, row.variable), environ.get(row.variable)),
            *((Origin(Source.ENV_FILE, row.variable, file), has.get(row.variable)) for file, has in files.items()),
            (Origin(Source.CONFIG, f"deploy.{row.key}"), _configured(config, row.key, environ)),
            (Origin(Source.RECORD), recorded.get(row.key)),
        ]
        origin, value = next(
            ((origin, value) for origin, value in found if is_given(value)), (Origin(Source.GIT), None)
        )
        if value is None and git and row.key in git:
            value = git[row.key]()
        if value is None:
            origin, value = Origin(Source.DEFAULT), row.default
        values[row.key] = None if value is None else _parsed(row, value, origin)
        origins[row.key] = origin
        if row.key == "state_file":
            values["state_file"] = _state_file(root / values["state_file"], name)
            recorded = record(values["state_file"]) if record else {}
        if row.key == "app" and recorded.get("app") not in (None, values["app"]):
            recorded = {}  # another app's record says nothing about this one
    _make_up(values, origins, recorded)
    if origins["port"].source < (Source.APP if "ports" in own else Source.CONFIG):
        configured["ports"] = ()  # the port comes from a stronger source than they do
    given = [{key: value for key, value in has.items() if value} for has in (environ, *files.values())]
    return Settings(
        name=name,
        root=root,
        origins=origins,
        flags=frozenset(flags),
        variables=ChainMap(*given),
        empty_variables=frozenset(key for has in (environ, *files.values()) for key, value in has.items() if not value),
        env_files=files,
        **values,
        **configured,
    )


def keep_secrets_of(*sources: Mapping[str, object]) -> None:
    """Redacts from now on what these sources have for the kit's own secrets: before anything of them is parsed, since
    the error of another setting may quote it."""
    names = [name for row in TABLE if row.secret for name in (row.key, row.variable, f"INVOKE_{row.variable}")]
    keep_secret(str(source.get(name) or "") for source in sources for name in names)


def _state_file(path: Path, name: str | None) -> Path:
    """Where the record of the app `name` of the table is kept; `path` is that of the only app."""
    return path if name is None else path.with_name(f"{path.stem}.{name}{path.suffix or '.json'}")


def _make_up(values: dict[str, Any], origins: dict[str, Origin], recorded: Mapping[str, object]) -> None:
    """Settles what follows from other settings where nobody gave it."""
    is_recorded = origins["namespace"].source is Source.RECORD
    if is_recorded and values["app_class"] != (recorded.get("app_class") or DEFAULT_APP_CLASS):
        values["namespace"] = None  # another class than that of the recorded build has another place
    if values["namespace"] is None:
        values["namespace"], origins["namespace"] = (
            APP_CLASSES[values["app_class"]],
            Origin(Source.DEFAULT, "app_class"),
        )
    if values["image_name"] is None:
        values["image_name"], origins["image_name"] = values["app"], Origin(Source.DEFAULT, "app")


def project_root(folder: Path) -> Path:
    """The project's root where Invoke loaded no tasks.py: the nearest folder, from `folder` up, that has tasks or
    settings of Invoke's, or a `.git`; `folder` itself where none has. Not one where another user put them, as anybody
    can into /tmp, unless `folder` is that user's too."""
    candidates = (folder, *folder.parents)
    marks = ("tasks.py", "tasks/__init__.py", "invoke.yaml", "invoke.yml", "invoke.json", ".git")
    owner = folder.stat().st_uid
    paths = ((place, place / mark) for place in candidates for mark in marks)
    return next((place for place, path in paths if status_of(path) and not is_of_another_user(path, owner)), folder)


def is_of_another_user(path: Path, *owners: int) -> bool:
    """Whether `path` belongs to somebody else than root, the user that runs this and `owners`."""
    return path.stat().st_uid not in (0, os.geteuid(), *owners)


def status_of(path: Path) -> os.stat_result | None:
    """What `stat` says of `path`; None where nothing is there. SettingsError where that cannot be found out: in another
    user's folder, with a name that is too long, in a loop of links."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # ValueError: a NUL in it
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> SettingsError:
    return SettingsError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error})")


def _is(kind: Callable[[int], bool], path: Path) -> bool:
    status = status_of(path)
    return status is not None and kind(status.st_mode)


def env_files(root: Path, named: str | None, of_app: str | None = None) -> dict[str, Mapping[str, str]]:
    """The `.env` files that count, strongest first, each by its name with its values; `os.environ` is left alone.

    `of_app` is one app's own, before the others, and is passed over where it is not there; `named` (DEPLOY_ENV_FILE)
    takes the place of `.env.local` and `.env` at the project's root.
    """
    names = [*([of_app] if of_app else []), *([named] if named else [".env.local", ".env"])]
    read = {name: _read_env_file(_env_path(root, name)) for name in names}
    if named and read[named] is None:
        raise SettingsError(f"DEPLOY_ENV_FILE names {named}, which is not there")
    return {name: values for name, values in read.items() if values is not None}


def _env_path(root: Path, name: str) -> Path:
    return root / os.path.expanduser(name)  # noqa: PTH111 - leaves an unknown user's folder as it is


def _read_env_file(path: Path) -> Mapping[str, str] | None:
    """The variables in the file, the empty ones too; None where there is no file."""
    # Parsed and never loaded: a loaded .env has set HTTPS_PROXY, DOCKER_HOST and LD_PRELOAD. Without interpolation,
    # which eats ${…} even in single quotes. A parse warning is an error, since a dropped key goes unnoticed.
    from dotenv.parser import parse_stream

    status = status_of(path)
    if status is None and not path.is_symlink():
        return None
    if status and not stat.S_ISREG(status.st_mode):
        raise SettingsError(f"{path} is not a regular file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise _unreadable(path, error) from error
    except UnicodeDecodeError:
        # Not from the cause: it holds the whole file.
        raise SettingsError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    values = {}
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            # The statement itself may hold a secret, so only its place is told.
            raise SettingsError(f"{path}, line {binding.original.line}: not KEY=value (a quote that is not closed?)")
        if binding.key is not None:
            values[binding.key] = binding.value or ""
    return values


def check_known(config: Mapping[str, object], path: str = "deploy") -> None:
    """SettingsError where the configuration has a key under `path` that is no setting (of one app alone)."""
    known = [row.key for row in (*TABLE, *CONFIGURED)]
    known += ["apps", "domains"]
    for key in config:
        if path != "deploy" and key in OF_ALL_APPS:
            raise SettingsError(f"configuration {path}.{key} is of all apps: put it under deploy")
        if key not in known or (key == "apps" and path != "deploy"):
            said = parsing.unknown("setting", f"{path}.{key}", [f"{path}.{name}" for name in known])
            raise SettingsError(f"configuration: {said}")


def _only_configured(row: Setting, name: str | None, own: Mapping[str, object], config: Mapping[str, object]) -> Any:
    of_app = Origin(Source.APP, f"deploy.apps.{name}.{row.key}")
    origin = of_app if row.key in own else Origin(Source.CONFIG, f"deploy.{row.key}")
    value = own.get(row.key, config.get(row.key))
    return origin.parsed(row.parse, value) if is_given(value) else row.default


def _configured(config: Mapping[str, object], key: str, environ: Mapping[str, str]) -> object:
    # Invoke reads INVOKE_DEPLOY_* only for keys that its configuration holds already, and ours are not put there: a
    # shallow merge at a developer's root collection would delete them.
    return config[key] if key in config else environ.get(f"INVOKE_DEPLOY_{key.upper()}")


def _texts(value: object) -> list[str]:
    """A setting's value, or the values of one that has several, as texts."""
    return list(map(str, value)) if isinstance(value, list | tuple) else [str(value)]


def is_given(value: object) -> bool:
    """Whether a source that has `value` gives one: None and what is empty are "not given"."""
    return value is not None and value not in ("", [], (), {})


def _parsed(row: Setting, value: object, origin: Origin) -> Any:
    if row.secret and origin.source is Source.FLAG:
        raise SettingsError(f"a secret has no flag, since a command line is no place for one: set {row.variable}")
    if isinstance(value, list | tuple | Mapping) and row.key not in _OF_SEVERAL:
        raise SettingsError(f"{origin}: that is one value, not a list or a table")
    return origin.parsed(row.parse, value)


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
    Setting(
        "app",
        parsing.app_or_apps,
        None,
        "the app's name in the cluster; unset: the repository's name, in a sub-folder that folder's",
    ),
    Setting(
        "namespace",
        parsing.label,
        None,
        "its namespace; unset: the app class decides (apps, non-business-apps)",
    ),
    Setting("image_name", parsing.image_name, None, "the repository in the registry; unset: the app's name"),
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
        parsing.image_tag,
        None,
        "the image's tag; unset: the commit (`build`), or `local-<UTC time>-<commit>[-dirty]-<random>` (`local`)",
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
_SAME_FOR_EVERYBODY = ("app", "port")
"""Settings that belong into a file that is committed: they do not depend on who deploys, and git does not know all."""
