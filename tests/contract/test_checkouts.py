"""Which project and which commit a command works on: nested repositories, sub-folders, hooks, clones of CI."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.project import TASKS, Project, clean_environment, dry_request
from tests.sandboxes import SandboxProcess

DIGEST = f"sha256:{64 * 'a'}"


@pytest.fixture
def services(project: Project) -> Project:
    """`project` with two projects more, in the folders services/api and services/web."""
    for name in ("api", "web"):
        project.write(f"services/{name}/tasks.py", TASKS)
        project.write(f"services/{name}/Dockerfile", "FROM scratch\n")
    project.commit("services")
    project.push()
    return project


@pytest.mark.parametrize("task", [["build", "reuse"], ["--dry", "local"], ["status"]])
def test_in_a_nested_repository_the_outer_project_is_not_deployed(
    project: Project, sandbox: SandboxProcess, task: list[str]
) -> None:
    inner = Project.make(project.folder / "vendor" / "lib")
    (inner.folder / "tasks.py").unlink()
    refused = project.invoke(*task, at="vendor/lib")
    assert refused.returncode == 2, refused.stderr
    assert f"the tasks are those of {project.folder} (repository {project.folder})" in refused.stderr
    assert f"another repository, {inner.folder}. Nothing was sent." in refused.stderr
    assert sandbox.seen() == []


def test_tasks_of_a_folder_that_is_in_no_repository_deploy_no_repository_below_it(
    project: Project, sandbox: SandboxProcess
) -> None:
    shutil.move(project.folder / "tasks.py", project.folder.parent)
    refused = project.invoke("build", "reuse")
    assert refused.returncode == 2, refused.stderr
    assert f"the tasks are those of {project.folder.parent} (in no repository)" in refused.stderr
    assert sandbox.seen() == []


def test_the_tasks_of_another_repository_do_not_deploy_this_one(project: Project, sandbox: SandboxProcess) -> None:
    Project.make(project.folder.with_name("api"))
    refused = project.invoke("--search-root", "../api", "build", "reuse")
    assert refused.returncode == 2, refused.stderr
    assert f"{project.folder.with_name('api')}" in refused.stderr
    assert f"{project.folder}. Nothing was sent." in refused.stderr
    assert sandbox.seen() == []


def test_the_project_is_the_one_whose_tasks_were_loaded(services: Project, sandbox: SandboxProcess) -> None:
    dry = services.invoke("-r", "../api", "--dry", "build", at="services/web")
    assert dry.returncode == 0, dry.stderr
    request = dry_request(dry)
    assert (request["app"], request["buildContext"]) == ("api", "services/api")


def test_two_projects_of_one_repository_are_two_apps(services: Project, sandbox: SandboxProcess) -> None:
    for name in ("api", "web"):
        done = services.invoke("build", "reuse", at=f"services/{name}")
        assert done.returncode == 0, done.stderr
    images = [sandbox.app("apps", name)["image"].partition("@")[0] for name in ("api", "web")]
    assert images == [f"{sandbox.registry}/api", f"{sandbox.registry}/web"]


def test_two_projects_of_one_name_need_names_for_their_apps(services: Project, sandbox: SandboxProcess) -> None:
    services.write("tools/api/tasks.py", TASKS)
    refused = services.invoke("build", at="services/api")
    assert refused.returncode == 2, refused.stderr
    assert "not set: --app or DEPLOY_APP" in refused.stderr
    assert "(tools/api/ and services/api/ would both be app api)" in refused.stderr
    assert sandbox.seen() == []
    assert services.invoke("--dry", "build", "--app", "api", at="services/api").returncode == 0


def test_init_in_a_project_of_a_sub_folder_names_its_app(services: Project) -> None:
    done = services.invoke("init", at="services/api")
    assert done.returncode == 0, done.stderr
    assert (services.folder / "services" / "api" / "invoke.yaml").read_text() == "deploy:\n  app: api\n  # port: 3000\n"


@pytest.mark.parametrize("program", ["invoke", "deploy_tasks"])
def test_init_in_a_sub_folder_says_what_it_would_do_and_where(project: Project, program: str) -> None:
    if program == "deploy_tasks":
        (project.folder / "tasks.py").unlink()
    (project.folder / "src").mkdir()
    before = project.files()
    refused = project.run(sys.executable, "-m", program, "init", at="src")
    assert refused.returncode == 2, refused.stderr
    assert "would write invoke.yaml" in refused.stderr
    assert f"this folder is part of the project {project.folder}. Nothing was written. " in refused.stderr
    name = program.replace("_", "-")
    assert f"cd {project.folder} && {name} init" in refused.stderr
    assert project.files() == before


def test_in_a_hook_of_another_repository_this_one_is_deployed(
    project: Project, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    other = Project.make(tmp_path / "other")
    done = project.invoke(
        "build",
        "reuse",
        GIT_DIR=str(other.folder / ".git"),
        GIT_WORK_TREE=str(other.folder),
        GIT_INDEX_FILE=str(other.folder / ".git" / "index"),
    )
    assert done.returncode == 0, done.stderr
    assert (project.record["app"], project.record["gitRef"]) == ("shop", project.head)


def test_cd_in_a_task_does_not_choose_another_project(services: Project, sandbox: SandboxProcess) -> None:
    services.write(
        "tasks.py",
        "import os\nfrom invoke import task\nfrom deploy_tasks.tasks import build\n"
        "@task\ndef ship(c, to):\n    with c.cd(to):\n        build(c)\n",
    )
    refused = services.invoke("ship", "services/api")
    assert refused.returncode == 2, refused.stderr
    api = services.folder / "services" / "api"
    assert f"this task works on {services.folder}, not on {api}. Nothing was sent." in refused.stderr
    assert sandbox.seen() == []
    assert services.invoke("--dry", "ship", str(services.folder)).returncode == 0


def test_a_shallow_clone_of_a_tag_is_built(project: Project, sandbox: SandboxProcess) -> None:
    project.git("checkout", "--quiet", "--detach")
    commit = project.commit("released")
    project.git("tag", "v1")
    project.git("push", "--quiet", "origin", "v1")
    clone = Project(project.folder.with_name("clone"), project.environment)
    project.git("clone", "--quiet", "--branch", "v1", "--depth", "1", f"file://{project.origin}", str(clone.folder))
    done = clone.invoke("build", "reuse")
    assert done.returncode == 0, done.stderr
    assert clone.record["gitRef"] == commit


def test_what_cannot_be_told_of_the_remote_is_a_warning(project: Project, sandbox: SandboxProcess) -> None:
    project.commit("only here")
    shutil.rmtree(project.origin)
    assert project.invoke("--dry", "build", CI="").returncode == 2
    dry = project.invoke("--dry", "build", CI="true")
    assert dry.returncode == 0, dry.stderr
    assert f"warning: this checkout cannot tell whether {project.origin} has commit" in dry.stderr


def test_the_advice_pushes_to_the_remote_that_the_cluster_clones(project: Project, sandbox: SandboxProcess) -> None:
    project.git("remote", "rename", "origin", "upstream")
    fork = project.folder.with_name("fork.git")
    project.git("clone", "--quiet", "--bare", str(project.origin), str(fork))
    project.git("remote", "add", "origin", str(fork))
    commit = project.commit("second")
    project.git("push", "--quiet", "--set-upstream", "origin", "main")
    refused = project.invoke("build", "--repo-url", str(project.origin))
    assert refused.returncode == 2, refused.stderr
    assert f"commit {commit[:12]} is on no branch of the remote" in refused.stderr
    assert "Push it (git push upstream HEAD)" in refused.stderr


@pytest.mark.parametrize(
    "task", [["reuse"], ["rollback"], ["wait"], ["build", "--if-needed"], ["--dry", "reuse"], ["history"]]
)
def test_state_that_came_with_the_repository_is_not_trusted(
    project: Project, sandbox: SandboxProcess, task: list[str]
) -> None:
    project.write_record({"app": "shop", "imageName": "shop", "buildId": DIGEST})
    project.git("add", "--force", ".deploy")
    project.commit("state")
    project.push()
    refused = project.invoke(*task)
    assert refused.returncode == 10, refused.stderr
    path = project.folder / ".deploy" / "build-id.json"
    assert f"{path} is tracked by git, so it may come from another machine. Nothing was sent." in refused.stderr
    assert f"git rm --cached {path}" in refused.stderr
    assert sandbox.seen() == []


def test_state_that_came_with_a_repository_of_another_user_is_not_trusted_either(
    project: Project, sandbox: SandboxProcess
) -> None:
    project.write_record({"app": "shop", "imageName": "shop", "buildId": DIGEST})
    project.git("add", "--force", ".deploy")
    refused = project.invoke("reuse", "--app", "shop", GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    assert refused.returncode == 10, refused.stderr
    assert "is tracked by git" in refused.stderr
    assert sandbox.seen() == []


def test_status_does_not_say_that_a_branch_is_head(project: Project, sandbox: SandboxProcess) -> None:
    project.git("branch", "feature/checkout")
    for ref in ("feature/checkout", f"--output={project.folder}/injected"):
        project.write_record({"app": "shop", "imageName": "shop", "imageTag": "v1", "gitRef": ref, "buildId": DIGEST})
        shown = project.invoke("status")
        assert shown.returncode == 0, shown.stderr
        assert f", built from {ref}\n" in shown.stdout
    assert list(project.folder.glob("injected*")) == []
    assert project.invoke("build").returncode == 0
    assert f"built from HEAD ({project.head[:7]})" in project.invoke("status").stdout


@pytest.mark.parametrize(
    "remote",
    ["ftp://u:{}@h/shop", "git+https://u:{}@h/shop", "u:{}@h:shop", "{}@h/shop", "https://h/shop?private_token={}"],
)
def test_a_password_in_the_remote_is_neither_shown_nor_sent(
    project: Project, sandbox: SandboxProcess, remote: str
) -> None:
    project.git("remote", "set-url", "origin", remote.format("s3cret-in-the-remote"))
    dry = project.invoke("--dry", "build", "--allow-unpushed")
    assert "s3cret" not in dry.stdout + dry.stderr
    done = project.invoke("digest", "--image-tag", "v1")
    assert "s3cret" not in done.stdout + done.stderr
    assert not any(b"s3cret" in text for text in project.files().values())


def test_nothing_of_this_checkout_is_asked_of_a_foreign_repository(services: Project, sandbox: SandboxProcess) -> None:
    foreign = ("--repo-url", "https://git.example.com/org/other")
    dry = services.invoke(
        "--dry", "build", *foreign, "--git-ref", "main", "--dockerfile", "k8s.Dockerfile", at="services/api"
    )
    assert dry.returncode == 0, dry.stderr
    request = dry_request(dry)
    assert (request["dockerfile"], request.get("buildContext")) == ("k8s.Dockerfile", None)
    services.write("invoke.yaml", "deploy: {apps: {one: {dockerfile: nowhere.Dockerfile}}}\n")
    for flags in (["--git-ref", "main"], []):
        dry = services.invoke("--dry", "build", *foreign, *flags)
        assert dry.returncode == 0, dry.stderr
    assert "no Dockerfile" in services.invoke("--dry", "build").stderr


def test_another_commit_than_head_is_built_without_a_word_of_uncommitted_changes(
    project: Project, sandbox: SandboxProcess
) -> None:
    earlier = project.head
    project.commit("second")
    project.push()
    project.write("page.html", "changed")
    assert "uncommitted" in project.invoke("--dry", "build").stderr
    assert "uncommitted" not in project.invoke("--dry", "build", "--git-ref", earlier).stderr


def test_another_namespace_than_the_recorded_one_is_warned_of_for_this_app_alone(
    project: Project, sandbox: SandboxProcess
) -> None:
    warning = "warning: shop was recorded in namespace legacy"
    recorded = {"app": "shop", "imageName": "shop", "namespace": "legacy", "buildId": DIGEST}
    project.write_record(recorded)
    assert warning in project.invoke("--dry", "build").stderr
    assert "was recorded in" not in project.invoke("--dry", "build", "--app", "other").stderr
    assert "was recorded in" not in project.invoke("--dry", "build", "--namespace", "chosen").stderr
    project.write_record({**recorded, "namespace": "non-business-apps"})
    assert "was recorded in" not in project.invoke("--dry", "build").stderr


def test_twelve_apps_of_one_commit_ask_git_for_its_age_once(
    project: Project, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    names = [f"app-{number}" for number in range(12)]
    project.write("invoke.yaml", f"deploy: {{apps: {{{', '.join(f'{name}: {{}}' for name in names)}}}}}\n")
    built = project.invoke("build", "--app", "all")
    assert built.returncode == 0, built.stderr
    counting, count = tmp_path / "counting" / "git", tmp_path / "gits"
    counting.parent.mkdir()
    counting.write_text(f'#!/bin/sh\necho "$*" >> {count}\nexec {shutil.which("git")} "$@"\n')
    counting.chmod(0o755)
    done = project.invoke("reuse", "--app", "all", PATH=f"{counting.parent}:{_PATH}")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in count.read_text().splitlines()]
    assert len(lines) == 2
    assert all(any(word in line for line in lines) for word in ("ls-files", "rev-list")), lines


def test_a_relative_remote_works_below_a_folder_with_an_umlaut_whatever_the_locale(
    project: Project, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    moved = project.copy(tmp_path / "Bücher" / "shop")
    moved.environment = project.environment
    moved.git("remote", "set-url", "origin", "../origin/shop.git")
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    dry = moved.invoke("--dry", "build", **ascii_only)
    assert dry.returncode == 0, dry.stderr
    assert '/origin/shop.git"' in dry.stderr


_PATH = clean_environment()["PATH"]
