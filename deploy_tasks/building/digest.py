"""`digest`: resolves the digest of a tag and records it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from .. import images
from ..api import paths
from ..errors import DigestNotFound
from ..invocation.command import FROM_CHECKOUT, Command, Effect
from ..invocation.work import Work
from ..state.records import Record, Target
from ..ui import console
from .recording import record_and_report, target_of
from .steps import steps_to_build

if TYPE_CHECKING:
    from ..api.client import DeployClient


class DigestPlan(Struct, frozen=True):
    """The tag to resolve."""

    target: Target

    def show(self, work: Work) -> None:
        path = paths.DIGEST.format(image_name=self.target.image_name, tag=self.target.image_tag)
        work.would_send("GET", path)
        work.pretend(self.target)

    def execute(self, work: Work) -> Record:
        target, before = self.target, work.record
        try:
            build_id = work.client.digest(target.image_name, tag=target.image_tag)
        except DigestNotFound as error:
            raise DigestNotFound(error.what, error.effect, steps_to_build(work, target.image_tag)) from error
        if before and before.build_id not in (None, build_id) and before.image_tag != target.image_tag:
            was = f"{before.image_name}:{before.image_tag} ({images.shortened(before.build_id)})"
            console.warn(f"the record was of {was}, and now is of {target.image_name}:{target.image_tag}")
        # Whether the image has uncommitted changes is known only from the history.
        of_image = work.state.history.of_image(target.image_name)
        known = next((entry for entry in of_image if entry.build_id == build_id), None)
        return record_and_report(work, target, build_id, dirty=known.dirty if known else None)


def _plan(work: Work) -> DigestPlan:
    """Never resolves the tag of an old record: after new commits, that would deploy the old code."""
    settings, recorded, commit = work.settings, work.recorded_in_chain, work.checkout.commit
    tag = settings.image_tag or (recorded and recorded.image_tag) or commit or settings.needed("image_tag")
    git_ref = commit if tag == commit else None
    if recorded and tag == recorded.image_tag:
        git_ref = recorded.git_ref
    return DigestPlan(target_of(settings, tag, git_ref))


digest = Command("digest", plan=_plan, from_git=FROM_CHECKOUT, uses_record=True, effect=Effect.RECORDS)


def digest_of_tag(client: DeployClient, target: Target) -> str | None:
    """The digest of the target's tag; None if the registry has no such tag."""
    try:
        return client.digest(target.image_name, tag=target.image_tag)
    except DigestNotFound:
        return None
