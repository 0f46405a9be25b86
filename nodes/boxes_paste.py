"""IAA Paste Crops: puts what IAA Crop Boxes cut out back in its place.

Where there is no crop, IAA Crop Boxes keeps from running whatever its crops are connected to, which is IAA Paste Crops
itself if the edit between them is bypassed. So that images pass all the same, it takes the bare link to the crops and,
if there are any, puts a node in its place that takes what comes over it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import GraphBuilder

from ..iaa_runtime.boxes.crops import Regions
from ..iaa_runtime.boxes.paste import paste_crops
from ..iaa_runtime.errors import InputError
from .boxes_common import BOX_CATEGORY, RegionsType
from .host import check_interrupt
from .inputs import Node, check_inputs
from .lists import first_of, of_each_batch

TakenCropsType = io.Custom("IAA_TAKEN_CROPS")


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
                io.Image.Input("crops", lazy=True, raw_link=True),
                RegionsType.Input("regions"),
                io.Int.Input("feather", default=0, min=0, max=8192, optional=True),
                io.Mask.Input("masks", optional=True, lazy=True, raw_link=True),
            ],
            outputs=[io.Image.Output("image", is_output_list=True)],
            is_input_list=True,
            enable_expand=True,
        )

    @classmethod
    def execute(
        cls,
        image: list[torch.Tensor],
        crops: list[Any],
        regions: list[list[Regions]],
        feather: Any = 0,
        masks: Any = None,
    ) -> io.NodeOutput:
        """Lets images without crops pass, and leaves others to :class:`PasteTakenCrops`."""
        planned = regions[0]
        if len(image) != len(planned):
            raise InputError(f"{len(image)} batches of images came for the crops of {len(planned)}. Connect the same.")
        if not any(part.items for part in planned):
            return io.NodeOutput(image)
        paste = partial(pasted, image, planned, of_each_batch("feather", feather, len(image)))
        links = {"crops": first_of(crops)} | ({} if masks is None else {"masks": first_of(masks)})
        graph = GraphBuilder()
        taking = graph.node(PasteTakenCrops.define_schema().node_id, paste=paste, **links)
        return io.NodeOutput(taking.out(0), expand=graph.finalize())


class PasteTakenCrops(io.ComfyNode):
    """Takes the crops that there are; :class:`PasteCrops` puts it in its place, and nobody else adds it to a graph."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI runs it."""
        return io.Schema(
            node_id="IAA_PasteTakenCrops",
            category=BOX_CATEGORY,
            inputs=[
                TakenCropsType.Input("paste"),
                io.Image.Input("crops"),
                io.Mask.Input("masks", optional=True),
            ],
            outputs=[io.Image.Output("image")],
            is_input_list=True,
            is_dev_only=True,
        )

    @classmethod
    def execute(cls, paste: list[Callable[..., list[torch.Tensor]]], crops: Any, masks: Any = None) -> io.NodeOutput:
        """Pastes: one output, which is the list that :class:`PasteCrops` gives."""
        check_inputs(cls.define_schema(), {"paste": paste, "crops": crops, "masks": masks})
        return io.NodeOutput(paste[0](crops, masks))


def pasted(
    image: Sequence[torch.Tensor],
    planned: Sequence[Regions],
    feather: Sequence[int],
    crops: Sequence[torch.Tensor],
    masks: Sequence[torch.Tensor | None] | None = None,
) -> list[torch.Tensor]:
    """The images of every batch with the crops in them, which come in batches of any size.

    Raises:
        InputError: there are more or fewer crops, or masks, than were cut out.
    """
    counts = [len(part.items) for part in planned]
    new = _shares(crops, counts, "crops")
    where = [None] * len(planned) if masks is None else _shares(masks, counts, "masks")
    return [
        paste_crops(images, parts, part, feather=width, masks=weights, cancelled=check_interrupt)
        for images, parts, part, width, weights in zip(image, new, planned, feather, where, strict=True)
    ]


def _shares(batches: Sequence[torch.Tensor | None], counts: Sequence[int], name: str) -> list[list[torch.Tensor]]:
    """Splits crops, which come in batches of any size, by the images they came from; null is none."""
    items = [item for batch in batches if batch is not None for item in (batch if batch.ndim > 2 else batch[None])]
    if len(items) != sum(counts):
        raise InputError(
            f"{len(items)} {name} came back of {sum(counts)}. Each crop of IAA Crop Boxes must come back, in the same "
            "order: none left out, none doubled."
        )
    rest = iter(items)
    return [[next(rest) for _ in range(count)] for count in counts]
