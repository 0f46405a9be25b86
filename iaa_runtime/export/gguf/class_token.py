"""The tower's class token in llama.cpp, whose LLaVA graph puts it behind the patches but takes it to be the first.

Of N patches that graph makes N + 1 tokens, ``[patch 1, …, patch N, v.class_embd]``, adds the position table's rows to
them, and gives the language model all but the first (llama.cpp's issue 25814). With the plain table every patch has its
neighbour's position; with one that is merely rotated, patch 1 is lost and the class token's features come last, where
MM sees a shape that is not there. So the file is arranged such that the token which the graph drops *is* the class
token:

- Row 0, which is added to patch 1, is the class token with its own position, many times as large as any patch. The
  layer norm behind it takes the factor out again, and of the patch next to nothing is left.
- ``v.class_embd``, which comes last, is a patch of the border that pads a picture to a square, with patch 1's position.

A picture that is wider or higher than the other way by two patches or more has that border in its first patch anyway:
its features are then ours, but that those of patch 1 come last. Of any other, the top left patch is not seen.

So it is for MM. G looks for one thing and is not led astray by what comes last: its table is merely rotated, which
keeps its scores nearer to ours (of eight boxes within 1.1%, otherwise 2.4%) and its boxes as near.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...config import VisionConfig
from ...images.preprocess import mean_color

CLASS_TOKEN_LAST = "class token last"
"""What ``general.version`` says of a file for builds with the faulty graph, arranged as above."""
CLASS_TOKEN_FIRST = "class token first"
"""The tower as it is, for builds without that fault."""

LOUDNESS = 2.0**14
"""Of the class token beside a patch: leaves a ten-thousandth of it, and is far from what float32 cannot hold."""


def positions_of_class_token_last(positions: Tensor, class_token: Tensor) -> Tensor:
    """(1 + N, W), class token first -> the table to write."""
    rows = positions.roll(-1, 0)
    rows[0] = LOUDNESS * (class_token + positions[0])
    rows[-1] = positions[1]
    return rows


def border_patch(patch_embedding: Tensor, vision: VisionConfig) -> Tensor:
    """The embedding of a patch of border, without its position.

    Args:
        patch_embedding: (W, 3, patch, patch), float32, the tower's convolution.
        vision: the tower.

    Returns:
        (W,).
    """
    color = torch.tensor(mean_color(vision.image_mean)) / 255
    normalised = (color - torch.tensor(vision.image_mean)) / torch.tensor(vision.image_std)
    return patch_embedding.sum((2, 3)) @ normalised
