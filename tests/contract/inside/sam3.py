"""SAM3 Detect's own code, with a segmenter in place of 3 GB of weights that fills exactly the box it is asked about."""

from __future__ import annotations

import json
import sys

from comfy.cli_args import args

args.cpu = True

import comfy.model_management  # noqa: E402
import torch  # noqa: E402
from comfy_extras.nodes_sam3 import SAM3_Detect  # noqa: E402

SIDE = 1008


class BoxFiller:
    """What SAM3 Detect asks of its model."""

    def forward_segment(self, frame: torch.Tensor, box_inputs: torch.Tensor) -> torch.Tensor:
        """(1, 3, SIDE, SIDE) and box corners (1, 2, 2) in SIDEths -> logits (1, 1, SIDE, SIDE)."""
        (x1, y1), (x2, y2) = box_inputs[0].tolist()
        at = torch.arange(SIDE) + 0.5
        inside = ((at > x1) & (at < x2))[None] & ((at > y1) & (at < y2))[:, None]
        return torch.where(inside, 1.0, -1.0)[None, None]


class Model:
    """What holds it."""

    def __init__(self) -> None:
        self.model, self.diffusion_model = self, BoxFiller()

    def get_dtype(self) -> torch.dtype:
        """Of the weights."""
        return torch.float32


comfy.model_management.load_model_gpu = lambda model: None
given = json.loads(sys.argv[1])
image = torch.zeros(given["count"], given["height"], given["width"], 3)
masks, _ = SAM3_Detect.execute(
    Model(), image, bboxes=given["boxes"], refine_iterations=1, individual_masks=given["individual"]
).result
print(json.dumps((masks * 255).to(torch.uint8).tolist()))
