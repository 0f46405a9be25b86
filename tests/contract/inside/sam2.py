"""Sam2Segmentation of the segment-anything-2 nodes, with a predictor that notes which boxes it is asked about."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from comfy.cli_args import args

args.cpu = True

import numpy as np  # noqa: E402
import torch  # noqa: E402


def load(folder: Path) -> ModuleType:
    """The pack, as ComfyUI imports it."""
    places = [str(folder)]
    spec = importlib.util.spec_from_file_location(
        "sam2_pack", folder / "__init__.py", submodule_search_locations=places
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sam2_pack"] = module
    spec.loader.exec_module(module)
    return module


class Predictor:
    """What the node asks of SAM2's image predictor."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def to(self, device: Any) -> None:
        """Moves."""

    def set_image(self, image: np.ndarray) -> None:
        """Looks at an image (H, W, 3) uint8."""
        self.size = image.shape[:2]

    def predict(self, box: np.ndarray, **points: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Notes the boxes and fills them: (N, 1, H, W) masks of N boxes."""
        self.asked.append(box.tolist())
        masks = np.zeros((len(box), 1, *self.size), bool)
        for mask, (x1, y1, x2, y2) in zip(masks, np.round(box).astype(int), strict=True):
            mask[0, y1:y2, x1:x2] = True
        return masks, np.ones((len(box), 1)), np.zeros((len(box), 1, 8, 8))


given = json.loads(sys.argv[1])
predictor = Predictor()
model = {
    "model": predictor,
    "dtype": torch.float32,
    "device": torch.device("cpu"),
    "segmentor": "single_image",
    "version": "2.1",
}
node = load(Path(given["pack"])).NODE_CLASS_MAPPINGS["Sam2Segmentation"]()
image = torch.zeros(1, given["height"], given["width"], 3)
(mask,) = node.segment(image, model, keep_model_loaded=True, bboxes=given["bbox"])
print(json.dumps({"asked": predictor.asked, "mask": (mask[0] > 0.5).to(torch.uint8).tolist()}))
