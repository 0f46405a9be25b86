"""Packed weights: the same products, of the right matrices, and only where the processor can."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch
from make_checkpoint import Geometry, make_checkpoint
from torch.nn import functional as F

from iaa_runtime import IAAModel, iaa
from iaa_runtime.model import ops
from iaa_runtime.model.packed import PackedLinear, can_pack, fast_in_bf16

CPU = torch.device("cpu")
PACKS = [dtype for dtype in (torch.float32, torch.bfloat16) if can_pack(dtype, CPU)]
BOUND = {torch.float32: 1e-6, torch.bfloat16: 5e-3}

needs_packing = pytest.mark.skipif(not PACKS, reason="this processor or this build of torch packs no weights")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("packed") / "checkpoint", Geometry())


@needs_packing
@pytest.mark.parametrize("dtype", PACKS, ids=str)
@pytest.mark.parametrize("shape", [(48, 64), (512, 128), (33, 7)], ids=str)
def test_products_are_those_of_the_plain_weight(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=random).to(dtype)
    layer = PackedLinear(shape[1], shape[0], dtype=dtype)
    layer.weight = PackedLinear.pack(weight)
    assert torch.equal(layer.weight.to_dense(), weight)
    for rows in ((1,), (2, 1), (3, 40)):
        x = torch.randn((*rows, shape[1]), generator=random).to(dtype)
        got, expected = layer(x), F.linear(x.double(), weight.double())
        assert got.dtype == dtype
        assert got.shape == expected.shape
        assert (got.double() - expected).norm() / expected.norm() < BOUND[dtype]


@needs_packing
def test_the_blocks_matrices_are_packed_and_nothing_else(folder: Path) -> None:
    model, plain = IAAModel.from_pretrained(folder), IAAModel.from_pretrained(folder, ops=ops)
    for bank in ("base", "mm", "vision"):
        packed = {name for name, tensor in model.bank(bank).state_dict().items() if tensor.is_mkldnn}
        blocks = {name for name in model.bank(bank).state_dict() if name.startswith("layers.") and "_proj" in name}
        assert packed == blocks
        for name, tensor in plain.bank(bank).state_dict().items():
            got = model.bank(bank).state_dict()[name]
            assert torch.equal(got.to_dense() if name in packed else got, tensor)


@needs_packing
def test_weights_that_a_host_moves_stay_in_rows(folder: Path) -> None:
    hosted = IAAModel.from_pretrained(folder, ops=ops)
    kept = IAAModel(hosted.checkpoint, residency=lambda banks, working_bytes: None)
    for model in (hosted, kept):
        assert not any(tensor.is_mkldnn for tensor in model.bank("base").state_dict().values())


def test_elsewhere_weights_stay_in_rows_and_say_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, pixels = torch.tensor([[5, 6, -200, 7, 8]]), torch.zeros(1, 3, 28, 28)
    here = IAAModel.from_pretrained(folder)(ids, pixels, "MM")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert not can_pack(torch.float32, CPU)
    elsewhere = IAAModel.from_pretrained(folder)
    torch.testing.assert_close(elsewhere(ids, pixels, "MM"), here, atol=1e-5, rtol=1e-5)
    assert not any(tensor.is_mkldnn for tensor in elsewhere.bank("base").state_dict().values())


def test_what_cannot_be_packed() -> None:
    assert not can_pack(torch.float16, CPU)
    assert not can_pack(torch.float32, torch.device("cuda"))


def test_bf16_is_chosen_where_the_processor_has_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iaa, "fast_in_bf16", fast_in_bf16)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert IAAModel.from_pretrained(folder).dtype == torch.float32
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert (IAAModel.from_pretrained(folder).dtype == torch.bfloat16) == can_pack(torch.bfloat16, CPU)
    assert IAAModel.from_pretrained(folder, torch.float32).dtype == torch.float32
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert IAAModel.from_pretrained(folder).dtype == torch.float32
