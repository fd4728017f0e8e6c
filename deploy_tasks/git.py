"""What git knows of a checkout, so that it is not asked: repository URL, commit, dirty, pushed."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import suppress
from pathlib import Path

from .images import as_label

# git needs no setting of ours, and no hook or helper of git's is handed a key.
_OURS = ("DEPLOY_", "INVOKE_DEPLOY_")
_SCP_FORM = r"(?:[^@/:]+@)?(?P<host>[^/:@]{2,}):(?!//)(?P<path>.+)"
_URL_FORM = r"(?P<scheme>[A-Za-z][A-Za-z0-9+]*)://(?:.*@)?(?P<host>[^/:]+|\[[^\]]+\])(?::(?P<port>\d+))?/(?P<path>.+)"


class Checkout:
    """The git checkout around `folder`; each fact is asked for once, and is None where git does not know it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._answers: dict[tuple[str, ...], str | None] = {}
        self._asked: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}
        self.trouble: str | None = None
        """Why git could not be asked, in a line, where it could not."""

    @property
    def commit(self) -> str | None:
        """The commit of HEAD, 40 hex digits."""
        return self._ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}")

    @property
    def repo_url(self) -> str | None:
        """The remote as a cluster can clone it: https for ssh forms, never with a user or a password in it."""
        url = self._ask("remote", "get-url", self._remote) if self._remote else None
        if url and url.startswith("."):
            # A path from the top of this checkout on; to anybody else it would lead elsewhere.
            url = str((Path(self._ask("rev-parse", "--show-toplevel") or self.folder) / url).resolve())
        return clone_url(url) if url else None

    @property
    def prefix(self) -> str:
        """Where `folder` lies in the repository: "" at its top, else a path that ends with `/`."""
        return self._ask("rev-parse", "--show-prefix") or ""

    @property
    def _remote(self) -> str | None:
        """The name of the remote of the current branch, else `origin`, else the first."""
        branch = self._ask("symbolic-ref", "--quiet", "--short", "HEAD")
        upstream = self._ask("config", f"branch.{branch}.remote") if branch else None
        names = (self._ask("remote") or "").split()
        return upstream if upstream in names else "origin" if "origin" in names else next(iter(names), None)

    @property
    def app(self) -> str | None:
        """The repository's name as a Kubernetes name; without a remote, the name of its folder."""
        top = self._ask("rev-parse", "--show-toplevel")
        name = self.repo_url or top
        return as_label(name.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git")) if name else None

    @property
    def dirty(self) -> bool:
        """Whether the working tree differs from HEAD; files that git does not track count, ignored ones do not."""
        return bool(self._ask("status", "--porcelain"))

    def ask_for_age(self, commit: str) -> None:
        """Lets git find out what `age` will say, while something else is done; `age` is to be called then."""
        arguments = _age_of(commit)
        if arguments not in self._answers:
            with suppress(OSError):
                self._asked[arguments] = self._start(*arguments)

    def age(self, commit: str) -> str | None:
        """How `commit` relates to HEAD, in words; None where either is not in this checkout."""
        # One git for all of it: the commits on either side, HEAD's first; none where they are the same.
        listed = self._said(*_age_of(commit))
        if not listed:
            return None if listed is None else f"built from HEAD ({commit[:7]})"
        since = [line[1:8] for line in listed.split() if line.startswith(">")]
        if len(since) < len(listed.split()):
            return f"built from {commit[:7]}, which is not among the commits of HEAD ({(self.commit or '')[:7]})"
        return f"built {len(since)} commit{'s' * (len(since) > 1)} ago ({commit[:7]} → HEAD {since[0]})"

    def ignores(self, path: str) -> bool:
        """Whether git passes over `path`, from `folder` on, be it there or not."""
        return self._ask("check-ignore", "--no-index", path) is not None

    def knows(self, commit: str) -> bool:
        """Whether `commit` is in this checkout."""
        return self._ask("cat-file", "-t", commit) == "commit"

    def has(self, commit: str, path: str) -> bool:
        """Whether `path`, from `folder` on, is a file of `commit`."""
        return self._ask("cat-file", "-t", f"{commit}:./{path}") == "blob"

    def pushed(self, commit: str) -> bool:
        """Whether a branch of the remote holds `commit`, as far as the last fetch or push told. Where CI checks out a
        pull request, its merge is the remote's too, under `pull/`."""
        branches = (
            self._ask("branch", "--remotes", "--format=%(refname:lstrip=2)", "--contains", commit) or ""
        ).split()
        return any(branch.startswith((f"{self._remote}/", "pull/")) for branch in branches)

    def _ask(self, *arguments: str) -> str | None:
        return self._said(*arguments) or None

    def _said(self, *arguments: str) -> str | None:
        """What git says to `arguments`; None where it fails."""
        if arguments not in self._answers:
            self._answers[arguments] = self._run(*arguments)
        return self._answers[arguments]

    def _run(self, *arguments: str) -> str | None:
        try:
            with self._asked.pop(arguments, None) or self._start(*arguments) as git:
                answer, complaint = git.communicate()
        except OSError as error:
            self.trouble = f"git cannot be run ({error.strerror})"
            return None
        if git.returncode:
            said = complaint.decode(errors="replace").strip().partition("\n")[0]
            self.trouble = self.trouble or (f"git says: {said}" if said else None)
            return None
        return answer.decode(errors="replace").strip()

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}
        return subprocess.Popen(
            ["git", "-C", str(self.folder), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment, "GIT_OPTIONAL_LOCKS": "0"},
        )


def _age_of(commit: str) -> tuple[str, ...]:
    return ("rev-list", "--left-right", f"{commit}...HEAD")


def clone_url(remote: str) -> str | None:
    """`git@host:org/repo.git` and `ssh://…` as `https://host/org/repo`; userinfo dropped; paths are left alone.

    A web address that cannot be taken apart is None: it may hold a password.

    >>> clone_url("git@github.com:org/repo.git")
    'https://github.com/org/repo'
    """
    url = re.fullmatch(_URL_FORM, remote)
    scheme = url["scheme"].lower() if url else ""
    if url and scheme in ("http", "https"):
        port = f":{url['port']}" if url["port"] else ""
        return f"{scheme}://{url['host']}{port}/{_without_suffix(url['path'])}"
    if url and scheme in ("ssh", "git+ssh", "git"):
        return f"https://{url['host']}/{_without_suffix(url['path'])}"
    scp = None if url or remote.startswith(("/", ".", "file:")) else re.fullmatch(_SCP_FORM, remote)
    if scp:
        return f"https://{scp['host']}/{_without_suffix(scp['path'].lstrip('/'))}"
    return None if remote.lower().startswith("http") else remote


def _without_suffix(path: str) -> str:
    return path.rstrip("/").removesuffix(".git")
