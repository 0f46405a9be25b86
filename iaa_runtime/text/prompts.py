"""What the model is asked: the system prompt, and the questions that captions and boxes come from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath

from ..errors import InputError

DEFAULT_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
GROUNDING_QUESTION = "Please provide the bounding box coordinate of the region this sentence describes: {phrase}."
PRESENCE_QUESTION = "Does this image show {phrase}? Please answer yes or no."
CAPTION_PROMPTS = {
    "caption": "Describe this image.",
    "detailed": "Describe this image in detail: the subjects, what they do, the surroundings, colours and mood.",
    "objects": "List every object in this image once, separated by commas.",
    "tags": "List the objects, people, places and styles in this image as short tags separated by commas.",
    "ocr": "Write down all the text that can be read in this image, word for word.",
}
"""Ready questions for captions, by purpose."""

_TRAILING_PUNCTUATION = ".,;:!?…。，；：！？、"


def grounding_question(phrase: str, *, full_stop: bool = True) -> str:
    """The question for the boxes of what a phrase describes.

    Args:
        phrase: A few words, such as "the panda on the left". Its own trailing punctuation is dropped.
        full_stop: End with one, as in the published quick start. The published RefCOCO evaluation asks without.

    Returns:
        The question for the G task.

    Raises:
        InputError: If nothing is left of the phrase.
    """
    question = GROUNDING_QUESTION.format(phrase=_words(phrase))
    return question if full_stop else question.removesuffix(".")


def form_question(example: str) -> str:
    """The question for a description of the picture in the form of another picture's."""
    return f"Describe the image in this form: {example}"


def presence_question(phrase: str) -> str:
    """The question whether what a phrase describes is in the picture, which MM answers with yes or no.

    Raises:
        InputError: If nothing is left of the phrase.
    """
    return PRESENCE_QUESTION.format(phrase=_words(phrase))


def _words(phrase: str) -> str:
    words = " ".join(phrase.split()).rstrip(_TRAILING_PUNCTUATION + " ")
    if not words:
        raise InputError(f"The phrase {phrase!r} describes nothing. Write what to look for, such as 'the red car'.")
    return words


def distinct_phrases(phrases: Iterable[str]) -> list[str]:
    """The phrases without those that ask what an earlier one asks, so that nothing is looked for twice.

    Raises:
        InputError: If one describes nothing.
    """
    asked: dict[str, str] = {}
    for phrase in phrases:
        asked.setdefault(grounding_question(phrase), phrase)
    return list(asked.values())


def asked_phrase(message: str) -> str:
    """What a message asks G for: the phrase of a :func:`grounding_question`, or the whole message if it is none."""
    stem = GROUNDING_QUESTION.partition("{phrase}")[0]
    words = " ".join(message.split())
    return words.removeprefix(stem).rstrip(_TRAILING_PUNCTUATION + " ") if words.startswith(stem) else words


def filled(prompt: str, values: Mapping[str, object]) -> str:
    """The prompt with ``{name}`` replaced by what ``values`` has under that name; other braces stay as they are."""
    return re.sub(r"\{(\w+)\}", lambda match: str(values.get(match[1], match[0])), prompt)


def picture_fields(path: str) -> dict[str, str]:
    """What prompts may say of a picture's file: its ``name`` without the ending, and the ``folder`` that it lies in."""
    file = PurePath(path)
    return {"name": file.stem, "folder": file.parent.name}
