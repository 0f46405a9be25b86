"""Command-line arguments that several commands share: declared, checked, and turned into generation options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from ..config import GenerationConfig
from ..errors import IAAError, InputError, UsageError, spelled
from ..images.names import expanded
from ..pipeline.remote import Timeouts
from ..pipeline.remote.servers import parse_server
from .devices import DTYPES, PRECISIONS

Value = TypeVar("Value")

MOST_ROWS = 4096
"""Pictures or questions that are answered at once."""
MOST_SECONDS = 7 * 24 * 3600
"""That a server may be silent."""


def checked(parse: Callable[[str], Value]) -> Callable[[str], Value]:
    """Makes ``parse`` an argparse ``type``: its :class:`IAAError` becomes the message, and the exit code is 2."""

    def convert(text: str) -> Value:
        try:
            return parse(text)
        except IAAError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    convert.__name__ = parse.__name__.lstrip("_")
    return convert


def check_count(option: str, value: int, most: int) -> None:
    """Raises :class:`InputError` for a count that is not in 1..``most``."""
    if value < 1:
        raise InputError(f"{option} is {spelled(value)}; it must be at least 1.")
    if value > most:
        raise InputError(f"{option} is {spelled(value)}; it can be at most {most:,}.")


def add_pipeline_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--json`` and all that a command needs to get answers: a model or servers, and generation options."""
    add_json_argument(parser)
    add_model_arguments(parser)
    add_server_arguments(parser)
    add_generation_arguments(parser)


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--json``."""
    parser.add_argument("--json", action="store_true", help="one JSON object a line on stdout, nothing else")


def add_image_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--image``, repeatable and required."""
    parser.add_argument("--image", action=_Pictures, required=True, metavar="FILE", help="picture (repeatable)")


class _Pictures(argparse.Action):
    """Appends to the list of pictures what a pattern matches."""

    def __call__(self, parser: object, namespace: argparse.Namespace, values: object, option: object = None) -> None:
        before = getattr(namespace, self.dest) or []
        setattr(namespace, self.dest, [*before, *expanded(str(values))])


def add_threshold_argument(parser: argparse._ActionsContainer) -> None:
    """Adds ``--threshold``, a score in [0, 1]; None for the model's own."""
    parser.add_argument(
        "--threshold",
        type=checked(_score),
        metavar="S",
        help="drop boxes that score below S, of 0 to 1 (default: what the checkpoint's config.json says, or 0)",
    )


def _score(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise InputError(f"a score is in 0..1, not {text}.")
    return value


def add_checkpoint_arguments(parser: argparse._ActionsContainer, model: str = "checkpoint folder") -> None:
    """Adds ``--model``, described as ``model``, and ``--vision-tower``."""
    parser.add_argument("--model", metavar="DIR", help=f"{model} (default: the demo checkpoint in the box)")
    parser.add_argument(
        "--vision-tower", metavar="DIR", help="folder of the CLIP tower, if it is not with the checkpoint"
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds which checkpoint to open, in which format and on which device."""
    group = parser.add_argument_group("model")
    add_checkpoint_arguments(group, "checkpoint folder or weight file")
    group.add_argument(
        "--dtype", choices=DTYPES, default="auto", help="auto: 16 bit where the device computes in it, else fp32"
    )
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="full",
        help="keep the large matrices in fewer bits than --dtype, for less memory (default: full)",
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, …")
    group.add_argument(
        "--download", action="store_true", help="fetch --model from the Hugging Face hub if it is not here"
    )


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
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
        default=Timeouts().silence,
        metavar="S",
        help=f"seconds without a word after which it is asked again (default {Timeouts().silence:g})",
    )


def _server(text: str) -> str:
    parse_server(text)
    return text


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= MOST_SECONDS:
        raise InputError(f"it must be above 0 and at most {MOST_SECONDS} seconds, not {text}.")
    return value


def add_generation_arguments(parser: argparse.ArgumentParser) -> None:
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
    names = [field.name for field in fields(GenerationConfig)]
    given = {name: value for name in names if (value := getattr(options, name, None)) is not None}
    if "stop" in given:
        given["stop"] = tuple(given["stop"])
    try:
        GenerationConfig(**given)
    except InputError as error:
        raise UsageError(str(error)) from None
    return given
