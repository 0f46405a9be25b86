"""One product of each kind of weight on a CUDA device, by every library at hand: microseconds and error.

    python benchmarks/gpu_products.py [--seed 0] [--rows 1 8 …]

Times are the device's own, of calls captured in a graph, over four weights in turn, which no cache holds together; the
second number is what a call takes of the host. comfy-kitchen is measured where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from iaa_runtime.model.linear.fp8 import Fp8Linear
from iaa_runtime.model.linear.int4 import GROUP, Int4Linear
from iaa_runtime.model.linear.int4_tiled import TiledInt4Linear, tiled
from iaa_runtime.model.linear.int8 import Int8Linear
from iaa_runtime.model.linear.quantized import QuantizedLinear

SHAPES = (14336, 4096), (4096, 14336), (4096, 4096), (1024, 4096)
ROWS = (1, 5, 8, 16, 32, 64, 640)
COPIES = 4
Call = Callable[[], Tensor]


def device_time(calls: Sequence[Call]) -> float:
    """Microseconds of a call, by a graph of all of them, the median of 20 replays."""
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for call in (*calls, *calls):
            call()
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph):
        for call in (*calls, *calls):
            call()
    graph.replay()
    taken = []
    for _ in range(20):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        taken.append(begin.elapsed_time(end) * 1e3 / (2 * len(calls)))
    return statistics.median(taken)


def host_time(calls: Sequence[Call]) -> float:
    """Microseconds that the host takes to launch a call."""
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(10):
        for call in calls:
            call()
    taken = time.perf_counter() - begin
    torch.cuda.synchronize()
    return taken * 1e6 / (10 * len(calls))


def products(weights: Sequence[Tensor]) -> dict[str, Callable[[Tensor, int], Tensor]]:
    """Name -> the product of rows with one of the weights."""
    reference: Any = QuantizedLinear.product
    int8 = [Int8Linear.quantize(weight) for weight in weights]
    int4 = [Int4Linear.quantize(weight) for weight in weights]
    fp8 = [Fp8Linear.quantize(weight) for weight in weights]
    tiles = [(tiled(weight), scale.t().contiguous()) for weight, scale in int4]
    made: dict[str, Callable[[Tensor, int], Tensor]] = {
        "bf16": lambda x, i: F.linear(x, weights[i]),
        "fp8": lambda x, i: Fp8Linear.product(x, *fp8[i]),
        "int8": lambda x, i: Int8Linear.product(x, *int8[i]),
        "int8, dequantized": lambda x, i: reference.__func__(Int8Linear, x, *int8[i]),
        "int4": lambda x, i: TiledInt4Linear.product(x, *tiles[i]),
        "int4, dequantized": lambda x, i: reference.__func__(Int4Linear, x, *int4[i]),
    }
    if importlib.util.find_spec("comfy_kitchen"):
        import comfy_kitchen

        made["int4, comfy-kitchen"] = lambda x, i: comfy_kitchen.gemv_awq_w4a16(
            x, int4[i][0].view(torch.int8), tiles[i][1], torch.zeros_like(tiles[i][1]), group_size=GROUP
        )
    return made


@torch.no_grad()
def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description="One product of each kind of weight on a CUDA device.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}: microseconds, of the host, error\n")
    for outputs, inputs in SHAPES:
        weights = [torch.randn((outputs, inputs), device="cuda", dtype=torch.bfloat16) * 0.02 for _ in range(COPIES)]
        int4 = [Int4Linear.quantize(weight) for weight in weights]
        unpack = [partial(Int4Linear.dequantize, *each, torch.bfloat16) for each in int4]
        print(f"{outputs} x {inputs}, int4 dequantized alone: {device_time(unpack):.1f}, {host_time(unpack):.0f}")
        for rows in options.rows:
            x = torch.randn((rows, inputs), device="cuda", dtype=torch.bfloat16)
            exact = x.float() @ weights[0].float().t()
            print(f"{outputs} x {inputs}, {rows} rows")
            for name, product in products(weights).items():
                error = float((product(x, 0).float() - exact).norm() / exact.norm())
                calls = [partial(product, x, copy) for copy in range(COPIES)]
                try:
                    print(f"  {name}: {device_time(calls):.1f}, {host_time(calls):.0f}, {error:.3f}", flush=True)
                except RuntimeError as failed:  # a kernel that cannot be captured
                    print(f"  {name}: {str(failed).splitlines()[0]}", flush=True)


if __name__ == "__main__":
    main()
