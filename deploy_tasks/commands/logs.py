"""`logs`: prints the log of a build, or follows it."""

from __future__ import annotations

from msgspec import Struct

from .. import images
from ..api import paths
from ..api.build_log import LogFollower
from ..api.polling import wait_for_end
from ..config.sources import of_flag
from ..deadline import Deadline
from ..errors import ApiRefused, SettingsError
from ..invocation.command import Command, Effect
from ..invocation.work import Work
from ..ui import console


class LogsPlan(Struct, frozen=True):
    """The build whose log is printed."""

    job: str
    follow: bool

    def show(self, work: Work) -> None:
        work.would_send("GET", paths.BUILD_LOGS.format(job=self.job))

    def execute(self, work: Work) -> None:
        console.tell(f"log of {self.job}")
        work.on_interrupt("Nothing else was stopped")
        if self.follow:
            is_served = _follow(work, self.job)
        else:
            log = work.client.logs(self.job)
            is_served = log is not None
            if log and log.text:
                console.print_lines(log.text.rstrip("\n"))
        if not is_served:
            what = f"the API has no log of {self.job}: it keeps none, or does not know the job (any more)"
            raise ApiRefused(what, 404)


def _plan(work: Work) -> LogsPlan:
    given, app = work.options["job"], work.settings.app
    if given is not None:  # first, so that the state files need not be readable
        job = of_flag("--job", images.label, given)
    elif (in_flight := work.state.in_flight()) and in_flight.app == app:
        job = in_flight.job_name
    elif made := next((entry.job_name for entry in work.history if entry.job_name and entry.app == app), None):
        job = images.label(made)
    else:
        raise SettingsError("no build was started from here yet", next="Name one: --job JOB")
    return LogsPlan(job, work.options["follow"])


logs = Command("logs", plan=_plan, uses_record=True, effect=Effect.LOOKS, all_or_none=False)


def _follow(work: Work, job: str) -> bool:
    """Prints the log as it grows; returns whether the API has the log."""
    again = work.step("logs", continues=False, follow=True, job=job)
    with LogFollower(work.new_client(), job, console.for_other_threads(console.print_lines)) as shown:
        phase = wait_for_end(work.client, job, deadline=Deadline(work.settings.timeout), again=again, tell=console.tell)
    if phase:
        in_flight = work.state.in_flight()
        console.tell(f"{job} {phase}" + (f"; record its digest: {work.step('wait')}" if in_flight else ""))
    return shown.served
