"""What was found, as a notebook shows it: the picture with its boxes."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence

from ..boxes.answers import Detection
from ..errors import InputError
from ..images.draw import draw_detections
from ..images.load import AnyImage, to_pil
from ..images.preprocess import bounded
from ..text.printable import printable

LARGEST = 1024
"""Pixels of the longer side of a picture in a notebook, which is a file that grows with each."""


class Detections(list[Detection]):
    """What was found in one picture: a list, which a notebook shows as the picture with its boxes.

    Attributes:
        image: the picture as it was given; a path is opened again to be shown.
    """

    def __init__(self, found: Iterable[Detection] = (), image: AnyImage | None = None) -> None:
        super().__init__(found)
        self.image = image

    def _repr_html_(self) -> str | None:
        return figure("", self.image, self)


class DetectionsOfEach(list[list[Detection]]):
    """What was found in each picture: a list, which a notebook shows picture by picture."""

    def _repr_html_(self) -> str | None:
        shown = [each._repr_html_() or html.escape(repr(each)) for each in self if isinstance(each, Detections)]
        return "\n".join(shown) if len(shown) == len(self) else None


def figure(text: str, image: AnyImage | None, detections: Sequence[Detection] = ()) -> str | None:
    """A text above the picture with its boxes, in HTML; None where there is nothing to see of a picture."""
    try:
        picture = to_pil(image) if image is not None else None
    except InputError:  # the file is gone meanwhile
        picture = None
    if picture is None:
        return None
    file = io.BytesIO()
    bounded(draw_detections(picture, detections), LARGEST).save(file, "JPEG", quality=90)
    data = base64.b64encode(file.getvalue()).decode()
    said = f'<div style="white-space: pre-wrap">{html.escape(printable(text))}</div>' if text else ""
    return f'{said}<img style="max-width: 100%" src="data:image/jpeg;base64,{data}">'
