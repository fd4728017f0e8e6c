"""The commands to suggest about an image: how to build it, and the flags that name it."""

from __future__ import annotations

from .. import images
from ..invocation.command import Effect
from ..invocation.suggestions import target_flags
from ..invocation.work import Work
from ..next_steps import Step
from ..options import FOLLOWED, HOW_IT_RUNS
from ..state.records import Target


def steps_to_build(work: Work, ref: str | None) -> list[Step]:
    """The commands that build `ref` if it is a commit, else HEAD. If this call deploys, they deploy the image too: the
    later calls of this command line may be for another environment."""
    target, then, tasks = target_flags(work.settings), None, ["build", "local"]
    if work.call.command.effect is Effect.DEPLOYS:
        repeated = (*HOW_IT_RUNS, *FOLLOWED)
        then = Step("reuse", {key: value for key, value in work.call.given.items() if key in repeated})
    is_commit = images.is_commit(ref)
    says = "Build it" if is_commit else "Build the present commit"
    if is_commit and ref != work.checkout.commit:
        tasks, target = tasks[:1], {**target, "git_ref": ref}
    steps = [Step(task, target, continues=not work.is_of_several, then=then) for task in tasks]
    return [steps[0]._replace(says=says), *steps[1:]]


def flags_of(work: Work, target: Target) -> dict[str, object]:
    """The flags for `target` that a command needs, whatever is recorded."""
    return {"app": target.app, **target_flags(work.settings, target, without_record=True)}
