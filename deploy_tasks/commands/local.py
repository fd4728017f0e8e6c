"""A build on this machine: pushed, recorded by the digest of that push, and deployed if that is wanted."""

from __future__ import annotations

from ..engine import build_context
from ..engine.engine import Engine
from ..git import Checkout
from ..invocation.call import Call
from ..invocation.work import API, Act, begin
from ..redaction import keep_named_secret
from ..state.records import Record
from . import decide, preflight
from .deploy import begin_deploy, reuse
from .digest import keep, result


def local(call: Call) -> Act:
    """Builds on this machine, pushes, and records the digest of that push."""
    run = begin(
        call, needs=(*API, "files", "build_args_from", *call.needs_to_deploy), git=("app", "repo_url", "git_ref")
    )
    target = decide.local_target(run.settings, run.checkout)
    image = decide.local_image(run.settings, target, call.flags["build_arg"] or [])
    keep_named_secret(run.settings.secret_values_of(image.variables))

    def act() -> Record | None:
        settings, engine = run.settings, Engine(call.c, run.settings.docker, builder=run.settings.builder)
        if run.dry:
            engine.detect()
        else:
            run.lock()
            preflight.check(run.client, engine, settings.registry, target)
        if not call.flags["allow_secrets_in_context"]:
            build_context.check(image.context, engine.ignore_files(image.context, image.dockerfile))
        if settings.registry_username and settings.registry_password:
            engine.login(settings.registry, settings.registry_username, settings.registry_password)
        build_id = engine.publish(image)
        if run.dry:
            run.pretend(target)
            return None
        dirty = _may_differ(run.checkout) if run.checkout.commit else None
        record = keep(run, target, build_id, built={"built": "local"}, dirty=dirty)
        preflight.check_tag(run.client, settings.registry, target, build_id)
        return result(run, record)

    return Act(run, act)


def _may_differ(before: Checkout) -> bool:
    """Whether what was built may be another code than the commit that was there `before` the build and the wait for
    other runs."""
    now = Checkout(before.folder)
    return before.dirty or now.dirty or now.commit != before.commit


def local_deploy(call: Call) -> Act:
    """`local`, then `reuse`: builds here, pushes, deploys that image."""
    both: Act = local(call)
    begin_deploy(call)  # nothing is built that cannot be deployed
    build_and_push = both.do

    def act() -> Record | None:
        build_and_push()
        deploy: Act = reuse(call)
        deploy.run.results = both.run.results
        both.run = deploy.run
        deployed: Record | None = deploy.do()
        return deployed

    both.do = act
    return both
