"""The Deploy API: one method for each endpoint, all through `_request()`.

    >>> DeployClient("https://deploy.example.com", key).digest("myapp", tag="abc")    # doctest: +SKIP
    'sha256:…'

Source: docs/deploy-api.md. What each fault comes to: docs/reliability.md.
"""

from __future__ import annotations

import logging
import math
import random
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

from msgspec import structs

from .. import images
from ..deadline import Deadline
from ..deploy_config import differences
from ..encoding import decode, encode
from ..errors import (
    ApiRefused,
    ChangedMeanwhile,
    DeployError,
    DigestNotFound,
    JobNotFound,
    MayHaveStarted,
    NothingStarted,
)
from ..next_steps import Step
from ..redaction import excerpt, fit, redact
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
    Refusal,
    Revision,
    RevisionChanged,
    RevisionsAnswer,
    RollbackRequest,
)

if TYPE_CHECKING:
    from .transport import Answer

T = TypeVar("T")

_LOGGER = logging.getLogger("deploy_tasks")
# These may come before or after the work (docs/deploy-api.md), so they do not say whether it was done.
_SAYS_NOTHING = {408, 425, 429, *range(500, 600)} - {501}
_NOT_SERVED = {404, 405, 501}
_REFUSES_TO_SAY = {401, 403, 429, *range(300, 400)} | _NOT_SERVED
_PAUSES = (0.5, 1.5)
_BUILD, _REUSE = Step("build"), Step("reuse")
_NO_HEADERS: Mapping[str, str | None] = {}
# Also at the deadline, a server gets a moment to answer.
_LEAST_SECONDS = 1.0
# When the server's wait was as long as the client's read timeout, 19 of 20 waits failed.
_SPARE_SECONDS = 10.0
SECONDS_TO_LOOK = 10.0
_LONGEST_HEADER = 255


class _Purpose(NamedTuple):
    """What a request is for: what it does, after "could not"; the effect and the next step of a failure that did
    nothing; and those of one that may have done something, None for a request that changes nothing."""

    what: str
    effect: str = "Nothing was changed"
    next: tuple[Step | str, ...] = ("Try again",)
    if_unknown: tuple[str, tuple[Step | str, ...]] | None = None
    if_404: DeployError | None = None
    """The error that 404 means. None if the API does not use it for this request."""
    if_refused: tuple[Step, ...] = ()
    """What to do if the API refused it, and did not say what is to be corrected."""
    repeats: int = 2
    """How often it is sent again at most."""
    most: int = 1_000_000
    """Bytes of an answer. A gzip of 292 KB grew to 300 MB; no answer but a log needs more than this."""
    is_api_only: bool = False
    """Whether a web page that comes with 404 says nothing: the API itself never answers with one."""
    is_of_build: bool = False
    """Whether an answer that says that the build failed counts, whatever its HTTP status."""
    is_optional: bool = False
    """Whether only some servers have the endpoint: then an answer of `_NOT_SERVED` is returned."""


_DIGEST = _Purpose("ask for the digest", is_api_only=True)
_SIZE = _Purpose("look at the build or the app")
_LOOK = _SIZE._replace(is_optional=True)
_LOG = _LOOK._replace(most=64_000_000)
_BEFORE_DEPLOY = _LOOK._replace(what="ask what runs", effect="Nothing was deployed", repeats=1)
_LOOK_AT_BUILD = _LOOK._replace(is_of_build=True)
_WAIT = _Purpose("wait for the build", "The build goes on", (), repeats=0, is_api_only=True, is_of_build=True)


class DeployClient:
    """Talks to the Deploy API at `url` (without a trailing slash), with `key` in `X-API-Key`.

    `timeout` bounds one request, in seconds; `key_from` names the source of the key in errors; `by` is who asks, for
    the server to note. Methods raise the errors of `errors.py`, without key and git token, and ValueError for a name
    that is none. Their `again` is the command that errors suggest to repeat, in words of their own.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout: float = 30.0,
        key_from: str = "DEPLOY_API_KEY",
        by: str = "",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        from .transport import Transport

        self._host = urlsplit(url).netloc
        self._key_from, self._timeout, self._sleep = key_from, timeout, sleep
        # What a header may hold.
        self._by = re.sub(r"[^ -~]", "?", by)[:_LONGEST_HEADER].strip() or None
        self._new_transport = partial(Transport, url, key)
        self._transport = self._new_transport()
        self.features: frozenset[str] = frozenset()
        """The extensions of the API that the server's last answer lists (docs/deploy-api.md)."""

    def start_build(self, request: BuildRequest, *, again: Step = _BUILD) -> BuildStarted:
        """Starts a build in the cluster; the request is sent once. MayHaveStarted if its outcome is not known, or if
        the API builds another image than the request named."""
        unsure = ("Look for it in the cluster first.", again._replace(says="Then try again"))
        start = _Purpose(
            "start the build",
            "No build was started",
            (again._replace(says="Try again"),),
            ("The build may have started, so it was not sent again", unsure),
            repeats=0,
        )
        commit = request.git_ref if images.is_commit(request.git_ref) else None
        headers = {"X-Deploy-By": self._by, "X-Deploy-Commit": commit}
        answer = self._request(start, "POST", "/build", request, headers=headers)
        started = _decoded(start, BuildStarted, answer)
        if (built := started.reference) and request.image_name not in (None, built.name):
            raise MayHaveStarted(
                f"the API started {started.job_name} for image {built.name}, not for {request.image_name}",
                "That build goes on, and its image is not recorded",
                Step("logs", {"job": started.job_name, "app": again.flags.get("app")}, says="Look at it"),
            )
        return started

    def wait(self, job: str, *, seconds: float, within: Deadline | None = None) -> BuildState:
        """The state of a build once it has ended, or after `seconds`. NothingStarted if the connection was cut: the
        build goes on, so ask again. JobNotFound if the API does not know the job."""
        path = f"/build/{images.label(job)}/wait?timeout={max(1, round(seconds))}"
        wait = _WAIT._replace(if_404=JobNotFound(f"the API knows no build job {job} (any more)", 404))
        answer = self._request(wait, "POST", path, timeout=seconds + _SPARE_SECONDS, within=within)
        return _decoded(wait, BuildState, answer) if answer.body.strip() else BuildState()

    def status(self, job: str, *, within: Deadline | None = None) -> BuildState | None:
        """The state of a build, or None if this server does not serve it."""
        answer = self._request(_LOOK_AT_BUILD, "GET", f"/build/{images.label(job)}", within=within)
        return None if answer.status in _NOT_SERVED else _decoded(_LOOK_AT_BUILD, BuildState, answer)

    def logs(self, job: str) -> Log | None:
        """The whole log of a build so far, or None if this server does not serve it."""
        answer = self._request(_LOG, "GET", f"/build/{images.label(job)}/logs")
        if answer.status in _NOT_SERVED:
            return None
        return Log(_decoded(_LOG, BuildLogs, answer).logs, answer.transferred)

    def log_size(self, job: str) -> int | None:
        """How many bytes `logs` would transfer, or None if the server does not say (HEAD, RFC 9110 9.3.2)."""
        try:
            answer = self._request(_SIZE, "HEAD", f"/build/{images.label(job)}/logs")
        except ApiRefused:
            return None
        return int(_number(answer, "Content-Length")) or None

    def app(
        self, namespace: str, app: str, *, within: Deadline | None = None, before: Step | None = None
    ) -> AppState | None:
        """How an app runs, or None if this server does not say, or does not know the app. A FullAppState if the server
        has the feature `app-state`. `before` a deploy, which that step repeats, no server is waited for as long."""
        purpose = _LOOK
        if before:
            purpose = _BEFORE_DEPLOY._replace(next=(before._replace(says="Try again"),))
            within = Deadline(SECONDS_TO_LOOK, sleep=self._sleep)
        path = f"/api/apps/{images.label(namespace)}/{images.label(app)}"
        answer = self._request(purpose, "GET", path, within=within)
        if answer.status in _NOT_SERVED:
            return None
        if "app-state" in self.features:
            with suppress(ValueError):  # what every server says is enough to follow a rollout
                return decode(answer.body, FullAppAnswer).app
        return _decoded(purpose, AppAnswer, answer).app

    def history(self, namespace: str, app: str) -> list[Revision] | None:
        """What was deployed of an app, newest first; None if the last answer did not list the feature `app-history`,
        or the server does not know the app."""
        if "app-history" not in self.features:
            return None
        within = Deadline(SECONDS_TO_LOOK, sleep=self._sleep)
        path = f"/api/apps/{images.label(namespace)}/{images.label(app)}/history"
        answer = self._request(_BEFORE_DEPLOY, "GET", path, within=within)
        return None if answer.status in _NOT_SERVED else _decoded(_BEFORE_DEPLOY, RevisionsAnswer, answer).history

    def digest(self, image_name: str, *, tag: str) -> str:
        """The digest that `tag` of `image_name` points to now (`sha256:…`). DigestNotFound if there is none."""
        name, its_tag = quote(images.image_name(image_name), safe="/"), quote(images.tag(tag), safe="")
        missing = DigestNotFound(f"tag {tag} is not in the registry for image {image_name}")
        purpose = _DIGEST._replace(if_404=missing)
        response = self._request(purpose, "GET", f"/registry/{name}/digest?tag={its_tag}")
        answer = _decoded(_DIGEST, Digest, response)
        if answer.image and not _reference_to(image_name, answer.build_id, answer.image):
            what = f"the API answered the digest of {image_name}:{tag} with that of {excerpt(answer.image)}"
            raise NothingStarted(what, _DIGEST.effect)
        return answer.build_id

    def deploy(
        self,
        request: DeployRequest,
        *,
        restores: RollbackRequest | None = None,
        commit: str | None = None,
        expected: int | None = None,
        again: Step = _REUSE,
        unsure: Step | None = None,
    ) -> Deployed:
        """Deploys a digest without a build. `image` of what is returned is the pinned reference that the API says it
        deployed, or None if it does not say; its registry may have another name than here. `commit` is what the image
        was built from, `expected` the revision that must run now (0: none), for a server with `revision-check`;
        `unsure` is the next step if it may have happened (default: `again`).

        On a server with the feature `rollback`, `restores` is sent instead: an earlier revision returns, which must
        have the image that `request` names; it may name no digest then.

        DigestNotFound if the registry has no such manifest. MayHaveStarted if its outcome is not known, or if the API
        deployed something else. ChangedMeanwhile if another revision runs.
        """
        image_name, build_id = request.image_name, request.build_id
        unsure = unsure or again._replace(says="It is safe to deploy the same again")
        missing = f"buildId {images.shortened(build_id)} is not in the registry for image {image_name}"
        purpose = _Purpose(
            "deploy",
            "Nothing was deployed",
            (again._replace(says="Try again"),),
            ("The deploy may have happened", (unsure,)),
            if_404=None if restores else DigestNotFound(missing, "Nothing was built or deployed"),
            if_refused=(unsure,) if restores else (),
        )
        path = "/build"
        if restores:
            path = f"/api/apps/{images.label(request.namespace)}/{images.label(request.app)}/rollback"
        checks = expected is not None and "revision-check" in self.features
        headers = {
            "X-Deploy-By": self._by,
            "X-Deploy-Commit": commit if images.is_commit((commit or "").removesuffix("-dirty")) else None,
            "If-Match": f'"{expected}"' if checks else None,
        }
        answer = self._request(purpose, "POST", path, restores or request, headers=headers)
        place = {key: again.flags.get(key) for key in ("app", "namespace", "app_class")}
        look = Step("status", place, says="Look before you run anything else")
        if answer.status == 412:
            return _as_it_runs(answer, request, look, is_all=not restores)
        said = _decoded(purpose, Deployed, answer)
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

    def _request(
        self,
        purpose: _Purpose,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str | None] = _NO_HEADERS,
        timeout: float | None = None,
        within: Deadline | None = None,
    ) -> Answer:
        """Sends a request, again after a failure if it is repeatable. Returns an answer that its purpose expects, or
        412 if `headers` name a revision; anything else is raised. `timeout` bounds one exchange (default: the
        client's), `within` all of them and the pauses in between."""
        text = None if body is None else encode(body)
        deadline = within or Deadline(math.inf, sleep=self._sleep)
        pauses = iter(_PAUSES[: purpose.repeats])
        is_repeat = False
        while True:
            seconds = max(_LEAST_SECONDS, min(timeout or self._timeout, deadline.left()))
            try:
                answer = self._exchange(purpose, method, path, text, headers, seconds)
                return answer._replace(is_repeat=is_repeat)
            except (NothingStarted, MayHaveStarted) as error:
                is_repeat = is_repeat or isinstance(error, MayHaveStarted)
                pause = next(pauses, math.inf) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
                pause += min(error.retry_after, self._timeout)
                if pause >= deadline.left():
                    raise
            deadline.pause(pause)

    def _exchange(
        self,
        purpose: _Purpose,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str | None],
        seconds: float,
    ) -> Answer:
        """The only way to the network."""
        from .transport import NoAnswer, NotSent

        start, outcome = time.monotonic(), "interrupted"
        try:
            answer = self._transport.exchange(method, path, body, seconds=seconds, most=purpose.most, headers=headers)
            outcome = f"{answer.status}, {answer.transferred} bytes"
            self.features = frozenset(answer.headers.get("Deploy-Api-Features", "").replace(" ", "").split(","))
        except NotSent as error:
            outcome = f"no connection to {self._host}{f' ({error})' if str(error) else ''}"
            advice = (f"{error.advice}.",) if error.advice else ()
            what = f"could not {purpose.what}: {outcome}"
            raise NothingStarted(what, purpose.effect, (*advice, *purpose.next), reached=False) from error
        except NoAnswer as error:
            # It may still be at work for a request that was given up.
            self._transport = self._new_transport()
            outcome = f"{self._host} {error}"
            raise _unknown(purpose, outcome) from error
        finally:
            _LOGGER.debug("%s", fit(f"{method} {path}: {outcome}, {time.monotonic() - start:.1f} s"))
        is_expected = answer.status in range(200, 300) or (purpose.is_optional and answer.status in _NOT_SERVED)
        is_expected = is_expected or bool(answer.status == 412 and headers.get("If-Match"))
        # An answer that refuses the question says nothing about the build, though some APIs call that "failed" too.
        is_of_build = purpose.is_of_build and answer.status not in _REFUSES_TO_SAY
        if is_expected or (is_of_build and _said(answer, BuildState).status == "failed"):
            return answer
        raise self._refusal(purpose, answer)

    def _refusal(self, purpose: _Purpose, answer: Answer) -> DeployError:
        status, said = answer.status, f"{self._host} answered {answer.status}"
        what = f"could not {purpose.what}: {said}"
        # 303 See Other says that the request was accepted, and where its result is.
        if status in _SAYS_NOTHING or (status == 303 and purpose.if_unknown):
            return _unknown(purpose, said, retry_after=_number(answer, "Retry-After"))
        if 300 <= status < 400:
            host = redact(re.sub(r"^[^/]*//([^/?#]*@)?|[/?#].*$", "", answer.headers.get("Location", "")))[:80]
            what = (
                f"{what}, a redirect to {host or 'another path'!r} that was not followed, since the key would go along"
            )
            return ApiRefused(what, status, purpose.effect, "Correct DEPLOY_API_URL")
        if status in (401, 403):
            # A key that is known may lack a right, and some servers say which.
            why = _said(answer, Refusal).error if status == 403 else None
            why = excerpt(why) if why and isinstance(why, str) else "it does not accept the key"
            return ApiRefused(f"{what}: {why}", status, purpose.effect, f"Check {self._key_from}")
        is_page = answer.body.lstrip().startswith(b"<")
        if status == 404 and is_page and purpose.is_api_only:
            return _unknown(purpose, f"{said} with a web page, which the API does not have")
        refused = ApiRefused(f"{what}: {excerpt(answer.body)}", status, purpose.effect, purpose.if_refused)
        if status == 404 and purpose.if_404 and not is_page:
            purpose.if_404.__cause__ = refused
            return purpose.if_404
        return refused


def _as_it_runs(answer: Answer, request: DeployRequest, look: Step, *, is_all: bool) -> Deployed:
    """The deploy that made what runs, if 412 answers a repeat of that request (`is_all`: that request says all of how
    it runs). Otherwise raises ChangedMeanwhile; or MayHaveStarted if it is not known what became of the request
    before."""
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


def _decoded(purpose: _Purpose, kind: type[T], answer: Answer) -> T:
    """The body of `answer` as a `kind`."""
    try:
        return decode(answer.body, kind)
    except ValueError as error:
        raise _unknown(purpose, f"unexpected answer of the API ({error}): {excerpt(answer.body)}") from error


def _number(answer: Answer, header: str) -> float:
    """The number in a header; 0 if it is none, such as a Retry-After with a date."""
    text = answer.headers.get(header, "")
    return float(text) if re.fullmatch(r"[0-9]{1,12}", text) else 0.0


def _said(answer: Answer, kind: type[T]) -> T:
    """What the API says in an answer that is not a success, as a `kind`; nothing if it is none."""
    with suppress(ValueError):
        return decode(answer.body, kind)
    return kind()


def _reference_to(image_name: str, build_id: str, text: str) -> images.Reference | None:
    """`text` in its parts if it refers to that image, in any registry. It may leave out the digest."""
    try:
        reference = images.parse(text)
    except ValueError:
        return None
    return reference if reference.name == image_name and reference.digest in (None, build_id) else None


def _unknown(purpose: _Purpose, why: str, *, retry_after: float = 0.0) -> DeployError:
    """The error of a request that was sent and whose outcome is not known."""
    what = f"could not {purpose.what}: {why}"
    if purpose.if_unknown is None:
        return NothingStarted(what, purpose.effect, purpose.next, retry_after=retry_after)
    return MayHaveStarted(what, *purpose.if_unknown, retry_after=retry_after)
