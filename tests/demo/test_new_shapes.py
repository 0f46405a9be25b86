"""The demo model learns a shape that it never saw from forty pictures, and keeps what it knew."""

from __future__ import annotations

from pathlib import Path

import pytest

from iaa_runtime import IAAPipeline
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.config.teaching import TeachSettings
from iaa_runtime.shapes.evaluate import Tally, make_exam, score_grounding
from iaa_runtime.shapes.new_things import NEW_THINGS, draw_with
from iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene, make_scene
from iaa_runtime.teaching.examples import Example
from iaa_runtime.teaching.frozen import open_frozen
from iaa_runtime.teaching.scores import find_boxes, summarize_boxes
from iaa_runtime.teaching.teach import teach

LEARNED, TESTED = 2_000_000_000, 2_500_000_000
"""Seeds that no scene of the demo model's training or evaluation has."""
PICTURES, SCENES = 200, 150
AIM = 0.75
FORGOTTEN, FORGOTTEN_OF_SEVERAL, MORE_FALSE = 0.03, 0.05, 0.1
"""How much less it may find of what it knew, by phrases for one shape and for several; and in how many more pictures
without the thing it may find one."""


def examples(thing: str, first: int, count: int) -> list[Example]:
    drawn = [draw_with(thing, seed) for seed in range(first, first + count)]
    return [Example(picture, f"the {thing}", (box,)) for picture, box in drawn]


def without(thing: str, first: int, count: int) -> list[Example]:
    return [Example(draw_scene(make_scene(seed)), f"the {thing}") for seed in range(first, first + count)]


def scores(pipeline: IAAPipeline, thing: str) -> dict[str, float]:
    """How well the thing is found, and what it knew."""
    tested = [*examples(thing, TESTED, PICTURES), *without(thing, TESTED, PICTURES)]
    boxes = summarize_boxes(find_boxes(pipeline, tested))
    tally = Tally()
    for seed in range(EVALUATION_SEED, EVALUATION_SEED + SCENES):
        exam = make_exam(seed)
        score_grounding(pipeline, exam, draw_scene(exam.scene), tally)
    known = tally.report()
    return {
        "found": boxes["precision_at_0.5"],
        "false": boxes["false_boxes"],
        "one": known["single_precision"],
        "several": known["several_f1"],
    }


@pytest.mark.slow
@pytest.mark.parametrize("thing", NEW_THINGS)
def test_a_new_shape_is_learned_from_forty_pictures(thing: str, tmp_path: Path) -> None:
    pipeline, file = IAAPipeline.from_pretrained(), tmp_path / "thing.safetensors"
    before = scores(pipeline, thing)
    teach(open_frozen(DEMO_CHECKPOINT, None, "cpu", None), examples(thing, LEARNED, 40), TeachSettings(), file)
    with pipeline.adaptors.using((file, 1.0)):
        after = scores(pipeline, thing)
    assert before["found"] <= 0.15 and after["found"] >= AIM
    assert after["one"] >= before["one"] - FORGOTTEN
    assert after["several"] >= before["several"] - FORGOTTEN_OF_SEVERAL
    assert after["false"] <= before["false"] + MORE_FALSE
