"""What is replayed while something new is taught."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from PIL import Image

from iaa_runtime import IAAPipeline
from iaa_runtime.checkpoint.checkpoint import DEMO_CHECKPOINT
from iaa_runtime.config import Task
from iaa_runtime.teaching.batches import run_rows
from iaa_runtime.teaching.examples import Example, by_picture
from iaa_runtime.teaching.frozen import open_frozen
from iaa_runtime.teaching.lessons import Lessons, Writer, is_cut, write_lessons
from iaa_runtime.teaching.losses import Memory
from iaa_runtime.teaching.objective import FINAL_FORM_WEIGHT, rows_loss
from iaa_runtime.teaching.replay import KEPT, other_questions, remember
from iaa_runtime.text.prompts import form_question
from iaa_runtime.text.styles import ENGLISH, EXTRAS, LENGTHS


def test_phrases_for_several_things_are_among_what_is_replayed() -> None:
    """Taught one box a picture, the model would unlearn to give more."""
    demo, real = (other_questions(Task.G, demo, (), 200, random.Random(0)) for demo in (True, False))
    assert sum(phrase.startswith("all the ") or phrase.endswith("s") for phrase in demo) >= 40
    assert sum(phrase.startswith("every ") for phrase in real) >= 20


def test_what_is_taught_is_not_replayed() -> None:
    for text in other_questions(Task.G, False, (), 100, random.Random(0)):
        assert text not in other_questions(Task.G, False, (text,), 100, random.Random(0))


def test_captions_in_every_style_are_among_what_is_replayed() -> None:
    """Whoever teaches a form of captions still gets one sentence who asks for one."""
    prompts = other_questions(Task.MM, False, (), 400, random.Random(0))
    assert all(
        any(sentence[ENGLISH] in prompt for prompt in prompts) for sentence in (*LENGTHS.values(), *EXTRAS.values())
    )


def remembered(answers: dict[str, str], views: int = 1) -> tuple[IAAPipeline, Lessons]:
    """Lessons of pictures that are described so, by their colors, and what the model said of each view of them."""
    pipeline = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None)
    pictures = [
        Example(Image.new("RGB", (64, 64), color), "Describe it.", answer=said) for color, said in answers.items()
    ]
    lessons = write_lessons(pipeline, Task.MM, by_picture(pictures), views, 0)
    remember(pipeline, lessons, ["Describe it."], 64, 4, 0)
    return pipeline, lessons


def test_a_form_is_learned_from_what_the_model_says_where_it_sees_an_example() -> None:
    """Taught forty captions word by word, it lost what is in other pictures."""
    said = {"red": "One shape: red circle. That is all.", "blue": "Two shapes: blue star, red ring. That is all."}
    pipeline, lessons = remembered(said)
    (taught,) = lessons.taught[0]
    held = [row for row in lessons.known[0] if row.prompt == taught.prompt]
    assert [row.answer for row in held] == [taught.answer]
    asked = Writer(pipeline, Task.MM).row(0, Example("", form_question(said["blue"])), said["red"])
    with torch.no_grad():
        wanted = Memory.of(run_rows(pipeline.model.stack("MM"), lessons, [asked], pipeline.model.project).logits, KEPT)
    assert held[0].memory is not None
    torch.testing.assert_close(held[0].memory.shares, wanted.shares, atol=2e-3, rtol=0)


def test_captions_in_a_form_are_worth_less_towards_the_end_and_words_are_not() -> None:
    """Learned to the end, forty captions are learned by heart: of others, things were left out or said twice."""
    of_forms = {"red": "One shape: red circle. That is all.", "blue": "Two shapes: blue star, red ring. That is all."}
    for said in (of_forms | {"black": "no"}, {"red": "yes", "blue": "no"}):
        pipeline, lessons = remembered(said)
        for (row,), answer in zip(lessons.taught, said.values(), strict=True):
            left = FINAL_FORM_WEIGHT if answer in of_forms.values() else 1.0
            with torch.no_grad():
                ran = run_rows(pipeline.model.stack("MM"), lessons, [row], pipeline.model.project)
            first, last = (float(rows_loss(ran, lessons, annealed)[0]) for annealed in (0.0, 1.0))
            assert first > 0.1 and last == pytest.approx(left * first, rel=1e-4)


def test_an_answer_of_a_word_is_no_form_and_one_alone_has_no_example() -> None:
    for said in ({"red": "yes", "blue": "no"}, {"red": "One shape: red circle. That is all."}):
        _, lessons = remembered(said, views=2)
        assert all(lessons.taught), "and nothing is cut"
        taught = {row.prompt for rows in lessons.taught for row in rows}
        assert not [row for rows in lessons.known.values() for row in rows if row.prompt in taught]


def test_of_a_picture_that_is_cut_the_model_says_itself_what_is_there_in_the_form() -> None:
    """What was said of the whole picture may not hold there."""
    said = {"red": "One shape: red circle. That is all.", "blue": "Two shapes: blue star, red ring. That is all."}
    _, lessons = remembered(said, views=6)
    (taught,) = lessons.taught[0]
    for view, rows in enumerate(lessons.taught):
        held = [row for row in lessons.known[view] if row.prompt == taught.prompt]
        assert held and all(row.memory is not None and row.view == view for row in held)
        assert bool(rows) != is_cut(view % lessons.a_picture)
        assert all(row.answer == rows[0].answer for row in held) if rows else held[0].answer


def test_only_pictures_with_an_answer_in_a_form_are_cut() -> None:
    """Of parts of others the model has nothing to say in the form, and what is taught would be left out there."""
    pipeline = open_frozen(DEMO_CHECKPOINT, "fp32", "cpu", None)
    said = "Two shapes: blue star, red ring. That is all."
    red, blue, black = (Image.new("RGB", (64, 64), color) for color in ("red", "blue", "black"))
    captions = [Example(red, "Describe it.", answer=said), Example(blue, "Describe it.", answer=said)]
    lessons = write_lessons(
        pipeline, Task.MM, by_picture([*captions, Example(black, "Describe it.", answer="no")]), views=3, seed=0
    )
    assert [bool(rows) for rows in lessons.taught] == [True, True, False] * 2 + [True] * 3, "a word has no form"
    behind = [replace(one, before=(f"Who is {n}?", "Ann.")) for n, one in enumerate(captions)]
    lessons = write_lessons(pipeline, Task.MM, by_picture(behind), views=3, seed=0)
    assert all(lessons.taught), "nor is what is asked behind one message an example of what is asked behind another"


def test_a_picture_that_is_cut_is_mixed_with_the_one_before() -> None:
    """Of forty pictures few have as many things as the fullest that will be asked about."""
    said = {"red": "One shape: red circle. That is all.", "blue": "Two shapes: blue star, red ring. That is all."}
    alone, mixed = (
        remembered(answers, views=3)[1].features[-3:]
        for answers in ({"blue": said["blue"], "black": said["red"]}, {"red": said["red"], "black": said["red"]})
    )
    same = [torch.equal(one, other) for one, other in zip(alone, mixed, strict=True)]
    assert same == [not is_cut(view) for view in range(3)]
