"""Hypothesis strategies for boxes, batches of them, and images."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st

from iaa_runtime.boxes.crops import ASPECTS, RESIZES, CropOptions
from iaa_runtime.images.resample import FILTERS

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
LABELS = st.sampled_from(["", "the cat", "a dog, black", "猫", "CAT*", "dog"])

CROP_OPTIONS = st.builds(
    CropOptions,
    padding=st.floats(0, 60),
    unit=st.sampled_from(["pixels", "percent"]),
    aspect=st.sampled_from([*ASPECTS, "7:3"]),
    multiple_of=st.sampled_from([1, 2, 8, 13]),
    resize=st.sampled_from(RESIZES),
    size=st.integers(1, 50),
    method=st.sampled_from(list(FILTERS)),
)


@st.composite
def pixel_boxes(draw: st.DrawFn, size: tuple[int, int]) -> dict[str, Any]:
    """A box of whole pixels inside a picture of ``size``, as our own nodes give it."""
    x, y = draw(st.integers(0, size[0] - 1)), draw(st.integers(0, size[1] - 1))
    width, height = draw(st.integers(1, size[0] - x)), draw(st.integers(1, size[1] - y))
    label = draw(LABELS)
    return {
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "label": label,
        "score": draw(st.floats(0, 1)),
        "metadata": {"type": "obj", "text": "", "desc": label, "palette": []},
    }


@st.composite
def float_boxes(draw: st.DrawFn) -> dict[str, Any]:
    """A box as other detectors give it: floats, perhaps without size, beyond the picture, without label or score."""
    numbers = st.floats(-60, 80, allow_subnormal=False)
    extents = st.floats(0, 90, allow_subnormal=False)
    box: dict[str, Any] = {"x": draw(numbers), "y": draw(numbers), "width": draw(extents), "height": draw(extents)}
    if draw(st.booleans()):
        box["label"] = draw(LABELS)
    if draw(st.booleans()):
        box["score"] = draw(st.floats(0, 1))
    return box


def any_boxes(size: tuple[int, int]) -> st.SearchStrategy[dict[str, Any]]:
    """Tidy boxes and wild ones."""
    return st.one_of(pixel_boxes(size), float_boxes())


@st.composite
def batches(draw: st.DrawFn, whole: bool = False) -> tuple[tuple[int, int], list[list[dict[str, Any]]]]:
    """A picture size and 1..4 lists of 0..4 boxes; ``whole``: only whole pixels inside the picture."""
    size = draw(SIZES)
    box = pixel_boxes(size) if whole else any_boxes(size)
    return size, draw(st.lists(st.lists(box, max_size=4), min_size=1, max_size=4))


def noise(seed: int, count: int, size: tuple[int, int], channels: int = 3) -> torch.Tensor:
    """IMAGE (count, H, W, channels) of random values, different in every pixel."""
    return torch.rand(count, size[1], size[0], channels, generator=torch.Generator().manual_seed(seed))
