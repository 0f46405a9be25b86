"""Draws what the registry shows of the pack: ``docs/images/icon.png`` (400 × 400) and ``banner.png`` (21 : 9).

``python .ci/artwork.py``: scenes of the demo's, boxed by the demo model itself.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from iaa_runtime import Detection, IAAPipeline
from iaa_runtime.images.draw import draw_detections
from iaa_runtime.shapes.scenes import Scene, draw_scene, make_scene

OUT = Path(__file__).parents[1] / "docs" / "images"
ICON, BANNER = 400, (1470, 630)
ICON_SEED, BANNER_SEED = 2, 125
GROUND, INK, QUIET = (28, 30, 36), (240, 240, 240), (160, 166, 178)


def boxed(pipeline: IAAPipeline, scene: Scene, width: int) -> Image.Image:
    """A scene with the model's box of each of its shapes, ``width`` pixels wide."""
    picture = draw_scene(scene)
    phrases = [f"the {shape.color} {shape.kind}" for shape in scene.shapes]
    (found,) = pipeline.ground(picture, phrases, several=False)
    scale = width / picture.width
    larger = picture.resize((width, round(picture.height * scale)), Image.Resampling.LANCZOS)
    return draw_detections(larger, [scaled(box, scale) for box in found])


def scaled(box: Detection, scale: float) -> Detection:
    """A box on a picture that is so many times as large."""
    left, top, right, bottom = (round(edge * scale) for edge in box.xyxy)
    return Detection.from_xyxy((left, top, right, bottom), box.label, box.score)


def main() -> None:
    """Draws both."""
    pipeline = IAAPipeline.from_pretrained(device="cpu")
    boxed(pipeline, make_scene(ICON_SEED, long_side=ICON, aspect=1, shapes=2), ICON).save(OUT / "icon.png")
    banner = Image.new("RGB", BANNER, GROUND)
    scene = boxed(pipeline, make_scene(BANNER_SEED, long_side=540, aspect=1.2, shapes=4), 700)
    banner.paste(scene, (BANNER[0] - scene.width - 30, (BANNER[1] - scene.height) // 2))
    pen = ImageDraw.Draw(banner)
    pen.text((50, 190), "IAA", INK, ImageFont.load_default(150))
    pen.text((56, 370), "caption · ground · chat", INK, ImageFont.load_default(48))
    pen.text((56, 440), "boxes for masks and crops in ComfyUI", QUIET, ImageFont.load_default(32))
    banner.save(OUT / "banner.png")


if __name__ == "__main__":
    main()
