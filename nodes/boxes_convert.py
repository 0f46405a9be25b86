"""IAA Convert Boxes: from and to the box formats of other node packs."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..iaa_runtime.boxes.bounding_box import Boxes, described, fitted, repeated
from ..iaa_runtime.boxes.convert import boxes_from, to_json, to_kjnodes, to_layerstyle, to_nested
from ..iaa_runtime.boxes.points import points_json
from ..iaa_runtime.boxes.reader import CONVENTIONS
from ..iaa_runtime.boxes.segs import is_segs, segs_size, to_segs
from ..iaa_runtime.config.boxes import MOST_PER_SIDE
from ..iaa_runtime.errors import InputError
from .boxes_common import BOX_CATEGORY, SKIP, size_of
from .host import check_interrupt
from .inputs import Node, together

BBOX, BBOXES, BOX = io.Custom("BBOX"), io.Custom("BBOXES"), io.Custom("BOX")
SEGS, JSON, ARRAY = io.Custom("SEGS"), io.Custom("JSON"), io.Custom("ARRAY")

ONE_IMAGE, ONE_EACH = "boxes of one image", "one box of each image"
KJ_XYWH, KJ_XYXY, SAM2 = "KJNodes, xywh", "KJNodes, xyxy", "segment-anything-2"
EACH_IMAGE, EACH_BOX = "each image", "each box"


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
                "points",
                "coordinates",
                "SAM",
            ],
            inputs=[
                io.MultiType.Input("boxes", [io.BoundingBox, BBOX, BBOXES, BOX, SEGS, JSON, ARRAY, io.String]),
                io.Combo.Input("numbers", options=list(CONVENTIONS), default="xyxy", optional=True),
                io.Combo.Input(
                    "a_list_holds", options=[ONE_IMAGE, ONE_EACH], default=ONE_IMAGE, optional=True, advanced=True
                ),
                io.Combo.Input("bbox_for", options=[KJ_XYWH, KJ_XYXY, SAM2], default=KJ_XYWH, optional=True),
                io.Combo.Input("json_numbers", options=list(CONVENTIONS), default="xyxy", optional=True),
                io.Float.Input("crop_factor", default=3.0, min=1.0, max=100.0, step=0.1, optional=True, advanced=True),
                io.Image.Input("image", optional=True),
                io.Int.Input("points_per_side", default=1, min=1, max=MOST_PER_SIDE, optional=True, advanced=True),
                io.Combo.Input(
                    "points_for", options=[EACH_IMAGE, EACH_BOX], default=EACH_IMAGE, optional=True, advanced=True
                ),
            ],
            outputs=[
                io.BoundingBox.Output("bboxes"),
                BBOX.Output("bbox"),
                BBOXES.Output("layerstyle"),
                BOX.Output("box"),
                SEGS.Output("segs", is_output_list=True),
                JSON.Output("florence2"),
                io.String.Output("json"),
                io.Image.Output("images", is_output_list=True),
                io.String.Output("points", is_output_list=True),
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
        points_per_side: int = 1,
        points_for: str = EACH_IMAGE,
    ) -> io.NodeOutput:
        """Converts."""
        try:
            size = known_size(boxes, image)
            converted = boxes_from(boxes, numbers, size, a_list_holds == ONE_EACH, check_interrupt)
        except InputError as error:
            raise InputError(f"'boxes' cannot be read. {error}") from None
        if size is not None:
            converted = [fitted(found, size) for found in converted]
        bbox = to_nested(converted) if bbox_for == SAM2 else to_kjnodes(converted, bbox_for.split(", ")[1])
        layerstyle = to_layerstyle(converted)
        first = next((box for found in layerstyle for box in found), SKIP)
        segs, images = segs_of(converted, size, image, crop_factor)
        text = to_json(converted, json_numbers, size)
        native = [[described(box) for box in found] for found in converted]
        points = points_of(converted, points_per_side, points_for, 1 if image is None else len(image))
        return io.NodeOutput(native, bbox, layerstyle, first, segs, to_nested(converted), text, images, points)


def known_size(boxes: Any, image: torch.Tensor | None) -> tuple[int, int] | None:
    """(width, height) of the images, or of SEGS, which hold it; None where neither is there.

    Raises:
        InputError: The SEGS are of images of another size.
    """
    held = segs_size(boxes) if is_segs(boxes) else None
    if image is None:
        return held
    size = size_of(image)
    if held not in (None, size):
        raise InputError(
            f"The SEGS are of an image of {held[0]} x {held[1]}, and one of {size[0]} x {size[1]} came. Connect the "
            "image that they were found in."
        )
    return size


def points_of(boxes: Boxes, per_side: int, points_for: str, images: int) -> list[Any]:
    """The points of each image's boxes, or of each box; without any box, what takes those of a box does not run.

    Boxes of one image serve every image of a batch, as for SEGS.
    """
    if points_for == EACH_BOX:
        return [points_json([box], per_side, check_interrupt) for found in boxes for box in found] or [SKIP]
    texts = [points_json(found, per_side, check_interrupt) for found in boxes]
    return texts * images if len(texts) == 1 else texts


def segs_of(
    boxes: Boxes, size: tuple[int, int] | None, image: torch.Tensor | None, crop_factor: float
) -> tuple[list[Any], list[Any]]:
    """SEGS per image and that image; blockers where there is none, or for too many SEGS, which say what is the matter.

    Boxes of one image serve every image of a batch, and one image serves boxes of several.

    Raises:
        InputError: There are neither as many images as lists of boxes, nor one of either.
    """
    if size is None:
        return [ExecutionBlocker("IAA Convert Boxes: connect the image, since SEGS hold its size.")], [SKIP]
    if image is None:
        pictures: list[torch.Tensor | None] = [None] * len(boxes)
    elif len(image) == 1:
        pictures = [image] * len(boxes)
    else:
        with together("boxes", "image"):
            boxes, pictures = repeated(boxes, len(image)), list(image[:, None])
    try:
        segs: list[Any] = [
            to_segs(found, size, crop_factor=crop_factor, drop_size=0, image=picture, cancelled=check_interrupt)
            for found, picture in zip(boxes, pictures, strict=True)
        ]
    except InputError as error:  # nobody may want them
        segs = [ExecutionBlocker(f"IAA Convert Boxes: {error}")]
    return segs, [SKIP] if image is None else pictures
