"""The Deploy API: one method for each endpoint.

    >>> DeployClient("https://deploy.example.com", key).digest("myapp", tag="abc")    # doctest: +SKIP
    'sha256:…'

Source: docs/deploy-api.md. What each fault comes to: docs/reliability.md.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import structs

from .. import images
from ..deadline import Deadline
from ..deploy_config import differences
from ..encoding import decode
from ..errors import (
    ApiRefused,
    ChangedMeanwhile,
    DigestNotFound,
    JobNotFound,
    MayHaveStarted,
    NothingStarted,
)
from ..next_steps import Step
from ..redaction import excerpt
from . import paths
from .request import LOG, NOT_SERVED, Purpose, Sender, decoded, number
from .schemas import (
    AppAnswer,
    AppState,
    BuildLogs,
    BuildRequest,
    BuildStarted,
    BuildState,
    Deployed,
    DeployRequest,
    Digest,
    FullAppAnswer,
    Log,
    Revision,
    RevisionChanged,
    RevisionsAnswer,
    RollbackRequest,
)

if TYPE_CHECKING:
    from .transport import Answer

# When the server's wait was as long as the client's read timeout, 19 of 20 waits failed.
_SPARE_SECONDS = 10.0
SECONDS_TO_LOOK = 10.0
_LONGEST_HEADER = 255

_DIGEST = Purpose("ask for the digest", is_api_only=True)
_SIZE = Purpose("look at the build or the app")
_LOOK = _SIZE._replace(is_optional=True)
_LOG = _LOOK._replace(most=64_000_000)
_BEFORE_DEPLOY = _LOOK._replace(what="ask what runs", effect="Nothing was deployed", repeats=1)
_LOOK_AT_BUILD = _LOOK._replace(is_of_build=True)
_WAIT = Purpose("wait for the build", "The build goes on", (), repeats=0, is_api_only=True, is_of_build=True)


class DeployClient(Sender):
    """A client of the Deploy API at `url` (without a trailing slash), with `key` in `X-API-Key`.

    `timeout` limits one request, in seconds; `key_from` names the source of the key in errors; `by` tells the server
    who sends the request; `log` gets a line for each exchange. Methods raise the errors of `errors.py`, which never
    contain the key or the git token, and ValueError for an invalid name. `again` is the command that their errors
    suggest to retry.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout: float = 30.0,
        key_from: str = "DEPLOY_API_KEY",
        by: str = "",
        log: Callable[[str], None] = LOG.debug,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(url, key, timeout=timeout, key_from=key_from, log=log, sleep=sleep)
        # What a header may hold.
        self._by = re.sub(r"[^ -~]", "?", by)[:_LONGEST_HEADER].strip() or None

    def start_build(
        self,
        request: BuildRequest,
        *,
        again: Step | str = "Try again",
        unsure: Sequence[Step | str] = ("Look for it in the cluster first",),
    ) -> BuildStarted:
        """Starts a build in the cluster; the request is sent once. MayHaveStarted if its outcome is not known."""
        start = Purpose(
            "start the build",
            "No build was started",
            (again,),
            ("The build may have started, so it was not sent again", tuple(unsure)),
            repeats=0,
        )
        commit = request.git_ref if images.is_commit(request.git_ref) else None
        headers = {"X-Deploy-By": self._by, "X-Deploy-Commit": commit}
        return decoded(start, BuildStarted, self.send(start, "POST", paths.BUILD, request, headers=headers))

    def wait(self, job: str, *, seconds: float, within: Deadline | None = None) -> BuildState:
        """Waits until a build ends, up to `seconds`; returns its state. NothingStarted if the connection was cut: the
        build goes on, so call again. JobNotFound if the API does not know the job."""
        path = f"{paths.BUILD_WAIT.format(job=images.label(job))}?timeout={max(1, round(seconds))}"
        wait = _WAIT._replace(if_404=JobNotFound(f"the API knows no build job {job} (any more)", 404))
        answer = self.send(wait, "POST", path, timeout=seconds + _SPARE_SECONDS, within=within)
        return decoded(wait, BuildState, answer) if answer.body.strip() else BuildState()

    def status(self, job: str, *, within: Deadline | None = None) -> BuildState | None:
        """The state of a build, or None if this server does not have the endpoint."""
        path = paths.BUILD_STATUS.format(job=images.label(job))
        answer = self.send(_LOOK_AT_BUILD, "GET", path, within=within)
        return None if answer.status in NOT_SERVED else decoded(_LOOK_AT_BUILD, BuildState, answer)

    def logs(self, job: str) -> Log | None:
        """The whole log of a build so far, or None if this server does not have it."""
        answer = self.send(_LOG, "GET", paths.BUILD_LOGS.format(job=images.label(job)))
        if answer.status in NOT_SERVED:
            return None
        return Log(decoded(_LOG, BuildLogs, answer).logs, answer.transferred)

    def log_size(self, job: str) -> int | None:
        """How many bytes `logs` would transfer, or None if the server does not say (HEAD, RFC 9110 9.3.2)."""
        try:
            answer = self.send(_SIZE, "HEAD", paths.BUILD_LOGS.format(job=images.label(job)))
        except ApiRefused:
            return None
        return int(number(answer, "Content-Length")) or None

    def app(
        self, namespace: str, app: str, *, within: Deadline | None = None, before: Step | None = None
    ) -> AppState | None:
        """The state of an app, or None if the server does not know the app or does not have the endpoint. A
        FullAppState if the server has the feature `app-state`. `before` is the step that repeats a deploy after this
        request: then the wait is limited to 10 s."""
        purpose = _LOOK
        if before:
            purpose = _BEFORE_DEPLOY._replace(next=(before,))
            within = Deadline(SECONDS_TO_LOOK, sleep=self._sleep)
        path = paths.APP.format(namespace=images.label(namespace), app=images.label(app))
        answer = self.send(purpose, "GET", path, within=within)
        if answer.status in NOT_SERVED:
            return None
        if "app-state" in self.features:
            with suppress(ValueError):  # a plain AppState is enough to follow a rollout
                return decode(answer.body, FullAppAnswer).app
        return decoded(purpose, AppAnswer, answer).app

    def history(self, namespace: str, app: str) -> list[Revision] | None:
        """The revisions of an app, newest first; None if the last answer did not list the feature `app-history`, or the
        server does not know the app."""
        if "app-history" not in self.features:
            return None
        within = Deadline(SECONDS_TO_LOOK, sleep=self._sleep)
        path = paths.APP_HISTORY.format(namespace=images.label(namespace), app=images.label(app))
        answer = self.send(_BEFORE_DEPLOY, "GET", path, within=within)
        return None if answer.status in NOT_SERVED else decoded(_BEFORE_DEPLOY, RevisionsAnswer, answer).history

    def digest(self, image_name: str, *, tag: str) -> str:
        """The digest that `tag` of `image_name` points to now (`sha256:…`). DigestNotFound if there is none."""
        missing = DigestNotFound(f"tag {tag} is not in the registry for image {image_name}")
        purpose = _DIGEST._replace(if_404=missing)
        path = paths.DIGEST.format(image_name=images.image_name(image_name), tag=images.tag(tag))
        response = self.send(purpose, "GET", path)
        answer = decoded(_DIGEST, Digest, response)
        if answer.image and not _reference_to(image_name, answer.build_id, answer.image):
            what = (
                f"the API was asked for the digest of {image_name}:{tag} and returned that of {excerpt(answer.image)}"
            )
            raise NothingStarted(what, _DIGEST.effect)
        return answer.build_id

    def deploy(
        self,
        request: DeployRequest,
        *,
        restores: RollbackRequest | None = None,
        commit: str | None = None,
        is_dirty: bool = False,
        expected: int | None = None,
        again: Step | str = "Try again",
        unsure: Step | str = "It is safe to deploy the same again",
        look: Step | str = "Look at the app before you run anything else",
    ) -> Deployed:
        """Deploys a digest without a build. The returned `image` is the pinned reference that the API says it deployed,
        or None if it does not say; its registry may have another name than here. `commit` is the image's source, and
        `is_dirty` says that it was built with uncommitted changes. `expected` is the revision that must run now (0:
        none), for a server with `revision-check`. Errors suggest `again` if nothing was deployed, `unsure` if the
        outcome is not known, and `look` if something else may run.

        On a server with the feature `rollback`, `restores` is sent instead of `request`, to restore an earlier
        revision. That revision must have the image of `request`, whose digest may be empty.

        DigestNotFound if the registry has no such manifest. MayHaveStarted if the outcome is not known, or if the API
        deployed something else. ChangedMeanwhile if another revision runs.
        """
        image_name, build_id = request.image_name, request.build_id
        missing = f"buildId {images.shortened(build_id)} is not in the registry for image {image_name}"
        purpose = Purpose(
            "deploy",
            "Nothing was deployed",
            (again,),
            ("The deploy may have happened", (unsure,)),
            if_404=None if restores else DigestNotFound(missing, "Nothing was built or deployed"),
            if_refused=(unsure,) if restores else (),
        )
        path = paths.BUILD
        if restores:
            namespace, app = images.label(request.namespace), images.label(request.app)
            path = paths.APP_ROLLBACK.format(namespace=namespace, app=app)
        checks = expected is not None and "revision-check" in self.features
        headers = {
            "X-Deploy-By": self._by,
            "X-Deploy-Commit": f"{commit}{'-dirty' if is_dirty else ''}" if images.is_commit(commit) else None,
            "If-Match": f'"{expected}"' if checks else None,
        }
        answer = self.send(purpose, "POST", path, restores or request, headers=headers)
        if answer.status == 412:
            return _as_it_runs(answer, request, look, is_all=not restores)
        said = decoded(purpose, Deployed, answer)
        if not said.skipped:
            job = f" (job {said.job_name})" if said.job_name else ""
            effect = "A build may be running, and what is deployed is not certain"
            next = "Look at the cluster before you run anything else"
            raise MayHaveStarted(f"the API did not say that it skipped the build{job}", effect, next)
        if not said.success or said.status == "failed":
            what = "the API accepted the deploy and says that it did not succeed"
            raise ApiRefused(what, 200, next="Look at the app's events")
        if not build_id:
            return said
        reference = said.image and _reference_to(image_name, build_id, said.image)
        is_other_digest = said.build_id not in (None, "", build_id)
        if is_other_digest or (said.image and not reference):
            other = excerpt(f"buildId {said.build_id}" if is_other_digest else str(said.image))
            what = f"the API says that it deployed {other}, not {image_name}@{build_id}"
            raise MayHaveStarted(what, "Another image may run now", look)
        return said if reference and reference.digest else structs.replace(said, image=None)


def _as_it_runs(answer: Answer, request: DeployRequest, look: Step | str, *, is_all: bool) -> Deployed:
    """The result of a deploy that was answered with 412. If that answers a retry, and the first request made what runs
    now, it succeeded (`is_all`: the request has the whole deploy config). Otherwise raises ChangedMeanwhile, or
    MayHaveStarted if the outcome of the first request is not known."""
    now, runs = None, "what runs now is not known"
    with suppress(ValueError):
        now, runs = decode(answer.body, RevisionChanged).app, "nothing is deployed now"
    if now:
        digest = images.shortened(now.digest) if now.digest else excerpt(now.image or "")
        when = f"deployed {excerpt(now.deployed_at)} by {excerpt(now.deployed_by)}"
        runs = f"revision {now.revision} runs now, {digest}, {when}"
    if not answer.is_repeat:
        raise ChangedMeanwhile(f"something else was deployed meanwhile: {runs}", next=look)
    if now and now.digest == (request.build_id or None):
        config = request.deploy_config
        if not (is_all and differences(now.deploy_config or config, config)):
            return Deployed(skipped=True, image=now.image, revision=now.revision)
    what = f"the first answer to the deploy was lost, and the API refused to deploy again: {runs}"
    raise MayHaveStarted(what, "The deploy may have happened, and something else after it", look)


def _reference_to(image_name: str, build_id: str, text: str) -> images.Reference | None:
    """The parts of the reference `text` if it is of that image, in any registry, with that digest or none; else
    None."""
    try:
        reference = images.parse(text)
    except ValueError:
        return None
    return reference if reference.name == image_name and reference.digest in (None, build_id) else None
