"""A detector as FaceDetailer uses it: told what to look for, asked, and told to forget it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2] / "nodes" / "inside"))

import bring_up
import folder_paths
import torch

pack, _ = bring_up.load_pack()
folder_paths.add_model_folder_path("iaa", sys.argv[1])
model = pack.nodes.host.open_model("tiny", "auto", "as stored", "default", False, False)
image = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(1))


def detector(phrases: str, **options: Any) -> Any:
    """What the node gives."""
    return pack.nodes.DetectorProvider.execute(model, phrases, **options).result[0]


def labels(found: Any) -> list[str]:
    """Of SEGS."""
    return [seg.label for seg in found[1]]


class Hook:
    """A detailer hook of Impact Pack, as far as detectors know it."""

    def post_crop_region(self, w: int, h: int, item_bbox: list[int], crop_region: list[int]) -> list[int]:
        """Takes in the whole image."""
        return [0, 0, w, h]

    def post_detection(self, segs: Any) -> Any:
        """Keeps the first."""
        return segs[0], segs[1][:1]


def asked(given: Any) -> list[str]:
    """The labels that a detector finds between setAux("face") and setAux(None)."""
    given.setAux("face")
    found = given.detect(image, 0.0, 0, 3.0, 1, detailer_hook=None)
    given.setAux(None)
    return labels(found)


report: dict[str, Any] = {}
with torch.inference_mode():
    report["own phrases"] = asked(detector("everything\nthe left one"))
    report["no phrases"] = asked(detector(" \n"))
    try:
        detector("").detect(image, 0.0, 0, 3.0)
    except ValueError as error:
        report["nobody said"] = str(error)
    report["hooked"] = [
        [list(seg.cropped_mask.shape), seg.crop_region]
        for seg in detector("everything\nthe left one").detect(image, 0.0, 0, 3.0, 1, Hook())[1]
    ]
    combined = detector("everything").detect_combined(image, 0.0, 0)
    report["combined"] = [list(combined.shape), str(combined.dtype)]
    report["one a phrase"] = labels(detector("everything", several=False).detect(image, 0.0, 0, 3.0))
print(json.dumps(report))
