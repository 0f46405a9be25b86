"""IAA Merge Boxes."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..iaa_runtime.boxes.bounding_box import as_boxes
from ..iaa_runtime.boxes.merge import BEST, MODES, merge_boxes
from .boxes_common import BOX_CATEGORY, box_input, count_of, view, view_input
from .inputs import Node


class MergeBoxes(Node):
    """Makes one set of boxes of up to four: without duplicates, united, or what they have in common."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_MergeBoxes",
            display_name="IAA Merge Boxes",
            category=BOX_CATEGORY,
            description="Makes one set of boxes of up to four, or of the phrases within one: drops duplicates, unites "
            "overlapping boxes, or keeps what all have in common.",
            search_aliases=["combine boxes", "NMS", "non-maximum suppression", "deduplicate", "join bbox", "IoU"],
            inputs=[
                box_input("bboxes", "Boxes of any detector."),
                box_input("bboxes_2", "More boxes, of the same images.", True),
                box_input("bboxes_3", "More boxes, of the same images.", True),
                box_input("bboxes_4", "More boxes, of the same images.", True),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default=BEST,
                    optional=True,
                    tooltip="Of overlapping boxes keep the best scoring; put one box around each group of them; keep "
                    "the common part of boxes of all inputs; keep all boxes; or put one box around everything.",
                ),
                io.Float.Input(
                    "iou",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="Boxes overlap from this intersection over union on; 0: if they share anything, 1: only if "
                    "they are the same.",
                ),
                io.Boolean.Input(
                    "same_label", default=False, optional=True, tooltip="Only boxes with the same label overlap."
                ),
                view_input(),
            ],
            outputs=[
                io.BoundingBox.Output("bboxes", display_name="bboxes", tooltip="Per image a list of boxes."),
                io.Int.Output("count", display_name="count", tooltip="How many boxes there are in all images."),
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
        given = [as_boxes(value) for value in (bboxes, bboxes_2, bboxes_3, bboxes_4) if value is not None]
        merged = merge_boxes(given, mode, iou, same_label)
        return io.NodeOutput(merged, count_of(merged), ui=view(image, merged, cls))
