"""The sandbox's builds: jobs that wait in a queue, run, and hand over to the deploy."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec
from anyio import move_on_after, to_thread

from ..interfaces import Author, Build, Refused, Started, Target, unknown_job
from ..schemas import BuildStatus, FailureReason, JobState
from .checkout import clone, context_and_dockerfile
from .images import ImageBuilder
from .processes import BuildFailure
from .registry import WritableRegistry

_SECONDS_A_LINE = 0.5


@dataclass(frozen=True)
class Limits:
    """At most `running` builds run at once, each for at most `seconds`. At most `jobs` are kept, and none for longer
    than `seconds_kept`. A log has at most `log_bytes`; beyond `all_log_bytes` of all of them, jobs are forgotten."""

    running: int = 4
    seconds: float = 3600.0
    jobs: int = 1000
    seconds_kept: float = 24 * 3600
    log_bytes: int = 16 * 1024 * 1024
    all_log_bytes: int = 256 * 1024 * 1024


class Log:
    """A log that only grows, up to a limit. One buffer of UTF-8: a str for each line takes several times the memory."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._text = bytearray()
        self._is_cut = False

    def __str__(self) -> str:
        return self._text.decode()

    def __len__(self) -> int:
        return len(self._text)

    def add(self, line: str) -> None:
        """Adds a line. The line that exceeds the limit is cut, and one more line says so."""
        encoded = f"{line}\n".encode(errors="backslashreplace")
        room = self._most_bytes - len(self._text)
        if self._is_cut:
            return
        if len(encoded) > room:
            self._is_cut = True
            start = encoded[:room].decode(errors="ignore")
            lines = [start] if start else []
            lines.append(f"The log ends here: it reached its limit of {self._most_bytes} bytes.")
            encoded = "".join(f"{line}\n" for line in lines).encode()
        self._text += encoded


@dataclass(eq=False)
class _Job:
    """A build. `to_answer` is set when open waits must be answered: the job has finished, or the server shuts down."""

    name: str
    build: Build
    image: str
    content: str
    key: tuple[str, str] | None
    log: Log
    status: BuildStatus = "pending"
    digest: str | None = None
    reason: FailureReason | None = None
    error: str | None = None
    ended: float | None = None
    is_deploying: bool = False
    to_answer: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def state(self) -> JobState:
        return JobState(self.name, self.status, self.image, self.digest, self.reason, self.error)


class MemoryBuilder:
    """Runs builds on this machine. `build_seconds` is the least time that a build takes. Jobs end with the server."""

    def __init__(
        self,
        registry: WritableRegistry,
        images: ImageBuilder,
        build_seconds: float = 0.0,
        limits: Limits = Limits(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._images = images
        self._build_seconds = build_seconds
        self._limits = limits
        self._clock = clock
        self._jobs: dict[str, _Job] = {}
        self._by_key: dict[tuple[str, str], _Job] = {}
        self._pending: deque[_Job] = deque()
        self._running: set[_Job] = set()
        self._to_deploy: asyncio.Queue[_Job] = asyncio.Queue()
        self._is_closed = False

    async def start(self, build: Build, idempotency_key: str | None) -> Started:
        content = _hash(build)
        # Each API key has its own: the clients of one key know nothing of those of another.
        key = (build.author.key, idempotency_key) if idempotency_key else None
        if key and (known := self._by_key.get(key)):
            if known.content != content:
                raise Refused(
                    409,
                    "idempotency-key-reused",
                    f"This Idempotency-Key began another build ({known.name}). Send a new key with a new build.",
                )
            return Started(known.state, is_new=False)
        self._refuse_or_forget()
        name = f"build-{build.target.app[:40].rstrip('-')}-{secrets.token_hex(4)}"
        image = f"{self._registry.address}/{build.image_name}:{build.image_tag}"
        job = _Job(name, build, image, content, key, Log(self._limits.log_bytes))
        self._jobs[name] = job
        if key:
            self._by_key[key] = job
        self._pending.append(job)
        self._start_pending()
        return Started(job.state, is_new=True)

    async def job(self, name: str) -> JobState | None:
        job = self._jobs.get(name)
        return job.state if job else None

    async def target_of(self, name: str) -> Target | None:
        job = self._jobs.get(name)
        return job.build.target if job else None

    async def log(self, name: str) -> str:
        return str(self._known(name).log)

    async def over(self, name: str, seconds: float) -> JobState:
        job = self._known(name)
        with move_on_after(seconds):
            await job.to_answer.wait()
        return job.state

    async def cancel(self, name: str) -> JobState:
        """Cancels a job and ends its processes. A deploy that has begun is not cancelled, but waited for."""
        job = self._known(name)
        if job.is_deploying:
            await job.to_answer.wait()
        else:
            self._end(job, "cancelled", "the build was cancelled")
            await _cancelled([job])
        return job.state

    async def next_to_deploy(self) -> tuple[str, Build, str]:
        while True:
            job = await self._to_deploy.get()
            if job.ended is None and job.digest:
                job.is_deploying = True
                job.log.add(f"deploying {job.build.target.app} in {job.build.target.namespace}")
                return job.name, job.build, job.digest

    async def deployed(self, name: str, error: str | None) -> None:
        job = self._known(name)
        self._end(job, "deploy" if error else None, error)

    async def close(self) -> None:
        """Ends the processes of all builds. Jobs keep their status, and open waits answer with it."""
        self._is_closed = True
        for job in self._jobs.values():
            job.to_answer.set()
        await _cancelled(list(self._jobs.values()))

    def _known(self, name: str) -> _Job:
        job = self._jobs.get(name)
        if job is None:
            raise unknown_job()
        return job

    def _refuse_or_forget(self) -> None:
        """Forgets old jobs to make room for one more. Raises Refused (503) if there is no room."""
        if self._is_closed:
            raise Refused(503, "shutting-down", "The server is shutting down. No build was started. Try again later.")
        over = [job for job in self._jobs.values() if job.ended is not None]
        too_many = len(self._jobs) + 1 - self._limits.jobs
        if too_many > len(over):
            raise Refused(503, "too-many-builds", "Too many builds are waiting. No build was started. Try again later.")
        oldest_first = sorted(over, key=lambda job: job.ended or 0)
        too_many_bytes = sum(len(job.log) for job in self._jobs.values()) - self._limits.all_log_bytes
        for number, job in enumerate(oldest_first):
            is_old = (job.ended or 0) < self._clock() - self._limits.seconds_kept
            if number < too_many or too_many_bytes > 0 or is_old:
                too_many_bytes -= len(job.log)
                del self._jobs[job.name]
                if job.key:
                    del self._by_key[job.key]

    def _start_pending(self) -> None:
        while self._pending and len(self._running) < self._limits.running and not self._is_closed:
            job = self._pending.popleft()
            if job.ended is None:
                job.status = "running"
                self._running.add(job)
                job.task = asyncio.create_task(self._run(job))
                job.task.add_done_callback(partial(self._free, job))

    def _free(self, job: _Job, _task: asyncio.Task[None]) -> None:
        """Starts the next build. A callback of the task, since a task can be cancelled before its first line runs."""
        self._running.discard(job)
        self._start_pending()

    async def _run(self, job: _Job) -> None:
        try:
            # Else a few clones from a server that never answers would keep everybody's builds waiting.
            digest = await asyncio.wait_for(self._built(job), self._build_seconds + self._limits.seconds)
        except asyncio.TimeoutError:
            self._end(job, "build", f"the build took longer than {self._limits.seconds:g} s, which is the limit")
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in a build is that build's failure
            expected = isinstance(error, BuildFailure | Refused)
            self._end(job, "build", str(error) if expected else f"{type(error).__name__}: {error}")
        else:
            if job.ended is not None:
                return
            job.digest = digest
            if job.build.config is None:
                self._end(job)
            else:
                self._to_deploy.put_nowait(job)

    async def _built(self, job: _Job) -> str:
        start = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix="sandbox-build-")).resolve()
        try:
            checkout = folder / "checkout"
            await clone(job.build, checkout, job.log.add)
            context, dockerfile = await to_thread.run_sync(context_and_dockerfile, job.build, checkout)
            digest = await self._images.build(job.build, context, dockerfile, job.log.add)
        finally:
            # It begins before anything is awaited, so that no cancel comes before it.
            remove = partial(shutil.rmtree, folder, ignore_errors=True)
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, remove))
        while (passed := time.monotonic() - start) < self._build_seconds:
            await asyncio.sleep(min(_SECONDS_A_LINE, self._build_seconds - passed))
            job.log.add(f"INFO[{time.monotonic() - start:06.1f}] Taking snapshot of full filesystem...")
        return digest

    def _end(self, job: _Job, reason: FailureReason | None = None, error: str | None = None) -> None:
        """Marks a job as finished: failed if there is a reason. A finished job does not change."""
        if job.ended is not None:
            return
        job.status, job.reason, job.error = "failed" if reason else "succeeded", reason, error
        if error:
            job.log.add(f"error: {error}")
        job.ended = self._clock()
        # Its secrets are not needed any more.
        job.build = replace(job.build, git_token=None, config=None)
        job.to_answer.set()


def _hash(build: Build) -> str:
    """A hash of everything that was asked for, whoever asked, and when."""
    content = msgspec.json.encode(replace(build, author=Author(""), asked=0), order="deterministic")
    return hashlib.sha256(content).hexdigest()


async def _cancelled(jobs: list[_Job]) -> None:
    """Cancels the jobs that run, and returns once their processes have ended."""
    tasks = [job.task for job in jobs if job.task and not job.task.done()]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
