"""Writes the pages of docs/ that say what the code says: the tasks with their flags, and the settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from invoke.parser.argument import Argument

from deploy_tasks.commands.init import example, written
from deploy_tasks.config.schema import SETTINGS, WITH_VARIABLE, Setting
from deploy_tasks.tasks import ns

_COMMON = ("app", "environment", "namespace", "image-name", "app-class", "jobs", "lock-timeout", "json")
_BY_ANOTHER_NAME = {"--build-args": "--build-arg"}
_SETTINGS = {_BY_ANOTHER_NAME.get(row.flag, row.flag) for row in WITH_VARIABLE}
_TASKS_HEAD = """# Tasks and flags

<!-- Written by `invoke pages`. -->

`invoke --help TASK` prints the same. A flag marked • is a [setting](settings.md), so it has other sources, too. The
tasks after one on the same command line keep its app and environment: [chains](guide.md#chains).

## Common flags

They mean the same in every task that has them.
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

An environment is a named cluster. It exists if the configuration lists it, even with nothing in it (`staging: {}`):

```yaml
deploy:
  app: shop
  port: 3000
  environments:
    staging:    {api_url: https://deploy.staging.example.com, replicas: 1}
    production: {api_url: https://deploy.example.com, replicas: 3, domain: shop.example.com, protected: true}
```

- **Which one**: `--environment NAME` (`-E NAME`), else `DEPLOY_ENVIRONMENT` in the shell, else in the file of
  `DEPLOY_ENV_FILE` or in `.env.local` or `.env`, else `environment:` under `deploy:`. `DEPLOY_ENVIRONMENT=` (empty,
  in the shell) selects none. An empty `--environment` is an error, so that a variable that is missing in CI does
  not select the default. On a command line, name it with the first task: the tasks after it keep it, until one
  names another.
- **Its settings**: every setting but `environment`. Each of several apps may have `environments` of its own, without
  the settings that are [for all apps](#only-in-the-configuration).
- **`protected: true`** can only stand in an environment. The first task of a command line that builds or deploys
  there shows its plan, and you must confirm it; without a terminal it needs `--yes`
  ([more](guide.md#protected-environments)).
- **Its variables**: `DEPLOY_<KEY>_<NAME>`, in the shell and in each `.env` file, counts for that environment alone,
  so one CI job can hold `DEPLOY_API_KEY_STAGING` and `DEPLOY_API_KEY_PRODUCTION`. The name is in upper case, with
  `_` for `-`. A variable of the shell without a suffix counts for the selected environment; `promote` and `status`
  do not use it for the others, except for `DEPLOY_APP`: they look at the same app everywhere.
- **Its files**: `.env.<name>.local` and `.env.<name>`. So no environment can be called `local`, `example`,
  `sample`, `template` or `dist`, nor by a name that would make one variable mean two things, such as `username`
  (`DEPLOY_REGISTRY_USERNAME`).
- **A leftover variable cannot redirect a deploy.** With an environment, the API's address and key, the registry and
  its login are never taken from `.env`, `.env.local` or a general `env_file`, unless the variable has the suffix. If a
  variable of the shell or the file of `DEPLOY_ENV_FILE` gives another value than the environment, its files or the
  configuration, that is an error that names both, and nothing is sent. If none of these has a value, the variable
  is used. A variable with the suffix may differ from `deploy.<key>`, which is for all environments. Without an
  environment, neither the shell nor a general `env_file` may change what the file of `DEPLOY_ENV_FILE` says of these
  settings. A file that `INVOKE_RUNTIME_CONFIG` names counts as configuration and is not compared.
- **`DEPLOY_ENV_FILE=.env.production`** is an error unless `production` is selected: use `--environment production`,
  which reads that file.
- **What is kept**: the record, the history and the build in flight say their environment. Each environment has a
  build in flight of its own. A recorded digest may be deployed to any environment. Commands that a message suggests
  have `--environment` in them.

Which file holds what:

| what | where | in git |
|---|---|---|
| an environment's address, registry, replicas, `protected` | `deploy.environments.<name>` in `invoke.yaml` | yes |
| its API key, and the login of its registry | `DEPLOY_API_KEY` and so on in `.env.<name>` (`chmod 600`) | no |
| the same in CI | variables of the shell with the suffix: `DEPLOY_API_KEY_<NAME>` | no |
| address, key and registry for work without an environment | `.env` | no |

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
point or a date is refused where a text is needed.

Put the name of an environment or app in quotes if YAML takes it for something else: `"no"`, `"on"`, `"1"`. Without
quotes, Invoke ends with a `TypeError`.

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
    common = {_name(flag): flag for flag in ns["build"].get_arguments() if _name(flag) in _COMMON}
    parts = [_TASKS_HEAD, *_table(common.values())]
    for name, aliases in ns.task_names.items():
        flags = ns[name].get_arguments()
        shared = [flag for flag in flags if _name(flag) in common and flag.help == common[_name(flag)].help]
        own = [flag for flag in flags if flag not in shared]
        parts += ["", f"## {name}", "", f"{ns[name].__doc__}"]
        parts += [f"\nAlso called `{alias}`." for alias in aliases]
        parts += [f"\nCommon flags: {', '.join(f'`--{_name(flag)}`' for flag in shared)}."] if shared else []
        parts += ["", *_table(own, are_settings=name not in ("sandbox", "history"))] if own else []
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
    return "".join(f"-{short}, " for short in flag.names[1:]) + f"--{_name(flag)} VALUE"


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
