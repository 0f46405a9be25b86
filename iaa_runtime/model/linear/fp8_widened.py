"""8-bit floats on a CPU, where nothing multiplies them: widened when they are loaded, and multiplied by oneDNN."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from .base import Weights
from .fp8 import Fp8Linear
from .onednn import OneDNNLinear


class WidenedFp8Linear(OneDNNLinear):
    """The weights of :class:`Fp8Linear` in the model's dtype: its answers in the time, and the memory, of that dtype.

    Widening them for each product takes some thirty times as long as the product.
    """

    @classmethod
    def load(cls, weights: Weights, names: Iterable[str], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
        """Packs what :class:`Fp8Linear` would keep, dequantized."""
        for name, weight, scale in Fp8Linear.quantized(weights, names, transient=True):
            yield name, cls.pack(Fp8Linear.dequantize(weight, scale, dtype))
