"""IAA Demo New Shape: pictures with a thing that the demo model does not know, and its boxes, to teach it."""

from __future__ import annotations

from collections.abc import Iterator

from comfy_api.latest import io
from PIL import Image

from ..iaa_runtime.boxes.answers import Detection
from ..iaa_runtime.boxes.geometry import Box, pixel_rectangle
from ..iaa_runtime.shapes.new_things import NEW_THINGS, draw_with
from ..iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene, make_scene
from .demo_scene import aspect_of
from .host import check_interrupt, intermediate
from .inputs import Node
from .options import CATEGORY
from .values import bounding_boxes, image_batch

FIRST_SEED = 2 * EVALUATION_SEED
"""So that no picture is one of IAA Demo Scene's with a thing in it."""


class DemoNewShape(Node):
    """Draws a thing among the demo model's shapes, in all pictures but the last ones."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_DemoNewShape",
            category=CATEGORY,
            search_aliases=["training images", "example boxes", "data set", "synthetic image"],
            inputs=[
                io.Combo.Input("shape", options=list(NEW_THINGS)),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFF, control_after_generate=True),
                io.Int.Input("width", default=448, min=64, max=2048),
                io.Int.Input("height", default=448, min=64, max=2048),
                io.Int.Input("count", default=40, min=1, max=64, optional=True),
                io.Int.Input("without", default=0, min=0, max=64, optional=True),
            ],
            outputs=[
                io.Image.Output("images"),
                io.BoundingBox.Output("bboxes", is_output_list=True),
                io.String.Output("phrase"),
            ],
        )

    @classmethod
    def execute(
        cls, shape: str, seed: int, width: int, height: int, count: int = 40, without: int = 0
    ) -> io.NodeOutput:
        """Draws the pictures."""
        aspect, phrase = aspect_of(width, height), f"the {shape}"
        asked = [
            (shape if number < count - without else None, FIRST_SEED + seed + number, max(width, height), aspect)
            for number in range(count)
        ]
        scene = make_scene(FIRST_SEED, long_side=max(width, height), aspect=aspect)  # all are of one size
        boxes: list[list[Detection]] = []

        def drawn() -> Iterator[Image.Image]:
            for each in asked:
                picture, found = picture_of(*each)
                corners = [pixel_rectangle(box, picture.size) for box in found]
                boxes.append([Detection.from_xyxy(box, phrase, 1.0) for box in corners])
                yield picture

        batch = image_batch(drawn(), count, (scene.width, scene.height))
        return io.NodeOutput(intermediate(batch), bounding_boxes(boxes), phrase)


def picture_of(shape: str | None, seed: int, long_side: int, aspect: float) -> tuple[Image.Image, list[Box]]:
    """A picture with a new thing, or with the known shapes alone; and the boxes of the thing."""
    if shape is None:
        scene = make_scene(seed, long_side=long_side, aspect=aspect)
        return draw_scene(scene, check_interrupt), []
    picture, box = draw_with(shape, seed, long_side=long_side, aspect=aspect, cancelled=check_interrupt)
    return picture, [box]
