"""Small pictures whose every pixel is known, and how tests read and write them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PANDA = Path(__file__).parent / "reference" / "readpanda.jpg"

# Upright: top row red, green, blue; bottom row white, black, yellow.
CORNERS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 255], [0, 0, 0], [255, 255, 0]]], dtype=np.uint8
)
UPRIGHT = Image.fromarray(CORNERS)


def pixels(image: Image.Image) -> Any:
    """An RGB image as nested lists."""
    assert image.mode == "RGB"
    return np.asarray(image).tolist()


def saved(image: Image.Image, file_format: str, **options: Any) -> io.BytesIO:
    """The image as a file of that format."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    buffer.seek(0)
    return buffer
