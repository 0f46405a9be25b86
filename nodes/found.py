"""What was found in images, as IAA Ground and IAA Label Everything give it: boxes, masks, drawings, labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..iaa_runtime.boxes.answers import Detection
from ..iaa_runtime.boxes.geometry import check_pixels
from ..iaa_runtime.boxes.masks import union_masks
from ..iaa_runtime.errors import InputError
from ..iaa_runtime.images.picture import Picture
from .boxes_common import SKIP, mask_per_box
from .boxes_mask import PER_BOX
from .host import check_interrupt, intermediate
from .lists import flat, per_batch
from .previews import boxes_ui
from .values import annotated, bounding_boxes, pictures

THRESHOLD = 0.1
"""Of new nodes: the demo model's own. An API graph that says nothing gets what the checkpoint says."""
PER_PHRASE = "one per phrase"
CHECKS = ["off", "ask"]
"""Whether MM is asked, too, if a phrase is there."""
LIKELY = 24
"""Tokens of an answer of one box."""


def found_outputs() -> list[io.Output]:
    """The outputs for what was found."""
    return [
        io.BoundingBox.Output("bboxes", is_output_list=True),
        io.Mask.Output("mask", is_output_list=True),
        io.Image.Output("annotated", is_output_list=True),
        io.String.Output("json", is_output_list=True),
        io.Int.Output("count", is_output_list=True),
        io.String.Output("labels", is_output_list=True),
    ]


def check_room(batches: Sequence[Sequence[Picture]], wanted: Sequence[Sequence[str]]) -> None:
    """Raises :class:`InputError` where a batch has more phrases than there is room for masks of them."""
    for batch, own in zip(batches, per_batch(wanted, batches), strict=True):
        check_pixels(sum(map(len, own)) * batch[0].width * batch[0].height, "'masks', one a phrase,")


def mask_and_labels(
    images: Sequence[Picture], found: Sequence[list[Detection]], wanted: Sequence[Sequence[str]], masks: str
) -> tuple[torch.Tensor | ExecutionBlocker, list[str]]:
    """MASK (N, H, W), one an image, an image's phrase or a box, image after image; and the labels of phrases or boxes.

    Where nothing is found, a mask is black. Where masks would be too many, only what they go to does not run: the
    answers took long.
    """
    size = images[0].size
    boxes = bounding_boxes(found)
    labels = [detection.label for detections in found for detection in detections]
    if masks == PER_PHRASE:
        boxes = [
            [box for box in own if box["label"] in (phrase, whole_label(phrases))]
            for own, phrases in zip(boxes, wanted, strict=True)
            for phrase in phrases
        ]
        labels = [phrase for phrases in wanted for phrase in phrases]
    try:
        if masks == PER_BOX:
            return intermediate(mask_per_box(boxes, size, cancelled=check_interrupt)), labels
        if masks == PER_PHRASE:
            check_pixels(len(boxes) * size[0] * size[1], "'masks', one a phrase,")
        return intermediate(union_masks(boxes or [[]], size, cancelled=check_interrupt)), labels
    except InputError as error:
        return ExecutionBlocker(
            f"{error} The boxes are there: IAA Boxes to Mask makes masks of those you keep."
        ), labels


def whole_label(phrases: Sequence[str]) -> str:
    """The label of a box around all of an image, which stands for each of its phrases."""
    return ", ".join(phrases)


def output(
    batches: Sequence[Sequence[Picture]],
    found: Sequence[list[Detection]],
    wanted: Sequence[Sequence[str]],
    masks: str,
    notes: dict[str, list[str]],
    cls: type[io.ComfyNode],
) -> io.NodeOutput:
    """The node's outputs, batch by batch, and what it shows.

    Args:
        batches: their pictures.
        found: what was found in each picture of all batches.
        wanted: what was looked for in each.
        masks: how many masks there are.
        notes: remarks.
        cls: the node.
    """
    values, labels, drawn = [], list[Any](), list[Picture]()
    for batch, own, phrases in zip(batches, per_batch(found, batches), per_batch(wanted, batches), strict=True):
        mask, told = mask_and_labels(batch, own, phrases, masks)
        marked = annotated(batch, own)
        text = json.dumps([[detection.to_dict() for detection in some] for some in own], ensure_ascii=False)
        values.append((bounding_boxes(own), mask, intermediate(marked), text, sum(map(len, own))))
        labels += told
        drawn += pictures(marked)
    shown = boxes_ui(flat(batches), found, cls, drawn)
    # Without any label, what is connected to them does not run.
    return io.NodeOutput(*map(list, zip(*values, strict=True)), labels or [SKIP], ui=shown | notes)
