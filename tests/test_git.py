"""What git knows, asked of real repositories."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy_tasks import remotes
from deploy_tasks.git import Checkout
from deploy_tasks.remotes import LOCAL_VARIABLES, clone_url
from tests.project import Project


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ("https://github.com/org/repo.git", "https://github.com/org/repo"),
        ("https://github.com/org/repo/", "https://github.com/org/repo"),
        ("https://x-access-token:s3cret@github.com/org/repo.git", "https://github.com/org/repo"),
        ("HTTPS://u:s3cr@et@github.com/org/repo.git", "https://github.com/org/repo"),
        ("https://github.com/org/repo.git?private_token=s3cret#s3cret", "https://github.com/org/repo"),
        ("https://git.example.com/team@emea/shop", "https://git.example.com/team@emea/shop"),
        ("https://[::1]:8443/org/repo", "https://[::1]:8443/org/repo"),
        ("https://git.example.com:8443/a/b/c.git", "https://git.example.com:8443/a/b/c"),
        ("http://git.example.com/org/repo", "http://git.example.com/org/repo"),
        ("git@github.com:org/repo.git", "https://github.com/org/repo"),
        ("github.com:org/repo", "https://github.com/org/repo"),
        ("git@host:/abs/repo.git", "https://host/abs/repo"),
        ("ssh://git@github.com/org/repo.git", "https://github.com/org/repo"),
        ("ssh://git@github.com:22/org/repo.git", "https://github.com/org/repo"),
        ("git+ssh://git@h/org/repo", "https://h/org/repo"),
        ("git://h/org/repo.git", "https://h/org/repo"),
        ("ssh://git:s3cret@github.com/org/repo?x=s3cret", "https://github.com/org/repo"),
        ("git@github.com:team@emea/shop.git", "https://github.com/team@emea/shop"),
        ("git@[::1]:org/repo", "https://[::1]/org/repo"),
        ("ssh://git@ssh.github.com:443/org/repo.git", "https://github.com/org/repo"),
        ("git@ssh.dev.azure.com:v3/org/project/repo", "https://dev.azure.com/org/project/_git/repo"),
        ("ssh://git@ssh.dev.azure.com/v3/org/project/repo", "https://dev.azure.com/org/project/_git/repo"),
        ("org@vs-ssh.visualstudio.com:v3/org/My%20Project/repo", "https://dev.azure.com/org/My%20Project/_git/repo"),
        ("ftp://u:s3cret@h/org/repo.git", "ftp://h/org/repo.git"),
        ("rsync://u:s3cret@h:8730/repo", "rsync://h:8730/repo"),
        ("git+https://u:s3cret@h/org/repo?t=s3cret", "git+https://h/org/repo"),
        ("file://u:s3cret@h/srv/repo.git", "file://h/srv/repo.git"),
        ("/srv/git/repo.git", "/srv/git/repo.git"),
        ("file:///srv/git/repo.git", "file:///srv/git/repo.git"),
        ("./odd:name", "./odd:name"),
        ("/srv/team@emea:x/repo.git", "/srv/team@emea:x/repo.git"),
    ],
)
def test_a_remote_as_the_cluster_can_clone_it(remote: str, url: str | None) -> None:
    assert clone_url(remote) == url


@pytest.mark.parametrize(
    "remote",
    [
        "https://u:s3cret",
        "https://s3cret",
        "https://u:s3/cret@github.com/org/repo",
        "https://u:12/s3cret@github.com/org/repo",
        "https://s3/cret@github.com/org/repo",
        "https://u:s3#cret@github.com/org/repo",
        "u:s3cret@github.com:org/repo",
        "u:s3/cret@github.com:org/repo",
        "s3cret@github.com/org/repo",
        "codecommit::us-east-1://s3cret@repo",
        "ext::sh -c s3cret",
        "ssh://-oProxyCommand=s3cret/org/repo",
        "ssh://-oProxyCommand=s3cret@github.com/org/repo",
        "ssh://git@-oProxyCommand=s3cret/org/repo",
        "-oProxyCommand=s3cret@github.com:org/repo",
        "https://github.com/org/repo\ns3cret",
    ],
)
def test_a_remote_that_may_hold_a_password_at_an_odd_place_is_no_url(remote: str) -> None:
    assert clone_url(remote) is None


def test_why_a_remote_is_no_url_is_told_without_it(project: Project) -> None:
    project.git("remote", "set-url", "origin", "u:s3cret@github.com:org/repo")
    checkout = Checkout(project.folder)
    assert (checkout.repo_url, checkout.app) == (None, "shop")
    assert checkout.trouble
    assert "the git remote origin cannot be sent" in checkout.trouble
    assert "s3cret" not in checkout.trouble


@pytest.fixture
def ssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The configuration of a real ssh, which is looked for first on the PATH."""
    config, program = tmp_path / "ssh_config", tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh") or "false"} -F {config} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    config.touch()
    return config


@pytest.mark.skipif(not shutil.which("ssh"), reason="there is no ssh here")
@pytest.mark.parametrize("remote", ["git@{}:me/shop.git", "ssh://git@{}/me/shop.git", "{}:me/shop"])
@pytest.mark.parametrize("alias", ["github-work", "github.com-work"])
def test_an_alias_of_ssh_is_the_host_that_it_stands_for(project: Project, ssh: Path, remote: str, alias: str) -> None:
    ssh.write_text(f"Host {alias}\n  HostName github.com\n")
    project.git("remote", "set-url", "origin", remote.format(alias))
    assert Checkout(project.folder).repo_url == "https://github.com/me/shop"


@pytest.mark.parametrize(("host", "url"), [("github-work", None), ("github.com", "https://github.com/me/shop")])
def test_without_ssh_only_a_host_with_a_dot_is_taken_for_one(
    project: Project, ssh: Path, host: str, url: str | None
) -> None:
    ssh.parent.joinpath("bin", "ssh").write_text("#!/bin/sh\nexit 127\n")
    project.git("remote", "set-url", "origin", f"git@{host}:me/shop")
    assert Checkout(project.folder).repo_url == url


def test_what_says_which_repository_is_what_git_says(project: Project) -> None:
    kept = {"GIT_CONFIG_COUNT"}  # settings for any repository, such as safe.directory
    assert {*project.git("rev-parse", "--local-env-vars").split()} - kept <= {*LOCAL_VARIABLES}


def test_another_repository_in_the_environment_is_not_asked(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = project.copy(tmp_path / "other" / "shop")
    other.commit("of the other")
    for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"):
        monkeypatch.setenv(variable, str(other.folder / ".git"))
    checkout = Checkout(project.folder)
    assert (checkout.commit, checkout.dirty, checkout.prefix) == (project.head, False, "")


def test_asking_leaves_the_index_as_it_is(project: Project) -> None:
    index = project.folder / ".git" / "index"
    (project.folder / "page.html").touch()  # which git notes in its index when it may
    before = index.read_bytes()
    assert not Checkout(project.folder).dirty
    assert index.read_bytes() == before


def test_a_monitor_that_the_checkout_names_is_not_run(project: Project, tmp_path: Path) -> None:
    monitor, ran = tmp_path / "monitor", tmp_path / "ran"
    monitor.write_text(f"#!/bin/sh\ntouch {ran}\n")
    monitor.chmod(0o755)
    project.git("config", "core.fsmonitor", str(monitor))
    checkout = Checkout(project.folder)
    assert not checkout.dirty
    assert checkout.tracked([project.folder / "page.html"])
    assert not ran.exists()


def test_the_facts_of_a_pushed_checkout(project: Project) -> None:
    checkout = Checkout(project.folder)
    assert checkout.commit == project.head
    assert checkout.repo_url == str(project.origin)
    assert checkout.app == "shop"
    assert not checkout.dirty
    assert checkout.pushed(project.head)


def test_a_new_commit_is_not_pushed(project: Project) -> None:
    assert not Checkout(project.folder).pushed(project.commit("second"))


@pytest.mark.parametrize("name", ["page.html", "untracked"])
def test_a_changed_and_a_new_file_make_it_dirty(project: Project, name: str) -> None:
    project.write(name, "changed")
    assert Checkout(project.folder).dirty


def test_an_ignored_file_does_not_make_it_dirty(project: Project) -> None:
    project.write(".env", "X=y")
    assert not Checkout(project.folder).dirty


def test_the_remote_of_the_branch_goes_before_origin(project: Project) -> None:
    project.git("remote", "add", "fork", "git@github.com:me/my_fork.git")
    project.git("config", "branch.main.remote", "fork")
    assert Checkout(project.folder).repo_url == "https://github.com/me/my_fork"
    assert Checkout(project.folder).app == "my-fork"


def test_a_remote_that_is_a_relative_path_is_made_whole(project: Project) -> None:
    project.git("remote", "set-url", "origin", "../origin/shop.git")
    (project.folder / "sub").mkdir()
    assert Checkout(project.folder / "sub").repo_url == str(project.origin)


def test_a_relative_remote_leads_from_a_folder_with_any_name(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "resolve", None)  # in an ASCII locale, no path with an umlaut can be resolved
    moved = project.copy(tmp_path / "Bücher" / "shop")
    moved.git("remote", "set-url", "origin", "../origin/shop.git")
    assert Checkout(moved.folder).repo_url == str(moved.origin)


def test_without_a_remote_the_folder_names_the_app(project: Project) -> None:
    project.git("remote", "remove", "origin")
    checkout = Checkout(project.folder)
    assert (checkout.repo_url, checkout.app) == (None, "shop")


def test_in_a_sub_folder_that_folder_names_the_app(project: Project) -> None:
    for place in ("services/Api_v2", "services/web"):
        project.write(f"{place}/tasks.py", "from deploy_tasks import ns\n")
    assert Checkout(project.folder / "services" / "Api_v2").app == "api-v2"
    assert Checkout(project.folder / "services" / "web").app == "web"


@pytest.mark.parametrize("other", ["tools/api/tasks.py", "old/API/tasks/__init__.py"])
def test_two_sub_folders_of_one_name_name_no_app(project: Project, other: str) -> None:
    project.write("services/api/tasks.py", "from deploy_tasks import ns\n")
    project.write("services/api/celery/api/tasks.py", "")  # somebody else's tasks
    checkout = Checkout(project.folder / "services" / "api")
    assert checkout.app == "api"
    project.write(other, "from deploy_tasks import ns\n")
    checkout = Checkout(project.folder / "services" / "api")
    assert (checkout.app, checkout.name) == (None, "api")
    place = other.removesuffix("tasks.py").removesuffix("tasks/__init__.py")
    assert checkout.trouble == f"{place} and services/api/ would both be app api"


def test_a_sub_folder_called_like_the_repository_names_no_app(project: Project) -> None:
    project.write("services/shop/tasks.py", "from deploy_tasks import ns\n")
    assert Checkout(project.folder / "services" / "shop").app is None


def test_a_folder_that_is_no_checkout_has_no_facts(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    assert (checkout.commit, checkout.repo_url, checkout.app, checkout.dirty) == (None, None, None, False)


def test_without_git_there_are_no_facts(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert Checkout(project.folder).commit is None


def test_git_sees_no_setting_of_ours(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nenv | grep DEPLOY_ || echo none\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    monkeypatch.setenv("DEPLOY_API_KEY", "s3cret")
    assert Checkout(project.folder).commit == "none"


# --- pushed ---------------------------------------------------------------------------------------------------------


def clone_of(project: Project, name: str, *options: str) -> Project:
    clone = Project(project.folder.with_name(name))
    project.git("clone", "--quiet", *options, f"file://{project.origin}", str(clone.folder))
    return clone


@pytest.fixture
def only_a_tag(project: Project) -> str:
    """The commit of the tag `v1`, which is on no branch of the remote."""
    project.git("checkout", "--quiet", "--detach")
    commit = project.commit("released")
    project.git("tag", "--annotate", "--message", "v1", "v1")
    project.git("push", "--quiet", "origin", "v1")
    project.git("checkout", "--quiet", "main")
    return commit


def test_the_commit_of_a_tag_of_the_remote_is_pushed(project: Project, only_a_tag: str) -> None:
    assert Checkout(project.folder).pushed(only_a_tag)


@pytest.mark.parametrize("options", [["--depth", "1"], []])
def test_a_clone_of_a_tag_is_pushed(project: Project, only_a_tag: str, options: list[str]) -> None:
    clone = clone_of(project, "tag", "--branch", "v1", *options)
    assert clone.head == only_a_tag
    assert Checkout(clone.folder).pushed(only_a_tag)


def test_what_a_tag_is_based_on_is_pushed(project: Project, only_a_tag: str) -> None:
    project.git("checkout", "--quiet", "v1")
    commit = project.commit("after it")
    project.git("tag", "v2", project.commit("and after that"))
    assert Checkout(project.folder).pushed(commit) is False, "the tag is only here"
    project.git("push", "--quiet", "origin", "v2")
    assert Checkout(project.folder).pushed(commit)


@pytest.mark.parametrize(
    "fetched", ["refs/remotes/pull/7/merge", "refs/pull/7/merge", "refs/pipelines/12", "refs/merge-requests/3/head"]
)
def test_what_ci_fetched_is_pushed(project: Project, fetched: str) -> None:
    project.git("checkout", "--quiet", "--detach")
    commit = project.commit("a merge that CI builds")
    assert Checkout(project.folder).pushed(commit) is False
    project.git("update-ref", fetched, commit)
    assert Checkout(project.folder).pushed(commit)


def test_of_a_fetched_commit_a_shallow_checkout_cannot_tell(project: Project) -> None:
    commit = project.commit("between")
    project.commit("newest")
    project.push()
    clone = Project(project.folder.with_name("ci"))
    clone.folder.mkdir()
    clone.git("init", "--quiet", "--template=")
    clone.git("remote", "add", "origin", f"file://{project.origin}")
    project.git("--git-dir", str(project.origin), "config", "uploadpack.allowAnySHA1InWant", "true")
    clone.git("fetch", "--quiet", "--depth", "1", "origin", commit)
    clone.git("checkout", "--quiet", "FETCH_HEAD")
    assert Checkout(clone.folder).pushed(commit) is None


@pytest.mark.parametrize(("ci", "pushed"), [("", False), ("true", None)])
def test_of_a_remote_that_does_not_answer_only_ci_cannot_tell(
    project: Project, monkeypatch: pytest.MonkeyPatch, ci: str, pushed: bool | None
) -> None:
    monkeypatch.setenv("CI", ci)
    commit = project.commit("second")
    assert Checkout(project.folder).pushed(commit) is False, "the remote answers"
    shutil.rmtree(project.origin)
    assert Checkout(project.folder).pushed(commit) is pushed


def test_a_remote_that_never_answers_is_not_waited_for(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remotes, "_SECONDS", 0.2)
    program = project.write("../hangs", "#!/bin/sh\nexec 2>&-\nsleep 1000 & wait\n")
    program.chmod(0o755)
    monkeypatch.setenv("GIT_SSH", str(program))
    project.git("remote", "set-url", "origin", "ssh://git@git.example.com/shop")
    assert Checkout(project.folder).pushed(project.commit("second")) is False


def test_a_program_that_the_checkout_names_does_not_reach_the_remote(project: Project, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    project.git("remote", "set-url", "origin", "ssh://git@127.0.0.1:1/shop")
    project.git("config", "core.sshCommand", f"touch {ran}; false")
    assert Checkout(project.folder).pushed(project.commit("second")) is False
    assert not ran.exists()


def test_the_remote_that_the_cluster_clones_must_have_the_commit(project: Project) -> None:
    fork = project.folder.with_name("fork.git")
    project.git("clone", "--quiet", "--bare", str(project.origin), str(fork))
    project.git("remote", "add", "fork", str(fork))
    commit = project.commit("for the fork")
    project.git("push", "--quiet", "--set-upstream", "fork", "main")
    checkout = Checkout(project.folder)
    assert checkout.pushed(commit)
    assert checkout.pushed(commit, str(project.origin)) is False
    assert checkout.how_to_push(commit, str(project.origin)) == "git push origin HEAD"
    assert (
        checkout.how_to_push(commit, "https://git.example.com/x") == "to a branch or a tag of https://git.example.com/x"
    )
    project.git("checkout", "--quiet", "--detach")
    assert Checkout(project.folder).how_to_push(commit, str(project.origin)) == "to a branch or a tag of origin"


# --- state that came with the repository ----------------------------------------------------------------------------


@pytest.mark.parametrize("folder", [".deploy", ".", "state[1]", ".Deploy"])
def test_a_state_file_that_git_tracks_is_found(project: Project, folder: str) -> None:
    place = project.write(f"{folder}/build-id.json", "{}").parent
    paths = [place / "history.jsonl", place / "build-id.json"]
    assert Checkout(project.folder).tracked(paths) == []
    project.git("add", "--force", "--all")
    assert Checkout(project.folder).tracked(paths) == [place / "build-id.json"]


def test_a_state_folder_that_is_a_submodule_is_found(project: Project) -> None:
    inner = Project.make(project.folder.with_name("state"), {"build-id.json": "{}"})
    options = ("-c", "protocol.file.allow=always")
    project.git(*options, "submodule", "--quiet", "add", str(inner.origin), ".deploy")
    path = project.folder / ".deploy" / "build-id.json"
    assert path.exists()
    assert Checkout(project.folder).tracked([path]) == [path]


def test_a_state_file_elsewhere_is_not_of_the_repository(project: Project, tmp_path: Path) -> None:
    checkout = Checkout(project.folder)
    assert checkout.tracked([tmp_path / "elsewhere" / "build-id.json"]) == []
    assert checkout.trouble is None


# --- between --------------------------------------------------------------------------------------------------------


def test_what_is_no_commit_is_not_asked_for(project: Project, tmp_path: Path) -> None:
    project.git("branch", "feature/checkout")
    checkout = Checkout(project.folder)
    for ref in ("feature/checkout", f"--output={tmp_path}/x", "HEAD", project.head[:7]):
        assert checkout.since(ref) is None
        assert not checkout.knows(ref)
    assert list(tmp_path.glob("x*")) == []


def test_threads_that_want_one_fact_start_one_git(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = count_git(tmp_path, monkeypatch)
    checkout, commit = Checkout(project.folder), project.head

    count.write_text("")
    with ThreadPoolExecutor(12) as threads:
        found = list(threads.map(checkout.since, 12 * [commit]))
    assert found == 12 * [([], [])]
    assert count.read_text().count("rev-list") == 1


def count_git(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes every git of this test write its arguments as a line of the file that is returned."""
    program, count = folder / "counting" / "git", folder / "gits"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$*" >> {count}\nexec {shutil.which("git")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return count


def test_the_commits_between_two_are_those_of_one_side_each(project: Project) -> None:
    base = project.head
    one = [project.commit(subject) for subject in ("first of one", "second of one\n\nA body, and more of it")]
    project.git("checkout", "--quiet", base)
    other = project.commit("only\u2028line\x85of other")
    between = Checkout(project.folder).between(one[1], other)
    assert between is not None
    assert between.only_in_one == [f"{one[1]} second of one", f"{one[0]} first of one"]
    assert between.only_in_other == [f"{other} only\u2028line\x85of other"]
    assert Checkout(project.folder).between(base, one[1]) == ([], [f"{one[1]} second of one", f"{one[0]} first of one"])
    assert Checkout(project.folder).between(base, base) == ([], [])


def test_the_commits_between_are_listed_whatever_the_users_git_shows(project: Project) -> None:
    base = project.head
    head = project.commit("subject")
    for setting in ("log.showSignature=true", "core.abbrev=5", "color.ui=always", "format.pretty=fuller"):
        project.git("config", *setting.split("="))
    assert Checkout(project.folder).between(base, head) == ([], [f"{head} subject"])


@pytest.mark.parametrize("ref", ["main", "HEAD", 40 * "a", "--all"])
def test_what_is_no_commit_here_has_none_between(project: Project, ref: str) -> None:
    assert Checkout(project.folder).between(project.head, ref) is None
    assert Checkout(project.folder).between(ref, project.head) is None
