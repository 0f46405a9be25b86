"""Arguments that several commands share: declared, checked, and turned into generation options.

Those about pictures, and about what is found in them, are in :mod:`.pictures`.
"""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from ...config import DTYPE_NAMES, PRECISIONS, GenerationConfig
from ...config.formats import checked_format
from ...errors import IAAError, InputError, UsageError, spelled
from ...images.names import at_home
from ...jobs.files import read_text
from ..parser import CommandParser

Value = TypeVar("Value")

MOST_ROWS = 4096
"""Pictures or questions that are answered at once."""
MOST_SECONDS = 7 * 24 * 3600
"""That a server may be silent."""
STDIN = "-"
"""Stands for standard input where a file or a text is asked for."""
HERE = "model vision_tower device dtype precision download adaptor"
"""Options of a model on this machine, which servers and ready answers have no use for."""
GENERATION = "max_new_tokens do_sample temperature top_k top_p min_p seed repetition_penalty num_beams stop"


def checked(parse: Callable[[str], Value]) -> Callable[[str], Value]:
    """Makes ``parse`` an argparse ``type``: its :class:`IAAError` becomes the message, and the exit code is 2."""

    def convert(text: str) -> Value:
        try:
            return parse(text)
        except IAAError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    convert.__name__ = parse.__name__.lstrip("_")
    return convert


def count(most: int) -> Callable[[str], int]:
    """An argparse ``type``: a whole number of 1 to ``most``."""

    def number(text: str) -> int:
        value = int(text)
        if not 1 <= value <= most:
            raise InputError(f"{spelled(value)} is not from 1 to {most:,}.")
        return value

    return checked(number)


def add_pipeline_arguments(parser: CommandParser) -> None:
    """Adds all that a command needs to get answers: a model or servers, generation options, and what it says."""
    add_message_arguments(parser)
    add_model_arguments(parser)
    add_server_arguments(parser)
    add_generation_arguments(parser)


def add_message_arguments(parser: CommandParser) -> None:
    """Adds ``--json``, ``--quiet`` and ``--verbose``."""
    parser.add_argument("--json", action="store_true", help="one JSON object a line on stdout, nothing else")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--quiet", action="store_true", help="say nothing on stderr but what went wrong")
    group.add_argument(
        "--verbose", action="store_true", help="say more: what is opened and loaded, and how long it took"
    )


def add_overwrite_argument(parser: argparse._ActionsContainer) -> None:
    """Adds ``--overwrite``."""
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")


def add_dry_run_argument(parser: argparse._ActionsContainer) -> None:
    """Adds ``--dry-run``."""
    parser.add_argument("--dry-run", action="store_true", help="check everything and say what would be done, only")


def add_checkpoint_arguments(
    parser: CommandParser, group: argparse._ActionsContainer | None = None, model: str = "checkpoint folder"
) -> None:
    """Adds ``--model``, described as ``model``, ``--vision-tower`` and ``--download``, to the group if there is one."""
    group = group or parser
    group.add_argument(
        "--model",
        metavar="DIR",
        default=os.environ.get("IAA_MODEL") or None,
        help=f"{model} (default: $IAA_MODEL, or the built-in demo checkpoint)",
    )
    group.add_argument(
        "--vision-tower", metavar="DIR", help="folder of the CLIP tower, if it is not with the checkpoint"
    )
    group.add_argument(
        "--download", action="store_true", help="fetch --model from the Hugging Face hub if it is not here"
    )

    def check(options: argparse.Namespace) -> None:
        if options.download and not options.model:
            raise UsageError("--download has no effect without --model. Say which repository it is to fetch.")

    parser.rule(check)


def add_model_arguments(parser: CommandParser) -> None:
    """Adds which checkpoint to open, in which format and on which device."""
    group = parser.add_argument_group("model")
    add_checkpoint_arguments(parser, group, "checkpoint folder or weight file")
    add_device_arguments(group)
    _add_choice(
        group,
        "--precision",
        ("full", *PRECISIONS),
        "keep the large matrices in fewer bits than --dtype, for less memory",
        default=None,
    )


def add_adaptor_argument(parser: argparse._ActionsContainer, purpose: str = "answer with what it was taught") -> None:
    """Adds ``--adaptor``: files and strengths, in a list; None where there are none."""
    parser.add_argument(
        "--adaptor",
        action="append",
        type=checked(parse_adaptor),
        metavar="FILE[:STRENGTH]",
        help=f"an adaptor file: {purpose}, at a strength (default 1; repeatable: they add up)",
    )


def parse_adaptor(text: str) -> tuple[str, float]:
    """``FILE`` or ``FILE:STRENGTH`` -> the file and the strength.

    A file of the whole name, and the colon of a drive (``C:\\cat.safetensors``), are not taken apart.

    Raises:
        InputError: the strength is no number to multiply by, or there is no name of a file.
    """
    file, colon, number = text.rpartition(":")
    if not colon or os.path.exists(text):
        file, number = text, "1"
    try:
        strength = float(number)
    except ValueError:
        if re.fullmatch(r"[+-]?\d*,\d+", number):
            raise InputError(
                f"{spelled(number)} is no strength. Write it with a point: {number.replace(',', '.')}."
            ) from None
        file, strength = text, 1.0
    if not file:
        raise InputError(f"{spelled(text)} names no file. Write FILE, or FILE:STRENGTH.")
    if not math.isfinite(strength):
        raise InputError(f"{spelled(number)} is no strength. Give a number: 1 as it was taught, 0 off.")
    return file, strength


def add_device_arguments(group: argparse._ActionsContainer) -> None:
    """Adds ``--device`` and ``--dtype``."""
    group.add_argument(
        "--device",
        default=os.environ.get("IAA_DEVICE") or "auto",
        help="auto, cpu, cuda, cuda:1, mps, … (default: $IAA_DEVICE, or auto)",
    )
    purpose = "auto is 16 bit where the device computes in it, else fp32"
    _add_choice(group, "--dtype", ("auto", *DTYPE_NAMES), purpose, default="auto")


def _add_choice(
    group: argparse._ActionsContainer, option: str, choices: tuple[str, ...], purpose: str, default: str | None
) -> None:
    """Adds an option whose default, a choice or None for what the checkpoint has, the environment may change."""
    variable = f"IAA_{option[2:].upper()}"

    def choice(text: str) -> str:
        if text not in choices:
            origin = f" (from {variable})" if text == os.environ.get(variable) else ""
            raise InputError(f"{text!r}{origin} is none of {', '.join(choices)}.")
        return text

    group.add_argument(
        option,
        type=checked(choice),
        default=os.environ.get(variable) or default,
        metavar=f"{{{','.join(choices)}}}",
        help=f"{purpose} (default: ${variable}, or {default or 'as stored'})",
    )


def add_server_arguments(parser: CommandParser) -> None:
    """Adds servers that answer instead of a checkpoint."""
    group = parser.add_argument_group("servers, instead of a model here")
    group.add_argument(
        "--server",
        action="append",
        type=checked(_server),
        metavar="[TASK=]URL",
        help="let the exported tasks that are served there answer (repeatable; see docs/serving.md)",
    )
    group.add_argument(
        "--server-timeout",
        type=checked(_seconds),
        metavar="S",
        help="seconds without a word after which it is asked again (default 120)",
    )
    parser.needs("server_timeout", "server")
    parser.excludes("server", HERE)


def _server(text: str) -> str:
    from ...pipeline.remote.servers import parse_server

    parse_server(text)
    return text


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= MOST_SECONDS:
        raise InputError(f"it must be above 0 and at most {MOST_SECONDS} seconds, not {text}.")
    return value


def add_generation_arguments(parser: CommandParser) -> None:
    """Adds fields of :class:`GenerationConfig`, under their names; options not given keep its defaults."""
    group = parser.add_argument_group("generation")

    def add(option: str, field: str, kind: type, metavar: str, purpose: str) -> None:
        group.add_argument(option, dest=field, type=_limited(field, kind), metavar=metavar, help=purpose)

    add("--max-new-tokens", "max_new_tokens", int, "N", "longest answer (default 512; 128 for boxes)")
    group.add_argument(
        "--sample",
        dest="do_sample",
        action="store_true",
        default=None,
        help="draw tokens at random instead of taking the likeliest",
    )
    add("--temperature", "temperature", float, "T", "with --sample (default 1)")
    add("--top-k", "top_k", int, "K", "with --sample: only the K likeliest tokens")
    add("--top-p", "top_p", float, "P", "with --sample: only the likeliest that make up P")
    add("--min-p", "min_p", float, "P", "with --sample: none below P times the likeliest")
    add("--seed", "seed", int, "S", "with --sample (default 0)")
    add("--repetition-penalty", "repetition_penalty", float, "R", "above 1 discourages repetition")
    add("--beams", "num_beams", int, "N", "beam search with N beams")
    group.add_argument("--stop", action="append", metavar="TEXT", help="end the answer before TEXT (repeatable)")
    parser.needs("temperature top_k top_p min_p seed", "do_sample")
    parser.rule(generation_options)


def add_format_argument(parser: argparse._ActionsContainer, option: str = "--format") -> None:
    """Adds what answers are held to; annotate has a ``--format`` of its own, that of its files."""
    parser.add_argument(
        option,
        dest="answer_format",
        type=checked(read_format),
        metavar="TEXT",
        help="hold the answer to a JSON schema, typed or as FILE.json, or to a regular expression "
        "(pip install llguidance)",
    )


def read_format(text: str) -> str:
    """A format as typed, or that of a file whose name ends in .json.

    Raises:
        InputError: it is empty, not readable, or nothing that answers can be held to.
    """
    from ...text.formats import format_check

    format = checked_format(read_text(Path(at_home(text))) if text.lower().endswith(".json") else text)
    if not format:
        raise InputError("it is empty. Leave it out for free answers.")
    format_check(format)
    return format


def _limited(field: str, kind: type[Value]) -> Callable[[str], Value]:
    """Parses a generation option, within the limits of :class:`GenerationConfig`."""

    def number(text: str) -> Value:
        value = kind(text)  # type: ignore[call-arg]
        GenerationConfig(**{field: value})  # type: ignore[arg-type]
        return value

    number.__name__ = kind.__name__
    return checked(number)


def generation_options(options: argparse.Namespace) -> dict[str, Any]:
    """The generation options that were given, by their names in :class:`GenerationConfig`.

    Raises:
        UsageError: they do not go together.
    """
    names = {field.name: field.name for field in fields(GenerationConfig)} | {"format": "answer_format"}
    given = {name: value for name, option in names.items() if (value := getattr(options, option, None)) is not None}
    if "stop" in given:
        given["stop"] = tuple(given["stop"])
    try:
        GenerationConfig(**given)
    except InputError as error:
        raise UsageError(str(error)) from None
    return given
