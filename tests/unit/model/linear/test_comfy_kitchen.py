"""What comfy-kitchen is handed: its operators in plain torch compute, from our weights, what our layers do.

Its CUDA kernels take the same arguments; they have run on no machine of these tests.
"""

from __future__ import annotations

import pytest
import torch

from iaa_runtime.model.linear import comfy_kitchen as kitchen
from iaa_runtime.model.linear.int8 import Int8Linear

package = pytest.importorskip("comfy_kitchen", reason="comfy-kitchen is not installed")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_arguments_are_those_it_expects(dtype: torch.dtype) -> None:
    """Rows and columns where it looks for them; it rounds the tokens, too."""
    random = torch.Generator().manual_seed(0)
    weight, scale = Int8Linear.quantize(torch.randn((48, 128), generator=random))
    for rows in ((1,), (2, 3)):
        x = torch.randn((*rows, 128), generator=random).to(dtype)
        got = kitchen.int8_product(package, x, weight, scale)
        expected = torch.nn.functional.linear(x.float(), Int8Linear.dequantize(weight, scale, torch.float32))
        assert got.shape == expected.shape and got.dtype == dtype
        assert (got.float() - expected).norm() / expected.norm() < 0.02


def test_it_does_nothing_on_a_cpu() -> None:
    assert kitchen.kitchen_for(torch.ones(1, 16), "int8_linear") is None
