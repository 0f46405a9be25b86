"""IAA Track Boxes: which box of one frame of a video is which of the next."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..iaa_runtime.boxes.bounding_box import as_boxes
from ..iaa_runtime.boxes.track import named_tracks, track_boxes, unnamed_tracks
from ..iaa_runtime.config.boxes import MOST_FRAMES, Tracking
from .boxes_common import BOX_CATEGORY, box_input, view
from .host import check_interrupt
from .inputs import Node

DEFAULTS = Tracking()


class TrackBoxes(Node):
    """Follows boxes through the frames of a batch, fills gaps, and smooths their way."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_TrackBoxes",
            category=BOX_CATEGORY,
            search_aliases=["video", "tracking", "SORT", "identity", "flicker", "smooth boxes", "interpolate boxes"],
            inputs=[
                box_input("bboxes"),
                io.Float.Input("iou", default=DEFAULTS.iou, min=0.01, max=1.0, step=0.01, optional=True),
                io.Boolean.Input("same_label", default=DEFAULTS.same_label, optional=True),
                io.Int.Input("gap", default=DEFAULTS.gap, min=0, max=MOST_FRAMES, optional=True),
                io.Int.Input("smoothing", default=DEFAULTS.smoothing, min=0, max=MOST_FRAMES, optional=True),
                io.Boolean.Input("number_labels", default=True, optional=True),
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
        iou: float = DEFAULTS.iou,
        same_label: bool = DEFAULTS.same_label,
        gap: int = DEFAULTS.gap,
        smoothing: int = DEFAULTS.smoothing,
        number_labels: bool = True,
        image: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        """Tracks."""
        tracking = Tracking(iou, same_label, gap, smoothing)
        found = unnamed_tracks(as_boxes(bboxes, check_interrupt))
        tracked = track_boxes(found, tracking, check_interrupt)
        count = max((box["track"] for found in tracked for box in found), default=0)
        tracked = named_tracks(tracked) if number_labels else tracked
        return io.NodeOutput(tracked, count, ui=view(image, tracked, cls))
