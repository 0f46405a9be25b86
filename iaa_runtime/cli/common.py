"""What several commands share: opening a model, generation options, images, output, progress."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from ..checkpoint.checkpoint import Checkpoint
from ..config import GenerationConfig
from ..errors import IAAError, InputError, UsageError
from ..images.load import load_image
from ..model.linear.quantized import PRECISIONS
from ..pipeline.local import DEMO_CHECKPOINT, IAAPipeline
from ..pipeline.remote import RemotePipeline, Timeouts
from ..pipeline.remote.pipeline import CONCURRENCY
from ..pipeline.remote.servers import parse_server

DTYPES = {"auto": None, "fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}

Value = TypeVar("Value")
Pipeline = IAAPipeline | RemotePipeline


def checked(parse: Callable[[str], Value]) -> Callable[[str], Value]:
    """Makes ``parse`` a ``type`` for argparse, which then says what :class:`IAAError` says and exits with 2."""

    def convert(text: str) -> Value:
        try:
            return parse(text)
        except IAAError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    convert.__name__ = parse.__name__.lstrip("_")
    return convert


def _option(name: str, kind: type[Value]) -> Callable[[str], Value]:
    """Reads a generation option, within the limits of :class:`GenerationConfig`."""

    def number(text: str) -> Value:
        value = kind(text)  # type: ignore[call-arg]
        GenerationConfig(**{name: value})  # type: ignore[arg-type]
        return value

    number.__name__ = kind.__name__
    return checked(number)


def add_threshold_argument(parser: argparse._ActionsContainer) -> None:
    """Adds ``--threshold``, a score in [0, 1]."""
    parser.add_argument(
        "--threshold", type=checked(_score), default=0.0, metavar="S", help="drop boxes that score below S, of 0 to 1"
    )


def _score(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise InputError(f"a score is in 0..1, not {text}.")
    return value


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds which checkpoint is opened and where it runs."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", metavar="DIR", help="checkpoint folder or weight file (default: the demo checkpoint in the box)"
    )
    group.add_argument(
        "--vision-tower", metavar="DIR", help="folder of the CLIP tower, if it is not with the checkpoint"
    )
    group.add_argument(
        "--dtype", choices=DTYPES, default="auto", help="auto: 16 bit where the device computes in it, else fp32"
    )
    group.add_argument(
        "--precision",
        choices=("full", *PRECISIONS),
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
        type=float,
        default=Timeouts().silence,
        metavar="S",
        help=f"seconds without a word after which it is asked again (default {Timeouts().silence:g})",
    )


def _server(text: str) -> str:
    parse_server(text)
    return text


def add_generation_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the fields of :class:`GenerationConfig`; what is not given keeps the default that stands there."""
    group = parser.add_argument_group("generation")
    group.add_argument(
        "--max-new-tokens",
        type=_option("max_new_tokens", int),
        metavar="N",
        help="longest answer (default 512; 128 for boxes)",
    )
    group.add_argument("--sample", action="store_true", help="draw tokens at random instead of taking the likeliest")
    group.add_argument(
        "--temperature", type=_option("temperature", float), metavar="T", help="with --sample (default 1)"
    )
    group.add_argument(
        "--top-k", type=_option("top_k", int), metavar="K", help="with --sample: only the K likeliest tokens"
    )
    group.add_argument(
        "--top-p", type=_option("top_p", float), metavar="P", help="with --sample: only the likeliest that make up P"
    )
    group.add_argument(
        "--min-p", type=_option("min_p", float), metavar="P", help="with --sample: none below P times the likeliest"
    )
    group.add_argument("--seed", type=_option("seed", int), metavar="S", help="with --sample (default 0)")
    group.add_argument(
        "--repetition-penalty",
        type=_option("repetition_penalty", float),
        metavar="R",
        help="above 1 discourages repetition",
    )
    group.add_argument("--beams", type=_option("num_beams", int), metavar="N", help="beam search with N beams")
    group.add_argument("--stop", action="append", metavar="TEXT", help="end the answer before TEXT (repeatable)")


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--json``."""
    parser.add_argument("--json", action="store_true", help="one JSON object a line on stdout, nothing else")


def add_image_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--image``, repeatable and required."""
    parser.add_argument("--image", action="append", required=True, metavar="FILE", help="picture (repeatable)")


def generation_options(options: argparse.Namespace) -> dict[str, Any]:
    """The given generation options by their names in :class:`GenerationConfig`.

    Raises:
        UsageError: they do not go together.
    """
    given = {
        "max_new_tokens": options.max_new_tokens,
        "do_sample": options.sample or None,
        "temperature": options.temperature,
        "top_k": options.top_k,
        "top_p": options.top_p,
        "min_p": options.min_p,
        "seed": options.seed,
        "repetition_penalty": options.repetition_penalty,
        "num_beams": options.beams,
        "stop": tuple(options.stop) if options.stop else None,
    }
    try:
        GenerationConfig(**{name: value for name, value in given.items() if value is not None})
    except InputError as error:
        raise UsageError(str(error)) from None
    return given


def open_pipeline(options: argparse.Namespace) -> Pipeline:
    """Finds the servers that the options name, or opens the checkpoint; says on stderr when it is the demo one."""
    if getattr(options, "server", None):
        if options.model:
            raise InputError("--server and --model are two ways to get answers. Give one of them.")
        concurrency = getattr(options, "batch", CONCURRENCY)
        return RemotePipeline.connect(options.server, concurrency, Timeouts(silence=options.server_timeout))
    return open_model(options)


def open_checkpoint(options: argparse.Namespace) -> Checkpoint:
    """Opens the headers of the checkpoint that the options name; no weights."""
    return Checkpoint(_folder(options), options.vision_tower)


def open_model(options: argparse.Namespace) -> IAAPipeline:
    """Opens the checkpoint that the options name, on this machine."""
    pipeline = IAAPipeline.from_pretrained(
        _folder(options),
        dtype=pick_dtype(options.dtype),
        device=pick_device(options.device),
        precision=pick_precision(options.precision),
        vision_tower=options.vision_tower,
        download=options.download,
    )
    if pipeline.is_demo:
        tell("Demo checkpoint: a tiny model that knows only coloured shapes. Use --model for a real one.")
    return pipeline


def _folder(options: argparse.Namespace) -> str | Path:
    return DEMO_CHECKPOINT if options.model is None else options.model


def pick_dtype(name: str) -> Any:
    """The torch dtype of a ``--dtype`` choice; None for auto."""
    import torch

    full = DTYPES[name]
    return getattr(torch, full) if full else None


def pick_precision(name: str) -> str | None:
    """The precision of a ``--precision`` choice; None for full."""
    return None if name == "full" else name


def pick_device(name: str) -> str:
    """The torch device of a ``--device`` value.

    Raises:
        InputError: there is no such device.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"The device {name!r} cannot be used ({str(error).splitlines()[0]}). Try --device cpu."
        ) from None
    return name


def load_images(paths: list[str]) -> Iterator[tuple[str, Image.Image | InputError]]:
    """Yields each path with its picture, or with the reason why there is none."""
    for path in paths:
        try:
            yield path, load_image(path)
        except InputError as error:
            yield path, error


def tell(message: str) -> None:
    """Says something to the person at the terminal, on stderr."""
    print(message, file=sys.stderr, flush=True)


def put(record: dict[str, Any]) -> None:
    """Writes one JSON line to stdout."""
    print(json.dumps(record, ensure_ascii=False), flush=True)


def picture_path(text: str) -> str:
    """Takes the name of a picture to write; for use with :func:`checked`.

    Raises:
        InputError: its ending names no picture format.
    """
    if Path(text).suffix.lower() not in Image.registered_extensions():
        raise InputError(f"{text!r} has no ending of a picture format. Use .png, .jpg or .webp.")
    return text


def save_picture(picture: Image.Image, path: Path) -> Path:
    """Writes a picture, whole or not at all, and makes the folders on the way.

    Raises:
        InputError: the ending names no picture format, or the place cannot be written to.
    """
    picture_path(str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=path.suffix)
        os.close(handle)
        try:
            picture.save(name)
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}). Choose another place.") from error
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def numbered(path: str, number: int, count: int) -> Path:
    """``path`` for a single picture; ``out-1.png``, ``out-2.png`` … where there are several."""
    chosen = Path(path)
    return chosen if count == 1 else chosen.with_stem(f"{chosen.stem}-{number}")


def slug(text: str, limit: int = 40) -> str:
    """``text`` as a part of a file name: words in any script, joined by hyphens."""
    return "-".join(re.findall(r"\w+", text.lower()))[:limit].strip("-") or "box"


class Counter:
    """A line on stderr that counts tokens while somebody watches; silent when stderr is no terminal."""

    def __init__(self, what: str) -> None:
        self._what, self._tokens, self._shown = what, 0, sys.stderr.isatty()

    def __call__(self, row: int, token: int) -> None:
        """Counts one token."""
        self._tokens += 1
        if self._shown:
            print(f"\r{self._what}: {self._tokens} tokens", end="", file=sys.stderr, flush=True)

    def done(self) -> None:
        """Clears the line."""
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
