"""What can go wrong, and the exit code of each.

DeployError
├── SettingsError    2  a setting or an input is missing or malformed; nothing was sent
├── EngineError      3  the container engine is missing, down, or failed
├── ApiRefused       4  the API said no (401, 403, a redirect, another 4xx)
├── JobNotFound      4  of ApiRefused: the API knows no build job of that name (any more)
├── NothingStarted   5  the API could not be asked; nothing was started or changed
├── MayHaveStarted   6  the request went out and no usable answer came back
├── StillRunning     7  the deadline passed: the build still runs, or whether the deploy came up is not known
├── DigestNotFound   8  the registry has no such digest or tag for this image
├── BuildFailed      9  the build is over and it failed
├── StateError      10  a file under .deploy/ cannot be read or written
├── Locked          11  another run holds the lock of this checkout; nothing was sent
├── RolloutFailed   12  the deployed app does not become ready
├── ChangedMeanwhile 13  something else runs than when the deploy was planned; nothing was deployed
├── Interrupted    130  Ctrl-C; 143 SIGTERM, 129 SIGHUP
└── SomeFailed      of  several apps; the code of the worst of their errors
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from invoke.exceptions import Exit

from .next_steps import Step, advice

Next = Step | str | Sequence[Step | str]


class DeployError(Exit):
    """The root. An Invoke `Exit`, so that any Invoke program ends with its message on stderr and the right exit code.

    `what` happened, and why; its `effect` on builds and deploys, in a sentence; `next` is what to run or to do then:
    steps, and sentences. Its text is all three.
    """

    exit_code = 1
    usual_effect: ClassVar[str] = ""
    is_annotated = False
    """Whether it was shown already where a whole run is summed up: a task may be called by another."""
    shown: str | None = None
    """Its text as it may leave (`ui.console.message_of`), with the commands of the command line that it ended."""

    def __init__(self, what: str, effect: str | None = None, next: Next = ()) -> None:
        self.what = what
        self.effect = self.usual_effect if effect is None else effect
        self.next: tuple[Step | str, ...] = (next,) if isinstance(next, Step | str) else tuple(next)
        super().__init__(None, self.exit_code)

    @property
    def message(self) -> str:
        """What Invoke prints."""
        return str(self)

    @message.setter
    def message(self, _message: str | None) -> None:
        """Invoke's own `Exit` sets it; here it follows from the fields."""

    def __str__(self) -> str:
        return self.text() if self.shown is None else self.shown

    def text(self, *, with_effect: bool = True) -> str:
        """Its text; without the effect where something else says that."""
        texts = [text for text in (self.what, self.effect if with_effect else "", advice(self.next)) if text]
        return " ".join([*(text if text[-1] in ".!?…" else f"{text}." for text in texts[:-1]), *texts[-1:]])


class SettingsError(DeployError):
    exit_code = 2
    usual_effect = "Nothing was sent"


class EngineError(DeployError):
    exit_code = 3
    usual_effect = "Nothing was built"


class ApiRefused(DeployError):
    """`status` is that of HTTP."""

    exit_code = 4

    def __init__(self, what: str, status: int, effect: str | None = None, next: Next = ()) -> None:
        super().__init__(what, effect, next)
        self.status = status


class JobNotFound(ApiRefused):
    """The API knows no build job of that name (any more)."""


class NothingStarted(DeployError):
    """`reached` says whether the API's host took the connection, `retry_after` for how many seconds it asked to be left
    alone."""

    exit_code = 5

    def __init__(
        self, what: str, effect: str | None = None, next: Next = (), *, reached: bool = True, retry_after: float = 0.0
    ) -> None:
        super().__init__(what, effect, next)
        self.reached, self.retry_after = reached, retry_after


class MayHaveStarted(DeployError):
    """`retry_after` is for how many seconds the API asked to be left alone."""

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
    usual_effect = "Nothing was sent"


class RolloutFailed(DeployError):
    """`blames` is true if the deployed image is at fault, and not the connection to it."""

    exit_code = 12

    def __init__(self, what: str, effect: str | None = None, next: Next = (), *, blames: bool = True) -> None:
        super().__init__(what, effect, next)
        self.blames = blames


class ChangedMeanwhile(DeployError):
    exit_code = 13
    usual_effect = "Nothing was deployed"


class SomeFailed(DeployError):
    """Of several apps or environments, some failed: `errors` has the error of each by its name. With `is_list`, each is
    a line below the text. The worst of them is what may have started, since it must not be repeated unseen; else that
    of the highest exit code."""

    def __init__(self, what: str, errors: Mapping[str, DeployError], next: Next = (), *, is_list: bool = False) -> None:
        listed = errors.items() if is_list else ()
        self.errors = errors
        self.lines = [f"  {name}: {error.text(with_effect=False)}" for name, error in listed]
        codes = [error.exit_code for error in errors.values()]
        self.exit_code = MayHaveStarted.exit_code if MayHaveStarted.exit_code in codes else max(codes)
        super().__init__(what, None, next)


class Interrupted(DeployError):
    """By the signal of this `number`; the exit code is 128 and that, as a shell has it."""

    exit_code = 130

    def __init__(self, what: str, number: int = 2, effect: str | None = None, next: Next = ()) -> None:
        self.exit_code = 128 + number
        super().__init__(what, effect, next)
