"""The ``iaa`` command: one module for each subcommand, imported when it runs, and what subcommands share.

Arguments are declared apart (arguments/), without torch, so that help and complaints about them come at once.

Exit codes: 0 done, 1 failed, 2 bad arguments, 130 interrupted or asked to end. With ``--json``, stdout holds one JSON
object a line and nothing else; everything for people goes to stderr. Not: what a command does (the folders that it
calls).
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module

from .. import __version__
from ..errors import IAAError, UsageError
from ..text.printable import guarded
from .failures import ended_like_ctrl_c, explain, too_long
from .output import messages, use_what_the_console_shows
from .parser import CommandParser

COMMANDS = {
    "demo": "all three workflows on one picture, with the built-in checkpoint",
    "info": "what a checkpoint holds and what it takes to run it",
    "caption": "describe images, or answer a question about them",
    "choose": "answer a question by one of your choices, with a probability for each",
    "label": "find everything that the model names in images: boxes, masks, crops",
    "ground": "find phrases in images: boxes, masks, crops",
    "track": "follow boxes through the frames of a video",
    "text": "ask the frozen language model alone",
    "chat": "talk about an image, choosing the task turn by turn",
    "eval": "run and score RefCOCO, MME, boxes of your own, or the demo's scenes",
    "annotate": "caption and ground whole collections, in shards that survive a kill",
    "teach": "learn a new thing from some dozen pictures, kept in a file",
    "convert": "write a checkpoint in 8 or 4 bits, for smaller cards",
    "export": "write a task as a stock Llama or LLaVA checkpoint, for other engines",
    "bench": "how fast it is here, against the machine's roofline and stock transformers",
}

DEBUG = "--debug"


def make_parser(wanted: Collection[str] = tuple(COMMANDS)) -> CommandParser:
    """The command line's parser, with the arguments of the ``wanted`` commands: the others are named only."""
    parser = CommandParser(
        prog="iaa",
        description="Caption, ground and chat with IAA, a frozen Llama 3 that sees through inserted adaptors.",
    )
    parser.add_argument(DEBUG, action="store_true", help="with any command: show where in the program it failed")
    parser.add_argument("--version", action="version", version=f"iaa-nodes {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, purpose in COMMANDS.items():
        sub = commands.add_parser(name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
        if name in wanted:
            import_module(f".arguments.{name}", __package__).add_arguments(sub)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code (argparse itself exits with 2 for bad arguments)."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(make_parser())
    # Text in any script, whatever the console's code page; a file name may not even be valid text.
    for stream in (sys.stdout, sys.stderr):
        use_what_the_console_shows(stream)
    if isinstance(sys.stdin, io.TextIOWrapper):  # a pipe is read as files are: without a mark, whatever ends its lines
        typed = sys.stdin.encoding if sys.stdin.isatty() else "utf-8-sig"
        sys.stdin.reconfigure(encoding=typed, errors="surrogateescape", newline=None)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed, as by `iaa … >&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - it stays open
    with redirect_stdout(guarded(sys.stdout)), redirect_stderr(guarded(sys.stderr)):
        return _run(list(sys.argv[1:] if arguments is None else arguments))


def _run(words: list[str]) -> int:
    command = next((word for word in words if word in COMMANDS), None)
    options = argparse.Namespace(debug=DEBUG in words)
    try:
        with ended_like_ctrl_c(), _traceback_if(options.debug):
            make_parser([command] if command else []).parse_args([word for word in words if word != DEBUG], options)
            with messages(options.quiet, options.verbose):
                code = int(import_module(f".{options.command}", __package__).run(options))
            sys.stdout.flush()  # what cannot be written is a failure, too
            return code
    except IAAError as error:
        reason, code = str(error) + too_long(error, options), 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        reason, code = "", 130
    except BrokenPipeError:  # `iaa … | head` closed our stdout; nobody is left to tell
        reason, code = "", 1
    except Exception as error:
        reason, code = explain(error, options) + too_long(error, options), 1
    if code == 130:
        print("\nInterrupted.", file=sys.stderr)
    elif reason:
        if code == 2 and "parser" in options:
            options.parser.print_usage(sys.stderr)
        print(f"iaa {command}: {reason}", file=sys.stderr)
    _finish_stdout()
    return code


@contextmanager
def _traceback_if(debug: bool) -> Iterator[None]:
    try:
        yield
    except Exception:
        if debug:
            traceback.print_exc()
        raise


def _finish_stdout() -> None:
    """Writes what is left; drops it where that fails, or it would fail once more when Python ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
