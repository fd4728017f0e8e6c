"""`build` and `wait`: start a build in the cluster or join it, wait for it, record its digest."""

from __future__ import annotations

import re
from contextlib import nullcontext, suppress
from posixpath import isabs, join, normpath, relpath
from typing import NamedTuple, NoReturn
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from .. import images
from ..api.build_log import LogFollower, tail
from ..api.polling import wait_for_build
from ..api.schemas import BuildRequest
from ..app_class import APP_CLASSES
from ..config.schema import BY_KEY
from ..config.settings import Settings
from ..config.sources import Source, of_flag
from ..deadline import Deadline
from ..encoding import fields_of
from ..errors import ApiRefused, BuildFailed, DigestNotFound, JobNotFound, NothingStarted, SettingsError, StateError
from ..git import Checkout
from ..hosts import is_loopback
from ..invocation.call import TARGET
from ..invocation.command import API, Command
from ..invocation.work import Remaining, Work
from ..next_steps import Step
from ..redaction import quoted
from ..state import history
from ..state.records import BuildInFlight, HistoryEntry, Record, Target, record_as_json, timestamp
from ..ui import console
from .digest import digest_of_tag, flags_of, keep, save, target_of, tell_recorded

# In a clone, HEAD is the default branch of its remote.
_HEAD = re.compile(r"(HEAD|@)([~^@{].*)?", re.DOTALL)


class Existing(NamedTuple):
    """The image of a build that is made already."""

    build: BuildInFlight
    """That build, with the tag that its image has."""
    build_id: str
    earlier: HistoryEntry | None
    """Its entry in this history; None if another machine built it."""

    @property
    def record(self) -> Record:
        return Record(**fields_of(self.build, Target), build_id=self.build_id)

    @property
    def says(self) -> str:
        build, earlier = self.build, self.earlier
        how = f"{earlier.time}, {earlier.job_name}" if earlier else f"{build.image_name} has its tag in the registry"
        return f"commit {str(build.git_ref)[:12]} is built already ({how}); nothing was started"


class BuildPlan(Struct, frozen=True):
    """A build in the cluster: what to ask for, unless the image exists or the build in flight makes it."""

    request: BuildRequest
    build: BuildInFlight
    """What is to be remembered of it while it runs, before it has a job."""
    existing: Existing | None
    """The image, if it exists: then nothing is built."""
    in_flight: BuildInFlight | None
    """The build that was started from here and not recorded yet."""
    waits: bool
    shows_log: bool

    def show(self, work: Work) -> None:
        if self.existing:
            console.tell(self.existing.says)
        else:
            work.would_send("POST", "/build", self.request)
        work.pretend(self.build)

    def lines(self, _work: Work) -> list[str]:
        """What would be built, for a protected environment."""
        if self.existing:
            return [self.existing.says]
        return [f"build {self.request.app}: {self.request.repo_url} at {images.short_ref(self.request.git_ref, 12)}"]

    def execute(self, work: Work) -> Record | BuildInFlight:
        if self.waits or self.existing:
            return self.made(work)
        build = _running(work, self)
        step = _step_to_wait(work, build)._replace(continues=False)
        console.tell(f"the build goes on in the cluster. Pick it up: {step}")
        work.result(build.job_name, build)
        return build

    def made(self, work: Work) -> Record:
        """Makes the image if it does not exist, and records it."""
        if found := self.existing:
            console.tell(found.says)
            return keep(work, found.build, found.build_id)
        return finish(work, _running(work, self), shows_log=self.shows_log)


def plan_of(work: Work, *, if_needed: bool, waits: bool = True) -> BuildPlan:
    """The build of the commit or branch that the settings mean; with `if_needed` not of one whose image exists."""
    options, settings = work.options, work.settings
    request = build_request(settings, work.checkout, cache=options["cache"])
    build = _in_flight(settings, request)
    in_flight = None if work.call.is_dry else work.state.in_flight()
    existing = None
    # What is in flight must be joined, even if its image is there by now: else it would stay in flight for ever.
    if if_needed and request.cache and not (in_flight and _is_same(in_flight, build)):
        existing = existing_image(work, build)
    if existing is None:
        _check_git_token(request)
        _check_clonable(work, request.git_ref, allow_unpushed=options["allow_unpushed"])
        # The API takes no build args, and an image without them may be another than is thought.
        if args := [*(text.partition("=")[0] for text in settings.build_args), *settings.build_args_from]:
            of = f"{work.name}: " if work.name else ""
            here = work.step_alone("local")
            console.warn(f"{of}the cluster builds without the build args {', '.join(args)}; to build with them: {here}")
    if request.git_ref == work.checkout.commit and work.checkout.dirty:
        what = "build: the cluster builds" if existing is None else "image: it is that of"
        console.warn(f"uncommitted changes are not part of this {what} commit {request.git_ref[:12]}")
    return BuildPlan(request, build, existing, in_flight, waits, options["logs"])


def existing_image(work: Work, build: BuildInFlight) -> Existing | None:
    """The image that `build` would make, if the registry has it; None if it must be built. Asks the API.

    Only a commit can be found, since a branch moves: by the tag of the same build in this history, else by the commit
    as the tag, which another machine may have built. Other machines build with the Dockerfile and the context that are
    the defaults, unless this history says that they did not.
    """
    settings, tag = work.settings, work.settings.given("image_tag")
    if not images.is_commit(build.git_ref):
        return None
    entries = work.state.history().of_image(build.image_name)
    earlier = entries.same_build(build)
    if earlier and tag not in (None, earlier.image_tag):
        earlier = None
    usual = [BY_KEY[key].default for key in ("dockerfile", "build_context")]
    is_usual = [normpath(settings.dockerfile), normpath(settings.build_context)] == usual
    by_commit = build.image_tag if is_usual and build.image_tag == build.git_ref else None
    for known in dict.fromkeys((earlier and earlier.image_tag, by_commit)):
        made = replace(build, image_tag=known) if known else None
        build_id = digest_of_tag(work.client, made) if made else None
        if made is None or build_id is None:
            continue
        if earlier and build_id == earlier.build_id:
            return Existing(made, build_id, earlier)
        if known == by_commit and not any(_is_other(entry, build) for entry in entries if entry.build_id == build_id):
            return Existing(made, build_id, None)
    return None


def _is_other(entry: HistoryEntry, build: BuildInFlight) -> bool:
    """Whether the history says that the image of `entry` is not what `build` makes: of a dirty tree, or from another
    Dockerfile or context."""
    names = ("dockerfile", "build_context")
    return bool(entry.dirty) or (
        entry.built == "cluster" and any(getattr(entry, name) != getattr(build, name) for name in names)
    )


def _plan_build(work: Work) -> BuildPlan:
    return plan_of(work, if_needed=work.settings.build_if_needed, waits=work.options["wait"])


build = Command(
    "build",
    _plan_build,
    needs=(*API, "repo_url", "git_ref"),
    from_git=("app", "repo_url", "git_ref"),
    builds=True,
)


def build_request(settings: Settings, checkout: Checkout, *, cache: bool) -> BuildRequest:
    """The body of `POST /build`. Names that no source gives are left to the server, which answers with them.

    Dockerfile and context are named from the project's root; the cluster knows only the repository's. SettingsError
    where the cluster would build something else than what is meant.
    """
    git_ref, repo_url = settings.git_ref, settings.repo_url
    # Also where a setting names it: it is the same repository if a remote is that, or if it has a commit of this one.
    is_this_repository = (
        settings.origins["repo_url"].source is Source.GIT
        or checkout.remote_at(repo_url) is not None
        or checkout.knows(git_ref)
    )
    if is_this_repository and _HEAD.fullmatch(git_ref):
        raise SettingsError(
            f"{settings.origins['git_ref']}: in the cluster, {quoted(git_ref)} is not the commit checked out here",
            "Nothing was started",
            "To build that commit, leave the setting out. For another, name a commit, a branch or a tag.",
        )
    prefix = checkout.prefix if is_this_repository else None
    return BuildRequest(
        app=settings.app,
        namespace=settings.namespace,
        repo_url=repo_url,
        git_ref=git_ref,
        git_token=settings.git_token,
        image_tag=settings.image_tag or images.as_tag(git_ref) or settings.needed("image_tag"),
        cache=cache,
        deploy=False,
        image_name=settings.given("image_name"),
        dockerfile=_in_repository(settings, "dockerfile", prefix),
        build_context=_in_repository(settings, "build_context", prefix),
    )


def _in_repository(settings: Settings, key: str, prefix: str | None) -> str | None:
    """The path that setting `key` names, from the repository's root; None where the server's own default will do.
    `prefix` is where the project's root lies in the repository, None where the cluster clones another one."""
    given: str = getattr(settings, key)
    path = relpath(given, settings.root) if isabs(given) and prefix is not None else given
    place = normpath(join(prefix or "", path))
    if isabs(place) or place.split("/")[0] == "..":
        raise SettingsError(
            f"{settings.origins[key]}: {quoted(path)} is outside the repository, which is all that the cluster clones"
        )
    return place if prefix or path != given else settings.given(key)


def _check_git_token(request: BuildRequest) -> None:
    """SettingsError if the cluster would send the git token over plain http to another machine."""
    if request.git_token is None or not request.repo_url.lower().startswith("http://"):
        return
    host = None
    with suppress(ValueError):  # half an IPv6 address
        host = urlsplit(request.repo_url).hostname
    if not host or not is_loopback(host):
        where = quoted(host or request.repo_url)
        raise SettingsError(
            f"the cluster would send the git token to {where} over plain http, where others can read it",
            next="Use https:// in the repository URL, or unset DEPLOY_GIT_TOKEN",
        )


def _check_clonable(work: Work, git_ref: str, *, allow_unpushed: bool) -> None:
    """SettingsError if no ref of the remote holds the commit, since the cluster clones from there."""
    checkout, repo_url = work.checkout, work.settings.repo_url
    if not images.is_commit(git_ref) or not checkout.knows(git_ref):
        return
    here = "local-deploy" if work.call.command.joins_again else "local"
    pushed = allow_unpushed or checkout.pushed(git_ref, repo_url)
    if pushed is None:
        console.warn(f"this checkout cannot tell whether {repo_url} has commit {git_ref[:12]}, which the cluster needs")
    elif not pushed:
        raise SettingsError(
            f"commit {git_ref[:12]} is on no branch of the remote, and no tag of it, so the cluster cannot clone it",
            "Nothing was started",
            [
                f"Push it ({checkout.how_to_push(git_ref, repo_url)}), or pass --allow-unpushed.",
                work.step(here, "Or build here"),
            ],
        )
    is_from_here = work.settings.origins["repo_url"].source is Source.GIT
    if work.name and is_from_here and not checkout.has(git_ref, work.settings.dockerfile):
        raise SettingsError(
            f"{work.settings.dockerfile} is not in commit {git_ref[:12]}, which the cluster clones",
            next="Commit and push it",
        )


def _in_flight(settings: Settings, request: BuildRequest, job: str = "") -> BuildInFlight:
    """What is to be remembered of a build while it runs."""
    return BuildInFlight(
        **fields_of(target_of(settings, request.image_tag, request.git_ref)),
        dockerfile=request.dockerfile,
        build_context=request.build_context,
        asked_image=f"{settings.image_name}:{request.image_tag}",
        job_name=job,
        api_url=settings.api_url,
        environment=settings.environment,
        started_at=timestamp(),
    )


def _running(work: Work, plan: BuildPlan) -> BuildInFlight:
    """The build, which runs in the cluster from now on: the one in flight if it makes the same, else a new one."""
    return _joined(work, plan) or _started(work, plan)


def _is_same(earlier: BuildInFlight, build: BuildInFlight) -> bool:
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
        with suppress(ApiRefused, NothingStarted):  # the wait for it will tell
            state = work.client.status(earlier.job_name)
            may_join = state is None or state.status != "failed"
    if not may_join:
        step = Step("wait", _flags_to_wait(work, earlier))
        console.warn(f"{earlier.job_name} goes on in the cluster. To get its image: {step}")
        return None
    console.tell(f"{earlier.job_name} already builds commit {request.git_ref[:12]}; nothing new was started")
    work.remaining = _to_pick_up(work)
    return replace(plan.build, job_name=earlier.job_name, image_name=earlier.image_name, image_tag=earlier.image_tag)


def _started(work: Work, plan: BuildPlan) -> BuildInFlight:
    """Starts the build, and keeps its job."""
    task = work.call.command.name
    again = work.step(task, "Look for it in the cluster before you run")
    work.on_interrupt("The build may have started", again, remaining=Remaining.LOOK, starts=True)
    try:
        started = work.client.start_build(plan.request, again=work.step(task))
    except (ApiRefused, NothingStarted):
        work.remaining = Remaining.AGAIN
        raise
    build = replace(plan.build, job_name=started.job_name)
    if built := started.reference:
        build = replace(build, image_name=built.name, image_tag=built.tag or build.image_tag)
    _goes_on(work, build)
    try:
        with work.undivided():
            # Told before it is written, so that not even a crash in between loses the job.
            commit = images.short_ref(plan.request.git_ref, 12)
            console.tell(f"{started.job_name} builds {plan.request.repo_url} at {commit} in {work.settings.cluster}")
            work.state.save_in_flight(build)
            _goes_on(work, build, remaining=_to_pick_up(work))
    except StateError as error:
        effect, next = work.interruption.effect, work.interruption.next
        raise StateError(error.what, f"{error.effect}. {effect}" if error.effect else effect, next) from error
    return build


def _goes_on(work: Work, build: BuildInFlight, remaining: Remaining | None = None) -> None:
    """From now on an interrupt leaves the build running, and says how to pick it up."""
    step = _step_to_wait(work, build, "Pick it up")
    work.on_interrupt(f"{build.job_name} goes on in the cluster", step, remaining=remaining)


def _to_pick_up(work: Work) -> Remaining:
    """What remains to be done for a build that is in flight."""
    return Remaining.AGAIN if work.call.command.joins_again else Remaining.WAIT


def _step_to_wait(work: Work, build: BuildInFlight, says: str = "") -> Step:
    """The command that waits for the build, and goes on with what must follow on this command line."""
    if work.call.command.joins_again:
        return work.step(work.call.command.name, says)
    flags = _flags_to_wait(work, build)
    with suppress(StateError):
        kept = work.state.in_flight()
        if kept and kept.job_name == build.job_name:  # all the rest is in the file
            given = {key: getattr(build, key) for key in TARGET if work.settings.is_by_flag(key)}
            flags = {**given, "app": work.name or given.get("app")}
    return Step("wait", flags, says, continues=not work.is_of_several)


def _flags_to_wait(work: Work, build: BuildInFlight) -> dict[str, object]:
    """The flags with which `wait` finds the build where no file says that it is in flight."""
    return {"job": build.job_name, **flags_of(work, build), "image_tag": build.image_tag}


class WaitPlan(Struct, frozen=True):
    """The wait for a build that is in flight."""

    build: BuildInFlight
    shows_log: bool

    def show(self, work: Work) -> None:
        work.would_send("POST", f"/build/{self.build.job_name}/wait")
        work.pretend(self.build)

    def execute(self, work: Work) -> Record:
        return finish(work, self.build, shows_log=self.shows_log)


class RecordedPlan(Struct, frozen=True):
    """Nothing to wait for: the build is recorded already."""

    record: Record
    why: str

    def show(self, _work: Work) -> None:
        console.tell(self.why)

    def execute(self, work: Work) -> Record:
        console.tell(self.why)
        work.remember(self.record)
        work.result(str(self.record.build_id), record_as_json(self.record, {}))
        return self.record


class PretendedWait(Struct, frozen=True):
    """With `--dry`: a wait for a build that an earlier task would have started."""

    job: str

    def show(self, work: Work) -> None:
        work.would_send("POST", f"/build/{self.job}/wait")

    def execute(self, _work: Work) -> NoReturn:
        raise NotImplementedError("it is only shown")


def _plan_wait(work: Work) -> WaitPlan | RecordedPlan | PretendedWait:
    settings, record = work.settings, work.record
    job, known, shows_log = work.options["job"], work.state.in_flight(), work.options["logs"]
    if known and job in (None, known.job_name):
        return WaitPlan(_checked(work, known), shows_log)
    if work.call.is_dry:
        return PretendedWait(job or "<job>")
    # This run may have waited for another one, which was at work on that build.
    awaited = work.awaited.job_name if work.awaited and known is None else None
    if record and awaited and job in (None, awaited):
        made = next((entry for entry in work.state.history() if entry.job_name == awaited), None)
        if made and made.build_id == record.build_id:
            return RecordedPlan(record, f"another run has recorded {awaited} meanwhile")
    if job is not None:
        return WaitPlan(_build_of_elsewhere(work, job), shows_log)
    if failed := work.history.failed_build(settings.app, settings.image_name):
        # What is recorded is older, and no result of a wait.
        work.remaining = Remaining.BUILD
        raise BuildFailed(
            f"the last build of {failed.image_name} failed ({failed.job_name}, {failed.time})",
            "Nothing was recorded",
            work.step("build", "Build it again", continues=False),
        )
    if record and record.build_id and work.is_of_several:
        return RecordedPlan(record, f"nothing is in flight; recorded is {record.build_id}")
    work.remaining = Remaining.NOTHING
    raise SettingsError(
        "no build is in flight",
        "",
        [work.step_alone("build", "Start one"), "Or name one: --job JOB --image-tag TAG"],
    )


wait = Command("wait", _plan_wait, from_git=("app", "repo_url", "git_ref"), uses_record=True, all_or_none=False)


def _checked(work: Work, known: BuildInFlight) -> BuildInFlight:
    """The build in flight, with the namespace and the class that the flags give it. SettingsError if it is another
    than the flags mean."""
    settings = work.settings
    for key in ("app", "image_name", "image_tag"):
        builds, wanted = getattr(known, key), getattr(settings, key)
        is_meant = settings.is_by_flag(key) or (work.name and key != "image_tag")
        if is_meant and builds != wanted:
            raise SettingsError(f"{known.job_name} builds {builds}, not {wanted}", "Nothing was done")
    if known.api_url != settings.api_url:
        raise SettingsError(
            f"{known.job_name} was started at {known.api_url}", next="Set DEPLOY_API_URL to that to wait for it"
        )
    app_class = settings.given("app_class") or known.app_class
    usual = APP_CLASSES[app_class] if app_class != known.app_class else known.namespace
    return replace(known, app_class=app_class, namespace=settings.given("namespace") or usual)


def _build_of_elsewhere(work: Work, job: str) -> BuildInFlight:
    """What the flags say of `job`: they must name its tag, since HEAD's commit may be another build's."""
    if work.settings.given("image_tag") is None:
        raise SettingsError(
            f"{job} is not the build in flight here", "Nothing was done", "Name its tag too: --image-tag TAG"
        )
    request = build_request(work.settings, work.checkout, cache=True)
    build = _in_flight(work.settings, request, of_flag("--job", images.label, job))
    # Only the tag can say which commit that was.
    return replace(build, git_ref=build.image_tag if images.is_commit(build.image_tag) else None)


def finish(work: Work, build: BuildInFlight, *, shows_log: bool) -> Record:
    """Waits for the build, shows its log meanwhile if asked to, resolves its digest and records it. BuildFailed or
    StillRunning otherwise."""
    job = build.job_name
    _goes_on(work, build)
    log = LogFollower(work.new_client(), job, console.for_other_threads(console.pass_on)) if shows_log else None
    try:
        with work.group(f"build {job}"), console.progress(job) as progress, log or nullcontext():
            progress("started")
            again, deadline = _step_to_wait(work, build), Deadline(work.settings.timeout)
            try:
                wait_for_build(work.client, job, deadline=deadline, again=again, tell=console.tell, progress=progress)
            except JobNotFound as gone:
                build_id = _digest_left_behind(work, build, gone)
            else:
                build_id = _digest_of(work, build)
            # Before the end of the log is waited for: the digest must not hang on that.
            dockerfile, context = build.dockerfile, build.build_context
            record, earlier = save(
                work, build, build_id, built="cluster", job_name=job, dockerfile=dockerfile, build_context=context
            )
            try:
                work.state.clear_in_flight(job)
            except StateError as error:  # the digest must not be lost to that
                console.warn(f"{error}; {job} is recorded all the same")
    except BuildFailed as error:
        work.remaining = Remaining.BUILD if work.call.command.name == "wait" else Remaining.AGAIN
        with suppress(StateError):  # that it failed is what matters
            # First the note: a failure that is neither noted nor in flight would be forgotten.
            work.note(history.FAILED, Record(**fields_of(build, Target)), built="cluster", job_name=job)
            work.state.clear_in_flight(job)
        if not log:
            if lines := tail(work.client, job):
                console.pass_on("\n".join(lines))
            error.next = (*error.next, work.step_alone("logs", "Its log", job=job))
        raise
    return tell_recorded(work, record, earlier)


def _digest_left_behind(work: Work, build: BuildInFlight, gone: JobNotFound) -> str:
    """The digest of a build whose job is `gone`, if the tag in the registry can only be of that build: it is the tag of
    its commit, and no other build had that digest. Otherwise forgets the build in flight and raises JobNotFound."""
    job, tag = build.job_name, f"{build.image_name}:{build.image_tag}"
    try:
        build_id = work.client.digest(build.image_name, tag=build.image_tag)
    except DigestNotFound:
        what, says = f"the registry has no {tag}", "If the build still runs, look for its image later"
    except (ApiRefused, NothingStarted) as error:
        error.what = f"{gone.what}, and whether it left {tag} is not known: {error.what}"
        error.next = (_step_to_wait(work, build, "Look again"),)
        raise
    else:
        others = (entry for entry in work.history.of_image(build.image_name) if entry.job_name != job)
        is_older = any(entry.build_id == build_id for entry in others)
        if build.image_tag == build.git_ref and images.is_commit(build.image_tag) and not is_older:
            console.tell(f"{gone.what}, and {tag} is in the registry, so it is done")
            return build_id
        what, says = f"{tag} may be of an earlier build", "If it is of this one, record it"
    work.remaining = Remaining.BUILD
    with suppress(StateError):  # that it is gone is what matters
        work.state.clear_in_flight(job)
    find = Step("digest", {**flags_of(work, build), "image_tag": build.image_tag}, says)
    again = work.step_alone("build", "Or build again")
    raise JobNotFound(f"{gone.what}, and {what}", gone.status, "Nothing was recorded", [find, again])


def _digest_of(work: Work, build: BuildInFlight) -> str:
    """The digest of a finished build. BuildFailed if the registry has no digest for its tag."""
    job = build.job_name
    try:
        return work.client.digest(build.image_name, tag=build.image_tag)
    except DigestNotFound as error:
        what = f"{job} is over, but {error.what}: the build failed"
        raise BuildFailed(what, "Nothing was recorded", error.next) from error
    except (ApiRefused, NothingStarted) as error:
        error.what = f"{job} is over, but its digest is not known yet: {error.what}"
        error.next = (_step_to_wait(work, build, "Get it"),)
        raise
