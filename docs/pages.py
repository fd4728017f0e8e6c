"""Writes the pages of docs/ that say what the code says: the tasks with their flags, and the settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from invoke.parser.argument import Argument

from deploy_tasks.commands.init import example, written
from deploy_tasks.config.schema import SETTINGS, WITH_VARIABLE, Setting
from deploy_tasks.tasks import ns

_OF_THE_TARGET = ("app", "namespace", "image-name", "app-class", "jobs", "lock-timeout", "json")
_BY_ANOTHER_NAME = {"--build-args": "--build-arg"}
_SETTINGS = {_BY_ANOTHER_NAME.get(row.flag, row.flag) for row in WITH_VARIABLE}
_TASKS_HEAD = """# Tasks and flags

<!-- Written by `invoke pages`. -->

`invoke --help TASK` prints the same. A flag marked • is a [setting](settings.md), so it has other sources, too. What a
task is told of the target holds for the tasks after it on the same command line: [chains](guide.md#chains).

## The target's flags

Every task that has one of these means the same by it.
"""
_SETTINGS_HEAD = """# Settings

<!-- Written by `invoke pages`. -->

The first of these that has a value wins:

1. the task's flag
2. what an app has of its own in the selected [environment](#environments):
   `deploy.apps.<app>.environments.<environment>.<key>` in `invoke.yaml`
3. the environment: `deploy.environments.<environment>.<key>`
4. what [one of several apps](recipes/monorepo.md) has of its own: `deploy.apps.<app>.<key>`
5. a variable of the shell: `DEPLOY_<KEY>_<ENVIRONMENT>`, then `DEPLOY_<KEY>`
6. a variable in a `.env` file at the project's root, with the same two names: in the app's own `env_file`, then
   `.env.<environment>.local`, `.env.<environment>`, `.env.local`, `.env` (`DEPLOY_ENV_FILE`, in the shell, names
   another file in the place of the last two)
7. the Invoke configuration: `deploy.<key>` in `invoke.yaml`, `INVOKE_DEPLOY_<KEY>`, or what your tasks configure
8. the record of the last build, for the target of the tasks that start from it: all but `build`, `local`, `doctor`. A
   record that was made for another environment gives only the image's name
9. git: the app (the repository's name; in a sub-folder with its own `tasks.py` the folder's), the repository's URL,
   the commit
10. the default

The project's root is the folder whose `tasks.py` Invoke loaded; git is asked there, and only there. Where the current
folder is in another repository (a submodule, a vendored clone), every task ends with exit code 2. `deploy-tasks`,
which needs no `tasks.py`, takes the nearest folder, from the current one up, with a `tasks.py`, an `invoke.yaml`
(`.yml`, `.json`) or a `.git`. The `.env` files are read and never loaded into the shell's environment; a value is what
stands there, without `${…}` replaced. Secrets have no flag.

## Environments

An environment is a named cluster. It exists if the configuration lists it, even with nothing in it:

```yaml
deploy:
  app: shop
  port: 3000
  environments:
    staging:    {api_url: https://deploy.staging.example.com, replicas: 1}
    production: {api_url: https://deploy.example.com, replicas: 3, domain: shop.example.com, protected: true}
```

- **Which one**: `--environment NAME` (`-E`), else `DEPLOY_ENVIRONMENT` in the shell, else in the file of
  `DEPLOY_ENV_FILE` or in `.env.local` or `.env`, else `environment:` under `deploy:`. `DEPLOY_ENVIRONMENT=` (empty,
  in the shell) selects none. An empty `--environment` is an error, so that a variable that is missing in CI does
  not select the default. The tasks that follow on a command line keep the environment as they keep the app, until
  one names another.
- **What it may have**: every setting but `environment`; an app of several may have `environments` of its own,
  without the settings that are for all apps. `protected: true` asks before the first build or deploy of a command
  line (`--yes` where there is no terminal).
- **Its variables**: `DEPLOY_<KEY>_<NAME>`, in the shell and in each `.env` file, counts for that environment alone,
  so one CI job can hold `DEPLOY_API_KEY_STAGING` and `DEPLOY_API_KEY_PRODUCTION`. The name is in upper case, with
  `_` for `-`. A variable of the shell without a suffix counts for the selected environment only; `promote` and
  `status` do not use it for other environments, except for `DEPLOY_APP`: they look at the same app everywhere.
- **Its files**: `.env.<name>.local` and `.env.<name>`. So no environment can be called `local`, `example`,
  `sample`, `template` or `dist`, nor by a name that would make one variable mean two things, such as `username`
  (`DEPLOY_REGISTRY_USERNAME`).
- **Nothing leads to another cluster unseen.** With an environment, the API's address, its key, the registry and its
  login (`registry_username`, `registry_password`) are never taken from `.env`, `.env.local` or a general
  `env_file`, unless the variable has the suffix. A variable of the shell, or `DEPLOY_ENV_FILE`, that says another
  value than the environment, its files or the configuration is an error that names both, and nothing is sent. A
  variable with the suffix goes before `deploy.<key>`, which is for all environments. A variable is used if no other
  source has a value. `DEPLOY_ENV_FILE=.env.production` is an error unless `production` is selected. Without an
  environment, neither the shell nor a general `env_file` changes what the file of `DEPLOY_ENV_FILE` says of these.
  A file that `INVOKE_RUNTIME_CONFIG` names is configuration like `invoke.yaml`: it is not compared.
- **What is kept**: the record, the history and the build in flight say their environment. Each environment has a
  build in flight of its own; a recorded digest may be deployed to any. Commands that a message names have
  `--environment` in them.

[Several clusters](recipes/environments.md) shows it step by step.

## Empty variables

An empty variable counts as not set, in the shell and in a `.env` file; only `DEPLOY_ENVIRONMENT=` in the shell has
a meaning. A setting takes its value from the next source. `env_from`, `build_args_from` and `--env KEY` look for
the name in the next file, and fail if no file has a value. To give the app an empty value, write it out:
`--env KEY=`, or `env: {KEY: ""}`.

## Values in `invoke.yaml`

A value in a YAML file is the text that you write, with or without quotes: `NO`, `0755`, `1.10` and `12:30` stay as they
are. The same holds for `INVOKE_DEPLOY_<KEY>`. A whole number (`port`, `replicas`, `jobs`) has decimal digits only and
no leading zero: `010` and `1:30` are refused. In JSON and Python, put texts in quotes: a bool, a number with a
point or a date is refused where a text is needed. Put a name in quotes if YAML reads it as something else, as an
environment or app called `"no"`, `"on"` or `"1"`: Invoke itself fails on it otherwise.

## Paths and secrets

What the cluster clones is the repository, so `dockerfile` and `build_context` of `build` must lie inside it. An
`env_file` that does not exist is skipped; if a variable then has no value, the error names both. The app's variables
and build args may not carry a secret of the deploy (`DEPLOY_API_KEY`, `DEPLOY_REGISTRY_PASSWORD`, `DEPLOY_GIT_TOKEN`),
under any name. Errors show no user, password or query of a URL.

## With a variable

"""
_CONFIGURED_HEAD = """
## Only in the configuration

Tables and lists, under `deploy:` for all (or the only) app, under `deploy.apps.<name>:` for one, or in an environment.
What all of these have of `env`, `env_from`, `env_from_optional`, `build_args` and `build_args_from` goes together.
`domains` may stand for `domain`.

"""


def pages() -> dict[str, str]:
    """The text of every page that is written, by its name in docs/."""
    return {"tasks.md": _tasks_page(), "settings.md": _settings_page()}


def write(folder: Path) -> list[Path]:
    """Writes every page into `folder`, and `.env.example` beside it; returns their paths."""
    texts = {folder / name: text for name, text in pages().items()} | {folder.parent / ".env.example": example()}
    for path, text in texts.items():
        path.write_text(text)
    return list(texts)


def _tasks_page() -> str:
    common = {_name(flag): flag for flag in ns["build"].get_arguments() if _name(flag) in _OF_THE_TARGET}
    parts = [_TASKS_HEAD, *_table(common.values())]
    for name, aliases in ns.task_names.items():
        flags = ns[name].get_arguments()
        shared = [flag for flag in flags if _name(flag) in common and flag.help == common[_name(flag)].help]
        own = [flag for flag in flags if flag not in shared]
        parts += ["", f"## {name}", "", f"{ns[name].__doc__}"]
        parts += [f"\nAlso called `{alias}`." for alias in aliases]
        parts += [f"\nOf the target's flags: {', '.join(f'`--{_name(flag)}`' for flag in shared)}."] if shared else []
        parts += ["", *_table(own, are_settings=name != "sandbox")] if own else []
    return "\n".join(parts) + "\n"


def _table(flags: Iterable[Argument], *, are_settings: bool = True) -> Iterator[str]:
    yield "| flag | what it is |"
    yield "|---|---|"
    for flag in flags:
        mark = " •" if are_settings and f"--{_name(flag)}" in _SETTINGS else ""
        yield f"| `{_written_flag(flag)}`{mark} | {flag.help} |"


def _name(flag: Argument) -> str:
    return (flag.name or "").strip("_").replace("_", "-")


def _written_flag(flag: Argument) -> str:
    if flag.kind is bool:
        return f"--[no-]{_name(flag)}" if flag.default is True else f"--{_name(flag)}"
    return f"--{_name(flag)} VALUE"


def _settings_page() -> str:
    flags = {f"--{_name(flag)}" for name in ns.task_names if name != "sandbox" for flag in ns[name].get_arguments()}
    rows = [
        "| variable | flag | default | what it is |",
        "|---|---|---|---|",
        *(_row(row, flags) for row in WITH_VARIABLE),
    ]
    rows += [
        "| `DEPLOY_ENV_FILE` | | | another file in the place of `.env.local` and `.env`; only in the shell |",
        "| `DEPLOY_DEBUG` | | | `1` shows causes of errors and a log of HTTP exchanges; only in the shell |",
    ]
    only = [
        "| key | what it is |",
        "|---|---|",
        *(f"| `{row.key}` | {row.help} |" for row in SETTINGS if row.only_configured),
    ]
    of_all = ", ".join(f"`{row.key}`" for row in SETTINGS if row.is_global)
    last = f"\nOf all apps, so only under `deploy:` or in an environment there, and never under one app: {of_all}.\n"
    return _SETTINGS_HEAD + "\n".join(rows) + "\n" + _CONFIGURED_HEAD + "\n".join(only) + "\n" + last


def _row(row: Setting, flags: set[str]) -> str:
    default = written(row.default)
    flag = _BY_ANOTHER_NAME.get(row.flag, row.flag)
    cells = [f"`{row.variable}`", f"`{flag}`" if flag in flags else "", f"`{default}`" if default else ""]
    return f"| {' | '.join(cells)} | {'**secret**: ' if row.secret else ''}{row.help} |"
