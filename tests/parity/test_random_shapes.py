"""Checkpoints of sizes and packings drawn by seed, against transformers' own Llama and CLIP on the same weights."""

from __future__ import annotations

import random
from pathlib import Path
from typing import get_args

import pytest
import torch
from make_checkpoint import Geometry, Packing, make_checkpoint
from stock_models import stock_generate, stock_image_features, stock_llama, stock_logits
from torch import Tensor

from iaa_runtime import IAAModel

ENDS = [1, 5, 9, 17, 40, 41, 42, 43]
"""Many, so that answers end at several lengths."""


def draw_geometry(draw: random.Random) -> Geometry:
    """Sizes that fit together, and nothing else: odd ones, ones that do not divide each other, sizes of one."""
    heads, vision_heads = draw.randint(1, 8), draw.randint(1, 6)
    head_dim = draw.choice([None, 2, 6, 10, 24, 34, 64])
    layers, vision_layers = draw.randint(1, 8), draw.randint(1, 5)
    patch = draw.choice([4, 7, 8, 14, 16, 32])
    return Geometry(
        hidden_size=heads * draw.choice([3, 5, 8, 11] if head_dim else [2, 4, 6, 16]),
        intermediate_size=draw.choice([13, 32, 100]),
        layers=layers,
        heads=heads,
        kv_heads=draw.choice([n for n in range(1, heads + 1) if heads % n == 0]),
        head_dim=head_dim,
        vocab_size=draw.choice([301, 500, 777]),
        rms_norm_eps=draw.choice([1e-6, 1e-5, 1e-3]),
        rope_theta=draw.choice([100.0, 10000.0, 500000.0, 1e6]),
        insert_layers=tuple(sorted(draw.sample(range(layers), draw.randint(1, layers)))),
        projector=draw.choice(["linear", "mlp2x_gelu"]),
        vision_size=vision_heads * draw.choice([2, 4, 7, 16]),
        vision_mlp=draw.choice([16, 40]),
        vision_layers=vision_layers,
        vision_heads=vision_heads,
        vision_act=draw.choice(["quick_gelu", "gelu"]),
        image_size=patch * draw.randint(1, 5) + draw.choice([0, 0, 3]),
        patch_size=patch,
        select_layer=draw.randint(-vision_layers - 1, vision_layers),
        select_feature=draw.choice(["patch", "cls_patch"]),
    )


def close(ours: Tensor, theirs: Tensor) -> bool:
    """Within 1e-5, relative: the norm of the difference by the norm of what was expected."""
    assert ours.shape == theirs.shape
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm()) <= 1e-5


@pytest.mark.parametrize("seed", range(12))
def test_any_shape_equals_the_stock_models(seed: int, tmp_path: Path) -> None:
    draw, values = random.Random(seed), torch.Generator().manual_seed(seed)
    geometry = draw_geometry(draw)
    tower = draw.choice(["folder", "sibling", "shards"])
    folder = make_checkpoint(
        tmp_path / "checkpoint",
        geometry,
        seed=seed,
        dtype=draw.choice([torch.float32, torch.bfloat16, torch.float16]),
        packing=draw.choice(get_args(Packing)),
        tower=tower,
    )
    rows, length = draw.randint(1, 3), draw.randint(3, 12)
    words = torch.randint(0, geometry.vocab_size, (rows, length), generator=values)
    marked = words.clone()
    for row in range(rows):
        marked[row, draw.randrange(length)] = -200
    pixels = torch.randn((rows, 3, geometry.image_size, geometry.image_size), generator=values)
    model = IAAModel.from_pretrained(folder, dtype=torch.float32)
    for task in ("MM", "G", "Text"):
        ids, images, features = (words, None, None) if task == "Text" else (marked, pixels, None)
        if images is not None:
            clip = folder.parent / "clip" if tower == "sibling" else folder / "clip"
            features = stock_image_features(folder, images, task, clip)
            assert close(model.encode_images(images, task=task), features)
        stock = stock_llama(folder, task)
        assert close(model(ids, images, task=task), stock_logits(stock, ids, features))
        options = {"max_new_tokens": 8, "eos_token_id": ENDS, "do_sample": False, "num_beams": draw.choice([1, 3])}
        ours = model.generate(ids, images, task=task, **options).tolist()
        theirs = stock_generate(stock, ids, features, **options)
        assert [ended(row) for row in ours] == [ended(row) for row in theirs]


def ended(row: list[int]) -> list[int]:
    """An answer without what fills it up behind its end."""
    end = next((place + 1 for place, token in enumerate(row) if token in ENDS), len(row))
    return row[:end]
