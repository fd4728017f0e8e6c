"""`promote`: deploys to one environment the digest that runs in another."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from .. import images
from ..config.environments import check_known
from ..encoding import fields_of
from ..errors import DigestNotFound, NothingStarted, SettingsError
from ..git import counted
from ..invocation.command import Command
from ..invocation.running import NOT_SAID
from ..invocation.work import Work
from ..next_steps import Step
from ..state import history
from ..state.records import Record
from ..state.what_ran import ran
from ..ui import console
from . import deploy
from .digest import steps_to_build

_MOST_COMMITS = 20


class PromotePlan(Struct, frozen=True):
    """The deploy of what runs in another environment, `source` (a cluster, as lines name it)."""

    deploy: deploy.DeployPlan
    source: str
    registry: str
    """Where the image is now."""

    def lines(self, work: Work) -> list[str]:
        return [*self._commits(work), *self.deploy.lines(work)]

    def show(self, work: Work) -> None:
        for line in self._commits(work):
            console.tell(line)
        self.deploy.show(work)

    def execute(self, work: Work) -> Record:
        work.tell_plan([*self._commits(work)])
        try:
            return self.deploy.execute(work)
        except DigestNotFound as error:
            what = f"{error.what} in {work.settings.cluster}"
            raise DigestNotFound(what, error.effect, [*self._ways_to_get_it(work)]) from error

    def _commits(self, work: Work) -> Iterator[str]:
        """The commits between what runs in both environments, in lines."""
        running, new = work.running(), self.deploy.deployed
        runs = running.ran
        here, there = str(self.deploy.promoted_from), str(work.settings.environment)
        yield f"promote {work.settings.app} from {self.source} to {work.settings.cluster}"
        if runs is None:
            if running.why:
                yield f"  the commits between them are not known: {running.why}"
            return
        if runs.build_id == new.build_id:
            yield f"  the same image runs in {there} already"
            return
        between = work.checkout.between(new.git_ref, runs.git_ref)
        if between is None:
            unknown = [
                f"that of {name} {f'({images.short_ref(ref)}) is not in this checkout' if ref else 'is not known'}"
                for name, ref in ((here, new.git_ref), (there, runs.git_ref))
                if not (ref and work.checkout.knows(ref))
            ]
            yield f"  the commits between them are not known here: {' and '.join(unknown)}"
            return
        yield from _listed(f"{there} gets {{}}", between.only_in_one)
        yield from _listed(f"{there} has {{}} that {here} lacks, and loses", between.only_in_other)
        if not any(between):
            yield f"  no commit lies between them: both are built from {images.short_ref(str(new.git_ref))}"

    def _ways_to_get_it(self, work: Work) -> Iterator[Step | str]:
        """How the image gets into the registry of this environment."""
        request, deployed, registry = self.deploy.request, self.deploy.deployed, work.settings.registry
        commit = None if deployed.dirty or not images.is_commit(deployed.git_ref) else deployed.git_ref
        if registry != self.registry:
            there = images.pinned(self.registry, request.image_name, request.build_id)
            here = f"{registry}/{request.image_name}:{commit or f'promoted-{request.build_id[7:19]}'}"
            # Without --prefer-index=false, buildx would wrap an image of one platform, which changes its digest.
            copy = ["docker", "buildx", "imagetools", "create", "--prefer-index=false", "--tag", here, there]
            yield f"Copy it, and promote again: {shlex.join(copy)}"
        build = steps_to_build(work, commit)[0]
        says = f"build it in {work.settings.environment}"
        yield build._replace(says=f"Or {says}" if registry != self.registry else says.capitalize())


def _listed(title: str, commits: Sequence[str]) -> Iterator[str]:
    """`title` with the number of `commits`, and the commits, in lines."""
    if not commits:
        return
    yield f"  {title.format(counted(len(commits)))}:"
    for commit in commits[:_MOST_COMMITS]:
        sha, _, subject = commit.partition(" ")
        yield f"    {sha[:7]} {subject}"
    if len(commits) > _MOST_COMMITS:
        yield f"    and {len(commits) - _MOST_COMMITS} more"


def _plan_promote(work: Work) -> PromotePlan:
    deploy.request_of(work, "")  # refuses what it cannot deploy before any API is asked
    name = _name_of_source(work)
    source = work.elsewhere(name)
    if (source.place._replace(environment=None), source.settings.api_url) == (
        work.place._replace(environment=None),
        work.settings.api_url,
    ):
        raise SettingsError(
            f"{source.settings.cluster} and {work.settings.cluster} are the same place: {work.settings.app} in "
            f"{work.settings.namespace}",
            "Nothing was deployed",
        )
    record = _running_in(source)
    if record.image_name != work.settings.image_name:
        raise SettingsError(
            f"what runs in {source.settings.cluster} is image {record.image_name}, and {work.settings.app} in "
            f"{work.settings.cluster} has image {work.settings.image_name}",
            "Nothing was deployed",
            work.step("promote", "Deploy that image", image_name=record.image_name),
        )
    plan = deploy.plan_of(work, str(record.build_id), record, promoted_from=name)
    return PromotePlan(plan, source.settings.cluster, source.settings.registry)


def _name_of_source(work: Work) -> str:
    """The environment to take the image from. SettingsError if that cannot be told, or if it is the selected one."""
    name, here, known = work.options["from_"], work.settings.environment, work.settings.environments
    available = f"(available: {', '.join(known)})" if known else "(none is configured)"
    if not name:
        raise SettingsError("the environment to take the image from is missing", next=f"Use --from NAME {available}")
    check_known(name, known, "flag --from: ", "--from")
    if here in (None, name):
        what = f"both are {name}" if here else "none is selected to deploy to"
        others = ", ".join(one for one in known if one != name)
        raise SettingsError(
            f"promote needs two environments, but {what}", next=f"Use --environment NAME (available: {others})"
        )
    return name


def _running_in(source: Work) -> Record:
    """The image that runs in the environment of `source`; where no API says that, what was deployed from here last.
    NothingStarted if the API did not answer that, SettingsError if it is not known, or if nothing runs."""
    settings, running = source.settings, source.running()
    where = f"{settings.app} in {settings.namespace} in {settings.cluster}"
    runs = running.ran
    if running.why and running.why != NOT_SAID:
        what = f"what runs of {where} is not known: {running.why}"
        raise NothingStarted(what, "Nothing was deployed", source.again._replace(says="Try again"))
    if running.why:
        last = next(source.history.deploys(settings.app, settings.namespace), None)
        if last is None or last.outcome != history.DEPLOYED:
            here = "nothing was deployed there from here"
            if last:
                here = "whether the last deploy from here happened is not known"
            raise SettingsError(
                f"what runs of {where} is not known: {running.why}, and {here}",
                "Nothing was deployed",
                Step("reuse", {"app": source.name, "build_id": "DIGEST"}, "Deploy a digest that you know"),
            )
        runs = ran(last)
        console.warn(f"{running.why} in {settings.cluster}; deployed there from here last: {history.described(last)}")
    if runs is None:
        raise SettingsError(f"nothing runs of {where}", "Nothing was deployed")
    if runs.build_id is None:
        what = f"what runs of {where} ({runs.image_name or 'not known'}) has no digest"
        raise SettingsError(what, "Nothing was deployed")
    if running.has_failed:
        console.warn(f"the rollout of {where} failed")
    known = next((one for one in source.state.history if _is_of(one, runs.build_id, runs.image_name)), None)
    record = Record(**fields_of(known, Record)) if known else Record(build_id=runs.build_id)
    return replace(
        record,
        image_name=runs.image_name or record.image_name,
        git_ref=runs.git_ref or record.git_ref,
        dirty=runs.dirty or record.dirty,
    )


def _is_of(entry: Record, build_id: str, image_name: str | None) -> bool:
    return entry.build_id == build_id and image_name in (None, entry.image_name)


promote = Command("promote", _plan_promote, needs=deploy.NEEDS, uses_record=True)
