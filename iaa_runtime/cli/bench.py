"""``iaa bench``: how fast the runtime is here, against the machine's roofline and against stock transformers."""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch

from ..bench import report
from ..bench import run as benchmark
from ..bench.choices import PARTS, PEERS, SIZES
from ..config import PRECISIONS
from ..errors import InputError
from ..jobs.files import make_folder, write_bytes
from ..model.devices import pick_device
from ..model.dtypes import pick_dtype
from .output import log, print_json
from .outputs import Outputs


def run_settings(options: argparse.Namespace) -> benchmark.Settings:
    """The run that the options ask for.

    Raises:
        InputError: there is no such device, a clock that cannot see the device's work, or captions that are longer
            than the context.
    """
    device = pick_device(options.device)
    if options.clock == "cpu" and device.type != "cpu":
        raise InputError("--clock cpu does not see what an accelerator does. Use --clock wall, or --device cpu.")
    room = benchmark.room(options.size)
    if options.new_tokens > room:
        raise InputError(
            f"--new-tokens is {options.new_tokens}, but the context of --size {options.size} leaves {room} behind the "
            "question and its picture. Give at most that many, or another size."
        )
    precisions = [None if name == "full" else name for name in options.precision or ()]
    parts = [name for name in PARTS if name != "precisions" or len(precisions) > 1]
    peers = [name for name in options.peer or PEERS if name != "none"]
    return benchmark.Settings(
        size=options.size,
        dtype=pick_dtype(options.dtype, device),
        device=str(device),
        precision=precisions[0] if precisions else None,
        precisions=tuple(filter(None, precisions)) if precisions else PRECISIONS,
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
    try:
        if options.out is not None:
            make_folder(options.out.parent)
            write_bytes(options.out, json.dumps(results, indent=1).encode() + b"\n", overwrite=options.overwrite)
    finally:  # what took minutes is told, too, where it cannot be written
        _tell(results, options.json)
    return 0


def _tell(results: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(results)
        return
    print(report.machine_lines(results["machine"]))
    print(report.memory_line(results["memory"]) + "\n")
    print(report.table(results["rows"]))
    print("".join(f"\n{note}" for note in results["notes"]))
