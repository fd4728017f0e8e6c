"""Bodies: what is secret in them is never shown, and what is malformed is said in words."""

from __future__ import annotations

import pytest

from deploy_tasks.server import body
from deploy_tasks.server.interfaces import Refused
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


@pytest.mark.parametrize(
    ("field", "says"),
    [
        (b'"app": "My_App"', "app: this is not a Kubernetes name: "),
        (b'"app": "a", "namespace": "n", "imageTag": "-v"', "imageTag: this is not an image tag: "),
        (b'"app": "a", "namespace": "n", "deployConfig": {"env": {"A=B": ""}}', "a name in deployConfig.env: this is "),
        (b'"app": "a"', "The request: Object missing required field `namespace`"),
    ],
)
def test_what_is_malformed_is_said_in_words_and_not_by_a_pattern(field: bytes, says: str) -> None:
    with pytest.raises(Refused) as refused:
        body.of_json(b"{%b}" % field, BuildRequest)
    assert refused.value.message.startswith(says)
    assert "regex" not in refused.value.message
