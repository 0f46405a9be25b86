"""Boxes and their scores out of tokens."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iaa_runtime.boxes.answers import Detection, parse_boxes
from iaa_runtime.boxes.grounding import parse_answer, scored_boxes, without_repeats
from iaa_runtime.errors import InputError, NumericsError


def logs(*probabilities: float) -> list[float]:
    return [math.log(p) for p in probabilities]


def test_a_score_is_the_geometric_mean_over_the_coordinates_tokens() -> None:
    pieces = ["[", "0", ".", "5", ",", "0", ",", "1", ",", "1", "]", ""]
    #                  0    .    5         0         1         1
    p = logs(0.01, 0.5, 0.01, 0.5, 0.01, 0.25, 0.01, 0.25, 0.01, 1.0, 0.01, 0.01)
    ((box, score),) = scored_boxes(pieces, p)
    assert box == (0.5, 0.0, 1.0, 1.0)
    assert score == pytest.approx((0.5 * 0.5 * 0.25 * 0.25 * 1.0) ** (1 / 5))


def test_each_box_has_the_score_of_its_own_tokens() -> None:
    pieces = ["[0", ",0", ",1", ",1", "]; [", "0", ",0", ",1", ",1", "]"]
    p = logs(0.9, 0.9, 0.9, 0.9, 0.001, 0.2, 0.2, 0.2, 0.2, 0.001)
    assert [score for _, score in scored_boxes(pieces, p)] == pytest.approx([0.9, 0.2])


def test_a_token_that_spans_two_boxes_counts_for_both() -> None:
    pieces = ["[0,0,1,", "1]; [0", ",0,1,1]"]
    scores = [score for _, score in scored_boxes(pieces, logs(0.5, 0.5, 0.125))]
    assert scores == pytest.approx([0.5, 0.25])


def test_a_certain_box_scores_one() -> None:
    assert scored_boxes(["[0,0,1,1]"], [1e-7]) == [((0.0, 0.0, 1.0, 1.0), 1.0)]


@pytest.mark.parametrize("text", ["I cannot see it.", "", "[0.5,0.5,0.4", "[a,b,c,d]"])
def test_an_answer_that_cannot_be_read_has_no_box(text: str) -> None:
    answer = parse_answer("cat", list(text), [-1.0] * len(text), (10, 10))
    assert (answer.detections, answer.text) == ((), text)


def test_detections_are_pixels_with_the_phrase_as_label() -> None:
    (found,) = parse_answer("cat", ["[0.25,0.5,", "0.75,1]"], logs(0.5, 0.5), (200, 100)).detections
    # The square is 200 wide with 50 pixels above and below the picture.
    assert (found.x, found.y, found.width, found.height, found.label) == (50, 50, 100, 50, "cat")
    assert found.score == pytest.approx(0.5)


def said(*boxes: tuple[int, int, int, int], scores: list[float]) -> list[tuple[tuple[int, ...], float]]:
    """What is found for an answer that names these boxes, in thousandths of a square picture of 1000 pixels."""
    pieces = ["[" + ",".join(f"{edge / 1000:.3f}" for edge in box) + "]; " for box in boxes]
    answer = parse_answer("cat", pieces, logs(*scores), (1000, 1000))
    assert answer.text == "".join(pieces).strip(), "the raw answer stays"
    return [(found.xyxy, round(found.score, 3)) for found in answer.detections]


def test_a_thing_that_is_named_twice_is_found_once_by_its_better_score() -> None:
    one, nearly, other = (100, 100, 300, 300), (100, 100, 300, 290), (600, 600, 700, 700)
    assert said(one, other, one, scores=[0.2, 0.4, 0.3]) == [(other, 0.4), (one, 0.3)]
    assert said(one, nearly, scores=[0.5, 0.2]) == [(one, 0.5)], "IoU 0.95"
    assert said(one, one, scores=[0.5, 0.5]) == [(one, 0.5)]


def test_things_that_overlap_by_less_are_all_found() -> None:
    one, inside, beside = (100, 100, 300, 300), (100, 100, 300, 279), (120, 120, 320, 320)
    assert len(said(one, inside, beside, scores=[0.5, 0.4, 0.3])) == 3, "IoU 0.895 and 0.68"
    chain = ((0, 0, 100, 100), (0, 0, 100, 108), (0, 0, 100, 116))
    found = said(*chain, scores=[0.9, 0.5, 0.4])
    assert [box for box, _ in found] == [chain[0], chain[2]], "what goes drops nothing in its turn"


def test_many_boxes_are_compared_quickly_and_too_many_not_at_all() -> None:
    begun = time.perf_counter()
    for count, left in ((4096, 1), (100_000, 100_000)):
        assert len(without_repeats([Detection(1, 2, 3, 4, "cat", 0.5)] * count)) == left
    spread = [Detection(x, y, 1, 1, "cat", 0.5) for x in range(64) for y in range(64)]
    assert without_repeats(spread) == spread
    assert time.perf_counter() - begun < 5


@given(
    boxes=st.lists(st.tuples(*[st.integers(0, 1000)] * 4), max_size=4),
    cuts=st.lists(st.integers(1, 5), min_size=1, max_size=40),
    probability=st.floats(1e-6, 1.0),
)
def test_however_the_text_is_cut_into_tokens_its_boxes_are_the_same(
    boxes: list[tuple[int, ...]], cuts: list[int], probability: float
) -> None:
    text = "; ".join("[" + ",".join(str(v / 1000) for v in box) + "]" for box in boxes)
    pieces, at = [], 0
    for cut in [*cuts * len(text), 1]:
        pieces.append(text[at : at + cut])
        at += cut
        if at >= len(text):
            break
    scored = scored_boxes(pieces, [math.log(probability)] * len(pieces))
    assert [box for box, _ in scored] == parse_boxes(text)
    assert [score for _, score in scored] == pytest.approx([probability] * len(boxes))


@pytest.mark.parametrize("logprob", [math.nan, math.inf, 0.5, 1000.0])
def test_no_score_is_made_of_what_is_no_probability(logprob: float) -> None:
    with pytest.raises(NumericsError, match="no score"):
        scored_boxes(["[0,", "0,1", ",1]"], [-1.0, logprob, -1.0])
    with pytest.raises(NumericsError, match="no score"):
        scored_boxes(["[0,", "0,1", ",1]"], [-math.inf, logprob, -9999.0])


def test_every_token_has_a_probability_of_its_own() -> None:
    for logprobs in ([], [-1.0], [-1.0] * 3):
        with pytest.raises(InputError, match=f"2 tokens and {len(logprobs)} log-probabilities"):
            scored_boxes(["[0,0,", "1,1]"], logprobs)


def test_a_box_that_the_model_did_not_choose_scores_nothing() -> None:
    assert scored_boxes(["[0,0,", "1,1]"], [-math.inf] * 2) == [((0.0, 0.0, 1.0, 1.0), 0.0)]


def test_time_is_linear_in_the_boxes() -> None:
    text = "; ".join(["[0.1,0.2,0.3,0.4]"] * 5000)
    begun = time.perf_counter()
    assert len(scored_boxes(list(text), [-1.0] * len(text))) == 5000
    assert len(scored_boxes([text, *[""] * 5000], [-1.0] * 5001)) == 5000
    assert time.perf_counter() - begun < 10, "quadratic, it takes minutes"
