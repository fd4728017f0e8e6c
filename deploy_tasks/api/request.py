"""Sends requests to the Deploy API: retries where that is safe, and turns failures into errors.

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
from ..redaction import excerpt, redact, sanitized
from .schemas import BuildState, Refusal

if TYPE_CHECKING:
    from .transport import Answer

T = TypeVar("T")

LOG = logging.getLogger("deploy_tasks")
# The server may answer these before or after the work (docs/deploy-api.md), so they do not say whether it was done.
_OUTCOME_UNKNOWN = {408, 425, 429, *range(500, 600)} - {501}
NOT_SERVED = {404, 405, 501}
_NO_BUILD_STATE = {401, 403, 429, *range(300, 400)} | NOT_SERVED
_PAUSES = (0.5, 1.5)
_NO_HEADERS: Mapping[str, str | None] = {}
# A request gets this time even at the deadline.
_LEAST_SECONDS = 1.0


class Purpose(NamedTuple):
    """What a request is for, and its errors: `what` follows "could not"; `effect` and `next` are for a failure that did
    nothing; `if_unknown` has both for a failure that may have done something (None: the request changes nothing)."""

    what: str
    effect: str = "Nothing was changed"
    next: tuple[Step | str, ...] = ("Try again",)
    if_unknown: tuple[str, tuple[Step | str, ...]] | None = None
    if_404: DeployError | None = None
    """The error that 404 means. None if the API does not use it for this request."""
    if_refused: tuple[Step | str, ...] = ()
    """The next steps after a refusal by the API."""
    repeats: int = 2
    """The maximum number of retries."""
    most: int = 1_000_000
    """The maximum size of an answer, in bytes; only logs are larger. A gzip of 292 KB grew to 300 MB."""
    is_api_only: bool = False
    """Whether a 404 with a web page says nothing, since the API itself never answers with one."""
    is_of_build: bool = False
    """Whether an answer that says that the build failed is returned, even with an error status."""
    is_optional: bool = False
    """Whether only some servers have the endpoint: then answers with a status of `NOT_SERVED` are returned."""


class Sender:
    """Sends requests to the API at `url`, with `key` in `X-API-Key`. `timeout` bounds one request, in seconds;
    `key_from` names the source of the key in errors."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout: float,
        key_from: str,
        log: Callable[[str], None],
        sleep: Callable[[float], None],
    ) -> None:
        from .transport import Transport

        self._host = urlsplit(url).netloc
        self._key_from, self._timeout, self._log, self._sleep = key_from, timeout, log, sleep
        self._new_transport = partial(Transport, url, key)
        self._transport = self._new_transport()
        self.features: frozenset[str] = frozenset()
        """The extensions of the API that the server listed in its last answer (docs/deploy-api.md)."""

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
        """Sends a request, and retries it if its purpose allows that. Returns an answer that the purpose expects, or a
        412 if `headers` has If-Match; raises an error for any other. `timeout` limits one exchange (default: the
        sender's), `within` all of them with the pauses in between."""
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
        """Sends the request once. Every request goes through here."""
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
            # The old one may still be busy with the abandoned request.
            self._transport = self._new_transport()
            outcome = f"{self._host} {error}"
            raise _unknown(purpose, outcome) from error
        finally:
            self._log(sanitized(f"{method} {path}: {outcome}, {time.monotonic() - start:.1f} s"))
        is_expected = answer.status in range(200, 300) or (purpose.is_optional and answer.status in NOT_SERVED)
        is_expected = is_expected or bool(answer.status == 412 and headers.get("If-Match"))
        # A refused request says nothing about the build, though some APIs call that "failed" too.
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
            # With 403, the key may be valid but lack a right. Some servers say which.
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
    """The number in a header; 0 if it is not a number, such as a Retry-After with a date."""
    text = answer.headers.get(header, "")
    return float(text) if re.fullmatch(r"[0-9]{1,12}", text) else 0.0


def _said(answer: Answer, kind: type[T]) -> T:
    """The body of an error answer as a `kind`; an empty one if the body has another form."""
    with suppress(ValueError):
        return decode(answer.body, kind)
    return kind()


def _unknown(purpose: Purpose, why: str, *, retry_after: float = 0.0) -> DeployError:
    """The error of a request that was sent and has an unknown outcome."""
    what = f"could not {purpose.what}: {why}"
    if purpose.if_unknown is None:
        return NothingStarted(what, purpose.effect, purpose.next, retry_after=retry_after)
    return MayHaveStarted(what, *purpose.if_unknown, retry_after=retry_after)
