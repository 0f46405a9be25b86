"""Heads are told where a thing is, and where it is not, that there is nothing to look at."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.config import IMAGE_TOKEN_INDEX, GenerationConfig, Task
from iaa_runtime.generation.prefill import Prompt
from iaa_runtime.shapes.scenes import draw_scene, make_scene
from iaa_runtime.teaching.batches import run_rows
from iaa_runtime.teaching.examples import Example, by_picture
from iaa_runtime.teaching.frozen import open_frozen
from iaa_runtime.teaching.lessons import write_lessons
from iaa_runtime.teaching.looking import Call, Looks, Recorder, shares
from iaa_runtime.teaching.pointing import looking_heads, unlooked
from iaa_runtime.teaching.replay import remember

PATCHES, FIRST = 4, 1


class FixedCall(Call):
    """A head whose scores are given: one column before the picture, four patches, one behind."""

    def scores(self, rows: Tensor, tokens: Tensor, head: int) -> Tensor:
        return torch.tensor([[0.5, 0.2, 0.1, 0.1, 0.06, 0.04]]).log().expand(len(rows), -1)


def test_a_share_is_of_the_patches_of_the_box_or_of_all_but_the_picture() -> None:
    call = FixedCall(*[None] * 6)  # type: ignore[arg-type]
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.5]])
    looks = Looks(
        torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long), boxes, torch.tensor([False, True])
    )
    assert shares(call, 0, looks, FIRST, PATCHES).exp().tolist() == pytest.approx([0.2, 0.54])


def test_looking_at_what_is_there_costs_little_and_at_what_is_called_absent_much() -> None:
    pipeline = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None)
    scenes = [make_scene(seed, shapes=1, long_side=120) for seed in range(5_000, 5_006)]
    pictures = by_picture([Example(draw_scene(scene), "the shape", (scene.shapes[0].box,)) for scene in scenes])
    lessons = write_lessons(pipeline, Task.G, pictures, 1, 0)
    stack = pipeline.model.stack(Task.G)
    remember(pipeline, lessons, ["the mascot"], 24, 4, 0)
    heads = looking_heads(stack, lessons, pipeline.model.project)
    assert heads, "the demo model was taught to look"
    there = [row for rows in lessons.taught for row in rows]
    costs = []
    for rows in (there, [replace(row, absent=True) for row in there]):
        recorder = Recorder(stack, sorted({slot for slot, _ in heads}))
        with torch.no_grad(), recorder.entered():
            ran = run_rows(stack, lessons, rows, pipeline.model.project)
        costs.append(unlooked(ran, lessons, recorder, heads))
    assert costs[0] < 0.5 < costs[1]


def test_what_is_another_word_for_a_taught_prompt_is_not_remembered() -> None:
    """The demo model describes an image, and describes it in detail or mentioning the light, in the same words."""
    pipeline = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None)
    scenes = [make_scene(seed, long_side=120) for seed in range(5_000, 5_012)]
    prompt = "Describe this image."
    pictures = by_picture([Example(draw_scene(scene), prompt, answer="Seen.") for scene in scenes])
    lessons = write_lessons(pipeline, Task.MM, pictures, 1, 0)
    remember(pipeline, lessons, [prompt], 192, 16, 0)
    asked = {row.prompt for rows in lessons.known.values() for row in rows}
    said = [pipeline.tokenizer.decode(ids) for ids in asked]
    assert len(said) > 100 and any("List" in text for text in said), "another answer is remembered"
    views = [(view, rows[0].prompt) for view, rows in enumerate(lessons.taught) if rows]
    images = pipeline.model.project(lessons.features, Task.MM)
    prompts = [Prompt((*lessons.head, IMAGE_TOKEN_INDEX, *ids), images[view]) for view, ids in views]
    answered = pipeline.model.answer(prompts, Task.MM, GenerationConfig.for_task(Task.MM), [pipeline.eos])
    for (view, _), old in zip(views, answered, strict=True):
        assert tuple(old.ids) not in {row.answer for row in lessons.known.get(view, [])}
