"""`invoke local` with each engine, a registry with a password, and a Deploy API over it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests

from tests.engine.conftest import Engine, Registry, service
from tests.engine.failing import at_the_manifest_of, failing_at
from tests.project import SECONDS_A_COMMAND, Process, Project, clean_environment, wait_until
from tests.sandboxes import SandboxProcess

SEVERAL = "linux/amd64,linux/arm64"


def image_of(shop: Project) -> str:
    return shop.folder.name


def test_the_recorded_digest_is_what_the_registry_says(shop: Project, registry: Registry) -> None:
    built = shop.invoke("local")
    assert built.returncode == 0, built.stderr
    record = shop.record
    digest = built.stdout.strip()
    assert record["buildId"] == digest
    assert registry.digest(image_of(shop), record["imageTag"]) == digest
    assert registry.inspect(image_of(shop), record["imageTag"])["Digest"] == digest
    assert "warning" not in built.stderr


def test_a_tag_that_somebody_moves_after_the_push_is_told_and_the_own_digest_deployed(
    shop: Project, engine: Engine, registry: Registry, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    other = shop.invoke("local", "--image-tag", "of-a-colleague").stdout.strip()
    shop.write("page.html", "changed")
    name = f"docker://{registry.address}/{image_of(shop)}"
    credentials = f"{registry.username}:{registry.password}"
    copy = f"skopeo copy --quiet --all --src-tls-verify=false --dest-tls-verify=false --src-creds {credentials}"
    # The engine, and a colleague who is very quick.
    quick = tmp_path / "quick"
    quick.write_text(f"""#!/bin/sh
{engine.program} "$@" || exit
case " $* " in
  *" push "*|*" --push "*) {copy} --dest-creds {credentials} {name}:of-a-colleague {name}:same >&2 ;;
esac
""")
    quick.chmod(0o755)
    done = shop.invoke("local", "--image-tag", "same", "reuse", DEPLOY_DOCKER=str(quick))
    assert done.returncode == 0, done.stderr
    own, reference = done.stdout.split()
    assert registry.digest(image_of(shop), "same") == other != own
    assert f"the tag {image_of(shop)}:same was moved and now points to {other}" in done.stderr
    assert shop.record["buildId"] == own
    assert sandbox.app("apps", image_of(shop))["image"] == reference == f"{registry.address}/{image_of(shop)}@{own}"
    assert registry.digest(image_of(shop), own) == own


def test_two_repositories_that_hold_the_same_image(shop: Project, registry: Registry) -> None:
    names = [f"{image_of(shop)}/{part}" for part in ("one", "two")]
    for name in names:
        built = shop.invoke("local", "--image-name", name, "--image-tag", "v1")
        assert built.returncode == 0, built.stderr
        assert built.stdout.strip() == registry.digest(name, "v1") == registry.inspect(name, "v1")["Digest"]


def test_an_unchanged_image_keeps_its_digest(shop: Project, registry: Registry) -> None:
    first, second = (shop.invoke("local", "--image-tag", tag) for tag in ("v1", "v2"))
    assert second.returncode == 0, second.stderr
    assert first.stdout == second.stdout
    assert registry.digest(image_of(shop), "v1") == registry.digest(image_of(shop), "v2")


@pytest.mark.parametrize("engine", ["store"], indirect=True)
def test_an_attestation_is_added_where_the_environment_asks_for_it(
    shop: Project, engine: Engine, registry: Registry
) -> None:
    built = shop.invoke("local", BUILDX_NO_DEFAULT_ATTESTATIONS="0")
    assert built.returncode == 0, built.stderr
    index = registry.inspect(image_of(shop), built.stdout.strip(), "--raw")
    kinds = [manifest.get("annotations", {}).get("vnd.docker.reference.type") for manifest in index["manifests"]]
    assert kinds == [None, "attestation-manifest"]


@pytest.mark.parametrize("engine", ["podman"], indirect=True)
def test_a_build_that_sigterm_ends_is_not_pushed_though_podman_says_that_it_went_well(
    shop: Project, engine: Engine, registry: Registry, tmp_path: Path
) -> None:
    earlier = shop.invoke("local", "--image-tag", "v1").stdout.strip()
    shop.write("Dockerfile", 'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "sleep", "600"]\n')
    program = tmp_path / "podman-build"
    program.write_text(f'#!/bin/sh\n[ "$1" = build ] && echo $$ > {tmp_path}/pid\nexec {engine.program} "$@"\n')
    program.chmod(0o755)
    process = shop.start("local", "--image-tag", "v1", DEPLOY_DOCKER=str(program))
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout, process.stderr:
        said = []
        for line in process.stderr:
            said.append(line)
            if "sleep" in line:
                os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
                break
        said += process.stderr.readlines()
    assert process.returncode == 3
    assert re.search(rf"the build of {registry.address}/.*Nothing was pushed or recorded$", said[-1].rstrip()), said
    assert registry.digest(image_of(shop), "v1") == earlier == shop.record["buildId"]


def test_a_push_that_fails_leaves_no_digest_behind_for_the_next(shop: Project, registry: Registry) -> None:
    without = {"DEPLOY_REGISTRY_USERNAME": "", "DEPLOY_REGISTRY_PASSWORD": ""}
    failed = shop.invoke("local", "--image-tag", "v1", **without)
    assert failed.returncode == 3
    assert failed.stdout == ""
    assert failed.stderr.splitlines()[-1].endswith(
        f". Nothing was recorded or deployed. To log in at {registry.address}, set DEPLOY_REGISTRY_USERNAME and "
        "DEPLOY_REGISTRY_PASSWORD"
    )
    assert not (shop.folder / ".deploy" / "build-id.json").exists()
    assert registry.digest(image_of(shop), "v1") is None
    shop.write("page.html", "changed")
    built = shop.invoke("local", "--image-tag", "v1")
    assert built.stdout.strip() == registry.digest(image_of(shop), "v1")


def test_a_registry_that_fails_at_the_last_request_of_a_push_costs_the_old_digest_nothing(
    shop: Project, registry: Registry, sandbox: SandboxProcess
) -> None:
    recorded = shop.invoke("local", "--image-tag", "v1").stdout.strip()
    shop.write("page.html", "changed")
    with failing_at(registry.address, at_the_manifest_of("v2")) as (gateway, failed):
        sandbox.forget()
        done = shop.invoke("-w", "local", "--image-tag", "v2", "reuse", DEPLOY_REGISTRY=gateway)
        assert failed, done.stderr
    assert done.returncode == 3
    assert done.stdout == ""
    assert sandbox.seen("POST") == []
    assert shop.record["buildId"] == recorded
    assert registry.digest(image_of(shop), "v2") is None


def test_a_refused_login_builds_and_pushes_nothing(shop: Project, registry: Registry) -> None:
    refused = shop.invoke("local", "--image-tag", "v1", DEPLOY_REGISTRY_PASSWORD="wr0ng-s3cret")
    assert refused.returncode == 3
    said, error = refused.stderr.splitlines()
    assert said.startswith(f"build {registry.address}/")
    assert error == (
        f"{registry.address} refused the login of robot. Nothing was built. Check DEPLOY_REGISTRY_USERNAME and "
        "DEPLOY_REGISTRY_PASSWORD"
    )
    assert "wr0ng-s3cret" not in refused.stdout + refused.stderr


def test_the_password_is_on_no_command_line_and_in_no_environment(
    shop: Project, engine: Engine, registry: Registry, tmp_path: Path
) -> None:
    spy = tmp_path / "spy"
    spy.write_text(f'#!/bin/sh\n{{ echo "$@"; env; }} >> {tmp_path}/seen\nexec {engine.program} "$@"\n')
    spy.chmod(0o755)
    built = shop.invoke("-e", "local", DEPLOY_DOCKER=str(spy), DEPLOY_GIT_TOKEN="t0ken-of-git")
    assert built.returncode == 0, built.stderr
    seen = (tmp_path / "seen").read_text()
    assert "login" in seen
    for secret in (registry.password, shop.environment["DEPLOY_API_KEY"], "t0ken-of-git"):
        assert secret not in seen
        assert secret not in built.stdout + built.stderr


def test_a_build_arg_reaches_the_build_without_its_value_on_the_command_line(
    shop: Project, engine: Engine, registry: Registry
) -> None:
    shop.write(".env", "GREETING='from the file'\n")
    built = shop.invoke("-e", "local", "--build-arg", "GREETING", "--build-arg", "PORT=8080")
    assert built.returncode == 0, built.stderr
    command = next(line for line in built.stderr.splitlines() if " build " in line and "--build-arg" in line)
    assert "from the file" not in command
    config = registry.inspect(image_of(shop), built.stdout.strip(), "--config", "--override-arch", "amd64")
    assert "PORT=8080" in config["config"]["Env"]
    assert read_from(engine, f"{registry.address}/{image_of(shop)}@{built.stdout.strip()}", "/www/health", shop) == (
        "from the file\n"
    )


def read_from(engine: Engine, reference: str, path: str, shop: Project) -> str:
    """A file of an image, by way of the engine that made it."""
    tls = ["--tls-verify=false"] if engine.name == "podman" else []
    engine.run("pull", *tls, reference)
    container = engine.run("create", reference)
    engine.run("cp", f"{container}:{path}", str(shop.folder / "read-back"))
    engine.run("rm", container)
    return (shop.folder / "read-back").read_text()


@pytest.mark.parametrize(("ignore", "leaks"), [("node_modules\n", True), ("**/.env*\n**/.deploy\n", False)])
def test_a_secret_in_the_build_context_is_refused_as_the_engine_would_take_it(
    shop: Project, engine: Engine, registry: Registry, ignore: str, leaks: bool
) -> None:
    shop.write("web/.env.production", "KEY=s3cret\n")
    shop.write(".dockerignore", ignore)
    shop.write("Dockerfile", "FROM scratch\nCOPY . /\n")
    built = shop.invoke("local", "--image-tag", "v1")
    assert built.returncode == (2 if leaks else 0), built.stderr
    if leaks:
        assert "web/.env.production would go into the build context" in built.stderr
        assert "**/.env*, or pass --allow-secrets-in-context" in built.stderr
        assert registry.digest(image_of(shop), "v1") is None
        built = shop.invoke("local", "--image-tag", "v1", "--allow-secrets-in-context")
        assert built.returncode == 0, built.stderr
    reference = f"{registry.address}/{image_of(shop)}@{built.stdout.strip()}"
    tls = ["--tls-verify=false"] if engine.name == "podman" else []
    engine.run("pull", *tls, reference)
    container = engine.run("create", reference, "x")
    engine.run("cp", f"{container}:/web", str(shop.folder / "copied")) if leaks else None
    engine.run("rm", container)
    assert (shop.folder / "copied" / ".env.production").exists() is leaks


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_build_stops_the_engine_and_nothing_is_pushed(
    shop: Project, registry: Registry, number: signal.Signals
) -> None:
    shop.write("Dockerfile", 'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "sleep", "3600"]\n')
    process = Process(
        [sys.executable, "-m", "invoke", "local", "--image-tag", "v1"],
        cwd=shop.folder,
        env=shop.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "sleep" in line:
            break
    process.send_signal(number)
    stdout, stderr = process.finish()
    assert process.returncode == 128 + number
    assert stderr.splitlines()[-1] == "stopped the container engine. Nothing was recorded or deployed"
    assert stdout == ""
    assert registry.digest(image_of(shop), "v1") is None
    assert not (shop.folder / ".deploy" / "build-id.json").exists()


def test_several_platforms_make_an_index_or_a_refusal(shop: Project, engine: Engine, registry: Registry) -> None:
    shop.write("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY page.html /$TARGETARCH.html\n")
    built = shop.invoke("local", "--platform", SEVERAL, "--image-tag", "v1")
    if engine.name in ("store", "podman"):
        assert built.returncode == 0, built.stderr
        digest = built.stdout.strip()
        assert registry.digest(image_of(shop), "v1") == digest
        index = registry.inspect(image_of(shop), digest, "--raw")
        platforms = [manifest["platform"]["architecture"] for manifest in index["manifests"]]
        assert {"amd64", "arm64"} <= set(platforms)
        shop.write("page.html", "changed")
        again = shop.invoke("local", "--platform", SEVERAL, "--image-tag", "v1")
        index = registry.inspect(image_of(shop), again.stdout.strip(), "--raw")
        assert len(index["manifests"]) == len(platforms), "nothing of the image before"
    else:
        assert built.returncode == 3
        assert "cannot build linux/amd64,linux/arm64 in one build" in built.stderr.splitlines()[-1]
        assert registry.digest(image_of(shop), "v1") is None


@pytest.mark.parametrize("engine", ["podman"], indirect=True)
def test_an_index_that_lacks_a_platform_is_not_pushed(shop: Project, engine: Engine, registry: Registry) -> None:
    # podman 4.3 takes the cached image of one platform for that of the other where no layer differs.
    shop.write("Dockerfile", "FROM scratch\nCOPY page.html /\n")
    built = shop.invoke("local", "--platform", SEVERAL, "--image-tag", "v1")
    if built.returncode == 0:
        index = registry.inspect(image_of(shop), built.stdout.strip(), "--raw")
        assert {manifest["platform"]["architecture"] for manifest in index["manifests"]} == {"amd64", "arm64"}
    else:
        assert re.search(r" has no linux/(amd64|arm64)\. Nothing was pushed or recorded$", built.stderr.rstrip())
        assert registry.digest(image_of(shop), "v1") is None


@pytest.mark.parametrize("engine", ["buildx"], indirect=True)
def test_a_builder_elsewhere_is_used_with_nothing_else_changed(
    shop: Project, engine: Engine, registry: Registry
) -> None:
    # A real remote BuildKit: the one inside another engine, put on a TCP port.
    with BuildKitOnPort(service("DOCKER_STORE_HOST").removeprefix("unix://")) as port:
        engine.run("buildx", "create", "--name", "elsewhere", "--driver", "remote", f"tcp://127.0.0.1:{port}")
        shop.write("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY page.html /$TARGETARCH.html\n")
        built = shop.invoke("local", "--platform", SEVERAL, DEPLOY_BUILDER="elsewhere")
    assert built.returncode == 0, built.stderr
    assert 'building with "elsewhere" instance using remote driver' in built.stderr
    assert registry.digest(image_of(shop), shop.record["imageTag"]) == built.stdout.strip()


@pytest.mark.parametrize(
    ("engine", "says"),
    [("classic", "has no buildx plugin"), ("buildx", 'no builder "nowhere" found. Nothing was built')],
    indirect=["engine"],
)
def test_a_builder_that_is_not_there(shop: Project, engine: Engine, says: str) -> None:
    failed = shop.invoke("local", DEPLOY_BUILDER="nowhere")
    assert failed.returncode == 3
    assert says in failed.stderr.splitlines()[-1]


class BuildKitOnPort:
    """Passes connections on 127.0.0.1 to the BuildKit inside a docker engine, which speaks gRPC after an upgrade."""

    def __init__(self, engine_socket: str) -> None:
        self._engine_socket = engine_socket
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []

    def __enter__(self) -> int:
        threading.Thread(target=self._accept, daemon=True).start()
        port: int = self._listener.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        # A close alone would not wake the thread that accepts.
        self._listener.shutdown(socket.SHUT_RDWR)
        for end in (self._listener, *self._open):
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(self._engine_socket)
                self._open += [client, engine]
                engine.sendall(b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += engine.recv(1)
                assert head.startswith(b"HTTP/1.1 101 ")
                for source, target in ((client, engine), (engine, client)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(65_536):
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)


def test_the_whole_way_from_files_to_an_app_that_answers(
    shop: Project, engine: Engine, registry: Registry, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    health = ["--port", str(port), "--health-path", "/health"]
    done = shop.invoke("local", "--build-arg", f"PORT={port}", "--build-arg", "GREETING=well", "reuse", *health)
    assert done.returncode == 0, done.stderr
    reference = done.stdout.split()[1]
    assert sandbox.app("apps", image_of(shop))["image"] == reference
    # Run what was deployed and nothing else: pulled back by its digest.
    archive = tmp_path / "pulled.tar"
    copy = ["skopeo", "copy", "--quiet", "--override-arch", "amd64", "--src-tls-verify=false"]
    creds = ["--src-creds", f"{registry.username}:{registry.password}"]
    tag = f"pulled:{os.urandom(4).hex()}"
    subprocess.run([*copy, *creds, f"docker://{reference}", f"docker-archive:{archive}:{tag}"], check=True)
    docker = ["docker", "--host", service("DOCKER_HOST")]
    environment = clean_environment()
    subprocess.run([*docker, "load", "--quiet", "--input", str(archive)], env=environment, check=True)
    run = [*docker, "run", "--detach", "--network", "host", tag]
    container = subprocess.run(run, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    try:
        assert answer_of(f"http://127.0.0.1:{port}/health") == "well\n"
    finally:
        subprocess.run([*docker, "rm", "--force", container], env=environment, check=True, capture_output=True)
        subprocess.run([*docker, "image", "rm", tag], env=environment, check=True, capture_output=True)


def answer_of(url: str) -> str:
    """What a server that is just starting answers."""

    def answers() -> bool:
        with contextlib.suppress(requests.ConnectionError):
            requests.get(url, timeout=SECONDS_A_COMMAND)
            return True
        return False

    wait_until(answers)
    answer = requests.get(url, timeout=SECONDS_A_COMMAND)
    assert answer.status_code == 200
    return answer.text
