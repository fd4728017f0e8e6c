"""`doctor`: checks everything that a build and a deploy need. It changes and builds nothing, and logs in nowhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import partial
from typing import NamedTuple

from invoke.context import Context

from ..api.transport import look
from ..config.apps import ALL
from ..config.schema import WITH_VARIABLE
from ..config.sources import CONFIGURED
from ..engine import build_context
from ..engine.engine import Engine
from ..errors import DeployError, DigestNotFound, NothingStarted, SettingsError
from ..hosts import registry_url
from ..images import shortened
from ..invocation.call import Call
from ..invocation.command import FROM_CHECKOUT, Effect, Traits
from ..invocation.work import Work
from ..next_steps import Step, advice
from ..redaction import without_login
from ..ui import console
from .init import written

_SECONDS_TO_ANSWER = 10.0
_LARGEST_SKEW = 60.0
_STATES = ("ok", "warning", "failed")
_NEEDED = {"api_url": "failed", "api_key": "failed", "app": "failed", "port": "warning", "repo_url": "warning"}
"""The state of a setting that is not set."""
_NEVER_SHOWN = (".env", ".env.local", ".deploy/build-id.json")


class Finding(NamedTuple):
    """One check: `state` is ok, warning or failed; `mend` says how to fix it."""

    what: str
    state: str
    seen: str
    mend: str = ""


def doctor(c: Context, app: str | None, environment: str | None, json: bool) -> list[Finding]:
    """Checks everything and prints how to fix what is broken; returns the findings. `app` is one app or several."""
    # Failures last, next to the prompt.
    findings = sorted(_findings(_check, c, app, environment), key=lambda found: _STATES.index(found.state))
    lines: list[str] = []
    for found in findings:
        lines.append(f"{'FAILED' if found.state == 'failed' else found.state:7}  {found.what}: {found.seen}")
        if found.mend:
            lines.append(f"         → {found.mend}")
    console.result(lines, [found._asdict() for found in findings], as_json=json)
    if failed := sum(found.state == "failed" for found in findings):
        raise SettingsError(f"{failed} check{'s' * (failed > 1)} failed", "", "See above how to fix each")
    return findings


def _check(c: Context, app: str | None, environment: str | None) -> Iterator[Finding]:
    """Checks everything that a build and a deploy need, for all apps or those that `app` names."""
    call = Call.of(c, _DOCTOR, {"app": app, "environment": environment})
    names = call.project.selected_apps({"app": app or ALL, "environment": call.options["environment"]}).names
    work = Work.of_all_apps(call)
    work.complete()
    call.keep_target(work.settings.get("app"))
    engine = Engine(c, work.settings.docker, builder=work.settings.builder)
    of_apps = [partial(_apps, engine, call, names)] if names else [partial(_files, engine), _state]
    # The engine first: its kind decides which ignore files count.
    for check in (_settings, _git, partial(_engine, engine), *of_apps, _registry, _api):
        yield from _findings(check, work)


_DOCTOR = Traits("doctor", needs=(), from_git=FROM_CHECKOUT, effect=Effect.LOOKS)


def _findings(look: Callable[..., Iterator[Finding]], *arguments: object) -> Iterator[Finding]:
    """The findings of `look`. Its error, such as for a file that cannot be read, is a finding too."""
    try:
        yield from look(*arguments)
    except DeployError as error:
        yield Finding("settings", "failed", error.what, advice(error.next) or "correct it, and ask again")


def _apps(engine: Engine, call: Call, names: Sequence[str], _work: Work) -> Iterator[Finding]:
    """Checks each app of the table. The same finding for several apps, such as for a shared file, is listed once."""
    apps: dict[Finding, list[str]] = {}
    for name in names:
        for found in _findings(_app, engine, call, name):
            apps.setdefault(found, []).append(name)
    yield from (found._replace(what=f"{', '.join(of)} {found.what}") for found, of in apps.items())


def _app(engine: Engine, call: Call, name: str) -> Iterator[Finding]:
    work = Work(call, name)
    work.complete()
    settings = work.settings
    rows = [row for row in WITH_VARIABLE if not row.is_global and settings.origins[row.key].source in CONFIGURED]
    yield Finding("settings", "ok", "; ".join(f"{row.key} {_shown(settings.get(row.key))}" for row in rows))
    yield from (*_files(engine, work), *_state(work))
    try:
        settings.check("port", "env_from", "files")
        settings.check("build_args_from")
    except SettingsError as error:
        yield Finding("needs", "failed", error.what, "names into .env, keys under deploy.apps in invoke.yaml")


def _settings(work: Work) -> Iterator[Finding]:
    """Checks the environment and the settings; with a table of apps, only the settings for all of them."""
    settings, available = work.settings, f"available: {', '.join(work.settings.environments)}"
    if settings.environment:
        protected = ", protected" if settings.protected else ""
        seen = f"{settings.cluster}{protected} ({settings.origins['environment']}; {available})"
        yield Finding("environment", "ok", seen)
    elif settings.environments:
        yield Finding("environment", "warning", f"none is selected ({available})", "select one with --environment NAME")
    rows = [row for row in WITH_VARIABLE if row.is_global or not work.call.project.table]
    for row in (row for row in rows if row.key != "environment"):
        value, state = settings.get(row.key), _NEEDED.get(row.key, "ok")
        if value not in (None, ()):
            shown = "set" if row.secret else _shown(value)
            yield Finding(row.variable, "ok", f"{shown} ({settings.origins[row.key]})")
        else:
            yield Finding(row.variable, state, "unset", f"set {settings.ways_to_set(row)}" if state != "ok" else "")
    for path in (file.path for file in settings.env_files.values() if file.exposes_secret):
        yield Finding(
            str(path), "warning", "holds a secret, and others on this machine can read it", f"chmod 600 {path}"
        )


def _shown(value: object) -> str:
    return without_login(", ".join(map(str, value)) if isinstance(value, tuple) else written(value))


def _git(work: Work) -> Iterator[Finding]:
    checkout, repo_url = work.checkout, work.settings.get("repo_url")
    if checkout.commit is None:
        yield Finding("git", "warning", checkout.trouble or "no commit here", "git init, git add, git commit, git push")
        return
    changes = "with uncommitted changes" if checkout.dirty else "without uncommitted changes"
    yield Finding("git", "ok", f"HEAD is {checkout.commit[:12]}, {changes}")
    if repo_url is None:
        seen = checkout.trouble or "there is none"
        yield Finding("git remote", "warning", seen, "git remote add origin URL, or set DEPLOY_REPO_URL")
    elif pushed := checkout.pushed(checkout.commit, repo_url):
        yield Finding("git remote", "ok", f"{repo_url} has it")
    else:
        seen = f"{repo_url} {'does not have it' if pushed is False else 'may not have it: it cannot be asked'}"
        push = checkout.how_to_push(checkout.commit, repo_url)
        yield Finding("git remote", "warning", seen, f"push it ({push}), before {Step('build')}")
    names = dict.fromkeys((*_NEVER_SHOWN, *(at for at, file in work.settings.env_files.items() if file.has_secret)))
    if shown := [name for name in names if not checkout.ignores(name)]:
        lines = " and ".join(sorted({".deploy/" if name.startswith(".deploy") else ".env*" for name in shown}))
        seen = f"git would take {', '.join(shown)}"
        yield Finding(".gitignore", "warning", seen, f"add {lines} to it, or: {Step('init')}")
    else:
        yield Finding(".gitignore", "ok", "holds .deploy/ and .env*")


def _engine(engine: Engine, _work: Work) -> Iterator[Finding]:
    try:
        engine.detect()
    except DeployError as error:
        # A warning only: a build in the cluster needs no engine.
        yield Finding("engine", "warning", error.what, f"start or install {engine.program}, for {Step('local')}")
    else:
        yield Finding("engine", "ok", f"{engine.program} answers{', from elsewhere' if engine.is_remote else ''}")


def _files(engine: Engine, work: Work) -> Iterator[Finding]:
    root, wrong = work.settings.root, dict(work.settings.wrong_files())
    for key, said in wrong.items():
        yield Finding(key.replace("_", " "), "warning", said, f"name another: DEPLOY_{key.upper()}")
    if "build_context" in wrong:
        return
    context = root / work.settings.build_context
    files = engine.kind.ignore_files(context, root / work.settings.dockerfile) or [context / ".dockerignore"]
    # If versions of the engine read different ignore files, each of these must exclude the secrets.
    let_in = {file: [name for name in _NEVER_SHOWN if not build_context.ignores(file, name)] for file in files}
    file, taken = max(let_in.items(), key=lambda item: len(item[1]))
    if taken:
        by_init = f", or: {Step('init')}" if file == root / ".dockerignore" else ""
        seen = f"lets {', '.join(taken)} into the build context"
        yield Finding(file.name, "warning", seen, f"add **/.env* and **/.deploy to {file}{by_init}")
    else:
        yield Finding(file.name, "ok", "holds .deploy and .env*")


def _state(work: Work) -> Iterator[Finding]:
    path = work.settings.state_file
    try:
        record, build = work.state.record(), work.state.in_flight()
    except DeployError as error:
        yield Finding("state", "failed", error.what, "fix the file, or move it away")
        return
    folder = next(place for place in path.parents if place.exists())
    if not os.access(folder, os.W_OK):
        yield Finding("state", "failed", f"{folder} cannot be written", "DEPLOY_STATE_FILE names another place")
        return
    recorded = f"records {shortened(record.build_id)}" if record and record.build_id else "records nothing yet"
    in_flight = f"; {build.job_name} is in flight: {work.step('wait')}" if build else ""
    yield Finding("state", "ok", f"{path} {recorded}{in_flight}")


def _registry(work: Work) -> Iterator[Finding]:
    settings = work.settings
    registry, username, login = settings.registry, settings.registry_username, settings.registry_login
    if (username is None) != (settings.registry_password is None):
        missing = "DEPLOY_REGISTRY_PASSWORD" if username else "DEPLOY_REGISTRY_USERNAME"
        yield Finding("registry login", "warning", f"{missing} is unset, so there is no login", f"set {missing}")
    seen = look(registry_url(registry), _SECONDS_TO_ANSWER, login)
    if seen is None:
        yield Finding("registry", "warning", f"{registry} does not answer from here", "check DEPLOY_REGISTRY")
    elif login is None:
        yield Finding("registry", "ok", f"{registry} answers; the engine's own login is used")
    elif seen.status == 401 and seen.headers.get("WWW-Authenticate", "").lower().startswith("basic"):
        mend = "check DEPLOY_REGISTRY_USERNAME and DEPLOY_REGISTRY_PASSWORD"
        yield Finding("registry login", "failed", f"{registry} does not accept {username}", mend)
    elif seen.status >= 500:
        yield Finding("registry", "warning", f"{registry} answers {seen.status}", "try again later")
    elif seen.status == 401:
        unknown = "it gives out tokens, so the login is not checked"
        yield Finding("registry login", "ok", f"{registry} answers; {unknown}")
    else:
        yield Finding("registry login", "ok", f"{registry} accepts {username}")


def _api(work: Work) -> Iterator[Finding]:
    settings = work.settings
    if not (settings.get("api_url") and settings.get("api_key")):
        return
    try:
        # No image has this tag. The request only checks whether the API accepts the key.
        work.client.digest(settings.get("image_name") or "doctor", tag="deploy-tasks-doctor")
    except DigestNotFound:
        pass
    except NothingStarted as error:
        yield Finding("API", "failed", error.what, "check DEPLOY_API_URL, the network and HTTPS_PROXY")
        return
    except DeployError as error:
        yield Finding("API key", "failed", error.what, "check DEPLOY_API_KEY")
        return
    yield Finding("API", "ok", f"{settings.api_url} answers and accepts the key")
    seen = look(settings.api_url, _SECONDS_TO_ANSWER)
    try:
        there = parsedate_to_datetime(seen.headers.get("Date", "") if seen else "")
        skew = (datetime.now(timezone.utc) - there).total_seconds()
    except (TypeError, ValueError, ArithmeticError, LookupError):  # the parser raises any of these for an invalid date
        return
    if abs(skew) > _LARGEST_SKEW:
        off = f"this machine's is {skew:+.0f} s off the API's"
        yield Finding("clock", "warning", off, "set it, or start its time service")
    else:
        yield Finding("clock", "ok", "this machine's and the API's agree")
