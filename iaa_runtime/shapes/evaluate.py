"""Scores a model on scenes that it never saw, through the public pipeline: what a user would get."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from PIL import Image

from ..boxes.answers import Detection
from ..boxes.geometry import Box, iou, paired_overlaps
from .language import Expression, Question, absent_expression, caption, expression
from .other_things import other_expression
from .questions import visual_questions
from .scenes import COLORS, EVALUATION_SEED, KINDS, Scene, draw_scene, make_scene
from .text_questions import text_question

IOU_HIT = 0.5
_MENTION = re.compile(rf"\b({'|'.join(COLORS)}) ({'|'.join(KINDS)})\b")


class Pipeline(Protocol):
    """The part of :class:`iaa_runtime.IAAPipeline` that is scored."""

    def caption(self, images: list[Any], prompt: str = ...) -> list[str]: ...
    def ground(self, images: list[Any], phrases: list[str]) -> Sequence[Sequence[Detection]]: ...
    def text(self, prompt: str) -> str: ...


def count_matches(found: Sequence[Box], true: Sequence[Box]) -> int:
    """How many found boxes pair up with a true one at IoU 0.5 or more: best pairs first, each box at most once."""
    return sum(overlap >= IOU_HIT for overlap in paired_overlaps(found, true))


def area_under_curve(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """Chance that a positive scores above a negative, ties counted half (Mann and Whitney, 1947)."""
    if not positives or not negatives:
        return float("nan")
    ranked = sorted([(score, True) for score in positives] + [(score, False) for score in negatives])
    total, start = 0.0, 0
    while start < len(ranked):
        end = start
        while end < len(ranked) and ranked[end][0] == ranked[start][0]:
            end += 1
        total += sum(positive for _, positive in ranked[start:end]) * (start + 1 + end) / 2
        start = end
    count = len(positives)
    return (total - count * (count + 1) / 2) / (count * len(negatives))


def caption_objects(text: str) -> list[tuple[str, str]]:
    """(color, kind) of every object that a caption names."""
    return _MENTION.findall(text.lower())


def _shared(answered: Iterable[Any], true: Iterable[Any]) -> int:
    """Size of the intersection of two multisets."""
    return sum((Counter(answered) & Counter(true)).values())


@dataclass(frozen=True)
class SceneScore:
    """What was right on one scene, for runs to be compared by.

    Attributes:
        seed: the scene's.
        ious: of the first box of each phrase for one shape.
        questions: whether each visual question was answered right.
        text: whether the text question was.
        caption: whether the caption names all shapes and no other.
    """

    seed: int
    ious: tuple[float, ...]
    questions: tuple[bool, ...]
    text: bool
    caption: bool


@dataclass
class Tally:
    """What was counted; :meth:`report` turns it into measures.

    Attributes:
        singles: Per phrase for one shape: aspect of the picture, IoU of the first box, score, kind of the phrase.
        absent_scores: Of the best boxes of shapes that the picture lacks, 0 where the model's threshold left none.
        other_scores: The same of things that are no shapes.
        kinds: Per kind of visual question: right ones, all.
        text_kinds: Per kind of text question: right ones, all.
        mistakes: Wrong answers in words, at most a few of each sort.
        scenes: What was right on each.
    """

    singles: list[tuple[float, float, float, str]] = field(default_factory=list)
    absent_scores: list[float] = field(default_factory=list)
    other_scores: list[float] = field(default_factory=list)
    boxes: list[int] = field(default_factory=lambda: [0, 0, 0])  # matched, answered, true
    objects: list[int] = field(default_factory=lambda: [0, 0, 0])
    full_captions: list[bool] = field(default_factory=list)
    kinds: dict[str, list[int]] = field(default_factory=dict)
    text_kinds: dict[str, list[int]] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)
    scenes: list[SceneScore] = field(default_factory=list)

    def report(self) -> dict[str, float]:
        """All measures by name; fractions of 1."""
        elongated = sorted(self.singles, reverse=True)[: max(1, len(self.singles) // 4)]
        measures = {
            "single_precision": share([iou >= IOU_HIT for _, iou, _, _ in self.singles]),
            "single_iou": share([iou for _, iou, _, _ in self.singles]),
            "elongated_precision": share([iou >= IOU_HIT for _, iou, _, _ in elongated]),
            "elongated_iou": share([iou for _, iou, _, _ in elongated]),
            "several_f1": _f1(self.boxes),
            "absent_auc": area_under_curve([score for _, _, score, _ in self.singles], self.absent_scores),
            "other_auc": area_under_curve([score for _, _, score, _ in self.singles], self.other_scores),
            "present_kept": share([score > 0 for _, _, score, _ in self.singles]),
            "absent_dropped": share([score == 0 for score in self.absent_scores]),
            "other_dropped": share([score == 0 for score in self.other_scores]),
            "vqa": _ratio(self.kinds),
            "caption_recall": self.objects[0] / max(1, self.objects[2]),
            "caption_precision": self.objects[0] / max(1, self.objects[1]),
            "caption_exact": share(self.full_captions),
            "text": _ratio(self.text_kinds),
        }
        for kind in sorted({kind for *_, kind in self.singles}):
            measures[f"single_precision/{kind}"] = share([i >= IOU_HIT for _, i, _, k in self.singles if k == kind])
        for group, kinds in (("vqa", self.kinds), ("text", self.text_kinds)):
            measures |= {f"{group}/{kind}": right / asked for kind, (right, asked) in sorted(kinds.items())}
        return measures


def share(values: Sequence[float]) -> float:
    """Their mean; NaN of none."""
    return sum(values) / len(values) if values else float("nan")


def _f1(counts: Sequence[int]) -> float:
    matched, answered, true = counts
    return 2 * matched / max(1, answered + true)


def _ratio(kinds: dict[str, list[int]]) -> float:
    right, asked = (sum(column) for column in zip(*kinds.values(), strict=True)) if kinds else (0, 0)
    return right / asked if asked else float("nan")


def _normal(text: str) -> str:
    return text.strip().rstrip(".").lower()


def _note(tally: Tally, kinds: dict[str, list[int]], kind: str, question: str, answer: str, true: str) -> bool:
    """Counts an answer to a question of a kind, and notes it if it is wrong. Returns whether it is right."""
    right = _normal(answer) == _normal(true)
    counts = kinds.setdefault(kind, [0, 0])
    counts[0] += right
    counts[1] += 1
    if not right:
        tally.mistakes.append(f"{kind}: {question} {answer!r}, not {true!r}")
    return right


@dataclass(frozen=True)
class Exam:
    """A scene and all that is asked about it, with the right answers; ``text`` is a question without a picture."""

    scene: Scene
    phrases: tuple[Expression, ...]
    questions: tuple[Question, ...]
    text: Question


def make_exam(seed: int) -> Exam:
    """The exam of a seed: two phrases for one shape, one for several where the scene has them, one for a shape
    that is not there, one for a thing that is no shape; two questions; one question without a picture."""
    scene, rng = make_scene(seed), random.Random(seed)
    chosen: dict[str, Expression] = {}
    for _ in range(8):
        made = expression(scene, rng, ("plain", "extreme", "relation"))
        if len(made.targets) == 1:
            chosen.setdefault(made.phrase, made)
        if len(chosen) == 2:
            break
    several = expression(scene, rng, ("plural",))
    if len(several.targets) > 1:
        chosen.setdefault(several.phrase, several)
    absent = absent_expression(scene, rng)
    other = other_expression(scene, random.Random(f"{seed} other"))
    return Exam(scene, (*chosen.values(), absent, other), tuple(visual_questions(scene, rng, 2)), text_question(rng))


def score_grounding(pipeline: Pipeline, exam: Exam, picture: Image.Image, tally: Tally) -> None:
    """Grounds an exam's phrases in one call and counts."""
    scene = exam.scene
    detections = pipeline.ground([picture], [made.phrase for made in exam.phrases])[0]
    for made in exam.phrases:
        mine = [detection for detection in detections if detection.label == made.phrase]
        found, true = [detection.xyxy for detection in mine], [scene.shapes[i].box for i in made.targets]
        score = max((detection.score for detection in mine), default=0.0)
        if not true:
            (tally.other_scores if made.kind == "other" else tally.absent_scores).append(score)
        elif len(true) == 1:
            overlap = iou(found[0], true[0]) if found else 0.0
            tally.singles.append((scene.aspect, overlap, score, made.kind))
            if overlap < IOU_HIT:
                tally.mistakes.append(f"seed {scene.seed}: {made.phrase} {found}, not {true}")
        else:
            counts = (count_matches(found, true), len(found), len(true))
            tally.boxes = [a + b for a, b in zip(tally.boxes, counts, strict=True)]


def score_words(pipeline: Pipeline, exam: Exam, picture: Image.Image, tally: Tally) -> tuple[list[bool], bool]:
    """Captions a scene, asks about it, asks the text question, and counts.

    Returns:
        Whether each answer about the scene was right, and that to the text question.
    """
    scene = exam.scene
    answer = pipeline.caption([picture])[0]
    named, true = caption_objects(answer), [(shape.color, shape.kind) for shape in scene.shapes]
    counts = (_shared(named, true), len(named), len(true))
    tally.objects = [a + b for a, b in zip(tally.objects, counts, strict=True)]
    tally.full_captions.append(_normal(answer) == _normal(caption(scene)))
    if counts[0] < max(counts[1:]):
        tally.mistakes.append(f"seed {scene.seed}: {answer!r}, not {caption(scene)!r}")
    right = []
    for asked in exam.questions:
        answer = pipeline.caption([picture], prompt=asked.question)[0]
        told = f"seed {scene.seed}: {asked.question}"
        right.append(_note(tally, tally.kinds, asked.kind, told, answer, asked.answer))
    asked = exam.text
    answer = pipeline.text(asked.question)
    return right, _note(tally, tally.text_kinds, asked.kind, asked.question, answer, asked.answer)


def score_exam(pipeline: Pipeline, exam: Exam, tally: Tally) -> None:
    """Asks all that an exam asks, and counts."""
    picture, before = draw_scene(exam.scene), len(tally.singles)
    score_grounding(pipeline, exam, picture, tally)
    questions, text = score_words(pipeline, exam, picture, tally)
    ious = tuple(overlap for _, overlap, *_ in tally.singles[before:])
    tally.scenes.append(SceneScore(exam.scene.seed, ious, tuple(questions), text, tally.full_captions[-1]))


def evaluate(
    pipeline: Pipeline,
    scenes: int = 1000,
    first_seed: int = EVALUATION_SEED,
    on_scene: Callable[[int], None] | None = None,
) -> Tally:
    """Scores a pipeline on the exams of consecutive seeds.

    Args:
        pipeline: Answers through ``caption``, ``ground`` and ``text``.
        scenes: How many.
        first_seed: ``EVALUATION_SEED`` or later for scenes that training never saw.
        on_scene: Called with the number of scenes done.

    Returns:
        The counts; ``.report()`` gives the measures.
    """
    tally = Tally()
    for number in range(scenes):
        score_exam(pipeline, make_exam(first_seed + number), tally)
        if on_scene is not None:
            on_scene(number + 1)
    return tally


def as_dict(tally: Tally) -> dict[str, Any]:
    """Measures, mistakes and what was right on each scene, for JSON."""
    scenes = [asdict(scene) for scene in tally.scenes]
    return {"measures": tally.report(), "mistakes": tally.mistakes, "scenes": scenes}
