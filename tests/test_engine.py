"""The engine's commands, compared whole, its errors, and the environment of a command. Real engines: tests/engine."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context
from invoke.runners import Local, Result

from deploy_tasks import signals
from deploy_tasks.engine import runner
from deploy_tasks.engine.engine import Engine
from deploy_tasks.engine.kind import Image
from deploy_tasks.errors import EngineError, Interrupted
from tests.mock_engine import IMAGE_ID, MockEngine, commands

DIGEST = "sha256:" + 64 * "a"
OTHER = "sha256:" + 64 * "b"
REFERENCE = "r:5000/shop:v1"
IMAGE = Image(REFERENCE, Path("/ctx"), Path("/ctx/Dockerfile"))
SEVERAL = Image(REFERENCE, Path("/ctx"), Path("/ctx/Dockerfile"), platform="linux/amd64,linux/arm64")

DOCKER: dict[str, Any] = {"ID": "x", "ServerVersion": "20.10", "ClientInfo": {"Context": "default", "Plugins": []}}
BUILDX = {**DOCKER, "ClientInfo": {"Context": "default", "Plugins": [{"Name": "buildx"}]}}
# With this store, the builder pushes; with any other, `buildx inspect` says who does.
STORE = {**BUILDX, "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}
INSPECTED = Result("Name:   default\nDriver: docker\n\nNodes:\nName: default\n")
INSPECTED_FAR = Result("Name:   far\nDriver: docker-container\n\nNodes:\nName: far0\n")
PODMAN: dict[str, Any] = {"host": {}, "store": {}, "version": {}}


def line(digest: str = DIGEST, tag: str = "v1") -> str:
    return f"{tag}: digest: {digest} size: 528\n"


def detected(
    info: dict[str, Any], *results: Result, builder: str | None = None, **files: str | None
) -> tuple[Engine, Any]:
    """An engine that reported `info`, and the context that has its further commands; it writes `files`."""
    named = {f"--{flag.replace('_', '-')}": content for flag, content in files.items()}
    c: Any = MockEngine(run=[Result(json.dumps(info)), *results], files=named)
    engine = Engine(c, "docker", builder=builder, sleep=lambda _: None)
    engine.detect()
    c.run.reset_mock()
    return engine, c


# --- commands, word by word ----------------------------------------------------------------------------------------

FULL = Image(REFERENCE, Path("/a b/ctx"), Path("/a b/File"), "linux/amd64", ("A=b c", "D"))
METADATA = json.dumps({"containerimage.config.digest": OTHER, "containerimage.digest": DIGEST})
WHAT = ["--file", "/a b/File", "--build-arg", "A=b c", "--build-arg", "D", "/a b/ctx"]


def built_and_pushed(c: Any) -> list[list[str]]:
    """The arguments of each command, without the program."""
    return [shlex.split(command)[1:] for command in commands(c)]


def test_docker_build_command() -> None:
    engine, c = detected(DOCKER, Result(), Result(line()))
    engine.publish(FULL)
    flags = ["--platform", "linux/amd64", "--tag", REFERENCE, "--iidfile", "FOLDER/id"]
    assert built_and_pushed(c)[0] == ["build", *flags, *WHAT]


@pytest.mark.parametrize(("builder", "by"), [(None, []), ("far", ["--builder", "far"])])
def test_buildx_command_names_the_builder(builder: str | None, by: list[str]) -> None:
    flags = [*by, "--platform", "linux/amd64", "--tag", REFERENCE]
    push, load = ["--push", "--metadata-file", "FOLDER/metadata"], ["--load", "--iidfile", "FOLDER/id"]
    engine, c = detected(BUILDX, INSPECTED_FAR, Result(), builder=builder, metadata_file=METADATA)
    assert engine.publish(FULL) == DIGEST
    assert built_and_pushed(c) == [["buildx", "build", *flags, *push, *WHAT]]
    inspected = Result("Name: default\nDriver: docker\n")
    engine, c = detected(BUILDX, inspected, Result(), Result(line()), builder=builder)
    assert engine.publish(FULL) == DIGEST
    assert built_and_pushed(c)[0] == ["buildx", "build", *flags, *load, *WHAT]


def test_podman_pushes_the_id_of_its_build_with_a_digest_file() -> None:
    engine, c = detected(PODMAN, Result(), Result(), Result(), digestfile=DIGEST)
    assert engine.publish(FULL) == DIGEST
    flags = ["--platform", "linux/amd64", "--iidfile", "FOLDER/id"]
    assert built_and_pushed(c) == [
        ["build", *flags, *WHAT],
        ["tag", IMAGE_ID, REFERENCE],
        ["push", "--digestfile", "FOLDER/digest", IMAGE_ID, f"docker://{REFERENCE}"],
    ]


def test_podman_pushes_several_platforms_as_one_list() -> None:
    platforms, reference = "linux/amd64,linux/arm64", "127.0.0.1:5000/shop:v1"
    several = Image(reference, Path("/ctx"), Path("/ctx/Dockerfile"), platform=platforms)
    engine, c = detected(PODMAN, Result(), listing("amd64", "arm64"), Result(), Result(), digestfile=DIGEST)
    assert engine.publish(several) == DIGEST
    build, inspect, push, remove = built_and_pushed(c)
    name = inspect[-1]
    assert build == [
        *["build", "--platform", platforms, "--manifest", name, "--iidfile", "FOLDER/id"],
        *["--file", "/ctx/Dockerfile", "/ctx"],
    ]
    assert push == [
        *["manifest", "push", "--all", "--tls-verify=false", "--digestfile", "FOLDER/digest", name],
        f"docker://{reference}",
    ]
    assert remove == ["manifest", "rm", name]


def test_arguments_are_quoted_once_for_the_shell() -> None:
    engine, c = detected(DOCKER, Result(), Result(line()))
    engine.publish(Image(REFERENCE, Path("/a b"), Path("/$(id)"), build_args=("A=';id",)))
    assert shlex.split(commands(c)[0])[-4:] == ["/$(id)", "--build-arg", "A=';id", "/a b"]


# --- detection ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Result(stderr="\nCannot connect\n", exited=1), "Cannot connect"),
        (Result(exited=1), "without a message"),
        (Result('{"ServerErrors": ["Cannot connect"]}'), "Cannot connect"),
        (Result("hello"), "its info is in an unknown format: JSON is malformed"),
        (Result("[" * 100_000), "its info is in an unknown format: Expected `object`"),
        (Result('{"ServerErrors": 1}'), "its info is in an unknown format: Expected `array | null`"),
        (Result('{"ClientInfo": {"Plugins": [1]}}'), "its info is in an unknown format: Expected `object`"),
        (Result('{"DriverStatus": 3}'), "its info is in an unknown format: Expected `array | null`"),
    ],
)
def test_an_engine_that_does_not_answer_is_refused(answer: Result, why: str) -> None:
    with pytest.raises(EngineError) as error:
        Engine(MockEngine(run=[answer]), "docker").detect()
    assert error.value.what.startswith(f"the container engine 'docker' does not answer ({why}")
    assert error.value.effect == "Nothing was built"
    assert error.value.next == ("Start it, or set DEPLOY_DOCKER to a docker or podman that runs",)


@pytest.mark.parametrize("program", ["docker", "docker --log-level debug"])
def test_an_engine_that_is_not_installed_is_refused(program: str) -> None:
    with pytest.raises(EngineError) as error:
        Engine(MockEngine(run=[Result(exited=127)]), program).detect()
    assert str(error.value) == (
        f"the container engine {program!r} is not installed. Nothing was built. Install it, or name another program, "
        "without arguments, in DEPLOY_DOCKER"
    )


@pytest.mark.parametrize(
    ("told", "further", "first"),
    [
        (DOCKER, [], "docker build --platform"),
        (STORE, [], "docker buildx build --platform linux/amd64 --tag r:5000/shop:v1 --push"),
        (BUILDX, [INSPECTED_FAR], "docker buildx build --platform linux/amd64 --tag r:5000/shop:v1 --push"),
        (BUILDX, [INSPECTED], "docker buildx build --platform linux/amd64 --tag r:5000/shop:v1 --load"),
        (PODMAN, [], "docker build --platform"),
    ],
)
def test_the_kind_of_an_engine_is_detected_from_its_info_and_not_from_its_name(
    told: dict[str, Any], further: list[Result], first: str
) -> None:
    engine, c = detected(told, *further, Result(exited=1))
    with pytest.raises(EngineError):
        engine.publish(IMAGE)
    assert commands(c)[0].startswith(first)


def test_docker_buildkit_0_selects_the_classic_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    engine, c = detected(BUILDX, Result(), Result(line()))
    assert engine.publish(IMAGE) == DIGEST
    assert commands(c)[1] == f"docker push {REFERENCE}"


@pytest.mark.parametrize(
    ("told", "buildkit", "why"),
    [
        (DOCKER, "1", "uses no builders, since it has no buildx plugin"),
        (BUILDX, "0", "uses no builders, since DOCKER_BUILDKIT is 0"),
        (PODMAN, "1", "is podman, which has no builders"),
    ],
)
def test_a_builder_that_the_engine_cannot_use_is_refused(
    told: dict[str, Any], buildkit: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_BUILDKIT", buildkit)
    with pytest.raises(EngineError) as error:
        detected(told, builder="far")
    assert error.value.what == f"DEPLOY_BUILDER names far, but 'docker' {why}"
    assert error.value.next == ("Unset DEPLOY_BUILDER, or name another engine in DEPLOY_DOCKER",)


def test_a_builder_that_does_not_exist_is_refused_before_the_build() -> None:
    with pytest.raises(EngineError) as error:
        detected(BUILDX, Result(stderr='ERROR: no builder "far" found\n', exited=1), builder="far")
    assert error.value.what == "'docker' cannot use its builder: ERROR: no builder \"far\" found"


@pytest.mark.parametrize(
    ("host", "context", "builder", "is_remote"),
    [
        ("", "default", None, False),
        ("unix:///run/docker.sock", "default", None, False),
        ("ssh://far", "default", None, True),
        ("", "far-context", None, True),
        ("", "default", "far", True),
    ],
)
def test_an_engine_on_another_machine_is_detected(
    monkeypatch: pytest.MonkeyPatch, host: str, context: str, builder: str | None, is_remote: bool
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    engine, _ = detected({**STORE, "ClientInfo": {**STORE["ClientInfo"], "Context": context}}, builder=builder)
    assert engine.is_remote is is_remote


@pytest.mark.parametrize("content", ["sha512:abc", "", None])
def test_a_podman_push_without_a_digest_is_refused(content: str | None) -> None:
    engine, _ = detected(PODMAN, Result(), Result(), Result(), digestfile=content)
    with pytest.raises(EngineError) as error:
        engine.publish(IMAGE)
    assert error.value.what.startswith(f"the push of {REFERENCE} reported 0 digests instead of one")
    assert error.value.effect == "Nothing was recorded or deployed"


@pytest.mark.parametrize(
    ("told", "inspected", "advice"),
    [
        (DOCKER, [], "Install the buildx plugin, or use podman"),
        (BUILDX, [INSPECTED], "Create a builder that can (docker buildx create --name several "),
    ],
)
def test_an_engine_that_cannot_build_several_platforms_says_what_can(
    told: dict[str, Any], inspected: list[Result], advice: str
) -> None:
    engine, c = detected(told, *inspected)
    with pytest.raises(EngineError) as error:
        engine.publish(SEVERAL)
    assert error.value.what == "'docker' cannot build linux/amd64,linux/arm64 in one build"
    assert error.value.effect == "Nothing was built"
    assert str(error.value.next[0]).startswith(advice)
    assert commands(c) == []


@pytest.mark.parametrize(
    ("told", "there", "read"),
    [
        (DOCKER, [".dockerignore", "Own.dockerignore"], ["Own.dockerignore", ".dockerignore"]),
        (STORE, [".dockerignore", "Own.dockerignore"], ["Own.dockerignore"]),
        (STORE, [".dockerignore"], [".dockerignore"]),
        (PODMAN, [".dockerignore", ".containerignore"], [".containerignore", ".dockerignore"]),
        (DOCKER, [], []),
    ],
)
def test_ignore_files_are_those_that_the_engine_reads(
    tmp_path: Path, told: dict[str, Any], there: list[str], read: list[str]
) -> None:
    for name in there:
        (tmp_path / name).touch()
    engine, _ = detected(told)
    assert [file.name for file in engine.kind.ignore_files(tmp_path, tmp_path / "Own")] == read


# --- the digest -----------------------------------------------------------------------------------------------------


def test_the_digest_of_a_docker_push_is_on_the_line_of_its_tag() -> None:
    engine, c = detected(DOCKER, Result(), Result(f"The push refers to repository\nabc: Pushed\n{line()}"))
    assert engine.publish(IMAGE) == DIGEST
    assert commands(c) == [
        f"docker build --platform linux/amd64 --tag {REFERENCE} --iidfile FOLDER/id --file /ctx/Dockerfile /ctx",
        f"docker push {REFERENCE}",
        f"docker image inspect --format '{{{{json .RepoDigests}}}}' {IMAGE_ID}",
    ]


class TagTaken(MockEngine):
    """Another build moves the tag before the first `times` pushes, so they push its image."""

    def __init__(self, times: int) -> None:
        super().__init__(
            run={re.compile("docker info.*"): Result(json.dumps(DOCKER)), re.compile("docker .*"): True}, repeat=True
        )
        self._set(_times=times)

    def run(self, command: str, *arguments: Any, **options: Any) -> Result:
        if not command.startswith("docker push"):
            return super().run(command, *arguments, **options)
        self._set(_times=self._times - 1)
        own = self._times < 0
        self._set(_pushed=DIGEST if own else "")
        return Result(line(DIGEST if own else OTHER))


def test_docker_pushes_again_if_another_build_moved_the_tag(capfd: pytest.CaptureFixture[str]) -> None:
    c: Any = TagTaken(2)
    engine = Engine(c, "docker")
    engine.detect()
    assert engine.publish(IMAGE) == DIGEST
    assert commands(c).count(f"docker tag {IMAGE_ID} {REFERENCE}") == 2
    assert f"another build moved the tag {REFERENCE} before the push" in capfd.readouterr().err


def test_docker_gives_up_after_five_pushes_with_a_moved_tag() -> None:
    c: Any = TagTaken(99)
    engine = Engine(c, "docker")
    engine.detect()
    with pytest.raises(EngineError, match="before each of 5 pushes") as error:
        engine.publish(IMAGE)
    assert error.value.effect == "Nothing was recorded or deployed"
    assert error.value.next == ("Run it again when they are done, or with another --image-tag",)
    assert commands(c).count(f"docker push {REFERENCE}") == 5


@pytest.mark.parametrize("told", [DOCKER, PODMAN])
@pytest.mark.parametrize("image", [None, "", "\0"])
def test_a_build_without_an_image_id_is_not_pushed(told: dict[str, Any], image: str | None) -> None:
    engine, c = detected(told, Result(), iidfile=image)
    with pytest.raises(EngineError) as error:
        engine.publish(IMAGE)
    assert error.value.what == f"the build of {REFERENCE} ended without an image"
    assert error.value.effect == "Nothing was pushed or recorded"
    assert len(commands(c)) == 1


@pytest.mark.parametrize(
    "output", ["", "abc: Pushed\n", line(tag="v2"), line() + line(OTHER), line(DIGEST[:-1]), f"x {line()}"]
)
def test_a_push_without_exactly_one_digest_line_is_refused(output: str) -> None:
    engine, _ = detected(DOCKER, Result(), Result(output))
    with pytest.raises(EngineError, match=r"reported [02] digests instead of one") as error:
        engine.publish(IMAGE)
    assert error.value.effect == "Nothing was recorded or deployed"


def test_a_failed_push_is_a_failure_even_with_a_digest_line() -> None:
    engine, _ = detected(DOCKER, Result(), Result(line(), exited=1))
    with pytest.raises(EngineError) as error:
        engine.publish(IMAGE)
    assert error.value.what == f"the push of {REFERENCE} failed (exit code 1, see above)"
    assert (error.value.effect, error.value.next) == ("Nothing was recorded or deployed", ())


def test_a_failed_build_pushes_nothing() -> None:
    engine, c = detected(DOCKER, Result(exited=2))
    with pytest.raises(EngineError) as error:
        engine.publish(IMAGE)
    assert error.value.what == f"the build of {REFERENCE} failed (exit code 2, see above)"
    assert error.value.effect == "Nothing was pushed or recorded"
    assert len(commands(c)) == 1


def test_the_digest_of_buildx_is_read_from_a_new_file() -> None:
    engine, c = detected(STORE, Result(), metadata_file=METADATA)
    assert engine.publish(IMAGE) == DIGEST
    assert not c._written[0].parent.exists()


def test_the_digest_of_podman_is_read_from_a_new_file() -> None:
    engine, c = detected(PODMAN, Result(), Result(), Result(), digestfile=f"{DIGEST}\n")
    assert engine.publish(IMAGE) == DIGEST
    assert commands(c) == [
        "docker build --platform linux/amd64 --iidfile FOLDER/id --file /ctx/Dockerfile /ctx",
        f"docker tag {IMAGE_ID} {REFERENCE}",
        f"docker push --digestfile FOLDER/digest {IMAGE_ID} docker://{REFERENCE}",
    ]
    assert not c._written[0].parent.exists()


def listing(*platforms: str) -> Result:
    """The output of `podman manifest inspect` for a list of these architectures."""
    return Result(
        json.dumps({"manifests": [{"platform": {"os": "linux", "architecture": name}} for name in platforms]})
    )


def test_podman_makes_a_new_manifest_list_and_removes_it() -> None:
    lists = set()
    for _ in range(2):
        engine, c = detected(PODMAN, Result(), listing("amd64", "arm64"), Result(), Result(), digestfile=DIGEST)
        assert engine.publish(SEVERAL) == DIGEST
        build, _inspect, push, remove = (command.split()[1:] for command in commands(c))
        name = build[build.index("--manifest") + 1]
        assert (push[:3], remove) == (["manifest", "push", "--all"], ["manifest", "rm", name])
        lists.add(name)
    assert len(lists) == 2


def test_podman_does_not_push_a_list_that_lacks_a_platform() -> None:
    engine, c = detected(PODMAN, Result(), listing("amd64"), Result())
    with pytest.raises(EngineError) as error:
        engine.publish(SEVERAL)
    assert error.value.what == f"the build of {REFERENCE} has no linux/arm64"
    assert error.value.effect == "Nothing was pushed or recorded"
    assert [" push " in command for command in commands(c)] == [False, False, False]


@pytest.mark.parametrize(("registry", "flags"), [("127.0.0.1:5000", ["--tls-verify=false"]), ("r.example.com", [])])
def test_podman_uses_http_only_on_loopback(registry: str, flags: list[str]) -> None:
    engine, c = detected(PODMAN, Result(), Result(), Result(), digestfile=DIGEST)
    engine.publish(Image(f"{registry}/shop:v1", Path("/c"), Path("/c/f")))
    assert [word for word in commands(c)[2].split() if word.startswith("--tls")] == flags


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"containerimage.digest": 5}'])
def test_buildx_without_a_digest_is_refused(content: str | None) -> None:
    engine, _ = detected(STORE, Result(), metadata_file=content)
    with pytest.raises(EngineError, match="reported 0 digests"):
        engine.publish(IMAGE)


def test_digest_lines_of_another_tag_do_not_count() -> None:
    engine, _ = detected(DOCKER, Result(), Result(line(tag="v1.0") + line(OTHER, tag="v1")))
    assert engine.publish(IMAGE) == OTHER


# --- login ----------------------------------------------------------------------------------------------------------

REFUSALS = [
    "Error response from daemon: login attempt to http://r:5000/v2/ failed with status: 401 Unauthorized",
    'Error: logging into "r:5000": invalid username/password',
    "unauthorized: incorrect username or password",
    "denied: access forbidden",
]
TROUBLES = [
    'Get "http://r:5000/v2/": dial tcp: connect: connection refused',
    "dial tcp: lookup r on 10.0.0.1:53: no such host",
    "net/http: TLS handshake timeout",
    "received unexpected HTTP status: 502 Bad Gateway",
]


def test_the_password_is_only_on_stdin() -> None:
    c: Any = MockEngine(run=[Result()])
    Engine(c, "docker").login("r:5000", "robot", "s3 cret")
    (call,) = c.run.call_args_list
    assert call.args == ("docker login --username robot --password-stdin r:5000",)
    assert call.kwargs["in_stream"].read() == "s3 cret"
    assert (call.kwargs["echo"], call.kwargs["hide"], call.kwargs["pty"]) == (False, True, False)


@pytest.mark.parametrize("said", REFUSALS)
def test_a_refused_login_is_not_tried_again(said: str) -> None:
    c = MockEngine(run=[Result(stderr=said, exited=1)])
    with pytest.raises(EngineError) as error:
        Engine(c, "docker").login("r:5000", "robot", "s3cret")
    assert str(error.value) == (
        "r:5000 refused the login of robot. Nothing was built. Check DEPLOY_REGISTRY_USERNAME and "
        "DEPLOY_REGISTRY_PASSWORD"
    )


def test_a_login_that_cannot_be_saved_is_not_a_wrong_password() -> None:
    said = "Error saving credentials: error storing credentials - err: exit status 1, out: `access denied`"
    c = MockEngine(run=[Result(stderr=said, exited=1)])
    with pytest.raises(EngineError, match=r"r:5000 accepted the login of robot, but .*denied") as error:
        Engine(c, "docker").login("r:5000", "robot", "s3cret")
    assert error.value.next == ("Check its credential store",)


PUSH_REFUSALS = [
    (DOCKER, "no basic auth credentials\n"),
    (DOCKER, "denied: requested access to the resource is denied\n"),
    (DOCKER, "push access denied, repository does not exist or may require authorization: authorization failed\n"),
    (PODMAN, "Error: writing blob: initiating layer upload: unauthorized: authentication required\n"),
    (STORE, f"------\nERROR: failed to solve: failed to push {REFERENCE}: unexpected status: 401 Unauthorized\n"),
]
OTHER_FAILURES = [
    (DOCKER, "received unexpected HTTP status: 500 Internal Server Error\n"),
    (DOCKER, "dial tcp 10.0.0.1:443: connect: connection refused\n"),
    (STORE, 'ERROR: failed to solve: process "/bin/sh -c cat /root/x: Permission denied" did not complete\n'),
    (
        STORE,
        "ERROR: failed to solve: base: pull access denied, repository does not exist or may require authorization\n",
    ),
]


def failed_push(told: dict[str, Any], said: str, username: str) -> EngineError:
    steps = {id(STORE): 0, id(DOCKER): 1, id(PODMAN): 2}[id(told)] + bool(username)
    engine, _ = detected(told, *[Result()] * steps, Result(stderr=said, exited=1))
    if username:
        engine.login("r:5000", username, "s3cret")
    with pytest.raises(EngineError) as error:
        engine.publish(IMAGE)
    assert error.value.what.endswith("failed (exit code 1, see above)")
    assert error.value.effect == "Nothing was recorded or deployed"
    return error.value


@pytest.mark.parametrize(("told", "said"), PUSH_REFUSALS)
def test_a_push_that_the_registry_refuses_says_what_to_check(told: dict[str, Any], said: str) -> None:
    advice = "To log in at r:5000, set DEPLOY_REGISTRY_USERNAME and DEPLOY_REGISTRY_PASSWORD"
    assert failed_push(told, said, "").next == (advice,)
    advice = "Allow robot to push to r:5000, or use another account"
    assert failed_push(told, said, "robot").next == (advice,)


@pytest.mark.parametrize(("told", "said"), OTHER_FAILURES)
def test_a_push_that_fails_otherwise_does_not_mention_the_login(told: dict[str, Any], said: str) -> None:
    assert failed_push(told, said, "").next == ()


@pytest.mark.parametrize("said", TROUBLES)
def test_a_login_is_tried_five_times_if_the_registry_cannot_be_reached(said: str) -> None:
    slept: list[float] = []
    c = MockEngine(run=[Result(stderr=said, exited=1)] * 5)
    with pytest.raises(EngineError) as error:
        Engine(c, "docker", sleep=slept.append).login("r:5000", "robot", "s3cret")
    assert error.value.what == f"the login at r:5000 failed five times: {said}"
    assert error.value.effect == "Nothing was built"
    assert [round(seconds / base, 1) for seconds, base in zip(slept, (1, 2, 4, 8), strict=True)] == [
        pytest.approx(1, abs=0.2)
    ] * 4


def test_a_login_that_succeeds_at_the_second_attempt_is_enough() -> None:
    c = MockEngine(run=[Result(stderr=TROUBLES[0], exited=1), Result()])
    Engine(c, "docker", sleep=lambda _: None).login("r:5000", "robot", "s3cret")
    assert len(commands(c)) == 2


# --- with a script as the engine -------------------------------------------------------------------------------------


# The `build` and `image inspect` of a docker.
OWN_IMAGE = f"""case $1 in
build) while [ $# -gt 0 ]; do [ "$1" = --iidfile ] && echo {IMAGE_ID} > "$2"; shift; done ;;
image) echo '["r:5000/shop@{DIGEST}"]' ;;
esac
"""


def engine(tmp_path: Path, script: str) -> Engine:
    program = tmp_path / "engine"
    program.write_text(f"#!/bin/bash\n{script}\n")
    program.chmod(0o755)
    return Engine(Context(), str(program))


def test_the_engine_gets_no_secret_of_the_kit_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DEPLOY_API_KEY", "DEPLOY_REGISTRY_PASSWORD", "DEPLOY_GIT_TOKEN"):
        monkeypatch.setenv(name, "s3cret")
        monkeypatch.setenv(f"INVOKE_{name}", "s3cret")
    monkeypatch.setenv("KEPT", "yes")
    engine(tmp_path, f"env > {tmp_path}/env; echo '{json.dumps(DOCKER)}'").detect()
    seen = (tmp_path / "env").read_text()
    assert "s3cret" not in seen
    assert "KEPT=yes" in seen


def test_output_goes_to_stderr_line_by_line_and_a_long_line_is_cut(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = "yes a line of the build | head -n 50000"
    long = "head -c 16000000 /dev/zero | tr '\\0' x; echo"
    script = f"{OWN_IMAGE}[ $1 = push ] && {{ {lines}; {long}; echo '{line().strip()}'; }} || true"
    pushed = engine(tmp_path, script).publish(IMAGE)
    out, err = capfd.readouterr()
    assert (pushed, out) == (DIGEST, "")
    assert err.count("a line of the build\n") == 50_000
    assert max(map(len, err.splitlines())) < 5000


def test_echo_and_dry_run_show_the_command_on_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dry = engine(tmp_path, "exit 1")
    dry._c.config.run.dry = True
    assert dry.publish(IMAGE) == ""
    out, err = capfd.readouterr()
    assert (out, f"{tmp_path}/engine push {REFERENCE}" in err) == ("", True)


def test_a_long_password_is_written_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    usual = Local.write_proc_stdin

    def write(local: Local, data: str) -> None:
        written.append(data)
        usual(local, data)

    monkeypatch.setattr(Local, "write_proc_stdin", write)
    engine(tmp_path, f"cat > {tmp_path}/password").login("r:5000", "robot", "x" * 1000)
    assert len(written) == 1, "Invoke sleeps 10 ms after each piece"
    assert (tmp_path / "password").read_text() == "x" * 1000


@pytest.mark.parametrize("config", [{"warn": True}, {"warn": False}])
def test_a_failure_is_an_error_whatever_invokes_warn_setting(tmp_path: Path, config: dict[str, bool]) -> None:
    failing = engine(tmp_path, "exit 3")
    failing._c.config.run.update(config)
    with pytest.raises(EngineError, match="exit code 3"):
        failing.publish(IMAGE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_engine_and_its_child_processes(tmp_path: Path, number: signal.Signals) -> None:
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    slow = engine(tmp_path, f"sleep 3600 > {alive} & wait")
    readers = []

    def interrupt() -> None:
        readers.append(alive.open("rb"))  # opens once the sleep holds the other end
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt).start()
    # As in a terminal, wherever the tests were started; tests/conftest.py restores it.
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    with signals.raised(), pytest.raises(Interrupted) as stopped:
        slow.publish(IMAGE)
    assert stopped.value.what == "stopped the container engine"
    assert stopped.value.effect == "Nothing was recorded or deployed"
    assert stopped.value.code == 128 + number
    with readers[0] as reader:
        assert reader.read() == b"", "ends when nobody holds the other end any more"


def test_a_second_signal_kills_an_engine_that_ignores_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    monkeypatch.setattr(runner, "_SECONDS_TO_STOP", 3600.0)  # the grace of a first signal
    script = f"exec 9> {alive}; trap 'echo asked >&9' TERM; echo up >&9; while :; do sleep 0.1; done"
    stubborn = engine(tmp_path, script)
    readers = []

    def interrupt() -> None:
        readers.append(alive.open("rb"))
        for line in (b"up\n", b"asked\n"):  # two signals at once would be one
            assert readers[0].readline() == line
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with signals.raised(), pytest.raises(Interrupted):
        stubborn.publish(IMAGE)
    thread.join()
    with readers[0] as reader:
        assert reader.read() == b""


def test_a_signal_that_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_IGN)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.raised():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


# --- output in an unknown format ------------------------------------------------------------------------------------


@pytest.mark.parametrize("manifests", [3, None, [1], [{"platform": None}], [{"platform": [1]}]])
def test_a_manifest_list_without_platforms_is_not_pushed(manifests: object) -> None:
    engine, c = detected(PODMAN, Result(), Result(json.dumps({"manifests": manifests})), Result())
    with pytest.raises(EngineError, match="has no linux/amd64, linux/arm64"):
        engine.publish(SEVERAL)
    assert "push" not in " ".join(commands(c))
