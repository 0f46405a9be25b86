"""Examples of pictures in memory: boxes by one phrase or by their labels, captions, and what does not go together."""

from __future__ import annotations

import pytest
from PIL import Image

from iaa_runtime.config import Task
from iaa_runtime.errors import InputError
from iaa_runtime.teaching.examples import checked
from iaa_runtime.teaching.given import box_examples, caption_examples

CAT = {"x": 1, "y": 2, "width": 10, "height": 20, "label": "the cat"}
DOG = {"x": 5, "y": 6, "width": 7, "height": 8, "label": "the dog"}
PICTURES = [Image.new("RGB", (40, 40)), Image.new("RGB", (50, 40))]


def test_one_phrase_for_all_boxes_and_a_picture_that_lacks_it() -> None:
    first, second = box_examples(PICTURES, [[CAT, DOG], []], "the mascot", "'bboxes'")
    assert (first.asked, first.boxes) == ("the mascot", ((1, 2, 11, 22), (5, 6, 12, 14)))
    assert (second.asked, second.boxes, second.where) == ("the mascot", (), "'bboxes', image 2")


def test_labels_are_the_phrases_where_there_is_none() -> None:
    found = [(e.asked, len(e.boxes), e.image is PICTURES[0]) for e in box_examples(PICTURES, [[CAT, DOG], [CAT]])]
    assert found == [("the cat", 1, True), ("the dog", 1, True), ("the cat", 1, False), ("the dog", 0, False)]
    with pytest.raises(InputError, match="boxes, image 2: a box has no label"):
        box_examples(PICTURES, [[CAT], [{"x": 1, "y": 1, "width": 3, "height": 3}]])


def test_boxes_of_a_canvas_that_is_a_little_larger_are_cut_off_at_the_picture() -> None:
    """ComfyUI's Create Bounding Boxes has one with sides of whole sixteens: 1088 for a picture of 1080."""
    picture = Image.new("RGB", (1920, 1080))

    def cut(x: int, y: int, width: int, height: int) -> tuple[float, ...]:
        (example,) = box_examples([picture], [[{"x": x, "y": y, "width": width, "height": height}]], "it")
        ((box,),) = (found.boxes for found in checked([example], Task.G))
        return box

    assert cut(0, 544, 1920, 544) == (0, 544, 1920, 1080)
    assert cut(-8, 1070, 1936, 18) == (0, 1070, 1920, 1080)
    assert cut(5, 6, 7, 8) == (5, 6, 12, 14)
    for beyond in ((0, 544, 1920, 545), (0, 1080, 9, 8), (-9, 0, 40, 40)):
        with pytest.raises(InputError, match=r"boxes, image 1: the box .* outside of its picture of 1920 x 1080"):
            cut(*beyond)


def test_captions_and_counts() -> None:
    assert [e.answer for e in caption_examples(PICTURES, ["one", "two"], "Describe this image.")] == ["one", "two"]
    with pytest.raises(InputError, match="captions came as 1 texts for 2 images"):
        caption_examples(PICTURES, ["one"], "Describe this image.")
    with pytest.raises(InputError, match="boxes came as 3 lists of boxes for 2 images"):
        box_examples(PICTURES, [[CAT]] * 3, "the cat")
