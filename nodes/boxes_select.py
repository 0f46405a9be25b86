"""IAA Select Boxes: some of the boxes, in some order."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..iaa_runtime.boxes.bounding_box import as_boxes, repeated
from ..iaa_runtime.boxes.select import ORDERS, Selection, first_box, pick, select
from ..iaa_runtime.errors import InputError
from .boxes_common import BOX_CATEGORY, EMPTY, ERROR, SKIP, box_input, count_of, size_of, view
from .host import check_interrupt
from .inputs import Node, together
from .values import lines

AS_GIVEN = next(iter(ORDERS))


class SelectBoxes(Node):
    """Keeps boxes by label, score, size and place, puts them in order, and picks some by number."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_SelectBoxes",
            category=BOX_CATEGORY,
            search_aliases=["filter boxes", "sort boxes", "bbox by index", "largest box", "bounding box", "pick box"],
            inputs=[
                box_input("bboxes"),
                io.String.Input(
                    "labels",
                    multiline=True,
                    default="",
                    optional=True,
                    placeholder="Labels to keep, one a line; * stands for anything:\nthe red*\n*star",
                ),
                io.Float.Input("min_score", default=0.0, min=0.0, max=1.0, step=0.01, optional=True),
                io.Combo.Input("order", options=list(ORDERS), default=AS_GIVEN, optional=True),
                io.String.Input("indices", default="", optional=True, placeholder="0, 2-4, -1"),
                io.Int.Input("limit", default=0, min=0, max=10000, optional=True),
                io.Int.Input("min_side", default=0, min=0, max=16384, optional=True, advanced=True),
                io.Int.Input("max_side", default=0, min=0, max=16384, optional=True, advanced=True),
                io.Combo.Input("nothing_left", options=[EMPTY, ERROR], default=EMPTY, optional=True, advanced=True),
                box_input("inside", optional=True),
                io.Image.Input("image", optional=True),
            ],
            outputs=[
                io.BoundingBox.Output("bboxes"),
                io.BoundingBox.Output("box"),
                io.Int.Output("count"),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, indices: Any = None) -> bool | str:
        """Numbers must be readable before anything is run."""
        try:
            pick(0, indices if isinstance(indices, str) else "")
        except InputError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        bboxes: Any,
        labels: str = "",
        min_score: float = 0.0,
        order: str = AS_GIVEN,
        indices: str = "",
        limit: int = 0,
        min_side: int = 0,
        max_side: int = 0,
        nothing_left: str = EMPTY,
        inside: Any = None,
        image: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        """Selects."""
        boxes = as_boxes(bboxes, check_interrupt)
        selection = Selection(tuple(lines(labels)), min_score, min_side, max_side, order, indices, limit)
        with together("inside", "bboxes"):
            regions = None if inside is None else repeated(as_boxes(inside, check_interrupt), len(boxes))
        chosen = select(boxes, selection, regions, check_interrupt)
        first = first_box(chosen, None if image is None else size_of(image))
        if not count_of(chosen) and nothing_left == ERROR:
            raise InputError(
                f"None of {count_of(boxes)} boxes is left. Ask for less, or set 'nothing_left' to {EMPTY!r}."
            )
        return io.NodeOutput(chosen, SKIP if first is None else first, count_of(chosen), ui=view(image, chosen, cls))
