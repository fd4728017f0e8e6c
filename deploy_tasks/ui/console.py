"""All output for people and programs, under one name. People read stderr, programs read stdout."""

from .github import annotate
from .progress import Board, board, progress
from .stderr import (
    ask,
    can_ask,
    for_other_threads,
    forgive_stderr,
    message_of,
    nobody_waits,
    pass_on,
    shown,
    tell,
    warn,
)
from .stdout import error_as_json, print_json, print_lines, result
from .tables import print_table, table, tell_table

__all__ = [
    "Board",
    "annotate",
    "ask",
    "board",
    "can_ask",
    "error_as_json",
    "for_other_threads",
    "forgive_stderr",
    "message_of",
    "nobody_waits",
    "pass_on",
    "print_json",
    "print_lines",
    "print_table",
    "progress",
    "result",
    "shown",
    "table",
    "tell",
    "tell_table",
    "warn",
]
