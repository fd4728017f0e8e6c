"""What `deploy-api serve` runs for now: the Deploy API with keys and an audit, over a builder and cluster in memory."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from starlette.middleware import Middleware

from .. import serving
from ..app import create_app
from ..audit import Audit
from ..auth import Keys
from .builder import MemoryBuilder
from .cluster import MemoryCluster
from .distribution import routes
from .door import Door
from .images import ArchiveImageBuilder
from .registry import DiskRegistry

_SECONDS_A_REPLICA = 0.2


def serve(host: str, port: int, data: Path | None, keys: Keys, tell: Callable[[str], None]) -> None:
    """Serves until SIGINT or SIGTERM; the audit goes to stdout. Images are kept in `data`; None: in a temporary folder.

    Raises CannotListen, and OSError if `data` cannot be used.
    """
    with ExitStack() as stack:
        listener = stack.enter_context(serving.listen(host, port))
        address = f"{serving.printed_host(host)}:{listener.getsockname()[1]}"
        folder = data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deploy-api-")))
        registry = DiskRegistry(folder, address)
        app = create_app(
            MemoryBuilder(registry, ArchiveImageBuilder(registry)),
            registry,
            MemoryCluster(_SECONDS_A_REPLICA),
            keys,
            Audit(sys.stdout),
            routes=routes(registry),
            middleware=[Middleware(Door, host.lower())],
        )

        def announce() -> None:
            tell(f"Deploy API on http://{address}")
            tell("Builds and apps are in memory only: no pod runs, and a restart forgets them.")
            if not serving.is_loopback(listener.getsockname()[0]):
                tell(f"warning: whoever reaches {host} can push and pull images without a key")

        serving.run(app, listener, announce=announce, end=app.end)
