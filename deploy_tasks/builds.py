"""Start a build or join it, wait for it, keep its digest."""

from __future__ import annotations

from . import console, images
from .decide import build_in_flight, build_request, is_same_build
from .errors import BuildFailed, DigestNotFound, SettingsError, StateError
from .models import BuildInFlight, BuildRequest, Record, Target, fields_of
from .run import Run
from .waiting import wait_for_build


def check_clonable(run: Run, git_ref: str, *, allow_unpushed: bool) -> None:
    """SettingsError where no remote branch holds the commit of HEAD, since the cluster clones from there."""
    checkout = run.checkout
    if git_ref != checkout.commit:
        return
    if not allow_unpushed and not checkout.pushed(git_ref):
        raise SettingsError(
            f"commit {git_ref[:12]} is on no remote branch, so the cluster cannot clone it; nothing was started. "
            "Push it (git push), build here (invoke local), or pass --allow-unpushed"
        )
    if checkout.dirty:
        console.warn(f"uncommitted changes are not part of this build: the cluster builds commit {git_ref[:12]}")


def start_or_join(run: Run, request: BuildRequest) -> BuildInFlight:
    """Starts the build; where the very same one is in flight already, that one, so that nothing is built twice."""
    build = build_in_flight(run.settings, request, job="")
    earlier = run.state.in_flight()
    if earlier and is_same_build(earlier, build):
        console.tell(f"{earlier.job_name} already builds commit {request.git_ref[:12]}; nothing new was started")
        return earlier
    if earlier:
        console.warn(f"{earlier.job_name} goes on by itself; to get at its image: invoke wait --job {earlier.job_name}")
    run.if_interrupted = "stopped; the build may have started: look for it in the cluster before you run: invoke build"
    started = run.client.start_build(request)
    run.if_interrupted = _goes_on(started.job_name)
    # Told before it is written, so that not even a crash in between loses the job.
    console.tell(f"{started.job_name} builds {request.repo_url} at {request.git_ref[:12]}")
    build.job_name = started.job_name
    if started.image:
        reference = images.parse(started.image)
        build.image_name, build.image_tag = reference.name, reference.tag or build.image_tag
    run.state.save_in_flight(build)
    return build


def _goes_on(job: str) -> str:
    return f"{job} goes on in the cluster; pick it up: invoke wait --job {job}"


def pick_up(run: Run, job: str | None) -> BuildInFlight:
    """The build to wait for: the one in flight, or `job`, which another machine may have started: then the settings
    say what it builds."""
    settings, known = run.settings, run.state.in_flight()
    if job is not None and (known is None or job != known.job_name):
        return build_in_flight(settings, build_request(settings, cache=True), images.label(job))
    if known is None:
        raise SettingsError("no build is in flight; start one: invoke build, or name its job: invoke wait --job JOB")
    if known.api_url != settings.require("api_url"):
        raise SettingsError(
            f"{known.job_name} was started at {known.api_url}; set DEPLOY_API_URL to that to wait for it"
        )
    if settings.sources["app"].startswith("flag") and settings.app != known.app:
        raise SettingsError(f"{known.job_name} builds app {known.app}, not {settings.app}; nothing was done")
    return known


def finish(run: Run, build: BuildInFlight) -> Record:
    """Waits for the build, resolves its digest and records it. BuildFailed or StillRunning otherwise."""
    job, image_name, tag = build.job_name, build.image_name or "", build.image_tag or ""
    run.if_interrupted = _goes_on(job)
    try:
        wait_for_build(run.client, job, seconds=run.settings.timeout, tell=console.tell)
        build_id = run.client.digest(image_name, tag=tag)
    except BuildFailed:
        run.state.clear_in_flight(job)
        raise
    except DigestNotFound as error:
        run.state.clear_in_flight(job)
        raise BuildFailed(f"{job} is over, but {error}: the build failed; nothing was recorded") from None
    record = keep(run, build, build_id, app_class=build.app_class)
    run.state.clear_in_flight(job)
    return record


def keep(run: Run, target: Target, build_id: str, *, app_class: str | None = None) -> Record:
    """Records the digest of `target`, for this command line and in the state file."""
    record = Record(**fields_of(target, Target), build_id=build_id, app_class=app_class or run.settings.app_class)
    earlier = run.state.record()
    run.remember(record)
    try:
        run.state.save_record(record)
    except StateError as error:
        raise StateError(f"{error}. The image is there: invoke reuse --build-id {build_id}") from None
    same_tag = earlier and (earlier.image_name, earlier.image_tag) == (record.image_name, record.image_tag)
    if earlier and same_tag and earlier.build_id != build_id:
        console.warn(f"tag {record.image_tag} points to another image now: {earlier.build_id} → {build_id}")
    console.tell(f"recorded {record.image_name}:{record.image_tag} as {build_id}")
    return record
