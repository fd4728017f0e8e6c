"""`deploy` and `local-deploy`: build and deploy HEAD. `deploy` builds in the cluster, unless the commit's image exists;
`local-deploy` builds on this machine."""

from __future__ import annotations

from msgspec import Struct, structs

from ..building.build import BuildPlan, build
from ..building.build import plan_of as plan_of_build
from ..building.local import LocalPlan, local
from ..building.local import plan_of as plan_of_local
from ..deploy_config import DeployConfig
from ..errors import SettingsError
from ..images import is_commit
from ..invocation.command import TO_DEPLOY, Command, Effect
from ..invocation.work import Work
from ..redaction import quoted
from ..state.records import Record
from .app_config import configured
from .deploy_plan import DeployPlan, plan_of, target_lines


class BuildAndDeploy(Struct, frozen=True):
    """A build, unless the image exists, and the deploy of that image."""

    build: BuildPlan | LocalPlan
    config: DeployConfig
    """How the image is to run."""
    deploy: DeployPlan | None
    """None if the image is not built yet: then it is planned after the build."""

    def lines(self, work: Work) -> list[str]:
        deploy = self.deploy.lines(work) if self.deploy else target_lines(work, self.config)
        return [*self.build.lines(work), *deploy]

    def show(self, work: Work) -> None:
        self._deploy_of(work, self.build.pretend(work)).show(work)

    def execute(self, work: Work) -> Record:
        work.look.now()  # reads what the deploy will replace before the build starts
        return self._deploy_of(work, self.build.execute(work)).execute(work)

    def _deploy_of(self, work: Work, image: Record) -> DeployPlan:
        return self.deploy or structs.replace(plan_of(work, image, self.config), is_built=True)


def _plan_deploy(work: Work) -> BuildAndDeploy:
    settings, head = work.settings, work.checkout.commit
    if settings.git_ref != head and (head or not is_commit(settings.git_ref)):
        raise SettingsError(
            f"{settings.origins['git_ref']} is {quoted(settings.git_ref)}, and `deploy` deploys the commit that is "
            f"checked out here, {head[:12] if head else 'which git does not know'}",
            "Nothing was started",
            ["Leave the setting out", work.step("build", "Or build that ref, then deploy it with reuse")],
        )
    config = configured(work)  # reports invalid settings before the registry is asked
    plan = plan_of_build(work, if_needed=True)
    found = plan.existing
    image = Record.of(found.build, build_id=found.build_id) if found else None
    return BuildAndDeploy(plan, config, plan_of(work, image, config) if image else None)


deploy = Command(
    "deploy",
    plan=_plan_deploy,
    needs=(*build.needs, *TO_DEPLOY),
    from_git=build.from_git,
)


def _plan_local_deploy(work: Work) -> BuildAndDeploy:
    plan = plan_of_local(work)
    return BuildAndDeploy(plan, configured(work), None)


local_deploy = structs.replace(
    local, name="local-deploy", plan=_plan_local_deploy, needs=(*local.needs, *TO_DEPLOY), effect=Effect.DEPLOYS
)
