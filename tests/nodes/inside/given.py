"""Gives nodes what other nodes might: lists without anything in them, masks without a batch, images that are none."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import bring_up
import torch

pack, _ = bring_up.load_pack()
InputError = pack.iaa_runtime.errors.InputError
CropBoxes, PasteCrops, Choose = pack.nodes.CropBoxes, pack.nodes.PasteCrops, pack.nodes.Choose
image, box = torch.zeros(1, 8, 9, 3), {"x": 1, "y": 2, "width": 3, "height": 4}
crops, masks, regions, *_ = CropBoxes.execute(image=[image], bboxes=[box]).result
CROP: dict[str, Any] = {"image": [image], "bboxes": [box], "padding": [0], "filter": ["lanczos"]}
PASTE: dict[str, Any] = {"image": [image], "regions": [regions], "feather": [0]}
TAKEN: dict[str, Any] = {"crops": crops, "masks": masks}


class Pasting:
    """What IAA Paste Crops puts in its place, with what it takes over a link."""

    @staticmethod
    def execute(**inputs: Any) -> Any:
        """Runs both."""
        (inner,) = PasteCrops.execute(**PASTE, crops=[["crop", 0]], masks=[["crop", 1]]).expand.values()
        assert inner["inputs"].pop("crops") == ["crop", 0] and inner["inputs"].pop("masks") == ["crop", 1]
        return pack.nodes.PasteTakenCrops.execute(paste=[inner["inputs"]["paste"]], **inputs)


def error(kind: Any, **inputs: Any) -> str:
    """What a node says; nothing where it works."""
    try:
        kind.execute(**inputs)
    except InputError as error:
        return str(error)
    return ""


report: dict[str, Any] = {"right": [error(CropBoxes, **CROP), error(Pasting, **TAKEN)], "empty": {}}
for kind, right in ((CropBoxes, CROP), (PasteCrops, PASTE | {"crops": [["crop", 0]]}), (Pasting, TAKEN)):
    report["empty"] |= {
        f"{kind.__name__} {name}": error(kind, **{**right, name: []}) for name in right if right[name] != [["crop", 0]]
    }
report["no picture"] = [
    error(SimpleNamespace(execute=pack.nodes.values.pictures), images=images)
    for images in (torch.zeros(1, 4, 5, 2), torch.full((1, 4, 5, 3), 200.0))
]
CHOOSE: dict[str, Any] = {"model": [SimpleNamespace(in_use=None)], "question": ["Is it?"], "choices": ["yes\nno"]}
report["some null"] = [error(Choose, **CHOOSE, image=images) for images in ([None, image], [image, None])]
changed = [crop + 0.5 for crop in crops]
pasted = [Pasting.execute(crops=changed, masks=given).result[0][0] for given in (masks, [masks[0][0]])]
report["mask of rank 2"] = bool(torch.equal(*pasted)) and bool(pasted[0].any())
print(json.dumps(report))
