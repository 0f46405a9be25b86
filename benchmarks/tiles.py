"""4-bit weights put into NVIDIA's tiles on a CPU by words of four bytes, beside moving every byte alone.

    python benchmarks/tiles.py [--threads 1] [--repeats 7] [--seed 0]

Both give the same tiles. Ratios are medians of pairs.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor

from iaa_runtime.model.linear.int4_tiled import INPUTS, OUTPUTS, tiled

SHAPES = (14336, 4096), (4096, 14336), (4096, 4096), (1024, 4096)


def by_bytes(weight: Tensor) -> Tensor:
    """What :func:`tiled` gives, by one permutation of bytes."""
    outputs, pairs = weight.shape
    first, second = weight.view(-1, OUTPUTS, pairs * 2 // INPUTS, 4, 2, 2, 4).unbind(5)
    values = torch.stack((first & 15 | second << 4, first >> 4 | second & 240), dim=-1)
    tiles = values.permute(0, 2, 1, 5, 3, 6, 4).flatten(-2)
    return tiles.contiguous().view(torch.int32).view(outputs // OUTPUTS, -1, 32, 4)


def main() -> None:
    """Measures and prints a line for each shape."""
    parser = argparse.ArgumentParser(description="4-bit weights put into NVIDIA's tiles on a CPU.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    for outputs, inputs in SHAPES:
        weight = torch.randint(0, 256, (outputs, inputs // 2), dtype=torch.uint8)
        assert torch.equal(tiled(weight), by_bytes(weight))
        ratios = []
        for _ in range(options.repeats):
            begin = time.perf_counter()
            by_bytes(weight)
            between = time.perf_counter()
            tiled(weight)
            ratios.append((time.perf_counter() - between) / (between - begin))
        print(f"{outputs} x {inputs}: {statistics.median(ratios):.2f} of the time by bytes")


if __name__ == "__main__":
    main()
