"""The ``iaa`` command: one module for each subcommand, imported when it runs, and what subcommands share.

Exit codes: 0 done, 1 failed, 2 bad arguments, 130 interrupted. With ``--json``, stdout holds one JSON object a line and
nothing else; everything for people goes to stderr. Not: what a command does (the folders that it calls).
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module

from .. import __version__
from ..errors import IAAError, UsageError
from ..text.printable import guarded

COMMANDS = {
    "demo": "all three workflows on one picture, with the checkpoint in the box",
    "info": "what a checkpoint holds and what it takes to run it",
    "caption": "describe images, or answer a question about them",
    "ground": "find phrases in images: boxes, masks, crops",
    "text": "ask the frozen language model alone",
    "chat": "talk about an image, choosing the task turn by turn",
    "eval": "run and score RefCOCO, MME, or the demo's scenes",
    "annotate": "caption and ground whole collections, in shards that survive a kill",
    "convert": "write a checkpoint in 8 or 4 bits, for smaller cards",
    "export": "write a task as a stock Llama or LLaVA checkpoint, for other engines",
    "bench": "how fast it is here, against the machine's roofline and stock transformers",
}


def make_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The command line's parser, with the arguments of ``command`` only, or of all commands when None."""
    parser = argparse.ArgumentParser(
        prog="iaa",
        description="Caption, ground and chat with IAA, a frozen Llama 3 that sees through inserted adaptors.",
    )
    parser.add_argument("--version", action="version", version=f"iaa-nodes {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, purpose in COMMANDS.items():
        sub = commands.add_parser(name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
        if command in (None, name):
            import_module(f".{name}", __package__).add_arguments(sub)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code (argparse itself exits with 2 for bad arguments)."""
    # Text in any script, whatever the terminal's code page; a file name may not even be valid text.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    with redirect_stdout(guarded(sys.stdout)), redirect_stderr(guarded(sys.stderr)):
        return _run(list(sys.argv[1:] if arguments is None else arguments))


def _run(words: list[str]) -> int:
    command = next((word for word in words if word in COMMANDS), None)
    try:
        options = make_parser(command).parse_args(words)
        return int(import_module(f".{options.command}", __package__).run(options))
    except IAAError as error:
        print(f"iaa {command}: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `iaa … | head` closed our stdout; nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
