"""4-bit weights in tiles: they lie where torch's product looks for them, and are the weights they were."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from iaa_runtime.model.linear import int4_tiled
from iaa_runtime.model.linear.int4 import Int4Linear, unpacked
from iaa_runtime.model.linear.int4_tiled import FEW_ROWS, TiledInt4Linear, tiled

OUTPUTS, INPUTS = 24, 384


@pytest.fixture
def quantized() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    return Int4Linear.quantize(torch.randn((OUTPUTS, INPUTS), generator=random))


@pytest.mark.parametrize("rows_at_once", [512, 16])
def test_every_weight_is_where_torch_says(
    quantized: tuple[Tensor, Tensor], rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``matrix_to_m16n8k16_Bint4_layout`` in ``int4mm.cu``: what a lane holds of two tiles of 16 inputs."""
    monkeypatch.setattr(int4_tiled, "ROWS_AT_ONCE", rows_at_once)
    values, tiles = unpacked(quantized[0]).tolist(), tiled(quantized[0]).tolist()
    for output in range(OUTPUTS):
        for tile in range(INPUTS // 16):
            for lane in range(4):
                word = tiles[output // 8][tile // 8][output % 8 * 4 + lane][tile % 8 // 2] & 0xFFFFFFFF
                inputs = [16 * tile + 2 * lane + more for more in (0, 1, 8, 9)]
                places = [base + 8 * (tile % 2) for base in (0, 16, 4, 20)]
                assert [word >> place & 15 for place in places] == [values[output][each] for each in inputs]


@pytest.mark.parametrize("dequantized_at_once", [1 << 24, 8 * INPUTS])
def test_many_rows_are_multiplied_as_untiled(
    quantized: tuple[Tensor, Tensor], dequantized_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int4_tiled, "DEQUANTIZED", dequantized_at_once)
    weight, scale = quantized
    x = torch.randn((3, FEW_ROWS, INPUTS), generator=torch.Generator().manual_seed(1))
    ours = TiledInt4Linear.product(x, tiled(weight), scale.t().contiguous())
    torch.testing.assert_close(ours, F.linear(x, Int4Linear.dequantize(weight, scale, x.dtype)), atol=2e-4, rtol=1e-4)


def test_weights_lie_in_a_file_at_any_address(quantized: tuple[Tensor, Tensor]) -> None:
    mapped = torch.empty(quantized[0].numel() + 1, dtype=torch.uint8)[1:].view_as(quantized[0]).copy_(quantized[0])
    assert torch.equal(tiled(mapped), tiled(quantized[0]))


def test_a_zero_stands_behind_every_scale(quantized: tuple[Tensor, Tensor]) -> None:
    scale = quantized[1].t().contiguous()
    assert torch.equal(int4_tiled.with_zeros(scale), torch.stack((scale, torch.zeros_like(scale)), dim=-1))


@pytest.mark.gpu
@pytest.mark.parametrize("rows", [1, 5, FEW_ROWS, FEW_ROWS + 1])
def test_a_gpu_multiplies_the_same(quantized: tuple[Tensor, Tensor], rows: int) -> None:
    if not int4_tiled.can_multiply_tiles(torch.device("cuda"), torch.bfloat16):
        pytest.skip("this GPU has no product of tiles")
    weight, scale = (each.cuda() for each in quantized)
    values = unpacked(weight)
    pairs = (values[:, ::2] << 4 | values[:, 1::2]).contiguous()
    assert torch.equal(torch.ops.aten._convert_weight_to_int4pack(pairs, 8), tiled(weight))
    x = torch.randn((rows, INPUTS), device="cuda", dtype=torch.bfloat16)
    ours = TiledInt4Linear.product(x, tiled(weight), scale.t().contiguous()).float()
    exact = F.linear(x.float(), Int4Linear.dequantize(weight, scale, torch.float32))
    assert (ours - exact).norm() / exact.norm() < 0.005


def test_sizes_that_fill_no_tiles_stay_as_they_are() -> None:
    for sizes in ((64, 24), (128, 20)):
        assert TiledInt4Linear.tensors(*sizes, torch.bfloat16) == Int4Linear.tensors(*sizes, torch.bfloat16)
    plain, ours = (kind.tensors(INPUTS, OUTPUTS, torch.bfloat16) for kind in (Int4Linear, TiledInt4Linear))
    sizes = [
        {name: torch.empty(shape, dtype=dtype).nbytes for name, (shape, dtype) in tensors.items()}
        for tensors in (plain, ours)
    ]
    assert sizes[0] == sizes[1]
