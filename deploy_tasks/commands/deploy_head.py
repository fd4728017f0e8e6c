"""`deploy`: makes HEAD run. Deploys the image of its commit if there is one, else builds it in the cluster first."""

from __future__ import annotations

from msgspec import Struct

from ..errors import SettingsError
from ..images import is_commit
from ..invocation.command import Command
from ..invocation.work import Work
from ..redaction import quoted
from ..state.records import Record
from . import build, deploy


class DeployHeadPlan(Struct, frozen=True):
    """The build of HEAD's commit, or its image, and the deploy of that."""

    build: build.BuildPlan
    deploy: deploy.DeployPlan
    """Complete but for the digest if that is to be built."""

    def lines(self, work: Work) -> list[str]:
        return [*self.build.lines(work), *self.deploy.lines(work)]

    def show(self, work: Work) -> None:
        self.build.show(work)
        plan = self.deploy
        if self.build.existing is None and (record := work.recorded_in_chain):  # what the build pretends
            plan = deploy.of_another_digest(work, plan, record)
        plan.show(work)

    def execute(self, work: Work) -> Record:
        work.running()  # what is replaced, as it is before the build
        record = self.build.made(work)
        plan = self.deploy if self.build.existing else deploy.of_another_digest(work, self.deploy, record)
        return plan.execute(work)


def _plan_deploy(work: Work) -> DeployHeadPlan:
    settings, head = work.settings, work.checkout.commit
    if settings.git_ref != head and (head or not is_commit(settings.git_ref)):
        raise SettingsError(
            f"{settings.origins['git_ref']} is {quoted(settings.git_ref)}, and `deploy` deploys the commit that is "
            f"checked out here, {head[:12] if head else 'which git does not know'}",
            "Nothing was started",
            [
                "Leave the setting out",
                work.step_alone("build", "Or build what it says, and deploy that with reuse"),
            ],
        )
    deploy.request_of(work, "")  # refuses what it cannot deploy before the registry is asked
    plan = build.plan_of(work, if_needed=True)
    found = plan.existing
    if found is None:
        return DeployHeadPlan(plan, deploy.plan_of(work, "", None))
    return DeployHeadPlan(plan, deploy.plan_of(work, found.build_id, found.record))


deploy_head = Command(
    "deploy",
    _plan_deploy,
    needs=(*build.build.needs, "port", "env_from"),
    from_git=build.build.from_git,
    joins_again=True,
)
