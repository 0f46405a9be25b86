"""The demo model learns a shape that it never saw from forty pictures, and keeps what it knew."""

from __future__ import annotations

from pathlib import Path

import pytest

from iaa_runtime import IAAPipeline
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.config.teaching import TeachSettings
from iaa_runtime.shapes.evaluate import Tally, make_exam, score_grounding
from iaa_runtime.shapes.new_things import NEW_THINGS, draw_with
from iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene
from iaa_runtime.teaching.examples import Example
from iaa_runtime.teaching.frozen import open_frozen
from iaa_runtime.teaching.scores import find_boxes, summarize_boxes
from iaa_runtime.teaching.teach import teach

LEARNED, TESTED = 2_000_000_000, 2_500_000_000
"""Seeds that no scene of the demo model's training or evaluation has."""
PICTURES, SCENES = 200, 150
AIM, KEPT = 0.75, 0.03


def examples(thing: str, first: int, count: int) -> list[Example]:
    drawn = [draw_with(thing, seed) for seed in range(first, first + count)]
    return [Example(picture, f"the {thing}", (box,)) for picture, box in drawn]


def precision(pipeline: IAAPipeline, thing: str) -> float:
    return float(summarize_boxes(find_boxes(pipeline, examples(thing, TESTED, PICTURES)))["precision_at_0.5"])


def known(pipeline: IAAPipeline) -> float:
    tally = Tally()
    for seed in range(EVALUATION_SEED, EVALUATION_SEED + SCENES):
        exam = make_exam(seed)
        score_grounding(pipeline, exam, draw_scene(exam.scene), tally)
    return float(tally.report()["single_precision"])


@pytest.mark.slow
@pytest.mark.parametrize("thing", NEW_THINGS)
def test_a_new_shape_is_learned_from_forty_pictures(thing: str, tmp_path: Path) -> None:
    pipeline, file = IAAPipeline.from_pretrained(), tmp_path / "thing.safetensors"
    before, knew = precision(pipeline, thing), known(pipeline)
    teach(open_frozen(DEMO_CHECKPOINT, None, "cpu", None), examples(thing, LEARNED, 40), TeachSettings(), file)
    with pipeline.adaptors.using((file, 1.0)):
        after, knows = precision(pipeline, thing), known(pipeline)
    assert before <= 0.15 and knows >= knew - KEPT and after >= AIM
