"""`promote`: deploys the digest that runs in one environment to another."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from .. import images
from ..building.steps import steps_to_build
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
from ..state.what_ran import image_of, ran
from ..ui import console
from .app_config import configured
from .deploy_plan import DeployPlan, plan_of
from .image_lines import digits
from .reuse import NEEDS

_MOST_COMMITS = 20


class PromotePlan(DeployPlan, frozen=True, kw_only=True):
    """The deploy of the image that runs in another environment, `source` (see `Settings.cluster`)."""

    promoted_from: str
    promoted_to: str
    source: str
    registry: str
    """Where the image is now."""

    def lines(self, work: Work) -> list[str]:
        return [*self._commits(work), *super().lines(work)]

    def execute(self, work: Work) -> Record:
        try:
            return super().execute(work)
        except DigestNotFound as error:
            what = f"{error.what} in {work.settings.cluster}"
            raise DigestNotFound(what, error.effect, [*self._ways_to_get_it(work)]) from error

    def _commits(self, work: Work) -> Iterator[str]:
        """Lines with the commits between the images that run in the two environments."""
        running, new = work.look.now(), self.deployed
        runs, here, there = running.ran, self.promoted_from, self.promoted_to
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
        if new.git_ref and not any(between):
            yield f"  no commit lies between them: both are built from {images.short_ref(new.git_ref)}"

    def _ways_to_get_it(self, work: Work) -> Iterator[Step | str]:
        """How to get the image into the registry of this environment."""
        image, registry = self.deployed, work.settings.registry
        commit = None if image.dirty or not images.is_commit(image.git_ref) else image.git_ref
        says = f"build it in {self.promoted_to}"
        if registry != self.registry:
            there = images.pinned(self.registry, self.request.image_name, self.request.build_id)
            here = f"{registry}/{image.image_name}:{commit or f'promoted-{digits(image)}'}"
            # Without --prefer-index=false, buildx would wrap an image of one platform, which changes its digest.
            copy = ["docker", "buildx", "imagetools", "create", "--prefer-index=false", "--tag", here, there]
            yield f"Copy it, and promote again: {shlex.join(copy)}"
            says = f"or {says}"
        yield steps_to_build(work, commit)[0]._replace(says=says[0].upper() + says[1:])


def _listed(title: str, commits: Sequence[str]) -> Iterator[str]:
    """Lines with the `title`, which has the number of `commits`, and the first commits."""
    if not commits:
        return
    yield f"  {title.format(counted(len(commits)))}:"
    for commit in commits[:_MOST_COMMITS]:
        sha, _, subject = commit.partition(" ")
        yield f"    {sha[:7]} {subject}"
    if len(commits) > _MOST_COMMITS:
        yield f"    and {len(commits) - _MOST_COMMITS} more"


def _plan_promote(work: Work) -> PromotePlan:
    settings = work.settings
    config = configured(work)  # reports invalid settings before any API is asked
    name, here, known = work.options["from_"], settings.environment, settings.environments
    available = f"(available: {', '.join(known)})" if known else "(none is configured)"
    if not name:
        raise SettingsError("the environment to take the image from is missing", next=f"Use --from NAME {available}")
    check_known(name, known, "flag --from: ", "--from")
    if here in (None, name):
        what = f"promote needs two environments, but {f'both are {name}' if here else 'none is selected to deploy to'}"
        others = ", ".join(one for one in known if one != name)
        raise SettingsError(what, next=f"Use --environment NAME (available: {others})")
    elsewhere = work.elsewhere(name)
    source = elsewhere.settings
    if all(getattr(source, key) == getattr(settings, key) for key in ("api_url", "namespace", "app")):
        raise SettingsError(
            f"{source.cluster} and {settings.cluster} are the same place: {settings.app} in {settings.namespace}",
            "Nothing was deployed",
        )
    image = _running_in(elsewhere)
    if image.image_name != settings.image_name:
        raise SettingsError(
            f"{source.cluster} runs image {image.image_name}, but {settings.app} in {settings.cluster} has image "
            f"{settings.image_name}",
            "Nothing was deployed",
            work.step("promote", "Deploy that image", image_name=image.image_name),
        )
    deploy = {**fields_of(plan_of(work, image, config)), "promoted_from": name}
    return PromotePlan(**deploy, promoted_to=here, source=source.cluster, registry=source.registry)


def _running_in(source: Work) -> Record:
    """The image that runs in the environment of `source`; if its API cannot say, the image that was last deployed there
    from here. NothingStarted if the API did not answer, SettingsError if the image is not known or nothing runs."""
    settings, running = source.settings, source.look.now()
    where = f"{settings.app} in {settings.namespace} in {settings.cluster}"
    runs = running.ran
    if running.why and running.why != NOT_SAID:
        what = f"the running image of {where} is not known: {running.why}"
        raise NothingStarted(what, "Nothing was deployed", source.again)
    if running.why:
        last = next(source.history.deploys(settings.app, settings.namespace), None)
        if last is None or last.outcome != history.DEPLOYED:
            here = "nothing was deployed there from here"
            if last:
                here = "whether the last deploy from here happened is not known"
            raise SettingsError(
                f"the running image of {where} is not known: {running.why}, and {here}",
                "Nothing was deployed",
                Step("reuse", {"app": source.name, "build_id": "DIGEST"}, "Deploy a digest that you know"),
            )
        runs = ran(last)
        console.warn(f"{running.why} in {settings.cluster}; deployed there from here last: {history.described(last)}")
    if runs is None:
        raise SettingsError(f"{where} is not deployed", "Nothing was deployed")
    if runs.build_id is None:
        what = f"the running image of {where} ({runs.image_name or 'not known'}) has no digest"
        raise SettingsError(what, "Nothing was deployed")
    if running.has_failed:
        console.warn(f"the rollout of {where} failed")
    return image_of(runs, source.state.history)


promote = Command("promote", plan=_plan_promote, needs=NEEDS, uses_record=True)
