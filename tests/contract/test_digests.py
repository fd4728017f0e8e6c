"""Which digest a command means, and what is known of it, as real `invoke` processes against a sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from tests.project import Project
from tests.sandboxes import SandboxProcess

UNKNOWN = "sha256:" + 64 * "0"


def commit(project: Project, text: str) -> str:
    project.write("page.html", text)
    made = project.commit(text)
    project.push()
    return made


def built(project: Project, *flags: str) -> str:
    done = project.invoke("build", *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def note(project: Project, *entries: Mapping[str, object]) -> None:
    """Writes the history, oldest entry first."""
    usual = {"app": "shop", "namespace": "apps", "imageName": "shop", "time": "2026-01-01T00:00:00+00:00"}
    made = {"who": "me@here", "what": "reuse", "outcome": "deployed"}
    lines = [json.dumps({**usual, **made, **entry}) for entry in entries]
    project.write(".deploy/history.jsonl", "".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize("written", ["{}", "sha256:{}", "{}…", "sha256:{}…", "{}..."])
def test_a_printed_abbreviation_of_a_digest_is_enough(project: Project, sandbox: SandboxProcess, written: str) -> None:
    digest = built(project)
    done = project.invoke("reuse", "--build-id", written.format(digest[7:19]))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"/shop@{digest}\n")


@pytest.mark.parametrize("digits", [7, 12, 40])
def test_a_commit_means_the_digest_that_was_built_from_it(
    project: Project, sandbox: SandboxProcess, digits: int
) -> None:
    first = commit(project, "first version")
    digest = built(project)
    commit(project, "second version")
    built(project)
    done = project.invoke("reuse", "--build-id", first[:digits])
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"/shop@{digest}\n")


def test_a_commit_that_means_several_digests_is_refused_with_their_names(
    project: Project, sandbox: SandboxProcess
) -> None:
    one, other, dirty = (f"sha256:{64 * digit}" for digit in "123")
    ref = 40 * "c"
    note(project, *({"buildId": build_id, "gitRef": ref} for build_id in (one, other)))
    refused = project.invoke("reuse", "--build-id", ref[:7])
    assert refused.returncode == 2
    assert "ccccccc matches 2 digests in the history: " in refused.stderr
    assert all(f"{build_id[:19]}…, commit ccccccc" in refused.stderr for build_id in (one, other))
    assert sandbox.seen() == []
    note(project, {"buildId": one, "gitRef": ref}, {"buildId": dirty, "gitRef": ref, "dirty": True})
    dry = project.invoke("--dry", "reuse", "--build-id", ref[:7])
    assert f'"buildId":"{one}"' in dry.stderr, "uncommitted changes are no part of a commit"


@pytest.mark.parametrize("text", ["0123456", "0123456789ab", "0123456789ab…", "sha256:0123456", 64 * "0"])
def test_an_abbreviation_of_nothing_sends_nothing(project: Project, sandbox: SandboxProcess, text: str) -> None:
    note(project, {"buildId": f"sha256:{64 * '1'}", "gitRef": 40 * "c"})
    refused = project.invoke("reuse", "--build-id", text)
    assert refused.returncode == 2
    assert f"{text} matches no digest in the history" in refused.stderr
    assert sandbox.seen() == []


def test_two_apps_with_one_digest_are_told_apart(project: Project, sandbox: SandboxProcess) -> None:
    digest = built(project)
    image = {"buildId": digest, "outcome": "recorded", "what": "build"}
    note(project, {**image, "gitRef": project.head}, {**image, "app": "worker", "imageName": "worker", "dirty": True})
    project.write(".deploy/build-id.json", json.dumps({"app": "worker", "imageName": "worker", "buildId": digest}))
    for text in (digest, digest[7:19], project.head[:7]):
        done = project.invoke("reuse", "--app", "shop", "--build-id", text)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(f"/shop@{digest}\n")
        assert "uncommitted" not in done.stderr, "that is the other image"


def test_an_abbreviation_means_no_digest_of_another_image(project: Project, sandbox: SandboxProcess) -> None:
    note(project, {"buildId": UNKNOWN, "app": "worker", "imageName": "worker"})
    refused = project.invoke("reuse", "--build-id", 12 * "0")
    assert refused.returncode == 2
    assert sandbox.seen() == []


@pytest.mark.parametrize("no_digest", ["latest", "sha256:1", f"{UNKNOWN}\nimage=evil", f"{UNKNOWN}\n", ""])
def test_what_is_no_digest_in_the_history_is_neither_deployed_nor_printed(
    project: Project, sandbox: SandboxProcess, no_digest: str
) -> None:
    project.environment["DEPLOY_NAMESPACE"] = "nothing-runs-here"
    digest, here = built(project), {"namespace": "nothing-runs-here"}
    recorded = {**here, "buildId": digest, "outcome": "recorded", "what": "build"}
    note(project, {**here, "buildId": no_digest, "gitRef": 40 * "c"}, recorded)
    sandbox.forget()
    refused = project.invoke("rollback")
    assert refused.returncode == 2
    assert "cannot go back by 1: nothing else ran before, as far as is known here" in refused.stderr
    assert project.invoke("reuse", "--build-id", 7 * "c").returncode == 2
    assert sandbox.seen("POST") == []
    listed = project.invoke("history", "--json").stdout + project.invoke("status").stdout
    assert [json.loads(line)["buildId"] for line in listed.splitlines() if line.startswith("{")] == [digest]


def test_a_dry_chain_shows_a_placeholder_for_a_digest_that_is_not_there_yet(
    project: Project, sandbox: SandboxProcess
) -> None:
    for chain in (["build"], ["digest"]):
        dry = project.invoke("--dry", *chain, "reuse")
        assert dry.returncode == 0, dry.stderr
        assert f'"buildId":"<digest of shop:{project.head}>"' in dry.stderr
        assert f"  new: <digest of shop:{project.head}>, built from HEAD" in dry.stderr
        assert "sha256:0" not in dry.stderr
    assert {line.split()[0] for line in sandbox.seen()} == {"GET"}


def test_a_digest_that_is_gone_is_built_from_its_own_commit(project: Project, sandbox: SandboxProcess) -> None:
    first = commit(project, "first version")
    commit(project, "second version")
    note(project, {"buildId": UNKNOWN, "gitRef": first})
    gone = project.invoke("reuse", "--build-id", UNKNOWN)
    assert gone.returncode == 8
    assert "Nothing was built or deployed" in gone.stderr
    assert f"Build it: invoke build --git-ref {first} reuse. Others: invoke history" in gone.stderr
    assert project.invoke("build", "--git-ref", first).returncode == 0, "the advice can be run"
    note(project, {"buildId": UNKNOWN, "gitRef": project.head})
    gone = project.invoke("reuse", "--build-id", UNKNOWN)
    assert "Build it: invoke build reuse, or invoke local reuse." in gone.stderr


@pytest.mark.parametrize("known", [{}, {"gitRef": "main"}, {"gitRef": 40 * "c", "dirty": True}])
def test_a_digest_of_no_known_commit_is_not_said_to_be_built_again(
    project: Project, sandbox: SandboxProcess, known: dict[str, object]
) -> None:
    note(project, {"buildId": UNKNOWN, **known})
    gone = project.invoke("reuse", "--build-id", UNKNOWN)
    assert gone.returncode == 8
    assert "Build the present commit: invoke build reuse, or invoke local reuse. Others: invoke history" in gone.stderr


def test_the_tag_of_another_commit_is_built_from_that_commit(project: Project, sandbox: SandboxProcess) -> None:
    first = project.head
    commit(project, "second version")
    gone = project.invoke("digest", "--app", "web", "--image-tag", first)
    assert gone.returncode == 8
    assert f"Build it: invoke build --app web --git-ref {first}" in gone.stderr


def test_digest_takes_the_tag_that_it_is_given_after_a_build(project: Project, sandbox: SandboxProcess) -> None:
    other = built(project, "--image-tag", "other")
    commit(project, "second version")
    chained = project.invoke("build", "digest", "--image-tag", "other")
    assert chained.returncode == 0, chained.stderr
    assert chained.stdout.split()[1] == other
    assert project.record["imageTag"] == "other"


def test_a_build_that_is_not_needed_records_the_tag_that_was_found(project: Project, sandbox: SandboxProcess) -> None:
    built(project, "--image-tag", "v1")
    (project.folder / ".deploy" / "build-id.json").unlink()
    sandbox.forget()
    built(project, "--if-needed")
    assert sandbox.seen("POST") == []
    assert project.record["imageTag"] == "v1"


def test_changes_that_are_not_committed_are_no_matter_to_another_commit(
    project: Project, sandbox: SandboxProcess
) -> None:
    first = project.head
    commit(project, "second version")
    project.write("page.html", "not committed")
    assert "uncommitted changes" in project.invoke("build", "--no-wait").stderr
    assert "uncommitted changes" not in project.invoke("build", "--no-wait", "--git-ref", first).stderr
