"""Weights below 16 bits: what is quantized, how closely, and what the model still answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path

import pytest
import torch
from make_checkpoint import Geometry, make_checkpoint
from torch import Tensor
from torch.nn import functional as F

from iaa_runtime import IAAModel
from iaa_runtime.checkpoint import formats
from iaa_runtime.errors import ConfigError
from iaa_runtime.model import ops
from iaa_runtime.model.banks import bank_bytes
from iaa_runtime.model.linear import int8_onednn, kinds, quantized
from iaa_runtime.model.linear.base import SpecialLinear, products
from iaa_runtime.model.linear.fp8 import round_rows, rounded_product
from iaa_runtime.model.linear.fp8_widened import WidenedFp8Linear
from iaa_runtime.model.linear.int4 import Int4Linear, group_size
from iaa_runtime.model.linear.int4_packed import GROUPS, PackedInt4Linear, can_read_packed
from iaa_runtime.model.linear.int8 import Int8Linear
from iaa_runtime.model.linear.int8_onednn import PACKED_AFTER, SINGLE_ROWS, OneDNNInt8Linear, can_multiply_integers
from iaa_runtime.model.linear.kinds import PRECISIONS, QUANTIZED, kinds_for
from iaa_runtime.model.linear.quantized import QuantizedLinear

GEOMETRY = Geometry(hidden_size=64, intermediate_size=96, heads=2, kv_heads=1)
ERROR = {"fp8": 0.035, "int8": 0.01, "int4": 0.12}
"""Relative error of a normally distributed matrix; a rounding in the wrong place is far above."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("precision") / "checkpoint", GEOMETRY)


def matrix(outputs: int = 48, inputs: int = 64) -> Tensor:
    """Random weights, with a row of zeros and one of a thousandth of the others' size."""
    values = torch.randn((outputs, inputs), generator=torch.Generator().manual_seed(0))
    values[3], values[4] = 0, values[4] / 1000
    return values


def kind_of(precision: str) -> type[QuantizedLinear]:
    """The kind of a precision's matrices."""
    kind = QUANTIZED[precision].matrix
    assert kind is not None and issubclass(kind, QuantizedLinear)
    return kind


def layer(precision: str, values: Tensor, dtype: torch.dtype) -> QuantizedLinear:
    """A layer that holds ``values``."""
    kind = kind_of(precision)
    made = kind(values.shape[1], values.shape[0], dtype=dtype)
    weight, scale = kind.quantize(values)
    made.load_state_dict({"weight": weight, "weight_scale": scale})
    return made


class OneWeight:
    """A bank of one weight that comes in chunks of 7 rows."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def stored_dtype(self, name: str) -> torch.dtype:
        return self.values.dtype

    def load(self, names: Iterable[str], *, transient: bool = False) -> Iterator[tuple[str, Tensor]]:
        for name in names:
            yield name, self.values

    def chunks(self, name: str) -> Iterator[Tensor]:
        yield from self.values.split(7)

    quantized = False

    def as_stored(self, names: Iterable[str], *, transient: bool = False) -> Iterator[tuple[str, Tensor]]:
        raise NotImplementedError


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


@pytest.mark.parametrize("precision", PRECISIONS)
def test_float16_does_not_overflow(precision: str) -> None:
    """The sum before scaling would: 4096 products of 127 and 1 are 520,192, and float16 ends at 65,504."""
    values = torch.full((8, 4096), 0.02)
    got = layer(precision, values, torch.float16)(torch.ones(2, 4096, dtype=torch.float16))
    assert torch.allclose(got.float(), torch.full((2, 8), 81.92), rtol=0.02)


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
def test_dequantizing_in_parts_is_dequantizing_at_once(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, x = layer(precision, matrix(), torch.float32), torch.ones(2, 3, 64)
    whole = made(x)
    monkeypatch.setattr(quantized, "DEQUANTIZED_ON_CPU", 7 * 64)
    assert torch.allclose(made(x), whole, atol=1e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_quantizing_in_chunks_is_quantizing_at_once(precision: str) -> None:
    values = matrix()
    whole = kind_of(precision).quantize(values)
    chunked = dict(kind_of(precision).load(OneWeight(values), ["up_proj.weight"], torch.bfloat16))
    assert list(chunked) == ["up_proj.weight", "up_proj.weight_scale"]
    for got, expected in zip(chunked.values(), whole, strict=True):
        assert got.dtype == expected.dtype and torch.equal(got.float(), expected.float())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_quantized(folder: Path, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for can in ("can_multiply_integers", "can_read_packed", "can_multiply"):
        monkeypatch.setattr(kinds, can, lambda *_: False)
    model = IAAModel.from_pretrained(folder, precision=precision)
    model.load()
    for bank in model.loaded_banks:
        found = {path: layer for path, layer in model.bank(bank).named_modules() if isinstance(layer, SpecialLinear)}
        assert ("lm_head" in found) == (bank in ("text", "mm", "g"))
        for path, layer in found.items():
            looking = bank in ("mm", "g") and path.endswith(("q_proj", "k_proj"))
            exact = looking or path.endswith(("lm_head", "v_proj", "o_proj"))
            assert type(layer) is (Int8Linear if precision == "int4" and exact else kind_of(precision))
        found.pop("lm_head", None)
        plain = IAAModel.from_pretrained(folder, ops=ops).bank(bank)
        matrices = {path for path, _ in plain.named_modules() if path.startswith("layers.") and path.endswith("_proj")}
        assert set(found) == matrices


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_model_keeps_its_words_and_counts_its_bytes(
    folder: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for can in ("can_multiply_integers", "can_read_packed", "can_multiply"):
        monkeypatch.setattr(kinds, can, lambda *_: False)
    monkeypatch.setattr(formats._SafetensorsFile, "chunk_bytes", 4000)
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
        counted = bank_bytes(bank, full.config, full.checkpoint.vision, torch.float32, QUANTIZED[precision])
        assert counted == {name: tensor.nbytes for name, tensor in state.items()}
    assert all(p.dtype == torch.float32 for p in small.bank("vision").parameters())


needs_vnni = pytest.mark.skipif(not can_multiply_integers(), reason="this processor is without VNNI")


@needs_vnni
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("scale", [1e-5, 1e-3, 1.0, 300.0])
def test_products_of_whole_numbers(dtype: torch.dtype, scale: float) -> None:
    """Each token has a scale of its own: a small one beside a large one is as exact."""
    values = matrix()
    made = OneDNNInt8Linear(64, 48, dtype=dtype)
    made.load_state_dict(dict(OneDNNInt8Linear.load(OneWeight(values), ["weight"], dtype)), assign=True)
    for rows in ((1,), (2, 3), (70,)):
        x = torch.randn((*rows, 64), generator=torch.Generator().manual_seed(len(rows)))
        x[0] *= scale
        got, expected = made(x.to(dtype)).float(), F.linear(x.to(dtype).float(), values)
        assert got.shape == expected.shape
        error = (got - expected).flatten(0, -2).norm(dim=-1) / expected.flatten(0, -2).norm(dim=-1)
        assert error.max() < 0.03
    broken = torch.ones(3, 64, dtype=dtype)
    broken[1, 5] = float("nan")
    assert made(broken).isnan().any(-1).tolist() == [False, True, False]
    assert made(torch.zeros(2, 64, dtype=dtype)).abs().max() == 0
    assert torch.allclose(made(torch.full((2, 64), 60000.0)).float(), 60000 * values.sum(-1), rtol=0.1, atol=3e4)


@needs_vnni
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("rows", [2, SINGLE_ROWS, SINGLE_ROWS + 1, 16, 19])
def test_a_token_is_multiplied_as_it_is_alone(rows: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever way a number of rows takes; a weight goes through in several slabs."""
    monkeypatch.setattr(int8_onednn, "SLAB", 20 * 64)
    monkeypatch.setattr(int8_onednn, "SUMS_AT_ONCE", 20 * 32)
    made = OneDNNInt8Linear(64, 48, dtype=dtype)
    made.load_state_dict(dict(OneDNNInt8Linear.load(OneWeight(matrix()), ["weight"], dtype)), assign=True)
    x = torch.randn((rows, 64), generator=torch.Generator().manual_seed(rows)).to(dtype)
    assert torch.equal(made(x), torch.cat([made(token[None]) for token in x]))


@needs_vnni
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_weights_that_often_meet_few_rows_are_packed_and_nothing_changes(dtype: torch.dtype) -> None:
    made = OneDNNInt8Linear(64, 48, dtype=dtype)
    made.load_state_dict(dict(OneDNNInt8Linear.load(OneWeight(matrix()), ["weight"], dtype)), assign=True)
    inputs = [torch.randn((rows, 64), generator=torch.Generator().manual_seed(rows)).to(dtype) for rows in (1, 3, 640)]
    before = [made(x) for x in inputs]
    for _ in range(PACKED_AFTER):
        assert torch.equal(made(inputs[0]), before[0]) and torch.equal(made(inputs[2]), before[2])
    assert not made.packed and made.weight is not None
    for _ in range(2 * PACKED_AFTER):
        assert torch.equal(made(inputs[1]), before[1])
    assert made.packed and made.weight is None
    for x, expected in zip(inputs, before, strict=True):
        assert torch.equal(made(x), expected)


@needs_vnni
@pytest.mark.parametrize("rows", [1, 5, 40])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_layers_of_one_input_make_of_it_what_each_does_alone(precision: str, rows: int) -> None:
    kind = kinds_for(precision, torch.float32, torch.device("cpu")).matrix
    assert kind is not None
    layers = [kind(64, width, dtype=torch.float32) for width in (48, 112)]
    for made in layers:
        values = torch.randn((made.out_features, 64), generator=torch.Generator().manual_seed(made.out_features))
        made.load_state_dict(dict(kind.load(OneWeight(values), ["weight"], torch.float32)), assign=True)
    x = torch.randn((1, rows, 64), generator=torch.Generator().manual_seed(rows))
    for together, alone in zip(products(x, *layers), [made(x) for made in layers], strict=True):
        assert torch.equal(together, alone)


@pytest.mark.parametrize("key_alone", [False, True])
def test_layers_of_several_kinds_make_of_one_input_what_each_does_alone(key_alone: bool) -> None:
    """In int4 a block of the base has queries and keys in 4 bits; older folders' adaptor blocks have keys alone so."""
    chosen, layers = kinds_for("int4", torch.float32, torch.device("cpu")), []
    query = chosen.sensitive if key_alone else chosen.matrix
    for number, kind in enumerate((query, chosen.matrix, chosen.sensitive)):
        assert kind is not None
        made = kind(64, 64, dtype=torch.float32)
        values = torch.randn((64, 64), generator=torch.Generator().manual_seed(number))
        made.load_state_dict(dict(kind.load(OneWeight(values), ["weight"], torch.float32)), assign=True)
        layers.append(made)
    x = torch.randn((1, 40, 64), generator=torch.Generator().manual_seed(9))
    alone = [made(x) for made in layers]
    alike = 2 if key_alone else 1
    assert type(layers[0]) is type(layers[alike]) is not type(layers[3 - alike])
    assert all(torch.equal(*pair) for pair in zip(products(x, *layers), alone, strict=True))
    assert not any(torch.equal(*pair) for pair in combinations(alone, 2))


@needs_vnni
def test_models_multiply_whole_numbers_where_the_processor_can(folder: Path) -> None:
    packed = PackedInt4Linear if can_read_packed() else QUANTIZED["int4"].matrix
    for precision, kinds_of in (("int8", {OneDNNInt8Linear}), ("int4", {OneDNNInt8Linear, packed})):
        model = IAAModel.from_pretrained(folder, precision=precision)
        model.load()
        layers = [layer for bank in ("base", "mm") for layer in model.bank(bank).modules()]
        assert {type(layer) for layer in layers if isinstance(layer, SpecialLinear)} == kinds_of
        hosted = IAAModel(model.checkpoint, residency=lambda banks, working_bytes: None, precision=precision)
        assert not any(isinstance(layer, (OneDNNInt8Linear, PackedInt4Linear)) for layer in hosted.bank("mm").modules())


def test_an_unloaded_bank_comes_back_the_same(folder: Path) -> None:
    model = IAAModel.from_pretrained(folder, precision="int4")
    ids = torch.tensor([[5, 6, 7]])
    before = model(ids, task="Text")
    model.unload()
    assert torch.equal(model(ids, task="Text"), before)


def test_a_precision_that_does_not_exist_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no precision 'int3'"):
        IAAModel.from_pretrained(folder, precision="int3")


def in_whole_numbers(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """A product with 4-bit weights in which tokens, and a row's weights, are whole numbers of 8 bits with one scale."""
    largest = x.abs().amax(-1, keepdim=True)
    step = ((largest if x.dtype == torch.bfloat16 else largest.float()) / 126).float()
    shared = scale.float().abs().amax(-1, keepdim=True) * 8 / 127
    factors = (scale.float() / shared * 256).round().repeat_interleave(weight.shape[1] * 2 // scale.shape[1], dim=1)
    whole = Int4Linear.dequantize(weight, torch.ones_like(scale), torch.float32)
    widened = ((whole * factors + 128) / 256).floor()
    return F.linear((x.float() / step + 0.5).floor() * step, widened * shared)


@pytest.mark.skipif(not can_read_packed(), reason="this processor is without 512-bit vectors")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(64, 64), (112, 64), (64, 112), (352, 128), (1000, 320)], ids=str)
def test_packed_weights_of_four_bits_are_those_that_were_packed(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    """Few rows and many, whole blocks and a last one, groups that torch's product knows and one that it does not."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    given = layer("int4", values, dtype)
    packed = PackedInt4Linear(shape[1], shape[0], dtype=dtype)
    packed.load_state_dict(dict(PackedInt4Linear.load(OneWeight(values), ["weight"], dtype)), assign=True)
    for rows in ((1,), (2, 3), (2, 40)):
        x = torch.randn((*rows, shape[1]), generator=torch.Generator().manual_seed(1)).to(dtype)
        got, expected = packed(x), given(x)
        assert got.shape == expected.shape and got.dtype == dtype and got.is_contiguous()
        assert torch.equal(packed(x.repeat_interleave(2, dim=-1)[..., ::2]), got)
        if can_multiply_integers() and (rows == (2, 40) or group_size(shape[1]) not in GROUPS):
            assert (got.float() - expected.float()).norm() / expected.float().norm() < 0.02  # int8's part of 0.12
            expected = in_whole_numbers(x, *Int4Linear.quantize(values))
        assert (got.float() - expected.float()).norm() / expected.float().norm() < 5e-3


def test_floats_of_eight_bits_are_widened_on_a_cpu() -> None:
    """The same numbers, in the model's dtype: what Fp8Linear multiplies, multiplied by oneDNN."""
    values = matrix()
    given = layer("fp8", values, torch.float32)
    widened = WidenedFp8Linear(64, 48, dtype=torch.float32)
    widened.load_state_dict(dict(WidenedFp8Linear.load(OneWeight(values), ["weight"], torch.float32)), assign=True)
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(widened(x), given(x))


@pytest.mark.parametrize("beside", [0.0, 1e-3, 1e3, float("inf"), float("nan")])
def test_a_row_is_rounded_to_floats_of_eight_bits_as_it_is_alone(beside: float) -> None:
    values = torch.randn((2, 64), generator=torch.Generator().manual_seed(0))
    rounded, scales = round_rows(torch.stack([values[0], values[1] * beside]))
    alone, scale = round_rows(values[:1])
    assert torch.equal(rounded[:1].float(), alone.float()) and torch.equal(scales[:1], scale)
    error = alone.float() * scale - values[:1]
    assert error.norm() / values[:1].norm() < ERROR["fp8"]
    assert (error.abs() <= values[:1].abs() / 16).all()  # half of the last of three bits
    assert torch.equal(torch.frexp(scale).mantissa, torch.full_like(scale, 0.5))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_rows_of_any_size_are_multiplied_as_floats_of_eight_bits(dtype: torch.dtype) -> None:
    """In float16 the sum without its scale would be infinite."""
    weight, scale = kind_of("fp8").quantize(torch.ones(32, 2048))
    try:
        torch._scaled_mm(weight, weight.t(), scale_a=scale, scale_b=scale)
    except (NotImplementedError, RuntimeError):
        pytest.skip("this torch multiplies no floats of eight bits on a CPU")
    rows = torch.tensor([[1.0], [0.0], [2.0**-10], [8.0]]).expand(4, 2048).to(dtype)
    product = rounded_product(rows, weight, scale)
    assert product.dtype == dtype
    assert torch.equal(product, 2048 * rows[:, :32])
