"""The kernel that unpacks 4-bit weights on a GPU gives what torch's operators give, and is done without elsewhere."""

from __future__ import annotations

import pytest
import torch

from iaa_runtime.model.linear.int4 import Int4Linear
from iaa_runtime.model.linear.int4_cuda import kernel_for

DTYPES = (torch.bfloat16, torch.float16)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("inputs", [384, 48, 40])
def test_a_gpu_unpacks_the_same(dtype: torch.dtype, inputs: int) -> None:
    assert kernel_for(torch.device("cuda", 0), dtype) is not None
    random = torch.Generator().manual_seed(0)
    weight, scale = Int4Linear.quantize(torch.randn((64, inputs), generator=random) * 0.02)
    ours = Int4Linear.dequantize(weight.cuda(), scale.cuda(), dtype).cpu()
    assert torch.equal(ours, Int4Linear.dequantize(weight, scale, dtype))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("device", [torch.device("cpu"), torch.device("meta"), torch.device("cuda", 0)], ids=str)
def test_nothing_compiles_where_there_is_no_gpu(device: torch.device, caplog: pytest.LogCaptureFixture) -> None:
    kernel_for.cache_clear()
    assert [kernel_for(device, dtype) for dtype in (*DTYPES, torch.float32)] == [None] * 3
    assert bool(caplog.records) is (device.type == "cuda")
