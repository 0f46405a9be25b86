"""IAA Convert Boxes: from and to the box formats of other node packs."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..iaa_runtime.boxes.bounding_box import Boxes, described, repeated
from ..iaa_runtime.boxes.convert import CONVENTIONS, boxes_from, to_json, to_kjnodes, to_layerstyle, to_nested
from ..iaa_runtime.boxes.segs import is_segs, segs_size, to_segs
from ..iaa_runtime.errors import InputError
from .boxes_common import BOX_CATEGORY, SKIP, size_of
from .host import check_interrupt
from .inputs import Node, together

BBOX, BBOXES, BOX = io.Custom("BBOX"), io.Custom("BBOXES"), io.Custom("BOX")
SEGS, JSON = io.Custom("SEGS"), io.Custom("JSON")

ONE_IMAGE, ONE_EACH = "boxes of one image", "one box of each image"
KJ_XYWH, KJ_XYXY, SAM2 = "KJNodes, xywh", "KJNodes, xyxy", "segment-anything-2"


class ConvertBoxes(Node):
    """Takes boxes in any usual format and gives them in every one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_ConvertBoxes",
            category=BOX_CATEGORY,
            search_aliases=[
                "BBOX",
                "BBOXES",
                "SEGS",
                "bounding box",
                "xyxy",
                "xywh",
                "json to boxes",
                "bbox converter",
            ],
            inputs=[
                io.MultiType.Input("boxes", [io.BoundingBox, BBOX, BBOXES, BOX, SEGS, JSON, io.String]),
                io.Combo.Input("numbers", options=list(CONVENTIONS), default="xyxy", optional=True),
                io.Combo.Input(
                    "a_list_holds", options=[ONE_IMAGE, ONE_EACH], default=ONE_IMAGE, optional=True, advanced=True
                ),
                io.Combo.Input("bbox_for", options=[KJ_XYWH, KJ_XYXY, SAM2], default=KJ_XYWH, optional=True),
                io.Combo.Input("json_numbers", options=list(CONVENTIONS), default="xyxy", optional=True),
                io.Float.Input("crop_factor", default=3.0, min=1.0, max=100.0, step=0.1, optional=True, advanced=True),
                io.Image.Input("image", optional=True),
            ],
            outputs=[
                io.BoundingBox.Output("bboxes"),
                BBOX.Output("bbox"),
                BBOXES.Output("layerstyle"),
                BOX.Output("box"),
                SEGS.Output("segs", is_output_list=True),
                JSON.Output("florence2"),
                io.String.Output("json"),
            ],
        )

    @classmethod
    def execute(
        cls,
        boxes: Any,
        numbers: str = "xyxy",
        a_list_holds: str = ONE_IMAGE,
        bbox_for: str = KJ_XYWH,
        json_numbers: str = "xyxy",
        crop_factor: float = 3.0,
        image: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        """Converts."""
        try:
            size = known_size(boxes, image)
            converted = boxes_from(boxes, numbers, size, a_list_holds == ONE_EACH)
        except InputError as error:
            raise InputError(f"'boxes' cannot be read. {error}") from None
        bbox = to_nested(converted) if bbox_for == SAM2 else to_kjnodes(converted, bbox_for.split(", ")[1])
        layerstyle = to_layerstyle(converted)
        first = next((box for found in layerstyle for box in found), SKIP)
        segs = segs_of(converted, size, image, crop_factor)
        text = to_json(converted, json_numbers, size)
        native = [[described(box) for box in found] for found in converted]
        return io.NodeOutput(native, bbox, layerstyle, first, segs, to_nested(converted), text)


def known_size(boxes: Any, image: torch.Tensor | None) -> tuple[int, int] | None:
    """(width, height) of the images, or of SEGS, which hold it; None where neither is there."""
    if image is not None:
        return size_of(image)
    return segs_size(boxes) if is_segs(boxes) else None


def segs_of(boxes: Boxes, size: tuple[int, int] | None, image: torch.Tensor | None, crop_factor: float) -> list[Any]:
    """SEGS per image, with its pixels if there are any; without a size, a blocker that says what is missing.

    Boxes of one image serve every image of a batch, and one image serves boxes of several.

    Raises:
        InputError: There are neither as many images as lists of boxes, nor one of either.
    """
    if size is None:
        return [ExecutionBlocker("IAA Convert Boxes: connect the image, since SEGS hold its size.")]
    if image is None:
        pictures: list[torch.Tensor | None] = [None] * len(boxes)
    elif len(image) == 1:
        pictures = [image] * len(boxes)
    else:
        with together("boxes", "image"):
            boxes, pictures = repeated(boxes, len(image)), list(image.split(1))
    return [
        to_segs(found, size, crop_factor=crop_factor, drop_size=0, image=picture, cancelled=check_interrupt)
        for found, picture in zip(boxes, pictures, strict=True)
    ]
