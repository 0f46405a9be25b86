"""The scorer: a perfect answerer gets full marks, and each kind of mistake costs what it should."""

from __future__ import annotations

import re
from typing import Any

from iaa_runtime.boxes.answers import Detection, to_detection
from iaa_runtime.shapes.evaluate import area_under_curve, count_matches, evaluate, make_exam
from iaa_runtime.shapes.language import caption
from iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene

SCENES = 20


class Oracle:
    """Answers from the exams' own keys, so that what is tested is the scoring."""

    def __init__(self) -> None:
        exams = [make_exam(EVALUATION_SEED + number) for number in range(SCENES)]
        self._exams = {draw_scene(exam.scene).tobytes(): exam for exam in exams}
        self._text = {exam.text.question: exam.text.answer for exam in exams}

    def caption(self, images: list[Any], prompt: str = "", **_: Any) -> list[str]:
        exam = self._exams[images[0].tobytes()]
        answers = {asked.question: asked.answer for asked in exam.questions} | {"": caption(exam.scene)}
        return [answers[prompt]]

    def ground(self, images: list[Any], phrases: list[str], **_: Any) -> list[list[Detection]]:
        exam = self._exams[images[0].tobytes()]
        targets = {made.phrase: made.targets for made in exam.phrases}
        found = []
        for phrase in phrases:
            boxes = [(exam.scene.square_box(i), 0.9) for i in targets[phrase]] or [((0.1, 0.1, 0.2, 0.2), 0.1)]
            found += [to_detection(box, images[0].size, phrase, score) for box, score in boxes]
        return [found]

    def text(self, prompt: str, **_: Any) -> str:
        return self._text[prompt]


def test_matching_is_one_to_one() -> None:
    a, b = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)
    assert count_matches([a, a], [a, b]) == 1
    assert count_matches([b, a], [a, b]) == 2
    assert count_matches([], [a]) == 0


def test_area_under_curve() -> None:
    assert area_under_curve([0.9, 0.8], [0.1, 0.2]) == 1
    assert area_under_curve([0.1], [0.9]) == 0
    assert area_under_curve([0.5, 0.5], [0.5, 0.5]) == 0.5
    assert area_under_curve([0.9, 0.3], [0.5]) == 0.5


def test_a_perfect_answerer_gets_full_marks() -> None:
    measures = evaluate(Oracle(), SCENES).report()
    assert measures["single_precision"] == measures["elongated_precision"] == 1
    assert measures["single_iou"] > 0.95  # boxes are whole pixels
    measured = ("several_f1", "absent_auc", "other_auc", "caption_recall", "caption_precision", "caption_exact", "vqa")
    for name in (*measured, "text", "present_kept"):
        assert measures[name] == 1, name


def test_a_model_that_drops_what_is_not_there_is_said_to() -> None:
    class Strict(Oracle):
        def ground(self, images: list[Any], phrases: list[str], **options: Any) -> list[list[Detection]]:
            return [[d for d in found if d.score > 0.5] for found in super().ground(images, phrases, **options)]

    for answerer, dropped in ((Oracle(), 0), (Strict(), 1)):
        measures = evaluate(answerer, SCENES).report()
        assert measures["absent_dropped"] == measures["other_dropped"] == dropped


def test_mirrored_boxes_lose() -> None:
    class Mirrored(Oracle):
        def ground(self, images: list[Any], phrases: list[str], **_: Any) -> list[list[Detection]]:
            found = super().ground(images, phrases)[0]
            width = images[0].width
            return [[Detection(width - d.x - d.width, d.y, d.width, d.height, d.label, d.score) for d in found]]

    measures = evaluate(Mirrored(), SCENES).report()
    assert measures["single_precision"] < 0.5 and measures["several_f1"] < 0.6


def test_a_caption_that_forgets_or_invents_loses() -> None:
    class Forgetful(Oracle):
        def caption(self, images: list[Any], prompt: str = "", **options: Any) -> list[str]:
            said = super().caption(images, prompt, **options)
            return said if prompt else [re.sub(r"(: an? \w+ \w+ \w+).*", r"\1.", said[0])]

    measures = evaluate(Forgetful(), SCENES).report()
    assert measures["caption_precision"] == 1 and measures["caption_recall"] < 0.6

    class Inventive(Oracle):
        def caption(self, images: list[Any], prompt: str = "", **options: Any) -> list[str]:
            said = super().caption(images, prompt, **options)
            return said if prompt else [said[0] + " Also a mauve hexagon and a red cross and a red cross."]

    measures = evaluate(Inventive(), SCENES).report()
    assert measures["caption_recall"] == 1 and measures["caption_precision"] < 0.9
