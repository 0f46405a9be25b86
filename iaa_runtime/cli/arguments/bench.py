"""Arguments of ``iaa bench``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...bench.choices import CLOCKS, PARTS, PEERS, SIZES
from ...config import PRECISIONS, GenerationConfig
from ...errors import UsageError
from ..parser import CommandParser
from .shared import MOST_ROWS, add_device_arguments, add_message_arguments, add_overwrite_argument, checked, count

MOST_NEW_TOKENS, MOST_REPEATS, MOST_THREADS = 1 << 16, 10_000, 1024


def add_arguments(parser: CommandParser) -> None:
    """Declares them."""
    sizes = "small: for CPUs (default); wide: matrices of the published sizes, 3.5 GB; full: Llama-3-8B, 33 GB"
    parser.add_argument("--size", choices=SIZES, default="small", help=sizes)
    parts = "; ".join(f"{name}: {purpose}" for name, purpose in PARTS.items())
    parser.add_argument("--only", choices=PARTS, action="append", help=f"repeatable; {parts}")
    add_device_arguments(parser)
    parser.add_argument(
        "--precision",
        choices=("full", *PRECISIONS),
        action="append",
        help="of the large matrices; several are compared, and the first is that of all other parts",
    )
    parser.add_argument(
        "--cuda-graphs", action=argparse.BooleanOptionalAction, default=True, help="capture decode steps on CUDA"
    )

    def add(option: str, most: int, default: int | None, purpose: str) -> None:
        parser.add_argument(option, type=count(most), default=default, metavar="N", help=purpose)

    parser.add_argument(
        "--batch",
        type=count(MOST_ROWS),
        action="append",
        metavar="N",
        help="repeatable (default 1, 4, 8, 16; wide: 1, 8)",
    )
    add("--new-tokens", MOST_NEW_TOKENS, 64, "of a caption (default 64)")
    add("--repeats", MOST_REPEATS, 5, "rounds, all runs in turn (default 5)")
    add("--threads", MOST_THREADS, None, "of the processor")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: own seconds, for a busy machine")
    parser.add_argument("--peer", choices=("none", *PEERS), action="append", help="repeatable (default: all)")
    parser.add_argument("--seed", type=checked(_seed), default=0, metavar="S", help="of the weights and images")
    folder = "keep the checkpoint there, and take it from there (default: a temporary folder)"
    parser.add_argument("--folder", metavar="DIR", type=Path, help=folder)
    parser.add_argument("--out", metavar="FILE.json", type=Path, help="write the figures there")
    add_overwrite_argument(parser)
    add_message_arguments(parser)
    parser.needs("overwrite", "out")
    parser.rule(_check)


def _seed(text: str) -> int:
    return GenerationConfig(seed=int(text)).seed


def _check(options: argparse.Namespace) -> None:
    parts = options.only or PARTS
    if "none" in (options.peer or ()) and len(options.peer) > 1:
        raise UsageError("--peer none has no effect beside another --peer. Give one of them.")
    if options.peer and options.peer != ["none"] and not {"peers", "precisions"} & set(parts):
        raise UsageError("--peer has no effect without the part peers. Add --only peers, or leave it out.")
    if len(options.precision or ()) > 1 and "precisions" not in parts:
        raise UsageError("Several --precision have no effect without the part precisions. Add --only precisions.")
