"""What captions and boxes are asked with."""

from __future__ import annotations

import pytest

from iaa_runtime.errors import InputError
from iaa_runtime.text.prompts import CAPTION_PROMPTS, asked_phrase, grounding_question

ASKED = "Please provide the bounding box coordinate of the region this sentence describes: "


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("dude with black shirt says circa", "dude with black shirt says circa."),
        ("dude with black shirt says circa.", "dude with black shirt says circa."),
        ("  the panda ... ", "the panda."),
        ("red car!?", "red car."),
        ("红色的车。", "红色的车."),
        ("man,\n left", "man, left."),
        ("the {sign}", "the {sign}."),
        ("a (small) one)", "a (small) one)."),
    ],
)
def test_grounding_question(phrase: str, expected: str) -> None:
    assert grounding_question(phrase) == ASKED + expected
    assert grounding_question(phrase, full_stop=False) == ASKED + expected[:-1]


@pytest.mark.parametrize("phrase", ["the panda on the left", "a (small) one", "红色的车"])
def test_what_a_message_asks_for(phrase: str) -> None:
    for full_stop in (True, False):
        assert asked_phrase(f" {grounding_question(phrase, full_stop=full_stop)}\n") == phrase
    assert asked_phrase("Where  is it?") == "Where is it?"


@pytest.mark.parametrize("phrase", ["", "  \n", "...", " ?! "])
def test_an_empty_phrase_cannot_be_grounded(phrase: str) -> None:
    with pytest.raises(InputError, match="what to look for"):
        grounding_question(phrase)


def test_caption_prompts_cover_the_usual_wishes() -> None:
    assert set(CAPTION_PROMPTS) == {"caption", "detailed", "tags", "ocr", "objects"}
    assert CAPTION_PROMPTS["caption"] == "Describe this image."
