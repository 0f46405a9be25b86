"""What comfy-kitchen is handed: its operators in plain torch compute, from our weights, what our layers do.

Its CUDA kernels take the same arguments; they have run on no machine of these tests.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
import torch

from iaa_runtime.model.linear import comfy_kitchen as kitchen
from iaa_runtime.model.linear.int8 import Int8Linear

try:
    import comfy_kitchen as package
except Exception:  # nor does it start with every torch
    package = None


@pytest.mark.skipif(package is None, reason="comfy-kitchen is not installed, or does not start")
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


def test_one_that_does_not_start_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As its version 0.2.40 with torch 2.5: its operators' types end in a ValueError."""
    (tmp_path / "comfy_kitchen.py").write_text("raise ValueError('infer_schema')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "comfy_kitchen"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    kitchen._kitchen.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert kitchen._kitchen("int8_linear", torch.bfloat16, torch.device("cpu")) is None
    assert "comfy-kitchen does not start with torch" in caplog.text
    kitchen._kitchen.cache_clear()
