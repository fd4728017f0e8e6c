"""The request for a build in the cluster, and the checks before it is sent."""

from __future__ import annotations

import re
from contextlib import suppress
from posixpath import isabs, join, normpath, relpath
from urllib.parse import urlsplit

from .. import images
from ..api.schemas import BuildRequest
from ..config.settings import Settings
from ..config.sources import Source
from ..encoding import fields_of
from ..errors import SettingsError
from ..git import Checkout
from ..hosts import is_loopback
from ..invocation.command import Effect
from ..invocation.work import Work
from ..redaction import quoted
from ..state.records import PlannedBuild
from ..ui import console
from .recording import target_of

# In a clone, HEAD is the default branch of its remote.
_HEAD = re.compile(r"(HEAD|@)([~^@{].*)?", re.DOTALL)


def build_request(settings: Settings, checkout: Checkout, *, cache: bool) -> BuildRequest:
    """The body of `POST /build`. The server chooses names that no source gives, and returns them.

    Paths of the Dockerfile and the context, which settings give from the project's root, become relative to the
    repository's root. SettingsError if the cluster would build something else than the checkout's owner expects.
    """
    git_ref, repo_url = settings.git_ref, settings.repo_url
    # A repository that a setting names is this one, too, if a remote has its URL or this checkout has its commit.
    is_this_repository = (
        settings.origins["repo_url"].source is Source.GIT
        or checkout.remote_at(repo_url) is not None
        or checkout.knows(git_ref)
    )
    if is_this_repository and _HEAD.fullmatch(git_ref):
        raise SettingsError(
            f"{settings.origins['git_ref']}: in the cluster, {quoted(git_ref)} is not the commit checked out here",
            "Nothing was started",
            "To build that commit, leave the setting out. For another, name a commit, a branch or a tag.",
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
    """The path in the setting `key`, relative to the repository's root; None for the server's default. `prefix` is the
    path of the project's root in the repository, None if the cluster clones another repository."""
    given: str = getattr(settings, key)
    path = relpath(given, settings.root) if isabs(given) and prefix is not None else given
    place = normpath(join(prefix or "", path))
    if isabs(place) or place.split("/")[0] == "..":
        raise SettingsError(
            f"{settings.origins[key]}: {quoted(path)} is outside the repository, which is all that the cluster clones"
        )
    return place if prefix or path != given else settings.given(key)


def check_git_token(request: BuildRequest) -> None:
    """SettingsError if the cluster would send the git token over plain http to another machine."""
    if request.git_token is None or not request.repo_url.lower().startswith("http://"):
        return
    host = None
    with suppress(ValueError):  # half an IPv6 address
        host = urlsplit(request.repo_url).hostname
    if not host or not is_loopback(host):
        where = quoted(host or request.repo_url)
        raise SettingsError(
            f"the cluster would send the git token to {where} over plain http, where others can read it",
            next="Use https:// in the repository URL, or unset DEPLOY_GIT_TOKEN",
        )


def check_clonable(work: Work, git_ref: str, *, allow_unpushed: bool) -> None:
    """SettingsError if no ref of the remote holds the commit, since the cluster clones from there."""
    checkout, repo_url = work.checkout, work.settings.repo_url
    if not images.is_commit(git_ref) or not checkout.knows(git_ref):
        return
    here = "local-deploy" if work.call.command.effect is Effect.DEPLOYS else "local"
    pushed = allow_unpushed or checkout.pushed(git_ref, repo_url)
    if pushed is None:
        console.warn(f"this checkout cannot tell whether {repo_url} has commit {git_ref[:12]}, which the cluster needs")
    elif not pushed:
        raise SettingsError(
            f"commit {git_ref[:12]} is on no branch of the remote, and no tag of it, so the cluster cannot clone it",
            "Nothing was started",
            [
                f"Push it ({checkout.how_to_push(git_ref, repo_url)}), or pass --allow-unpushed.",
                work.step(here, "Or build here", continues=True),
            ],
        )
    is_from_here = work.settings.origins["repo_url"].source is Source.GIT
    if work.name and is_from_here and not checkout.has(git_ref, work.settings.dockerfile):
        raise SettingsError(
            f"{work.settings.dockerfile} is not in commit {git_ref[:12]}, which the cluster clones",
            next="Commit and push it",
        )


def planned_build(settings: Settings, request: BuildRequest) -> PlannedBuild:
    """The build that `request` starts."""
    target = fields_of(target_of(settings, request.image_tag, request.git_ref))
    return PlannedBuild(
        **target,
        dockerfile=request.dockerfile,
        build_context=request.build_context,
        asked_image=f"{settings.image_name}:{request.image_tag}",
        environment=settings.environment,
        api_url=settings.api_url,
    )
