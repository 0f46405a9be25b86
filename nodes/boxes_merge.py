"""IAA Merge Boxes: one set of boxes out of several."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..iaa_runtime.boxes.bounding_box import as_boxes
from ..iaa_runtime.boxes.merge import BEST, MODES, merge_boxes
from .boxes_common import BOX_CATEGORY, box_input, count_of, view
from .host import check_interrupt
from .inputs import Node


class MergeBoxes(Node):
    """Makes one set of boxes of up to four: without duplicates, united, or what they have in common."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_MergeBoxes",
            category=BOX_CATEGORY,
            search_aliases=["combine boxes", "NMS", "non-maximum suppression", "deduplicate", "join bbox", "IoU"],
            inputs=[
                box_input("bboxes"),
                box_input("bboxes_2", optional=True),
                box_input("bboxes_3", optional=True),
                box_input("bboxes_4", optional=True),
                io.Combo.Input("mode", options=list(MODES), default=BEST, optional=True),
                io.Float.Input("iou", default=0.5, min=0.0, max=1.0, step=0.01, optional=True),
                io.Boolean.Input("same_label", default=False, optional=True),
                io.Image.Input("image", optional=True),
            ],
            outputs=[
                io.BoundingBox.Output("bboxes"),
                io.Int.Output("count"),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        bboxes: Any,
        bboxes_2: Any = None,
        bboxes_3: Any = None,
        bboxes_4: Any = None,
        mode: str = BEST,
        iou: float = 0.5,
        same_label: bool = False,
        image: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        """Merges."""
        sockets = (bboxes, bboxes_2, bboxes_3, bboxes_4)
        given = [as_boxes(value, check_interrupt) for value in sockets if value is not None]
        merged = merge_boxes(given, mode, iou, same_label, check_interrupt)
        return io.NodeOutput(merged, count_of(merged), ui=view(image, merged, cls))
