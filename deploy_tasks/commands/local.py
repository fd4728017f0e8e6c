"""`local` and `local-deploy`: build on this machine, push, record the digest of that push, and deploy it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from ..api.client import DeployClient
from ..config.settings import Settings
from ..config.sources import of_flag
from ..config.values import build_args as parsed_build_args
from ..engine import build_context
from ..engine.engine import Engine
from ..engine.kind import Image
from ..errors import ApiRefused, DigestNotFound, NothingStarted, SettingsError
from ..git import Checkout
from ..hosts import registry_url
from ..invocation.command import API, Command
from ..invocation.work import Work
from ..next_steps import LEFT_OUT
from ..redaction import keep_secret
from ..signals import in_background
from ..state.records import Record, Target
from ..ui import console
from . import deploy
from .digest import as_result, keep, target_of

_SECONDS_TO_ANSWER = 10.0
_RANDOM_BYTES = 3
_NOT_BUILT = "Nothing was built"


@dataclass(frozen=True)
class LocalPlan:
    """A build on this machine: what is built, and what it is recorded as."""

    target: Target
    image: Image
    program: str
    """The engine's."""
    builder: str | None
    login: tuple[str, str] | None = field(repr=False)
    allows_secrets: bool

    def show(self, work: Work) -> None:
        engine = self._engine(work)
        engine.detect()
        self._build_and_push(work, engine)
        work.pretend(self.target)

    def execute(self, work: Work) -> Record:
        engine, client, registry = self._engine(work), work.client, work.settings.registry
        _check_all_answer(client, engine, registry, self.target)
        build_id = self._build_and_push(work, engine)
        dirty = _may_differ(work.checkout) if work.checkout.commit else None
        record = keep(work, self.target, build_id, built={"built": "local"}, dirty=dirty)
        _check_tag(client, registry, self.target, build_id)
        return as_result(work, record)

    def _engine(self, work: Work) -> Engine:
        return Engine(work.call.c, self.program, builder=self.builder)

    def _build_and_push(self, work: Work, engine: Engine) -> str:
        if not self.allows_secrets:
            build_context.check(self.image.context, engine.ignore_files(self.image.context, self.image.dockerfile))
        if self.login:
            engine.login(work.settings.registry, *self.login)
        return engine.publish(self.image)


def _plan_local(work: Work) -> LocalPlan:
    settings = work.settings
    username, password = settings.registry_username, settings.registry_password
    target = _target(settings, work.checkout)
    return LocalPlan(
        target,
        _image(settings, target, work.options["build_arg"] or []),
        settings.docker,
        settings.builder,
        (username, password) if username and password else None,
        work.options["allow_secrets_in_context"],
    )


local = Command(
    "local",
    _plan_local,
    needs=(*API, "files", "build_args_from"),
    from_git=("app", "repo_url", "git_ref"),
    builds=True,
    at_once=2,
)


@dataclass(frozen=True)
class LocalDeployPlan:
    """A build on this machine, and the deploy of what it makes."""

    build: LocalPlan
    deploy: deploy.DeployPlan
    """Complete but for the digest."""

    def show(self, work: Work) -> None:
        self.build.show(work)
        if record := work.recorded_in_chain:  # what the build pretends
            deploy.of_another_digest(work, self.deploy, record).show(work)

    def execute(self, work: Work) -> Record:
        record = self.build.execute(work)
        return deploy.of_another_digest(work, self.deploy, record).execute(work)


def _plan_local_deploy(work: Work) -> LocalDeployPlan:
    return LocalDeployPlan(_plan_local(work), deploy.plan_of(work, "", None))


local_deploy = replace(
    local,
    name="local-deploy",
    plan=_plan_local_deploy,
    needs=(*local.needs, "port", "env_from"),
    builds=False,
)


def _target(settings: Settings, checkout: Checkout) -> Target:
    """What the build is recorded as. Its tag is its own: `local-<UTC time>-<commit>[-dirty]-<random>`, since two builds
    may begin within a second."""
    parts = ["local", datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")]
    if checkout.commit:
        parts += [checkout.commit[:12], *(["dirty"] if checkout.dirty else [])]
    parts.append(secrets.token_hex(_RANDOM_BYTES))
    return target_of(settings, settings.image_tag or "-".join(parts), checkout.commit)


def _image(settings: Settings, target: Target, build_args: Sequence[str]) -> Image:
    arguments, values = _build_args(settings, build_args)
    keep_secret(settings.secret_values_of(values), is_named=True)
    return Image(
        reference=f"{settings.registry}/{target.image_name}:{target.image_tag}",
        context=settings.root / settings.build_context,
        dockerfile=settings.root / settings.dockerfile,
        platform=settings.platform,
        build_args=arguments,
        variables=values,
    )


def _build_args(settings: Settings, flags: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The build args, those of flags before those of settings, and the values of those that have a name only."""
    given = of_flag("--build-arg", parsed_build_args, flags)
    if left_out := [text for text in given if text.endswith(LEFT_OUT)]:
        raise SettingsError(f"--build-arg {left_out[0]}: the value was not repeated, so give it", _NOT_BUILT)
    by_name = {text.partition("=")[0]: text for text in (*settings.build_args, *settings.build_args_from, *given)}
    values = settings.values_of([name for name, text in by_name.items() if "=" not in text], "build arg")
    typed = {name: text.partition("=")[2] for name, text in by_name.items()}
    if secret := settings.secrets_among({**typed, **values}):
        raise SettingsError(f"build arg {', '.join(secret)} would put a secret into the image", _NOT_BUILT)
    return tuple(by_name.values()), values


def _check_all_answer(client: DeployClient, engine: Engine, registry: str, target: Target) -> None:
    """Detects the engine, asks the API with the key, and asks whether the registry is there, all at the same time: a
    long build must not end at a wrong key. EngineError, ApiRefused or NothingStarted: nothing was built then."""
    key_accepted = in_background(lambda: _tag_digest(client, target))
    registry_there = in_background(lambda: _answers(registry))
    # In this thread, the one that signals reach.
    engine.detect()
    key_accepted()
    if registry_there():
        return
    if engine.is_remote:
        console.warn(f"{registry} does not answer from here; the engine builds elsewhere and may reach it")
        return
    raise NothingStarted(f"the registry {registry} does not answer", _NOT_BUILT, "Check DEPLOY_REGISTRY")


def _tag_digest(client: DeployClient, target: Target) -> str | None:
    """The digest that the API finds under the target's tag, or None if it finds none."""
    try:
        return client.digest(target.image_name, tag=target.image_tag)
    except DigestNotFound:
        return None


def _answers(registry: str) -> bool:
    from ..api.transport import answers

    return answers(registry_url(registry), _SECONDS_TO_ANSWER)


def _check_tag(client: DeployClient, registry: str, target: Target, build_id: str) -> None:
    """Warns where the API finds another digest under the tag than the one just pushed; the pushed one counts."""
    name = f"{target.image_name}:{target.image_tag}"
    try:
        found = _tag_digest(client, target)
    except (ApiRefused, NothingStarted) as error:
        console.warn(f"{error.what}. The image is pushed and recorded: no need to build it again")
        return
    if found is None:
        console.warn(f"the API does not find {name} in its registry; is {registry} (DEPLOY_REGISTRY) the one it uses?")
    elif found != build_id:
        console.warn(f"the tag {name} was moved: it points to {found} now; what counts is this push: {build_id}")


def _may_differ(before: Checkout) -> bool:
    """Whether what was built may be other code than the commit that was there `before` the build and the wait for
    other runs."""
    now = Checkout(before.folder)
    return before.dirty or now.dirty or now.commit != before.commit
