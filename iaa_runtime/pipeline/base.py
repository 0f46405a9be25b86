"""The three workflows in words and pictures, written once over whoever answers: a model here, or servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..boxes.answers import Detection
from ..boxes.bounding_box import boxes_per_image, label_of, shown
from ..boxes.crops import CropOptions, crop_rectangle
from ..boxes.geometry import Unit
from ..boxes.grounding import without_repeats
from ..config import BATCH_ROWS as BATCH_ROWS
from ..config import GenerationConfig, GenerationOptions, Task
from ..errors import Cancel
from ..images.load import AnyImage, to_picture
from ..text.conversation import Conversation
from ..text.listing import listed_objects
from ..text.prompts import CAPTION_PROMPTS, DEFAULT_SYSTEM, asked_phrase, filled
from .asking import Listener as Listener
from .asking import Question as Question
from .asking import Request as Request
from .asking import TextAnswer as TextAnswer
from .chat import Chat, Reply
from .choices import Choice, best_of, checked_choices
from .given import Images, as_list, as_pictures, plain_boxes, text_of_each
from .grounding import Grounder, choosing, grounding
from .options import OnText as OnText
from .options import OnToken as OnToken
from .shown import Detections, DetectionsOfEach

if TYPE_CHECKING:
    from typing_extensions import Unpack

OVERLAPPING = 0.7
"""What two phrases found with this IoU is one thing that was listed under two names."""


class Pipeline(Grounder):
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
        prompts = text_of_each(prompt, len(each), "prompt")
        questions = (Question.about(to_picture(image), text) for image, text in zip(each, prompts, strict=True))
        request = Request(Task.MM, config, Listener(on_text, on_token, cancelled), batch_rows=batch_rows)
        return [answer.text for answer in self.answer(questions, request)]

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
        asked = text_of_each(question, len(each), "question")
        task = Task.TEXT if images is None else Task.MM
        questions = (
            Question.about(None if image is None else to_picture(image), text)
            for image, text in zip(each, asked, strict=True)
        )
        rated = self.rate(questions, wanted, choosing(task, on_token, cancelled, batch_rows))
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
        pictures = as_pictures(images)
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
        prompt: str | Sequence[str] = CAPTION_PROMPTS["caption"],
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
            prompt: for all, or one an image; ``{label}`` stands for the box's label, ``{index}`` for its number in the
                image, from 1.
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
            InputError: what is given are no boxes, or there are neither one list of them nor one an image; or several
                prompts, but not one an image.
        """
        pictures = as_pictures(images)
        listed = boxes_per_image(plain_boxes(boxes), len(pictures))
        prompts = text_of_each(prompt, len(pictures), "prompt")
        crops = CropOptions(padding=padding, unit=unit)
        seen = [
            (picture, box, filled(asked, {"label": label_of(box), "index": number}))
            for picture, own, asked in zip(pictures, listed, prompts, strict=True)
            for number, box in enumerate(own, 1)
            if shown([box], picture.size)
        ]
        questions = (
            Question.about(picture.crop(crop_rectangle(box, picture.size, crops)), asked)
            for picture, box, asked in seen
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
        return Reply(answer.text, grounding(phrase, answer, picture).detections, picture)
