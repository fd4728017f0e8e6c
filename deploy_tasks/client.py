"""The Deploy API: one method an endpoint, one `_request()` that everything passes through.

    >>> DeployClient("https://deploy.example.com", key).digest("myapp", tag="abc")    # doctest: +SKIP
    'sha256:…'

Source: docs/deploy-api.md. What happens when it misbehaves: docs/reliability.md.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

from . import images
from .errors import ApiRefused, DeployError, DigestNotFound, JobNotFound, MayHaveStarted, NothingStarted, SettingsError
from .models import (
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
    decode,
    encode,
)
from .redaction import excerpt, redact

if TYPE_CHECKING:
    from .transport import Answer, Transport

T = TypeVar("T")

# A gzip of 292 KB grew to 300 MB: no answer of this API needs more, logs excepted.
_MOST_BYTES = 1_000_000
_MOST_LOG_BYTES = 64_000_000
# Before or after any work is not known of these (docs/deploy-api.md), so they say nothing about the request.
_SAYS_NOTHING = {408, 425, 429, *range(500, 600)} - {501}
_NOT_SERVED = {404, 405, 501}
_PAUSES = (0.5, 1.5)
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


_READ = _Purpose("ask for the digest", "nothing was changed", "try again", None, is_api_only=True)
_LOOK = _Purpose("look at the build or the app", "nothing was changed", "try again", None)


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
        """Starts an in-cluster build, exactly once. MayHaveStarted where it is not known whether it did."""
        again = self._command("build")
        unsure = (
            f"the build may have started, so it was not sent again; look for it in the cluster before you run: {again}"
        )
        start = _Purpose("start the build", "no build was started", f"try again: {again}", unsure, repeatable=False)
        started = self._json(start, BuildStarted, "POST", "/build", request)
        try:
            images.label(started.job_name)
        except SettingsError as error:
            raise _unknown(start, f"the API answered not as it should: {error}") from error
        return started

    def wait(self, job: str, *, seconds: float, within: float) -> BuildState:
        """One slice of waiting: answers when the build is over, at the latest after `seconds`, or not at all after
        `within`.

        NothingStarted where the wait was cut: the build goes on, so ask again. JobNotFound where the API knows no such
        job.
        """
        path = f"/build/{images.label(job)}/wait?timeout={max(1, round(seconds))}"
        go_on = f"pick it up: {self._command('wait')}"
        purpose = _Purpose("wait for the build", "the build goes on", go_on, None, repeatable=False, is_api_only=True)
        try:
            body = self._request(purpose, "POST", path, timeout=min(seconds + _SPARE_SECONDS, within)).body
        except ApiRefused as error:
            if error.status != 404:
                raise
            again = self._command("build")
            raise JobNotFound(f"the API knows no build job {job} (any more); build again: {again}") from error
        return self._decoded(purpose, BuildState, body) if body.strip() else BuildState()

    def status(self, job: str, *, within: float | None = None) -> BuildState | None:
        """The phase of a build, or None where this server does not serve it; no longer than `within` seconds."""
        answer = self._known(f"/build/{images.label(job)}", timeout=self._share(within))
        return None if answer is None else self._decoded(_LOOK, BuildState, answer.body)

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

    def app(self, namespace: str, app: str, *, within: float | None = None) -> AppState | None:
        """How an app runs, or None where this server does not say, or knows no such app; no longer than `within`
        seconds."""
        answer = self._known(f"/api/apps/{images.label(namespace)}/{images.label(app)}", timeout=self._share(within))
        return None if answer is None else self._decoded(_LOOK, AppAnswer, answer.body).app

    def digest(self, image_name: str, *, tag: str) -> str:
        """The digest that `tag` of `image_name` points to now (`sha256:…`). DigestNotFound where there is none."""
        name = quote(images.image_name(image_name), safe="/")
        try:
            answer = self._json(_READ, Digest, "GET", f"/registry/{name}/digest?tag={quote(images.tag(tag), safe='')}")
        except ApiRefused as error:
            if error.status != 404:
                raise
            raise DigestNotFound(f"tag {tag} is not in the registry for image {image_name}") from error
        try:
            return images.digest(answer.build_id)
        except SettingsError as error:
            raise NothingStarted(f"the API answered the digest of {image_name}:{tag} with {error}") from error

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
                f"nothing was built or deployed. Build it: {self._command('build')}, or {self._command('local')}; "
                f"others: {self._command('history')}"
            ) from error
        if not answer.skipped:
            job = f" (job {answer.job_name})" if answer.job_name else ""
            raise MayHaveStarted(
                f"the API did not say that it skipped the build{job}: it may be building now, and it is not sure what "
                "is deployed. Look at the cluster before you run anything else"
            )
        if not answer.success:
            raise ApiRefused("the API took the deploy and says that it did not succeed; look at the app's events", 200)
        return answer

    def _share(self, within: float | None) -> float | None:
        """What one of several tries may take, so that all of them take no longer than `within` seconds."""
        return None if within is None else min(self._timeout, max(within, 1.0) / (len(_PAUSES) + 1))

    def _known(self, path: str, *, most: int = _MOST_BYTES, timeout: float | None = None) -> Answer | None:
        """GET from an endpoint that only some servers have."""
        try:
            return self._request(_LOOK, "GET", path, most=most, timeout=timeout)
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
        most: int = _MOST_BYTES,
    ) -> Answer:
        """The one door to the network: a 2xx answer, a typed error for everything else."""
        text = None if body is None else encode(body)
        for pause in (*_PAUSES, None) if purpose.repeatable else (None,):
            try:
                return self._exchange(purpose, method, path, text, seconds=timeout or self._timeout, most=most)
            except (NothingStarted, MayHaveStarted) as error:
                if pause is None:
                    raise
                asked = min(error.retry_after, self._timeout)
            self._sleep(asked + pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
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
        if 200 <= answer.status < 300:
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


def _unknown(purpose: _Purpose, what: str, *, retry_after: float = 0.0) -> DeployError:
    """The request went out, and what came back does not say what became of it."""
    what = f"could not {purpose.does}: {what}"
    if purpose.unknown is None:
        return NothingStarted(what, f"{purpose.nothing_done}; {purpose.again}", retry_after=retry_after)
    return MayHaveStarted(f"{what}; {purpose.unknown}", retry_after=retry_after)
