"""`local` with an unusual machine, engine or registry, and what it says about uncommitted changes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.api import DIGEST, FaultyApi, http
from tests.faults.engine import FakeEngine
from tests.left_out import need_root_and
from tests.project import Project

OTHER = "sha256:" + 64 * "c"


def push_of(digest: str) -> dict[str, str]:
    """The steps of an engine that builds and pushes an image of this digest."""
    return {
        "push": f'echo "${{2##*:}}: digest: {digest} size: 1"',
        "image": f"echo '[\"HOST/shop@{digest}\"]'",
    }


@pytest.mark.parametrize("task", ["local", "doctor"])
def test_a_machine_without_bash_uses_sh(shop: Project, api: FaultyApi, tmp_path: Path, task: str) -> None:
    need_root_and("unshare", "mount", "mknod")
    FakeEngine(shop, tmp_path / "engine")
    bash = Path(shutil.which("bash") or "/bin/bash").resolve()
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    # Of an overlay, a device 0/0 is a file that is not there.
    subprocess.run(["mknod", str(tmp_path / "upper" / bash.name), "c", "0", "0"], check=True)
    layers = f"lowerdir={bash.parent},upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    script = f'mount -t overlay overlay -o {layers} {bash.parent} && ! test -e /bin/bash && exec "$@"'
    done = shop.run("unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-m", "invoke", task)
    assert "Traceback" not in done.stderr
    if task == "local":
        assert (done.returncode, done.stdout) == (0, f"{DIGEST}\n"), done.stderr
    else:
        assert "engine answers" in done.stdout


def test_the_configured_shell_is_used_if_it_exists(shop: Project, api: FaultyApi, tmp_path: Path) -> None:
    FakeEngine(shop, tmp_path / "engine")
    own = shop.write("../own-shell", f'#!/bin/sh\necho used >> {tmp_path}/used\nexec /bin/sh "$@"\n')
    own.chmod(0o755)
    assert shop.invoke("local", INVOKE_RUN_SHELL=str(own)).returncode == 0
    assert (tmp_path / "used").exists()
    assert shop.invoke("local", INVOKE_RUN_SHELL="/no/such/shell").returncode == 0


def test_an_engine_that_takes_longer_than_invokes_timeout_is_one_line(
    shop: Project, api: FaultyApi, tmp_path: Path
) -> None:
    engine = FakeEngine(shop, tmp_path / "engine", info="sleep 600")
    done = shop.invoke("-T", "1", "local")
    assert done.returncode == 3
    assert done.stderr == (
        f"{engine.program} info took longer than Invoke's limit of 1 s (-T, timeouts.command). Nothing was recorded or "
        "deployed\n"
    )


def test_a_tag_that_cannot_be_checked_after_the_push_is_only_a_warning(
    shop: Project, api: FaultyApi, tmp_path: Path
) -> None:
    # The first request, before the build, checks the key; the second one checks the tag.
    FakeEngine(shop, tmp_path / "engine")
    api.answers["digest"] = [http(404, {"error": "none"}), http(403, {"error": "no"})]
    done = shop.invoke("local")
    assert done.returncode == 0, done.stderr
    warning = next(line for line in done.stderr.splitlines() if line.startswith("warning"))
    assert warning.startswith("warning: could not ask for the digest: ")
    assert ". The image is pushed and recorded" in warning
    assert "nothing was changed" not in done.stderr


def test_reuse_and_rollback_say_that_the_build_had_uncommitted_changes(
    shop: Project, api: FaultyApi, tmp_path: Path
) -> None:
    says = f"built from uncommitted changes on {shop.head[:7]}"
    shop.write("page.html", "not committed")
    FakeEngine(shop, tmp_path / "engine")
    assert shop.invoke("local").returncode == 0
    assert shop.record["dirty"] is True
    assert says in shop.invoke("reuse").stderr
    shop.git("checkout", "--quiet", "page.html")
    FakeEngine(shop, tmp_path / "other", **push_of(OTHER))
    assert shop.invoke("local").returncode == 0
    assert "dirty" not in shop.record
    reused = shop.invoke("reuse")
    assert says not in reused.stderr
    back = shop.invoke("rollback")
    assert back.returncode == 0, back.stderr
    assert says in back.stderr
    history = [json.loads(line) for line in (shop.folder / ".deploy/history.jsonl").read_text().splitlines()]
    assert [entry.get("dirty") for entry in history if entry["outcome"] == "deployed"] == [True, None, True]
