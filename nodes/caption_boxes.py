"""IAA Caption Boxes: what each box of an image shows (task MM)."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..iaa_runtime.boxes.bounding_box import boxes_per_image, relabelled
from ..iaa_runtime.text.prompts import CAPTION_PROMPTS
from .boxes_common import PIXELS, SKIP, UNITS, box_input, count_of, unit_input, view
from .host import ModelHandle, check_interrupt
from .inputs import Node, together
from .notes import notes_ui
from .options import CATEGORY, DEFAULTS, generation_options, length_input, model_input, sampling_input
from .previews import texts_ui
from .progress import Progress
from .values import pictures

PADDING = 20
PERCENT = next(name for name in UNITS if name != PIXELS)


class CaptionBoxes(Node):
    """Puts what boxes show into words, which become their labels."""

    paired = "image"  # there are no texts to pair with it: {index} is a box's number here

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_CaptionBoxes",
            category=CATEGORY,
            search_aliases=["describe regions", "dense caption", "label boxes", "region caption"],
            inputs=[
                model_input(),
                io.Image.Input("image"),
                box_input("bboxes"),
                io.String.Input("prompt", multiline=True, default=CAPTION_PROMPTS["caption"], optional=True),
                io.Int.Input("padding", default=PADDING, min=0, max=1000, optional=True),
                unit_input("unit", PERCENT),
                length_input(),
                sampling_input(),
            ],
            outputs=[
                io.BoundingBox.Output("bboxes", is_output_list=True),
                io.String.Output("texts", is_output_list=True),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
            is_input_list=True,
        )

    @classmethod
    def execute(
        cls,
        model: ModelHandle,
        image: torch.Tensor,
        bboxes: Any,
        prompt: str = CAPTION_PROMPTS["caption"],
        padding: int = PADDING,
        unit: str = PERCENT,
        max_new_tokens: int = DEFAULTS.max_new_tokens,
        sampling: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        """Captions every box."""
        with together("bboxes", "image"):
            boxes = boxes_per_image(bboxes, len(image))
        progress = Progress(max(1, count_of(boxes)), max_new_tokens, cls.hidden.unique_id)
        with model.in_use() as pipeline:
            texts = pipeline.caption_boxes(
                pictures(image),
                boxes,
                prompt,
                padding=padding,
                unit=UNITS[unit],
                on_token=progress.on_token,
                on_text=progress.on_text,
                cancelled=check_interrupt,
                **generation_options(max_new_tokens, sampling),
            )
        progress.done()
        told = captioned(boxes, texts)
        listed: list[Any] = [text for own in texts for text in own]
        shown = texts_ui(listed) | (view(image, told, cls) or {})
        return io.NodeOutput([told], listed or [SKIP], ui=shown | notes_ui(pipeline))


def captioned(boxes: list[list[dict[str, Any]]], texts: list[list[str]]) -> list[list[dict[str, Any]]]:
    """The boxes of each image with their captions for labels; one without a caption keeps its own."""
    return [
        [relabelled(box, text) if text else box for box, text in zip(own, said, strict=True)]
        for own, said in zip(boxes, texts, strict=True)
    ]
