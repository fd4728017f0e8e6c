"""`build`: starts a build in the cluster or joins the one in flight, unless the image exists."""

from __future__ import annotations

from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from .. import images
from ..api import paths
from ..api.schemas import BuildRequest
from ..errors import ApiRefused, MayHaveStarted, NothingStarted, StateError
from ..invocation.command import API, FROM_CHECKOUT, Command, Effect
from ..invocation.interruption import Remaining
from ..invocation.work import Work
from ..next_steps import Step
from ..state.records import BuildInFlight, PlannedBuild, Record
from ..ui import console
from .build_request import build_request, check_clonable, check_git_token, planned_build
from .existing import Existing, existing_image
from .recording import record_and_report
from .wait import flags_to_wait, leave_running_on_interrupt, remaining_of_build, step_to_wait, wait_and_record


class BuildPlan(Struct, frozen=True):
    """A build in the cluster, unless the image exists or the build in flight makes it."""

    request: BuildRequest
    build: PlannedBuild
    existing: Existing | None
    """The image, if it exists: then nothing is built."""
    in_flight: BuildInFlight | None
    """The build that was started from here and is not recorded yet."""
    shows_log: bool

    def show(self, work: Work) -> None:
        self.pretend(work)

    def pretend(self, work: Work) -> Record:
        """Shows the plan; returns the image that later tasks of a dry run go on with."""
        if self.existing:
            console.tell(self.existing.says)
        else:
            work.would_send("POST", paths.BUILD, self.request)
        return work.pretend(self.build)

    def lines(self, _work: Work) -> list[str]:
        """The lines that describe what would be built, for a protected environment."""
        if self.existing:
            return [self.existing.says]
        return [f"build {self.request.app}: {self.request.repo_url} at {images.short_ref(self.request.git_ref, 12)}"]

    def execute(self, work: Work) -> Record:
        if found := self.existing:
            console.tell(found.says)
            return record_and_report(work, found.build, found.build_id)
        return wait_and_record(work, self.begin(work), shows_log=self.shows_log)

    def begin(self, work: Work) -> BuildInFlight:
        """Starts the build, or joins the one in flight."""
        return _joined(work, self) or _started(work, self)


class StartPlan(Struct, frozen=True):
    """A build in the cluster that is not waited for (`--no-wait`)."""

    build: BuildPlan

    def show(self, work: Work) -> None:
        self.build.show(work)

    def lines(self, work: Work) -> list[str]:
        return self.build.lines(work)

    def execute(self, work: Work) -> Record | BuildInFlight:
        if self.build.existing:
            return self.build.execute(work)
        build = self.build.begin(work)
        step = step_to_wait(work, build)._replace(continues=False)
        console.tell(f"the build goes on in the cluster. Pick it up: {step}")
        work.result(build.job_name, build)
        return build


def _plan(work: Work) -> BuildPlan | StartPlan:
    plan = plan_of(work)
    return plan if work.options["wait"] else StartPlan(plan)


def plan_of(work: Work, *, if_needed: bool = False) -> BuildPlan:
    """The plan to build the git ref of the settings. With `if_needed` or its setting, an existing image is not built
    again."""
    options, settings = work.options, work.settings
    request = build_request(settings, work.checkout, cache=options["cache"])
    build = planned_build(settings, request)
    in_flight = None if work.call.is_dry else work.state.in_flight()
    existing = None
    # Join the build in flight even if its image exists by now: otherwise it would stay in flight forever.
    is_joined = in_flight is not None and _is_same(in_flight, build)
    if (if_needed or settings.build_if_needed) and request.cache and not is_joined:
        try:
            existing = existing_image(work, build)
        except (ApiRefused, NothingStarted) as error:
            if not work.call.is_dry:
                raise
            console.warn(f"whether the image exists is not known: {error.what}")
    if existing is None:
        check_git_token(request)
        check_clonable(work, request.git_ref, allow_unpushed=options["allow_unpushed"])
        # The API takes no build args, and the image without them may not be the expected one.
        if args := [*(text.partition("=")[0] for text in settings.build_args), *settings.build_args_from]:
            of = f"{work.name}: " if work.name else ""
            here = work.step("local")
            console.warn(f"{of}the cluster builds without the build args {', '.join(args)}; to build with them: {here}")
    if request.git_ref == work.checkout.commit and work.checkout.dirty:
        what = "build: the cluster builds" if existing is None else "image: it is that of"
        console.warn(f"uncommitted changes are not part of this {what} commit {request.git_ref[:12]}")
    return BuildPlan(request, build, existing, in_flight, options["logs"])


build: Command[Record | BuildInFlight] = Command(
    "build",
    plan=_plan,
    needs=(*API, "repo_url", "git_ref"),
    from_git=FROM_CHECKOUT,
    effect=Effect.BUILDS,
)


def _is_same(earlier: BuildInFlight, build: PlannedBuild) -> bool:
    """Whether a build in flight makes the image of `build`."""
    compared = ("api_url", "repo_url", "git_ref", "dockerfile", "build_context", "asked_image")
    return all(getattr(earlier, name) == getattr(build, name) for name in compared)


def _joined(work: Work, plan: BuildPlan) -> BuildInFlight | None:
    """The build in flight, if it makes the same image and has not failed, so that nothing is built twice; else None."""
    earlier, request = plan.in_flight, plan.request
    if earlier is None:
        return None
    # A branch may have moved in between; a commit cannot.
    may_join = request.cache and images.is_commit(request.git_ref) and _is_same(earlier, plan.build)
    if may_join:
        with suppress(ApiRefused, NothingStarted):  # the wait for the build reports it
            state = work.client.status(earlier.job_name)
            may_join = state is None or state.status != "failed"
    if not may_join:
        step = Step("wait", flags_to_wait(work, earlier))
        console.warn(f"{earlier.job_name} goes on in the cluster. To get its image: {step}")
        return None
    what = f"commit {request.git_ref[:12]} in {work.settings.cluster}"
    console.tell(f"{earlier.job_name} already builds {what}; nothing new was started")
    work.remaining = remaining_of_build(work)
    image = {"image_name": earlier.image_name, "image_tag": earlier.image_tag}
    return plan.build.started(earlier.job_name, **image, started_at=earlier.started_at)


def _started(work: Work, plan: BuildPlan) -> BuildInFlight:
    """Starts the build and stores its job."""
    step = work.again._replace(says="Look for it in the cluster before you run")
    work.on_interrupt("The build may have started", step, remaining=Remaining.LOOK, starts=True)
    try:
        unsure = ("Look for it in the cluster first.", work.again._replace(says="Then try again"))
        started = work.client.start_build(plan.request, again=work.again, unsure=unsure)
    except (ApiRefused, NothingStarted):
        work.remaining = Remaining.AGAIN
        raise
    build = plan.build.started(started.job_name)
    if built := started.reference:
        if plan.request.image_name not in (None, built.name):
            raise MayHaveStarted(
                f"the API started {started.job_name} for image {built.name}, not for {plan.request.image_name}",
                "That build goes on, and its image is not recorded",
                work.step("logs", "See its log", job=started.job_name),
            )
        build = replace(build, image_name=built.name, image_tag=built.tag or build.image_tag)
    leave_running_on_interrupt(work, build)
    try:
        with work.uninterrupted():
            # Printed before it is stored, so that not even a crash in between loses the job.
            commit = images.short_ref(plan.request.git_ref, 12)
            console.tell(f"{started.job_name} builds {plan.request.repo_url} at {commit} in {work.settings.cluster}")
            work.state.save_in_flight(build)
            leave_running_on_interrupt(work, build, remaining=remaining_of_build(work))
    except StateError as error:
        effect, next = work.interruption.effect, work.interruption.next
        raise StateError(error.what, f"{error.effect}. {effect}" if error.effect else effect, next) from error
    return build
