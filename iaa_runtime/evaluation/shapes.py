"""What the measures of the demo's scenes mean, of how many answers they are, and how far chance reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..config.small_files import load_json
from ..errors import CheckpointError, InputError
from ..shapes.evaluate import IOU_HIT, SceneScore, Tally
from .statistics import bootstrap_interval, wilson_interval

MEANINGS = {
    "single_precision": "phrases for one shape whose first box has an IoU of 0.5 or more",
    "single_iou": "mean IoU of these first boxes",
    "elongated_precision": "single_precision in the quarter of the longest pictures",
    "elongated_iou": "single_iou in the same",
    "several_f1": "phrases for several shapes: boxes found of those there are, and right of those found (F1)",
    "absent_auc": "chance that a shape which is there scores above one that is not",
    "other_auc": "the same against things that are no shapes",
    "present_kept": "shapes that are there and score above the model's threshold",
    "absent_dropped": "shapes that are not there and are dropped",
    "other_dropped": "other things that are dropped",
    "vqa": "right answers to questions about pictures",
    "caption_recall": "shapes of the pictures that captions name",
    "caption_precision": "shapes that captions name and the pictures have",
    "caption_exact": "captions that name all shapes and no other",
    "text": "right answers to questions without a picture",
}
"""Of the measures; a part of one, after a slash, is of one kind of shape or question."""


LARGEST = 1 << 28
"""Limit of a result's file, in bytes."""


def read_scenes(file: Path) -> list[SceneScore]:
    """What was right on each scene, of a result that ``iaa eval shapes --json`` printed.

    Raises:
        InputError: the file is not there, or holds no such result.
    """
    try:
        result = load_json(file, LARGEST)
        scenes = [
            SceneScore(
                int(scene["seed"]),
                tuple(float(iou) for iou in scene["ious"]),
                tuple(bool(right) for right in scene["questions"]),
                bool(scene["text"]),
                bool(scene["caption"]),
            )
            for scene in result["scenes"]
        ]
    except (CheckpointError, KeyError, TypeError, ValueError, OverflowError):
        scenes = []
    if not scenes:
        raise InputError(
            f"{file} holds no scenes. Give what `iaa eval shapes --json` printed, or `iaa eval boxes --out` wrote. "
            "Predictions of RefCOCO are compared on their split: give it with --annotations."
        )
    return scenes


def details(tally: Tally) -> dict[str, dict[str, Any]]:
    """For each measure of a tally ``count``, of how many it is, and ``interval_95``.

    The interval is Wilson's for a share, the bootstrap's for a mean; None for other measures. Both take answers as
    independent, though those on one picture are not quite.
    """
    singles = tally.singles
    long = sorted(singles, reverse=True)[: max(1, len(singles) // 4)]
    shares: dict[str, tuple[int, int]] = {
        "single_precision": _share([iou >= IOU_HIT for _, iou, _, _ in singles]),
        "elongated_precision": _share([iou >= IOU_HIT for _, iou, _, _ in long]),
        "present_kept": _share([score > 0 for _, _, score, _ in singles]),
        "absent_dropped": _share([score == 0 for score in tally.absent_scores]),
        "other_dropped": _share([score == 0 for score in tally.other_scores]),
        "caption_recall": (tally.objects[0], tally.objects[2]),
        "caption_precision": (tally.objects[0], tally.objects[1]),
        "caption_exact": _share(tally.full_captions),
    }
    for kind in {kind for *_, kind in singles}:
        shares[f"single_precision/{kind}"] = _share([iou >= IOU_HIT for _, iou, _, own in singles if own == kind])
    for name, kinds in (("vqa", tally.kinds), ("text", tally.text_kinds)):
        shares |= {f"{name}/{kind}": (right, asked) for kind, (right, asked) in kinds.items()}
        shares[name] = (sum(right for right, _ in kinds.values()), sum(asked for _, asked in kinds.values()))
    found = {
        name: _detail(count, wilson_interval(hits, count) if count else None) for name, (hits, count) in shares.items()
    }
    for name, ious in (
        ("single_iou", [iou for _, iou, _, _ in singles]),
        ("elongated_iou", [iou for _, iou, _, _ in long]),
    ):
        interval = bootstrap_interval(ious, [1] * len(ious), bounds=(0.0, 1.0)) if len(ious) > 1 else None
        found[name] = _detail(len(ious), interval)
    counts = {
        "several_f1": tally.boxes[2],
        "absent_auc": len(tally.absent_scores),
        "other_auc": len(tally.other_scores),
    }
    return found | {name: _detail(count, None) for name, count in counts.items()}


def _share(hits: list[bool]) -> tuple[int, int]:
    return sum(hits), len(hits)


def _detail(count: int, interval: tuple[float, float] | None) -> dict[str, Any]:
    return {"count": count, "interval_95": list(interval) if interval else None}
