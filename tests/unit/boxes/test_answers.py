from __future__ import annotations

import ast
import dataclasses
import json
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iaa_runtime.boxes.answers import Detection, box_spans, parse_boxes, to_detection
from iaa_runtime.boxes.geometry import pad_box
from iaa_runtime.errors import InputError

fractions = st.floats(-3, 3)
sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))
boxes = st.tuples(fractions, fractions, fractions, fractions)


def published_reading(text: str) -> list[tuple[float, ...]]:
    """What the published scorer gets to see: pieces between "; " as Python literals, up to the first it chokes on."""
    found: list[tuple[float, ...]] = []
    for piece in text.split("; "):
        try:
            value = ast.literal_eval(piece.strip())
            box = tuple(number * 1.0 for number in value)
        except (ValueError, SyntaxError, TypeError):
            break
        if not isinstance(value, list) or len(box) != 4 or not all(map(math.isfinite, box)):
            break
        found.append(box)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[0.1,0.2,0.3,0.4]", [(0.1, 0.2, 0.3, 0.4)]),
        ("[0.1,0.2,0.3,0.4]; [0.5,0.6,0.7,0.8]", [(0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8)]),
        ("[0,0,1,1];[1,1,2,2]", [(0, 0, 1, 1), (1, 1, 2, 2)]),
        ("[0,0,1,1], [1,1,2,2]", [(0, 0, 1, 1), (1, 1, 2, 2)]),
        ("[0,0,1,1]\n[1,1,2,2]", [(0, 0, 1, 1), (1, 1, 2, 2)]),
        ("[0,0,1,1][1,1,2,2]", [(0, 0, 1, 1), (1, 1, 2, 2)]),
        ("\n [ 0.1 ,\t0.2, 0.3 , 0.4 ] \n", [(0.1, 0.2, 0.3, 0.4)]),
        ("[-0.139,.31,1.174,1.]", [(-0.139, 0.31, 1.174, 1.0)]),
        ("[+1e-1,2E-1,0.3e0,4]", [(0.1, 0.2, 0.3, 4.0)]),
        ("[0.9,0.8,0.2,0.1]", [(0.9, 0.8, 0.2, 0.1)]),
        ("[0,0,1,1]; I also see", [(0, 0, 1, 1)]),
        ("[0,0,1,1]; [0.5,0.5,0.4", [(0, 0, 1, 1)]),
        ("[0,0,1,1]; [0,0,1e999,1]; [1,1,2,2]", [(0, 0, 1, 1)]),
        ("[0.5,0.5,0.4", []),
        ("I cannot see it.", []),
        ("It is at [0,0,1,1]", []),
        ("[0,0,1,1] is it", []),
        ("[0,0,1,1].", []),
        ("none; [0,0,1,1]", []),
        ("[0,0,1]", []),
        ("[0,0,1,1,1]", []),
        ("[[0,0,1,1]]", []),
        ("[0 0 1 1]", []),
        ("[0,,1,1]", []),
        ("(0,0,1,1)", []),
        ("0,0,1,1", []),
        ("[nan,0,1,1]", []),
        ("[0,0,inf,1]", []),
        ("[0,0,1e999,1]", []),
        ("[0,0,0x1,1]", []),
        ("[0,0,1/2,1]", []),
        ("[0.,.,1,1]", []),
        ("[٠,0,1,1]", []),
        ("__import__('os')", []),
        ("", []),
    ],
)
def test_parse_boxes(text: str, expected: list[tuple[float, ...]]) -> None:
    assert parse_boxes(text) == expected


@given(st.lists(boxes, min_size=1, max_size=4), st.integers(0, 3))
def test_parse_boxes_reads_what_the_model_is_taught_to_write(written: list[tuple[float, ...]], places: int) -> None:
    text = "; ".join("[" + ",".join(f"{number:.{places}f}" for number in box) + "]" for box in written)
    assert parse_boxes(text) == [tuple(round(number, places) for number in box) for box in written]


@given(
    st.lists(st.sampled_from(["[0.1,0.2,0.3,0.4]", "[1,2", "[]", "[0.5,-1,2.5,1]", "x", "", "[1,2,'3',4]"]), max_size=5)
)
def test_parse_boxes_agrees_with_the_published_reading(pieces: list[str]) -> None:
    text = "; ".join(pieces)
    assert parse_boxes(text) == published_reading(text)


@given(st.lists(boxes, max_size=4), st.sampled_from(["; ", ";", ", ", "\n"]), st.sampled_from(["", "; ", " ", "; and"]))
def test_box_spans_say_where_each_box_stands(written: list[tuple[float, ...]], separator: str, end: str) -> None:
    pieces = ["[" + ", ".join(f"{number:.3f}" for number in box) + "]" for box in written]
    text = separator.join(pieces) + end
    spans = box_spans(text)
    assert [text[start:stop] for _, start, stop in spans] == pieces
    assert [box for box, _, _ in spans] == parse_boxes(text)


@given(st.text(alphabet="[]0123456789.,;-+eE \nnaif", max_size=60))
def test_parse_boxes_never_fails(text: str) -> None:
    for box in parse_boxes(text):
        assert len(box) == 4
        assert all(map(math.isfinite, box))


@pytest.mark.parametrize(
    "text",
    [
        "[" + "1" * 300_000,
        "[1" + " " * 300_000 + "x",
        "[0,0,1,1]" + " " * 300_000 + "x",
        "[0,0,1,1] , " * 20_000 + "x",
        "[" + "0." + "1" * 300_000 + "e",
        "[" * 300_000,
        "[0,0,1,1];" + "; " * 150_000,
    ],
    ids=["digits", "blanks in a box", "blanks behind a box", "boxes", "decimals", "brackets", "semicolons"],
)
def test_parse_boxes_takes_linear_time(text: str) -> None:
    start = time.perf_counter()
    parse_boxes(text)
    assert time.perf_counter() - start < 2  # Quadratic backtracking takes minutes here.


@given(boxes | st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 4), sizes)
def test_detections_lie_inside_the_picture(box: tuple[float, ...], size: tuple[int, int]) -> None:
    found = to_detection(box, size, "panda", 0.5)
    x1, y1, x2, y2 = found.xyxy
    assert 0 <= x1 < x2 <= size[0]
    assert 0 <= y1 < y2 <= size[1]
    assert all(type(number) is int for number in (found.x, found.y, found.width, found.height))


@given(st.data(), sizes)
def test_whole_pixels_survive_the_way_there_and_back(data: st.DataObject, size: tuple[int, int]) -> None:
    x = data.draw(st.integers(0, size[0] - 1))
    y = data.draw(st.integers(0, size[1] - 1))
    width = data.draw(st.integers(1, size[0] - x))
    height = data.draw(st.integers(1, size[1] - y))
    fractions_of_it = pad_box((x, y, x + width, y + height), size)
    assert to_detection(fractions_of_it, size, "", 1) == Detection(x, y, width, height, "", 1.0)


@given(boxes, sizes)
def test_reversed_corners_make_the_same_detection(box: tuple[float, ...], size: tuple[int, int]) -> None:
    x1, y1, x2, y2 = box
    expected = to_detection(box, size, "a", 0)
    for turned in [(x2, y1, x1, y2), (x1, y2, x2, y1), (x2, y2, x1, y1)]:
        assert to_detection(turned, size, "a", 0) == expected


@pytest.mark.parametrize(
    ("box", "size", "expected"),
    [
        ((0.1, 0.2, 0.5, 0.9), (100, 100), (10, 20, 40, 70)),
        ((0.1045, 0.1055, 0.5045, 0.5055), (100, 100), (10, 11, 40, 40)),  # to the nearest edge, up and down
        ((0, 0, 1, 1), (200, 100), (0, 0, 200, 100)),  # the padding is cut off
        ((0.2, 0.0, 0.4, 0.1), (200, 100), (40, 0, 40, 1)),  # wholly in the padding above
        ((0.2, 0.95, 0.4, 1.0), (200, 100), (40, 99, 40, 1)),  # and below
        ((5, 5, 6, 6), (10, 10), (9, 9, 1, 1)),
        ((-6, -6, -5, -5), (10, 10), (0, 0, 1, 1)),
        ((0.5, 0.5, 0.5, 0.5), (10, 10), (5, 5, 1, 1)),
        ((0.3, 0.3, 0.4, 0.4), (1, 1), (0, 0, 1, 1)),
    ],
)
def test_to_detection(box: tuple[float, ...], size: tuple[int, int], expected: tuple[int, ...]) -> None:
    found = to_detection(box, size, "red panda", 0.25)
    assert (found.x, found.y, found.width, found.height) == expected
    assert (found.label, found.score) == ("red panda", 0.25)


@pytest.mark.parametrize(
    ("box", "score", "reason"),
    [
        ((math.nan, 0, 1, 1), 0.5, "not a finite number"),
        ((0, 0, math.inf, 1), 0.5, "not a finite number"),
        ((0, 0, 1, 1), math.nan, "score"),
        ((0, 0, 1, 1), 1.5, "score"),
        ((0, 0, 1, 1), -0.1, "score"),
    ],
)
def test_to_detection_refuses_what_means_nothing(box: tuple[float, ...], score: float, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        to_detection(box, (10, 10), "panda", score)


def test_a_detection_is_plain_frozen_data() -> None:
    found = to_detection(np.array([0.1, 0.2, 0.5, 0.9]), (100, 100), "panda", np.float32(0.5))
    record = {"x": 10, "y": 20, "width": 40, "height": 70, "label": "panda", "score": 0.5}
    assert json.loads(json.dumps(found.to_dict())) == record
    assert list(found.to_dict()) == list(record)
    assert found.xyxy == (10, 20, 50, 90)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.x = 0  # type: ignore[misc]
