"""Lessons: pictures as the frozen tower sees them, and what is asked about each, as token ids.

Every picture is looked at in several views, each once: what the tower makes of it is kept. Symbols: N patches of a
picture, W width of the tower, V views of all pictures together.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import torch
from PIL import Image
from torch import Tensor

from ..boxes.geometry import Box
from ..config import IMAGE_TOKEN_INDEX, Task
from ..errors import Cancel, ContextLengthError, check_cancelled
from ..images.preprocess import bounded, preprocess
from ..pipeline.local import IAAPipeline
from ..text.conversation import Conversation
from ..text.prompts import grounding_question
from ..text.tokenizer import encode
from .colors import colors_vary
from .examples import Example, Shown, box_answer
from .losses import Memory
from .views import View, can_mirror, cutmix, random_view, view_without, whole

SEEN_AT_ONCE = 16
"""Views that go through the tower together."""
SIDES_SEEN = 4
"""Views are drawn from a picture whose longer side is at most so many of the tower's. The smallest parts, two fifths of
it, still have more pixels than the tower sees."""
WITHOUT = 0.45
"""Share of the views of a picture that do without its things, so that their score is learned to stay low there."""
CUT = 3
"""Where MM learns a form of captions from a picture, one of so many views is cut, and mixed with the picture before if
there is one. What is taught of the whole picture may not hold there, but what the model says itself does
(:mod:`.by_example`)."""
LEAST = 8
"""Tokens of an answer that has a form; of shorter ones, such as yes or a name, another is no example."""
_ABSENT_BOX = (0.1, 0.4)
"""Sides of the box that stands for an absent thing, in fractions; no coordinate of it is preferred to another."""


@dataclass(frozen=True)
class Row:
    """A question about a view, with what is to be said.

    Attributes:
        view: number of the view.
        prompt: ids behind the image's mark, to the assistant's header.
        answer: ids, the end of the message included.
        absent: whether the view lacks what is asked for.
        memory: what the model said of this answer before it was taught; None where the answer itself is taught.
    """

    view: int
    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    absent: bool = False
    memory: Memory | None = None


@dataclass
class Lessons:
    """What is learned from.

    Attributes:
        task: G or MM.
        head: ids before the image's mark, which all prompts share.
        features: (V, N, W) of the tower, in 16 bits, on the CPU.
        taught: rows of what is new, by view.
        known: rows of what the model knows already, by view; views without any are not there.
        numbers: (1000,) ids of the tokens ``000`` to ``999``; None for MM.
        a_picture: how many views there are of each picture, one behind the other.
    """

    task: Task
    head: tuple[int, ...]
    features: Tensor
    taught: list[list[Row]]
    known: dict[int, list[Row]] = field(default_factory=dict)
    numbers: Tensor | None = None
    a_picture: int = 1

    @cached_property
    def values(self) -> dict[int, int]:
        """What the tokens of numbers are worth in thousandths, by their ids; none for MM."""
        return {} if self.numbers is None else {token: value for value, token in enumerate(self.numbers.tolist())}

    @cached_property
    def prompts_by_example(self) -> set[tuple[int, ...]]:
        """Taught prompts, as ids, to which the model's own answers by example are known (:mod:`.by_example`)."""
        taught, known = (
            {row.prompt for rows in of_views for row in rows} for of_views in (self.taught, self.known.values())
        )
        return taught & known

    def in_form(self, row: Row) -> bool:
        """Whether a row is a caption in a form: long, and to one of ``prompts_by_example``."""
        return len(row.answer) >= LEAST and row.prompt in self.prompts_by_example


def number_ids(pipeline: IAAPipeline) -> Tensor | None:
    """(1000,) ids of the tokens ``000`` to ``999``; None where the tokenizer does not write three digits as one."""
    ids = [encode(pipeline.tokenizer, f"0.{value:03d}")[-1:] for value in range(1000)]
    single = [encode(pipeline.tokenizer, f"0.{value:03d}") for value in (0, 7, 999)]
    flat = [one for (one,) in ids]
    if len({len(each) for each in single}) != 1 or len(set(flat)) != len(flat):
        return None
    return torch.tensor(flat)


class Writer:
    """Writes questions and answers as the ids of a pipeline's tokenizer."""

    def __init__(self, pipeline: IAAPipeline, task: Task) -> None:
        self._pipeline, self._task = pipeline, task
        ids = self._ids(self._conversation("anything", ()))
        self.head = ids[: ids.index(IMAGE_TOKEN_INDEX)]

    def row(self, view: int, example: Example, answer: str, absent: bool = False) -> Row:
        """A row of an example that is answered so.

        Raises:
            ContextLengthError: it does not fit into the context; begins with the example's row.
        """
        ids = self.prompt(example.asked, example.before)
        said = (*encode(self._pipeline.tokenizer, answer), self._pipeline.eos)
        length = len(self.head) + self._pipeline.model.num_image_tokens + len(ids) + len(said)
        if length > self._pipeline.context:
            raise ContextLengthError(
                f"{example.where}: question and answer have {length} tokens, and the model's context is "
                f"{self._pipeline.context}. Shorten them."
            )
        return Row(view, ids, said, absent)

    def prompt(self, asked: str, before: Sequence[str] = ()) -> tuple[int, ...]:
        """Ids behind the image's mark of a question, which for G is a phrase."""
        ids = self._ids(self._conversation(asked, before))
        return ids[ids.index(IMAGE_TOKEN_INDEX) + 1 :]

    def in_forms(self, pictures: Sequence[Shown]) -> list[bool]:
        """Of each picture, whether an answer has a form: it is long, as is one to its prompt about another picture."""
        at_length = [
            {
                self.prompt(example.asked, example.before)
                for example in shown.examples
                if len(encode(self._pipeline.tokenizer, example.answer)) + 1 >= LEAST
            }
            for shown in pictures
        ]
        times = Counter(chain.from_iterable(at_length))
        return [any(times[prompt] > 1 for prompt in prompts) for prompts in at_length]

    def _ids(self, conversation: Conversation) -> tuple[int, ...]:
        return tuple(conversation.encode(self._pipeline.tokenizer, self._task))

    def _conversation(self, asked: str, before: Sequence[str]) -> Conversation:
        talk = Conversation()
        for number, text in enumerate(before):
            talk = talk.assistant(text) if number % 2 else talk.user(text)
        return talk.user(grounding_question(asked) if self._task is Task.G else asked)


def check_lengths(pipeline: IAAPipeline, task: Task, examples: Sequence[Example], cancelled: Cancel = None) -> None:
    """Checks that each question fits into the context together with its answer in words; boxes are not looked at.

    Args:
        pipeline: whose tokenizer and context it is.
        task: G or MM.
        examples: what is taught.
        cancelled: True raises :class:`Cancelled`.

    Raises:
        ContextLengthError: one does not; begins with the example's row.
    """
    writer = Writer(pipeline, task)
    for example in examples:
        check_cancelled(cancelled)
        if example.answer:
            writer.row(0, example, example.answer)


def write_lessons(
    pipeline: IAAPipeline,
    task: Task,
    pictures: Sequence[Shown],
    views: int,
    seed: int,
    on_view: Callable[[int], object] = lambda done: None,
    cancelled: Cancel = None,
) -> Lessons:
    """Looks at pictures and writes down what is taught about each.

    Args:
        pipeline: whose tower and tokenizer are used.
        task: G or MM.
        pictures: with their examples, checked.
        views: of each picture; the first is the picture as it is, and the others are drawn from a smaller copy where
            it is large.
        seed: of the views.
        on_view: called with the number of views seen.
        cancelled: True raises :class:`Cancelled`.
    """
    writer = Writer(pipeline, task)
    numbers = number_ids(pipeline) if task is Task.G else None
    recolor = task is Task.G and colors_vary(pictures, cancelled)
    in_forms = writer.in_forms(pictures)
    features: list[Tensor] = []
    taught: list[list[Row]] = []
    before: Image.Image | None = None
    kept = torch.float16 if pipeline.model.dtype != torch.bfloat16 else torch.bfloat16
    for at, shown in enumerate(pictures):
        picture = shown.load()
        small = bounded(picture, SIDES_SEEN * pipeline.model.vision.image_size, cancelled)
        in_small = shown.resized(picture.size, small.size)
        formed = in_forms[at]
        cut = [formed and is_cut(of_picture) for of_picture in range(views)]
        others = choose_views(in_small, small.size, task, views - 1, f"{seed} {at}", recolor, formed)
        chosen = [(whole(picture.size), picture, shown), *((view, small, in_small) for view in others)]
        rng = random.Random(f"{seed} {at} absent")
        for of_picture, (view, _, own) in enumerate(chosen):
            number = len(taught)
            told = () if cut[of_picture] else own.examples
            rows = [_row(writer, number, example, view, rng) for example in told]
            # Without tokens for coordinates no answer stands for all of them alike.
            taught.append([row for row in rows if row is not None and not (row.absent and numbers is None)])
        for start in range(0, len(chosen), SEEN_AT_ONCE):
            part = chosen[start : start + SEEN_AT_ONCE]
            seen = (
                cutmix(view.show(source), before, random.Random(f"{seed} {at} {of_picture} mixed"))
                if cut[of_picture] and before is not None
                else view.show(source)
                for of_picture, (view, source, _) in enumerate(part, start)
            )
            pixels = torch.cat([_pixels(pipeline, picture, cancelled) for picture in seen])
            features.append(pipeline.model.vision_features(pixels).to("cpu", kept))
            on_view(at * views + start + len(part))
        before = small
    return Lessons(task, writer.head, torch.cat(features), taught, {}, numbers, views)


def _pixels(pipeline: IAAPipeline, seen: Image.Image, cancelled: Cancel) -> Tensor:
    """(1, 3, size, size): a view as the tower takes it. Once it is, the view itself, which may be large, can go."""
    check_cancelled(cancelled)
    vision = pipeline.model.vision
    return preprocess([seen], vision.image_size, vision.image_mean, vision.image_std, cancelled)


def choose_views(
    shown: Shown, size: tuple[int, int], task: Task, count: int, seed: str, recolor: bool, formed: bool = False
) -> list[View]:
    """``count`` views of a picture of ``size`` in which what is said about it holds.

    Answers of MM may speak of anything in the picture and in any order, so nothing is mirrored there, or cut off but in
    views of which nothing is taught, where a form is (``formed``). For G, some views are without the things, which are
    absent then.
    """
    boxes = [box for example in shown.examples for box in example.boxes]
    mirror = task is Task.G and can_mirror(example.asked for example in shown.examples)
    chosen = []
    for number in range(1, count + 1):
        rng = random.Random(f"{seed} {number}")
        if boxes and rng.random() < WITHOUT:
            chosen.append(view_without(size, boxes, rng, mirror=mirror, recolor=recolor))
        else:
            cut = task is Task.G or (formed and is_cut(number))
            chosen.append(random_view(size, boxes, rng, mirror=mirror, cut=cut, recolor=recolor))
    return chosen


def is_cut(number: int) -> bool:
    """Whether a view, by its number among those of its picture, is cut where a form is taught."""
    return number % CUT == CUT - 1


def _row(writer: Writer, number: int, example: Example, view: View, rng: random.Random) -> Row | None:
    if example.answer:
        return writer.row(number, example, example.answer)
    boxes = view.boxes(example.boxes)
    if boxes is None:  # cut through, as where no better view was found
        return None
    if not boxes:
        return writer.row(number, example, box_answer([_any_box(rng)], (1, 1)), absent=True)
    return writer.row(number, example, box_answer(boxes, view.size))


def _any_box(rng: random.Random) -> Box:
    width, height = rng.uniform(*_ABSENT_BOX), rng.uniform(*_ABSENT_BOX)
    left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    return left, top, left + width, top + height
