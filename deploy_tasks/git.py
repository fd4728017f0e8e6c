"""What git knows of a checkout: repository URL, commit, uncommitted changes, and whether the remote has a commit."""

from __future__ import annotations

import glob
import os
import posixpath
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from threading import Lock
from urllib.parse import urlsplit

from .images import as_label, is_commit

# git needs none of these settings, and its hooks and helpers get no key.
_OURS = ("DEPLOY_", "INVOKE_DEPLOY_")
# They say which repository git works on. In a hook they name the hook's repository, which may be another one.
# Source: `git rev-parse --local-env-vars`, git 2.39; without GIT_CONFIG_COUNT, by which CI sets safe.directory.
LOCAL_VARIABLES = (
    *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS"),
    *("GIT_OBJECT_DIRECTORY", "GIT_DIR", "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE"),
    *("GIT_INDEX_FILE", "GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE", "GIT_PREFIX"),
    *("GIT_INTERNAL_SUPER_PREFIX", "GIT_SHALLOW_FILE", "GIT_COMMON_DIR"),
)
# Asking changes nothing, downloads nothing, and runs no file system monitor that a checkout's configuration names.
_QUIETLY = ("-c", "core.fsmonitor=false")
# For a question that runs nothing which a checkout's configuration names. Otherwise git answers none about another
# user's checkout, such as a container's root has.
_OF_ANY_OWNER = ("-c", "safe.directory=*")
_READ_ONLY = {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1"}
_SECONDS_OF_REMOTE = 10.0
# Refs that are fetched and never made by hand, beside those of the remote's branches. Sources: actions/checkout
# (refs/remotes/pull), GitLab's runner (refs/pipelines, refs/merge-requests), GitHub (refs/pull).
_FETCHED = ("refs/remotes/pull/", "refs/pull/", "refs/pipelines/", "refs/merge-requests/")
# As git tells a URL from `[user@]host:path`, and that from a path (connect.c, url_is_local_not_ssh).
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://.*")
_SCP_FORM = re.compile(r"(?P<user>[^@/:-][^@/:]*@)?(?P<host>[A-Za-z0-9][^@/:]+|\[[0-9A-Fa-f:]+\]):(?P<path>[^:].*)")
# Where an ssh host is not the host of its web addresses: ssh over port 443, and Azure.
_WEB_HOSTS = {
    "ssh.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
}
_AZURE = re.compile(r"(?:ssh\.dev\.azure|vs-ssh\.visualstudio)\.com/v3/([^/]+)/([^/]+)/([^/]+)")


def top_of(folder: Path) -> Path | None:
    """The top of the checkout that `folder` lies in, or None where it lies in none. No git is run for it."""
    places = (folder, *folder.parents)
    return next((place for place in places if (place / ".git").is_file() or (place / ".git" / "HEAD").exists()), None)


class Checkout:
    """The git checkout around `folder`. Each fact is asked for once, by any number of threads, and is None where git
    does not know it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._answers: dict[tuple[str, ...], str | None] = {}
        self._asked: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}
        self._lock = Lock()
        self.trouble: str | None = None
        """Why git could not answer, in a line, where it could not."""

    @property
    def commit(self) -> str | None:
        """The commit of HEAD, 40 hex digits."""
        return self._ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}")

    @property
    def repo_url(self) -> str | None:
        """The remote as a cluster can clone it: https for ssh forms, never with a user or a password in it."""
        return self._clone_url_of(self.remote) if self.remote else None

    @property
    def remote(self) -> str | None:
        """The name of the remote of the current branch, else `origin`, else the first."""
        upstream = self._ask("config", f"branch.{self._branch}.remote") if self._branch else None
        names = list(self._remotes)
        return upstream if upstream in names else "origin" if "origin" in names else next(iter(names), None)

    @property
    def _branch(self) -> str | None:
        return self._ask("symbolic-ref", "--quiet", "--short", "HEAD")

    def remote_at(self, repo_url: str) -> str | None:
        """The name of the remote that the cluster clones as `repo_url`, however that is written, or None where no
        remote is that."""
        wanted = self._place_of(repo_url)
        names = dict.fromkeys([*([self.remote] if self.remote else []), *self._remotes])
        return next((name for name in names if self._place_of(self._remotes[name]) == wanted), None)

    def _place_of(self, url: str) -> str:
        return _without_suffix(clone_url(url, self._ssh_host) or url)

    @property
    def _remotes(self) -> Mapping[str, str]:
        """The URL of each remote by its name. A relative path is one from the top of this checkout on: elsewhere it
        would lead to another place."""
        listed = re.findall(r"^(.+)\t(.+) \(fetch\)", self._ask("remote", "--verbose") or "", re.MULTILINE)
        return {name: posixpath.normpath(f"{self._top}/{url}") if url[0] == "." else url for name, url in listed}

    def _clone_url_of(self, remote: str) -> str | None:
        url = clone_url(self._remotes[remote], self._ssh_host)
        if url is None:
            self.trouble = f"the URL of the git remote {remote} cannot be sent: it may hold a password, or its host is "
            self.trouble += "not known. Set DEPLOY_REPO_URL"
        return url

    @property
    def _top(self) -> str | None:
        return self._place[0] or None

    @property
    def prefix(self) -> str:
        """Where `folder` lies in the repository: "" at its top, else a path that ends with `/`."""
        return self._place[1]

    @property
    def _place(self) -> tuple[str, str]:
        top, _, prefix = (self._ask("rev-parse", "--show-toplevel", "--show-prefix") or "").partition("\n")
        return top, prefix

    @property
    def name(self) -> str | None:
        """The name of the repository, or in a sub-folder that of the folder, as a Kubernetes name."""
        return as_label(PurePosixPath(self.prefix).name) if self.prefix else self._repository

    @property
    def app(self) -> str | None:
        """`name`, unless another project of this repository would have the same: each would replace the other."""
        name = self.name
        if self.prefix and (others := [place for place in self._projects if self._name_at(place) == name]):
            self.trouble = f"{others[0] or 'the repository'} and {self.prefix} would both be app {name}"
            return None
        return name

    @property
    def _repository(self) -> str | None:
        """The repository's name as a Kubernetes name; without a remote, the name of its folder."""
        name = (clone_url(self._remotes[self.remote]) if self.remote else None) or self._top
        return as_label(name.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git")) if name else None

    @property
    def _projects(self) -> Iterator[str]:
        """The other folders of the repository whose tasks are those of deploy-tasks; "" for its top."""
        patterns = (":(top,glob)**/tasks.py", ":(top,glob)**/tasks/__init__.py")
        options = ("--untracked", "--no-recurse-submodules", "--no-color", "--full-name", "-lzF")
        for path in (self._ask("grep", *options, "deploy_tasks", "--", *patterns) or "").split("\0"):
            place = path.removesuffix("tasks.py").removesuffix("tasks/__init__.py")
            if path and place != self.prefix:
                yield place

    def _name_at(self, place: str) -> str | None:
        return as_label(PurePosixPath(place).name) if place else self._repository

    @property
    def dirty(self) -> bool:
        """Whether the working tree differs from HEAD; files that git does not track count, ignored ones do not. What
        the user's configuration hides from `git status` counts too. True where git cannot tell."""
        all_of_it = ("--untracked-files=normal", "--ignore-submodules=none")
        return self.commit is not None and self._said("status", "--porcelain", *all_of_it) != ""

    def ask_for_age(self, commit: str) -> None:
        """Lets git find out what `age` will say, while something else is done. Call `age` then."""
        if not is_commit(commit):
            return
        arguments = _age_of(commit)
        with self._lock, suppress(OSError):
            if arguments not in self._answers and arguments not in self._asked:
                self._asked[arguments] = self._start(*arguments)

    def age(self, commit: str) -> str | None:
        """How `commit` relates to HEAD, in words; None where it is no commit, or either is not in this checkout."""
        if not is_commit(commit):
            return None
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

    def tracked(self, paths: Collection[Path]) -> list[Path]:
        """Those of `paths`, files of one folder, that git tracks: they came with the repository."""
        folder = next(iter(paths)).parent
        if top_of(self.folder) not in (folder.resolve(), *folder.resolve().parents):
            return []
        place = glob.escape(os.path.relpath(folder, self.folder))
        # A file system may take `.Deploy` for `.deploy`. A folder that is tracked as such is a submodule or a link.
        patterns = ("*",) if place == "." else (place, f"{place}/*")
        wanted = (f":(icase,glob){pattern}" for pattern in patterns)
        listed = self._ask(*_OF_ANY_OWNER, "ls-files", "-z", "--", *wanted) or ""
        names = {name.rpartition("/")[2].casefold() for name in listed.split("\0")}
        return [path for path in paths if {path.name.casefold(), folder.name.casefold()} & names]

    def knows(self, commit: str) -> bool:
        """Whether `commit` is in this checkout."""
        return is_commit(commit) and self._ask("cat-file", "-t", commit) == "commit"

    def has(self, commit: str, path: str) -> bool:
        """Whether `path`, from `folder` on, is a file of `commit`."""
        return is_commit(commit) and self._ask("cat-file", "-t", f"{commit}:./{path}") == "blob"

    def pushed(self, commit: str, repo_url: str | None = None) -> bool | None:
        """Whether a ref of the remote at `repo_url` holds `commit`: as far as the last fetch or push shows, else as the
        remote says. None where neither can tell: a shallow checkout lacks refs, and one of CI may lack the login."""
        remote = (self.remote_at(repo_url) if repo_url else None) or self.remote
        if not is_commit(commit):
            return None
        if self._refs_with(commit, *_FETCHED, *([f"refs/remotes/{remote}/"] if remote else [])):
            return True
        if remote is None:
            return False
        listed = self._listed_by(remote)
        if listed and (commit in listed or listed.intersection(self._refs_with(commit))):
            return True
        is_shallow = self._ask("rev-parse", "--is-shallow-repository") == "true"
        return None if is_shallow or (listed is None and os.environ.get("CI")) else False

    def how_to_push(self, commit: str, repo_url: str) -> str:
        """What makes `commit` known at `repo_url`: a command where one does it, else words."""
        remote = self.remote_at(repo_url)
        if remote and commit == self.commit and self._branch:
            return f"git push {shlex.quote(remote)} HEAD"
        return f"to a branch or a tag of {remote or repo_url}"

    def _refs_with(self, commit: str, *patterns: str) -> list[str]:
        """What the local refs that hold `commit` point to."""
        arguments = ("--format=%(objectname)", f"--contains={commit}", *patterns)
        return (self._ask("for-each-ref", *arguments) or "").split()

    def _listed_by(self, remote: str) -> set[str] | None:
        """What the refs of `remote` point to, as it says now; None where it does not answer. Nobody is asked for a
        password. The checkout's own configuration is not used, since it may name programs to run."""
        url = {
            **{"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"remote.{remote}.url"},
            **{"GIT_CONFIG_VALUE_0": self._remotes[remote], "GIT_TERMINAL_PROMPT": "0"},
        }
        said = self._elsewhere("git", "-C", "/", "ls-remote", "--quiet", remote, **url)
        return None if said is None else {line.partition("\t")[0] for line in said.splitlines()}

    def _ssh_host(self, target: str) -> str | None:
        """The host that ssh connects to for `[user@]host`, which may be an alias of the user's; None where nobody
        knows. Nothing is connected to."""
        host = target.rpartition("@")[2]
        said = self._elsewhere("ssh", "-G", target)
        if said is None:
            return host if "." in host else None
        return next((line.partition(" ")[2] for line in said.splitlines() if line.startswith("hostname ")), host)

    def _elsewhere(self, *command: str, **variables: str) -> str | None:
        """What `command`, which is not about this checkout, says; None where it fails or takes long."""
        if command not in self._answers:
            self._answers[command] = _said_within(_SECONDS_OF_REMOTE, command, variables)
        return self._answers[command]

    def _ask(self, *arguments: str) -> str | None:
        return self._said(*arguments) or None

    def _said(self, *arguments: str) -> str | None:
        """What git says to `arguments`; None where it fails."""
        with self._lock:
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
        return subprocess.Popen(
            ["git", *_QUIETLY, "-C", str(self.folder), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**_environment(), **_READ_ONLY},
        )


def _environment() -> dict[str, str]:
    """The environment of a program that is asked: without settings, and without what makes git answer for another
    repository."""
    return {key: value for key, value in os.environ.items() if not key.startswith(_OURS) and key not in LOCAL_VARIABLES}


def _said_within(seconds: float, command: Sequence[str], more: Mapping[str, str]) -> str | None:
    """What `command` says within `seconds`; None where it fails or takes longer. It has no terminal to ask at, and is
    ended with all that it started."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**_environment(), **more},
            start_new_session=True,
        )
    except OSError:
        return None
    with process:
        try:
            said, _ = process.communicate(timeout=seconds)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                return None
            raise
    return None if process.returncode else said.decode(errors="replace")


def _age_of(commit: str) -> tuple[str, ...]:
    return ("rev-list", "--left-right", "--end-of-options", f"{commit}...HEAD")


def _named_host(target: str) -> str | None:
    return target.rpartition("@")[2]


def clone_url(remote: str, ssh_host: Callable[[str], str | None] = _named_host) -> str | None:
    """`git@host:org/repo.git` and `ssh://…` as `https://host/org/repo`, without user, password and query; a path as it
    is. `ssh_host` says which host ssh connects to for `[user@]host`.

    None for what may hold a password at an odd place, and for what only a helper of this machine can clone.

    >>> clone_url("git@github.com:org/repo.git")
    'https://github.com/org/repo'
    """
    if not remote.isprintable():
        return None
    if _URL.fullmatch(remote):
        return _url_without_secrets(remote, ssh_host)
    if ":" not in remote or "/" in remote.partition(":")[0]:
        return remote if remote.startswith(("/", ".")) or "@" not in remote else None
    scp = _SCP_FORM.fullmatch(remote)
    if not scp or (not scp["user"] and "@" in scp["path"]):
        return None
    return _web_url(ssh_host(f"{scp['user'] or ''}{scp['host']}"), scp["path"].partition("?")[0])


def _url_without_secrets(remote: str, ssh_host: Callable[[str], str | None]) -> str | None:
    try:
        parts = urlsplit(remote)
        host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    if scheme == "file":
        return remote if not parts.netloc else f"file://{host}{parts.path}"
    looks_like_flag = parts.netloc.startswith("-") or host.startswith("-")
    # A password with a / in it ends what looks like the host.
    may_be_password = "@" in parts.path and "." not in host
    if not host or not parts.path.strip("/") or looks_like_flag or may_be_password:
        return None
    if scheme in ("ssh", "git+ssh", "ssh+git"):
        return _web_url(ssh_host(f"{parts.username}@{host}" if parts.username else host), parts.path)
    if scheme == "git":
        return _web_url(host, parts.path)
    path = _without_suffix(parts.path) if scheme in ("http", "https") else parts.path
    return f"{scheme}://{f'[{host}]' if ':' in host else host}{port}{path}"


def _web_url(host: str | None, path: str) -> str | None:
    """The https address of the repository that ssh finds at `host` under `path`."""
    if host is None:
        return None
    host = f"[{host.strip('[]')}]" if ":" in host else _WEB_HOSTS.get(host, host)
    place = f"{host}/{_without_suffix(path).lstrip('/')}"
    azure = _AZURE.fullmatch(place)
    return f"https://dev.azure.com/{azure[1]}/{azure[2]}/_git/{azure[3]}" if azure else f"https://{place}"


def _without_suffix(path: str) -> str:
    return path.rstrip("/").removesuffix(".git")
