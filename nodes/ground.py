"""IAA Ground: where phrases are in each image (task G)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io

from ..iaa_runtime.boxes.answers import Detection
from ..iaa_runtime.boxes.masks import union_masks
from ..iaa_runtime.config import GenerationConfig, Task
from ..iaa_runtime.errors import InputError
from ..iaa_runtime.images.picture import Picture
from .host import ModelHandle, Progress, check_interrupt, intermediate
from .inputs import Node
from .options import CATEGORY, length_input, model_input
from .previews import boxes_ui
from .values import annotated, bounding_boxes, pictures

DEFAULTS = GenerationConfig.for_task(Task.G)
EMPTY, FULL, ERROR = "empty", "full image", "error"


class Ground(Node):
    """Finds phrases in each image of a batch: boxes, a mask, and the image with its boxes drawn."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_Ground",
            category=CATEGORY,
            search_aliases=["detect", "bounding box", "grounding", "referring expression", "find object", "locate"],
            inputs=[
                model_input(),
                io.Image.Input("image"),
                io.String.Input(
                    "phrases",
                    multiline=True,
                    default="",
                    placeholder="What to find, one phrase a line:\nthe small red circle\nthe blue star",
                ),
                io.Float.Input("threshold", default=0.0, min=0.0, max=1.0, step=0.01, optional=True),
                io.Boolean.Input("several", default=True, optional=True),
                io.Combo.Input("nothing_found", options=[EMPTY, FULL, ERROR], default=EMPTY, optional=True),
                length_input(DEFAULTS.max_new_tokens),
            ],
            outputs=[
                io.BoundingBox.Output("bboxes"),
                io.Mask.Output("mask"),
                io.Image.Output("annotated"),
                io.String.Output("json"),
                io.Int.Output("count"),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, phrases: Any = None) -> bool | str:
        """There must be something to find."""
        if isinstance(phrases, str) and not lines(phrases):
            return "'phrases' is empty. Type what to find, one phrase a line."
        return True

    @classmethod
    def execute(
        cls,
        model: ModelHandle,
        image: torch.Tensor,
        phrases: str,
        threshold: float = 0.0,
        several: bool = True,
        nothing_found: str = EMPTY,
        max_new_tokens: int = DEFAULTS.max_new_tokens,
    ) -> io.NodeOutput:
        """Grounds every phrase in every image."""
        images, wanted = pictures(image), lines(phrases)
        progress = Progress(len(images) * len(wanted), max_new_tokens)
        with model.in_use() as pipeline:
            found = pipeline.ground(
                images,
                wanted,
                threshold=threshold,
                several=several,
                max_new_tokens=max_new_tokens,
                on_token=progress.on_token,
                cancelled=check_interrupt,
            )
        progress.done()
        return output(images, apply_policy(images, found, wanted, nothing_found), cls)


def lines(phrases: str) -> list[str]:
    """The phrases: lines without blank ones and without blanks around them."""
    return [line.strip() for line in phrases.splitlines() if line.strip()]


def apply_policy(
    images: Sequence[Picture], found: Sequence[list[Detection]], wanted: Sequence[str], policy: str
) -> list[list[Detection]]:
    """What stands for an image in which nothing was found.

    Raises:
        InputError: under the policy ``error``; names the images and the phrases.
    """
    nothing = [number for number, detections in enumerate(found, 1) if not detections]
    if policy == ERROR and nothing:
        raise InputError(
            f"Nothing was found in image {', '.join(map(str, nothing))} of {len(images)} for {', '.join(wanted)}. "
            "Lower the threshold, reword the phrases, or choose another policy under 'nothing_found'."
        )
    if policy != FULL:
        return [list(detections) for detections in found]
    label = ", ".join(wanted)
    return [
        list(detections) or [Detection(0, 0, picture.width, picture.height, label, 0.0)]
        for picture, detections in zip(images, found, strict=True)
    ]


def output(images: Sequence[Picture], found: Sequence[list[Detection]], cls: type[io.ComfyNode]) -> io.NodeOutput:
    """The node's outputs and what it shows."""
    drawn = annotated(images, found)
    text = json.dumps([[detection.to_dict() for detection in detections] for detections in found], ensure_ascii=False)
    count = sum(map(len, found))
    boxes = bounding_boxes(found)
    mask = intermediate(union_masks(boxes, images[0].size, cancelled=check_interrupt))
    return io.NodeOutput(boxes, mask, intermediate(drawn), text, count, ui=boxes_ui(images, found, cls))
