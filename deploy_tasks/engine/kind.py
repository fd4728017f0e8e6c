"""What an engine must be able to do: `Kind`. Each engine is a module beside this one: `docker.py`, `podman.py`.

A local tag can be moved by another build at any time, and a registry's tag by another push. So an image is identified
by the ID that its build wrote to a file (`--iidfile`), and its digest is what the engine reports for the push of that
ID.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..redaction import excerpt

if TYPE_CHECKING:
    from .engine import Engine

NOT_PUSHED = "Nothing was pushed or recorded"
NOT_RECORDED = "Nothing was recorded or deployed"


@dataclass(frozen=True)
class Image:
    """An image to build: `reference` is `registry/name:tag`, `build_args` are `KEY=VALUE` or `KEY`. `variables` has the
    values of the latter, which are passed in the environment and not on the command line."""

    reference: str
    context: Path
    dockerfile: Path
    platform: str = "linux/amd64"
    build_args: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def registry(self) -> str:
        return self.reference.partition("/")[0]

    @property
    def platforms(self) -> list[str]:
        return self.platform.split(",")

    def build_arguments(self, *output: str) -> list[str]:
        """The arguments of its build; `output` are the flags that say where the image goes."""
        build_args = [part for text in self.build_args for part in ("--build-arg", text)]
        return ["--platform", self.platform, *output, "--file", str(self.dockerfile), *build_args, str(self.context)]


class _Plugin(msgspec.Struct, rename="pascal"):
    name: str = ""


class _Client(msgspec.Struct, rename="pascal"):
    context: str = "default"
    plugins: list[_Plugin] | None = None


class Info(msgspec.Struct, rename="pascal"):
    """The part of `docker info` and `podman info` that kinds are detected by."""

    server_errors: list[str] | None = None
    client_info: _Client = msgspec.field(default_factory=_Client)
    driver_status: list[list[str]] | None = None
    host: dict[str, object] | None = msgspec.field(default=None, name="host")
    store: dict[str, object] | None = msgspec.field(default=None, name="store")

    @property
    def has_buildx(self) -> bool:
        return "buildx" in [plugin.name for plugin in self.client_info.plugins or ()]


class Kind(ABC):
    """One kind of engine: how it builds, pushes and reports the digest. Its commands are argument lists without the
    program."""

    ignores: Sequence[str] = (".dockerignore",)
    """The names of the ignore files in a build context; the Dockerfile's own goes before them."""

    @classmethod
    @abstractmethod
    def detect(cls, engine: Engine, info: Info) -> Kind | None:
        """The kind of `engine`, which reported `info`; None if it is another one. EngineError if it is this one and
        cannot use the builder that DEPLOY_BUILDER names."""

    @abstractmethod
    def publish(self, engine: Engine, image: Image, folder: Path) -> list[str]:
        """Builds and pushes `image` by `engine.build` and `engine.step`; returns every digest that is reported for this
        push. `folder` is empty and for files that the engine writes."""

    def ignore_files(self, context: Path, dockerfile: Path) -> list[Path]:
        """The existing files whose rules decide what of the build context is used; if versions of the engine differ,
        the files of each."""
        files = [dockerfile.with_name(f"{dockerfile.name}.dockerignore"), *(context / name for name in self.ignores)]
        return [file for file in files if file.exists()]

    def tls_flags(self, registry: str) -> list[str]:  # noqa: ARG002 - docker uses http on loopback without a flag
        """The flags with which `login`, and the push in `publish`, use http for `registry` on loopback."""
        return []


def text_of(file: Path) -> str:
    """The text that an engine wrote to `file`; empty if there is no such file."""
    return file.read_text(errors="replace").strip() if file.exists() else ""


def last_line(output: str) -> str:
    """The last line of a program's output, shortened and redacted for a message."""
    lines = output.strip().splitlines()
    return excerpt(lines[-1]) if lines else "without a message"
