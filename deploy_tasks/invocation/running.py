"""What an app runs now: the API's answer, completed from the history of this checkout."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from .. import images
from ..api.schemas import AppState, FullAppState, Revision
from ..deploy_config import DEFAULT_REPLICAS
from ..errors import ApiRefused, NothingStarted
from ..redaction import excerpt
from ..signals import in_background
from ..state.records import Ran
from ..state.what_ran import NOTHING

if TYPE_CHECKING:
    from .work import Work

_MOST_SEARCHED = 1_000
NOT_SAID = "the API does not say what runs"


class Running(Struct, frozen=True):
    """What an app runs now. `ran` is None if nothing runs, or if it is not known what runs: then `why` is the
    reason."""

    ran: Ran | None = None
    why: str = ""
    is_from_here: bool = False
    """Whether this checkout's last deploy runs."""
    has_failed: bool = False
    """Whether the server says that the rollout failed."""
    was_unanswered: bool = False
    """Whether it is not known because the API did not answer this time."""

    @property
    def revision(self) -> int | None:
        """The revision that runs, 0 if nothing is deployed, None if it is not known."""
        if self.ran:
            return self.ran.revision
        return None if self.why else 0

    def differs_from(self, earlier: Running) -> bool:
        """Whether something else ran `earlier`, or may have: it was known then, and is not known now."""
        if None not in (self.revision, earlier.revision):
            return self.revision != earlier.revision
        if self.why or earlier.why:
            return not earlier.why
        now, before = self.ran or NOTHING, earlier.ran or NOTHING
        if (now.build_id or now.image_name) != (before.build_id or before.image_name):
            return True
        return None not in (now.replicas, before.replicas) and now.replicas != before.replicas


class Look(Struct):
    """The look at what an app runs. It asks the API once, until it looks `again`."""

    work: Work
    seen: Running | None = None
    """What ran at the last look."""
    asked: Callable[[], AppState | None] | None = None
    """Waits for the answer to what was asked in the background."""

    def begin(self) -> None:
        """Asks the API in the background, so that `now` need not wait, unless it was asked already."""
        if self.seen is None and self.asked is None:
            settings, ask = self.work.settings, self.work.client.app  # imports requests in this thread
            self.asked = in_background(partial(ask, settings.namespace, settings.app, before=self.work.again))

    def now(self) -> Running:
        """What ran at the last look. ApiRefused if the API refuses the key, NothingStarted without a connection;
        neither with `--dry`. After any other failure, what runs is not known."""
        if self.seen is None:
            work, asked = self.work, self.asked
            self.asked = None
            try:
                ask = partial(work.client.app, work.settings.namespace, work.settings.app, before=work.again)
                self.seen = self.read((asked or ask)())
            except (ApiRefused, NothingStarted) as error:
                is_fatal = error.status == 401 if isinstance(error, ApiRefused) else not error.reached
                if is_fatal and not work.call.is_dry:
                    raise
                self.seen = Running(why=error.what, was_unanswered=isinstance(error, NothingStarted))
        return self.seen

    def again(self) -> Running:
        """What runs now."""
        self.asked = self.seen = None
        return self.now()

    def read(self, state: AppState | None) -> Running:
        """What the app runs, from the API's last answer to its client."""
        history, settings = self.work.history, self.work.settings
        if state is None:
            # Only for a server with `app-state`, a missing app means that nothing is deployed.
            return Running(why="" if "app-state" in self.work.client.features else NOT_SAID)
        if not state.image:
            return Running(why=NOT_SAID)
        newest = next(history.deploys(settings.app, settings.namespace), None)
        if isinstance(state, FullAppState):
            ran = ran_of(state)
        else:
            ran = Ran(build_id=state.digest, image_name=_name(state.image))
        is_from_here = newest is not None and ran.build_id is not None and newest.build_id == ran.build_id
        if newest and None not in (newest.revision, ran.revision):
            is_from_here = newest.revision == ran.revision
        known = newest if newest and is_from_here else None
        if not known and not ran.git_ref:
            known = next((one for one in islice(history, _MOST_SEARCHED) if one.build_id == ran.build_id), None)
        if known and not ran.git_ref:
            ran = replace(ran, git_ref=known.git_ref, dirty=known.dirty)
        if newest and is_from_here and ran.deploy_config is None:
            config = newest.deploy_config
            # Another number of replicas means that somebody else deployed the same digest.
            if config and state.replicas in (None, config.replicas or DEFAULT_REPLICAS):
                ran = replace(ran, deploy_config=config)
        has_failed = isinstance(state, FullAppState) and state.status == "failed"
        return Running(replace(ran, replicas=state.replicas), "", is_from_here, has_failed)


def ran_of(said: FullAppState | Revision) -> Ran:
    """What ran, from the answer of a server with the feature `app-state` or `app-history`, without the values of
    variables."""
    image, commit = said.image or "", said.commit or ""
    return Ran(
        build_id=images.digest_in(image),
        image_name=_name(image),
        git_ref=commit.removesuffix("-dirty") or None,
        dirty=commit.endswith("-dirty") or None,
        deployed_by=excerpt(said.deployed_by),
        deployed_at=excerpt(said.deployed_at),
        revision=said.revision,
        deploy_config=said.deploy_config and said.deploy_config.for_history,
    )


def _name(image: str) -> str:
    """The name in a pinned reference; any other reference as a whole."""
    try:
        reference = images.parse(image)
    except ValueError:
        return excerpt(image)
    return reference.name if reference.digest else image
