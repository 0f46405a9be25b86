"""IAA Paste Crops: puts what IAA Crop Boxes cut out back in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io

from ..iaa_runtime.boxes.crops import Regions
from ..iaa_runtime.boxes.paste import paste_crops
from ..iaa_runtime.errors import InputError
from .boxes_common import BOX_CATEGORY, RegionsType
from .host import check_interrupt
from .inputs import Node, check_inputs
from .lists import first_of


class PasteCrops(Node):
    """Puts crops back. Asks for them only if there are any, so that images without boxes pass through untouched."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_PasteCrops",
            category=BOX_CATEGORY,
            search_aliases=["uncrop", "stitch", "paste back", "composite", "crop and stitch"],
            inputs=[
                io.Image.Input("image"),
                io.Image.Input("crops", lazy=True),
                RegionsType.Input("regions"),
                io.Int.Input("feather", default=0, min=0, max=8192, optional=True),
                io.Mask.Input("masks", optional=True, lazy=True),
            ],
            outputs=[io.Image.Output("image", is_output_list=True)],
            is_input_list=True,
        )

    @classmethod
    def check_lazy_status(cls, regions: list[list[Regions]], **inputs: Any) -> list[str]:
        """Crops and masks are wanted if there are any, and if something is connected."""
        check_inputs(cls.define_schema(), {"regions": regions})
        if not any(planned.items for planned in regions[0]):
            return []
        return [name for name in ("crops", "masks") if any(value is None for value in inputs.get(name) or [])]

    @classmethod
    def execute(
        cls,
        image: list[torch.Tensor],
        crops: list[torch.Tensor | None],
        regions: list[list[Regions]],
        feather: Any = 0,
        masks: Any = None,
    ) -> io.NodeOutput:
        """Pastes."""
        planned = regions[0]
        counts = [len(part.items) for part in planned]
        if len(image) != len(planned):
            raise InputError(f"{len(image)} batches of images came for the crops of {len(planned)}. Connect the same.")
        if not sum(counts):
            return io.NodeOutput(image)  # whatever came instead of crops
        new = _shares(crops, counts, "crops")
        where = [None] * len(planned) if masks is None else _shares(masks, counts, "masks")
        pasted = [
            paste_crops(images, parts, part, feather=first_of(feather), masks=weights, cancelled=check_interrupt)
            for images, parts, part, weights in zip(image, new, planned, where, strict=True)
        ]
        return io.NodeOutput(pasted)


def _shares(batches: Sequence[torch.Tensor | None], counts: Sequence[int], name: str) -> list[list[torch.Tensor]]:
    """Splits crops, which come in batches of any size, by the images they came from; None is what was not asked for."""
    items = [item for batch in batches if batch is not None for item in (batch if batch.ndim > 2 else batch[None])]
    if len(items) != sum(counts):
        raise InputError(
            f"{len(items)} {name} came back of {sum(counts)}. Each crop of IAA Crop Boxes must come back, in the same "
            "order: none left out, none doubled."
        )
    rest = iter(items)
    return [[next(rest) for _ in range(count)] for count in counts]
