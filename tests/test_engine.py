"""The engine's commands, compared whole; what a push says; what a child process sees. Real engines: tests/engine."""

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
from deploy_tasks.engine.publish import (
    Image,
    build_command,
    buildx_command,
    digest_lines,
    podman_build_command,
    podman_push_command,
)
from deploy_tasks.errors import EngineError, Interrupted
from tests.mock_engine import IMAGE_ID, MockEngine, commands

DIGEST = "sha256:" + 64 * "a"
OTHER = "sha256:" + 64 * "b"
REFERENCE = "r:5000/shop:v1"
IMAGE = Image(REFERENCE, Path("/ctx"), Path("/ctx/Dockerfile"))
SEVERAL = Image(REFERENCE, Path("/ctx"), Path("/ctx/Dockerfile"), platform="linux/amd64,linux/arm64")

DOCKER: dict[str, Any] = {"ID": "x", "ServerVersion": "20.10", "ClientInfo": {"Context": "default", "Plugins": []}}
BUILDX = {**DOCKER, "ClientInfo": {"Context": "default", "Plugins": [{"Name": "buildx"}]}}
# Its builder pushes; of any other store, `buildx inspect` says who does.
STORE = {**BUILDX, "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}
INSPECTED = Result("Name:   default\nDriver: docker\n\nNodes:\nName: default\n")
INSPECTED_FAR = Result("Name:   far\nDriver: docker-container\n\nNodes:\nName: far0\n")
PODMAN: dict[str, Any] = {"host": {}, "store": {}, "version": {}}


def line(digest: str = DIGEST, tag: str = "v1") -> str:
    return f"{tag}: digest: {digest} size: 528\n"


def looked(
    told: dict[str, Any], *results: Result, builder: str | None = None, **files: str | None
) -> tuple[Engine, Any]:
    """An engine that said `told` of itself, and the context that knows its further commands; it writes `files`."""
    named = {f"--{flag.replace('_', '-')}": content for flag, content in files.items()}
    c: Any = MockEngine(run=[Result(json.dumps(told)), *results], files=named)
    engine = Engine(c, "docker", builder=builder, sleep=lambda _: None)
    engine.look()
    c.run.reset_mock()
    return engine, c


# --- commands, word for word ----------------------------------------------------------------------------------------

FULL = Image(REFERENCE, Path("/a b/ctx"), Path("/a b/File"), "linux/amd64", ("A=b c", "D"))
WHAT = ["--file", "/a b/File", "--build-arg", "A=b c", "--build-arg", "D", "/a b/ctx"]


def test_docker_builds_with_what_was_given() -> None:
    way = ["--platform", "linux/amd64", "--tag", REFERENCE, "--iidfile", "/i"]
    assert build_command(FULL, Path("/i")) == ["build", *way, *WHAT]


@pytest.mark.parametrize(("builder", "by"), [(None, []), ("far", ["--builder", "far"])])
def test_buildx_builds_by_the_builder_that_is_named(builder: str | None, by: list[str]) -> None:
    way = [*by, "--platform", "linux/amd64", "--tag", REFERENCE, "--push"]
    assert buildx_command(FULL, builder, ["--push"]) == ["buildx", "build", *way, *WHAT]


def test_podman_builds_and_pushes_the_image_of_that_build_with_a_digest_file() -> None:
    way = ["--platform", "linux/amd64", "--iidfile", "/i"]
    assert podman_build_command(FULL, Path("/i"), None) == ["build", *way, *WHAT]
    assert podman_push_command(FULL, IMAGE_ID, None, Path("/d"), []) == [
        *["push", "--digestfile", "/d", IMAGE_ID, f"docker://{REFERENCE}"]
    ]


def test_podman_pushes_several_platforms_as_one_list() -> None:
    platforms = "linux/amd64,linux/arm64"
    assert podman_build_command(SEVERAL, Path("/i"), "list") == [
        *[
            "build",
            "--platform",
            platforms,
            "--manifest",
            "list",
            "--iidfile",
            "/i",
            "--file",
            "/ctx/Dockerfile",
            "/ctx",
        ]
    ]
    assert podman_push_command(SEVERAL, IMAGE_ID, "list", Path("/d"), ["--tls-verify=false"]) == [
        *["manifest", "push", "--all", "--tls-verify=false", "--digestfile", "/d", "list", f"docker://{REFERENCE}"]
    ]


def test_words_are_quoted_once_for_the_shell() -> None:
    engine, c = looked(DOCKER, Result(), Result(line()))
    engine.publish(Image(REFERENCE, Path("/a b"), Path("/$(id)"), build_args=("A=';id",)))
    assert shlex.split(commands(c)[0])[-4:] == ["/$(id)", "--build-arg", "A=';id", "/a b"]


# --- what an engine is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Result(exited=127), "the container engine 'docker' is not installed; install it, or name another"),
        (Result(stderr="\nCannot connect\n", exited=1), "'docker' does not answer (Cannot connect); start it"),
        (Result('{"ServerErrors": ["Cannot connect"]}'), "'docker' does not answer (Cannot connect); start it"),
        (Result("hello"), "'docker' does not answer (it said nothing); start it"),
        (Result("[" * 100_000), "'docker' does not answer (it said nothing); start it"),
        (Result('{"ServerErrors": [1]}'), "'docker' does not answer (1); start it"),
        (Result('{"ServerErrors": 1}'), "'docker' does not answer (it said nothing); start it"),
    ],
)
def test_an_engine_that_is_not_there_or_down(answer: Result, says: str) -> None:
    with pytest.raises(EngineError, match=re.escape(says)):
        Engine(MockEngine(run=[answer]), "docker").look()


def test_deploy_docker_is_one_program_without_arguments() -> None:
    with pytest.raises(EngineError, match=r"one program, without arguments: 'docker --log-level debug'; .* script"):
        Engine(MockEngine(run=[Result(exited=127)]), "docker --log-level debug").look()


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
def test_what_an_engine_is_is_found_out_and_not_taken_from_its_name(
    told: dict[str, Any], further: list[Result], first: str
) -> None:
    engine, c = looked(told, *further, Result(exited=1))
    with pytest.raises(EngineError):
        engine.publish(IMAGE)
    assert commands(c)[0].startswith(first)


def test_docker_buildkit_0_keeps_to_the_classic_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    engine, c = looked(BUILDX, Result(), Result(line()))
    assert engine.publish(IMAGE) == DIGEST
    assert commands(c)[1] == f"docker push {REFERENCE}"


@pytest.mark.parametrize(
    ("told", "buildkit", "says"),
    [
        (DOCKER, "1", "'docker' has no buildx plugin to use it with; install it, or unset DEPLOY_BUILDER"),
        (BUILDX, "0", "'docker' does not use builders while DOCKER_BUILDKIT is 0; unset one of them"),
        (PODMAN, "1", "'docker' is podman, which has no builders; unset DEPLOY_BUILDER"),
    ],
)
def test_a_builder_that_the_engine_would_not_use_is_refused(
    told: dict[str, Any], buildkit: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_BUILDKIT", buildkit)
    with pytest.raises(EngineError, match=f"DEPLOY_BUILDER names far, and {says}. Nothing was built"):
        looked(told, builder="far")


def test_a_builder_that_is_not_there_is_refused_before_the_build() -> None:
    with pytest.raises(EngineError, match='cannot use its builder: ERROR: no builder "far" found. Nothing was built'):
        looked(BUILDX, Result(stderr='ERROR: no builder "far" found\n', exited=1), builder="far")


def test_a_builder_that_is_the_docker_of_another_context_is_refused() -> None:
    there = Result("Name: staging\nDriver: docker\n")
    with pytest.raises(EngineError, match=r"staging is the docker of another context.*; set DOCKER_CONTEXT=staging"):
        looked(BUILDX, there, builder="staging")


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
def test_a_build_elsewhere_is_told_from_one_here(
    monkeypatch: pytest.MonkeyPatch, host: str, context: str, builder: str | None, is_remote: bool
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    engine, _ = looked({**STORE, "ClientInfo": {**STORE["ClientInfo"], "Context": context}}, builder=builder)
    assert engine.is_remote is is_remote


def test_a_push_that_names_no_digest_is_the_engines_failure() -> None:
    engine, _ = looked(PODMAN, Result(), Result(), Result(), digestfile="sha512:abc")
    with pytest.raises(EngineError, match=r"the push of r:5000/shop:v1 named no digest: .*nothing was recorded"):
        engine.publish(IMAGE)


@pytest.mark.parametrize(
    ("told", "inspected", "says"),
    [
        (DOCKER, [], "several platforms need the buildx plugin, or podman"),
        (BUILDX, [INSPECTED], "cannot build linux/amd64,linux/arm64 at once. Nothing was built: docker buildx create"),
    ],
)
def test_an_engine_that_cannot_build_several_platforms_says_what_can(
    told: dict[str, Any], inspected: list[Result], says: str
) -> None:
    engine, c = looked(told, *inspected)
    with pytest.raises(EngineError, match=says):
        engine.publish(SEVERAL)
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
def test_the_ignore_files_that_an_engine_reads(
    tmp_path: Path, told: dict[str, Any], there: list[str], read: list[str]
) -> None:
    for name in there:
        (tmp_path / name).touch()
    engine, _ = looked(told)
    assert [file.name for file in engine.ignore_files(tmp_path, tmp_path / "Own")] == read


# --- the digest -----------------------------------------------------------------------------------------------------


def test_the_digest_of_a_docker_push_is_the_line_of_its_tag() -> None:
    engine, c = looked(DOCKER, Result(), Result(f"The push refers to repository\nabc: Pushed\n{line()}"))
    assert engine.publish(IMAGE) == DIGEST
    assert commands(c) == [
        f"docker build --platform linux/amd64 --tag {REFERENCE} --iidfile FOLDER/id --file /ctx/Dockerfile /ctx",
        f"docker push {REFERENCE}",
        f"docker image inspect --format '{{{{json .RepoDigests}}}}' {IMAGE_ID}",
    ]


class TagTaken(MockEngine):
    """Pushes another build's image the first `times`, since that took the tag."""

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


def test_docker_pushes_again_where_another_build_took_the_tag(capfd: pytest.CaptureFixture[str]) -> None:
    c: Any = TagTaken(2)
    engine = Engine(c, "docker")
    engine.look()
    assert engine.publish(IMAGE) == DIGEST
    assert commands(c).count(f"docker tag {IMAGE_ID} {REFERENCE}") == 2
    assert f"another build took the tag {REFERENCE} before the push" in capfd.readouterr().err


def test_docker_gives_up_where_other_builds_take_the_tag_each_time() -> None:
    c: Any = TagTaken(99)
    engine = Engine(c, "docker")
    engine.look()
    with pytest.raises(EngineError, match=r"before each of 5 pushes.*nothing was recorded or deployed.*--image-tag"):
        engine.publish(IMAGE)
    assert commands(c).count(f"docker push {REFERENCE}") == 5


@pytest.mark.parametrize("told", [DOCKER, PODMAN])
@pytest.mark.parametrize("image", [None, ""])
def test_a_build_that_leaves_no_image_is_not_pushed(told: dict[str, Any], image: str | None) -> None:
    engine, c = looked(told, Result(), iidfile=image)
    with pytest.raises(EngineError, match=f"the build of {REFERENCE} ended without an image; nothing was pushed"):
        engine.publish(IMAGE)
    assert len(commands(c)) == 1


@pytest.mark.parametrize(
    "output", ["", "abc: Pushed\n", line(tag="v2"), line() + line(OTHER), line(DIGEST[:-1]), f"x {line()}"]
)
def test_a_push_without_exactly_one_digest_line_is_refused(output: str) -> None:
    engine, _ = looked(DOCKER, Result(), Result(output))
    with pytest.raises(EngineError, match=r"named \d digests where one is needed.*nothing was recorded or deployed"):
        engine.publish(IMAGE)


def test_a_failed_push_is_a_failure_even_with_a_digest_line() -> None:
    engine, _ = looked(DOCKER, Result(), Result(line(), exited=1))
    with pytest.raises(EngineError, match=r"the push of r:5000/shop:v1 failed \(exit code 1, see above\)"):
        engine.publish(IMAGE)


def test_a_failed_build_pushes_nothing() -> None:
    engine, c = looked(DOCKER, Result(exited=2))
    with pytest.raises(EngineError, match="nothing was pushed or recorded"):
        engine.publish(IMAGE)
    assert len(commands(c)) == 1


def test_buildx_says_its_digest_in_a_fresh_file() -> None:
    metadata = {"containerimage.config.digest": OTHER, "containerimage.digest": DIGEST}
    engine, c = looked(STORE, Result(), metadata_file=json.dumps(metadata))
    assert engine.publish(IMAGE) == DIGEST
    assert not c._written[0].parent.exists()


def test_podman_says_its_digest_in_a_fresh_file() -> None:
    engine, c = looked(PODMAN, Result(), Result(), Result(), digestfile=f"{DIGEST}\n")
    assert engine.publish(IMAGE) == DIGEST
    assert commands(c) == [
        "docker build --platform linux/amd64 --iidfile FOLDER/id --file /ctx/Dockerfile /ctx",
        f"docker tag {IMAGE_ID} {REFERENCE}",
        f"docker push --digestfile FOLDER/digest {IMAGE_ID} docker://{REFERENCE}",
    ]
    assert not c._written[0].parent.exists()


def listing(*platforms: str) -> Result:
    """What `podman manifest inspect` says of a list of these architectures."""
    return Result(
        json.dumps({"manifests": [{"platform": {"os": "linux", "architecture": name}} for name in platforms]})
    )


def test_podman_makes_a_fresh_manifest_list_and_removes_it() -> None:
    lists = set()
    for _ in range(2):
        engine, c = looked(PODMAN, Result(), listing("amd64", "arm64"), Result(), Result(), digestfile=DIGEST)
        assert engine.publish(SEVERAL) == DIGEST
        build, _inspect, push, remove = (command.split()[1:] for command in commands(c))
        name = build[build.index("--manifest") + 1]
        assert (push[:3], remove) == (["manifest", "push", "--all"], ["manifest", "rm", name])
        lists.add(name)
    assert len(lists) == 2


def test_podman_does_not_push_a_list_that_lacks_a_platform() -> None:
    engine, c = looked(PODMAN, Result(), listing("amd64"), Result())
    with pytest.raises(EngineError, match="r:5000/shop:v1 has no linux/arm64; nothing was pushed or recorded"):
        engine.publish(SEVERAL)
    assert [" push " in command for command in commands(c)] == [False, False, False]


@pytest.mark.parametrize(("registry", "flags"), [("127.0.0.1:5000", ["--tls-verify=false"]), ("r.example.com", [])])
def test_podman_speaks_http_to_loopback_alone(registry: str, flags: list[str]) -> None:
    engine, c = looked(PODMAN, Result(), Result(), Result(), digestfile=DIGEST)
    engine.publish(Image(f"{registry}/shop:v1", Path("/c"), Path("/c/f")))
    assert [word for word in commands(c)[2].split() if word.startswith("--tls")] == flags


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"containerimage.digest": 5}'])
def test_buildx_without_a_digest_is_refused(content: str | None) -> None:
    engine, _ = looked(STORE, Result(), metadata_file=content)
    with pytest.raises(EngineError, match="named 0 digests"):
        engine.publish(IMAGE)


def test_podman_without_a_digest_file_is_refused() -> None:
    engine, _ = looked(PODMAN, Result(), Result(), Result())
    with pytest.raises(EngineError, match="named 0 digests"):
        engine.publish(IMAGE)


def test_digest_lines_of_another_tag_do_not_count() -> None:
    assert digest_lines(line(tag="v1.0") + line(OTHER, tag="v1"), "v1") == [OTHER]


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


def test_the_password_goes_over_stdin_only() -> None:
    c: Any = MockEngine(run=[Result()])
    Engine(c, "docker").login("r:5000", "robot", "s3 cret")
    (call,) = c.run.call_args_list
    assert call.args == ("docker login --username robot --password-stdin r:5000",)
    assert call.kwargs["in_stream"].read() == "s3 cret"
    assert (call.kwargs["echo"], call.kwargs["hide"], call.kwargs["pty"]) == (False, True, False)


@pytest.mark.parametrize("said", REFUSALS)
def test_a_refused_login_is_not_tried_again(said: str) -> None:
    c = MockEngine(run=[Result(stderr=said, exited=1)])
    with pytest.raises(EngineError, match=r"check DEPLOY_REGISTRY_USERNAME and DEPLOY_REGISTRY_PASSWORD") as error:
        Engine(c, "docker").login("r:5000", "robot", "s3cret")
    assert "s3cret" not in str(error.value)


def test_a_login_that_cannot_be_saved_is_not_a_wrong_password() -> None:
    said = "Error saving credentials: error storing credentials - err: exit status 1, out: `access denied`"
    c = MockEngine(run=[Result(stderr=said, exited=1)])
    with pytest.raises(
        EngineError, match=r"r:5000 let robot log in, and docker could not save the login .*denied"
    ) as error:
        Engine(c, "docker").login("r:5000", "robot", "s3cret")
    assert "check DEPLOY_REGISTRY" not in str(error.value)


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


def failed_push(told: dict[str, Any], said: str, username: str) -> str:
    steps = {id(STORE): 0, id(DOCKER): 1, id(PODMAN): 2}[id(told)] + bool(username)
    engine, _ = looked(told, *[Result()] * steps, Result(stderr=said, exited=1))
    if username:
        engine.login("r:5000", username, "s3cret")
    with pytest.raises(EngineError) as error:
        engine.publish(IMAGE)
    return str(error.value)


@pytest.mark.parametrize(("told", "said"), PUSH_REFUSALS)
def test_a_push_that_the_registry_refuses_says_what_to_check(told: dict[str, Any], said: str) -> None:
    assert failed_push(told, said, "").endswith(
        "nothing was recorded or deployed. Not logged in at r:5000? Set DEPLOY_REGISTRY_USERNAME and "
        "DEPLOY_REGISTRY_PASSWORD"
    )
    assert failed_push(told, said, "robot").endswith(
        f"nothing was recorded or deployed. r:5000 does not let robot push {REFERENCE}"
    )


@pytest.mark.parametrize(("told", "said"), OTHER_FAILURES)
def test_a_push_that_fails_otherwise_does_not_speak_of_the_login(told: dict[str, Any], said: str) -> None:
    assert failed_push(told, said, "").endswith("(exit code 1, see above); nothing was recorded or deployed")


@pytest.mark.parametrize("said", TROUBLES)
def test_a_login_is_tried_five_times_where_the_network_is_in_the_way(said: str) -> None:
    slept: list[float] = []
    c = MockEngine(run=[Result(stderr=said, exited=1)] * 5)
    with pytest.raises(EngineError, match=re.escape(f"could not log in at r:5000, five times: {said}; nothing")):
        Engine(c, "docker", sleep=slept.append).login("r:5000", "robot", "s3cret")
    assert [round(seconds / base, 1) for seconds, base in zip(slept, (1, 2, 4, 8), strict=True)] == [
        pytest.approx(1, abs=0.2)
    ] * 4


def test_a_login_that_succeeds_at_last_is_a_login() -> None:
    c = MockEngine(run=[Result(stderr=TROUBLES[0], exited=1), Result()])
    Engine(c, "docker", sleep=lambda _: None).login("r:5000", "robot", "s3cret")
    assert len(commands(c)) == 2


# --- with real commands in the place of an engine -------------------------------------------------------------------


# What a docker does of a build and a look at what it pushed.
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


def test_a_child_sees_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEPLOY_API_KEY", "DEPLOY_REGISTRY_PASSWORD", "DEPLOY_GIT_TOKEN"):
        monkeypatch.setenv(name, "s3cret")
        monkeypatch.setenv(f"INVOKE_{name}", "s3cret")
    monkeypatch.setenv("KEPT", "yes")
    engine(tmp_path, f"env > {tmp_path}/env; echo '{json.dumps(DOCKER)}'").look()
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


def test_a_long_password_is_given_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    usual = Local.write_proc_stdin

    def write(local: Local, data: str) -> None:
        written.append(data)
        usual(local, data)

    monkeypatch.setattr(Local, "write_proc_stdin", write)
    engine(tmp_path, f"cat > {tmp_path}/password").login("r:5000", "robot", "x" * 1000)
    assert len(written) == 1, "Invoke sleeps ten milliseconds after each piece"
    assert (tmp_path / "password").read_text() == "x" * 1000


@pytest.mark.parametrize("config", [{"warn": True}, {"warn": False}])
def test_invokes_warn_setting_changes_nothing_about_a_failure(tmp_path: Path, config: dict[str, bool]) -> None:
    failing = engine(tmp_path, "exit 3")
    failing._c.config.run.update(config)
    with pytest.raises(EngineError, match="exit code 3"):
        failing.publish(IMAGE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_engine_and_all_that_it_started(tmp_path: Path, number: signal.Signals) -> None:
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    slow = engine(tmp_path, f"sleep 3600 > {alive} & wait")
    readers = []

    def interrupt() -> None:
        readers.append(alive.open("rb"))  # opens once the sleep holds the other end
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt).start()
    # As in a terminal, which started the tests or not; tests/conftest.py takes it back.
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    with signals.raised(), pytest.raises(Interrupted, match="stopped, and the engine with it") as stopped:
        slow.publish(IMAGE)
    assert stopped.value.code == 128 + number
    with readers[0] as reader:
        assert reader.read() == b"", "ends when nobody holds the other end any more"


def test_a_second_signal_ends_an_engine_that_does_not_obey_the_first(
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


# --- answers of the wrong types ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "client", [[1], "x", {"Plugins": 3}, {"Plugins": [1]}, {"Plugins": {"Name": "x"}}, {"Plugins": [{"Name": [1]}]}]
)
def test_an_engine_that_names_its_parts_in_another_way_is_a_plain_docker(client: object) -> None:
    engine, c = looked({**DOCKER, "ClientInfo": client}, Result(), Result(line()))
    assert engine.publish(IMAGE) == DIGEST
    assert [command.split()[1] for command in commands(c)][:2] == ["build", "push"]


def test_a_driver_status_that_is_no_list_is_no_containerd_store() -> None:
    engine, _ = looked({**BUILDX, "DriverStatus": 3}, INSPECTED, Result(), Result(line()))
    assert engine.publish(IMAGE) == DIGEST


@pytest.mark.parametrize("manifests", [3, None, [1], [{"platform": None}], [{"platform": [1]}]])
def test_a_manifest_list_that_names_no_platforms_is_not_pushed(manifests: object) -> None:
    engine, c = looked(PODMAN, Result(), Result(json.dumps({"manifests": manifests})), Result())
    with pytest.raises(EngineError, match="has no linux/amd64, linux/arm64; nothing was pushed or recorded"):
        engine.publish(SEVERAL)
    assert "push" not in " ".join(commands(c))


@pytest.mark.parametrize("text", ["\x00", ""])
def test_what_is_no_id_of_an_image_is_not_pushed(text: str) -> None:
    engine, _ = looked(DOCKER, Result(), iidfile=text)
    with pytest.raises(EngineError, match="ended without an image; nothing was pushed or recorded"):
        engine.publish(IMAGE)
