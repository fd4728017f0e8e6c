"""Each change is one line of JSON that says who made it."""

from __future__ import annotations

import io
import json
import logging
from datetime import datetime, timezone

import pytest

from deploy_tasks.server.audit import Audit
from deploy_tasks.server.interfaces import Author, Target

_NOW = datetime(2026, 10, 6, 12, 30, 0, 5000, tzinfo=timezone.utc)
_SHOP = Target("apps", "shop")


def lines(audited: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in audited.getvalue().splitlines()]


def test_a_change_is_one_line_with_time_key_and_what_the_client_says_of_itself() -> None:
    stream = io.StringIO()
    audit = Audit(stream, lambda: _NOW)
    audit.record("deploy", Author("ci", "octocat", 40 * "a"), _SHOP, image="r/shop@sha256:1", revision=7)
    audit.record("build", Author("ci"), _SHOP, job="build-shop-1", image=None)
    assert lines(stream) == [
        {
            "time": "2026-10-06T12:30:00.005Z",
            "change": "deploy",
            "namespace": "apps",
            "app": "shop",
            "key": "ci",
            "by": "octocat",
            "commit": 40 * "a",
            "image": "r/shop@sha256:1",
            "revision": 7,
        },
        {
            "time": "2026-10-06T12:30:00.005Z",
            "change": "build",
            "namespace": "apps",
            "app": "shop",
            "key": "ci",
            "job": "build-shop-1",
        },
    ]


def test_what_a_client_says_of_itself_cannot_begin_a_line_or_move_a_terminal() -> None:
    stream = io.StringIO()
    Audit(stream).record("remove", Author("ci", 'x\n{"key": "admin"}\x1b[2J\x85'), _SHOP)
    assert len(lines(stream)) == 1
    assert stream.getvalue().isascii()
    assert stream.getvalue()[:-1].isprintable()


def test_an_audit_of_nowhere_writes_nothing() -> None:
    Audit(None).record("remove", Author("ci"), _SHOP)


def test_an_audit_that_cannot_be_written_is_logged_and_undoes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    stream.close()
    with caplog.at_level(logging.ERROR):
        Audit(stream).record("remove", Author("ci"), _SHOP)
    assert "Cannot write the audit" in caplog.text
    assert '"change": "remove"' in caplog.text
