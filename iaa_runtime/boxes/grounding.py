"""Parses grounding answers, token by token, into boxes with scores.

A box's score is the geometric mean of the probabilities that the model itself gave to the tokens of its coordinates:
``exp(mean(log p))`` over the tokens that carry a digit of the box, before any grammar or temperature. It is the
per-token likelihood of the box, in [0, 1]: high where the model is sure of the place, low where it guesses. It is a
ranking, not a probability that the box is right; a checkpoint trained on soft targets never comes near 1.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from ..errors import InputError, NumericsError
from .answers import Detection, box_spans, to_detection
from .geometry import Box, best_of_overlapping, pairwise_iou

ROUNDING = 0.01
"""Log-probabilities up to here are 0 with an error of rounding."""
SAME = 0.9
"""Boxes of one answer that overlap by this IoU are one thing that was named twice."""
_MOST_COMPARED = 4096
"""No answer of a model has more boxes. What a broken server sends is left as it is: comparing it would take minutes."""


@dataclass(frozen=True)
class GroundingAnswer:
    """The answer about one phrase on one image: its text, and the boxes parsed from it, each thing's once."""

    phrase: str
    text: str
    detections: tuple[Detection, ...]


def scored_boxes(token_texts: Sequence[str], logprobs: Sequence[float]) -> list[tuple[Box, float]]:
    """Parses boxes from an answer given as the text and log-probability of each token.

    Args:
        token_texts: the text of each token, in order.
        logprobs: of each token, at most 0; of what was not the model's own choice, minus infinity.

    Returns:
        Boxes as fractions of the padded square, each with its score; empty where there are none.

    Raises:
        InputError: there are more tokens than log-probabilities, or fewer.
        NumericsError: that of a box's token is NaN or above 0.
    """
    if len(token_texts) != len(logprobs):
        raise InputError(
            f"There are {len(token_texts)} tokens and {len(logprobs)} log-probabilities. Give one a token."
        )
    starts = [0, *accumulate(map(len, token_texts))]
    scored = []
    for box, begin, end in box_spans("".join(token_texts)):
        tokens = range(bisect_right(starts, begin) - 1, bisect_left(starts, end))
        texts = (token_texts[n][max(0, begin - starts[n]) : end - starts[n]] for n in tokens)
        used = [logprobs[n] for n, text in zip(tokens, texts, strict=True) if any(map(str.isdigit, text))]
        scored.append((box, _score(used)))
    return scored


def _score(logprobs: Sequence[float]) -> float:
    if not all(logprob <= ROUNDING for logprob in logprobs):  # NaN is not, either
        raise NumericsError(
            "A token of a box has a log-probability that is NaN or above 0, so the box has no score. Try float32; if "
            "that is no better, the weights are broken."
        )
    return math.exp(min(0.0, sum(logprobs) / len(logprobs)))


def parse_answer(
    phrase: str, token_texts: Sequence[str], logprobs: Sequence[float], size: tuple[int, int]
) -> GroundingAnswer:
    """Parses the answer about an image of ``size`` (width, height) pixels; the label of its boxes is ``phrase``."""
    found = [to_detection(box, size, phrase, score) for box, score in scored_boxes(token_texts, logprobs)]
    return GroundingAnswer(phrase, "".join(token_texts).strip(), tuple(without_repeats(found)))


def without_repeats(found: Sequence[Detection], same: float = SAME) -> list[Detection]:
    """The detections of an image, in order, without those that a better scoring one covers by the IoU ``same``."""
    if len(found) > _MOST_COMPARED:
        return list(found)
    edges = np.array([detection.xyxy for detection in found], dtype=np.float64).reshape(-1, 4)
    kept = best_of_overlapping(
        [detection.score for detection in found], lambda n, rest: pairwise_iou(edges[n], edges[rest])[0] >= same
    )
    return [found[n] for n in kept]
