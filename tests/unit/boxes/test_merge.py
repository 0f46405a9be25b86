from __future__ import annotations

import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from box_strategies import batches, float_boxes
from hypothesis import given
from hypothesis import strategies as st

from iaa_runtime.boxes.bounding_box import corners, label_of, score_of
from iaa_runtime.boxes.geometry import pairwise_iou
from iaa_runtime.boxes.merge import AROUND, BEST, INTERSECTION, JOIN, MODES, UNION, merge_boxes
from iaa_runtime.errors import Cancelled, InputError

Batch = tuple[Any, list[list[dict[str, Any]]]]
THRESHOLDS = st.sampled_from([0.0, 0.3, 0.5, 1.0])


def box(x: float, y: float, width: float, height: float, label: str = "", score: float | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"x": x, "y": y, "width": width, "height": height}
    return made | ({"label": label} if label else {}) | ({"score": score} if score is not None else {})


CAT = box(0, 0, 10, 10, "cat", 0.6)
ANIMAL = box(1, 0, 10, 10, "animal", 0.9)
SHIFTED = box(2, 0, 10, 10, "pet", 0.5)
FAR = box(50, 50, 10, 10, "dog", 0.2)


def overlap(boxes: list[dict[str, Any]]) -> np.ndarray:
    shared = pairwise_iou([corners(b) for b in boxes], [corners(b) for b in boxes])
    np.fill_diagonal(shared, 0)
    return shared


@given(batches(), THRESHOLDS)
def test_best_leaves_no_overlap_and_drops_only_what_a_better_one_covers(batch: Batch, threshold: float) -> None:
    numbered = [[{**box, "number": number} for number, box in enumerate(boxes)] for boxes in batch[1]]
    for kept, boxes in zip(merge_boxes([numbered], BEST, threshold), numbered, strict=True):
        shared = overlap(kept)
        assert not ((shared > 0) & (shared >= threshold)).any()
        assert kept == [box for box in boxes if box in kept]
        for dropped in [box for box in boxes if box not in kept]:
            ious = pairwise_iou([corners(dropped)], [corners(k) for k in kept])[0]
            assert any(
                iou > 0 and iou >= threshold and score_of(k) >= score_of(dropped)
                for iou, k in zip(ious, kept, strict=True)
            )
        assert merge_boxes([[kept]], BEST, threshold) == [kept]


@given(batches(), THRESHOLDS)
def test_unions_cover_every_box(batch: Batch, threshold: float) -> None:
    for merged, boxes in zip(merge_boxes([batch[1]], UNION, threshold), batch[1], strict=True):
        assert len(merged) <= len(boxes) and bool(merged) == bool(boxes)
        for x1, y1, x2, y2 in map(corners, boxes):
            slack = 1e-6
            assert any(
                m[0] <= x1 + slack and m[1] <= y1 + slack and m[2] >= x2 - slack and m[3] >= y2 - slack
                for m in map(corners, merged)
            )


@given(st.lists(float_boxes(), max_size=4), st.lists(float_boxes(), max_size=4), THRESHOLDS)
def test_intersections_lie_in_a_box_of_each_search(a: Any, b: Any, threshold: float) -> None:
    for common in map(corners, merge_boxes([[a], [b]], INTERSECTION, threshold)[0]):
        for boxes in (a, b):
            assert any(
                common[0] >= m[0] - 1e-6
                and common[1] >= m[1] - 1e-6
                and common[2] <= m[2] + 1e-6
                and common[3] <= m[3] + 1e-6
                for m in map(corners, boxes)
            )


@given(batches(), st.sampled_from(MODES))
def test_ragged_batches_keep_their_images(batch: Batch, mode: str) -> None:
    merged = merge_boxes([batch[1], [[FAR]]], mode)
    assert len(merged) == len(batch[1])
    if mode == JOIN:
        assert merged == [[*boxes, FAR] for boxes in batch[1]]


@pytest.mark.parametrize("mode", MODES)
def test_nothing_and_lone_boxes_pass(mode: str) -> None:
    odd = {"x": 0.1, "y": 0.2, "width": 0.3, "height": 0.4, "more": "kept"}
    assert merge_boxes([[[], [odd]]], mode) == [[], [odd]]
    assert merge_boxes([[[]], [[]]], mode) == [[]]


def test_duplicates_across_phrases() -> None:
    assert merge_boxes([[[CAT, FAR]], [[ANIMAL]], [[SHIFTED]]], BEST, 0.5) == [[FAR, ANIMAL]]
    assert merge_boxes([[[CAT, FAR]], [[ANIMAL]]], BEST, 0.9) == [[CAT, FAR, ANIMAL]]
    assert merge_boxes([[[CAT, {**ANIMAL, "label": "CAT"}, SHIFTED]]], BEST, 0.5, same_label=True) == [
        [{**ANIMAL, "label": "CAT"}, SHIFTED]
    ]


def test_identical_boxes_of_one_score_keep_the_first() -> None:
    first, second = box(0, 0, 5, 5, "a"), box(0, 0, 5, 5, "b")
    assert merge_boxes([[[first]], [[second]]], BEST, 1.0) == [[first]]


def test_a_chain_of_overlaps_is_one_union() -> None:
    far_end = box(8, 0, 10, 10, "end", 0.1)
    assert merge_boxes([[[CAT, FAR, far_end, SHIFTED]]], UNION, 0.2) == [[box(0, 0, 18, 10, "cat, end, pet", 0.6), FAR]]


def test_intersections_of_two_and_of_three() -> None:
    assert merge_boxes([[[CAT, FAR]], [[ANIMAL]]], INTERSECTION) == [[box(1, 0, 9, 10, "cat, animal", 0.6)]]
    assert merge_boxes([[[CAT]], [[ANIMAL]], [[SHIFTED]]], INTERSECTION) == [
        [box(2, 0, 8, 10, "cat, animal, pet", 0.5)]
    ]
    assert merge_boxes([[[CAT]], [[]]], INTERSECTION) == [[]]
    wide = box(0, 0, 100, 100, "sky")
    assert merge_boxes([[[CAT]], [[wide]]], INTERSECTION, 0.5) == [[]]
    assert merge_boxes([[[CAT]], [[wide]]], INTERSECTION, 0.0) == [[box(0, 0, 10, 10, "cat, sky", 0.6)]]


@pytest.mark.parametrize(
    ("labels", "kept"),
    [
        (("Dog", "dog", "DOG"), "Dog"),
        (("Cat, dog", "cat, DOG", "CAT, Dog"), "Cat, dog"),
        (("a, A", "A, a", "a, a"), "a"),
    ],
)
def test_labels_are_the_same_however_their_letters_are_spelled(labels: tuple[str, ...], kept: str) -> None:
    searches = [[[box(0, 0, 9, 9, label)]] for label in labels]
    for mode in (INTERSECTION, UNION, AROUND):
        assert merge_boxes(searches, mode, 0.5, same_label=True) == [[box(0, 0, 9, 9, kept)]]


def test_one_around_all() -> None:
    around = merge_boxes([[[CAT], [FAR, CAT]], [[ANIMAL], []]], AROUND)
    assert around == [[box(0, 0, 11, 10, "cat, animal", 0.9)], [box(0, 0, 60, 60, "dog, cat", 0.6)]]


@pytest.mark.parametrize("mode", [UNION, INTERSECTION, AROUND])
def test_no_score_is_made_up(mode: str) -> None:
    first, second = box(0, 0, 9, 9, "cat"), box(0, 0, 9, 9, "dog")
    assert merge_boxes([[[first]], [[second]]], mode, 0.5) == [[box(0, 0, 9, 9, "cat, dog")]]


@pytest.mark.parametrize("mode", [UNION, INTERSECTION, AROUND])
def test_a_label_in_lists_of_labels_is_there_once(mode: str) -> None:
    first, second = box(0, 0, 9, 9, "cat, dog", 0.5), box(0, 0, 9, 9, "dog, bird", 0.5)
    assert merge_boxes([[[first]], [[second]]], mode, 0.5) == [[box(0, 0, 9, 9, "cat, dog, bird", 0.5)]]


def test_labels_reach_the_editor_of_comfyui() -> None:
    drawn = {**CAT, "metadata": {"type": "obj", "text": "", "desc": "cat", "palette": ["#fff"]}}
    merged = merge_boxes([[[drawn, ANIMAL]]], AROUND)[0][0]
    assert label_of(merged) == "cat, animal"
    merged = merge_boxes([[[{**drawn, "score": 0.95}, ANIMAL]]], AROUND)[0][0]
    assert merged["metadata"] == {"type": "obj", "text": "", "desc": "cat, animal", "palette": ["#fff"]}
    assert drawn["metadata"]["desc"] == "cat"


def test_what_cannot_be_merged() -> None:
    with pytest.raises(InputError, match="boxes for 2 images, but 3 images"):
        merge_boxes([[[], []], [[], [], []]])
    with pytest.raises(InputError, match="union of overlapping"):
        merge_boxes([[[]]], "blend")


def test_more_boxes_than_can_be_compared_are_refused() -> None:
    many = [[{"x": number, "y": 0, "width": 1, "height": 1} for number in range(5000)]]
    assert merge_boxes([many], JOIN) == many
    for mode in (BEST, UNION):
        with pytest.raises(InputError, match=r"5000 times 5000 boxes.*IAA Select Boxes"):
            merge_boxes([many], mode)


@pytest.mark.parametrize("mode", [BEST, UNION, INTERSECTION])
def test_boxes_are_compared_without_a_table_of_all_pairs(mode: str) -> None:
    chain = [[{"x": 6 * number, "y": 0, "width": 10, "height": 10} for number in range(4096)]]
    tracemalloc.start()
    try:
        (merged,) = merge_boxes([chain] if mode != INTERSECTION else [chain, chain], mode, 0.1)
        assert tracemalloc.get_traced_memory()[1] < 4096 * 4096
    finally:
        tracemalloc.stop()
    assert len(merged) == {BEST: 2048, UNION: 1, INTERSECTION: 3 * 4096 - 2}[mode]


def test_common_parts_of_all_with_all_are_refused() -> None:
    found = [[{"x": 0, "y": 0, "width": 9, "height": 9} for _ in range(300)]]
    with pytest.raises(InputError, match="pairs of boxes overlap"):
        merge_boxes([found, found], INTERSECTION)


def test_a_long_label_is_not_written_a_thousand_times() -> None:
    """Each common part has the labels of both."""
    place = {"x": 0, "y": 0, "width": 9, "height": 9}
    one, many = [[place | {"label": "a" * 100_000}]], [[place | {"label": "b"}] * 1000]
    with pytest.raises(InputError, match="Use shorter labels"):
        merge_boxes([one, many], INTERSECTION)


@pytest.mark.parametrize("mode", MODES)
def test_many_images_take_seconds_and_cancel_is_heard_between_them(mode: str) -> None:
    alone: list[Any] = [[CAT] for _ in range(50_000)]
    begun = time.process_time()
    assert len(merge_boxes([alone, [[]]], mode)) == 50_000
    assert time.process_time() - begun < 2
    with pytest.raises(Cancelled):
        merge_boxes([[[CAT, ANIMAL]] * 9], mode, cancelled=lambda: True)
