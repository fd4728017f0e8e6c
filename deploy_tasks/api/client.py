"""The Deploy API: one method an endpoint, one `_request()` that everything passes through.

    >>> DeployClient("https://deploy.example.com", key).digest("myapp", tag="abc")    # doctest: +SKIP
    'sha256:…'

Source: docs/deploy-api.md. What happens when it misbehaves: docs/reliability.md.
"""

from __future__ import annotations

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
from ..redaction import excerpt, redact
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
    Log,
)

if TYPE_CHECKING:
    from .transport import Answer, Transport

T = TypeVar("T")

# A gzip of 292 KB grew to 300 MB: no answer of this API needs more, logs excepted.
_MOST_BYTES = 1_000_000
_MOST_LOG_BYTES = 64_000_000
# Before or after any work is not known of these (docs/deploy-api.md), so they say nothing about the request.
_SAYS_NOTHING = {408, 425, 429, *range(500, 600)} - {501}
_NOT_SERVED = {404, 405, 501}
# What refuses the question says nothing about the build, though APIs call that "failed", too.
_REFUSES_TO_SAY = {401, 403, 429, *range(300, 400)} | _NOT_SERVED
_PAUSES = (0.5, 1.5)
# What is due now is still given a moment to answer.
_LEAST_SECONDS = 1.0
# With the server's wait equal to the client's read timeout, 19 of 20 waits failed.
_SPARE_SECONDS = 10.0


class _Purpose(NamedTuple):
    """What a request is for, in the words of its error messages."""

    does: str
    nothing_done: str
    """What it means for builds and deploys that the request did nothing."""
    again: str
    """What to run next then."""
    unknown: str | None
    """Both, where it may have done something; None for what changes nothing, however often it is sent."""
    repeatable: bool = True
    is_api_only: bool = False
    """Whether a 404 with a web page cannot be an answer of the API's own."""
    is_of_build: bool = False
    """Whether an answer that calls the build failed counts, whatever its HTTP status."""


_READ = _Purpose("ask for the digest", "nothing was changed", "try again", None, is_api_only=True)
_CHECK = _READ._replace(
    does="check the tag", nothing_done="the image is pushed and recorded", again="no need to build it again"
)
_LOOK = _Purpose("look at the build or the app", "nothing was changed", "try again", None)
_LOOK_AT_BUILD = _LOOK._replace(is_of_build=True)


def _deploy(again: str) -> _Purpose:
    return _Purpose(
        "deploy",
        "nothing was deployed",
        f"try again: {again}",
        f"the deploy may have happened; saying it twice does no harm: {again}",
    )


class DeployClient:
    """Speaks to one Deploy API.

    `url` is its address without a trailing slash, `key` goes into `X-API-Key`, `timeout` bounds one request, in
    seconds; `command` makes the command line of a task, and `key_from` says where the key is
    from, for messages. Raises the errors of `errors.py`; neither the key nor a git token is ever part of a message.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout: float = 30.0,
        command: Callable[[str], str] = "invoke {}".format,
        key_from: str = "",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url
        self._command, self._key_from = command, key_from
        self._sleep = sleep
        self._key = key
        self._timeout = timeout
        self._transport: Transport | None = None

    def get_ready(self) -> None:
        """Loads what the first request needs: to be called where something else has to be waited for."""
        from .transport import Transport

        self._transport = self._transport or Transport(self._key)

    def start_build(self, request: BuildRequest) -> BuildStarted:
        """Starts an in-cluster build, exactly once. MayHaveStarted where it is not known whether it did, and where it
        builds another image than the one that was asked for by name."""
        again = self._command("build")
        unsure = (
            f"the build may have started, so it was not sent again; look for it in the cluster before you run: {again}"
        )
        start = _Purpose("start the build", "no build was started", f"try again: {again}", unsure, repeatable=False)
        started = self._json(start, BuildStarted, "POST", "/build", request)
        try:
            images.label(started.job_name)
        except ValueError as error:
            raise _unknown(start, f"the API answered not as it should: {error}") from error
        with suppress(ValueError):  # a job is not lost to an image that cannot be read
            built = images.parse(started.image or "").name
            if request.image_name not in (None, built):
                raise MayHaveStarted(
                    f"the API started {started.job_name} for image {built}, not for {request.image_name}. That build "
                    "goes on, and its image is not recorded. Look at it: "
                    f"{self._command(f'logs --job {started.job_name}')}"
                )
        return started

    def wait(self, job: str, *, seconds: float, within: float) -> BuildState:
        """One slice of waiting: answers when the build is over, at the latest after `seconds`, or not at all after
        `within`.

        NothingStarted where the wait was cut: the build goes on, so ask again. JobNotFound where the API knows no such
        job.
        """
        path = f"/build/{images.label(job)}/wait?timeout={max(1, round(seconds))}"
        go_on = f"pick it up: {self._command('wait')}"
        purpose = _Purpose(
            "wait for the build",
            "the build goes on",
            go_on,
            None,
            repeatable=False,
            is_api_only=True,
            is_of_build=True,
        )
        try:
            body = self._request(purpose, "POST", path, timeout=seconds + _SPARE_SECONDS, within=within).body
        except ApiRefused as error:
            if error.status != 404:
                raise
            raise JobNotFound(f"the API knows no build job {job} (any more)") from error
        return self._decoded(purpose, BuildState, body) if body.strip() else BuildState()

    def status(self, job: str, *, within: float = math.inf) -> BuildState | None:
        """The phase of a build, or None where this server does not serve it. Takes `within` seconds at most, or one."""
        answer = self._known(f"/build/{images.label(job)}", _LOOK_AT_BUILD, within=max(within, _LEAST_SECONDS))
        return None if answer is None else self._decoded(_LOOK_AT_BUILD, BuildState, answer.body)

    def logs(self, job: str) -> Log | None:
        """All lines of a build so far, or None where this server does not serve them."""
        answer = self._known(f"/build/{images.label(job)}/logs", most=_MOST_LOG_BYTES)
        return None if answer is None else Log(self._decoded(_LOOK, BuildLogs, answer.body).logs, answer.transferred)

    def log_size(self, job: str) -> int | None:
        """How many bytes `logs` would bring, for the price of none (HEAD, RFC 9110 9.3.2); None if it is not said."""
        try:
            return self._request(_LOOK, "HEAD", f"/build/{images.label(job)}/logs").announced or None
        except ApiRefused:
            return None

    def app(self, namespace: str, app: str, *, within: float = math.inf) -> AppState | None:
        """How an app runs, or None where this server does not say, or knows no such app. Takes `within` seconds at
        most, or one."""
        path = f"/api/apps/{images.label(namespace)}/{images.label(app)}"
        answer = self._known(path, within=max(within, _LEAST_SECONDS))
        return None if answer is None else self._decoded(_LOOK, AppAnswer, answer.body).app

    def digest(self, image_name: str, *, tag: str, is_recorded: bool = False) -> str:
        """The digest that `tag` of `image_name` points to now (`sha256:…`). DigestNotFound where there is none. For
        messages, `is_recorded` says that this comes after the push of that image."""
        name = quote(images.image_name(image_name), safe="/")
        try:
            path = f"/registry/{name}/digest?tag={quote(images.tag(tag), safe='')}"
            answer = self._json(_CHECK if is_recorded else _READ, Digest, "GET", path)
        except ApiRefused as error:
            if error.status != 404:
                raise
            raise DigestNotFound(f"tag {tag} is not in the registry for image {image_name}") from error
        try:
            build_id = images.digest(answer.build_id)
        except ValueError as error:
            raise NothingStarted(f"the API answered the digest of {image_name}:{tag} with {error}") from error
        if answer.image and not _is_reference_to(image_name, build_id, answer.image):
            raise NothingStarted(
                f"the API answered the digest of {image_name}:{tag} with that of {excerpt(answer.image)}"
            )
        return build_id

    def deploy(self, request: DeployRequest, *, again: str | None = None) -> Deployed:
        """Deploys a digest without a build. DigestNotFound where the registry has no such manifest. `again` is the
        command that deploys the same once more, for the message where that is what to do."""
        try:
            answer = self._json(_deploy(again or self._command("reuse")), Deployed, "POST", "/build", request)
        except ApiRefused as error:
            if error.status != 404 or error.is_page:
                raise
            raise DigestNotFound(
                f"buildId {images.shortened(request.build_id)} is not in the registry for image {request.image_name}; "
                "nothing was built or deployed"
            ) from error
        if not answer.skipped:
            job = f" (job {answer.job_name})" if answer.job_name else ""
            raise MayHaveStarted(
                f"the API did not say that it skipped the build{job}: it may be building now, and it is not sure what "
                "is deployed. Look at the cluster before you run anything else"
            )
        if not answer.success or answer.status == "failed":
            raise ApiRefused("the API took the deploy and says that it did not succeed; look at the app's events", 200)
        answer.image = self._checked(request, answer)
        return answer

    def _checked(self, request: DeployRequest, answer: Deployed) -> str | None:
        """The pinned reference that the API says it deployed, None where it says none. MayHaveStarted where that is
        another image than the one of `request`; its registry may have any name."""
        said = answer.image
        is_asked_for = answer.build_id in (None, "", request.build_id)
        if not said and is_asked_for:
            return None
        if said and is_asked_for and _is_reference_to(request.image_name, request.build_id, said):
            return said if images.parse(said).digest else None
        other = said if is_asked_for else f"buildId {answer.build_id}"
        raise MayHaveStarted(
            f"the API says that it deployed {excerpt(str(other))}, not {request.image_name}@{request.build_id}: "
            f"another image may run now. Look before you run anything else: {self._command('status')}"
        )

    def _known(
        self, path: str, purpose: _Purpose = _LOOK, *, most: int = _MOST_BYTES, within: float = math.inf
    ) -> Answer | None:
        """GET from an endpoint that only some servers have."""
        try:
            return self._request(purpose, "GET", path, most=most, within=within)
        except ApiRefused as error:
            if error.status not in _NOT_SERVED:
                raise
            return None

    def _json(self, purpose: _Purpose, kind: type[T], method: str, path: str, body: object = None) -> T:
        return self._decoded(purpose, kind, self._request(purpose, method, path, body).body)

    def _decoded(self, purpose: _Purpose, kind: type[T], body: bytes) -> T:
        try:
            return decode(body, kind)
        except ValueError as error:
            raise _unknown(purpose, f"the API answered not as it should ({error}): {excerpt(body)}") from error

    def _request(
        self,
        purpose: _Purpose,
        method: str,
        path: str,
        body: object = None,
        *,
        timeout: float | None = None,
        within: float = math.inf,
        most: int = _MOST_BYTES,
    ) -> Answer:
        """The one door to the network: a 2xx answer, a typed error for everything else. `timeout` bounds one exchange,
        `within` all of them with the pauses in between."""
        text = None if body is None else encode(body)
        deadline = Deadline(within, sleep=self._sleep)
        for pause in (*_PAUSES, None) if purpose.repeatable else (None,):
            seconds = min(timeout or self._timeout, deadline.left())
            try:
                return self._exchange(purpose, method, path, text, seconds=seconds, most=most)
            except (NothingStarted, MayHaveStarted) as error:
                if pause is None:
                    raise
                asked = min(error.retry_after, self._timeout) + pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
                if asked >= deadline.left():
                    raise
            deadline.pause(asked)
        raise AssertionError("the last turn returns or raises")

    def _exchange(
        self, purpose: _Purpose, method: str, path: str, body: bytes | None, *, seconds: float, most: int
    ) -> Answer:
        from .transport import NoAnswer, NotSent

        self.get_ready()
        assert self._transport is not None  # noqa: S101 - what getting ready is for
        try:
            answer = self._transport.exchange(method, self.url + path, body, seconds=seconds, most=most)
        except NotSent as error:
            why = f" ({error})" if str(error) else ""
            what = f"could not {purpose.does}: no connection to {self._host}{why}"
            raise NothingStarted(what, f"{purpose.nothing_done}; {purpose.again}", reached=False) from error
        except NoAnswer as error:
            raise _unknown(purpose, f"{self._host} {error}") from error
        if 200 <= answer.status < 300 or (purpose.is_of_build and _says_failed(answer)):
            return answer
        raise self._refusal(purpose, answer)

    def _refusal(self, purpose: _Purpose, answer: Answer) -> DeployError:
        status, what = answer.status, f"could not {purpose.does}: {self._host} answered {answer.status}"
        # See Other says that the request was taken, and where its result is.
        if status in _SAYS_NOTHING or (status == 303 and purpose.unknown):
            return _unknown(purpose, f"{self._host} answered {status}", retry_after=answer.retry_after)
        if 300 <= status < 400:
            target = redact(re.sub(r"^[^/]*//([^/?#]*@)?|[/?#].*$", "", answer.location))[:80] or "another path"
            why = f"a redirect to {target!r}, not followed, since the key would go along; correct DEPLOY_API_URL"
            return ApiRefused(f"{what}, {why}; {purpose.nothing_done}", status)
        if status in (401, 403):
            return ApiRefused(f"{what}: it does not accept the key; {self._check_key}; {purpose.nothing_done}", status)
        is_page = answer.body.lstrip().startswith(b"<")
        if status == 404 and is_page and purpose.is_api_only:
            return _unknown(purpose, f"{self._host} answered 404 with a web page, which is not the API's")
        return ApiRefused(f"{what}: {excerpt(answer.body)}; {purpose.nothing_done}", status, is_page=is_page)

    @property
    def _check_key(self) -> str:
        return f"check DEPLOY_API_KEY{f' (from {self._key_from})' if self._key_from else ''}"

    @property
    def _host(self) -> str:
        return urlsplit(self.url).netloc


def _says_failed(answer: Answer) -> bool:
    """Whether what is no success still says what became of the build: that it failed."""
    try:
        return answer.status not in _REFUSES_TO_SAY and decode(answer.body, BuildState).status == "failed"
    except ValueError:
        return False


def _is_reference_to(image_name: str, build_id: str, said: str) -> bool:
    """Whether `said` is a reference to that image, in whatever registry; it may leave the digest out."""
    try:
        reference = images.parse(said)
    except ValueError:
        return False
    return reference.name == image_name and reference.digest in (None, build_id)


def _unknown(purpose: _Purpose, what: str, *, retry_after: float = 0.0) -> DeployError:
    """The request went out, and what came back does not say what became of it."""
    what = f"could not {purpose.does}: {what}"
    if purpose.unknown is None:
        return NothingStarted(what, f"{purpose.nothing_done}; {purpose.again}", retry_after=retry_after)
    return MayHaveStarted(f"{what}; {purpose.unknown}", retry_after=retry_after)
