"""The program `deploy-api`: serves the Deploy API, and makes keys for it."""

from __future__ import annotations

import logging
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .auth import EVERY_NAMESPACE, RIGHTS, KeyFileError, Keys
from .auth import add as add_key

_UNUSABLE = 2  # as argparse ends


class _Failed(Exception):
    """The program cannot do what it is asked for; the message says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program; returns its exit code."""
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    try:
        parsed.run(parsed)
    except (KeyFileError, _Failed) as error:
        _tell(f"deploy-api: {error}")
        return _UNUSABLE
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="deploy-api", description="The Deploy API server.", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve", help="serve the API", description="Serves the API until Ctrl-C or SIGTERM.", allow_abbrev=False
    )
    serve.add_argument("--keys", type=Path, required=True, metavar="FILE", help="the keys, from: deploy-api keys add")
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    serve.add_argument("--port", type=int, default=8080, help="0 picks a free port (default: %(default)s)")
    serve.add_argument("--data", type=Path, metavar="FOLDER", help="keeps images (default: deleted at the end)")
    serve.set_defaults(run=_serve)
    keys = commands.add_parser("keys", help="manage keys").add_subparsers(required=True, metavar="COMMAND")
    add = keys.add_parser(
        "add", help="create a key", description="Creates a key and prints it, only once.", allow_abbrev=False
    )
    add.add_argument("name", metavar="NAME", help="who uses the key; history and audit show this name")
    add.add_argument("--keys", type=Path, required=True, metavar="FILE", help="the file that gets the key's hash")
    add.add_argument("--namespace", action="append", metavar="N", help="where; repeatable (default: everywhere)")
    add.add_argument("--right", action="append", choices=RIGHTS, help="to do what; repeatable (default: everything)")
    add.set_defaults(run=_add)
    return parser


def _add(parsed: Namespace) -> None:
    namespaces, rights = parsed.namespace or [EVERY_NAMESPACE], parsed.right or list(RIGHTS)
    key = add_key(parsed.keys, parsed.name, namespaces, rights)
    where = "every namespace" if EVERY_NAMESPACE in namespaces else ", ".join(namespaces)
    _tell(f"{parsed.name} may {', '.join(rights)} in {where}. The key is shown only once. {parsed.keys} has its hash.")
    print(key, flush=True)  # noqa: T201 - the result


def _serve(parsed: Namespace) -> None:
    keys = Keys.of_file(parsed.keys)
    try:
        from . import serving
        from .memory.service import serve
    except ImportError as error:
        raise _Failed(f"serve needs {error.name}. Install it: pip install 'deploy-tasks[server]'") from error
    # uvicorn restores this handler when it is done, then repeats the signal. The exit removes temporary files.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with suppress(KeyboardInterrupt):
            serve(parsed.host, parsed.port, parsed.data, keys, _tell)
    except serving.CannotListen as error:
        raise _Failed(str(error)) from error
    except OSError as error:
        raise _Failed(f"{error.strerror}: {error.filename}") from error


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201
