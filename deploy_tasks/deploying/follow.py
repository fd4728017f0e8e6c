"""What follows an accepted deploy: its rollout and its health path, until the app is ready or a deadline."""

from __future__ import annotations

from contextlib import suppress

from ..api.rollout import wait_for_health, wait_for_rollout
from ..api.schemas import DeployRequest
from ..deadline import Deadline
from ..errors import RolloutFailed, StateError, StillRunning
from ..invocation.interruption import Remaining
from ..invocation.work import Work
from ..state import history
from ..state.records import Record
from ..ui import console
from ..ui.progress import progress_of
from .undo import Undo


def follow(work: Work, request: DeployRequest, deployed: Record, revision: int | None, undo: Undo) -> None:
    """Waits for the replicas (`--follow`) and the health path (`--check-health`), both within one deadline. Raises
    RolloutFailed or StillRunning."""
    config = request.deploy_config
    named = [domain for domain in config.all_domains if not domain.startswith("*")]
    url = f"{'http' if config.tls is False else 'https'}://{named[0]}" if named else ""
    deadline = Deadline(work.settings.rollout_timeout)
    try:
        if work.options["follow"]:
            with progress_of(request.app) as progress:
                ready = wait_for_rollout(work.client, request, deadline=deadline, progress=progress, revision=revision)
            if ready is None:
                console.tell("the API does not say how apps run, so the rollout was not followed")
            else:
                seconds = deadline.seconds - deadline.left()
                console.tell(f"{ready}/{ready} ready in {seconds:.0f} s{f': {url}' if url else ''}")
        if work.options["check_health"]:
            health = f"{url}{config.health_path or '/'}"
            with progress_of(request.app) as progress:
                wait_for_health(health, deadline=deadline, progress=progress)
            console.tell(f"{health} answers")
    except StillRunning:
        work.remaining = Remaining.AGAIN
        raise
    except RolloutFailed as error:
        work.remaining = Remaining.AGAIN
        if error.blames:
            with suppress(StateError):  # the rollout's failure is what matters
                work.note(history.NOT_READY, deployed)
        error.next = (*error.next, *undo.steps)
        error.effect = undo.effect or error.effect
        raise
