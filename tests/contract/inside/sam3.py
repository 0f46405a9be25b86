"""SAM3 Detect's own code, with a segmenter in place of 3 GB of weights: it fills exactly the box that it is asked
about, or a square around each point, one pixel of the picture to each side."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from comfy.cli_args import args

args.cpu = True

import comfy.model_management  # noqa: E402
import torch  # noqa: E402
from comfy_extras.nodes_sam3 import SAM3_Detect  # noqa: E402

SIDE = 1008


class Filler:
    """What SAM3 Detect asks of its model."""

    def forward_segment(
        self, frame: torch.Tensor, box_inputs: torch.Tensor | None = None, point_inputs: dict | None = None
    ) -> torch.Tensor:
        """(1, 3, SIDE, SIDE), and box corners (1, 2, 2) or points (1, N, 2) in SIDEths -> logits (1, 1, SIDE, SIDE)."""
        if point_inputs is None:
            assert box_inputs is not None
            return self.filled(box_inputs[0].flatten().tolist())
        assert bool((point_inputs["point_labels"] == 1).all())
        across, down = SIDE / given["width"], SIDE / given["height"]
        squares = [(x - across, y - down, x + across, y + down) for x, y in point_inputs["point_coords"][0].tolist()]
        return torch.stack([self.filled(square) for square in squares]).amax(0)

    def filled(self, edges: Sequence[float]) -> torch.Tensor:
        """Logits of what lies within."""
        x1, y1, x2, y2 = edges
        at = torch.arange(SIDE) + 0.5
        inside = ((at > x1) & (at < x2))[None] & ((at > y1) & (at < y2))[:, None]
        return torch.where(inside, 1.0, -1.0)[None, None]


class Model:
    """What holds it."""

    def __init__(self) -> None:
        self.model, self.diffusion_model = self, Filler()

    def get_dtype(self) -> torch.dtype:
        """Of the weights."""
        return torch.float32


comfy.model_management.load_model_gpu = lambda model: None
given = json.loads(sys.argv[1])
image = torch.zeros(given["count"], given["height"], given["width"], 3)
asked = {"positive_coords": given["points"]} if "points" in given else {"bboxes": given["boxes"]}
masks, _ = SAM3_Detect.execute(
    Model(), image, refine_iterations=1, individual_masks=given.get("individual", False), **asked
).result
print(json.dumps((masks * 255).to(torch.uint8).tolist()))
