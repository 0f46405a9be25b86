"""Scores what more a pipeline can be asked: choices, presence, everything labelled, boxes put into words."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ..boxes.answers import Detection
from ..boxes.geometry import Box, pairwise_iou
from .evaluate import IOU_HIT, area_under_curve, caption_objects, share
from .language import Expression, absent_expression, expression
from .other_things import other_expression
from .questions import visual_question
from .scenes import EVALUATION_SEED, Scene, draw_scene, make_scene

YES_AND_NO = ("yes", "no")
BINS = 10
"""Of the calibration: answers of like confidence."""
CLOSED = {"exists": 1, "relation": 1}
"""Kinds of questions that are answered by yes or no."""


class Pipeline(Protocol):
    """The part of :class:`iaa_runtime.IAAPipeline` that is scored."""

    def caption(self, images: Any, prompt: str = ..., *, max_new_tokens: int = ...) -> list[str]: ...
    def choose(self, images: Any, question: str, choices: Sequence[str]) -> Sequence[Any]: ...
    def presence(self, images: Any, phrases: Any) -> list[list[float]]: ...
    def ground(self, images: Any, phrases: Any, *, check: bool = ...) -> Sequence[Sequence[Detection]]: ...
    def label(self, images: Any) -> Sequence[Sequence[Detection]]: ...
    def caption_boxes(self, images: Any, boxes: Any) -> list[list[str]]: ...


@dataclass
class AskingTally:
    """What was counted; :meth:`report` turns it into measures.

    Attributes:
        chosen: per question of yes and no: probability of yes, whether yes is right, whether the greedy answer is.
        presence: per phrase, by kind ("present", "absent", "other"): its probability.
        boxes: the same: boxes without the check, and with it.
        lost: per phrase for one shape: right without the check, and with it.
        labelled: shapes found by color, kind and place; boxes; shapes.
        described: per box of a shape: whether its text names color and kind, and nothing else.
    """

    chosen: list[tuple[float, bool, bool]] = field(default_factory=list)
    presence: dict[str, list[float]] = field(default_factory=lambda: {"present": [], "absent": [], "other": []})
    boxes: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: {"present": [], "absent": [], "other": []})
    lost: list[tuple[bool, bool]] = field(default_factory=list)
    labelled: list[int] = field(default_factory=lambda: [0, 0, 0])
    described: list[bool] = field(default_factory=list)

    def report(self) -> dict[str, float]:
        """All measures by name; fractions of 1."""
        yes = [(probability, true) for probability, true, _ in self.chosen]
        found, boxes, shapes = self.labelled
        measures = {
            "choose_accuracy": share([(p > 0.5) == true for p, true in yes]),
            "choose_greedy_accuracy": share([right for *_, right in self.chosen]),
            "choose_auc": area_under_curve([p for p, true in yes if true], [p for p, true in yes if not true]),
            "choose_calibration_error": calibration_error([p for p, _ in yes], [true for _, true in yes]),
            "presence_auc": area_under_curve(self.presence["present"], self.presence["absent"]),
            "presence_other_auc": area_under_curve(self.presence["present"], self.presence["other"]),
            "check_lost": share([before and not after for before, after in self.lost]),
            "label_recall": found / max(1, shapes),
            "label_precision": found / max(1, boxes),
            "boxes_described": share(self.described),
        }
        for kind in ("absent", "other"):
            for name, column in (("unchecked", 0), ("checked", 1)):
                measures[f"{kind}_boxes_{name}"] = share([counts[column] for counts in self.boxes[kind]])
        return measures


def calibration_error(probabilities: Sequence[float], true: Sequence[bool]) -> float:
    """Expected calibration error (Naeini et al., 2015): how far confidence and accuracy differ, over ``BINS`` bins."""
    confidence = np.maximum(probabilities, 1 - np.asarray(probabilities))
    right = (np.asarray(probabilities) > 0.5) == np.asarray(true)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(confidence[bins == n].mean() - right[bins == n].mean()) * (bins == n).mean() for n in set(bins)]
    return float(sum(gaps))


def evaluate_asking(
    pipeline: Pipeline,
    scenes: int = 200,
    first_seed: int = EVALUATION_SEED,
    on_scene: Callable[[int], None] | None = None,
) -> AskingTally:
    """Scores a pipeline on the scenes of consecutive seeds; arguments as for :func:`.evaluate.evaluate`."""
    tally = AskingTally()
    for number in range(scenes):
        scene = make_scene(first_seed + number)
        picture, rng = draw_scene(scene), random.Random(f"{scene.seed} asking")
        _score_choices(pipeline, scene, picture, rng, tally)
        _score_presence(pipeline, scene, picture, rng, tally)
        _score_labels(pipeline, scene, picture, tally)
        _score_descriptions(pipeline, scene, picture, tally)
        if on_scene is not None:
            on_scene(number + 1)
    return tally


def _score_choices(
    pipeline: Pipeline, scene: Scene, picture: Image.Image, rng: random.Random, tally: AskingTally
) -> None:
    asked = [visual_question(scene, rng, CLOSED) for _ in range(2)] if len(scene.shapes) > 1 else []
    asked = asked or [visual_question(scene, rng, {"exists": 1})]
    for question in asked:
        (choice,) = pipeline.choose(picture, question.question, YES_AND_NO)
        (greedy,) = pipeline.caption(picture, question.question, max_new_tokens=8)
        true = question.answer == "yes"
        tally.chosen.append((choice.probabilities[0], true, greedy.strip().lower() == question.answer))


def _score_presence(
    pipeline: Pipeline, scene: Scene, picture: Image.Image, rng: random.Random, tally: AskingTally
) -> None:
    asked: dict[str, Expression] = {
        "present": expression(scene, rng, ("plain", "extreme", "relation")),
        "absent": absent_expression(scene, rng),
        "other": other_expression(scene, rng),
    }
    phrases = [made.phrase for made in asked.values()]
    (chances,) = pipeline.presence(picture, phrases)
    (plain,), (checked,) = (pipeline.ground(picture, phrases, check=check) for check in (False, True))
    for kind, chance, made in zip(asked, chances, asked.values(), strict=True):
        before, after = ([d.xyxy for d in found if d.label == made.phrase] for found in (plain, checked))
        tally.presence[kind].append(chance)
        tally.boxes[kind].append((len(before), len(after)))
        if len(made.targets) == 1:
            true = scene.shapes[made.targets[0]].box
            tally.lost.append((_hit(before, true), _hit(after, true)))


def _score_labels(pipeline: Pipeline, scene: Scene, picture: Image.Image, tally: AskingTally) -> None:
    (found,) = pipeline.label(picture)
    left = list(range(len(scene.shapes)))
    for detection in found:
        named = caption_objects(detection.label)
        hit = next(
            (
                i
                for i in left
                if (scene.shapes[i].color, scene.shapes[i].kind) in named
                and _hit([detection.xyxy], scene.shapes[i].box)
            ),
            None,
        )
        if hit is not None:
            left.remove(hit)
    tally.labelled[0] += len(scene.shapes) - len(left)
    tally.labelled[1] += len(found)
    tally.labelled[2] += len(scene.shapes)


def _score_descriptions(pipeline: Pipeline, scene: Scene, picture: Image.Image, tally: AskingTally) -> None:
    boxes = [
        {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1} for x1, y1, x2, y2 in (s.box for s in scene.shapes)
    ]
    (texts,) = pipeline.caption_boxes(picture, boxes)
    for shape, text in zip(scene.shapes, texts, strict=True):
        tally.described.append(caption_objects(text) == [(shape.color, shape.kind)])


def _hit(boxes: Sequence[Box], true: Box) -> bool:
    return bool(boxes) and bool(pairwise_iou(boxes[:1], [true])[0, 0] >= IOU_HIT)
