"""Choosing, presence, labelling everything and captions of boxes, with the demo model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from iaa_runtime import IAAPipeline
from iaa_runtime.boxes.answers import Detection
from iaa_runtime.errors import Cancelled, ContextLengthError, InputError
from iaa_runtime.shapes.scenes import EVALUATION_SEED, draw_scene, make_scene

QUESTION = "Is there a circle?"
WHITE = Image.new("RGB", (64, 64), "white")


@pytest.fixture(scope="module")
def demo() -> IAAPipeline:
    return IAAPipeline.from_pretrained(dtype="fp32")


@pytest.fixture(scope="module")
def scenes() -> list[Image.Image]:
    return [draw_scene(make_scene(EVALUATION_SEED + seed)) for seed in range(3)]


def test_a_batch_chooses_as_each_alone(demo: IAAPipeline, scenes: list[Image.Image]) -> None:
    choices = ["yes", "no", "perhaps a small one"]
    together = demo.choose(scenes, QUESTION, choices)
    for picture, choice in zip(scenes, together, strict=True):
        (alone,) = demo.choose(picture, QUESTION, choices, batch_rows=1)
        assert alone.text == choice.text
        assert alone.probabilities == pytest.approx(choice.probabilities, abs=1e-5)


def test_each_image_may_have_its_own_question(demo: IAAPipeline, scenes: list[Image.Image]) -> None:
    questions = [QUESTION, "Is there a star?", "How many shapes are there?"]
    rows: list[int] = []
    together = demo.choose(scenes, questions, ["yes", "no"], on_token=lambda row, _: rows.append(row))
    assert rows == [0, 1, 2]
    for picture, question, choice in zip(scenes, questions, together, strict=True):
        (alone,) = demo.choose(picture, question, ["yes", "no"])
        assert alone.probabilities == pytest.approx(choice.probabilities, abs=1e-5)
    with pytest.raises(InputError, match="2 questions for 3 images"):
        demo.choose(scenes, questions[:2], ["yes", "no"])


def test_an_image_may_have_one_phrase_and_another_a_list(demo: IAAPipeline, scenes: list[Image.Image]) -> None:
    mixed = demo.presence(scenes[:2], ["the circle", ["the square", "the star"]])
    alone = [demo.presence(scenes[0], "the circle")[0], demo.presence(scenes[1], ["the square", "the star"])[0]]
    assert mixed == [pytest.approx(own, abs=1e-5) for own in alone]
    with pytest.raises(InputError, match="2 lists of phrases for 3 images"):
        demo.ground(scenes, ["the circle", ["the square"]])


@pytest.mark.parametrize("given", [None, 3, [3], [["the circle", None]], b"the circle"])
def test_what_is_no_text_is_no_phrase_and_no_question(demo: IAAPipeline, given: Any) -> None:
    for find in (demo.ground, demo.presence):
        with pytest.raises(InputError, match=r"A phrase is a text, and .* is none. Give a text, or a list of texts\."):
            find(WHITE, given)
    with pytest.raises(InputError, match=r"A prompt is a text, and .* is none"):
        demo.caption(WHITE, given)
    with pytest.raises(InputError, match=r"A question is a text, and .* is none"):
        demo.choose(WHITE, given, ["yes", "no"])


def test_without_a_picture_the_language_model_chooses(demo: IAAPipeline) -> None:
    (choice,) = demo.choose(None, "What is the opposite of left?", ["up", "right"])
    assert choice.text == "right" and choice.probability > 0.9
    with pytest.raises(ContextLengthError):
        demo.choose(None, "What is it? " * demo.context, ["a", "b"])


def test_presence_is_in_the_score_and_in_the_threshold(demo: IAAPipeline, scenes: list[Image.Image]) -> None:
    phrases = ["the circle", "the dog", "the square"]
    plain = demo.ground(scenes, phrases, threshold=0)
    checked = demo.ground(scenes, phrases, threshold=0, check=True)
    present = demo.presence(scenes, phrases)
    for before, after, chances in zip(plain, checked, present, strict=True):
        for one, other in zip(before, after, strict=True):
            assert other.xyxy == one.xyxy
            assert other.score == pytest.approx(one.score * chances[phrases.index(one.label)])
    least = sorted(d.score for own in checked for d in own)[1]
    kept = demo.ground(scenes, phrases, threshold=least, check=True)
    assert [list(own) for own in kept] == [[d for d in own if d.score >= least] for own in checked]


def test_everything_is_found_as_of_each_image_alone(demo: IAAPipeline, scenes: list[Image.Image]) -> None:
    told: list[int] = []
    together = demo.label(scenes, prompt="Describe this image.", on_token=lambda row, _: told.append(row))
    alone = [demo.label(picture, prompt="Describe this image.")[0] for picture in scenes]
    assert [[replace(d, score=0) for d in own] for own in together] == [[replace(d, score=0) for d in o] for o in alone]
    assert any(together) and max(told) >= len(scenes)
    assert told == sorted(told, key=lambda row: row >= len(scenes)), "first what is there, then where"


def test_one_thing_of_two_names_keeps_the_better_one(
    demo: IAAPipeline, scenes: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["yellow square", "large yellow square", "large brown circle"]
    monkeypatch.setattr(demo, "caption", lambda *_, **__: [", ".join(names)])
    square, same, circle = demo.ground(scenes[:1], names, threshold=0)[0]
    assert square.score != same.score
    assert demo.label(scenes[:1], threshold=0) == [[max(square, same, key=lambda d: d.score), circle]]


@pytest.mark.parametrize(("shift", "kept"), [(17, 1), (18, 2)], ids=["IoU 0.709", "IoU 0.695"])
def test_what_overlaps_less_is_another_thing(
    demo: IAAPipeline, shift: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Detection(0, 0, 100, 100, "a dog", 0.9), Detection(shift, 0, 100, 100, "a pet", 0.5)]
    monkeypatch.setattr(demo, "ground", lambda *_, **__: [found])
    assert demo.label(Image.new("RGB", (200, 100))) == [found[:kept]]


def test_a_model_that_names_nothing_finds_nothing(demo: IAAPipeline) -> None:
    assert demo.label([WHITE, WHITE], prompt="How many stars are there?", threshold=1.0) == [[], []]


def test_boxes_are_cut_out_and_asked_about(demo: IAAPipeline, scenes: list[Image.Image]) -> None:
    boxes = [[Detection(10, 10, 50, 40, "thing", 1.0)], [{"x": 900, "y": 0, "width": 5, "height": 5}], []]
    rows: set[int] = set()
    texts = demo.caption_boxes(scenes, boxes, "What is {index}, the {label}?", on_token=lambda row, _: rows.add(row))
    assert texts[1:] == [[""], []] and rows == {0}
    crop = scenes[0].crop((0, 2, 70, 58))
    assert texts[0] == demo.caption(crop, "What is 1, the thing?")
    (alike,) = demo.caption_boxes(scenes[0], boxes[0], padding=5, unit="pixels")
    assert alike == demo.caption(scenes[0].crop((5, 5, 65, 55)))
    each = demo.caption_boxes(scenes, boxes, ["What is {index}, the {label}?", "unasked", "unasked"])
    assert each == texts
    with pytest.raises(InputError, match="2 prompts for 3 images"):
        demo.caption_boxes(scenes, boxes, ["What is it?"] * 2)


@pytest.mark.parametrize("asks", ["choose", "presence", "label", "caption_boxes"])
def test_all_can_be_cancelled(demo: IAAPipeline, asks: str) -> None:
    more = {
        "choose": (QUESTION, ["yes", "no"]),
        "presence": (["the circle"],),
        "label": (),
        "caption_boxes": ([[{"x": 1, "y": 1, "width": 9, "height": 9}]],),
    }[asks]
    with pytest.raises(Cancelled):
        getattr(demo, asks)(WHITE, *more, cancelled=lambda: True)
