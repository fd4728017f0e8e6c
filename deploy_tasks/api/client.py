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
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

from .. import images
from ..deadline import Deadline
from ..encoding import decode, encode
from ..errors import ApiRefused, DeployError, DigestNotFound, JobNotFound, MayHaveStarted, NothingStarted
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
)

if TYPE_CHECKING:
    from .transport import Answer

T = TypeVar("T")

_log = logging.getLogger("deploy_tasks")
# A gzip of 292 KB grew to 300 MB. No answer of this API needs more than this, except for logs.
_MOST_BYTES = 1_000_000
_MOST_LOG_BYTES = 64_000_000
# These may come before or after the work (docs/deploy-api.md), so they do not say whether it was done.
_SAYS_NOTHING = {408, 425, 429, *range(500, 600)} - {501}
_NOT_SERVED = {404, 405, 501}
# An answer that refuses the question says nothing about the build, though some APIs call that "failed" too.
_REFUSES_TO_SAY = {401, 403, 429, *range(300, 400)} | _NOT_SERVED
_PAUSES = (0.5, 1.5)
_BUILD, _REUSE = Step("build"), Step("reuse")
# Also at the deadline, a server gets a moment to answer.
_LEAST_SECONDS = 1.0
# When the server's wait was as long as the client's read timeout, 19 of 20 waits failed.
_SPARE_SECONDS = 10.0


class _Purpose(NamedTuple):
    """What a request is for, as its errors say it."""

    what: str
    """What it does, after "could not"."""
    effect: str = "Nothing was changed"
    """Its effect if it did nothing."""
    next: tuple[Step | str, ...] = ("Try again",)
    """What to do if it did nothing."""
    if_unknown: tuple[str, tuple[Step | str, ...]] | None = None
    """Effect and next step if it may have done something. None for a request that changes nothing."""
    is_repeatable: bool = True
    is_api_only: bool = False
    """Whether the API itself never answers 404 with a web page."""
    is_of_build: bool = False
    """Whether an answer that says that the build failed counts, whatever its HTTP status."""
    is_optional: bool = False
    """Whether only some servers have the endpoint: then an answer of `_NOT_SERVED` is returned."""


_DIGEST = _Purpose("ask for the digest", is_api_only=True)
_SIZE = _Purpose("look at the build or the app")
_LOOK = _SIZE._replace(is_optional=True)
_LOOK_AT_BUILD = _LOOK._replace(is_of_build=True)
_WAIT = _Purpose("wait for the build", "The build goes on", (), is_repeatable=False, is_api_only=True, is_of_build=True)


class DeployClient:
    """Talks to the Deploy API at `url` (without a trailing slash), with `key` in `X-API-Key`.

    `timeout` bounds one request, in seconds; `key_from` names the source of the key in errors. Methods raise the errors
    of `errors.py`, without key and git token, and ValueError for a name that is none. Where a method has `again`, that
    is the command that its errors suggest to repeat; they introduce it in their own words.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout: float = 30.0,
        key_from: str = "DEPLOY_API_KEY",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        from .transport import Transport

        self._host = urlsplit(url).netloc
        self._key_from, self._timeout, self._sleep = key_from, timeout, sleep
        self._transport = Transport(url, key)
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
            is_repeatable=False,
        )
        started = _decoded(start, BuildStarted, self._request(start, "POST", "/build", request))
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
        try:
            answer = self._request(_WAIT, "POST", path, timeout=seconds + _SPARE_SECONDS, within=within)
        except ApiRefused as error:
            if error.status != 404:
                raise
            raise JobNotFound(f"the API knows no build job {job} (any more)", error.status) from error
        return _decoded(_WAIT, BuildState, answer) if answer.body.strip() else BuildState()

    def status(self, job: str, *, within: Deadline | None = None) -> BuildState | None:
        """The state of a build, or None if this server does not serve it."""
        answer = self._request(_LOOK_AT_BUILD, "GET", f"/build/{images.label(job)}", within=within)
        return None if answer.status in _NOT_SERVED else _decoded(_LOOK_AT_BUILD, BuildState, answer)

    def logs(self, job: str) -> Log | None:
        """The whole log of a build so far, or None if this server does not serve it."""
        answer = self._request(_LOOK, "GET", f"/build/{images.label(job)}/logs", most=_MOST_LOG_BYTES)
        if answer.status in _NOT_SERVED:
            return None
        return Log(_decoded(_LOOK, BuildLogs, answer).logs, answer.transferred)

    def log_size(self, job: str) -> int | None:
        """How many bytes `logs` would transfer, or None if the server does not say (HEAD, RFC 9110 9.3.2)."""
        try:
            answer = self._request(_SIZE, "HEAD", f"/build/{images.label(job)}/logs")
        except ApiRefused:
            return None
        return int(_number(answer, "Content-Length")) or None

    def app(self, namespace: str, app: str, *, within: Deadline | None = None) -> AppState | None:
        """How an app runs, or None if this server does not say, or does not know the app. A FullAppState if the server
        has the feature `app-state`."""
        path = f"/api/apps/{images.label(namespace)}/{images.label(app)}"
        answer = self._request(_LOOK, "GET", path, within=within)
        if answer.status in _NOT_SERVED:
            return None
        if "app-state" in self.features:
            with suppress(ValueError):  # what every server says is enough to follow a rollout
                return decode(answer.body, FullAppAnswer).app
        return _decoded(_LOOK, AppAnswer, answer).app

    def digest(self, image_name: str, *, tag: str) -> str:
        """The digest that `tag` of `image_name` points to now (`sha256:…`). DigestNotFound if there is none."""
        name, its_tag = quote(images.image_name(image_name), safe="/"), quote(images.tag(tag), safe="")
        try:
            response = self._request(_DIGEST, "GET", f"/registry/{name}/digest?tag={its_tag}")
        except ApiRefused as error:
            if error.status != 404:
                raise
            raise DigestNotFound(f"tag {tag} is not in the registry for image {image_name}") from error
        answer = _decoded(_DIGEST, Digest, response)
        if answer.image and not _reference_to(image_name, answer.build_id, answer.image):
            what = f"the API answered the digest of {image_name}:{tag} with that of {excerpt(answer.image)}"
            raise NothingStarted(what, _DIGEST.effect)
        return answer.build_id

    def deploy(self, request: DeployRequest, *, again: Step = _REUSE) -> str | None:
        """Deploys a digest without a build. Returns the pinned reference that the API says it deployed, or None if it
        does not say; its registry may have another name than here. DigestNotFound if the registry has no such manifest.
        MayHaveStarted if its outcome is not known, or if the API deployed something else."""
        deploy = _Purpose(
            "deploy",
            "Nothing was deployed",
            (again._replace(says="Try again"),),
            ("The deploy may have happened", (again._replace(says="It is safe to deploy the same again"),)),
        )
        try:
            response = self._request(deploy, "POST", "/build", request)
        except ApiRefused as error:
            if error.status != 404 or error.is_page:
                raise
            raise DigestNotFound(
                f"buildId {images.shortened(request.build_id)} is not in the registry for image {request.image_name}",
                "Nothing was built or deployed",
            ) from error
        answer = _decoded(deploy, Deployed, response)
        if not answer.skipped:
            job = f" (job {answer.job_name})" if answer.job_name else ""
            effect = "A build may be running, and what is deployed is not certain"
            next = "Look at the cluster before you run anything else"
            raise MayHaveStarted(f"the API did not say that it skipped the build{job}", effect, next)
        if not answer.success or answer.status == "failed":
            what = "the API accepted the deploy and says that it did not succeed"
            raise ApiRefused(what, 200, next="Look at the app's events")
        other = f"buildId {answer.build_id}"
        if answer.build_id in (None, "", request.build_id):
            if not answer.image:
                return None
            if reference := _reference_to(request.image_name, request.build_id, answer.image):
                return answer.image if reference.digest else None
            other = answer.image
        place = {key: again.flags.get(key) for key in ("app", "namespace", "app_class")}
        raise MayHaveStarted(
            f"the API says that it deployed {excerpt(other)}, not {request.image_name}@{request.build_id}",
            "Another image may run now",
            Step("status", place, says="Look before you run anything else"),
        )

    def _request(
        self,
        purpose: _Purpose,
        method: str,
        path: str,
        body: object = None,
        *,
        timeout: float | None = None,
        within: Deadline | None = None,
        most: int = _MOST_BYTES,
    ) -> Answer:
        """Sends a request, again after a failure if it is repeatable. Returns an answer that its purpose expects;
        anything else is raised. `timeout` bounds one exchange (default: the client's), `within` all of them and the
        pauses in between."""
        text = None if body is None else encode(body)
        deadline = within or Deadline(math.inf, sleep=self._sleep)
        pauses = iter(_PAUSES if purpose.is_repeatable else ())
        while True:
            seconds = max(_LEAST_SECONDS, min(timeout or self._timeout, deadline.left()))
            try:
                return self._exchange(purpose, method, path, text, seconds=seconds, most=most)
            except (NothingStarted, MayHaveStarted) as error:
                pause = next(pauses, math.inf) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
                pause += min(error.retry_after, self._timeout)
                if pause >= deadline.left():
                    raise
            deadline.pause(pause)

    def _exchange(
        self, purpose: _Purpose, method: str, path: str, body: bytes | None, *, seconds: float, most: int
    ) -> Answer:
        """The only way to the network."""
        from .transport import NoAnswer, NotSent

        start, outcome = time.monotonic(), "interrupted"
        try:
            answer = self._transport.exchange(method, path, body, seconds=seconds, most=most)
            outcome = f"{answer.status}, {answer.transferred} bytes"
            self.features = frozenset(answer.headers.get("Deploy-Api-Features", "").replace(" ", "").split(","))
        except NotSent as error:
            outcome = f"no connection to {self._host}{f' ({error})' if str(error) else ''}"
            advice = (f"{error.advice}.",) if error.advice else ()
            what = f"could not {purpose.what}: {outcome}"
            raise NothingStarted(what, purpose.effect, (*advice, *purpose.next), reached=False) from error
        except NoAnswer as error:
            outcome = f"{self._host} {error}"
            raise _unknown(purpose, outcome) from error
        finally:
            _log.debug("%s", fit(f"{method} {path}: {outcome}, {time.monotonic() - start:.1f} s"))
        is_expected = answer.status in range(200, 300) or (purpose.is_optional and answer.status in _NOT_SERVED)
        if is_expected or (purpose.is_of_build and _says_failed(answer)):
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
            why = _said(answer) if status == 403 else None
            why = f"{what}: {excerpt(why) if why else 'it does not accept the key'}"
            return ApiRefused(why, status, purpose.effect, f"Check {self._key_from}")
        is_page = answer.body.lstrip().startswith(b"<")
        if status == 404 and is_page and purpose.is_api_only:
            return _unknown(purpose, f"{said} with a web page, which the API does not have")
        return ApiRefused(f"{what}: {excerpt(answer.body)}", status, purpose.effect, is_page=is_page)


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


def _said(answer: Answer) -> str | None:
    """Why the API refused, if it says so in the `error` of a JSON object."""
    try:
        return decode(answer.body, Refusal).error
    except ValueError:
        return None


def _says_failed(answer: Answer) -> bool:
    """Whether an answer that is not a success says that the build failed."""
    try:
        return answer.status not in _REFUSES_TO_SAY and decode(answer.body, BuildState).status == "failed"
    except ValueError:
        return False


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
