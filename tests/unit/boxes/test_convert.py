"""There and back through every format: only what KEEPS leaves out is lost."""

from __future__ import annotations

import json
import math
import time
import tracemalloc
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from box_strategies import batches
from hypothesis import given
from hypothesis import strategies as st

from iaa_runtime.boxes import convert
from iaa_runtime.boxes.bounding_box import SIDES, as_boxes, corners, label_of, score_of
from iaa_runtime.boxes.convert import boxes_from, to_json, to_kjnodes, to_layerstyle
from iaa_runtime.boxes.convert import to_nested as to_sam2
from iaa_runtime.boxes.reader import CONVENTIONS
from iaa_runtime.boxes.segs import to_segs
from iaa_runtime.errors import Cancelled, InputError

Size = tuple[int, int]
Boxes = list[list[dict[str, Any]]]

# What each format holds: which image a box is of, its label, its score, fractions of pixels.
KEEPS: dict[str, set[str]] = {
    "BOUNDING_BOX": {"images", "label", "score", "fractions", "other keys"},
    "KJNodes": set(),
    "SAM2": {"images", "fractions"},
    "LayerStyle": {"images"},
    "Florence2": {"images", "fractions"},
    "Florence2 phrases": {"images", "label", "fractions"},
    "SEGS": {"label", "score"},
    "JSON xyxy": {"images", "label", "score", "fractions"},
    "JSON xywh": {"images", "label", "score", "fractions"},
    "JSON 0-1": {"images", "label", "score", "fractions"},
    "JSON 0-1000": {"images", "label", "score", "fractions"},
}


def florence_phrases(boxes: Boxes) -> object:
    """``JSON`` of the Florence2 nodes for phrase grounding."""
    return [{"bboxes": to_sam2([found])[0], "labels": [label_of(box) for box in found]} for found in boxes]


# How each format is written from boxes of pictures of one size, and with which arguments it is read.
FORMATS: dict[str, tuple[Callable[[Boxes, Size], object], dict[str, Any]]] = {
    "BOUNDING_BOX": (lambda boxes, size: boxes, {}),
    "KJNodes": (lambda boxes, size: to_kjnodes(boxes), {"convention": "xywh"}),
    "SAM2": (lambda boxes, size: to_sam2(boxes), {}),
    "LayerStyle": (lambda boxes, size: to_layerstyle(boxes), {}),
    "Florence2": (lambda boxes, size: to_sam2(boxes), {}),
    "Florence2 phrases": (lambda boxes, size: florence_phrases(boxes), {}),
    "SEGS": (lambda boxes, size: to_segs([box for found in boxes for box in found], size, drop_size=0), {}),
    "JSON xyxy": (lambda boxes, size: to_json(boxes, "xyxy", size), {}),
    "JSON xywh": (lambda boxes, size: to_json(boxes, "xywh", size), {"convention": "xywh"}),
    "JSON 0-1": (lambda boxes, size: to_json(boxes, "0-1", size), {"convention": "0-1"}),
    "JSON 0-1000": (lambda boxes, size: to_json(boxes, "0-1000", size), {"convention": "0-1000"}),
}


def test_every_format_is_tried() -> None:
    assert FORMATS.keys() == KEEPS.keys()


def there_and_back(name: str, boxes: Boxes, size: Size) -> Boxes:
    write, arguments = FORMATS[name]
    return boxes_from(write(boxes, size), size=size, **arguments)


def as_held(name: str, boxes: Boxes) -> Boxes:
    """The boxes without what the format does not hold, but for the roundings of their sides."""
    keeps = KEEPS[name]
    lists = boxes if "images" in keeps else [[box for found in boxes for box in found]]
    kept = set(SIDES) | ({"label"} & keeps) | ({"score"} & keeps)
    held = []
    for found in lists:
        held.append(
            [dict(box) if "other keys" in keeps else {k: v for k, v in box.items() if k in kept} for box in found]
        )
    return held


@given(batches(whole=True), st.sampled_from(list(FORMATS)))
def test_whole_boxes_come_back(batch: tuple[Size, Boxes], name: str) -> None:
    size, boxes = batch
    back, held = there_and_back(name, boxes, size), as_held(name, boxes)
    assert [len(found) for found in back] == [len(found) for found in held]
    for box, expected in zip(chain(*back), chain(*held), strict=True):
        assert corners(box) == corners(expected)
        more, wanted = ({k: v for k, v in b.items() if k not in SIDES} for b in (box, expected))
        if name.startswith("JSON"):  # what core's editor reads
            assert more.pop("metadata", {}).get("desc", "") == wanted.get("label", "")
        if not wanted.get("label"):  # no label and an empty one are the same
            more.pop("label", None), wanted.pop("label", None)
        assert more == wanted


@given(batches(whole=True), st.sampled_from(CONVENTIONS))
def test_the_four_numbers_of_json_say_the_same_as_its_sides(batch: tuple[Size, Boxes], convention: str) -> None:
    size, boxes = batch
    numbers = [[box["bbox"] for box in found] for found in json.loads(to_json(boxes, convention, size))]
    # Thousandths are off by half of one at most; fractions of a side by what a float cannot hold.
    slack = 1e-9 + ("0-1000" in convention) * max(size) / 2000
    for box, expected in zip(chain(*boxes_from([*numbers, []], convention, size)), chain(*boxes), strict=True):
        assert corners(box) == pytest.approx(corners(expected), abs=slack)


@given(batches(), st.sampled_from([name for name in FORMATS if "fractions" in KEEPS[name]]))
def test_fractions_of_pixels_come_back(batch: tuple[Size, Boxes], name: str) -> None:
    size, boxes = batch
    for box, expected in zip(chain(*there_and_back(name, boxes, size)), chain(*boxes), strict=True):
        assert corners(box) == pytest.approx(corners(expected), abs=1e-9)
        if "score" in KEEPS[name]:
            assert (score_of(box), label_of(box)) == (score_of(expected), label_of(expected))


@given(batches(), st.sampled_from(list(FORMATS)))
def test_a_second_round_changes_nothing(batch: tuple[Size, Boxes], name: str) -> None:
    size, boxes = batch
    once = there_and_back(name, boxes, size)
    assert [[corners(box) for box in found] for found in there_and_back(name, once, size)] == [
        [pytest.approx(corners(box), abs=1e-9) for box in found] for found in once
    ]


TWO = [
    [
        {"x": 1, "y": 2, "width": 3, "height": 4, "label": "cat", "score": 0.5},
        {"x": 5.5, "y": 6, "width": 7, "height": 8},
    ],
    [],
]


def test_the_shapes_that_others_take() -> None:
    assert to_kjnodes(TWO) == [(1, 2, 3, 4), (6, 6, 7, 8)]
    assert to_kjnodes(TWO, "xyxy") == [(1, 2, 4, 6), (6, 6, 13, 14)]
    assert all(type(number) is int for bbox in to_kjnodes(TWO) for number in bbox)
    assert to_sam2(TWO) == [[[1, 2, 4, 6], [5.5, 6, 12.5, 14]], []]
    assert to_layerstyle(TWO) == [[[1, 2, 4, 6], [6, 6, 13, 14]], []]
    cat = {
        "x": 1,
        "y": 2,
        "width": 3,
        "height": 4,
        "metadata": {"type": "obj", "text": "", "desc": "cat", "palette": []},
    }
    other = {"x": 5.5, "y": 6, "width": 7, "height": 8}
    for convention, numbers in (
        ("0-1000", ([100, 100, 400, 300], [550, 300, 1250, 700])),
        ("0-1000, y first", ([100, 100, 300, 400], [300, 550, 700, 1250])),
    ):
        assert json.loads(to_json(TWO, convention, (10, 20))) == [
            [{"bbox": numbers[0], "label": "cat", "score": 0.5, **cat}, {"bbox": numbers[1], **other}],
            [],
        ]


def test_whole_pixels_are_at_least_one() -> None:
    """KJNodes, LayerStyle and its BOX got 10, 20, 0, 0 of this."""
    thin = [[{"x": 10.2, "y": 20.4, "width": 0.1, "height": 0.3}]]
    assert to_kjnodes(thin) == [(10, 20, 1, 1)] and to_kjnodes(thin, "xyxy") == [(10, 20, 11, 21)]
    assert to_layerstyle(thin) == [[[10, 20, 11, 21]]]


BOX = {"x": 1, "y": 2, "width": 3, "height": 4}


@pytest.mark.parametrize(
    ("value", "arguments", "expected"),
    [
        ((1, 2, 4, 6), {}, [[BOX]]),
        ([1, 2, 3, 4], {"convention": "xywh"}, [[BOX]]),
        ([4, 6, 1, 2], {}, [[BOX]]),
        ([0.1, 0.2, 0.4, 0.6], {"convention": "0-1", "size": (10, 10)}, [[BOX]]),
        ([100, 200, 400, 600], {"convention": "0-1000", "size": (10, 10)}, [[BOX]]),
        ([(1, 2, 4, 6)] * 2, {}, [[BOX, BOX]]),
        ([(1, 2, 4, 6)] * 2, {"one_per_image": True}, [[BOX], [BOX]]),
        ([[(1, 2, 4, 6)], []], {}, [[BOX], []]),
        (np.array([[1, 2, 4, 6]]), {}, [[BOX]]),
        (torch.tensor([[[1, 2, 4, 6]]]), {}, [[BOX]]),
        ([torch.tensor([1, 2, 4, 6])], {}, [[BOX]]),
        ([], {}, [[]]),
        ([], {"one_per_image": True}, [[]]),
        ([[]], {}, [[]]),
        (BOX, {"convention": "0-1"}, [[BOX]]),
        ('[{"x": 1, "y": 2, "width": 3, "height": 4}]', {}, [[BOX]]),
        ('[{"bbox_2d": [1, 2, 4, 6], "label": "cat"}]', {}, [[{**BOX, "label": "cat"}]]),
        ({"bboxes": [[1, 2, 4, 6]], "labels": [], "scores": []}, {}, [[BOX]]),
        ({"bboxes": [], "labels": [""]}, {}, [[]]),
        ([{"bboxes": [[1, 2, 4, 6]], "labels": [""]}, {"bboxes": []}], {}, [[BOX], []]),
        ({"image": "a.png", "detections": [{**BOX, "score": 0.5}]}, {}, [[{**BOX, "score": 0.5}]]),
        ([{"detections": [BOX]}, {"detections": []}], {}, [[BOX], []]),
        (((9, 9), []), {}, [[]]),
        ({"bboxes": [[1, 2, 4, 6]] * 2, "labels": "cat"}, {}, [[{**BOX, "label": "cat"}] * 2]),
        ({"bboxes": [[1, 2, 4, 6]] * 2, "scores": [0.7, 0]}, {}, [[{**BOX, "score": 0.7}, {**BOX, "score": 0}]]),
        ({"bboxes": [[1, 2, 4, 6]] * 2, "scores": 0.7}, {}, [[{**BOX, "score": 0.7}] * 2]),
        ({"bboxes": torch.tensor([[1, 2, 4, 6]]), "scores": np.array([0.5])}, {}, [[{**BOX, "score": 0.5}]]),
        ({"bboxes": None}, {}, [[]]),
        ({"detections": None}, {}, [[]]),
        ([None, [BOX]], {}, [[], [BOX]]),
        ({"detections": [[1, 2, 4, 6], {"bbox": [1, 2, 4, 6]}]}, {}, [[BOX, BOX]]),
        ([[{"bboxes": [[1, 2, 4, 6]], "labels": ["cat"]}], []], {}, [[{**BOX, "label": "cat"}], []]),
        ([np.zeros((0, 4)), np.array([[1, 2, 4, 6]])], {}, [[], [BOX]]),
        ("", {}, [[]]),
        (" \n", {}, [[]]),
        ("\ufeff[[1, 2, 4, 6]]", {}, [[BOX]]),
        ("```json\n[[1, 2, 4, 6]]\n```", {}, [[BOX]]),
        ("Here [see below] {they} are: [[1, 2, 4, 6]]. [Ask] if not.", {}, [[BOX]]),
        ("[[1, 2, 4, 6]] are the boxes.", {}, [[BOX]]),
    ],
    ids=str,
)
def test_what_is_read(value: object, arguments: dict[str, Any], expected: object) -> None:
    read = boxes_from(value, **arguments)
    assert len(read) == len(expected)  # type: ignore[arg-type]
    for found, wanted in zip(read, expected, strict=True):  # type: ignore[call-overload]
        assert found == [pytest.approx(box) if "label" not in box else box for box in wanted]


@pytest.mark.parametrize(
    ("value", "arguments", "complaint"),
    [
        (None, {}, "a NoneType came"),
        (3, {}, "a int came"),
        ("{", {}, "not JSON"),
        ('"text"', {}, "a str came"),
        ([1, 2, 3], {}, "not a box"),
        ([[1, 2, 3]], {}, "not a box"),
        ([["a", 2, 3, 4]], {}, "not a box"),
        ([{"left": 1}], {}, "neither x, y, width and height nor a bbox"),
        ({"bbox": [1, 2, 3]}, {}, "not a box of four numbers"),
        ({"bboxes": [[1] * 8]}, {}, "not a box of four numbers"),
        ([0, 0, 1, 1], {"convention": "0-1"}, "connect the image"),
        ([0, 0, 1, 1], {"convention": "cxcywh"}, "0-1000"),
        ([1, 2, -3, 4], {"convention": "xywh"}, "negative"),
        ([0, 0, float("nan"), 1], {}, "finite"),
        ([0, 0, 10**400, 1], {}, "finite"),
        ([0, 0, 1e200, 1], {"convention": "0-1", "size": (9, 9)}, "finite"),
        ({"detections": [5]}, {}, "5 is not a box"),
        ({"image": "a.png", "error": "no picture"}, {}, "There are no boxes of 'a.png': 'no picture'. Mend that"),
        ('{"detections": []}\n{"image": "a.png", "error": "no picture"}', {}, "There are no boxes of 'a.png'"),
        ({"detections": [BOX, None]}, {}, "None is not a box"),
        ({"detections": 5}, {}, "5 came for 'detections'"),
        ({"detections": {"a": BOX}}, {}, "came for 'detections'"),
        ({"detections": [{"detections": [BOX]}]}, {}, "neither x, y, width and height"),
        ({"bboxes": [[1, 2, 4, 6]], "labels": ["cat", "dog"]}, {}, "1 boxes and 2 'labels'"),
        ({"bboxes": [[1, 2, 4, 6]] * 2, "scores": [0.7]}, {}, "2 boxes and 1 'scores'"),
        ({"bboxes": [[1, 2, 4, 6]], "scores": torch.ones(3)}, {}, "1 boxes and 3 'scores'"),
        ({"bboxes": [], "detections": [BOX]}, {}, "under several names: bboxes, detections"),
        ([{"bbox": [1, 2, 4, 6], "bbox_2d": [1, 2, 4, 6]}], {}, "under several names: bbox, bbox_2d"),
        ({**BOX, "bboxes": []}, {}, "under several names: bboxes, x, y, width, height"),
        ({"box": [1, 2, 4, 6], "x1": 1, "y1": 2, "x2": 3, "y2": 4}, {}, "under several names: box, x1, y1, x2, y2"),
        ({**BOX, "score": 93}, {}, "Divide percents by 100"),
        ({"bboxes": "none"}, {}, "'none' came for 'bboxes'"),
        ({"bboxes": [None]}, {}, "None is not a box"),
        ({"bboxes": [[1, 2, 4, 6]], "labels": {"a": 1}}, {}, "came for 'labels'"),
        ({"bboxes": [[1, 2, 4, 6]], "scores": ["high"]}, {}, "'score' of box 1"),
        ({"bboxes": [[1, 2, 4, 6]], "scores": [float("nan")]}, {}, "'score' of box 1"),
        ({"bbox": None}, {}, "None is not a box"),
        ({**BOX, "score": "high"}, {}, "'score' of box 1"),
        ([BOX, [BOX]], {}, "mixes boxes and lists"),
        ([BOX, {"bboxes": []}], {"one_per_image": True}, "mixes boxes and lists"),
        ([[1, 2, 4, 6], []], {}, "mixes boxes and lists"),
        ([[BOX, 5]], {}, "5 is not a box"),
        ([[[[1, 2, 4, 6]]]], {}, "not a box"),
        (np.zeros((1, 5)), {}, "not a box"),
        (torch.zeros(2, 2, 5), {}, "not a box"),
        (torch.zeros(1, 4, dtype=torch.complex64), {}, "not a box"),
        (torch.zeros(1, 4, device="meta"), {}, "The numbers of a Tensor cannot be read"),
        (torch.zeros(1, 4).to_sparse(), {}, "The numbers of a Tensor cannot be read"),
        ({"bbox": torch.zeros(2, 4), "type": np.zeros(2), "desc": "it"}, {}, "not a box of four numbers"),
        ([object()], {}, "^a object came for a list of boxes"),
        (math, {}, "a module came: a module"),
        ("I see no boxes.", {}, "not JSON"),
        ("The boxes: [[1, 2, 4, 6], [5, 6", {}, "breaks off"),
        ("[[1, 2, 4, 6]] and [[5, 6, 7, 8]]", {}, "several JSON values in the text.*one list"),
        ("[" * 100_000, {}, "nested too deeply"),
        ("boxes: " + "[" * 100_000, {}, "breaks off|nested"),
        ("9" * 5000, {}, "a float came"),
        (f"So: [[1, 2, 3, -{'9' * 5000}]]", {}, "not finite or above 1000000000"),
        ("[[10, 20], []]", {}, "not a box"),
        ("null", {}, "a NoneType came"),
        (b"[[1, 2, 4, 6]]", {}, "a bytes came"),
    ],
    ids=lambda value: str(value).partition(" at 0x")[0],  # which is another in each process
)
def test_what_is_refused(value: object, arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        boxes_from(value, **arguments)


CASES = {
    "fenced": [{"x": 12, "y": 30, "width": 78, "height": 110, "label": "cup"}],
    "prose_before": [{"x": 12, "y": 30, "width": 78, "height": 110, "label": "cup"}],
    "byte_order_mark": [{"x": 12, "y": 30, "width": 78, "height": 110}],
    "empty": [],
    "null_list": [],
    "label_is_text": [{"x": 12, "y": 30, "width": 78, "height": 110, "label": "cat"}],
    "scores_beside": [{"x": 12, "y": 30, "width": 78, "height": 110, "label": "cat", "score": 0.7}],
    "core_elements": [
        {
            **{"x": 20, "y": 60, "width": 135, "height": 220, "label": "a cup"},
            "metadata": {"type": "obj", "text": "", "desc": "a cup", "palette": []},
        }
    ],
}
"""Texts that failed once, in ``texts.json``, and what they say of a picture of 500 x 500."""
TEXTS: dict[str, str] = json.loads((Path(__file__).parent / "texts.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_texts_as_models_and_programs_write_them(name: str) -> None:
    (found,) = boxes_from(TEXTS[name], size=(500, 500))
    assert found == [pytest.approx(box) if "label" not in box else box for box in CASES[name]]


def test_a_score_in_words_is_refused() -> None:
    assert TEXTS.keys() == {*CASES, "score_is_text"}
    with pytest.raises(InputError, match=r"'score' of box 1, .*, is not a finite number"):
        boxes_from(TEXTS["score_is_text"])


def test_elements_of_the_editor_need_the_size_whatever_the_convention() -> None:
    with pytest.raises(InputError, match="connect the image"):
        boxes_from(TEXTS["core_elements"])
    element = {"type": "text", "bbox": [0, 500, 1000, 1000], "desc": "", "text": "SALE", "color_palette": ["#fff"]}
    metadata = {"type": "text", "desc": "", "text": "SALE", "palette": ["#fff"]}
    place = {"x": 20, "y": 0, "width": 20, "height": 20}
    assert boxes_from([element], "xywh", (40, 20)) == [[{**place, "label": "", "metadata": metadata}]]
    other = {"type": "cup", "bbox": [1, 2, 4, 6], "desc": "a cup"}
    assert boxes_from([other]) == [[BOX]], "somebody else's"


@pytest.mark.parametrize(
    "text",
    ["[" * 300_000, "[ " * 300_000, '{"a":' * 100_000, "[1] " * 100_000, "[" + " " * 500_000],
    ids=lambda text: text[:5],
)
def test_any_text_takes_linear_time(text: str) -> None:
    begin = time.process_time()
    with pytest.raises(InputError):
        boxes_from("x" + text)
    assert time.process_time() - begin < 1


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ([[0, 0, 1, 1]] * 100_001, "100001 boxes"),
        ([[[0, 0, 1, 1]] * 100_001], "100001 boxes"),
        ([[[0, 0, 1, 1]] * 50_001] * 2, "100002 boxes"),
        ({"detections": [[0, 0, 1, 1]] * 100_001}, "100001 boxes"),
        ("[" + "[0, 0, 1, 1]," * 1_000_000, "13000001 characters"),
        (torch.zeros(1, 1024, 1024, 3), r"shape \[1, 1024, 1024, 3\]"),
        ([np.zeros((1024, 1024, 3))], r"shape \[1024, 1024, 3\]"),
    ],
    ids=["a list", "an image", "two images", "detections", "text", "a picture", "an array in a list"],
)
def test_more_than_boxes_are_is_refused_before_it_is_unfolded(value: object, complaint: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=complaint):
            boxes_from(value)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_writing_fractions_needs_a_size() -> None:
    with pytest.raises(InputError, match="connect the image"):
        to_json(TWO, "0-1")
    assert convert.to_json([[]], "0-1") == "[[]]"


@pytest.mark.parametrize("text", ['{"bbox": [0, 0, 9, 9], "bbox": [5, 5, 6, 6]}', 'So: [{"x": 1, "x": 2}]'])
def test_json_that_says_a_thing_twice_is_refused(text: str) -> None:
    """Python would take the last in silence."""
    with pytest.raises(InputError, match="twice"):
        boxes_from(text)


@pytest.mark.parametrize(
    "text",
    [
        "{" + ",".join(f'"{n}":0' for n in range(100_000)) + ',"99999":0}',
        '{"a": 1} or ' * 500_000,
    ],
    ids=["a name at the end", "very many values"],
)
def test_a_refusal_takes_no_longer_than_reading(text: str) -> None:
    begun = time.process_time()
    with pytest.raises(InputError, match=r"twice|There are 100001 boxes"):
        boxes_from(text)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("value", [[[torch.zeros(2, 3, 4, 5)]], {"boxes": torch.ones(40, 40)}, [[math, [1]]]])
def test_a_refusal_is_one_line_without_paths(value: object) -> None:
    for read in (boxes_from, as_boxes):
        with pytest.raises(InputError) as refused:
            read(value)
        assert "\n" not in str(refused.value) and "/" not in str(refused.value)


def test_a_description_that_is_no_text_is_no_label() -> None:
    (found,) = boxes_from([{"x": 1, "y": 2, "width": 3, "height": 4, "metadata": {"desc": {"a": 1}}}])
    assert label_of(found[0]) == ""


@pytest.mark.parametrize("value", [[[1, 2, 3, 4]] * 9, {"boxes": [[1, 2, 3, 4]] * 9}, [[{"bbox": [1, 2, 3, 4]}] * 9]])
def test_reading_can_be_cancelled_between_any_two_boxes(value: object) -> None:
    asked: list[int] = []
    with pytest.raises(Cancelled):
        boxes_from(value, cancelled=lambda: asked.append(1) or len(asked) == 5)  # type: ignore[func-returns-value]
    assert len(asked) == 5
