"""What is replayed while something new is taught."""

from __future__ import annotations

import random

from iaa_runtime.config import Task
from iaa_runtime.teaching.replay import other_questions
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
