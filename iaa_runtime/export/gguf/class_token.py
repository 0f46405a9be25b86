"""The tower's class token in llama.cpp, whose LLaVA graph puts it behind the patches but takes it to be the first.

Of N patches that graph makes N + 1 tokens, ``[patch 1, …, patch N, v.class_embd]``, adds the position table's rows to
them, and gives the language model all but the first (llama.cpp's issue 25814). With the plain table every patch has its
neighbour's position; with one that is merely rotated, patch 1 is lost and the class token's features come last, where
MM sees a shape that is not there. So the file is arranged such that the token which the graph drops *is* the class
token:

- Row 0, which is added to patch 1, is the class token with its own position, many times as large as any patch. The
  layer norm behind it takes the factor out again, and of the patch next to nothing is left.
- ``v.class_embd``, which comes last, is a patch of the border that pads a picture to a square, with patch 1's position.

Where a picture is so much longer one way that its border is at least a patch wide, patch 1 shows border anyway: all
features are then ours, only that patch 1's come last. Of a squarer picture, the top left patch is not seen.

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

CLASS_TOKEN_SCALE = 2.0**14
"""Beside the class token times this, a patch is less than a ten-thousandth; float32 holds far more."""


def positions_of_class_token_last(positions: Tensor, class_token: Tensor) -> Tensor:
    """The position table to write.

    Args:
        positions: (1 + N, W), float32, the tower's own table, its first row the class token's.
        class_token: (W,), float32, its embedding.

    Returns:
        (1 + N, W), float32: a row for each patch, then one for ``v.class_embd``.
    """
    rows = positions.roll(-1, 0)
    rows[0] = CLASS_TOKEN_SCALE * (class_token + positions[0])
    rows[-1] = positions[1]
    return rows


def border_patch(patch_embedding: Tensor, vision: VisionConfig) -> Tensor:
    """The embedding of a patch of border, without its position.

    Args:
        patch_embedding: (W, 3, patch, patch), float32, the tower's convolution.
        vision: the tower.

    Returns:
        (W,), float32.
    """
    color = torch.tensor(mean_color(vision.image_mean)) / 255
    normalised = (color - torch.tensor(vision.image_mean)) / torch.tensor(vision.image_std)
    return patch_embedding.sum((2, 3)) @ normalised
