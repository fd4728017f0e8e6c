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
├── RolloutFailed   12  what was deployed does not come up
├── Interrupted    130  Ctrl-C; 143 SIGTERM, 129 SIGHUP
└── SomeFailed      of  several apps; the code of the worst of their errors
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from invoke.exceptions import Exit


class DeployError(Exit):
    """The root. An Invoke `Exit`, so that any Invoke program ends with one line on stderr and the right exit code.

    The message says what happened, what it means for builds and deploys, and the command to run next.
    """

    exit_code = 1
    is_annotated = False
    """Whether it was shown already where a whole run is summed up: a task may be called by another."""
    is_fit = False
    """Whether its message is as it may leave (`console.message_of`)."""
    lines: Sequence[str] = ()
    """What is shown below the message."""

    def __init__(self, message: str) -> None:
        super().__init__(message, self.exit_code)

    def __str__(self) -> str:
        return self.message or ""


class SettingsError(DeployError):
    exit_code = 2


class EngineError(DeployError):
    exit_code = 3


class ApiRefused(DeployError):
    """Raised with the HTTP status of the refusal in `status`; `is_page` says that its body was a web page, as a gateway
    in front of the API has it, and the API itself has not."""

    exit_code = 4

    def __init__(self, message: str, status: int, *, is_page: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.is_page = is_page


class JobNotFound(ApiRefused):
    """The API knows no build job of that name (any more)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 404)


class NothingStarted(DeployError):
    """Raised with what happened, then what it means; `reached` says whether the API's host took the connection,
    `retry_after` for how many seconds it asked to be left alone."""

    exit_code = 5

    def __init__(self, what: str, meaning: str = "", *, reached: bool = True, retry_after: float = 0.0) -> None:
        super().__init__(f"{what}; {meaning}" if meaning else what)
        self.what = what
        self.reached = reached
        self.retry_after = retry_after


class MayHaveStarted(DeployError):
    """Raised with the seconds in `retry_after` for which the API asked to be left alone."""

    exit_code = 6

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
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


class RolloutFailed(DeployError):
    """Raised with `blames`: whether it is the deployed image that does not come up, and not the way to it."""

    exit_code = 12

    def __init__(self, message: str, *, blames: bool = True) -> None:
        super().__init__(message)
        self.blames = blames


class SomeFailed(DeployError):
    """Of several apps, some failed: raised with the error of each in `errors`, by the app's name. The worst of them is
    what may have started, since it must not be repeated unseen; else that of the highest exit code."""

    def __init__(self, message: str, errors: Mapping[str, DeployError], lines: Sequence[str] = ()) -> None:
        self.errors = errors
        self.lines = lines
        codes = [error.exit_code for error in errors.values()]
        self.exit_code = MayHaveStarted.exit_code if MayHaveStarted.exit_code in codes else max(codes)
        super().__init__(message)


class Interrupted(DeployError):
    """Raised with the number of the signal; the exit code is 128 and that number, as a shell has it."""

    exit_code = 130

    def __init__(self, message: str, number: int = 2) -> None:
        self.exit_code = 128 + number
        super().__init__(message)
