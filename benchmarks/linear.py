"""How fast each kind of linear layer multiplies on this CPU, beside the faster of packed float32 and bfloat16.

    python benchmarks/linear.py [--outputs 14336] [--inputs 4096] [--rows 1 8 64 640] [--repeats 7] [--seed 0]

Rows are 1 in a decode step, 8 in a batch's, 640 in a prompt about an image. Kinds take turns; ratios are of medians.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from iaa_runtime.model.linear.base import SpecialLinear
from iaa_runtime.model.linear.kinds import QUANTIZED, kinds_for

CPU = torch.device("cpu")


class OneWeight:
    """A bank of one matrix in memory."""

    quantized = False

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight

    def stored_dtype(self, name: str) -> torch.dtype:
        """float64, which is no kind's own, so that weights are packed."""
        return torch.float64

    def load(self, names: Iterable[str], *, transient: bool = False) -> Iterator[tuple[str, Tensor]]:
        """The matrix under each name."""
        for name in names:
            yield name, self._weight

    def chunks(self, name: str) -> Iterator[Tensor]:
        """The matrix in chunks of rows."""
        yield from self._weight.split(1024)

    def as_stored(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Nothing: it is not quantized yet."""
        return iter(())


def layers(weight: Tensor) -> dict[str, tuple[torch.nn.Module, torch.dtype]]:
    """The layer that a model in each precision would have here, and the reference where that is another."""
    wanted: dict[str, tuple[type[SpecialLinear] | None, torch.dtype]] = {
        "fp32": (kinds_for(None, torch.float32, CPU).matrix, torch.float32),
        "bf16": (kinds_for(None, torch.bfloat16, CPU).matrix, torch.bfloat16),
    }
    for name, kinds in QUANTIZED.items():
        chosen = kinds_for(name, torch.bfloat16, CPU).matrix
        wanted[name] = (chosen, torch.bfloat16)
        if chosen is not kinds.matrix:
            wanted[f"{name}, reference"] = (kinds.matrix, torch.bfloat16)
    made: dict[str, tuple[torch.nn.Module, torch.dtype]] = {}
    for name, (kind, dtype) in wanted.items():
        if kind is None:
            layer: torch.nn.Module = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=dtype)
            layer.load_state_dict({"weight": weight})
        else:
            layer = kind(weight.shape[1], weight.shape[0], dtype=dtype, device="meta")
            layer.load_state_dict(dict(kind.load(OneWeight(weight.to(dtype)), ["weight"], dtype)), assign=True)
        made[name] = (layer.requires_grad_(False), dtype)
    return made


@torch.no_grad()
def main() -> None:
    """Measures and prints a table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outputs", type=int, default=14336)
    parser.add_argument("--inputs", type=int, default=4096)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 64, 640])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    weight = torch.randn(options.outputs, options.inputs) * 0.02
    kinds = layers(weight)
    print(f"{platform.processor() or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, torch", end=" ")
    print(f"{torch.__version__}, {torch.get_num_threads()} threads, {options.outputs} x {options.inputs}\n")
    print("| rows | " + " | ".join(kinds) + " | error of int8 |\n|---:|" + "---:|" * (len(kinds) + 1))
    for rows in options.rows:
        x = torch.randn(rows, options.inputs)
        seconds: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(options.repeats + 1):  # the first round is not counted
            for name, (layer, dtype) in kinds.items():
                given = x.to(dtype)
                begun = time.perf_counter()
                layer(given)
                seconds[name].append(time.perf_counter() - begun)
        medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
        fastest = min(medians["fp32"], medians["bf16"])
        exact = x @ weight.t()
        layer, dtype = kinds["int8"]
        error = (layer(x.to(dtype)).float() - exact).norm() / exact.norm()
        print(f"| {rows} | " + " | ".join(f"{m / fastest:.2f}" for m in medians.values()) + f" | {float(error):.4f} |")


if __name__ == "__main__":
    main()
