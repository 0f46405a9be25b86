"""Shows a llama.cpp server pictures whose boxes are known: some of its builds see everything a patch beside its place.

Their LLaVA graph takes another of the tower's tokens for the class token than the file does
(export/gguf/class_token.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from statistics import median

from PIL import Image, ImageDraw

from ...boxes.answers import parse_boxes
from ...errors import RemoteError
from ...images.picture import Picture
from ...text.prompts import grounding_question
from ..base import Question
from .servers import Endpoint

log = logging.getLogger(__name__)

SIDE, RADIUS = 336, 25
CENTRES = ((160, 160), (244, 227), (310, 60))
"""Pixels: of a green circle on light grey, alone in its picture."""
_PHRASE = "the green circle"
_LEAST, _SPREAD = 0.025, 0.02
"""Fractions of the picture: a patch of CLIP's is 0.042 wide, and a box that is merely inexact varies."""


def check_boxes(endpoint: Endpoint, ask: Callable[[Sequence[Question]], Sequence[str]]) -> None:
    """Compares a server's boxes with where things are.

    Args:
        endpoint: the server, for messages.
        ask: gives its answers.

    Raises:
        RemoteError: they lie to one side by the same distance each time.
    """
    text = grounding_question(_PHRASE)
    answers = ask([Question.about(_picture(centre), text) for centre in CENTRES])
    boxes = [parse_boxes(answer) for answer in answers]
    if not all(boxes):
        log.warning("%s finds no green circle in a picture of one, so its boxes are not checked.", endpoint.url)
        return
    aside = [(box[0][0] + box[0][2]) / 2 - x / SIDE for box, (x, _) in zip(boxes, CENTRES, strict=True)]
    usual = median(aside)
    if abs(usual) >= _LEAST and all(abs(one - usual) <= _SPREAD for one in aside):
        raise RemoteError(
            f"Boxes of {endpoint.model} at {endpoint.url} lie {abs(usual):.0%} of the picture too far to the "
            f"{'left' if usual < 0 else 'right'}: this build of llama.cpp is not the one that its tower's file "
            "is for. Start it with the other one that iaa export wrote beside it (mmproj-… or mmproj-fixed-…)."
        )


def _picture(centre: tuple[int, int]) -> Picture:
    image = Image.new("RGB", (SIDE, SIDE), (235, 235, 235))
    x, y = centre
    ImageDraw.Draw(image).ellipse((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), (40, 170, 60))
    return image
