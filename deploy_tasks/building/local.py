"""`local`: builds on this machine, pushes, and records the digest of that push."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timezone

from msgspec import Struct

from .. import images
from ..config.schema import OF_REGISTRY
from ..config.settings import Settings
from ..config.sources import of_flag
from ..config.values import build_args as parsed_build_args
from ..engine import build_context
from ..engine.engine import Engine
from ..engine.kind import Image
from ..errors import ApiRefused, NothingStarted, SettingsError
from ..git import Checkout
from ..hosts import registry_url
from ..invocation.command import API, FROM_CHECKOUT, Command, Effect
from ..invocation.work import Work
from ..next_steps import LEFT_OUT
from ..redaction import keep_secret
from ..signals import in_background
from ..state.records import Record, Target
from ..ui import console
from .digest import digest_of_tag
from .recording import record_and_report, target_of

_SECONDS_TO_ANSWER = 10.0
_NOT_BUILT = "Nothing was built"


class LocalPlan(Struct, frozen=True):
    """A build on this machine: what is built, and what it is recorded as."""

    target: Target
    image: Image
    allows_secrets: bool

    def show(self, work: Work) -> None:
        self.pretend(work)

    def pretend(self, work: Work) -> Record:
        """Shows the plan; returns the image that later tasks of a dry run go on with."""
        engine = _engine(work)
        engine.detect()
        self._build_and_push(work, engine)
        return work.pretend(self.target)

    def lines(self, work: Work) -> list[str]:
        """The lines that describe what would be built, for a protected environment."""
        changes = " with uncommitted changes" if work.checkout.dirty else ""
        commit = images.short_ref(self.target.git_ref, 12) if self.target.git_ref else "no commit"
        return [f"build on this machine and push {self.image.reference}: {commit}{changes}"]

    def execute(self, work: Work) -> Record:
        engine = _engine(work)
        _check_all_answer(work, engine, self.target)
        build_id = self._build_and_push(work, engine)
        # Changes during the build, or during the wait for another run, may be in the image.
        before, now = work.checkout, Checkout(work.checkout.folder)
        may_differ = before.commit and (before.dirty or now.dirty or now.commit != before.commit)
        made_from = {key: work.settings.given(key) for key in ("dockerfile", "build_context")}
        record = record_and_report(work, self.target, build_id, built="local", dirty=bool(may_differ), **made_from)
        _check_tag(work, self.target, build_id)
        return record

    def _build_and_push(self, work: Work, engine: Engine) -> str:
        settings, context, dockerfile = work.settings, self.image.context, self.image.dockerfile
        if not self.allows_secrets:
            build_context.check(context, engine.kind.ignore_files(context, dockerfile))
        console.tell(f"build {self.image.reference} on this machine for {settings.cluster}")
        if login := settings.registry_login:
            engine.login(settings.registry, *login)
        return engine.publish(self.image)


def _engine(work: Work) -> Engine:
    return Engine(work.call.c, work.settings.docker, builder=work.settings.builder)


def plan_of(work: Work) -> LocalPlan:
    settings, commit = work.settings, work.checkout.commit
    moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    code = [commit[:12], *(["dirty"] if work.checkout.dirty else [])] if commit else []
    # With a random suffix, since two builds may begin within the same second.
    tag = settings.image_tag or "-".join(["local", moment, *code, secrets.token_hex(3)])
    arguments, values = _build_args(settings, work.options["build_arg"] or [])
    keep_secret(settings.secret_values_of(values), is_named=True)
    image = Image(
        reference=f"{settings.registry}/{settings.image_name}:{tag}",
        context=settings.root / settings.build_context,
        dockerfile=settings.root / settings.dockerfile,
        platform=settings.platform,
        build_args=arguments,
        variables=values,
    )
    return LocalPlan(target_of(settings, tag, commit), image, work.options["allow_secrets_in_context"])


local = Command(
    "local",
    plan=plan_of,
    needs=(*API, *OF_REGISTRY, "files", "build_args_from"),
    from_git=FROM_CHECKOUT,
    effect=Effect.BUILDS,
    at_once=2,
)


def _build_args(settings: Settings, flags: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The build args (flags override settings), and the values of those that are given by name only."""
    given = of_flag("--build-arg", parsed_build_args, flags)
    if left_out := [text for text in given if text.endswith(LEFT_OUT)]:
        raise SettingsError(f"--build-arg {left_out[0]}: replace … with the value", _NOT_BUILT)
    by_name = {text.partition("=")[0]: text for text in (*settings.build_args, *settings.build_args_from, *given)}
    values = settings.values_of([name for name, text in by_name.items() if "=" not in text], "build arg")
    typed = {name: text.partition("=")[2] for name, text in by_name.items()}
    if secret := settings.secrets_among({**typed, **values}):
        raise SettingsError(f"build arg {', '.join(secret)} would put a secret into the image", _NOT_BUILT)
    return tuple(by_name.values()), values


def _check_all_answer(work: Work, engine: Engine, target: Target) -> None:
    """Detects the engine and checks that the API accepts the key and the registry answers, all at the same time, so
    that a long build does not fail at its end. Raises EngineError, ApiRefused or NothingStarted."""
    client, registry = work.client, work.settings.registry

    def answers() -> bool:
        from ..api import transport

        return transport.answers(registry_url(registry), _SECONDS_TO_ANSWER)

    key_accepted = in_background(lambda: digest_of_tag(client, target))
    registry_there = in_background(answers)
    # In this thread, since signals reach only this one.
    engine.detect()
    key_accepted()
    if registry_there():
        return
    if not engine.is_remote:
        raise NothingStarted(f"the registry {registry} does not answer", _NOT_BUILT, "Check DEPLOY_REGISTRY")
    console.warn(f"{registry} does not answer from here; the engine builds elsewhere and may reach it")


def _check_tag(work: Work, target: Target, build_id: str) -> None:
    """Warns if the API finds another digest under the tag than the pushed one. The pushed one is recorded anyway."""
    name, registry = f"{target.image_name}:{target.image_tag}", work.settings.registry
    try:
        found = digest_of_tag(work.client, target)
    except (ApiRefused, NothingStarted) as error:
        console.warn(f"{error.what}. The image is pushed and recorded: no need to build it again")
        return
    if found is None:
        console.warn(f"the API does not find {name} in its registry; is {registry} (DEPLOY_REGISTRY) the one it uses?")
    elif found != build_id:
        console.warn(
            f"the tag {name} was moved and now points to {found}; the recorded digest is from this push: {build_id}"
        )
