"""IAA Convert Boxes: from and to the box formats of other node packs."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..iaa_runtime.boxes.bounding_box import Boxes, described
from ..iaa_runtime.boxes.convert import CONVENTIONS, read_boxes, to_json, to_kjnodes, to_layerstyle, to_nested
from ..iaa_runtime.boxes.segs import is_segs, to_segs
from .boxes_common import BOX_CATEGORY, SKIP, size_of
from .inputs import Node

BBOX, BBOXES, BOX = io.Custom("BBOX"), io.Custom("BBOXES"), io.Custom("BOX")
SEGS, JSON = io.Custom("SEGS"), io.Custom("JSON")

ONE_IMAGE, ONE_EACH = "boxes of one image", "one box of each image"
KJ_XYWH, KJ_XYXY, SAM2 = "KJNodes, xywh", "KJNodes, xyxy", "segment-anything-2"


class ConvertBoxes(Node):
    """Reads boxes in any usual format and gives them in every one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_ConvertBoxes",
            display_name="IAA Convert Boxes",
            category=BOX_CATEGORY,
            description="Reads boxes of ComfyUI, KJNodes, segment-anything-2, Florence2, LayerStyle, Impact Pack or "
            "JSON, and gives them in each of these formats.",
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
                io.MultiType.Input(
                    "boxes",
                    [io.BoundingBox, BBOX, BBOXES, BOX, SEGS, JSON, io.String],
                    tooltip="Boxes of any of these packs, or JSON as text.",
                ),
                io.Combo.Input(
                    "numbers",
                    options=list(CONVENTIONS),
                    default="xyxy",
                    optional=True,
                    tooltip="What four numbers coming in mean: two corners; corner, width, height; two corners as "
                    "parts of the image's sides, or as thousandths of them. KJNodes' crop nodes give xywh, most "
                    "others xyxy.",
                ),
                io.Combo.Input(
                    "a_list_holds",
                    options=[ONE_IMAGE, ONE_EACH],
                    default=ONE_IMAGE,
                    optional=True,
                    advanced=True,
                    tooltip="What a list of boxes without lists in it is: KJNodes' crop nodes give one box of each "
                    "image.",
                ),
                io.Combo.Input(
                    "bbox_for",
                    options=[KJ_XYWH, KJ_XYXY, SAM2],
                    default=KJ_XYWH,
                    optional=True,
                    tooltip="Who gets 'bbox': KJNodes' crop nodes want xywh; its points editor and Image Uncrop By "
                    "Mask want xyxy; segment-anything-2 wants xyxy in a list per image.",
                ),
                io.Combo.Input(
                    "json_numbers",
                    options=list(CONVENTIONS),
                    default="xyxy",
                    optional=True,
                    tooltip="What four numbers in 'json' shall mean.",
                ),
                io.Float.Input(
                    "crop_factor",
                    default=3.0,
                    min=1.0,
                    max=100.0,
                    step=0.1,
                    optional=True,
                    advanced=True,
                    tooltip="For 'segs': how many times a box's sides its crop region has.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The images that the boxes are of; needed for 0-1, 0-1000 and 'segs'.",
                ),
            ],
            outputs=[
                io.BoundingBox.Output("bboxes", display_name="bboxes", tooltip="For ComfyUI's nodes and ours."),
                BBOX.Output(
                    "bbox", display_name="bbox", tooltip="For KJNodes or segment-anything-2, as 'bbox_for' says."
                ),
                BBOXES.Output("layerstyle", display_name="layerstyle", tooltip="For LayerStyle Advance."),
                BOX.Output("box", display_name="box", tooltip="The first box alone, for LayerStyle."),
                SEGS.Output(
                    "segs",
                    display_name="segs",
                    is_output_list=True,
                    tooltip="For Impact Pack: one SEGS per image; to use those of a batch, make a list of its images.",
                ),
                JSON.Output("florence2", display_name="florence2", tooltip="As Florence2 gives it: xyxy per image."),
                io.String.Output(
                    "json", display_name="json", tooltip="As text, with labels and scores: a list per image."
                ),
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
        size = known_size(boxes, image)
        read = read_boxes(boxes, numbers, size, a_list_holds == ONE_EACH)
        bbox = to_nested(read) if bbox_for == SAM2 else to_kjnodes(read, bbox_for.split(", ")[1])
        layerstyle = to_layerstyle(read)
        first = next((box for found in layerstyle for box in found), SKIP)
        segs = segs_of(read, size, image, crop_factor)
        text = to_json(read, json_numbers, size)
        native = [[described(box) for box in found] for found in read]
        return io.NodeOutput(native, bbox, layerstyle, first, segs, to_nested(read), text)


def known_size(boxes: Any, image: torch.Tensor | None) -> tuple[int, int] | None:
    """(width, height) of the images; SEGS tell it by themselves."""
    if image is not None:
        return size_of(image)
    return (boxes[0][1], boxes[0][0]) if is_segs(boxes) else None


def segs_of(boxes: Boxes, size: tuple[int, int] | None, image: torch.Tensor | None, crop_factor: float) -> list[Any]:
    """SEGS per image, with its pixels where there are any; without a size, a word to whoever is connected."""
    if size is None:
        return [ExecutionBlocker("IAA Convert Boxes: connect the image, since SEGS hold its size.")]
    pictures = [None] * len(boxes) if image is None else [image[i % len(image)][None] for i in range(len(boxes))]
    return [
        to_segs(found, size, crop_factor=crop_factor, drop_size=0, image=picture)
        for found, picture in zip(boxes, pictures, strict=True)
    ]
