"""Parses grounding answers, token by token, into boxes with scores.

A box's score is the geometric mean of the probabilities that the model itself gave to the tokens of its coordinates:
``exp(mean(log p))`` over the tokens that carry a digit of the box, before any grammar or temperature. It is the
per-token likelihood of the box, in [0, 1]: high where the model is sure of the place, low where it guesses. It is a
ranking, not a probability that the box is right; a checkpoint trained on soft targets never comes near 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from .answers import Detection, box_spans, to_detection
from .geometry import Box


@dataclass(frozen=True)
class GroundingAnswer:
    """The answer about one phrase on one image: its text and the boxes parsed from it."""

    phrase: str
    text: str
    detections: tuple[Detection, ...]


def scored_boxes(token_texts: Sequence[str], logprobs: Sequence[float]) -> list[tuple[Box, float]]:
    """Parses boxes from an answer given as the text and log-probability of each token.

    Args:
        token_texts: the text of each token, in order.
        logprobs: of each token, at most 0.

    Returns:
        Boxes as fractions of the padded square, each with its score; empty where there are none.
    """
    starts = [0, *accumulate(map(len, token_texts))]
    scored = []
    for box, begin, end in box_spans("".join(token_texts)):
        used = [
            logprob
            for text, start, logprob in zip(token_texts, starts, logprobs, strict=False)
            if any(c.isdigit() for c in text[max(0, begin - start) : max(0, end - start)])
        ]
        scored.append((box, min(1.0, math.exp(sum(used) / len(used)))))
    return scored


def parse_answer(
    phrase: str, token_texts: Sequence[str], logprobs: Sequence[float], size: tuple[int, int]
) -> GroundingAnswer:
    """Parses the answer about an image of ``size`` (width, height) pixels; the label of its boxes is ``phrase``."""
    detections = tuple(to_detection(box, size, phrase, score) for box, score in scored_boxes(token_texts, logprobs))
    return GroundingAnswer(phrase, "".join(token_texts).strip(), detections)
