"""IAA Crop Boxes: one image per box."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import torch
from comfy_api.latest import io

from ..iaa_runtime.boxes.bounding_box import Boxes, boxes_per_image, label_of
from ..iaa_runtime.boxes.crops import AS_BOX, ASPECTS, KEEP, RESIZES, CropOptions, cut, cut_mask, plan_crops
from ..iaa_runtime.errors import InputError
from ..iaa_runtime.images.names import slug
from ..iaa_runtime.images.resample import FILTERS
from .boxes_common import (
    BOX_CATEGORY,
    ERROR,
    PIXELS,
    SKIP,
    UNITS,
    RegionsType,
    box_input,
    size_of,
    unit_input,
)
from .host import check_interrupt, intermediate
from .inputs import Node, together
from .lists import of_each_batch

SKIP_BRANCH, WHOLE = "skip", "whole image"


class CropBoxes(Node):
    """Cuts out every box by itself. Takes whole lists, since what is left out of one image matters to all."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_CropBoxes",
            category=BOX_CATEGORY,
            search_aliases=[
                "crop each box",
                "crop by bbox",
                "cut out",
                "detail",
                "zoom",
                "inpaint crop",
                "crop and stitch",
            ],
            inputs=[
                io.Image.Input("image"),
                box_input("bboxes"),
                io.Int.Input("padding", default=0, min=0, max=8192, optional=True),
                unit_input("padding_unit"),
                io.Combo.Input("aspect", options=list(ASPECTS), default=AS_BOX, optional=True),
                io.Int.Input("multiple_of", default=1, min=1, max=256, optional=True),
                io.Combo.Input("resize", options=list(RESIZES), default=KEEP, optional=True),
                io.Int.Input("size", default=1024, min=1, max=8192, optional=True),
                io.Combo.Input("filter", options=list(FILTERS), default="lanczos", optional=True, advanced=True),
                io.Combo.Input(
                    "nothing_found", options=[SKIP_BRANCH, WHOLE, ERROR], default=SKIP_BRANCH, optional=True
                ),
            ],
            outputs=[
                io.Image.Output("crops", is_output_list=True),
                io.Mask.Output("masks", is_output_list=True),
                RegionsType.Output("regions"),
                io.Int.Output("count"),
                io.String.Output("labels", is_output_list=True),
                io.String.Output("file_names", is_output_list=True),
            ],
            is_input_list=True,
        )

    @classmethod
    def execute(
        cls,
        image: list[torch.Tensor],
        bboxes: list[Any],
        padding: Any = 0,
        padding_unit: Any = PIXELS,
        aspect: Any = AS_BOX,
        multiple_of: Any = 1,
        resize: Any = KEEP,
        size: Any = 1024,
        filter: Any = "lanczos",
        nothing_found: Any = SKIP_BRANCH,
    ) -> io.NodeOutput:
        """Cuts."""
        given = {"bboxes": bboxes, "nothing_found": nothing_found, "padding": padding, "padding_unit": padding_unit}
        given |= {"aspect": aspect, "multiple_of": multiple_of, "resize": resize, "size": size, "filter": filter}
        each = [of_each_batch(name, value, len(image)) for name, value in given.items()]
        crops, masks, regions, labels = [], [], [], list[Any]()
        numbers, total = count(1), sum(map(len, image))
        for images, found, policy, *options in zip(image, *each, strict=True):
            extent = size_of(images)
            with together("bboxes", "image"):
                boxes = boxes_per_image(found, len(images), extent)
            planned = plan_crops(boxes_or_whole(boxes, extent, policy, numbers, total), extent, _options(*options))
            regions.append(planned)
            for region in planned.items:
                check_interrupt()
                crops.append(cut(images, region, check_interrupt)[None])
                masks.append(intermediate(cut_mask(region, planned.image_size)[None]))
                labels.append(label_of(region.box))
        # A black mask and not SKIP: masks often go straight to IAA Paste Crops, which would not run then.
        masks = masks or [intermediate(torch.zeros(1, *image[0].shape[1:3]))]
        names = list(map(slug, labels))
        return io.NodeOutput(crops or [SKIP], masks, regions, len(crops), labels or [SKIP], names or [SKIP])


def boxes_or_whole(boxes: Boxes, size: tuple[int, int], policy: str, numbers: Iterator[int], total: int) -> Boxes:
    """Applies ``nothing_found`` to images without boxes: no crop, the whole image, or an error.

    Args:
        boxes: one list per image of a batch.
        size: (width, height) of the images.
        policy: what ``nothing_found`` says.
        numbers: of the images among those of all batches, from this batch's first on.
        total: how many images all batches hold.

    Raises:
        InputError: The policy is ``error`` and an image has no boxes.
    """
    missing = [str(number) for found, number in zip(boxes, numbers, strict=False) if not found]
    if missing and policy == ERROR:
        raise InputError(
            f"There are no boxes in image {', '.join(missing)} of {total}. Look for something else, or "
            "choose another policy under 'nothing_found'."
        )
    whole = {"x": 0, "y": 0, "width": size[0], "height": size[1], "label": "", "score": 0.0}
    return [found or [whole] for found in boxes] if policy == WHOLE else boxes


def _options(
    padding: int, padding_unit: str, aspect: str, multiple_of: int, resize: str, size: int, method: str
) -> CropOptions:
    return CropOptions(padding, UNITS[padding_unit], aspect, multiple_of, resize, size, method)
