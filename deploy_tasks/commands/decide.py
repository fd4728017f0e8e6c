"""What to send and what to record, decided from what was gathered.

Nothing here takes a context, asks the network or writes a file. What cannot be decided is a SettingsError.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from posixpath import isabs, join, normpath, relpath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .. import images, next_steps
from ..api.schemas import BuildRequest, DeployConfig, DeployRequest, Metrics, Port
from ..config.settings import Settings
from ..config.sources import Source, of_flag
from ..config.values import as_text
from ..config.values import build_args as parsed_build_args
from ..encoding import fields_of
from ..errors import SettingsError
from ..git import Checkout
from ..hosts import is_loopback
from ..next_steps import LEFT_OUT
from ..redaction import quoted
from ..state.records import BuildInFlight, Record, Target, timestamp

if TYPE_CHECKING:
    from ..engine.publish import Image

_SHORT = 12
# In a clone, HEAD is the default branch of its remote.
_ONLY_HERE = re.compile(r"(HEAD|@)([~^@{].*)?", re.DOTALL)
_RANDOM_BYTES = 3


def build_request(settings: Settings, checkout: Checkout, *, cache: bool) -> BuildRequest:
    """What `POST /build` is asked for. Names that nobody gave are left to the server, whose answer says them.

    Dockerfile and context are named from the project's root on; the cluster knows only the repository's.
    """
    git_ref, repo_url = settings.git_ref, settings.repo_url
    # Also where somebody names it: it is the same repository if a remote is that, or if it has a commit of this one.
    is_this_repository = (
        settings.origins["repo_url"].source is Source.GIT
        or checkout.remote_at(repo_url) is not None
        or checkout.knows(git_ref)
    )
    if is_this_repository and _ONLY_HERE.fullmatch(git_ref):
        raise SettingsError(
            f"{settings.origins['git_ref']}: in the cluster {quoted(git_ref)} is not the commit that is checked out "
            "here. Nothing was started. To build that, leave it out; for another, name a commit, a branch or a tag"
        )
    prefix = checkout.prefix if is_this_repository else None
    return BuildRequest(
        app=settings.app,
        namespace=settings.namespace,
        repo_url=repo_url,
        git_ref=git_ref,
        git_token=settings.git_token,
        image_tag=settings.image_tag or images.as_tag(git_ref) or settings.needed("image_tag"),
        cache=cache,
        deploy=False,
        image_name=settings.given("image_name"),
        dockerfile=_in_repository(settings, "dockerfile", prefix),
        build_context=_in_repository(settings, "build_context", prefix),
    )


def _in_repository(settings: Settings, key: str, prefix: str | None) -> str | None:
    """The path that setting `key` names, from the repository's root on; None where the server's own default will do.
    `prefix` is where the project's root lies in the repository, None where the cluster clones another one."""
    path: str = getattr(settings, key)
    if isabs(path) and prefix is not None:
        path = relpath(path, settings.root)
    place = normpath(join(prefix or "", path))
    if isabs(place) or place.split("/")[0] == "..":
        raise SettingsError(
            f"{settings.origins[key]}: {quoted(path)} is outside the repository, which is all that the cluster clones"
        )
    return place if prefix or path != getattr(settings, key) else settings.given(key)


def check_git_token(request: BuildRequest) -> None:
    """SettingsError where the cluster would send the git token over plain http to another machine."""
    if request.git_token is None or not request.repo_url.lower().startswith("http://"):
        return
    host = ""
    with suppress(ValueError):  # half an IPv6 address
        host = urlsplit(request.repo_url).hostname or ""
    if not is_loopback(host):
        raise SettingsError(
            f"the cluster would send the git token to {quoted(host or request.repo_url)} over plain http, where others "
            "can read it. Use https:// in the repository URL, or unset DEPLOY_GIT_TOKEN"
        )


def build_in_flight(settings: Settings, request: BuildRequest, job: str) -> BuildInFlight:
    """What is to be remembered of a build while it runs."""
    return BuildInFlight(
        repo_url=request.repo_url,
        git_ref=request.git_ref,
        app=request.app,
        namespace=request.namespace,
        image_name=settings.image_name,
        image_tag=request.image_tag,
        app_class=settings.app_class,
        dockerfile=request.dockerfile,
        build_context=request.build_context,
        asked_image=f"{settings.image_name}:{request.image_tag}",
        job_name=job,
        api_url=settings.api_url,
        started_at=timestamp(),
    )


def is_same_build(one: BuildInFlight, other: BuildInFlight) -> bool:
    """Whether two builds make the same image. A branch may have moved in between; a commit cannot."""
    compared = ("api_url", "repo_url", "git_ref", "dockerfile", "build_context", "asked_image")
    return images.is_commit(one.git_ref or "") and all(getattr(one, name) == getattr(other, name) for name in compared)


def target_of_tag(settings: Settings, checkout: Checkout, recorded_here: Record | None) -> Target:
    """The tag whose digest is asked for: the one given, that of an earlier task of this command line, or HEAD's commit.

    Never that of an old record: asked after new commits, it would deploy the old code.
    """
    known = recorded_here.image_tag if recorded_here else None
    tag = settings.image_tag or known or checkout.commit or settings.needed("image_tag")
    if recorded_here and tag == known:
        return _target(settings, tag, recorded_here.git_ref)
    return _target(settings, tag, checkout.commit if tag == checkout.commit else None)


def local_target(settings: Settings, checkout: Checkout) -> Target:
    """What a build on this machine is recorded as. Its tag is its own:
    `local-<UTC time>-<commit>[-dirty]-<random>`, since two may begin within a second."""
    parts = ["local", datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")]
    if checkout.commit:
        parts += [checkout.commit[:_SHORT], *(["dirty"] if checkout.dirty else [])]
    parts.append(secrets.token_hex(_RANDOM_BYTES))
    return _target(settings, settings.image_tag or "-".join(parts), checkout.commit)


def _target(settings: Settings, tag: str, git_ref: str | None) -> Target:
    return Target(
        repo_url=settings.known("repo_url"),
        git_ref=git_ref,
        app=settings.app,
        namespace=settings.namespace,
        image_name=settings.image_name,
        image_tag=tag,
        app_class=settings.app_class,
    )


def local_image(settings: Settings, target: Target, build_args: Sequence[str]) -> Image:
    """What a build on this machine is to build; `build_args` go before those of the settings."""
    from ..engine.publish import Image

    given = of_flag("--build-arg", parsed_build_args, build_args)
    if left_out := [text for text in given if text.endswith(LEFT_OUT)]:
        raise SettingsError(f"--build-arg {left_out[0]}: the value was not repeated, so give it")
    by_name = {text.partition("=")[0]: text for text in (*settings.build_args, *settings.build_args_from, *given)}
    named = [name for name, text in by_name.items() if "=" not in text]
    values = settings.values_of(named, "build arg")
    given_here = {name: text.partition("=")[2] for name, text in by_name.items()}
    if secret := settings.secrets_among({**given_here, **values}):
        raise SettingsError(f"build arg {', '.join(secret)} would put a secret into the image", "Nothing was built")
    return Image(
        reference=f"{settings.registry}/{target.image_name}:{target.image_tag}",
        context=settings.root / settings.build_context,
        dockerfile=settings.root / settings.dockerfile,
        platform=settings.platform,
        build_args=tuple(by_name.values()),
        variables=values,
    )


def digest_of_flag(text: str) -> str:
    """The digest that `--build-id` says. An empty text is what the shell makes of a `"$(…)"` that failed: not none."""
    try:
        return images.digest(text)
    except ValueError as error:
        hint = "of a recorded one its first 12 will do"
        raise SettingsError(f"flag --build-id: {error} ({hint})") from error


def digest_of_record(settings: Settings, record: Record | None) -> str:
    """The digest to deploy where nobody names one. SettingsError where there is none."""
    if record is None or record.build_id is None:
        raise SettingsError(f"no digest is recorded yet; build one: {_ways_to_build(settings)}", "Nothing was deployed")
    return record.build_id


def deploy_request(settings: Settings, build_id: str, known: Record | None, *, env: dict[str, str]) -> DeployRequest:
    """What a deploy without a build is asked for; `known` is what is known of the digest. SettingsError where that is
    the digest of another image."""
    image_name = settings.image_name
    if known and known.image_name not in (None, image_name):
        # Of several apps, no record may reach another app.
        other = "" if settings.name else f"; or deploy that image: --image-name {known.image_name}"
        raise SettingsError(
            f"the recorded digest is of image {known.image_name}, not of {image_name}; nothing was deployed. "
            f"Build {image_name} first: {_ways_to_build(settings)}{other}"
        )
    domains = list(settings.domain)
    several = len(domains) > 1 or any(domain.startswith("*") for domain in domains)
    return DeployRequest(
        app=settings.app,
        namespace=settings.namespace,
        image_name=image_name,
        build_id=build_id,
        deploy=True,
        deploy_config=DeployConfig(
            port=None if settings.ports else settings.port,
            ports=[Port(**fields_of(port)) for port in settings.ports] or None,
            replicas=settings.replicas,
            domain=domains[0] if domains and not several else None,
            domains=domains if several else None,
            health_path=settings.health_path,
            tls=settings.tls,
            env=env,
            metrics=Metrics(**fields_of(settings.metrics)) if settings.metrics else None,
            app_class=settings.app_class,
        ),
    )


def _ways_to_build(settings: Settings) -> str:
    app = {"app": settings.name or (settings.known("app") if settings.is_by_flag("app") else None)}
    return f"{next_steps.line('build', app)}, or {next_steps.line('local', app)}"


def deployed_record(request: DeployRequest, record: Record | None) -> Record:
    """What is now live, with what the record knows of where that digest came from."""
    known = record if record and record.build_id == request.build_id else Record()
    return Record(
        repo_url=known.repo_url,
        git_ref=known.git_ref,
        app=request.app,
        namespace=request.namespace,
        image_name=request.image_name,
        image_tag=known.image_tag,
        build_id=request.build_id,
        app_class=request.deploy_config.app_class,
        dirty=known.dirty,
    )


def app_environment(settings: Settings, texts: Sequence[str]) -> dict[str, str]:
    """The app's environment: what the configuration says, then `texts`, which are `KEY=VALUE`, or `KEY` with its value
    from the environment or `.env`."""
    pairs = [as_text(text).partition("=") for text in texts]
    for name, equals, value in pairs:
        if not name:
            raise SettingsError(f"--env {equals!r} has no name: KEY=VALUE, or KEY")
        if equals + value == LEFT_OUT:
            raise SettingsError(f"--env {name}{LEFT_OUT}: the value was not repeated, so give it")
    named = settings.values_of([name for name, equals, _ in pairs if not equals], "--env")
    typed = {name: value if equals else named[name] for name, equals, value in pairs}
    environment = {**settings.configured_environment, **typed}
    if secret := settings.secrets_among(environment):
        raise SettingsError(f"the app's variable {', '.join(secret)} would hand a secret of the deploy to the app")
    return environment
