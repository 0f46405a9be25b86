"""IAA Label Everything: what is in each image (task MM), and where (task G)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from comfy_api.latest import io

from ..iaa_runtime.config import GenerationConfig, Task
from ..iaa_runtime.text.prompts import CAPTION_PROMPTS
from .boxes_mask import PER_BOX, PER_IMAGE
from .found import CHECKS, PER_PHRASE, THRESHOLD, found_outputs, output
from .host import ModelHandle, check_interrupt
from .inputs import Node
from .lists import flat, one_an_image
from .notes import notes_ui
from .options import CATEGORY, model_input
from .progress import Progress
from .values import pictures

DEFAULTS = GenerationConfig.for_task(Task.MM)
OBJECTS = 8
"""Expected in an image, for the progress bar."""


class LabelImage(Node):
    """Finds everything that the model names in each image."""

    paired, along = "prompt", ("image", "prompt")

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_LabelImage",
            category=CATEGORY,
            search_aliases=["detect all", "label everything", "auto label", "open vocabulary", "tag and ground"],
            inputs=[
                model_input(),
                io.Image.Input("image"),
                io.Float.Input("threshold", default=THRESHOLD, min=0.0, max=1.0, step=0.01, optional=True),
                io.Combo.Input("check", options=CHECKS, default=CHECKS[0], optional=True),
                io.Combo.Input("masks", options=[PER_IMAGE, PER_PHRASE, PER_BOX], default=PER_IMAGE, optional=True),
                io.String.Input(
                    "prompt", multiline=True, default=CAPTION_PROMPTS["objects"], optional=True, advanced=True
                ),
            ],
            outputs=found_outputs(),
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
            is_input_list=True,
        )

    @classmethod
    def execute(
        cls,
        model: ModelHandle,
        image: list[torch.Tensor],
        threshold: float | None = None,
        check: str = CHECKS[0],
        masks: str = PER_IMAGE,
        prompt: Sequence[str | list[str]] = CAPTION_PROMPTS["objects"],
    ) -> io.NodeOutput:
        """Lists what is in every image, and finds it."""
        batches = [pictures(batch) for batch in image]
        images = flat(batches)
        progress = Progress((1 + OBJECTS) * len(images), DEFAULTS.max_new_tokens)
        with model.in_use() as pipeline:
            found = pipeline.label(
                images,
                prompt=one_an_image(prompt, batches),
                threshold=threshold,
                check=check == CHECKS[1],
                on_token=progress.on_token,
                cancelled=check_interrupt,
            )
        progress.done()
        named = [list(dict.fromkeys(detection.label for detection in own)) for own in found]
        return output(batches, found, named, masks, notes_ui(pipeline), cls)
