"""The interface of an engine, `Kind`. Each engine is a module in this package: `docker.py`, `podman.py`.

Another build can move a local tag at any time, and another push a tag in the registry. So an image is identified by the
ID that its build wrote to a file (`--iidfile`), and its digest is the one that the engine reports for the push of that
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
    """An image to build: `reference` is `registry/name:tag`, `build_args` are `KEY=VALUE` or `KEY`. `variables` are the
    values of the latter; they are passed in the environment, not on the command line."""

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
        """The arguments of the build command; `output` are the flags for the destination of the image."""
        build_args = [part for text in self.build_args for part in ("--build-arg", text)]
        return ["--platform", self.platform, *output, "--file", str(self.dockerfile), *build_args, str(self.context)]


class _Plugin(msgspec.Struct, rename="pascal"):
    name: str = ""


class _Client(msgspec.Struct, rename="pascal"):
    context: str = "default"
    plugins: list[_Plugin] | None = None


class Info(msgspec.Struct, rename="pascal"):
    """The part of `docker info` and `podman info` from which the kind is detected."""

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
    """The names of ignore files in a build context. The Dockerfile's own has precedence."""

    @classmethod
    @abstractmethod
    def detect(cls, engine: Engine, info: Info) -> Kind | None:
        """This kind, if `engine` with this `info` is one; else None. EngineError if it is, and cannot use the builder
        that DEPLOY_BUILDER names."""

    @abstractmethod
    def publish(self, engine: Engine, image: Image, folder: Path) -> list[str]:
        """Builds and pushes `image` with `engine.build` and `engine.step`; returns every digest that the engine reports
        for this push. `folder` is an empty folder for files that the engine writes."""

    def ignore_files(self, context: Path, dockerfile: Path) -> list[Path]:
        """The existing ignore files that apply to the build context. If versions of the engine use different ones, all
        of them."""
        files = [dockerfile.with_name(f"{dockerfile.name}.dockerignore"), *(context / name for name in self.ignores)]
        return [file for file in files if file.exists()]

    def tls_flags(self, registry: str) -> list[str]:  # noqa: ARG002 - docker uses http on loopback without a flag
        """The flags that make `login` and the push in `publish` use http if `registry` is on loopback."""
        return []


def text_of(file: Path) -> str:
    """The text that an engine wrote to `file`; empty if there is no such file."""
    return file.read_text(errors="replace").strip() if file.exists() else ""


def last_line(output: str) -> str:
    """The last line of a program's output, shortened and redacted for a message."""
    lines = output.strip().splitlines()
    return excerpt(lines[-1]) if lines else "without a message"
