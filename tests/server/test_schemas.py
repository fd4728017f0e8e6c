"""What is secret in a body is not in its text, which errors and logs may show."""

from __future__ import annotations

from deploy_tasks.server import body
from deploy_tasks.server.schemas import BuildRequest, DeployRequest, RollbackRequest


def test_no_body_shows_a_token_or_the_value_of_a_variable() -> None:
    config = b'"deployConfig": {"port": 1, "env": {"A": "s3cret"}}'
    named = b'"app": "a", "namespace": "n"'
    bodies = [
        body.of_json(b'{%b, "gitToken": "s3cret", %b}' % (named, config), BuildRequest),
        body.of_json(b'{%b, "image": "i", "env": {"A": "s3cret"}}' % named, DeployRequest),
        body.of_json(b"{%b}" % config, RollbackRequest),
    ]
    assert "s3cret" not in repr(bodies)
