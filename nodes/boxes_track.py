"""IAA Track Boxes: which box of one frame of a video is which of the next."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..iaa_runtime.boxes.bounding_box import as_boxes, check_count
from ..iaa_runtime.boxes.track import named_tracks, track_boxes, unnamed_tracks
from ..iaa_runtime.config.boxes import MOST_FRAMES, Tracking
from .boxes_common import BOX_CATEGORY, box_input, count_of, view_of_all
from .host import check_interrupt
from .inputs import Node
from .lists import only, per_batch

DEFAULTS = Tracking()


class TrackBoxes(Node):
    """Follows boxes through the frames of a video, fills gaps, and smooths their way.

    Takes whole lists, since the frames of a video may come as a list, of which each alone is no video.
    """

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
                io.BoundingBox.Output("bboxes", is_output_list=True),
                io.Int.Output("count"),
            ],
            hidden=[io.Hidden.unique_id],
            is_input_list=True,
        )

    @classmethod
    def execute(
        cls,
        bboxes: list[Any],
        iou: Any = DEFAULTS.iou,
        same_label: Any = DEFAULTS.same_label,
        gap: Any = DEFAULTS.gap,
        smoothing: Any = DEFAULTS.smoothing,
        number_labels: Any = True,
        image: list[torch.Tensor | None] | None = None,
    ) -> io.NodeOutput:
        """Tracks through all frames of all lists, which are given out as they came."""
        chosen = {"iou": iou, "same_label": same_label, "gap": gap, "smoothing": smoothing}
        tracking = Tracking(**{name: only(value, name) for name, value in chosen.items()})
        parts = [as_boxes(value, check_interrupt) for value in bboxes]
        found = unnamed_tracks([own for part in parts for own in part])
        check_count(count_of(found))
        tracked = track_boxes(found, tracking, check_interrupt)
        count = max((box["track"] for own in tracked for box in own), default=0)
        tracked = named_tracks(tracked) if only(number_labels, "number_labels") else tracked
        batches = [batch for batch in image or [] if batch is not None]
        ui = view_of_all(batches, tracked, cls) if batches else None
        return io.NodeOutput(per_batch(tracked, parts), count, ui=ui)
