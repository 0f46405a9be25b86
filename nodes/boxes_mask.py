"""IAA Boxes to Mask: fills boxes with white."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..iaa_runtime.boxes.bounding_box import boxes_per_image
from ..iaa_runtime.boxes.masks import union_masks
from .boxes_common import BOX_CATEGORY, PIXELS, UNITS, box_input, mask_per_box, size_of, unit_input
from .host import check_interrupt, intermediate
from .inputs import Node, together

PER_IMAGE, PER_BOX = "one per image", "one per box"


class BoxesToMask(Node):
    """Fills boxes: one mask per image or one per box."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_BoxesToMask",
            category=BOX_CATEGORY,
            search_aliases=["bbox to mask", "bounding box mask", "inpaint mask", "region mask"],
            inputs=[
                box_input("bboxes"),
                io.Image.Input("image"),
                io.Combo.Input("masks", options=[PER_IMAGE, PER_BOX], default=PER_IMAGE, optional=True),
                io.Combo.Input("shape", options=["rectangle", "ellipse"], default="rectangle", optional=True),
                io.Int.Input("grow", default=0, min=-8192, max=8192, optional=True),
                unit_input("grow_unit"),
                io.Int.Input("feather", default=0, min=0, max=8192, optional=True),
            ],
            outputs=[io.Mask.Output("mask")],
        )

    @classmethod
    def execute(
        cls,
        bboxes: Any,
        image: torch.Tensor,
        masks: str = PER_IMAGE,
        shape: str = "rectangle",
        grow: int = 0,
        grow_unit: str = PIXELS,
        feather: int = 0,
    ) -> io.NodeOutput:
        """Draws the masks."""
        size = size_of(image)
        with together("bboxes", "image"):
            boxes = boxes_per_image(bboxes, len(image), size)
        options: dict[str, Any] = {"shape": shape, "grow": grow, "unit": UNITS[grow_unit], "feather": feather}
        options["cancelled"] = check_interrupt
        if masks == PER_IMAGE:
            return io.NodeOutput(intermediate(union_masks(boxes, size, **options)))
        return io.NodeOutput(intermediate(mask_per_box(boxes, size, **options)))
