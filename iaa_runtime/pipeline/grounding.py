"""Task G in words and pictures: what is where, and whether it is there at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..boxes.answers import Detection
from ..boxes.grounding import GroundingAnswer, parse_answer
from ..config import BATCH_ROWS, GenerationConfig, GenerationOptions, Task
from ..errors import Cancel
from ..images.load import AnyImage, to_picture
from ..images.picture import Picture
from ..text.prompts import distinct_phrases, grounding_question, presence_question
from .answerer import Answerer
from .asking import Listener, Question, Request, TextAnswer
from .choices import YES_AND_NO, yes_of
from .given import Images, Phrases, as_list, as_pictures, phrases_of_each
from .options import GroundOptions, OnToken
from .shown import Detections, DetectionsOfEach

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Grounder(Answerer):
    """What finds phrases, over :meth:`answer` and :meth:`rate` of a subclass."""

    def ground(
        self,
        images: Images,
        phrases: Phrases,
        *,
        threshold: float | None = None,
        check: bool = False,
        **options: Unpack[GroundOptions],
    ) -> list[list[Detection]]:
        """Finds phrases in images (task G).

        Args:
            images: one or several.
            phrases: what to look for, each once: every phrase in every image, or a list of them an image.
            threshold: drops boxes with a lower score; None is the model's own, :attr:`score_threshold`.
            check: ask MM, too, whether each phrase with boxes is there (:meth:`presence`). Its probability times what G
                gave is then the score. Loads MM beside G; they share the base and what the tower sees.
            **options: those of :meth:`ground_answers`.

        Returns:
            For each image its detections, phrase by phrase, in pixels of that image, labelled with their phrase. A
            notebook shows them on the pictures.
        """
        least = self.score_threshold if threshold is None else threshold
        each = as_list(images)
        pictures = [to_picture(image) for image in each]  # once, though two tasks may look at them
        wanted = [distinct_phrases(own) for own in phrases_of_each(phrases, len(each))]
        answers = self.ground_answers(pictures, wanted, **options)
        found = [[d for answer in own for d in answer.detections if d.score >= least] for own in answers]
        if check:
            found = self._with_presence(
                pictures, found, options.get("cancelled"), options.get("batch_rows", BATCH_ROWS)
            )
            found = [[d for d in own if d.score >= least] for own in found]
        return DetectionsOfEach(Detections(own, image) for own, image in zip(found, each, strict=True))

    def presence(
        self,
        images: Images,
        phrases: Phrases,
        *,
        on_token: OnToken = None,
        cancelled: Cancel = None,
        batch_rows: int = BATCH_ROWS,
    ) -> list[list[float]]:
        """How likely images show what phrases mean, by MM's "yes" and "no" to :func:`presence_question`.

        Args:
            images: one or several.
            phrases: every phrase in every image, or a list of them an image.
            on_token: called once a phrase, with (row, 0).
            cancelled: True raises :class:`iaa_runtime.errors.Cancelled`.
            batch_rows: rows computed at once.

        Returns:
            For each image a probability a phrase.

        Raises:
            InputError: no phrase, an empty one, or lists of them but not one an image.
        """
        pictures = as_pictures(images)
        wanted = phrases_of_each(phrases, len(pictures))
        questions = _about_phrases(pictures, wanted, presence_question)
        rated = iter(self.rate(questions, YES_AND_NO, choosing(Task.MM, on_token, cancelled, batch_rows)))
        return [[yes_of(YES_AND_NO, next(rated)) for _ in own] for own in wanted]

    def _with_presence(
        self, images: Sequence[AnyImage], found: list[list[Detection]], cancelled: Cancel, batch_rows: int
    ) -> list[list[Detection]]:
        """Detections with their scores times the probability that the image shows their phrase at all."""
        phrases = [list(dict.fromkeys(d.label for d in own)) for own in found]
        present = self.presence(images, phrases, cancelled=cancelled, batch_rows=batch_rows)
        chances = [dict(zip(own, rated, strict=True)) for own, rated in zip(phrases, present, strict=True)]
        return [
            [replace(d, score=d.score * chance[d.label]) for d in own]
            for own, chance in zip(found, chances, strict=True)
        ]

    def ground_answers(
        self,
        images: Images,
        phrases: Phrases,
        *,
        grammar: bool = True,
        several: bool = True,
        on_token: OnToken = None,
        cancelled: Cancel = None,
        batch_rows: int = BATCH_ROWS,
        **options: Unpack[GenerationOptions],
    ) -> list[list[GroundingAnswer]]:
        """Like :meth:`ground`, with each phrase's raw answer.

        Args:
            images: one or several.
            phrases: what to look for, in every image, or a list of phrases an image. Phrases on one image share its
                vision pass and the prefix of the prompt.
            grammar: hold every answer to ``[x1,y1,x2,y2]; …``; without it the model says what it likes, and what is
                no box gives no box.
            several: allow several boxes a phrase (with the grammar).
            on_token: called with (row, token id), rows counted image by image and phrase by phrase.
            cancelled: True raises :class:`iaa_runtime.errors.Cancelled` within a token.
            batch_rows: answers written at once.
            **options: fields of :class:`GenerationConfig`.

        Returns:
            For each image an answer a phrase.

        Raises:
            InputError: no phrase, an empty one, or lists of them but not one an image.
        """
        pictures = as_pictures(images)
        wanted = phrases_of_each(phrases, len(pictures))
        questions = _about_phrases(pictures, wanted, grounding_question)
        config = GenerationConfig.for_task(Task.G, **options)
        request = Request(Task.G, config, Listener(None, on_token, cancelled), grammar, several, batch_rows)
        rows = iter(self.answer(questions, request))
        return [
            [grounding(phrase.strip(), next(rows), picture) for phrase in own]
            for picture, own in zip(pictures, wanted, strict=True)
        ]


def choosing(task: Task, on_token: OnToken, cancelled: Cancel, batch_rows: int) -> Request:
    """Who rates choices, and who hears of it."""
    return Request(task, GenerationConfig(), Listener(None, on_token, cancelled), batch_rows=batch_rows)


def grounding(phrase: str, answer: TextAnswer, picture: Picture) -> GroundingAnswer:
    """G's answer about a phrase as boxes in pixels of its picture."""
    return parse_answer(phrase, answer.tokens, answer.logprobs, picture.size)


def _about_phrases(
    pictures: Sequence[Picture], wanted: Sequence[Sequence[str]], ask: Callable[[str], str]
) -> list[Question]:
    """A question a phrase, image by image."""
    return [
        Question.about(picture, ask(phrase)) for picture, own in zip(pictures, wanted, strict=True) for phrase in own
    ]
