"""IAA Detector Provider: the model as a detector for Impact Pack's nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from comfy_api.latest import io

from ..iaa_runtime.boxes.segs import Segs, segs_mask, to_segs
from ..iaa_runtime.config import GenerationConfig, Task
from ..iaa_runtime.errors import InputError
from ..iaa_runtime.text.prompts import distinct_phrases
from .boxes_common import BOX_CATEGORY, size_of
from .found import LIKELY
from .host import ModelHandle, check_interrupt
from .inputs import Node, check_input
from .options import length_input, model_input
from .progress import Progress
from .values import lines, pictures

DEFAULTS = GenerationConfig.for_task(Task.G)
BBoxDetector = io.Custom("BBOX_DETECTOR")


@dataclass
class PhraseDetector:
    """What Impact Pack calls a ``BBOX_DETECTOR``; its nodes call the three public methods.

    Attributes:
        model: Finds phrases.
        phrases: What to look for; if empty, what the node that uses the detector asks for.
        threshold: Boxes must score at least this, and what the using node says.
        several: Whether a phrase may have several boxes.
        max_new_tokens: Of each answer.
    """

    model: ModelHandle
    phrases: tuple[str, ...]
    threshold: float = 0.0
    several: bool = True
    max_new_tokens: int = DEFAULTS.max_new_tokens
    asked: str | None = None

    def setAux(self, x: str | None) -> None:  # noqa: N802 - Impact Pack's name
        """Takes what the using node would look for ("face" in FaceDetailer); the user's own phrases go first."""
        self.asked = x

    def detect(
        self,
        image: torch.Tensor,
        threshold: float,
        dilation: int,
        crop_factor: float,
        drop_size: int = 1,
        detailer_hook: Any = None,
    ) -> Segs:
        """Finds the phrases.

        Args:
            image: (1, H, W, C) float in 0..1.
            threshold: Boxes must score at least this.
            dilation: Pixels that the masks grow by.
            crop_factor: How many times a box's sides its crop region has.
            drop_size: Boxes not wider and higher than this are left out.
            detailer_hook: Impact's; may move crop regions and change what was found.

        Returns:
            ``((H, W), [SEG, …])``.

        Raises:
            InputError: If several images come, or nobody said what to look for.
        """
        check_input(io.Image.Input("image"), image)
        if len(image) != 1:
            raise InputError(
                f"A detector looks at one image at a time, and {len(image)} came. Make a list of the batch first, for "
                "instance with Impact Pack's Image Batch to Image List."
            )
        found = [detection.to_dict() for detection in self._ground(image, max(threshold, self.threshold))]
        segs = to_segs(
            found,
            size_of(image),
            crop_factor=crop_factor,
            dilation=dilation,
            drop_size=max(drop_size, 1),
            image=image,
            hook=detailer_hook,
            cancelled=check_interrupt,
        )
        if hasattr(detailer_hook, "post_detection"):
            segs = detailer_hook.post_detection(segs)
        return segs

    def detect_combined(self, image: torch.Tensor, threshold: float, dilation: int) -> torch.Tensor:
        """All that is found as one mask, (H, W) float32."""
        return segs_mask(self.detect(image, threshold, dilation, 1))

    def _ground(self, image: torch.Tensor, threshold: float) -> Sequence[Any]:
        phrases = distinct_phrases(self.phrases) or ([self.asked] if self.asked else [])
        if not phrases:
            raise InputError("IAA Detector Provider has no phrases. Type what to find, one phrase a line.")
        progress = Progress(len(phrases), self.max_new_tokens, likely=LIKELY)
        with self.model.in_use() as pipeline:
            (found,) = pipeline.ground(
                pictures(image),
                phrases,
                threshold=threshold,
                several=self.several,
                max_new_tokens=self.max_new_tokens,
                on_token=progress.on_token,
                cancelled=check_interrupt,
            )
        progress.done()
        return found


class DetectorProvider(Node):
    """Makes the model a detector that finds phrases."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_DetectorProvider",
            category=BOX_CATEGORY,
            search_aliases=["BBOX_DETECTOR", "Impact Pack", "FaceDetailer", "UltralyticsDetectorProvider", "detailer"],
            inputs=[
                model_input(),
                io.String.Input("phrases", multiline=True, default="", placeholder="What to find, one phrase a line"),
                io.Float.Input("threshold", default=0.0, min=0.0, max=1.0, step=0.01, optional=True),
                io.Boolean.Input("several", default=True, optional=True),
                length_input(DEFAULTS.max_new_tokens),
            ],
            outputs=[BBoxDetector.Output("bbox_detector")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelHandle,
        phrases: str,
        threshold: float = 0.0,
        several: bool = True,
        max_new_tokens: int = DEFAULTS.max_new_tokens,
    ) -> io.NodeOutput:
        """Makes the detector."""
        return io.NodeOutput(PhraseDetector(model, tuple(lines(phrases)), threshold, several, max_new_tokens))
