"""From a grounding answer's tokens to boxes with scores.

A box's score is the geometric mean of the probabilities that the model itself gave to the tokens of its coordinates:
``exp(mean(log p))`` over the tokens that carry a digit of the box, before any grammar or temperature. It is the
per-token likelihood of the box, in [0, 1]: high where the model is sure of the place, low where it guesses. It is a
ranking, not a probability that the box is right; a checkpoint trained on soft targets never comes near 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .answers import Box, Detection, box_spans, to_detection


@dataclass(frozen=True)
class GroundingAnswer:
    """What was said about one phrase on one image: the raw answer and the boxes read from it."""

    phrase: str
    text: str
    detections: tuple[Detection, ...]


def scored_boxes(pieces: Sequence[str], logprobs: Sequence[float]) -> list[tuple[Box, float]]:
    """Reads boxes from an answer given as the text and log-probability of each token.

    Args:
        pieces: what each token says, in order.
        logprobs: of each token, at most 0.

    Returns:
        Boxes as fractions of the padded square, each with its score; empty where nothing can be read.
    """
    starts = [0]
    for piece in pieces:
        starts.append(starts[-1] + len(piece))
    scored = []
    for box, begin, end in box_spans("".join(pieces)):
        used = [
            logprob
            for piece, start, logprob in zip(pieces, starts, logprobs, strict=False)
            if any(c.isdigit() for c in piece[max(0, begin - start) : max(0, end - start)])
        ]
        scored.append((box, min(1.0, math.exp(sum(used) / len(used)))))
    return scored


def read_answer(
    phrase: str, pieces: Sequence[str], logprobs: Sequence[float], size: tuple[int, int]
) -> GroundingAnswer:
    """Reads one answer about an image of ``size`` (width, height) pixels; the label of its boxes is ``phrase``."""
    detections = tuple(to_detection(box, size, phrase, score) for box, score in scored_boxes(pieces, logprobs))
    return GroundingAnswer(phrase, "".join(pieces).strip(), detections)
