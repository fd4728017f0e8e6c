"""`deploy` and `local-deploy`: build and deploy HEAD. `deploy` builds in the cluster, unless the commit's image exists;
`local-deploy` builds on this machine."""

from __future__ import annotations

from typing import cast

from msgspec import Struct, structs

from ..building.build import BuildPlan, build
from ..building.build import plan_of as plan_of_build
from ..building.local import LocalPlan, local
from ..building.local import plan_of as plan_of_local
from ..errors import SettingsError
from ..images import is_commit
from ..invocation.command import TO_DEPLOY, Command, Effect
from ..invocation.work import Work
from ..redaction import quoted
from ..state.records import Record
from .deploy import plan_of
from .deploy_plan import DeployPlan


class BuildAndDeploy(Struct, frozen=True):
    """A build, unless the image exists, and the deploy of that image."""

    build: BuildPlan | LocalPlan
    deploy: DeployPlan
    """Without a digest if the image is not built yet."""

    def lines(self, work: Work) -> list[str]:
        return [*self.build.lines(work), *self.deploy.lines(work)]

    def show(self, work: Work) -> None:
        self.build.show(work)
        self._deploy_of(work, work.recorded_in_chain).show(work)  # recorded by `pretend`

    def execute(self, work: Work) -> Record:
        work.running()  # reads what the deploy will replace before the build starts
        return self._deploy_of(work, cast(Record, self.build.execute(work))).execute(work)

    def _deploy_of(self, work: Work, image: Record | None) -> DeployPlan:
        if self.deploy.request.build_id or image is None:
            return self.deploy
        return structs.replace(plan_of(work, image, self.deploy.request.deploy_config), is_late=True)


def _plan_deploy(work: Work) -> BuildAndDeploy:
    settings, head = work.settings, work.checkout.commit
    if settings.git_ref != head and (head or not is_commit(settings.git_ref)):
        raise SettingsError(
            f"{settings.origins['git_ref']} is {quoted(settings.git_ref)}, and `deploy` deploys the commit that is "
            f"checked out here, {head[:12] if head else 'which git does not know'}",
            "Nothing was started",
            ["Leave the setting out", work.step("build", "Or build that ref, then deploy it with reuse")],
        )
    deploys = plan_of(work, Record())  # reports invalid settings before the registry is asked
    plan = plan_of_build(work, if_needed=True)
    if found := plan.existing:
        image = Record.of(found.build, build_id=found.build_id)
        deploys = plan_of(work, image, deploys.request.deploy_config)
    return BuildAndDeploy(plan, deploys)


deploy = Command(
    "deploy",
    _plan_deploy,
    needs=(*build.needs, *TO_DEPLOY),
    from_git=build.from_git,
)


def _plan_local_deploy(work: Work) -> BuildAndDeploy:
    return BuildAndDeploy(plan_of_local(work), plan_of(work, Record()))


local_deploy = structs.replace(
    local, name="local-deploy", plan=_plan_local_deploy, needs=(*local.needs, *TO_DEPLOY), effect=Effect.DEPLOYS
)
