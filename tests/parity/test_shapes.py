"""Random checkpoints of other shapes and packings, against transformers' own Llama and CLIP on the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from make_checkpoint import SHARDS_PREFIX, Geometry, make_checkpoint
from safetensors.torch import load_file, save_file
from stock_models import stock_features, stock_generate, stock_image_features, stock_llama, stock_logits
from torch import Tensor

from iaa_runtime import IAAModel

SHAPES = {
    "grouped": Geometry(),
    "one key head": Geometry(heads=8, kv_heads=1, hidden_size=64),
    "no grouping": Geometry(heads=4, kv_heads=4),
    "three to one": Geometry(heads=6, kv_heads=2, hidden_size=48),
    "explicit head size": Geometry(head_dim=24, heads=3, kv_heads=1, hidden_size=48),
    "small rope base": Geometry(rope_theta=10000.0),
    "linear projector": Geometry(projector="linear"),
    "patch 16 of 64": Geometry(patch_size=16, image_size=64, vision_heads=4),
    "patches that leave a rest": Geometry(patch_size=14, image_size=34),
    "last tower layer, class token": Geometry(select_layer=-1, select_feature="cls_patch"),
    "first tower layer": Geometry(select_layer=1, vision_act="gelu"),
    "adaptors at the ends": Geometry(layers=5, insert_layers=(0, 4)),
    "an adaptor behind each layer": Geometry(layers=3, insert_layers=(0, 1, 2)),
    "published places": Geometry(
        layers=32,
        insert_layers=(0, 1, 5, 6, 10, 11, 15, 16, 20, 21, 25, 26, 30, 31),
        hidden_size=16,
        heads=2,
        kv_heads=1,
    ),
    "large norm epsilon": Geometry(rms_norm_eps=1e-2),
}
EOS = 257


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Relative: the norm of the difference by the norm of what was expected."""
    assert ours.shape == theirs.shape
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


def prompts(geometry: Geometry, rows: int = 2, length: int = 9) -> tuple[Tensor, Tensor]:
    """Ids (one -200 a row, at a place of its own) and images."""
    random = torch.Generator().manual_seed(7)
    ids = torch.randint(0, 250, (rows, length), generator=random)
    for row in range(rows):
        ids[row, 2 + row] = -200
    return ids, torch.randn((rows, 3, geometry.image_size, geometry.image_size), generator=random)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_equals_the_stock_models(shape: str, tmp_path: Path) -> None:
    geometry = SHAPES[shape]
    folder = make_checkpoint(tmp_path / "checkpoint", geometry)
    model = IAAModel.from_pretrained(folder, dtype=torch.float32)
    ids, pixels = prompts(geometry)
    for task in ("MM", "G"):
        features = stock_image_features(folder, pixels, task)
        assert distance(model.encode_images(pixels, task=task), features) <= 1e-5
        assert features.shape[1] == model.num_image_tokens
        assert distance(model(ids, pixels, task=task), stock_logits(stock_llama(folder, task), ids, features)) <= 1e-5
    words = ids.clamp_min(0)
    assert distance(model(words, task="Text"), stock_logits(stock_llama(folder, "Text"), words)) <= 1e-5


@pytest.mark.parametrize("shape", ["grouped", "explicit head size", "linear projector"])
@pytest.mark.parametrize("task", ["MM", "G"])
def test_greedy_tokens_equal_the_stock_models(shape: str, task: str, tmp_path: Path) -> None:
    geometry = SHAPES[shape]
    folder = make_checkpoint(tmp_path / "checkpoint", geometry, seed=1)
    model = IAAModel.from_pretrained(folder)
    ids, pixels = prompts(geometry)
    ours = model.generate(ids, pixels, task=task, max_new_tokens=20, eos_token_id=EOS)
    features = stock_image_features(folder, pixels, task)
    options = {"max_new_tokens": 20, "eos_token_id": EOS, "do_sample": False}
    assert ours.tolist() == stock_generate(stock_llama(folder, task), ids, features, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 2},
        {"num_beams": 4, "length_penalty": 0.0},
        {"num_beams": 4, "length_penalty": 2.0},
        {"num_beams": 4, "length_penalty": -1.0},
        {"num_beams": 3, "early_stopping": True},
        {"num_beams": 3, "repetition_penalty": 1.3},
        {"repetition_penalty": 1.3},
    ],
    ids=str,
)
def test_beams_and_penalties_equal_the_stock_models(options: dict[str, float], tmp_path: Path) -> None:
    # A vocabulary so small that beams do end, several times and at several lengths.
    geometry = Geometry(vocab_size=12)
    ended = 0
    for seed in range(12):
        folder = make_checkpoint(tmp_path / str(seed), geometry, seed=seed)
        model, stock = IAAModel.from_pretrained(folder), stock_llama(folder, "Text")
        ids = torch.randint(0, 12, (1, 5), generator=torch.Generator().manual_seed(seed))
        ours = model.generate(ids, task="Text", max_new_tokens=12, eos_token_id=[3, 7], **options)
        theirs = stock.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            eos_token_id=[3, 7],
            pad_token_id=0,
            do_sample=False,
            **options,
        )
        assert ours.tolist() == theirs[:, 5:].tolist(), seed
        ended += int(ours[0, -1]) in (3, 7)
    assert ended >= 4 or options.get("length_penalty", 1) > 1  # which makes the longest answers win


PACKINGS = {
    "shards": {},
    "shards without index": {"packing": "shards without index"},
    "single file": {"packing": "single"},
    "bin": {"packing": "bin"},
    "bin shards": {"packing": "bin shards"},
    "tower in the shards": {"tower": "shards"},
    "tower in bin shards": {"tower": "shards", "packing": "bin shards"},
    "tower in a sibling folder": {"tower": "sibling"},
    "tower in a whole CLIP": {"whole_clip": True},
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_packing_holds_the_same_model(packing: str, tmp_path: Path) -> None:
    ids, pixels = prompts(Geometry())
    plain = IAAModel.from_pretrained(make_checkpoint(tmp_path / "plain" / "checkpoint"))
    other = IAAModel.from_pretrained(make_checkpoint(tmp_path / "other" / "checkpoint", **PACKINGS[packing]))
    for task in ("MM", "G"):
        assert torch.equal(other(ids, pixels, task=task), plain(ids, pixels, task=task))
    assert torch.equal(other(ids.clamp_min(0), task="Text"), plain(ids.clamp_min(0), task="Text"))


def test_a_single_file_is_given_by_its_own_name(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", packing="single")
    expected = IAAModel.from_pretrained(folder)(torch.tensor([[1, 2, 3]]), task="Text")
    file = (folder / "model.safetensors").rename(folder / "iaa-from-elsewhere.safetensors")
    assert torch.equal(IAAModel.from_pretrained(file)(torch.tensor([[1, 2, 3]]), task="Text"), expected)


def test_the_tower_may_be_named_by_the_caller(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "a" / "checkpoint")
    expected = IAAModel.from_pretrained(folder)(*prompts(Geometry()))
    elsewhere = (folder / "clip").rename(tmp_path / "elsewhere")
    model = IAAModel.from_pretrained(folder, vision_tower=elsewhere)
    assert torch.equal(model(*prompts(Geometry())), expected)


def test_the_callers_tower_goes_before_the_one_in_the_shards(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "a" / "checkpoint", tower="shards")
    other = make_checkpoint(tmp_path / "b" / "checkpoint", seed=5) / "clip"
    _, pixels = prompts(Geometry())
    model = IAAModel.from_pretrained(folder, vision_tower=other)
    assert distance(model.vision_features(pixels), stock_features(folder, pixels, other)) <= 1e-5


def test_the_callers_folder_may_give_the_geometry_alone(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", tower="shards")
    _, pixels = prompts(Geometry())
    expected = IAAModel.from_pretrained(folder).vision_features(pixels)
    elsewhere = (folder / "clip").rename(tmp_path / "elsewhere")
    assert torch.equal(IAAModel.from_pretrained(folder, vision_tower=elsewhere).vision_features(pixels), expected)


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("wanted", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("packing", ["single", "bin"])
def test_weights_are_converted_as_torch_converts_them(
    stored: torch.dtype, wanted: torch.dtype, packing: str, tmp_path: Path
) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", dtype=stored, packing=packing)
    bank = IAAModel.from_pretrained(folder, dtype=wanted).bank("mm")
    file = next(folder.glob("*.safetensors"), None)
    raw = load_file(file) if file else torch.load(folder / "pytorch_model.bin", weights_only=True)
    head = raw["lm_head_condtion.weight"].to(wanted)
    weight = bank.state_dict()["lm_head.weight"]
    assert weight.dtype == wanted
    assert torch.equal(weight, head)


def test_stale_buffers_of_old_library_versions_are_ignored(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", packing="single", tower="shards")
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    weights[f"{SHARDS_PREFIX}vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    expected = IAAModel.from_pretrained(folder)(*prompts(Geometry()))
    save_file(weights, folder / "model.safetensors")
    assert torch.equal(IAAModel.from_pretrained(folder)(*prompts(Geometry())), expected)
