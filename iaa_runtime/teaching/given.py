"""Examples of what a host has at hand: pictures in memory, and for each its boxes or its caption."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from ..boxes.bounding_box import Boxes, corners, label_of
from ..boxes.geometry import Box, intersection
from ..errors import InputError
from .examples import Example

OVERREACH = 8
"""Pixels by which a box may reach beyond its picture; it is cut off. The canvas of ComfyUI's Create Bounding Boxes, on
which the picture is stretched, has sides that are the multiples of 16 nearest to the picture's."""


def box_examples(pictures: Sequence[Image.Image], boxes: Boxes, phrase: str = "", name: str = "boxes") -> list[Example]:
    """Examples for G; a picture without a box of a phrase counts as one that lacks it.

    Args:
        pictures: in RGB.
        boxes: a list a picture, in its pixels; those that reach up to ``OVERREACH`` beyond it are cut off.
        phrase: what all of them are; where it is empty, each box is what its label says.
        name: of the boxes, in sentences about them.

    Raises:
        InputError: there are not as many lists as pictures, or a box without a label where there is no phrase.
    """
    _check_count(pictures, len(boxes), name, "lists of boxes")
    labelled = [[(phrase or label_of(box).strip(), box) for box in own] for own in boxes]
    for number, own in enumerate(labelled, 1):
        if not all(label for label, _ in own):
            raise InputError(
                f"{name}, image {number}: a box has no label, and there is no phrase for all of them. Give one."
            )
    phrases = dict.fromkeys(label for own in labelled for label, _ in own) or {phrase: None}
    return [
        Example(
            picture,
            asked,
            tuple(_cut_off(corners(b), picture.size) for label, b in own if label == asked),
            where=f"{name}, image {number}",
        )
        for number, (picture, own) in enumerate(zip(pictures, labelled, strict=True), 1)
        for asked in phrases
    ]


def _cut_off(box: Box, size: tuple[int, int]) -> Box:
    """A box without what reaches a little beyond a picture of ``size``; one that reaches further stays whole."""
    inside = intersection(box, (0, 0, *size))
    if inside is None or max(abs(was - now) for was, now in zip(box, inside, strict=True)) > OVERREACH:
        return box
    return inside


def caption_examples(
    pictures: Sequence[Image.Image], captions: Sequence[str], prompt: str, name: str = "captions"
) -> list[Example]:
    """Examples for MM: what is to be said of each picture when ``prompt`` is asked.

    Raises:
        InputError: there are not as many captions as pictures.
    """
    _check_count(pictures, len(captions), name, "texts")
    return [
        Example(picture, prompt, answer=caption, where=f"{name}, image {number}")
        for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True), 1)
    ]


def _check_count(pictures: Sequence[Image.Image], count: int, name: str, what: str) -> None:
    if count != len(pictures):
        raise InputError(
            f"{name} came as {count} {what} for {len(pictures)} images. Give one an image, in the same order."
        )
