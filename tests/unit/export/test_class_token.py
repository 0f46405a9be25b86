"""What llama.cpp's LLaVA graph makes of the tower's file, computed here. (tests/parity/test_llama_cpp.py asks it.)"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from iaa_runtime import IAAModel
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.export.gguf import export_gguf
from iaa_runtime.images.preprocess import mean_color, preprocess
from iaa_runtime.model.banks import VisionBank
from iaa_runtime.shapes.scenes import draw_scene, make_scene

gguf = pytest.importorskip("gguf")

OFF = 2e-4
"""Norm of the difference over norm, of features."""


@pytest.fixture(scope="module")
def model() -> IAAModel:
    """The demo model."""
    return IAAModel.from_pretrained(DEMO_CHECKPOINT, "float32", device="cpu")


@pytest.fixture(scope="module")
def tower(model: IAAModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The file for builds whose graph has the class token last."""
    folder = export_gguf(model.checkpoint, "MM", tmp_path_factory.mktemp("gguf") / "out", "f32")
    tensors = gguf.GGUFReader(folder / "mmproj-iaa-mm-f32.gguf").tensors
    return {t.name: torch.from_numpy(np.array(gguf.dequantize(t.data, t.tensor_type))) for t in tensors}


def faulty_graph(model: IAAModel, file: dict[str, Tensor], pixels: Tensor) -> Tensor:
    """(1, 3, size, size) -> (N, W): the class token behind the patches, and all but the first token taken."""
    bank = model.bank("vision")
    assert isinstance(bank, VisionBank)
    patches = F.conv2d(pixels, file["v.patch_embd.weight"], stride=model.vision.patch_size).flatten(2).mT
    tokens = torch.cat((patches, file["v.class_embd"].expand(1, 1, -1)), 1) + file["v.position_embd.weight"]
    x = bank.tower.pre_layrnorm(tokens)
    for layer in bank.tower.encoder.layers:
        x = layer(x)
    features: Tensor = x[0, 1:]
    return features


def off(model: IAAModel, file: dict[str, Tensor], seen: Image.Image, meant: Image.Image) -> float:
    """How far that graph's features of ``seen`` are from ours of ``meant``, whose first patch comes last there."""
    with torch.inference_mode():
        theirs, ours = (
            preprocess([picture], model.vision.image_size, model.vision.image_mean, model.vision.image_std)
            for picture in (seen, meant)
        )
        wanted = model.vision_features(ours)[0].roll(-1, 0)
        return float((faulty_graph(model, file, theirs) - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("size", [(240, 160), (90, 120), (400, 100)])
def test_a_padded_picture_is_seen_as_by_us(model: IAAModel, tower: dict[str, Tensor], size: tuple[int, int]) -> None:
    picture = draw_scene(make_scene(990_000)).resize(size)
    assert off(model, tower, picture, picture) <= OFF


@pytest.mark.parametrize("corner", ["black", "white", "checks", "scene"])
def test_of_a_square_picture_the_top_left_patch_is_not_seen(
    model: IAAModel, tower: dict[str, Tensor], corner: str
) -> None:
    """Whatever is there: it is as if it had the colour of the border, and nothing else changes."""
    size, patch = model.vision.image_size, model.vision.patch_size
    picture = draw_scene(make_scene(990_001)).resize((size, size))
    if corner == "checks":
        checks = (np.indices((patch, patch)).sum(0) % 2 * 255).astype(np.uint8)
        picture.paste(Image.fromarray(checks).convert("RGB"), (0, 0))
    elif corner != "scene":
        picture.paste(corner, (0, 0, patch, patch))
    meant = picture.copy()
    meant.paste(mean_color(model.vision.image_mean), (0, 0, patch, patch))
    assert off(model, tower, picture, meant) <= OFF
