"""IAA Ground: where phrases are in each image (task G)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from comfy_api.latest import io

from ..iaa_runtime.boxes.answers import Detection
from ..iaa_runtime.config import GenerationConfig, Task
from ..iaa_runtime.errors import InputError
from ..iaa_runtime.images.picture import Picture
from ..iaa_runtime.text.prompts import distinct_phrases
from .boxes_common import EMPTY, ERROR
from .boxes_mask import PER_BOX, PER_IMAGE
from .found import CHECKS, LIKELY, PER_PHRASE, THRESHOLD, check_room, found_outputs, output, whole_label
from .host import ModelHandle, check_interrupt
from .inputs import Node
from .lists import first_of, flat, listed, one_an_image
from .notes import notes_ui
from .options import CATEGORY, length_input, model_input
from .progress import Progress
from .values import lines, pictures

DEFAULTS = GenerationConfig.for_task(Task.G)
FULL = "full image"


class Ground(Node):
    """Finds phrases in each image of a batch: boxes, masks, and the image with its boxes drawn."""

    paired, along = "phrases", ("image", "phrases")

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
                io.Float.Input("threshold", default=THRESHOLD, min=0.0, max=1.0, step=0.01, optional=True),
                io.Boolean.Input("several", default=True, optional=True),
                io.Combo.Input("nothing_found", options=[EMPTY, FULL, ERROR], default=EMPTY, optional=True),
                length_input(DEFAULTS.max_new_tokens),
                io.Combo.Input("masks", options=[PER_IMAGE, PER_PHRASE, PER_BOX], default=PER_IMAGE, optional=True),
                io.Combo.Input("check", options=CHECKS, default=CHECKS[0], optional=True),
            ],
            outputs=found_outputs(),
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
            is_input_list=True,
        )

    @classmethod
    def validate_inputs(cls, phrases: Any = None) -> bool | str:
        """There must be something to find."""
        phrases = first_of(phrases)
        if isinstance(phrases, str) and not lines(phrases):
            return "'phrases' is empty. Type what to find, one phrase a line."
        return True

    @classmethod
    def look_ahead(cls, given: Sequence[Mapping[str, Any]]) -> None:
        """There must be something to find in one image at least: of several texts, some may be blank."""
        said = [text for inputs in given for text in listed(inputs.get("phrases"))]
        if not any(lines(text) if isinstance(text, str) else True for text in said):
            raise InputError("'phrases' is empty. Connect or type what to find, one phrase a line.")

    @classmethod
    def execute(
        cls,
        model: ModelHandle,
        image: list[torch.Tensor],
        phrases: list[str | list[str]],
        threshold: float | None = None,
        several: bool = True,
        nothing_found: str = EMPTY,
        max_new_tokens: int = DEFAULTS.max_new_tokens,
        masks: str = PER_IMAGE,
        check: str = CHECKS[0],
    ) -> io.NodeOutput:
        """Grounds every phrase in every image, or each image's own in it.

        Raises:
            InputError: there are more phrases than there is room for masks of them.
        """
        batches = [pictures(batch) for batch in image]
        images = flat(batches)
        wanted = [distinct_phrases(lines(text)) for text in one_an_image(phrases, batches)]
        if masks == PER_PHRASE:
            check_room(batches, wanted)
        progress = Progress(sum(map(len, wanted)), max_new_tokens, likely=LIKELY)
        with model.in_use() as pipeline:
            found = pipeline.ground(
                images,
                wanted,
                threshold=threshold,
                check=check == CHECKS[1],
                several=several,
                max_new_tokens=max_new_tokens,
                on_token=progress.on_token,
                cancelled=check_interrupt,
            )
        progress.done()
        found = found_or_whole(images, found, wanted, nothing_found)
        return output(batches, found, wanted, masks, notes_ui(pipeline), cls)


def found_or_whole(
    images: Sequence[Picture], found: Sequence[list[Detection]], wanted: Sequence[Sequence[str]], policy: str
) -> list[list[Detection]]:
    """Applies ``nothing_found``: what stands for an image in which nothing was found.

    Raises:
        InputError: under the policy ``error``; names the images and the phrases.
    """
    nothing = [number for number, detections in enumerate(found, 1) if not detections]
    if policy == ERROR and nothing:
        sought = dict.fromkeys(phrase for number in nothing for phrase in wanted[number - 1])
        raise InputError(
            f"Nothing was found in image {', '.join(map(str, nothing))} of {len(images)} for {', '.join(sought)}. "
            "Lower the threshold, reword the phrases, or choose another policy under 'nothing_found'."
        )
    if policy != FULL:
        return [list(detections) for detections in found]
    return [
        list(detections) or [Detection(0, 0, picture.width, picture.height, whole_label(phrases), 0.0)]
        for picture, detections, phrases in zip(images, found, wanted, strict=True)
    ]
