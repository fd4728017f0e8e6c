"""What can go wrong, and the exit code of each.

DeployError
├── SettingsError    2  a setting or an input is missing or malformed; nothing was sent
├── EngineError      3  the container engine is missing, down, or failed
├── ApiRefused       4  the API said no (401, 403, a redirect, another 4xx)
├── JobNotFound      4  an ApiRefused: the API does not know the build job (any more)
├── NothingStarted   5  the API could not be asked; nothing was started or changed
├── MayHaveStarted   6  the request went out and no usable answer came back
├── StillRunning     7  the deadline passed: the build still runs, or the rollout's state is not known
├── DigestNotFound   8  the registry has no such digest or tag for this image
├── BuildFailed      9  the build is over and it failed
├── StateError      10  a file under .deploy/ cannot be read or written
├── Locked          11  another run holds the lock of this checkout; nothing was sent
├── RolloutFailed   12  the deployed app does not become ready
├── ChangedMeanwhile 13  something else runs than when the deploy was planned; nothing was deployed
├── Interrupted    130  Ctrl-C; 143 SIGTERM, 129 SIGHUP
└── SomeFailed       *  some of several apps failed; the code of the worst error
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from invoke.exceptions import Exit

from .next_steps import Step, advice

Next = Step | str | Sequence[Step | str]


class DeployError(Exit):
    """The root. An Invoke `Exit`, so that any Invoke program ends with its message on stderr and the right exit code.

    `what` happened, and why; its `effect` on builds and deploys, in a sentence; `next` is what to run or do then: steps
    and sentences. The error's text is all three.
    """

    exit_code = 1
    default_effect: ClassVar[str] = ""
    is_annotated = False
    """Whether GitHub Actions shows the error already: a task that another task calls reports it first."""
    shown: str | None = None
    """The redacted text (`ui.console.message_of`), with its commands written for the command line that failed."""

    def __init__(self, what: str, effect: str | None = None, next: Next = ()) -> None:
        self.what = what
        self.effect = self.default_effect if effect is None else effect
        self.next: tuple[Step | str, ...] = (next,) if isinstance(next, Step | str) else tuple(next)
        super().__init__(None, self.exit_code)

    @property
    def message(self) -> str:
        """What Invoke prints."""
        return str(self)

    @message.setter
    def message(self, _message: str | None) -> None:
        """Ignored: Invoke's `Exit` sets the message, but here the fields determine it."""

    def __str__(self) -> str:
        return self.text() if self.shown is None else self.shown

    def text(self, *, with_effect: bool = True) -> str:
        """The error's text; without the effect where the surrounding text already says it."""
        texts = [text for text in (self.what, self.effect if with_effect else "", advice(self.next)) if text]
        return " ".join([*(text if text[-1] in ".!?…" else f"{text}." for text in texts[:-1]), *texts[-1:]])


class SettingsError(DeployError):
    exit_code = 2
    default_effect = "Nothing was sent"


class EngineError(DeployError):
    exit_code = 3
    default_effect = "Nothing was built"


class ApiRefused(DeployError):
    """`status` is the HTTP status."""

    exit_code = 4

    def __init__(self, what: str, status: int, effect: str | None = None, next: Next = ()) -> None:
        super().__init__(what, effect, next)
        self.status = status


class JobNotFound(ApiRefused):
    """The API does not know the build job (any more)."""


class NothingStarted(DeployError):
    """`reached` says whether the API's host accepted the connection; `retry_after` is its Retry-After, in seconds."""

    exit_code = 5

    def __init__(
        self, what: str, effect: str | None = None, next: Next = (), *, reached: bool = True, retry_after: float = 0.0
    ) -> None:
        super().__init__(what, effect, next)
        self.reached, self.retry_after = reached, retry_after


class MayHaveStarted(DeployError):
    """`retry_after` is the API's Retry-After, in seconds."""

    exit_code = 6

    def __init__(self, what: str, effect: str | None = None, next: Next = (), *, retry_after: float = 0.0) -> None:
        super().__init__(what, effect, next)
        self.retry_after = retry_after


class StillRunning(DeployError):
    exit_code = 7


class DigestNotFound(DeployError):
    exit_code = 8


class BuildFailed(DeployError):
    exit_code = 9


class StateError(DeployError):
    exit_code = 10


class Locked(DeployError):
    exit_code = 11
    default_effect = "Nothing was sent"


class RolloutFailed(DeployError):
    """`blames` says whether the deployed image is at fault, not the connection to it."""

    exit_code = 12

    def __init__(self, what: str, effect: str | None = None, next: Next = (), *, blames: bool = True) -> None:
        super().__init__(what, effect, next)
        self.blames = blames


class ChangedMeanwhile(DeployError):
    exit_code = 13
    default_effect = "Nothing was deployed"


class SomeFailed(DeployError):
    """Some of several apps or environments failed: `errors` maps each name to its error. With `is_list`, each is
    shown below the text. The exit code is that of MayHaveStarted if any is one, since a person must check before a
    retry; else the highest."""

    def __init__(self, what: str, errors: Mapping[str, DeployError], next: Next = (), *, is_list: bool = False) -> None:
        self.errors, self.is_list = errors, is_list
        codes = [error.exit_code for error in errors.values()]
        self.exit_code = MayHaveStarted.exit_code if MayHaveStarted.exit_code in codes else max(codes)
        super().__init__(what, None, next)


class Interrupted(DeployError):
    """A signal ended the task. The exit code is 128 plus its `number`, as in a shell."""

    exit_code = 130

    def __init__(self, what: str, number: int = 2, effect: str | None = None, next: Next = ()) -> None:
        self.exit_code = 128 + number
        super().__init__(what, effect, next)
