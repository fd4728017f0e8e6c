"""What git knows about a checkout: repository URL, commit, uncommitted changes, and whether the remote has a commit."""

from __future__ import annotations

import glob
import os
import posixpath
import re
import shlex
import subprocess
from collections.abc import Callable, Collection
from functools import cache, cached_property, partial
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import NamedTuple

from msgspec import Struct, field

from .images import as_label, is_commit
from .remotes import clone_url, environment, refs_of, ssh_host, without_suffix

# Queries change nothing, download nothing, and do not run the file system monitor of the checkout's configuration.
_QUIETLY = ("-c", "core.fsmonitor=false")
_READ_ONLY = {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1"}
# Lets git answer about the checkout of another user, for example in a container. Only for queries that run no program
# of the checkout's configuration.
_OF_ANY_OWNER = ("-c", "safe.directory=*")
# Fetched refs other than the remote's branches. Sources: actions/checkout (refs/remotes/pull),
# GitLab's runner (refs/pipelines, refs/merge-requests), GitHub (refs/pull).
_FETCHED = ("refs/remotes/pull/", "refs/pull/", "refs/pipelines/", "refs/merge-requests/")


def top_of(folder: Path) -> Path | None:
    """The top of the checkout around `folder`, or None. Does not run git."""
    places = (folder, *folder.parents)
    return next((place for place in places if (place / ".git").is_file() or (place / ".git" / "HEAD").exists()), None)


class Between(NamedTuple):
    """The commits that only one of two refs has, newest first. Each is a hash, a space, and a subject."""

    only_in_one: list[str]
    only_in_other: list[str]


def counted(commits: int) -> str:
    """`1 commit`, `2 commits`."""
    return f"{commits} commit{'s' * (commits != 1)}"


class Checkout(Struct, eq=False, dict=True):
    """The git checkout around `folder`. Each query runs git once; threads can share the object. A property is None if
    git does not know it; `trouble` may say why, in one line."""

    folder: Path
    trouble: str | None = None
    _answers: dict[tuple[str, ...], str | None] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)
    _ssh_host: Callable[[str], str | None] = field(default_factory=partial(cache, ssh_host))
    _refs_of: Callable[[str, str], set[str] | None] = field(default_factory=partial(cache, refs_of))

    @property
    def commit(self) -> str | None:
        """The commit of HEAD."""
        return self._ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}")

    @property
    def dirty(self) -> bool:
        """Whether the working tree differs from HEAD. Untracked files count, even if the user's configuration hides
        them from `git status`; ignored files do not. True if git cannot tell."""
        everything = ("--untracked-files=normal", "--ignore-submodules=none")
        return self.commit is not None and self._ask("status", "--porcelain", *everything) != ""

    @property
    def repo_url(self) -> str | None:
        """The remote's URL in a form that a cluster can clone: https in place of ssh, without user and password."""
        if self.remote is None:
            return None
        url = clone_url(self._remotes[self.remote], self._ssh_host)
        if url is None:
            self.trouble = f"the URL of the git remote {self.remote} cannot be sent, because it may hold a password or "
            self.trouble += "its host is unknown. Set DEPLOY_REPO_URL"
        return url

    @property
    def remote(self) -> str | None:
        """The name of the remote of the current branch, else `origin`, else the first."""
        upstream = self._ask("config", f"branch.{self._branch}.remote") if self._branch else None
        names = list(self._remotes)
        return upstream if upstream in names else "origin" if "origin" in names else next(iter(names), None)

    @property
    def _branch(self) -> str | None:
        return self._ask("symbolic-ref", "--quiet", "--short", "HEAD")

    @cached_property
    def _remotes(self) -> dict[str, str]:
        """The URL of each remote. A path relative to the top of the checkout becomes absolute."""
        listed = re.findall(r"^(.+)\t(.+) \(fetch\)", self._ask("remote", "--verbose") or "", re.MULTILINE)
        return {name: posixpath.normpath(f"{self._place[0]}/{url}") if url[0] == "." else url for name, url in listed}

    def remote_at(self, repo_url: str) -> str | None:
        """The name of the remote at `repo_url`, which may be in another form (ssh, https), or None."""

        def place(url: str) -> str:
            return without_suffix(clone_url(url, self._ssh_host) or url)

        names = dict.fromkeys([*([self.remote] if self.remote else []), *self._remotes])
        return next((name for name in names if place(self._remotes[name]) == place(repo_url)), None)

    @property
    def prefix(self) -> str:
        """The path of `folder` in the repository: "" at its top, otherwise with a trailing `/`."""
        return self._place[1]

    @property
    def _place(self) -> tuple[str, str]:
        top, _, prefix = (self._ask("rev-parse", "--show-toplevel", "--show-prefix") or "").partition("\n")
        return top, prefix

    @property
    def name(self) -> str | None:
        """The name of the repository as a Kubernetes name; in a subfolder, the folder's name."""
        return self._name_at(self.prefix)

    @property
    def app(self) -> str | None:
        """`name`, or None if another project of this repository has the same name: their deploys would replace each
        other."""
        name, prefix = self.name, self.prefix
        patterns = (":(top,glob)**/tasks.py", ":(top,glob)**/tasks/__init__.py")
        options = ("--untracked", "--no-recurse-submodules", "--no-color", "--full-name", "-lzF")
        projects = self._ask("grep", *options, "deploy_tasks", "--", *patterns) if prefix else None
        for path in projects.split("\0") if projects else ():
            place = path.removesuffix("tasks.py").removesuffix("tasks/__init__.py")
            if path and place != prefix and self._name_at(place) == name:
                self.trouble = f"{place or 'the repository'} and {prefix} would both be app {name}"
                return None
        return name

    def _name_at(self, place: str) -> str | None:
        if place:
            return as_label(PurePosixPath(place).name)
        # Without a remote, the name of the top folder.
        url = (clone_url(self._remotes[self.remote]) if self.remote else None) or self._place[0]
        return as_label(without_suffix(url).rpartition("/")[2])

    def between(self, one: str | None, other: str | None) -> Between | None:
        """The commits between `one` and `other`; None unless both are commits in this checkout."""
        return self._between(one, other) if is_commit(one) and is_commit(other) else None

    def since(self, commit: str | None) -> Between | None:
        """The commits between `commit` and HEAD; None unless it is a commit in this checkout."""
        return self._between(commit, "HEAD") if is_commit(commit) else None

    def _between(self, one: str, other: str) -> Between | None:
        options = ("--left-right", "--pretty=oneline", "--no-abbrev-commit", "--end-of-options")
        listed = self._ask("rev-list", *options, f"{one}...{other}")
        if listed is None:
            return None
        # Each line begins with the side that has the commit. `splitlines` would also split at other line separators,
        # which a subject may contain.
        lines = [line for line in listed.split("\n") if line]
        return Between(*([line[1:] for line in lines if line[0] == side] for side in "<>"))

    def tracked(self, paths: Collection[Path]) -> list[Path]:
        """The files of `paths`, all in one folder, that git tracks."""
        folder = next(iter(paths)).parent if paths else Path("/")
        if top_of(self.folder) not in (folder.resolve(), *folder.resolve().parents):
            return []
        place = glob.escape(os.path.relpath(folder, self.folder))
        # On some file systems `.Deploy` and `.deploy` are the same. A folder that git lists as a file is a submodule
        # or a link.
        patterns = [f":(icase,glob){pattern}" for pattern in (("*",) if place == "." else (place, f"{place}/*"))]
        listed = self._ask(*_OF_ANY_OWNER, "ls-files", "-z", "--", *patterns) or ""
        names = {name.rpartition("/")[2].casefold() for name in listed.split("\0")}
        return [path for path in paths if {path.name.casefold(), path.parent.name.casefold()} & names]

    def ignores(self, path: str) -> bool:
        """Whether git ignores `path`, relative to `folder`. It need not exist."""
        return self._ask("check-ignore", "--no-index", path) is not None

    def knows(self, commit: str) -> bool:
        """Whether `commit` is in this checkout."""
        return is_commit(commit) and self._ask("cat-file", "-t", commit) == "commit"

    def has(self, commit: str, path: str) -> bool:
        """Whether `path`, relative to `folder`, is a file of `commit`."""
        return is_commit(commit) and self._ask("cat-file", "-t", f"{commit}:./{path}") == "blob"

    def pushed(self, commit: str, repo_url: str | None = None) -> bool | None:
        """Whether a ref of the remote at `repo_url` contains `commit`, according to the last fetch or push, or else to
        the remote itself. None if neither can tell: a shallow checkout lacks refs, and CI may lack credentials."""
        if not is_commit(commit):
            return None
        remote = (self.remote_at(repo_url) if repo_url else None) or self.remote
        if self._refs_with(commit, *_FETCHED, *([f"refs/remotes/{remote}/"] if remote else [])):
            return True
        if remote is None:
            return False
        listed = self._refs_of(remote, self._remotes[remote])
        if listed and (commit in listed or listed.intersection(self._refs_with(commit))):
            return True
        is_shallow = self._ask("rev-parse", "--is-shallow-repository") == "true"
        return None if is_shallow or (listed is None and os.environ.get("CI")) else False

    def how_to_push(self, commit: str, repo_url: str) -> str:
        """How to push `commit` to `repo_url`: a command for HEAD, otherwise words."""
        remote = self.remote_at(repo_url)
        if remote and commit == self.commit and self._branch:
            return f"git push {shlex.quote(remote)} HEAD"
        return f"to a branch or a tag of {remote or repo_url}"

    def _refs_with(self, commit: str, *patterns: str) -> list[str]:
        """The targets of the local refs that contain `commit`."""
        arguments = ("--format=%(objectname)", f"--contains={commit}", *patterns)
        return (self._ask("for-each-ref", *arguments) or "").split()

    def _ask(self, *question: str) -> str | None:
        """The output of git, stripped; None if it fails."""
        with self._lock:
            if question in self._answers:
                return self._answers[question]
            command = ["git", *_QUIETLY, "-C", str(self.folder), *question]
            variables, answer = {**environment(), **_READ_ONLY}, None
            try:
                git = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=variables)
                if git.returncode == 0:
                    answer = git.stdout.decode(errors="replace").strip()
                elif reason := git.stderr.decode(errors="replace").strip().partition("\n")[0]:
                    self.trouble = self.trouble or f"git says: {reason}"
            except OSError as error:
                self.trouble = f"git cannot be run ({error.strerror})"
            self._answers[question] = answer
            return answer
