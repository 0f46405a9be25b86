"""The demo model learns a form of captions that it never used, and follows it on pictures that it never saw."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from iaa_runtime import IAAPipeline
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.config import Task
from iaa_runtime.config.teaching import TeachSettings
from iaa_runtime.shapes.language import NUMBER_WORDS, full_noun, left_to_right
from iaa_runtime.shapes.scenes import draw_scene, make_scene
from iaa_runtime.teaching.examples import Example
from iaa_runtime.teaching.frozen import open_frozen
from iaa_runtime.teaching.scores import answer_prompts
from iaa_runtime.teaching.teach import teach
from iaa_runtime.text.prompts import CAPTION_PROMPTS

LEARNED, TESTED = 2_100_000_000, 2_600_000_000
"""Seeds that no scene of the demo model's training or evaluation has."""
FORM = re.compile(rf"({'|'.join(NUMBER_WORDS)}) shapes?: \w+ \w+(, \w+ \w+)*\.", re.IGNORECASE)


def captions(first: int, count: int) -> list[Example]:
    """As in ``Two shapes: red circle, blue star.``"""
    found = []
    for seed in range(first, first + count):
        scene = make_scene(seed)
        nouns = [full_noun(scene.shapes[i]) for i in left_to_right(scene, range(len(scene.shapes)))]
        number = f"{NUMBER_WORDS[len(nouns)].capitalize()} shape{'s' if len(nouns) > 1 else ''}"
        text = f"{number}: {', '.join(f'{noun.color} {noun.kind}' for noun in nouns)}."
        found.append(Example(draw_scene(scene), CAPTION_PROMPTS["caption"], answer=text))
    return found


def following(pipeline: IAAPipeline) -> float:
    answers = answer_prompts(pipeline, captions(TESTED, 30))
    return sum(FORM.fullmatch(text) is not None for _, text in answers) / len(answers)


@pytest.mark.slow
def test_a_form_of_captions_is_learned_from_twenty(tmp_path: Path) -> None:
    pipeline, file = IAAPipeline.from_pretrained(), tmp_path / "form.safetensors"
    before = following(pipeline)
    frozen = open_frozen(DEMO_CHECKPOINT, None, "cpu", None)
    teach(frozen, captions(LEARNED, 25), TeachSettings(Task.MM, steps=100, batch=4), file)
    with pipeline.adaptors.using((file, 1.0)):
        after = following(pipeline)
    assert before <= 0.05 and after >= 0.75
