"""A registry that runs elsewhere, as the sandbox's builders and its API ask it."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import Response

from deploy_tasks.server.interfaces import Refused
from deploy_tasks.server.memory.distribution import routes
from deploy_tasks.server.memory.registry import DiskRegistry, OutsideRegistry
from tests.registries import Served, descriptor, digest_of, image, listening

USERNAME, PASSWORD = "robot", "r0bot-pass"


class Guard:
    """Lets in who has the password, and leaves out the headers that `hidden` names."""

    def __init__(self, app: Any, hidden: tuple[bytes, ...]) -> None:
        self._app = app
        self._hidden = hidden
        self._expected = b"Basic " + base64.b64encode(f"{USERNAME}:{PASSWORD}".encode())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            message["headers"] = [pair for pair in message.get("headers", []) if pair[0] not in self._hidden]
            await send(message)

        is_known = dict(scope["headers"]).get(b"authorization") == self._expected
        await (self._app if is_known else Response(status_code=401))(scope, receive, sending)


Serving = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serving]:
    """Serves a registry with a password until the test ends."""
    all_served = []

    def serving(hidden: tuple[bytes, ...] = ()) -> Served:
        listener = listening()
        app = Starlette(routes=routes(DiskRegistry(tmp_path / "registry", "")))
        all_served.append(Served(Guard(app, hidden), listener))
        return all_served[-1]

    yield serving
    for served in all_served:
        served.stop()


@pytest.mark.parametrize("hidden", [(), (b"docker-content-digest",)])
def test_what_is_pushed_is_found_by_tag_and_by_digest(serve: Serving, hidden: tuple[bytes, ...]) -> None:
    registry = OutsideRegistry(serve(hidden).address, USERNAME, PASSWORD)
    config, layer = b"{}", b"layer"
    manifest = image(digest_of(config), layers=[descriptor("application/x", digest_of(layer), len(layer))])

    async def check() -> None:
        assert await registry.push("team/web", "v1", [layer, config], manifest) == digest_of(manifest)
        assert await registry.digest("team/web", "v1") == digest_of(manifest)
        assert await registry.digest("team/web", digest_of(manifest)) == digest_of(manifest)
        assert await registry.digest("team/web", "v2") is None
        assert await registry.digest("team/web", digest_of(b"nowhere")) is None

    asyncio.run(check())


@pytest.mark.parametrize("password", ["wrong", None])
def test_a_refused_password_is_a_502_that_does_not_show_it(serve: Serving, password: str | None) -> None:
    registry = OutsideRegistry(serve().address, USERNAME, password)
    with pytest.raises(Refused) as refused:
        asyncio.run(registry.digest("team/web", "v1"))
    assert (refused.value.status, refused.value.code) == (502, "registry-unavailable")
    assert f"{registry.address} answered 401 to HEAD" in refused.value.message
    assert "wrong" not in refused.value.message


def test_a_registry_that_does_not_answer_is_a_502_and_other_work_goes_on() -> None:
    async def check() -> None:
        with listening() as listener:
            registry = OutsideRegistry(f"127.0.0.1:{listener.getsockname()[1]}", USERNAME, PASSWORD)
            asking = asyncio.ensure_future(registry.digest("team/web", "v1"))
            # It cannot be over before the connection is closed; if it blocked the event loop, nobody would close it.
            connection, _ = await asyncio.get_running_loop().run_in_executor(None, listener.accept)
            assert not asking.done()
            connection.close()
            with pytest.raises(Refused) as refused:
                await asking
            assert (refused.value.status, refused.value.code) == (502, "registry-unavailable")
            assert PASSWORD not in repr(refused.value)

    asyncio.run(check())


def test_a_registry_that_nobody_runs_is_a_502() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        registry = OutsideRegistry(f"127.0.0.1:{nobody.getsockname()[1]}", None, None)
        with pytest.raises(Refused, match="cannot be reached"):
            asyncio.run(registry.push("team/web", "v1", [b"{}"], b"{}"))
