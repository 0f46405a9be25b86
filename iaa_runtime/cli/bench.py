"""``iaa bench``: how fast the runtime is here, against the machine's roofline and against stock transformers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from ..bench import report
from ..bench import run as benchmark
from ..bench.checkpoints import SIZES
from ..bench.peers import PEERS
from ..bench.timing import CLOCKS
from ..config import GenerationConfig
from ..errors import InputError
from ..jobs.files import make_folder, write_bytes
from ..model.dtypes import default_dtype
from ..model.linear.kinds import QUANTIZED
from .arguments import MOST_ROWS, add_json_argument, check_count
from .devices import DTYPES, PRECISIONS, pick_device
from .output import log, print_json
from .outputs import Outputs, add_overwrite_argument

MOST_NEW_TOKENS, MOST_REPEATS, MOST_THREADS = 1 << 16, 10_000, 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    sizes = "small: for CPUs (default); wide: matrices of the published sizes, 3.5 GB; full: Llama-3-8B, 33 GB"
    parser.add_argument("--size", choices=SIZES, default="small", help=sizes)
    parts = "; ".join(f"{name}: {purpose}" for name, purpose in benchmark.PARTS.items())
    parser.add_argument("--only", choices=benchmark.PARTS, action="append", help=f"repeatable; {parts}")
    parser.add_argument("--dtype", choices=DTYPES, default="auto", help="auto: the device's default")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        action="append",
        help="of the large matrices; several are compared, and the first is that of all other parts",
    )
    parser.add_argument(
        "--cuda-graphs", action=argparse.BooleanOptionalAction, default=True, help="capture decode steps on CUDA"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, …")
    parser.add_argument(
        "--batch", type=int, action="append", metavar="N", help="repeatable (default 1, 4, 8, 16; wide: 1, 8)"
    )
    parser.add_argument("--new-tokens", type=int, default=64, metavar="N", help="of a caption (default 64)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds, all runs in turn (default 5)")
    parser.add_argument("--threads", type=int, metavar="N", help="of the processor")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: own seconds, for a busy machine")
    parser.add_argument("--peer", choices=("none", *PEERS), action="append", help="repeatable (default: all)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the weights and images")
    parser.add_argument("--folder", metavar="DIR", type=Path, help="keep the checkpoint there, and take it from there")
    parser.add_argument("--out", metavar="FILE.json", type=Path, help="write the figures there")
    add_overwrite_argument(parser)
    add_json_argument(parser)


def run_settings(options: argparse.Namespace) -> benchmark.Settings:
    """The run that the options ask for.

    Raises:
        InputError: a count out of its limits, or a clock that cannot see the device's work.
    """
    for batch in options.batch or ():
        check_count("--batch", batch, MOST_ROWS)
    check_count("--new-tokens", options.new_tokens, MOST_NEW_TOKENS)
    check_count("--repeats", options.repeats, MOST_REPEATS)
    check_count("--threads", 1 if options.threads is None else options.threads, MOST_THREADS)
    GenerationConfig(seed=options.seed)  # raises if it is no seed
    device = pick_device(options.device)
    if options.clock == "cpu" and device != "cpu":
        raise InputError("--clock cpu does not see what an accelerator does. Use --clock wall, or --device cpu.")
    precisions = [PRECISIONS[name] for name in options.precision or ()]
    parts = [name for name in benchmark.PARTS if name != "precisions" or len(precisions) > 1]
    peers = [name for name in options.peer or PEERS if name != "none"]
    return benchmark.Settings(
        size=options.size,
        dtype=DTYPES[options.dtype] or default_dtype(torch.device(device)),
        device=device,
        precision=precisions[0] if precisions else None,
        precisions=tuple(filter(None, precisions)) if precisions else tuple(QUANTIZED),
        cuda_graphs=options.cuda_graphs,
        batches=tuple(options.batch or SIZES[options.size].batches),
        new_tokens=options.new_tokens,
        repeats=options.repeats,
        seed=options.seed,
        clock=options.clock,
        peers=tuple(peers),
        parts=tuple(options.only or parts),
        folder=options.folder,
    )


def run(options: argparse.Namespace) -> int:
    """Runs and reports."""
    settings = run_settings(options)
    if options.out is not None:
        Outputs(options).writes("--out", options.out)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    results = benchmark.run(settings, log)
    if options.out is not None:
        make_folder(options.out.parent)
        write_bytes(options.out, json.dumps(results, indent=1).encode() + b"\n", overwrite=options.overwrite)
    if options.json:
        print_json(results)
        return 0
    print(report.machine_lines(results["machine"]))
    print(report.memory_line(results["memory"]) + "\n")
    print(report.table(results["rows"]))
    print("".join(f"\n{note}" for note in results["notes"]))
    return 0
