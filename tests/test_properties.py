"""For any input there is a result or a DeployError, and never a request with a path that the grammar does not know."""

from __future__ import annotations

import base64
import json
import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy_tasks import images, redaction
from deploy_tasks.api.client import DeployClient
from deploy_tasks.api.polling import wait_for_build
from deploy_tasks.api.schemas import BuildRequest, DeployRequest
from deploy_tasks.api.transport import Answer
from deploy_tasks.config import values as parsing
from deploy_tasks.config.apps import split
from deploy_tasks.config.env_files import env_file
from deploy_tasks.config.project import Project
from deploy_tasks.config.schema import SETTINGS
from deploy_tasks.config.settings import Settings
from deploy_tasks.deadline import Deadline
from deploy_tasks.deploy_config import DeployConfig
from deploy_tasks.errors import DeployError, SettingsError, StateError
from deploy_tasks.next_steps import Step
from deploy_tasks.redaction import Lines, keep_secret, redact, sanitized
from deploy_tasks.state.files import State
from deploy_tasks.state.records import Record

DIGEST = "sha256:" + 64 * "a"
LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
PATHS = re.compile(
    rf"/build|/build/{LABEL}(/logs|/wait\?timeout=\d+)?"
    r"|/registry/[a-z0-9]+([._-]+[a-z0-9]+|/[a-z0-9]+)*/digest\?tag=[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
# Answers that are nearly right find more than answers that are anything.
KEYS = st.sampled_from(["jobName", "image", "status", "error", "message", "logs", "buildId", "skipped", "success"])
VALUES = JSON | st.sampled_from(["succeeded", "failed", "running", DIGEST, "build-1", "../x", True, False, 0])
BODIES = (
    st.binary()
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(KEYS, VALUES).map(lambda value: json.dumps(value).encode())
)
STATUSES = st.sampled_from([200, 201, 202, 204, 301, 400, 401, 403, 404, 409, 422, 429, 500, 502, 503]) | st.integers(
    100, 599
)
BUILD = BuildRequest(
    app="a", namespace="b", repo_url="https://x/y", git_ref="main", image_tag="v1", cache=True, deploy=False
)
DEPLOY = DeployRequest(
    app="a",
    namespace="b",
    image_name="c",
    build_id=DIGEST,
    deploy=True,
    deploy_config=DeployConfig(port=1, app_class="business"),
)
TEXT = st.text() | st.sampled_from(["..", "../../build", "a//b", "a\n", "%2e%2e", "a?b", "a#b", "@x", "\ud800", "a/b"])


class Exchanges:
    """Stands in for the transport: gives `answer`, and checks what it is asked for."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.paths: list[str] = []

    def exchange(
        self, method: str, path: str, body: bytes | None, *, seconds: float, most: int, headers: object
    ) -> Answer:
        assert PATHS.fullmatch(path), path
        assert 0 < seconds <= 86_400
        self.paths.append(path)
        return self._answer


def client(answer: Answer) -> tuple[DeployClient, Exchanges]:
    made, exchanges = DeployClient("https://api.example.com", "k3y", sleep=lambda _: None), Exchanges(answer)
    made._transport = exchanges  # type: ignore[assignment]
    return made, exchanges


def result(ask: Callable[[], Any]) -> Any:
    """The value that `ask` returns, or its error, which must be printable."""
    try:
        return ask()
    except (DeployError, ValueError) as error:
        lines = str(error).splitlines()
        assert lines
        assert all(line.isprintable() for line in lines), lines
        return error if isinstance(error, DeployError) else SettingsError(str(error))


def parsed(ask: Callable[[], Any]) -> Any:
    """As `result`, for a text that may be outside its grammar."""
    try:
        return result(ask)
    except ValueError as error:
        return error


@given(body=BODIES, status=STATUSES)
@settings(max_examples=300)
def test_any_answer_of_each_endpoint(body: bytes, status: int) -> None:
    made, exchanges = client(Answer(status, {}, body))
    asked: list[Callable[[], Any]] = [
        lambda: made.start_build(BUILD),
        lambda: made.wait("build-1", seconds=20),
        lambda: made.status("build-1"),
        lambda: made.logs("build-1"),
        lambda: made.deploy(DEPLOY),
    ]
    for ask in asked:
        result(ask)
    digest = result(lambda: made.digest("shop", tag="v1"))
    assert isinstance(digest, DeployError) or re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    assert sum(path == "/build" for path in exchanges.paths) <= 1 + 3, (
        "one start, and a deploy that is tried three times"
    )


@given(body=BODIES, status=STATUSES)
@settings(max_examples=200)
def test_any_answer_while_waiting_ends_by_the_deadline(body: bytes, status: int) -> None:
    made, _ = client(Answer(status, {}, body))
    now = [0.0]

    def sleep(seconds: float) -> None:
        assert seconds >= 0
        now[0] += seconds

    def clock() -> float:
        now[0] += 0.01
        return now[0]

    def ignore(_: str) -> None: ...

    deadline = Deadline(60, clock, sleep)
    options: dict[str, Any] = {"again": Step("wait"), "tell": ignore, "progress": ignore}
    result(lambda: wait_for_build(made, "build-1", deadline=deadline, **options))
    assert now[0] < 61 + 1


@given(name=TEXT, tag=TEXT, job=TEXT)
@settings(max_examples=300)
def test_no_text_makes_a_path_that_leads_elsewhere(name: str, tag: str, job: str) -> None:
    made, _ = client(Answer(200, {}, b"{}"))
    parsed(lambda: made.digest(name, tag=tag))
    parsed(lambda: made.digest("shop", tag=tag))
    parsed(lambda: made.digest(name, tag="v1"))
    parsed(lambda: made.wait(job, seconds=20))
    parsed(lambda: made.status(job))
    parsed(lambda: made.logs(job))


@given(
    content=st.binary()
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(
        st.sampled_from(
            ["repoUrl", "app", "imageName", "imageTag", "buildId", "jobName", "apiUrl", "startedAt", "schemaVersion"]
        ),
        VALUES,
    ).map(lambda value: json.dumps(value).encode())
)
@settings(max_examples=300)
def test_any_bytes_as_a_state_file(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        state = State(Path(folder) / "build-id.json")
        for path in (state.path, state.in_flight_path):
            path.write_bytes(content)
        record, build = result(state.record), result(state.in_flight)
        saved = result(lambda: state.save_record(Record(build_id=DIGEST)))
        if isinstance(record, DeployError):
            assert isinstance(saved, StateError)
            assert state.path.read_bytes() == content
        else:
            known = json.loads(content)
            after = json.loads(state.path.read_bytes())
            assert after["buildId"] == DIGEST
            assert known.keys() <= after.keys() | {"appClass"}
        if not isinstance(build, DeployError):
            assert images.label(build.job_name)


@given(row=st.sampled_from(SETTINGS), value=TEXT | st.integers() | st.floats() | st.booleans() | JSON)
@settings(max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_as_each_setting(row: Any, value: Any) -> None:
    def load(flags: dict[str, Any], config: dict[str, Any]) -> Settings:
        return Project(Path("/"), split(config), {}, flags.get("environment")).load(None, flags)

    for ask in (partial(load, {row.parameter: value}, {}), partial(load, {}, {row.key: value})):
        settled = result(ask)
        assert isinstance(settled, DeployError) or settled.origins[row.key]


@given(content=st.binary() | st.text().map(lambda text: f"DEPLOY_APP={text}\nA='{text}'\n".encode(errors="replace")))
@settings(max_examples=300)
def test_any_bytes_as_an_env_file(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / ".env").write_bytes(content)
        read = result(lambda: env_file(Path(folder), ".env"))
        assert isinstance(read, DeployError) or read.path == Path(folder) / ".env"


@given(reference=TEXT)
def test_any_text_as_an_image_of_the_servers(reference: str) -> None:
    found = parsed(lambda: images.parse(reference))
    if not isinstance(found, ValueError | DeployError):
        assert images.image_name(found.name)


@given(text=TEXT)
def test_what_is_accepted_as_a_url_goes_to_that_host(text: str) -> None:
    url = parsed(lambda: parsing.api_url(f"https://{text}"))
    if not isinstance(url, ValueError | DeployError):
        assert "@" not in url.split("/")[2]


@given(
    secrets=st.lists(st.text(alphabet="ab", min_size=2, max_size=6), max_size=3),
    pieces=st.lists(st.text(alphabet="abc\n", max_size=5)),
)
@settings(max_examples=500)
def test_no_secret_slips_through_between_two_pieces_of_a_text(secrets: list[str], pieces: list[str]) -> None:
    redaction._secrets.clear()
    keep_secret(secrets)
    lines = Lines()
    whole = [*(line for piece in pieces for line in lines.feed(piece)), *lines.end()]
    assert not any(secret in sanitized(line) for secret in secrets for line in whole)
    if not secrets:
        assert "\n".join(map(sanitized, whole)) == "".join(pieces).removesuffix("\n")


@given(text=st.text(), secrets=st.lists(st.text(min_size=1, max_size=8), max_size=3))
@settings(max_examples=500)
def test_any_text_becomes_one_printable_line_without_secrets(text: str, secrets: list[str]) -> None:
    redaction._secrets.clear()
    keep_secret(secrets)
    shown = sanitized(text)
    assert shown.isprintable()
    assert not any(secret in shown for secret in secrets if len(secret) > 3), "a short one may be in *** or in \\x1b"
    assert sanitized(shown) == shown or secrets


@given(secret=st.binary(min_size=9, max_size=40), before=st.binary(max_size=9), after=st.binary(max_size=9))
@settings(max_examples=500)
def test_no_secret_is_shown_as_base64_wherever_it_stands_in_what_is_encoded(
    secret: bytes, before: bytes, after: bytes
) -> None:
    redaction._secrets.clear()
    keep_secret([secret.hex()])
    encode = base64.b64encode, base64.urlsafe_b64encode
    for text in (how(before + secret.hex().encode() + after).decode() for how in encode):
        # No more than a piece of each of its ends can be read from what is left.
        assert "***" in redact(text)
        assert len(redact(text)) <= len(text) - len(secret.hex()) + 3
