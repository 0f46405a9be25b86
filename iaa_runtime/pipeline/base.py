"""The three workflows in words and pictures, written once over whoever answers: a model here, or servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..boxes.answers import Detection
from ..boxes.bounding_box import boxes_per_image, label_of, shown
from ..boxes.crops import CropOptions, crop_rectangle
from ..boxes.geometry import Unit
from ..boxes.grounding import GroundingAnswer, parse_answer, without_repeats
from ..config import BATCH_ROWS as BATCH_ROWS
from ..config import GenerationConfig, GenerationOptions, Task
from ..errors import Cancel
from ..images.load import AnyImage, to_picture
from ..images.picture import Picture
from ..text.conversation import Conversation
from ..text.listing import listed_objects
from ..text.prompts import (
    CAPTION_PROMPTS,
    DEFAULT_SYSTEM,
    asked_phrase,
    distinct_phrases,
    filled,
    grounding_question,
    presence_question,
)
from .answerer import Answerer
from .asking import Listener as Listener
from .asking import Question as Question
from .asking import Request as Request
from .asking import TextAnswer as TextAnswer
from .chat import Chat, Reply
from .choices import YES_AND_NO, Choice, best_of, checked_choices, yes_of
from .given import Images, Phrases, as_list, one_each, phrases_of_each, plain_boxes
from .options import GroundOptions
from .options import OnText as OnText
from .options import OnToken as OnToken
from .shown import Detections, DetectionsOfEach

if TYPE_CHECKING:
    from typing_extensions import Unpack

OVERLAPPING = 0.7
"""What two phrases found with this IoU is one thing that was listed under two names."""


class Pipeline(Answerer):
    """Caption, ground, text, chat and what is made of them, over :meth:`answer` and :meth:`rate` of a subclass."""

    def caption(
        self,
        images: Images,
        prompt: str | Sequence[str] = CAPTION_PROMPTS["caption"],
        *,
        on_text: OnText = None,
        on_token: OnToken = None,
        cancelled: Cancel = None,
        batch_rows: int = BATCH_ROWS,
        **options: Unpack[GenerationOptions],
    ) -> list[str]:
        """Answers ``prompt`` about each image (task MM).

        Args:
            images: one, or several in a list: paths, PIL images, HWC arrays or tensors; a BHWC array is B of them.
            prompt: the question, about every image; or one an image.
            on_text: called with (image number, new text).
            on_token: called with (image number, token id).
            cancelled: True raises :class:`iaa_runtime.errors.Cancelled` within a token.
            batch_rows: images answered at once.
            **options: fields of :class:`GenerationConfig`.

        Returns:
            One answer an image.

        Raises:
            InputError: there are several prompts, but not one an image; or what is given is no picture.
        """
        config = GenerationConfig.for_task(Task.MM, **options)
        each = as_list(images)
        prompts = [prompt] * len(each) if isinstance(prompt, str) else one_each(prompt, len(each), "prompts")
        questions = (Question.about(to_picture(image), text) for image, text in zip(each, prompts, strict=True))
        request = Request(Task.MM, config, Listener(on_text, on_token, cancelled), batch_rows=batch_rows)
        return [answer.text for answer in self.answer(questions, request)]

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
        pictures = [to_picture(image) for image in as_list(images)]
        wanted = phrases_of_each(phrases, len(pictures))
        questions = _about_phrases(pictures, wanted, presence_question)
        rated = iter(self.rate(questions, YES_AND_NO, _choosing(Task.MM, on_token, cancelled, batch_rows)))
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
        pictures = [to_picture(image) for image in as_list(images)]
        wanted = phrases_of_each(phrases, len(pictures))
        questions = _about_phrases(pictures, wanted, grounding_question)
        config = GenerationConfig.for_task(Task.G, **options)
        request = Request(Task.G, config, Listener(None, on_token, cancelled), grammar, several, batch_rows)
        rows = iter(self.answer(questions, request))
        return [
            [_grounding(phrase.strip(), next(rows), picture) for phrase in own]
            for picture, own in zip(pictures, wanted, strict=True)
        ]

    def choose(
        self,
        images: Images | None,
        question: str | Sequence[str],
        choices: Sequence[str],
        *,
        on_token: OnToken = None,
        cancelled: Cancel = None,
        batch_rows: int = BATCH_ROWS,
    ) -> list[Choice]:
        """Answers a question about each image by one of some choices (task MM; without images task Text).

        Args:
            images: one or several; None asks the language model alone.
            question: about every image; or one an image.
            choices: 2 to ``MOST_CHOICES`` answers, spelled as the model would: it rates ``yes`` and ``Yes`` otherwise.
            on_token: called once a question, with (row, 0).
            cancelled: True raises :class:`iaa_runtime.errors.Cancelled`.
            batch_rows: rows computed at once.

        Returns:
            One :class:`Choice` an image (or one), with the probability of each.

        Raises:
            InputError: there are no choices to choose among, or several questions, but not one an image.
        """
        wanted = checked_choices(choices)
        each: list[AnyImage | None] = [None] if images is None else [*as_list(images)]
        asked = [question] * len(each) if isinstance(question, str) else one_each(question, len(each), "questions")
        task = Task.TEXT if images is None else Task.MM
        questions = (
            Question.about(None if image is None else to_picture(image), text)
            for image, text in zip(each, asked, strict=True)
        )
        rated = self.rate(questions, wanted, _choosing(task, on_token, cancelled, batch_rows))
        return [best_of(wanted, rates) for rates in rated]

    def label(
        self,
        images: Images,
        *,
        prompt: str | Sequence[str] = CAPTION_PROMPTS["objects"],
        threshold: float | None = None,
        check: bool = False,
        on_token: OnToken = None,
        cancelled: Cancel = None,
        batch_rows: int = BATCH_ROWS,
    ) -> list[list[Detection]]:
        """Finds everything: MM lists what is in each image, and G finds each of it.

        Args:
            images: one or several.
            prompt: asks for the list, one for all or for each; see :func:`iaa_runtime.text.listing.listed_objects`.
            threshold: as for :meth:`ground`.
            check: as for :meth:`ground`.
            on_token: called with (row, token id): first a row an image, then a row an object, counted on from there.
            cancelled: True raises :class:`iaa_runtime.errors.Cancelled` within a token.
            batch_rows: answers written at once.

        Returns:
            For each image its detections, in pixels of that image, labelled with their names; of what two names found
            in the same place, the better one.

        Raises:
            InputError: there are several prompts, but not one an image; or what is given is no picture.
        """
        pictures = [to_picture(image) for image in as_list(images)]
        told = self.caption(pictures, prompt, on_token=on_token, cancelled=cancelled, batch_rows=batch_rows)
        heard = None if on_token is None else lambda row, token: on_token(len(pictures) + row, token)
        phrases = [listed_objects(text) for text in told]
        found = self.ground(
            pictures,
            phrases,
            threshold=threshold,
            check=check,
            on_token=heard,
            cancelled=cancelled,
            batch_rows=batch_rows,
        )
        return DetectionsOfEach(
            Detections(without_repeats(own, OVERLAPPING), picture) for own, picture in zip(found, pictures, strict=True)
        )

    def caption_boxes(
        self,
        images: Images,
        boxes: object,
        prompt: str = CAPTION_PROMPTS["caption"],
        *,
        padding: float = 20,
        unit: Unit = "percent",
        on_text: OnText = None,
        on_token: OnToken = None,
        cancelled: Cancel = None,
        batch_rows: int = BATCH_ROWS,
        **options: Unpack[GenerationOptions],
    ) -> list[list[str]]:
        """Answers ``prompt`` about what each box shows, cut out of its image (task MM).

        Args:
            images: one or several.
            boxes: a list of boxes (``x, y, width, height``; or detections) an image, or one list for all.
            prompt: ``{label}`` stands for the box's label, ``{index}`` for its number in the image, from 1.
            padding: how much of the surroundings is cut out with it, on each side.
            unit: of ``padding``: ``"percent"`` of the box's width and height, or ``"pixels"``.
            on_text: called with (row, new text), rows counted image by image and box by box.
            on_token: called with (row, token id).
            cancelled: True raises :class:`iaa_runtime.errors.Cancelled` within a token.
            batch_rows: boxes captioned at once.
            **options: fields of :class:`GenerationConfig`.

        Returns:
            For each image a text a box; an empty one for a box of which the image shows nothing.

        Raises:
            InputError: what is given are no boxes, or there are neither one list of them nor one an image.
        """
        pictures = [to_picture(image) for image in as_list(images)]
        listed = boxes_per_image(plain_boxes(boxes), len(pictures))
        crops = CropOptions(padding=padding, unit=unit)
        seen = [
            (picture, box, number)
            for picture, own in zip(pictures, listed, strict=True)
            for number, box in enumerate(own, 1)
            if shown([box], picture.size)
        ]
        questions = (
            Question.about(
                picture.crop(crop_rectangle(box, picture.size, crops)),
                filled(prompt, {"label": label_of(box), "index": number}),
            )
            for picture, box, number in seen
        )
        config = GenerationConfig.for_task(Task.MM, **options)
        request = Request(Task.MM, config, Listener(on_text, on_token, cancelled), batch_rows=batch_rows)
        texts = iter(self.answer(questions, request))
        return [
            [next(texts).text if shown([box], picture.size) else "" for box in own]
            for picture, own in zip(pictures, listed, strict=True)
        ]

    def text(
        self,
        prompt: str,
        *,
        on_text: OnText = None,
        on_token: OnToken = None,
        cancelled: Cancel = None,
        **options: Unpack[GenerationOptions],
    ) -> str:
        """Answers a prompt without an image (task Text): the frozen language model alone."""
        talk = Conversation().user(prompt)
        reply = self.reply(talk, Task.TEXT, None, on_text=on_text, on_token=on_token, cancelled=cancelled, **options)
        return reply.text

    def chat(self, image: AnyImage | None = None, system: str | None = DEFAULT_SYSTEM) -> Chat:
        """Starts a conversation, about an image or without one, in which each turn chooses its task."""
        return Chat(self, image, system)

    def reply(
        self,
        conversation: Conversation,
        task: Task | str,
        image: AnyImage | None = None,
        *,
        on_text: OnText = None,
        on_token: OnToken = None,
        cancelled: Cancel = None,
        **options: Unpack[GenerationOptions],
    ) -> Reply:
        """Continues a conversation by one answer, which is not added to it.

        Args:
            conversation: ends with the user's message, which goes to the model as it is.
            task: who answers: MM, G or Text.
            image: what the conversation is about; Text turns do not see it.
            on_text: called with (0, new text).
            on_token: called with (0, token id).
            cancelled: True raises :class:`iaa_runtime.errors.Cancelled` within a token.
            **options: fields of :class:`GenerationConfig`.

        Raises:
            ContextLengthError: the conversation does not fit into the context.
        """
        task = Task.parse(task)
        config = GenerationConfig.for_task(task, **options)
        picture = to_picture(image) if image is not None and task.sees else None
        request = Request(task, config, Listener(on_text, on_token, cancelled))
        (answer,) = self.answer([Question(conversation, picture)], request)
        if task is not Task.G or picture is None:
            return Reply(answer.text, (), picture)
        phrase = asked_phrase(conversation.messages[-1].content)
        return Reply(answer.text, _grounding(phrase, answer, picture).detections, picture)


def _about_phrases(
    pictures: Sequence[Picture], wanted: Sequence[Sequence[str]], ask: Callable[[str], str]
) -> list[Question]:
    """A question a phrase, image by image."""
    return [
        Question.about(picture, ask(phrase)) for picture, own in zip(pictures, wanted, strict=True) for phrase in own
    ]


def _choosing(task: Task, on_token: OnToken, cancelled: Cancel, batch_rows: int) -> Request:
    return Request(task, GenerationConfig(), Listener(None, on_token, cancelled), batch_rows=batch_rows)


def _grounding(phrase: str, answer: TextAnswer, picture: Picture) -> GroundingAnswer:
    return parse_answer(phrase, answer.tokens, answer.logprobs, picture.size)
