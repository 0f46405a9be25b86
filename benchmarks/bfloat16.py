"""Captions in bfloat16 against float32 on this processor, in turn, in one run.

    python benchmarks/bfloat16.py [--size small] [--repeats 5] [--threads N]

The same seeded checkpoint (stored in bf16), question and image; the ratio is the median of pairs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch

from iaa_runtime import IAAModel
from iaa_runtime.bench.checkpoints import SIZES, write_checkpoint
from iaa_runtime.bench.timing import Clock, interleaved, median_ratio

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> int:
    """Prints seconds and ratios of the parts of a caption."""
    parser = argparse.ArgumentParser(description="bfloat16 against float32.")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--new-tokens", type=int, default=64, metavar="N")
    parser.add_argument("--repeats", type=int, default=5, metavar="N")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), metavar="N")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size = SIZES[options.size]
    side = size.vision.image_size
    pixels = torch.randn((1, 3, side, side), generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[1, 5, -200, *range(10, 50)]])
    with tempfile.TemporaryDirectory(prefix="iaa-bfloat16-") as temporary:
        folder = write_checkpoint(Path(temporary) / "checkpoint", size, torch.bfloat16, 0)
        models = {name: IAAModel.from_pretrained(folder, dtype) for name, dtype in DTYPES.items()}
        print(f"avx512_bf16: {'avx512_bf16' in Path('/proc/cpuinfo').read_text()}, threads: {options.threads}")
        for what, new in (
            ("vision, prefill, first token", 1),
            (f"caption of {options.new_tokens}", options.new_tokens),
        ):
            runs = {
                name: partial(model.generate, ids, pixels, "MM", max_new_tokens=new) for name, model in models.items()
            }
            seconds = interleaved(runs, options.repeats, Clock("wall", torch.device("cpu")))
            print(f"{what}: bf16 / fp32 {median_ratio(seconds['bf16'], seconds['fp32']):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
