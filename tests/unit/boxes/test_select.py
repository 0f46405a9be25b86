from __future__ import annotations

import fnmatch
import time
from typing import Any

import pytest
from box_strategies import batches
from hypothesis import given
from hypothesis import strategies as st

from iaa_runtime.boxes.bounding_box import as_boxes, corners, shown
from iaa_runtime.boxes.select import ORDERS, Selection, first_box, matches, pick, select
from iaa_runtime.errors import Cancelled, InputError

Batch = tuple[Any, list[list[dict[str, Any]]]]


def box(x: float, y: float, width: float, height: float, label: str = "", score: float = 1.0) -> dict[str, Any]:
    return {"x": x, "y": y, "width": width, "height": height, "label": label, "score": score}


CAT, DOG, BIG_CAT = (
    box(50, 0, 10, 10, "cat", 0.5),
    box(0, 20, 20, 10, "a dog, black", 0.9),
    box(5, 5, 80, 40, "Cat", 0.7),
)
ALL = [CAT, DOG, BIG_CAT]


@given(batches(), st.sampled_from(list(ORDERS)))
def test_nothing_asked_keeps_all(batch: Batch, order: str) -> None:
    chosen = select(batch[1], Selection(order=order))
    assert [sorted(map(repr, boxes)) for boxes in chosen] == [sorted(map(repr, boxes)) for boxes in batch[1]]


@given(batches(), st.floats(0, 1), st.integers(0, 3))
def test_what_is_kept_was_there_in_its_order(batch: Batch, min_score: float, limit: int) -> None:
    for chosen, boxes in zip(select(batch[1], Selection(min_score=min_score, limit=limit)), batch[1], strict=True):
        rest = iter(boxes)
        assert all(any(kept is candidate for candidate in rest) for kept in chosen)
        assert all(kept.get("score", 1) >= min_score for kept in chosen)
        assert not limit or len(chosen) <= limit


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(labels=("cat",)), [CAT, BIG_CAT]),
        (Selection(labels=("CAT ",)), [CAT, BIG_CAT]),
        (Selection(labels=("ca",)), []),
        (Selection(labels=("ca*",)), [CAT, BIG_CAT]),
        (Selection(labels=("*dog*", "horse")), [DOG]),
        (Selection(labels=("c.t",)), []),
        (Selection(min_score=0.7), [DOG, BIG_CAT]),
        (Selection(min_side=40), [BIG_CAT]),
        (Selection(max_side=20), [CAT, DOG]),
        (Selection(order="best score first"), [DOG, BIG_CAT, CAT]),
        (Selection(order="largest first", limit=1), [BIG_CAT]),
        (Selection(order="smallest first", limit=2), [CAT, DOG]),
        (Selection(order="left to right"), [DOG, BIG_CAT, CAT]),
        (Selection(order="right to left"), [CAT, BIG_CAT, DOG]),
        (Selection(order="top to bottom"), [CAT, DOG, BIG_CAT]),
        (Selection(order="bottom to top", indices="-1"), [CAT]),
        (Selection(indices="2, 0"), [BIG_CAT, CAT]),
        (Selection(labels=("cat",), order="largest first", indices="0"), [BIG_CAT]),
    ],
    ids=str,
)
def test_select(selection: Selection, expected: list[dict[str, Any]]) -> None:
    assert select([ALL, []], selection) == [expected, []]


def test_boxes_inside_others() -> None:
    found = [[CAT, DOG], [CAT], [CAT]]
    assert select(found, Selection(), [[box(0, 0, 40, 40)], [], [box(54, 4, 2, 2)]]) == [[DOG], [], [CAT]]


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ("", [0, 1, 2, 3]),
        (" , ", [0, 1, 2, 3]),
        ("0", [0]),
        ("-1", [3]),
        ("1 -1", [1, 3]),
        ("2-3, 0", [2, 3, 0]),
        ("2-999999999", [2, 3]),
        ("1,1;1\n1", [1]),
        ("4, -5, 9", []),
        ("3-1", []),
        ("-2-9", [2, 3]),
    ],
)
def test_pick(indices: str, expected: list[int]) -> None:
    assert pick(4, indices) == expected


@pytest.mark.parametrize("indices", ["a", "1.5", "1-", "--1", "1:2", "0, x", "9" * 10, "٣"])
def test_pick_refuses(indices: str) -> None:
    with pytest.raises(InputError, match="neither a number nor a range"):
        pick(4, indices)


def test_indices_without_an_end_are_refused_at_once() -> None:
    with pytest.raises(InputError, match="300001 characters"):
        pick(4, "0," * 150_000 + "9")


def test_a_refusal_of_indices_is_short_and_names_them() -> None:
    with pytest.raises(InputError, match=r"'indices' holds 'x.*number nor a range") as refused:
        pick(4, "0, " + "x" * 100_000)
    assert len(str(refused.value)) < 200


def crowd(count: int) -> list[dict[str, Any]]:
    """Boxes that differ in their labels."""
    return [box(n % 90, n % 50, 3, 3, f"label {n}") for n in range(count)]


RANGES = ",".join(f"{start}-99998" for start in range(25_000))
"""As many as fit, each over nearly all that there is to pick from."""


@pytest.mark.parametrize(
    ("boxes", "selection", "inside"),
    [
        ([crowd(99_999)], Selection(indices=RANGES), None),
        ([crowd(1) for _ in range(50_000)], Selection(indices=RANGES), None),
        ([crowd(99_999)], Selection(labels=tuple(f"*{n}x*" for n in range(10_000))), None),
        ([crowd(99_999)], Selection(labels=tuple(f"{n}x" for n in range(10_000))), None),
        ([[box(0, 0, 9, 9, "a" * 100_000 + str(n)) for n in range(50)]], Selection(labels=("*b" * 100_000,)), None),
        ([crowd(99_999)], Selection(), [crowd(99_999)]),
        ([crowd(4_000)], Selection(), [[box(-5_000, 0, 9, 9)] * 4_000]),
    ],
    ids=["ranges", "ranges of images", "patterns", "words", "long labels", "pairs", "all pairs that may be"],
)
def test_whatever_is_asked_takes_no_longer_than_seconds(
    boxes: list[Any], selection: Selection, inside: list[Any] | None
) -> None:
    begun = time.process_time()  # others may use the machine
    try:
        select(boxes, selection, inside)
    except InputError as error:
        assert "the most" in str(error) or "fewer" in str(error)
    assert time.process_time() - begun < 4


def test_cancel_is_heard_at_every_box() -> None:
    asked: list[int] = []
    with pytest.raises(Cancelled):
        select([ALL], Selection(labels=("*",)), cancelled=lambda: bool(asked) or bool(asked.append(1)))


def test_unknown_orders_are_refused() -> None:
    with pytest.raises(InputError, match="left to right"):
        Selection(order="sideways")


@given(batches())
def test_the_first_box_fits_nodes_for_one_box(batch: Batch) -> None:
    size, boxes = batch
    every = [corners(box) for found in boxes for box in found]
    first = first_box(boxes)
    # An extent that is lost in the sum with its place is none: 1.0 + 1e-30 == 1.0.
    assert (first is None) == all(min(x2, y2) <= 0 or x2 <= x1 or y2 <= y1 for x1, y1, x2, y2 in every)
    within = first_box(boxes, size)
    assert (within is None) == (not any(shown(found, size) for found in boxes))
    assert within is None or (within["x"] + within["width"] <= size[0] and within["y"] + within["height"] <= size[1])
    if first is not None:
        assert as_boxes(first) == [[first]]
        assert all(type(first[side]) is int for side in ("x", "y", "width", "height"))
        assert first["x"] >= 0 and first["y"] >= 0 and first["width"] >= 1 and first["height"] >= 1


def test_whole_boxes_stay_as_they_are() -> None:
    assert first_box([[], [], [DOG, CAT]]) == DOG


@given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
def test_stars_match_as_the_shells_do(pattern: str, text: str) -> None:
    assert matches(text, pattern) == fnmatch.fnmatchcase(text, pattern)


def test_many_stars_take_no_longer_than_few() -> None:
    """A regular expression would go through all ways to place them: this one alone took minutes."""
    labelled = box(0, 0, 1, 1, "a" * 100_000)
    started = time.monotonic()
    assert select([[labelled]], Selection(labels=("*a" * 1000 + "b", "*" * 1000 + "b"))) == [[]]
    assert select([[labelled]], Selection(labels=("*a" * 1000,))) == [[labelled]]
    assert time.monotonic() - started < 1


def test_many_ranges_take_no_longer_than_few() -> None:
    started = time.monotonic()
    words = " ".join(f"0-{end}" for end in range(999_000_000, 999_020_000))
    assert pick(20_000, words) == list(range(20_000))
    assert time.monotonic() - started < 1
