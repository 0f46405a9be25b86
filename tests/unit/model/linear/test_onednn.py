"""oneDNN's linear layers: the same products, of the right matrices, and only where the processor can."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch
from make_checkpoint import Geometry, make_checkpoint
from torch.nn import functional as F

from iaa_runtime import IAAModel
from iaa_runtime.model import ops
from iaa_runtime.model.linear import kinds
from iaa_runtime.model.linear.onednn import OneDNNLinear, can_multiply

CPU = torch.device("cpu")
DTYPES = [dtype for dtype in (torch.float32, torch.bfloat16) if can_multiply(dtype, CPU)]
BOUND = {torch.float32: 1e-6, torch.bfloat16: 5e-3}

needs_onednn = pytest.mark.skipif(not DTYPES, reason="this processor or this build of torch is without them")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("onednn") / "checkpoint", Geometry())


@pytest.fixture(autouse=True)
def not_by_intel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever made the processor of the tests."""
    monkeypatch.setattr(kinds, "is_intel", lambda: False)


@needs_onednn
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(48, 64), (512, 128), (33, 7)], ids=str)
def test_products_are_those_of_the_plain_weight(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=random).to(dtype)
    layer = OneDNNLinear(shape[1], shape[0], dtype=dtype)
    for layer.weight in (weight, OneDNNLinear.pack(weight)):
        for rows in ((1,), (2, 1), (3, 40)):
            x = torch.randn((*rows, shape[1]), generator=random).to(dtype)
            got, expected = layer(x), F.linear(x.double(), weight.double())
            assert got.dtype == dtype
            assert got.shape == expected.shape
            assert (got.double() - expected).norm() / expected.norm() < BOUND[dtype]
    assert torch.equal(layer.weight.to_dense(), weight)


@needs_onednn
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("wanted", DTYPES, ids=str)
def test_the_blocks_matrices_and_nothing_else(tmp_path: Path, stored: torch.dtype, wanted: torch.dtype) -> None:
    """Packed unless they can be views of the file as they are."""
    folder = make_checkpoint(tmp_path / "checkpoint", Geometry(), dtype=stored)
    model = IAAModel.from_pretrained(folder, wanted)
    plain = IAAModel.from_pretrained(folder, wanted, ops=ops)
    packs = not stored == wanted == torch.float32
    for bank in ("base", "mm", "vision"):
        matrices = {name for name in plain.bank(bank).state_dict() if name.startswith("layers.") and "_proj" in name}
        layers = {name for name, layer in model.bank(bank).named_modules() if isinstance(layer, OneDNNLinear)}
        assert {f"{name}.weight" for name in layers} == matrices
        for name, tensor in plain.bank(bank).state_dict().items():
            got = model.bank(bank).state_dict()[name]
            assert got.is_mkldnn == (packs and name in matrices)
            assert torch.equal(got.to_dense() if got.is_mkldnn else got, tensor)


@needs_onednn
def test_weights_that_a_host_moves_stay_in_plain_layers(folder: Path) -> None:
    hosted = IAAModel.from_pretrained(folder, ops=ops)
    kept = IAAModel(hosted.checkpoint, residency=lambda banks, working_bytes: None)
    for model in (hosted, kept):
        assert not any(isinstance(layer, OneDNNLinear) for layer in model.bank("base").modules())


def test_elsewhere_plain_layers_say_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, pixels = torch.tensor([[5, 6, -200, 7, 8]]), torch.zeros(1, 3, 28, 28)
    here = IAAModel.from_pretrained(folder)(ids, pixels, "MM")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert not can_multiply(torch.float32, CPU)
    elsewhere = IAAModel.from_pretrained(folder)
    torch.testing.assert_close(elsewhere(ids, pixels, "MM"), here, atol=1e-5, rtol=1e-5)
    assert not any(isinstance(layer, OneDNNLinear) for layer in elsewhere.bank("base").modules())


def test_what_it_does_not_multiply() -> None:
    assert not can_multiply(torch.float16, CPU)
    assert not can_multiply(torch.float32, torch.device("cuda"))
