"""Weights below 16 bits: what shrinks, by how much, and what the model still says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from make_checkpoint import Geometry, make_checkpoint
from torch import Tensor
from torch.nn import functional as F

from iaa_runtime import IAAModel
from iaa_runtime.checkpoint import files as weights
from iaa_runtime.errors import ConfigError
from iaa_runtime.model.linear import quantized as precision_module
from iaa_runtime.model.linear.quantized import LAYERS, PRECISIONS, QuantizedLinear, layer_for, shrink, stored_bytes

GEOMETRY = Geometry(hidden_size=64, intermediate_size=96, heads=2, kv_heads=1)
ERROR = {"fp8": 0.03, "int8": 0.01, "int4": 0.12}
"""Relative error of a normally distributed matrix; a rounding in the wrong place is far above."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("precision") / "checkpoint", GEOMETRY)


def matrix(outputs: int = 48, inputs: int = 64) -> Tensor:
    """Random weights, with a row of zeros and one of a thousandth of the others' size."""
    values = torch.randn((outputs, inputs), generator=torch.Generator().manual_seed(0))
    values[3], values[4] = 0, values[4] / 1000
    return values


def layer(precision: str, values: Tensor, dtype: torch.dtype) -> QuantizedLinear:
    """A layer that holds ``values``."""
    kind = LAYERS[precision]
    made = kind(values.shape[1], values.shape[0], dtype=dtype)
    made.weight, made.scale = kind.shrink(values, dtype)
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_products_are_close_to_those_of_the_full_weight(precision: str, dtype: torch.dtype) -> None:
    values = matrix()
    made = layer(precision, values, dtype)
    for rows in (1, 3, 40):
        x = torch.randn((rows, 64), generator=torch.Generator().manual_seed(rows)).to(dtype)
        got, expected = made(x).float(), F.linear(x.float(), values)
        assert (got - expected).norm() / expected.norm() < ERROR[precision] + (0.01 if dtype != torch.float32 else 0)
        assert torch.count_nonzero(got[:, 3]) == 0
        small = (got - expected)[:, 4].norm() / expected[:, 4].norm()
        assert small < 2 * ERROR[precision] + 0.01, "a small row has a scale of its own"


def test_whole_numbers_survive_as_they_are() -> None:
    """What the format can hold exactly comes back exactly: signs, order within a group, both halves of a byte."""
    eighths = torch.arange(-8, 8).repeat(4, 4).float() / 8
    shuffled = eighths[:, torch.randperm(64, generator=torch.Generator().manual_seed(1))]
    for values in (shuffled, -shuffled):
        assert torch.equal(layer("int4", values, torch.float32)(torch.eye(64)).t(), values)
    bytes_ = torch.arange(-127, 1).repeat(2, 1).float()
    whole = layer("int8", bytes_, torch.float32)
    assert torch.equal(whole(torch.eye(128)).t(), bytes_)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_widening_in_pieces_is_widening_at_once(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, x = layer(precision, matrix(), torch.float32), torch.ones(2, 3, 64)
    whole = made(x)
    monkeypatch.setattr(precision_module, "WIDENED_ON_CPU", 7 * 64)
    assert torch.allclose(made(x), whole, atol=1e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_shrinking_in_pieces_is_shrinking_at_once(precision: str) -> None:
    values = matrix()
    whole = LAYERS[precision].shrink(values, torch.bfloat16)
    pieces = shrink(LAYERS[precision], values.split(7), torch.bfloat16)
    for got, expected in zip(pieces, whole, strict=True):
        assert torch.equal(got.view(torch.uint8), expected.view(torch.uint8))


def test_the_rule_of_what_shrinks() -> None:
    for name in ("layers.3.self_attn.q_proj.weight", "layers.0.mlp.down_proj.weight"):
        assert layer_for("int4", name) is LAYERS["int4"]
    assert layer_for("int4", "lm_head.weight") is LAYERS["int8"]
    assert layer_for("fp8", "lm_head.weight") is LAYERS["fp8"]
    stays = ["embed_tokens", "norm", "layers.0.input_layernorm", "projector.0", "tower.encoder.layers.0.mlp.fc1"]
    stays += ["tower.encoder.layers.0.self_attn.q_proj"]
    assert [name for name in stays if layer_for("int8", f"{name}.weight")] == []


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_model_keeps_its_words_and_counts_its_bytes(
    folder: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights._Safetensors, "piece_bytes", 4000)
    full = IAAModel.from_pretrained(folder)
    small = IAAModel.from_pretrained(folder, precision=precision)
    ids, pixels = torch.tensor([[5, 6, -200, 7, 8]]), torch.zeros(1, 3, 28, 28)
    for task in ("MM", "Text"):
        given = (ids, pixels) if task == "MM" else (ids.clamp_min(9), None)
        got, expected = small(*given, task), full(*given, task)
        assert (got - expected).norm() / expected.norm() < 4 * ERROR[precision]
        assert not torch.equal(got, expected)
    for bank in ("base", "mm", "vision"):
        state = small.bank(bank).state_dict()
        shapes = {name: tuple(tensor.shape) for name, tensor in full.bank(bank).state_dict().items()}
        counted = sum(stored_bytes(precision, name, shape, 4) for name, shape in shapes.items())
        assert counted == sum(tensor.nbytes for tensor in state.values())
    assert all(p.dtype == torch.float32 for p in small.bank("vision").parameters())


def test_an_unloaded_bank_comes_back_the_same(folder: Path) -> None:
    model = IAAModel.from_pretrained(folder, precision="int4")
    ids = torch.tensor([[5, 6, 7]])
    before = model(ids, task="Text")
    model.unload()
    assert torch.equal(model(ids, task="Text"), before)


def test_a_precision_that_does_not_exist_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no precision 'int3'"):
        IAAModel.from_pretrained(folder, precision="int3")
