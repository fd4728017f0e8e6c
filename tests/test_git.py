"""What git knows, asked of real repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy_tasks.git import Checkout, clone_url
from tests.project import Project


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ("https://github.com/org/repo.git", "https://github.com/org/repo"),
        ("https://github.com/org/repo/", "https://github.com/org/repo"),
        ("https://x-access-token:s3cret@github.com/org/repo.git", "https://github.com/org/repo"),
        ("HTTPS://u:s3/cr@et@github.com/org/repo.git", "https://github.com/org/repo"),
        ("https://u:s3cret", None),
        ("https://git.example.com:8443/a/b/c.git", "https://git.example.com:8443/a/b/c"),
        ("http://git.example.com/org/repo", "http://git.example.com/org/repo"),
        ("git@github.com:org/repo.git", "https://github.com/org/repo"),
        ("github.com:org/repo", "https://github.com/org/repo"),
        ("git@host:/abs/repo.git", "https://host/abs/repo"),
        ("ssh://git@github.com/org/repo.git", "https://github.com/org/repo"),
        ("ssh://git@github.com:22/org/repo.git", "https://github.com/org/repo"),
        ("git+ssh://git@h/org/repo", "https://h/org/repo"),
        ("git://h/org/repo.git", "https://h/org/repo"),
        ("/srv/git/repo.git", "/srv/git/repo.git"),
        ("file:///srv/git/repo.git", "file:///srv/git/repo.git"),
        ("./odd:name", "./odd:name"),
    ],
)
def test_a_remote_as_the_cluster_can_clone_it(remote: str, url: str | None) -> None:
    assert clone_url(remote) == url


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


def test_without_a_remote_the_folder_names_the_app(project: Project) -> None:
    project.git("remote", "remove", "origin")
    (project.folder / "sub").mkdir()
    checkout = Checkout(project.folder / "sub")
    assert (checkout.repo_url, checkout.app) == (None, "shop")


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
