"""Start a build or join it, wait for it, keep its digest."""

from __future__ import annotations

from contextlib import nullcontext, suppress

from msgspec.structs import replace

from .. import images, next_steps
from ..api.build_log import LogFollower, tail
from ..api.polling import wait_for_build
from ..api.schemas import BuildRequest
from ..app_class import APP_CLASSES, DEFAULT_APP_CLASS
from ..config import values as parsing
from ..config.sources import Source
from ..encoding import fields_of
from ..errors import ApiRefused, BuildFailed, DigestNotFound, JobNotFound, NothingStarted, SettingsError, StateError
from ..invocation.call import TARGET, Call
from ..invocation.work import AGAIN, API, BUILD, LOOK, NOTHING, WAIT, Act, Run, begin
from ..state import history
from ..state.records import BuildInFlight, Record, Target
from ..ui import console
from .decide import build_in_flight, build_request, check_git_token, is_same_build
from .digest import flags_of, keep, result, save, say


def build(call: Call) -> Act:
    """Builds in the cluster, waits for it, and records the digest."""
    flags = call.flags
    run = begin(call, needs=(*API, "repo_url", "git_ref", *call.needs_to_deploy), git=("app", "repo_url", "git_ref"))
    request = build_request(run.settings, run.checkout, cache=flags["cache"])
    check_git_token(request)
    check_clonable(run, request.git_ref, allow_unpushed=flags["allow_unpushed"])
    warn_of_build_args(run)

    def act() -> Record | BuildInFlight | None:
        if run.dry:
            run.would_send("POST", "/build", request)
            run.pretend(build_in_flight(run.settings, request, job=""))
            return None
        run.lock()
        with run.interruptible():
            if run.settings.build_if_needed and flags["cache"] and (known := built_already(run, request)):
                return result(run, known)
            in_flight = start_or_join(run, request)
            if not flags["wait"]:
                console.tell(f"the build goes on by itself; pick it up: {_command_to_wait_for(run, in_flight)}")
                run.result(in_flight.job_name, in_flight)
                return in_flight
            return result(run, finish(run, in_flight, logs=flags["logs"]))

    return Act(run, act)


def wait(call: Call) -> Act:
    """Waits for the build in flight, and records its digest."""
    job: str | None = call.flags["job"]
    run = begin(call, needs=API, from_record=True, git=("app", "repo_url", "git_ref"))
    before = run.state.in_flight()

    def act() -> Record | None:
        if run.dry:
            named = job or (before.job_name if before else "<job>")
            run.would_send("POST", f"/build/{named}/wait")
            if before and named == before.job_name:
                run.pretend(before)
            return None
        run.lock_before_deciding()
        if known := recorded_meanwhile(run, before, job):
            return result(run, known)
        if job is None and run.state.in_flight() is None:
            check_last_build(run)
            if before is None and call.is_of_several and (known := run.record):
                console.tell(f"nothing is in flight; recorded is {known.build_id}")
                return result(run, known)
        in_flight = pick_up(run, job)
        run.lock()
        with run.interruptible():
            return result(run, finish(run, in_flight, logs=call.flags["logs"]))

    return Act(run, act)


def check_clonable(run: Run, git_ref: str, *, allow_unpushed: bool) -> None:
    """SettingsError where no ref of the remote holds the commit, since the cluster clones from there."""
    checkout, repo_url = run.checkout, str(run.settings.require("repo_url"))
    if not images.is_commit(git_ref) or not checkout.knows(git_ref):
        return
    pushed = allow_unpushed or checkout.pushed(git_ref, repo_url)
    if pushed is None:
        console.warn(
            f"this checkout cannot tell whether {repo_url} has commit {git_ref[:12]}, and the cluster needs it"
        )
    elif not pushed:
        raise SettingsError(
            f"commit {git_ref[:12]} is on no branch of the remote, and no tag of it, so the cluster cannot clone it; "
            f"nothing was started. Push it ({checkout.how_to_push(git_ref, repo_url)}), build here "
            f"({run.go_on('local')}), or pass --allow-unpushed"
        )
    is_from_here = run.settings.origins["repo_url"].source is Source.GIT
    if run.call.name and is_from_here and not checkout.has(git_ref, run.settings.dockerfile):
        raise SettingsError(
            f"{run.settings.dockerfile} is not in commit {git_ref[:12]}, which the cluster clones: commit and push it"
        )
    if git_ref == checkout.commit and checkout.dirty:
        console.warn(f"uncommitted changes are not part of this build: the cluster builds commit {git_ref[:12]}")


def warn_of_build_args(run: Run) -> None:
    """The API takes none, and an image without them may be another than is thought."""
    named = [*(text.partition("=")[0] for text in run.settings.build_args), *run.settings.build_args_from]
    if named:
        of = f"{run.call.name}: " if run.call.name else ""
        here = run.command("local")
        console.warn(f"{of}the cluster builds without the build args {', '.join(named)}; with them: {here}")


def built_already(run: Run, request: BuildRequest) -> Record | None:
    """The record of an earlier build of the very same, made current, where its image is still there; else None."""
    image_name = run.settings.require("image_name")
    build = build_in_flight(run.settings, request, job="")
    entry = run.state.history().same_build(build) if images.is_commit(request.git_ref) else None
    if entry is None or entry.image_tag is None or entry.build_id is None:
        return None
    if run.settings.given("image_tag") not in (None, entry.image_tag):
        return None  # another tag was asked for
    try:
        if run.client.digest(image_name, tag=entry.image_tag) != entry.build_id:
            return None
    except DigestNotFound:
        return None
    console.tell(
        f"commit {request.git_ref[:12]} is built already ({entry.time}, {entry.job_name}); nothing was started"
    )
    return keep(run, replace(build, image_tag=entry.image_tag), entry.build_id)


def start_or_join(run: Run, request: BuildRequest) -> BuildInFlight:
    """Starts the build; where the very same one is in flight already, that one, so that nothing is built twice."""
    build = build_in_flight(run.settings, request, job="")
    earlier, client = run.state.in_flight(), run.client
    if earlier and request.cache and is_same_build(earlier, build) and not _has_failed(run, earlier):
        console.tell(f"{earlier.job_name} already builds commit {request.git_ref[:12]}; nothing new was started")
        build = replace(build, job_name=earlier.job_name, image_name=earlier.image_name, image_tag=earlier.image_tag)
        run.left = WAIT
        return build
    if earlier:
        console.warn(
            f"{earlier.job_name} goes on by itself; to get at its image: {_command_from_anywhere(run, earlier)}"
        )
    run.check_awaited()
    again = run.go_on("build")
    run.if_interrupted = f"stopped; the build may have started: look for it in the cluster before you run: {again}"
    run.left = LOOK
    try:
        started = client.start_build(request)
    except (ApiRefused, NothingStarted):
        run.left = AGAIN
        raise
    build = replace(build, job_name=started.job_name)
    with suppress(ValueError):  # a job is not lost to an image that cannot be read: then it is what was asked for
        reference = images.parse(started.image or "")
        build = replace(build, image_name=reference.name, image_tag=reference.tag or build.image_tag)
    run.if_interrupted = _goes_on(run, build)
    try:
        with run.undivided():
            # Told before it is written, so that not even a crash in between loses the job.
            console.tell(f"{started.job_name} builds {request.repo_url} at {images.short_ref(request.git_ref, 12)}")
            run.state.save_in_flight(build)
            run.left = WAIT
            run.if_interrupted = _goes_on(run, build)
    except StateError as error:
        raise StateError(f"{error}. {_goes_on(run, build)}") from error
    return build


def _has_failed(run: Run, build: BuildInFlight) -> bool:
    try:
        state = run.client.status(build.job_name)
    except (ApiRefused, NothingStarted):
        return False  # whoever waits for it will see
    return state is not None and state.status == "failed"


def _goes_on(run: Run, build: BuildInFlight) -> str:
    return f"{build.job_name} goes on in the cluster; pick it up: {_command_to_wait_for(run, build)}"


def _command_to_wait_for(run: Run, build: BuildInFlight) -> str:
    """The command that waits for the build, and goes on with what must follow on this command line."""
    with suppress(StateError):
        kept = run.state.in_flight()
        if kept and kept.job_name == build.job_name:  # all the rest is in the file
            target = {key: getattr(build, key) for key in TARGET if run.settings.is_by_flag(key)}
            return next_steps.line("wait", {**target, "app": run.call.name or target.get("app")}) + run.rest
    return _command_from_anywhere(run, build) + run.rest


def _command_from_anywhere(run: Run, build: BuildInFlight) -> str:
    """The command that waits for the build where no file says that it is in flight."""
    flags = {"job": build.job_name, **flags_of(run, build), "image_tag": build.image_tag}
    return next_steps.line("wait", flags)


def recorded_meanwhile(run: Run, before: BuildInFlight | None, job: str | None) -> Record | None:
    """The record of the build that was in flight `before` the lock was had, where another run has recorded it since."""
    if before is None or job not in (None, before.job_name) or run.state.in_flight() is not None:
        return None
    made = next((entry for entry in run.state.history() if entry.job_name == before.job_name), None)
    record = run.state.record()
    if made is None or record is None or record.build_id != made.build_id:
        return None
    console.tell(f"another run has recorded {before.job_name} meanwhile")
    run.remember(record)
    return record


def check_last_build(run: Run) -> None:
    """BuildFailed where the last build of this image failed: what is recorded is older then, and no result of a
    wait."""
    settings = run.settings
    if failed := run.history().failed_build(settings.require("app"), settings.require("image_name")):
        run.left = BUILD
        raise BuildFailed(
            f"{failed.job_name or 'the last build'} failed ({failed.time}), and {failed.image_name} was not built "
            f"since. Nothing was recorded. Build it again: {run.command('build')}"
        )


def pick_up(run: Run, job: str | None) -> BuildInFlight:
    """The build to wait for: the one in flight, or `job`, which another machine may have started."""
    settings, known = run.settings, run.state.in_flight()
    if job is not None and (known is None or job != known.job_name):
        return _build_of_elsewhere(run, job)
    if known is None:
        run.left = NOTHING
        start = run.command("build")
        raise SettingsError(f"no build is in flight; start one: {start}, or name one: --job JOB --image-tag TAG")
    if run.call.name and (known.app, known.image_name) != (settings.app, settings.image_name):
        raise SettingsError(f"{known.job_name} builds {known.app}, not {settings.app}; nothing was done")
    if known.api_url != settings.require("api_url"):
        raise SettingsError(
            f"{known.job_name} was started at {known.api_url}; set DEPLOY_API_URL to that to wait for it"
        )
    for key in ("app", "image_name", "image_tag"):
        wanted = getattr(settings, key)
        if settings.is_by_flag(key) and wanted != getattr(known, key):
            raise SettingsError(f"{known.job_name} builds {key} {getattr(known, key)}, not {wanted}; nothing was done")
    app_class = settings.given("app_class") or known.app_class or settings.app_class
    is_another_class = app_class != (known.app_class or DEFAULT_APP_CLASS)
    namespace = settings.given("namespace") or (APP_CLASSES[app_class] if is_another_class else known.namespace)
    return replace(known, namespace=namespace, app_class=app_class)


def _build_of_elsewhere(run: Run, job: str) -> BuildInFlight:
    """What the flags say of `job`: they must say its tag, since HEAD's commit may be another build's."""
    settings = run.settings
    if settings.given("image_tag") is None:
        raise SettingsError(
            f"{job} is not the build in flight here; name its tag too: --image-tag TAG; nothing was done"
        )
    request = build_request(settings, run.checkout, cache=True)
    build = build_in_flight(settings, request, parsing.of_flag("--job", images.label, job))
    # Only the tag can say which commit that was.
    return replace(build, git_ref=build.image_tag if images.is_commit(build.image_tag) else None)


def finish(run: Run, build: BuildInFlight, *, logs: bool) -> Record:
    """Waits for the build, showing its log where `logs` is true, resolves its digest and records it. BuildFailed or
    StillRunning otherwise."""
    job, seconds = build.job_name, run.settings.timeout
    run.if_interrupted = _goes_on(run, build)
    shown = LogFollower(run.new_client(), job, console.for_other_threads(console.pass_on)) if logs else None
    try:
        with run.group(f"build {job}"), console.progress(job) as progress, shown or nullcontext():
            progress("started")
            try:
                wait_for_build(
                    run.client,
                    job,
                    seconds=seconds,
                    again=_command_to_wait_for(run, build),
                    tell=console.tell,
                    progress=progress,
                )
            except JobNotFound as gone:
                build_id = _digest_left_behind(run, build, gone)
            else:
                build_id = _digest_of(run, build)
            # Before the end of the log is waited for: the digest must not hang on that.
            of_build = {key: getattr(build, key) for key in ("job_name", "dockerfile", "build_context")}
            saved = save(run, build, build_id, built={"built": "cluster", **of_build})
            try:
                run.state.clear_in_flight(job)
            except StateError as error:  # the digest must not be lost to that
                console.warn(f"{error}; {job} is recorded all the same")
    except BuildFailed as error:
        run.left = AGAIN if run.call.task == "build" else BUILD
        failed = Record(**fields_of(build, Target))
        with suppress(StateError):  # that it failed is what matters
            # First the note: a failure that is neither noted nor in flight would be forgotten.
            run.note(history.FAILED, failed, built="cluster", job_name=job)
            run.state.clear_in_flight(job)
        if not shown:
            if lines := tail(run.client, job):
                console.pass_on("\n".join(lines))
            error.what = f"{error}. Its log: {run.command(f'logs --job {job}')}"
        raise
    return say(run, *saved)


def _digest_left_behind(run: Run, build: BuildInFlight, gone: JobNotFound) -> str:
    """The digest of a build whose job is `gone`, where the tag in the registry can only be of that build: it is the tag
    of its commit, and no other build had that digest. Otherwise forgets the build in flight and raises JobNotFound with
    the tag."""
    job, tag = build.job_name, f"{build.image_name}:{build.image_tag}"
    find = next_steps.line("digest", {**flags_of(run, build), "image_tag": build.image_tag})
    again = run.command("build")
    try:
        build_id = run.client.digest(build.image_name or "", tag=build.image_tag or "")
    except DigestNotFound:
        says = f"the registry has no {tag}. If the build still runs, look for its image later: {find}. Else build"
    except (ApiRefused, NothingStarted) as error:
        look = _command_to_wait_for(run, build)
        error.what = f"{gone}, and whether it left {tag} is not known: {error}. Look again: {look}"
        raise
    else:
        others = (entry for entry in run.history().of_image(build.image_name) if entry.job_name != job)
        is_older = any(entry.build_id == build_id for entry in others)
        if build.image_tag == build.git_ref and images.is_commit(build.git_ref or "") and not is_older:
            console.tell(f"{gone}, and {tag} is in the registry, so it is done")
            return build_id
        says = f"{tag} may be of an earlier build. Look: {find}. Or build"
    run.left = BUILD
    with suppress(StateError):  # that it is gone is what matters
        run.state.clear_in_flight(job)
    raise JobNotFound(f"{gone}, and {says} again: {again}. Nothing was recorded")


def _digest_of(run: Run, build: BuildInFlight) -> str:
    job = build.job_name
    try:
        return run.client.digest(build.image_name or "", tag=build.image_tag or "")
    except DigestNotFound as error:
        raise BuildFailed(f"{job} is over, but {error}: the build failed; nothing was recorded") from error
    except (ApiRefused, NothingStarted) as error:
        error.what = (
            f"{job} is over, but its digest is not known yet: {error}. Get it: {_command_to_wait_for(run, build)}"
        )
        raise
