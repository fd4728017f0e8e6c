"""What the API says about an image or a build is compared with what was requested."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.api import DIGEST, JOB, Answer, FaultyApi, http, silence
from tests.project import Project

OTHER = "sha256:" + 64 * "b"
RECORD = {"app": "shop", "namespace": "apps", "imageName": "shop", "imageTag": "v1", "buildId": DIGEST}
THEIRS = f"registry.example.com:5000/shop@{DIGEST}"


def deployed_as(image: str) -> Answer:
    return http(200, {"skipped": True, "success": True, "image": image})


def history(project: Project) -> list[dict[str, str]]:
    lines = (project.folder / ".deploy" / "history.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def in_flight(project: Project, api: FaultyApi, **more: str) -> None:
    build = {"app": "shop", "namespace": "apps", "imageName": "shop", "imageTag": project.head, "gitRef": project.head}
    started = {"jobName": JOB, "apiUrl": api.url, "startedAt": "2026-01-01T00:00:00+00:00"}
    project.write(".deploy/build-id.in-flight.json", json.dumps({**build, **started, **more}))


def test_a_deploy_prints_the_reference_that_the_api_names(shop: Project, api: FaultyApi, tmp_path: Path) -> None:
    shop.write_record(RECORD)
    api.always("deploy", deployed_as(THEIRS))
    outputs = tmp_path / "outputs"
    outputs.touch()
    done = shop.invoke("reuse", GITHUB_ACTIONS="true", GITHUB_OUTPUT=str(outputs))
    assert (done.returncode, done.stdout) == (0, f"{THEIRS}\n")
    assert f"image={THEIRS}" in outputs.read_text().splitlines()
    assert json.loads(shop.invoke("reuse", "--json").stdout)["image"] == THEIRS


def test_a_key_of_one_letter_changes_no_digest_and_no_output(shop: Project, api: FaultyApi, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.touch()
    done = shop.invoke("digest", DEPLOY_API_KEY="a", GITHUB_ACTIONS="true", GITHUB_OUTPUT=str(outputs))
    assert (done.returncode, done.stdout) == (0, f"{DIGEST}\n")
    assert outputs.read_text().splitlines()[0] == f"build-id={DIGEST}"
    outputs.write_text("")
    done = shop.invoke("digest", DEPLOY_API_KEY="shop", GITHUB_ACTIONS="true", GITHUB_OUTPUT=str(outputs))
    assert (done.returncode, done.stdout) == (0, f"{DIGEST}\n")
    assert outputs.read_text().splitlines() == [f"build-id={DIGEST}"]
    assert "image is not an output of this step, since it contains a secret" in done.stderr


@pytest.mark.parametrize("answer", [{}, {"image": ""}, {"image": "registry.example.com/shop:v1"}])
def test_a_deploy_without_a_digest_in_the_answer_is_a_success(
    shop: Project, api: FaultyApi, answer: dict[str, str]
) -> None:
    shop.write_record(RECORD)
    api.always("deploy", http(200, {"skipped": True, **answer}))
    done = shop.invoke("reuse")
    assert (done.returncode, done.stdout) == (0, f"{api.address}/shop@{DIGEST}\n")


@pytest.mark.parametrize(
    "image",
    [
        f"registry.example.com/other@{DIGEST}",
        f"registry.example.com/team/shop@{DIGEST}",
        f"registry.example.com/shop@{OTHER}",
        "registry.example.com/other:v1",
        "no reference\x1b]52;c;\x07",
        f"evil\x1b[2J.example/shop@{DIGEST}",
    ],
)
def test_a_deploy_of_another_image_is_an_error_and_may_have_happened(shop: Project, api: FaultyApi, image: str) -> None:
    shop.write_record(RECORD)
    api.always("deploy", deployed_as(image))
    done = shop.invoke("reuse")
    assert (done.returncode, done.stdout) == (6, "")
    assert "\x1b" not in done.stderr
    assert "the API says that it deployed" in done.stderr
    assert f"not shop@{DIGEST}. Another image may run now. Look before you run anything else" in done.stderr
    assert api.summary == "1 deploy"
    assert [entry["outcome"] for entry in history(shop)] == ["unknown"]


def test_a_build_of_another_image_than_the_one_asked_for_is_an_error(shop: Project, api: FaultyApi) -> None:
    api.always("start", http(202, {"jobName": JOB, "image": "registry.example.com/other:v1"}))
    done = shop.invoke("build", "--image-name", "team/shop")
    assert (done.returncode, done.stdout) == (6, "")
    assert f"the API started {JOB} for image other, not for team/shop" in done.stderr
    assert f"invoke logs --job {JOB}" in done.stderr
    assert (api.summary, shop.in_flight) == ("1 start", None)


def test_the_command_that_looks_at_a_build_of_another_image_deploys_nothing(shop: Project, api: FaultyApi) -> None:
    api.always("start", http(202, {"jobName": JOB, "image": "registry.example.com/other:v1"}))
    done = shop.invoke("build", "--app", "worker", "--image-name", "team/shop", "reuse")
    assert done.stderr.splitlines()[-1].endswith(f"See its log: invoke logs --app worker --job {JOB}")


def test_the_command_after_a_deploy_of_another_image_looks_at_the_same_namespace(shop: Project, api: FaultyApi) -> None:
    shop.write_record({**RECORD, "app": "worker"})
    api.always("deploy", deployed_as(f"registry.example.com/other@{DIGEST}"))
    done = shop.invoke("reuse", "--app", "worker", "--namespace", "staging", "build")
    assert done.stderr.splitlines()[-1].endswith(": invoke status --app worker --namespace staging")


def test_a_deploy_that_the_api_calls_failed_did_not_succeed(shop: Project, api: FaultyApi) -> None:
    shop.write_record(RECORD)
    api.always("deploy", http(200, {"skipped": True, "status": "failed"}))
    done = shop.invoke("reuse")
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    assert "it did not succeed" in done.stderr
    assert not (shop.folder / ".deploy" / "history.jsonl").exists()


@pytest.mark.parametrize("more", [{}, {"image": THEIRS}])
def test_a_deploy_of_another_digest_is_an_error(shop: Project, api: FaultyApi, more: dict[str, str]) -> None:
    shop.write_record(RECORD)
    api.always("deploy", http(200, {"skipped": True, "buildId": OTHER, **more}))
    done = shop.invoke("reuse")
    assert (done.returncode, done.stdout) == (6, ""), done.stderr
    assert f"the API says that it deployed buildId {OTHER}, not shop@{DIGEST}" in done.stderr


def test_without_an_image_name_the_api_chooses_it(shop: Project, api: FaultyApi) -> None:
    api.always("start", http(202, {"jobName": JOB, "image": "registry.example.com/made/up:v1"}))
    done = shop.invoke("build")
    assert done.returncode == 0, done.stderr
    assert (shop.record["imageName"], shop.record["imageTag"]) == ("made/up", "v1")


def test_an_image_that_the_api_chose_is_deployed_by_its_name(shop: Project, api: FaultyApi) -> None:
    api.answers["digest"] = [http(404)]  # of the commit, before it is built
    api.always("start", http(202, {"jobName": JOB, "image": "registry.example.com/made/up:v1"}))
    done = shop.invoke("deploy")
    assert done.returncode == 0, done.stderr
    (request,) = (json.loads(request.body) for request in api.requests if request.kind == "deploy")
    assert (request["imageName"], request["buildId"]) == ("made/up", DIGEST)


@pytest.mark.parametrize("image", [f"registry.example.com/other@{DIGEST}", f"registry.example.com/shop@{OTHER}"])
def test_the_digest_of_another_image_is_not_recorded(shop: Project, api: FaultyApi, image: str) -> None:
    api.always("digest", http(200, {"buildId": DIGEST, "image": image}))
    done = shop.invoke("digest", "--image-tag", "v1")
    assert (done.returncode, done.stdout) == (5, "")
    assert f"the API was asked for the digest of shop:v1 and returned that of {image}" in done.stderr
    assert not (shop.folder / ".deploy" / "build-id.json").exists()


def test_a_digest_that_names_its_own_image_is_recorded(shop: Project, api: FaultyApi) -> None:
    api.always("digest", http(200, {"buildId": DIGEST, "image": "registry.example.com/shop:v1"}))
    assert shop.invoke("digest", "--image-tag", "v1").stdout == f"{DIGEST}\n"


FAILED = {"status": "failed", "error": "the step RUN make failed"}


@pytest.mark.parametrize("status", [200, 400, 408, 409, 422, 500, 502, 503])
def test_an_answer_of_failed_is_a_failed_build_whatever_the_status(shop: Project, api: FaultyApi, status: int) -> None:
    api.answers["wait"] = [http(status, FAILED)]
    done = shop.invoke("build")
    assert done.returncode == 9, done.stderr
    assert f"{JOB} failed: the step RUN make failed" in done.stderr
    assert api.summary == "1 start, 1 wait"
    assert shop.in_flight is None


def test_a_failure_may_come_with_the_end_of_its_log(shop: Project, api: FaultyApi) -> None:
    api.answers["wait"] = [http(500, {**FAILED, "logs": "x" * 30_000})]
    assert shop.invoke("build").returncode == 9


@pytest.mark.parametrize("status", [200, 422, 500, 503])
def test_a_failed_phase_is_a_failed_build_whatever_the_status(shop: Project, api: FaultyApi, status: int) -> None:
    api.answers["wait"] = [http(200, {})]
    api.answers["status"] = [http(status, FAILED)]
    done = shop.invoke("build")
    assert done.returncode == 9, done.stderr
    assert api.summary == "1 start, 1 wait, 1 status"


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_is_no_failed_build(shop: Project, api: FaultyApi, status: int) -> None:
    api.always("wait", http(status, {"status": "failed", "error": "unauthorized"}))
    done = shop.invoke("build")
    assert done.returncode == 4
    assert shop.in_flight is not None


def test_a_refusal_with_an_error_in_another_form_ends_the_wait(shop: Project, api: FaultyApi) -> None:
    api.always("wait", http(422, {"status": "failed", "error": {"code": "unprocessable"}}))
    done = shop.invoke("build", "--timeout", "5")
    assert (done.returncode, api.summary) == (4, "1 start, 1 wait"), done.stderr
    assert "unprocessable" in done.stderr


def test_a_job_that_is_gone_is_recorded_where_its_commits_image_is_there(shop: Project, api: FaultyApi) -> None:
    in_flight(shop, api)
    api.always("wait", http(404))
    done = shop.invoke("wait")
    assert (done.returncode, done.stdout) == (0, f"{DIGEST}\n"), done.stderr
    told = f"the API knows no build job {JOB} (any more), and shop:{shop.head} is in the registry, so it is done"
    assert told in done.stderr
    assert api.summary == "1 wait, 1 digest"
    assert (shop.record["buildId"], shop.record["gitRef"]) == (DIGEST, shop.head)
    assert shop.in_flight is None
    assert [(entry["outcome"], entry["jobName"]) for entry in history(shop)] == [("recorded", JOB)]


def test_a_job_that_is_gone_is_not_recorded_by_a_tag_that_moves(shop: Project, api: FaultyApi) -> None:
    in_flight(shop, api, imageTag="main", gitRef="main")
    api.always("wait", http(404))
    done = shop.invoke("wait")
    assert (done.returncode, done.stdout) == (4, "")
    assert "shop:main may be from an earlier build" in done.stderr
    assert ": invoke digest --app shop --image-tag main. Or build again: invoke build\n" in done.stderr
    assert "Nothing was recorded" in done.stderr
    assert not (shop.folder / ".deploy" / "build-id.json").exists()
    found = shop.invoke("digest", "--app", "shop", "--image-tag", "main")
    assert found.returncode == 0, "the advice can be run"


def test_a_job_that_is_gone_is_not_recorded_by_the_image_of_an_earlier_build(shop: Project, api: FaultyApi) -> None:
    api.always("digest", http(200, {"buildId": DIGEST}))
    assert shop.invoke("build").returncode == 0
    in_flight(shop, api, jobName="build-shop-2")
    api.always("wait", http(404))
    done = shop.invoke("wait")
    assert (done.returncode, done.stdout) == (4, "")
    assert f"shop:{shop.head} may be from an earlier build" in done.stderr


def test_a_job_that_is_gone_without_an_image_keeps_its_tag_in_the_message(shop: Project, api: FaultyApi) -> None:
    in_flight(shop, api, imageTag="v1")
    api.always("wait", http(404))
    api.always("digest", http(404))
    done = shop.invoke("wait")
    assert done.returncode == 4
    assert "the registry has no shop:v1. Nothing was recorded" in done.stderr
    steps = (
        "If the build still runs, look for its image later: invoke digest --app shop --image-tag v1. Or build again: "
    )
    assert f"{steps}invoke build\n" in done.stderr
    assert shop.in_flight is None


@pytest.mark.parametrize(("answer", "code"), [(http(403), 4), (http(503), 5)])
def test_a_job_that_is_gone_stays_in_flight_while_its_image_cannot_be_looked_for(
    shop: Project, api: FaultyApi, answer: Answer, code: int
) -> None:
    in_flight(shop, api)
    api.always("wait", http(404))
    api.always("digest", answer)
    done = shop.invoke("wait")
    assert done.returncode == code
    assert f"whether it left shop:{shop.head} is not known" in done.stderr
    assert shop.in_flight is not None


def test_a_failed_build_keeps_its_exit_code_where_the_history_cannot_be_written(shop: Project, api: FaultyApi) -> None:
    api.answers["wait"] = [silence, http(200, FAILED)]
    process = shop.start("build")
    api.until("wait")
    (shop.folder / ".deploy" / "history.jsonl").mkdir()
    api.let_go("wait")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 9, err
    assert shop.in_flight is not None, "a failure that is not noted is asked for again"


def test_a_log_that_is_refused_does_not_hide_that_the_build_failed(shop: Project, api: FaultyApi) -> None:
    api.always("logs", http(403))
    api.answers["wait"] = [http(200, FAILED)]
    done = shop.invoke("build", "--no-logs")
    assert done.returncode == 9, done.stderr
    assert f"{JOB} failed: the step RUN make failed" in done.stderr


def test_an_api_that_refuses_to_say_what_runs_does_not_end_a_rollback(shop: Project, api: FaultyApi) -> None:
    for build_id in (DIGEST, OTHER):
        assert shop.invoke("reuse", "--build-id", build_id).returncode == 0
    api.always("app", http(403))
    back = shop.invoke("rollback")
    assert back.returncode == 0, back.stderr
    assert back.stdout.endswith(f"/shop@{DIGEST}\n")


def test_a_rollback_decides_once_it_has_the_lock(shop: Project, api: FaultyApi) -> None:
    first, second, third = (f"sha256:{64 * digit}" for digit in "123")
    for build_id in (first, second):
        assert shop.invoke("reuse", "--build-id", build_id).returncode == 0
    api.answers["deploy"] = [silence]
    other = shop.start("reuse", "--build-id", third)
    api.until("deploy", 3)
    back = shop.start("rollback", "--lock-timeout", "60")
    assert back.stderr is not None
    assert back.stderr.readline().startswith(f"waiting for another run (pid {other.pid}")
    api.let_go("deploy")
    other.communicate(timeout=60)
    out, err = back.communicate(timeout=60)
    assert back.returncode == 0, err
    assert out.endswith(f"/shop@{second}\n"), "back from what the other run has deployed"


def test_a_health_path_that_nobody_reaches_does_not_blame_the_digest(shop: Project, api: FaultyApi) -> None:
    first, second, third = (f"sha256:{64 * digit}" for digit in "123")
    assert shop.invoke("reuse", "--build-id", first).returncode == 0
    unreachable = ["--domain", "127.0.0.2", "--check-health", "--rollout-timeout", "0.1"]
    unseen = shop.invoke("reuse", "--build-id", second, *unreachable)
    assert unseen.returncode == 12, unseen.stderr
    assert "not ready" not in [entry["outcome"] for entry in history(shop)]
    assert shop.invoke("reuse", "--build-id", third).returncode == 0
    assert shop.invoke("rollback").stdout.endswith(f"/shop@{second}\n")


def test_a_wait_for_another_job_is_not_answered_with_what_was_recorded_meanwhile(shop: Project, api: FaultyApi) -> None:
    api.answers["wait"] = [silence]
    first = shop.start("build")
    api.until("wait")
    second = shop.start("wait", "--job", "build-shop-2", "--image-tag", "v2", "--lock-timeout", "60")
    assert second.stderr is not None
    second.stderr.readline()
    api.let_go("wait")
    first.communicate(timeout=60)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    assert any(request.path.startswith("/build/build-shop-2/wait") for request in api.requests)
    assert shop.record["imageTag"] == "v2"


def test_a_wait_is_not_answered_with_what_was_recorded_of_another_build(shop: Project, api: FaultyApi) -> None:
    api.answers["wait"] = [silence]
    api.answers["digest"] = [http(200, {"buildId": DIGEST}), http(200, {"buildId": OTHER})]
    first = shop.start("build", "digest", "--image-tag", "other")
    api.until("wait")
    second = shop.start("wait", "--lock-timeout", "60")
    assert second.stderr is not None
    second.stderr.readline()
    api.let_go("wait")
    first.communicate(timeout=60)
    out, err = second.communicate(timeout=60)
    assert shop.record["buildId"] == OTHER
    assert (second.returncode, out) == (2, ""), "the record is not of the build that it waited for"
    assert "no build is in flight" in err


def test_a_wait_beside_a_wait_learns_that_the_build_failed(shop: Project, api: FaultyApi) -> None:
    api.answers["wait"] = [silence, http(200, FAILED)]
    first = shop.start("build")
    api.until("wait")
    second = shop.start("wait", "--lock-timeout", "60", "reuse")
    assert second.stderr is not None
    second.stderr.readline()
    api.let_go("wait")
    first.communicate(timeout=60)
    _, err = second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (9, 9), err
    assert "Build it again: invoke build" in err
    assert api.count("deploy") == 0


def test_an_app_does_not_wait_for_the_build_of_another(shop: Project, api: FaultyApi) -> None:
    shop.write("invoke.yaml", "deploy:\n  apps:\n    api: {}\n    web: {}\n")
    in_flight(shop, api, app="web", imageName="web")
    folder = shop.folder / ".deploy"
    (folder / "build-id.in-flight.json").rename(folder / "build-id.api.in-flight.json")
    done = shop.invoke("wait", "--app", "api")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{JOB} builds web, not api. Nothing was done" in done.stderr
    assert api.summary == "none"


def test_logs_shows_no_build_of_another_app(shop: Project, api: FaultyApi) -> None:
    in_flight(shop, api, app="web")
    done = shop.invoke("logs", "--app", "shop")
    assert (done.returncode, done.stdout) == (2, "")
    assert api.requests == []
    assert shop.invoke("logs", "--app", "web").returncode == 4, "the API has no log of it"
    assert [request.path for request in api.requests] == [f"/build/{JOB}/logs"]


def test_a_recorded_namespace_is_not_chosen_for_another_build(shop: Project, api: FaultyApi) -> None:
    shop.write_record({**RECORD, "namespace": "own"})
    in_flight(shop, api)
    done = shop.invoke("wait")
    assert done.returncode == 0, done.stderr
    assert shop.record["namespace"] == "apps"
