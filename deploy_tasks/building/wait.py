"""`wait`: waits for a build in the cluster and records its digest. Also says how to pick up a running build."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import NoReturn

from msgspec import Struct
from msgspec.structs import replace

from .. import images
from ..api import paths
from ..api.build_log import LogFollower, tail
from ..api.polling import wait_for_build
from ..config.sources import of_flag
from ..deadline import Deadline
from ..deploy_config import APP_CLASSES
from ..errors import ApiRefused, BuildFailed, DigestNotFound, JobNotFound, NothingStarted, SettingsError, StateError
from ..invocation.command import FROM_CHECKOUT, Command, Effect
from ..invocation.interruption import Remaining
from ..invocation.suggestions import target_flags
from ..invocation.work import Work
from ..next_steps import Step
from ..state import history
from ..state.files import State
from ..state.records import BuildInFlight, Record, record_as_json
from ..ui import console, github
from ..ui.progress import progress_of
from .build_request import build_request, planned_build
from .recording import report_recorded, save
from .steps import flags_of


def leave_running_on_interrupt(work: Work, build: BuildInFlight, remaining: Remaining | None = None) -> None:
    """From now on, an interrupt leaves the build running and says how to pick it up."""
    step = step_to_wait(work, build, "Pick it up")
    work.on_interrupt(f"{build.job_name} goes on in the cluster", step, remaining=remaining)


def remaining_of_build(work: Work) -> Remaining:
    """What remains to be done if this run ends while its build is in flight."""
    return Remaining.AGAIN if work.call.command.effect is Effect.DEPLOYS else Remaining.WAIT


def step_to_wait(work: Work, build: BuildInFlight, says: str = "") -> Step:
    """The command that waits for the build, then continues with the later calls of this command line."""
    if work.call.command.effect is Effect.DEPLOYS:
        return work.step(work.call.command.name, says)
    flags = flags_to_wait(work, build)
    with suppress(StateError):
        kept = work.state.in_flight()
        if kept and kept.job_name == build.job_name:  # the file has the rest
            flags = target_flags(work.settings, build)
    return Step("wait", flags, says, continues=not work.is_of_several)


def flags_to_wait(work: Work, build: BuildInFlight) -> dict[str, object]:
    """The flags with which `wait` finds the build if no state file says that it is in flight."""
    return {"job": build.job_name, **flags_of(work, build), "image_tag": build.image_tag}


class WaitPlan(Struct, frozen=True):
    """The wait for a build that is in flight."""

    build: BuildInFlight
    shows_log: bool

    def show(self, work: Work) -> None:
        work.would_send("POST", paths.BUILD_WAIT.format(job=self.build.job_name))
        work.pretend(self.build)

    def execute(self, work: Work) -> Record:
        return wait_and_record(work, self.build, shows_log=self.shows_log)


class RecordedPlan(Struct, frozen=True):
    """Nothing to wait for: the build is recorded already."""

    record: Record
    build_id: str
    """The digest of `record`."""
    why: str

    def show(self, _work: Work) -> None:
        console.tell(self.why)

    def execute(self, work: Work) -> Record:
        console.tell(self.why)
        work.remember(self.record)
        work.result(self.build_id, record_as_json(self.record, {}))
        return self.record


class PretendedWait(Struct, frozen=True):
    """With `--dry`: a wait for a build that an earlier task would have started."""

    job: str

    def show(self, work: Work) -> None:
        work.would_send("POST", paths.BUILD_WAIT.format(job=self.job))

    def execute(self, work: Work) -> NoReturn:
        raise _nothing_in_flight(work)


def _plan_wait(work: Work) -> WaitPlan | RecordedPlan | PretendedWait:
    settings, record = work.settings, work.record
    job, known, shows_log = work.options["job"], work.state.in_flight(), work.options["logs"]
    if known and job in (None, known.job_name):
        return WaitPlan(_checked(work, known), shows_log)
    if work.call.is_dry:
        return PretendedWait(job or "<job>")
    # This run may have waited for another one, which has recorded that build meanwhile.
    awaited = work.awaited.job_name if work.awaited and known is None else None
    if record and record.build_id and awaited and job in (None, awaited):
        made = next((entry for entry in work.state.history if entry.job_name == awaited), None)
        if made and made.build_id == record.build_id:
            return RecordedPlan(record, record.build_id, f"another run has recorded {awaited} meanwhile")
    if job is not None:
        return WaitPlan(_build_of_elsewhere(work, job), shows_log)
    if failed := work.history.failed_build(settings.app, settings.image_name):
        # The record is older than that build, so it is not the result of this wait.
        work.remaining = Remaining.BUILD
        raise BuildFailed(
            f"the last build of {failed.image_name} failed ({failed.job_name}, {failed.time})",
            "Nothing was recorded",
            work.step("build", "Build it again"),
        )
    if record and record.build_id and work.is_of_several:
        return RecordedPlan(record, record.build_id, f"no build is in flight; the recorded digest is {record.build_id}")
    work.remaining = Remaining.NOTHING
    for name in settings.environments:
        if name != settings.environment and (other := State(settings.state_file, name).in_flight()):
            step = Step("wait", {"app": work.name, "environment": name}, "Wait for that one")
            raise SettingsError(f"no build is in flight here, but {other.job_name} is in {name}", "", step)
    raise _nothing_in_flight(work)


def _nothing_in_flight(work: Work) -> SettingsError:
    return SettingsError(
        "no build is in flight", "", [work.step("build", "Start one"), "Or name one: --job JOB --image-tag TAG"]
    )


wait = Command(
    "wait", plan=_plan_wait, from_git=FROM_CHECKOUT, uses_record=True, all_or_none=False, effect=Effect.RECORDS
)


def _checked(work: Work, known: BuildInFlight) -> BuildInFlight:
    """The build in flight, with the namespace and the app class from the flags. SettingsError if the flags name another
    build."""
    settings = work.settings
    for key in ("app", "image_name", "image_tag"):
        builds, wanted = getattr(known, key), getattr(settings, key)
        is_meant = settings.is_by_flag(key) or (work.name and key != "image_tag")
        if is_meant and builds != wanted:
            raise SettingsError(f"{known.job_name} builds {builds}, not {wanted}", "Nothing was done")
    if known.api_url != settings.api_url:
        raise SettingsError(
            f"{known.job_name} was started at {known.api_url}",
            next=f"To wait for it, set {settings.origins['api_url']} to that",
        )
    app_class = settings.given("app_class") or known.app_class
    default = APP_CLASSES[app_class] if app_class != known.app_class else known.namespace
    return replace(known, app_class=app_class, namespace=settings.given("namespace") or default)


def _build_of_elsewhere(work: Work, job: str) -> BuildInFlight:
    """The build `job`, which was started elsewhere, from the flags. SettingsError if they lack its tag: HEAD may be the
    commit of another build."""
    if work.settings.given("image_tag") is None:
        raise SettingsError(
            f"{job} is not the build in flight here", "Nothing was done", "Name its tag too: --image-tag TAG"
        )
    request = build_request(work.settings, work.checkout, cache=True)
    build = planned_build(work.settings, request).started(of_flag("--job", images.label, job))
    # Only the tag can tell which commit it is.
    return replace(build, git_ref=build.image_tag if images.is_commit(build.image_tag) else None)


def wait_and_record(work: Work, build: BuildInFlight, *, shows_log: bool) -> Record:
    """Waits for the build, optionally showing its log, resolves the digest and records it. BuildFailed if it failed,
    StillRunning at the deadline."""
    job = build.job_name
    leave_running_on_interrupt(work, build)
    log = LogFollower(work.new_client(), job, console.relay) if shows_log else None
    try:
        # Lines of several apps are interleaved, so they cannot be folded.
        folded = nullcontext() if work.is_of_several else github.group(f"build {job}")
        with folded, progress_of(job) as progress, log or nullcontext():
            progress("started")
            again, deadline = step_to_wait(work, build), Deadline(work.settings.timeout)
            try:
                wait_for_build(work.client, job, deadline=deadline, again=again, tell=console.tell, progress=progress)
            except JobNotFound as gone:
                build_id = _digest_of(work, build, gone)
            else:
                build_id = _digest_of(work, build)
            # Before the wait for the end of the log, which must not delay the digest.
            dockerfile, context = build.dockerfile, build.build_context
            recorded = save(
                work, build, build_id, built="cluster", job_name=job, dockerfile=dockerfile, build_context=context
            )
            try:
                work.state.clear_in_flight(job)
            except StateError as error:  # the digest is recorded, so the task succeeds
                console.warn(f"{error}; {job} is recorded all the same")
    except BuildFailed as error:
        work.remaining = Remaining.BUILD if work.call.command.effect is Effect.RECORDS else Remaining.AGAIN
        with suppress(StateError):  # the build's failure is what matters
            # Noted first: a failed build that is neither in the history nor in flight would be forgotten.
            work.note(history.FAILED, Record.of(build), built="cluster", job_name=job)
            work.state.clear_in_flight(job)
        if not log:
            if lines := tail(work.client, job):
                console.relay("\n".join(lines))
            error.next = (*error.next, work.step("logs", "Its log", job=job))
        raise
    return report_recorded(work, recorded)


def _digest_of(work: Work, build: BuildInFlight, gone: JobNotFound | None = None) -> str:
    """The digest of a finished build. BuildFailed if the registry has no image for its tag.

    If the API does not know the job any more (`gone`), the digest counts only if the tag is the build's commit and no
    other build has that digest. Otherwise removes the build in flight and raises JobNotFound.
    """
    job, tag, build_id = build.job_name, f"{build.image_name}:{build.image_tag}", ""
    try:
        build_id = work.client.digest(build.image_name, tag=build.image_tag)
    except DigestNotFound as error:
        if not gone:
            what = f"{job} failed: it finished, but {error.what}"
            raise BuildFailed(what, "Nothing was recorded", error.next) from error
    except (ApiRefused, NothingStarted) as error:
        what, says = f"{job} finished, but its digest is not known yet", "Get it"
        if gone:
            what, says = f"{gone.what}, and whether it left {tag} is not known", "Look again"
        error.what, error.next = f"{what}: {error.what}", (step_to_wait(work, build, says),)
        raise
    if not gone:
        return build_id
    what, says = f"the registry has no {tag}", "If the build still runs, look for its image later"
    if build_id:
        others = (entry for entry in work.history.of_image(build.image_name) if entry.job_name != job)
        is_older = any(entry.build_id == build_id for entry in others)
        if build.image_tag == build.git_ref and images.is_commit(build.image_tag) and not is_older:
            console.tell(f"{gone.what}, and {tag} is in the registry, so it is done")
            return build_id
        what, says = f"{tag} may be from an earlier build", "If it is from this build, record it"
    work.remaining = Remaining.BUILD
    with suppress(StateError):  # the missing job is what matters
        work.state.clear_in_flight(job)
    find = Step("digest", {**flags_of(work, build), "image_tag": build.image_tag}, says)
    again = work.step("build", "Or build again", continues=False)
    raise JobNotFound(f"{gone.what}, and {what}", gone.status, "Nothing was recorded", [find, again])
