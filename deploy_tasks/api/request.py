"""Sends a request to the Deploy API: again where that is safe, and with the error that each failure means.

What each fault comes to: docs/reliability.md.
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
from urllib.parse import urlsplit

from ..deadline import Deadline
from ..encoding import decode, encode
from ..errors import ApiRefused, DeployError, MayHaveStarted, NothingStarted
from ..next_steps import Step
from ..redaction import excerpt, fit, redact
from .schemas import BuildState, Refusal

if TYPE_CHECKING:
    from .transport import Answer

T = TypeVar("T")

_LOGGER = logging.getLogger("deploy_tasks")
# These may come before or after the work (docs/deploy-api.md), so they do not say whether it was done.
_OUTCOME_UNKNOWN = {408, 425, 429, *range(500, 600)} - {501}
NOT_SERVED = {404, 405, 501}
_NO_BUILD_STATE = {401, 403, 429, *range(300, 400)} | NOT_SERVED
_PAUSES = (0.5, 1.5)
_NO_HEADERS: Mapping[str, str | None] = {}
# Also at the deadline, a server gets a moment to answer.
_LEAST_SECONDS = 1.0


class Purpose(NamedTuple):
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
    """Whether only some servers have the endpoint: then an answer of `NOT_SERVED` is returned."""


class Sender:
    """Sends requests to the API at `url`, with `key` in `X-API-Key`. `timeout` bounds one request, in seconds;
    `key_from` names the source of the key in errors."""

    def __init__(self, url: str, key: str, *, timeout: float, key_from: str, sleep: Callable[[float], None]) -> None:
        from .transport import Transport

        self._host = urlsplit(url).netloc
        self._key_from, self._timeout, self._sleep = key_from, timeout, sleep
        self._new_transport = partial(Transport, url, key)
        self._transport = self._new_transport()
        self.features: frozenset[str] = frozenset()
        """The extensions of the API that the server's last answer lists (docs/deploy-api.md)."""

    def send(
        self,
        purpose: Purpose,
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
        sender's), `within` all of them and the pauses in between."""
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
        purpose: Purpose,
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
        is_expected = answer.status in range(200, 300) or (purpose.is_optional and answer.status in NOT_SERVED)
        is_expected = is_expected or bool(answer.status == 412 and headers.get("If-Match"))
        # An answer that refuses the question says nothing about the build, though some APIs call that "failed" too.
        is_of_build = purpose.is_of_build and answer.status not in _NO_BUILD_STATE
        if is_expected or (is_of_build and _said(answer, BuildState).status == "failed"):
            return answer
        raise self._refusal(purpose, answer)

    def _refusal(self, purpose: Purpose, answer: Answer) -> DeployError:
        status, said = answer.status, f"{self._host} answered {answer.status}"
        what = f"could not {purpose.what}: {said}"
        # 303 See Other says that the request was accepted, and where its result is.
        if status in _OUTCOME_UNKNOWN or (status == 303 and purpose.if_unknown):
            return _unknown(purpose, said, retry_after=number(answer, "Retry-After"))
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


def decoded(purpose: Purpose, kind: type[T], answer: Answer) -> T:
    """The body of `answer` as a `kind`."""
    try:
        return decode(answer.body, kind)
    except ValueError as error:
        raise _unknown(purpose, f"unexpected answer of the API ({error}): {excerpt(answer.body)}") from error


def number(answer: Answer, header: str) -> float:
    """The number in a header; 0 if it is none, such as a Retry-After with a date."""
    text = answer.headers.get(header, "")
    return float(text) if re.fullmatch(r"[0-9]{1,12}", text) else 0.0


def _said(answer: Answer, kind: type[T]) -> T:
    """What the API says in an answer that is not a success, as a `kind`; nothing if it is none."""
    with suppress(ValueError):
        return decode(answer.body, kind)
    return kind()


def _unknown(purpose: Purpose, why: str, *, retry_after: float = 0.0) -> DeployError:
    """The error of a request that was sent and whose outcome is not known."""
    what = f"could not {purpose.what}: {why}"
    if purpose.if_unknown is None:
        return NothingStarted(what, purpose.effect, purpose.next, retry_after=retry_after)
    return MayHaveStarted(what, *purpose.if_unknown, retry_after=retry_after)
