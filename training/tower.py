"""What the vision tower learns from: at every patch, which shape is there and where that shape ends.

CLIP's tower comes to IAA trained on an objective of its own; this is the demo's. A linear head on the patch features
(thrown away afterwards) predicts kind and color of the shape whose box a patch lies in, its box in the padded square,
and whether the patch holds the shape's center, so that each shape is announced exactly once. Things that no word names
have boxes as well, and neither kind nor color; of them another head predicts what the whole thing looks like, which
somebody who teaches the model a word for one will need.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iaa_runtime.shapes.scenes import COLORS, KINDS

KIND_CLASSES, COLOR_CLASSES = len(KINDS) + 1, len(COLORS) + 1  # the last class is "nothing here"
OUTPUTS = KIND_CLASSES + COLOR_CLASSES + 4 + 1
BOX = slice(KIND_CLASSES + COLOR_CLASSES, KIND_CLASSES + COLOR_CLASSES + 4)


LOOKS = 6
"""Pixels a side of what is kept of how an unnamed thing looks."""
Batch = tuple[Tensor, Tensor, Tensor | None]
"""Pixels (B, 3, size, size), labels (B, 5, 6), and of unnamed things the looks (B, 4, LOOKS, LOOKS)."""


def flip(batch: Batch, generator: torch.Generator) -> Batch:
    """Mirrors and transposes a batch at random, one of the square's eight symmetries for all of it, boxes included."""
    pixels, labels, looks = batch
    across, down, swap = (bool(v) for v in torch.randint(0, 2, (3,), generator=generator))
    labels = labels.clone()
    x1, y1, x2, y2 = labels[..., 2:].unbind(-1)
    if across:
        x1, x2 = 1 - x2, 1 - x1
    if down:
        y1, y2 = 1 - y2, 1 - y1
    if swap:
        x1, y1, x2, y2 = y1, x1, y2, x2
    labels[..., 2:] = torch.stack((x1, y1, x2, y2), -1)

    def moved(image: Tensor) -> Tensor:
        image = image.flip([axis for axis, turned in ((-1, across), (-2, down)) if turned])
        return image.transpose(-1, -2) if swap else image

    return moved(pixels), labels, None if looks is None else moved(looks)


def _ownership(labels: Tensor, grid: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each patch, (B, N) each: is it inside a shape's box, which shape's, does it hold a shape's center."""
    steps = (torch.arange(grid) + 0.5) / grid
    at = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).view(1, 1, -1, 2).to(labels)
    present = labels[..., 0] >= 0
    low, high = labels[..., None, 2:4], labels[..., None, 4:6]
    center, extent = (low + high) / 2, (high - low).clamp_min(1e-6)
    distance = ((at - center).abs() / extent * 2).amax(-1)  # 1 at the box's edge
    central = ((at - center).abs() <= 0.5 / grid).all(-1) & present[..., None]
    distance = distance.masked_fill(central, -1.0).masked_fill(~present[..., None], torch.inf)
    nearest, which = distance.min(1)
    return nearest < 1, which, central.any(1)


def patch_owners(labels: Tensor, grid: int) -> Tensor:
    """Which shape each patch shows: (B, N) indices into ``labels`` (B, 5, 6), -1 on the ground."""
    inside, which, _ = _ownership(labels, grid)
    return which.where(inside, -1)


def patch_targets(labels: Tensor, grid: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What the head should predict at every patch.

    Args:
        labels: (B, 5, 6) kind, color, box per shape; kind -1 where there is none, and the number of kinds
            where it has no name.
        grid: patches per side; N = grid * grid.

    Returns:
        kind (B, N) and color (B, N) classes, box (B, N, 4), (B, N) 1.0 at each shape's central patch, and
        (B, N) whether there is a shape.
    """
    inside, which, central = _ownership(labels, grid)
    chosen = labels.gather(1, which[..., None].expand(-1, -1, 6))
    kind = chosen[..., 0].long().where(inside, KIND_CLASSES - 1)
    color = chosen[..., 1].long().where(inside, COLOR_CLASSES - 1)
    return kind, color, chosen[..., 2:], central.float(), inside


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of each box (..., 4) of ``a`` with the same one of ``b``."""
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp_min(0).prod(-1)
    areas = (a[..., 2:] - a[..., :2]).clamp_min(0).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    return shared / (areas - shared).clamp_min(1e-9)


def dense_loss(features: Tensor, head: nn.Module, labels: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Loss of the patch labels, and figures to report.

    Args:
        features: (B, N, W) of the tower.
        head: linear, W -> ``OUTPUTS``.
        labels: (B, 5, 6).
    """
    grid = round(features.shape[1] ** 0.5)
    kind, color, box, owner, inside = patch_targets(labels, grid)
    kinds, colors, boxes, owners = head(features).float().split((KIND_CLASSES, COLOR_CLASSES, 4, 1), -1)
    extent = (box[..., 2:] - box[..., :2]).repeat(1, 1, 2)[inside]
    # Errors count in units of the box's own sides: one minus IoU is nearly the sum of these.
    misplaced = ((boxes[inside] - box[inside]) / extent).abs().mean()
    kind_loss = F.cross_entropy(kinds.flatten(0, 1), kind.flatten())
    color_loss = F.cross_entropy(colors.flatten(0, 1), color.flatten())
    owner_loss = F.binary_cross_entropy_with_logits(owners.squeeze(-1), owner)
    with torch.no_grad():
        central = owner.bool()
        report = {
            "kind": (kinds.argmax(-1) == kind)[central].float().mean().item(),
            "color": (colors.argmax(-1) == color)[central].float().mean().item(),
            "iou": paired_iou(boxes[central], box[central]).mean().item(),
            "owner": ((owners.squeeze(-1) > 0) == central).all(-1).float().mean().item(),
        }
    return kind_loss + color_loss + 2 * owner_loss + 3 * misplaced, report


def looks_loss(features: Tensor, head: nn.Module, labels: Tensor, looks: Tensor) -> Tensor:
    """Mean squared error of what each patch of an unnamed thing says of the looks of all of it.

    Args:
        features: (B, N, W) of the tower.
        head: linear, W -> 4 * LOOKS * LOOKS.
        labels: (B, 5, 6), the thing last.
        looks: (B, 4, LOOKS, LOOKS) RGBA of 0 to 1; what is transparent has no color to learn.
    """
    owned = patch_owners(labels, round(features.shape[1] ** 0.5)) == labels.shape[1] - 1
    color, there = looks.split((3, 1), 1)
    wanted = torch.cat((color * there, there), 1).flatten(1)[:, None].expand(-1, features.shape[1], -1)
    return (head(features[owned]).float() - wanted[owned]).square().mean()


def kept_loss(features: Tensor, before: Tensor) -> Tensor:
    """Mean squared difference of features (B, N, W) from ``before``, each over the standard deviation that it had."""
    return ((features - before) / before.flatten(0, 1).std(0)).square().mean()


def fit_label_head(features: Tensor, labels: Tensor, steps: int = 300) -> nn.Linear:
    """A linear head trained to predict labels (scenes, 5, 6) from a finished tower's features (scenes, N, W)."""
    head = nn.Linear(features.shape[-1], OUTPUTS)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(len(features), (32,), generator=generator)
        loss, _ = dense_loss(features[rows], head, labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return head.requires_grad_(False)
