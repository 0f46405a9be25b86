"""IAA Demo Scene: pictures of coloured shapes, which is all that the demo model knows."""

from __future__ import annotations

from comfy_api.latest import io

from ..iaa_runtime.errors import InputError
from ..iaa_runtime.shapes.language import caption
from ..iaa_runtime.shapes.scenes import ASPECT_LIMIT, EVALUATION_SEED, draw_scene, make_scene
from .host import check_interrupt, intermediate
from .inputs import Node
from .options import CATEGORY
from .values import image_batch


class DemoScene(Node):
    """Draws scenes of coloured shapes, none of which the demo model was trained on."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node as ComfyUI shows it."""
        return io.Schema(
            node_id="IAA_DemoScene",
            category=CATEGORY,
            search_aliases=["test image", "example image", "shapes", "synthetic image"],
            inputs=[
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFF, control_after_generate=True),
                io.Int.Input("width", default=448, min=64, max=2048),
                io.Int.Input("height", default=448, min=64, max=2048),
                io.Int.Input("count", default=1, min=1, max=64, optional=True),
            ],
            outputs=[
                io.Image.Output("images"),
                io.String.Output("captions", is_output_list=True),
            ],
        )

    @classmethod
    def execute(cls, seed: int, width: int, height: int, count: int = 1) -> io.NodeOutput:
        """Draws the scenes."""
        aspect = aspect_of(width, height)
        seeds = range(EVALUATION_SEED + seed, EVALUATION_SEED + seed + count)
        scenes = [make_scene(number, long_side=max(width, height), aspect=aspect) for number in seeds]
        drawn = (draw_scene(scene, check_interrupt) for scene in scenes)
        batch = image_batch(drawn, count, (scenes[0].width, scenes[0].height))
        return io.NodeOutput(intermediate(batch), [caption(scene) for scene in scenes])


def aspect_of(width: int, height: int) -> float:
    """Width over height of a scene.

    Raises:
        InputError: scenes are not as long and thin.
    """
    aspect = width / height
    if not 1 / ASPECT_LIMIT <= aspect <= ASPECT_LIMIT:
        raise InputError(
            f"A scene of {width} x {height} is too long and thin: its longer side may be at most "
            f"{ASPECT_LIMIT:g} times the shorter one. Change width or height."
        )
    return aspect
