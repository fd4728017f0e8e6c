"""openapi.json says what the server does: no generated request makes it fail, or answer outside of its own schema."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import hypothesis
import pytest
from hypothesis.errors import Unsatisfiable

from tests.project import SECONDS_A_COMMAND
from tests.server.http.server import Server

# It needs Python 3.11.
schemathesis = pytest.importorskip("schemathesis")

_EXAMPLES = 20


def _checks() -> list[Any]:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    return [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
    ]


def harmless(case: Any, server: Server) -> Any:
    """The request without what takes long: it clones the test's repository only, and follows no log; and
    without headers that are not the API's."""
    if isinstance(case.body, dict) and isinstance(case.body.get("repoUrl"), str):
        case.body["repoUrl"] = server.source.url
    if case.query and "follow" in case.query:
        case.query["follow"] = False
    for name in [name for name in case.headers or {} if name.lower() in ("content-length", "transfer-encoding")]:
        # They are the connection's, whose errors uvicorn answers before the application sees a request.
        del case.headers[name]
    return case


@pytest.mark.parametrize("valid", [True, False], ids=["valid", "invalid"])
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_no_request_is_answered_outside_of_the_schema(server: Server, valid: bool, known: bool) -> None:
    from schemathesis.generation import GenerationMode

    server.deployed(server.built(imageTag="v1"))
    names = {"namespace": "apps", "app": "shop", "job": server.build(), "name": "shop"} if known else {}
    mode = GenerationMode.POSITIVE if valid else GenerationMode.NEGATIVE
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    asked = []
    for found in schema.get_all_operations():
        operation = found.ok()
        fixed = {name: value for name, value in names.items() if f"{{{name}}}" in operation.path}

        @hypothesis.settings(max_examples=_EXAMPLES, suppress_health_check=list(hypothesis.HealthCheck))
        @hypothesis.given(case=operation.as_strategy(mode, path_parameters=fixed or None))
        def ask(case: Any) -> None:
            harmless(case, server).call_and_validate(
                headers={"X-API-Key": server.key}, checks=_checks(), timeout=SECONDS_A_COMMAND
            )

        with suppress(Unsatisfiable):  # nothing of this request can be wrong
            ask()
            asked.append(operation.label)
    assert len(asked) >= (15 if valid else 5), asked
