"""What captions are asked with: every kind, length and extra has its words in both languages, and no others."""

from __future__ import annotations

import re
from itertools import product

import pytest

from iaa_runtime.errors import InputError
from iaa_runtime.text.prompts import CAPTION_PROMPTS
from iaa_runtime.text.styles import (
    ANY,
    CHINESE,
    ENGLISH,
    EXTRAS,
    KINDS,
    LANGUAGES,
    LENGTHS,
    LISTS,
    OPENINGS,
    caption_prompt,
    styled,
)


@pytest.mark.parametrize("kind", CAPTION_PROMPTS)
def test_a_kind_alone_is_the_ready_question(kind: str) -> None:
    """Which the demo model was trained with, and workflows were saved with."""
    assert caption_prompt(kind) == CAPTION_PROMPTS[kind]


def test_kinds_are_different_questions_in_both_languages() -> None:
    asked = {caption_prompt(kind, language=language) for kind in KINDS for language in LANGUAGES}
    assert len(asked) == 2 * len(KINDS) and {"training", "alt", "image prompt"} <= set(KINDS)


def test_every_word_is_in_the_language_that_is_asked_for() -> None:
    for kind, length, language in product(KINDS, LENGTHS, LANGUAGES):
        if length != ANY and kind in LISTS:
            continue
        words = caption_prompt(kind, length, EXTRAS, language=language)
        assert bool(re.search("[\u4e00-\u9fff]", words)) == (language == CHINESE), words
        assert bool(re.search("[A-Za-z]", words)) == (language == ENGLISH), words
        assert "\n" not in words and "  " not in words


def test_length_extras_and_forbidden_words_follow_in_a_fixed_order() -> None:
    assert caption_prompt("caption", "short", ["no mood", "lighting"], ["a  photo of", "stunning"]) == (
        "Describe this image. Write one sentence. Mention the lighting. Do not mention mood or feelings. "
        'Do not write any of these: "a photo of", "stunning".'
    )
    assert caption_prompt("caption", "short", ["lighting"], ["精美"], CHINESE) == (
        "请用中文描述这张图片。只写一句话。写出光线。不要使用这些说法：“精美”。"
    )


def test_one_word_or_extra_alone_is_not_taken_letter_by_letter() -> None:
    assert caption_prompt(extras="lighting", forbid="photo") == caption_prompt(extras=["lighting"], forbid=["photo"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_opening_forbids_the_usual_ones(language: str) -> None:
    quoted = "“{}”" if language == CHINESE else '"{}"'
    words, without = (caption_prompt(extras=extras, language=language) for extras in (["no opening"], []))
    assert all(quoted.format(opening) in words for opening in OPENINGS[language])
    assert not any(quoted.format(opening) in without for opening in OPENINGS[language])


def test_a_name_is_asked_for_by_the_name() -> None:
    assert caption_prompt("caption", "short", ["lighting"], call=" ohwx\n woman ") == (
        'Describe this image. Write one sentence. Call the person or character in it "ohwx woman". '
        "Mention the lighting."
    )
    assert "“小明”" in styled("是谁？", language=CHINESE, call="小明")


def test_any_question_can_be_styled() -> None:
    assert styled("Who is it?") == "Who is it?"
    assert styled("Who is it?", "very short") == "Who is it? Write a few words only."


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"kind": "poem"}, "There is no kind of caption 'poem'. Choose one of: caption, detailed"),
        ({"length": "endless"}, "There is no length 'endless'. Choose one of: any, very short"),
        ({"extras": ["smell"]}, "There is no extra 'smell'. Choose one of: lighting, camera"),
        ({"language": "Latin"}, "There is no language 'Latin'. Choose one of: English, Chinese"),
        ({"extras": [3, "lighting"]}, "An extra is a text, and 3 is none. Give a text, or a list of texts."),
        ({"forbid": None}, "What is forbidden is a text, and None is none. Give a text, or a list of texts."),
        ({"kind": "tags", "length": "long"}, "'tags' is a list, which is as long as there is something to list"),
    ],
)
def test_what_is_not_there_is_refused(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        caption_prompt(**arguments)  # type: ignore[arg-type]
