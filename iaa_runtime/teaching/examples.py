"""What is taught, and what is scored: a picture, what is asked about it, and the right boxes or the right answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from PIL import Image

from ..boxes.answers import format_box
from ..boxes.geometry import Box, pad_box
from ..config import Task
from ..config.teaching import TeachSettings
from ..errors import Cancel, InputError, check_cancelled, spelled
from ..images.load import load_image
from ..text.prompts import asked_phrase, grounding_question

SLACK = 1.0
"""Pixels by which a box may reach beyond its picture, as rounding makes it; it is cut off."""


@dataclass(frozen=True)
class Example:
    """One thing to learn, or to be asked in a test.

    Attributes:
        image: the picture, or its file.
        asked: the phrase that G is to find, or the prompt that MM is to answer.
        boxes: in pixels of the picture, for G; none where the picture lacks what is asked for.
        answer: for MM.
        before: messages before the prompt, of user and assistant in turn.
        size: (width, height) that the data say the picture has, in pixels; None where they do not say.
        where: the row that it comes from; begins sentences about it.
    """

    image: Path | Image.Image
    asked: str
    boxes: tuple[Box, ...] = ()
    answer: str = ""
    before: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    where: str = field(default="The example", compare=False)

    @property
    def picture_key(self) -> str:
        """The same for all examples on one picture."""
        return str(self.image) if isinstance(self.image, Path) else f"{id(self.image)}"

    def load(self) -> Image.Image:
        """Opens the picture.

        Raises:
            InputError: it is missing or broken; names the row.
        """
        try:
            return load_image(self.image)
        except InputError as error:
            missing = isinstance(self.image, Path) and not self.image.exists()
            remedy = " Paths begin at the file's own folder, or at the one that --images names." if missing else ""
            raise InputError(f"{self.where}: {error}{remedy}") from error


@dataclass(frozen=True)
class Shown:
    """A picture, and all examples that are about it."""

    examples: tuple[Example, ...]

    @property
    def name(self) -> str:
        """What the picture is called."""
        image = self.examples[0].image
        return image.name if isinstance(image, Path) else "picture"

    @cached_property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture in pixels."""
        return self.load().size

    def load(self) -> Image.Image:
        """Opens the picture."""
        return self.examples[0].load()

    def resized(self, size: tuple[int, int], to: tuple[int, int]) -> Shown:
        """What is said of a picture of ``size``, (width, height) in pixels, of a copy that is ``to`` large."""
        across, down = to[0] / size[0], to[1] / size[1]
        return Shown(
            tuple(
                replace(
                    example,
                    boxes=tuple((x1 * across, y1 * down, x2 * across, y2 * down) for x1, y1, x2, y2 in example.boxes),
                )
                for example in self.examples
            )
        )


def by_picture(examples: Sequence[Example]) -> list[Shown]:
    """Examples in groups of one picture, in the order of first appearance."""
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.picture_key, []).append(example)
    return [Shown(tuple(group)) for group in groups.values()]


def checked(examples: Sequence[Example], task: Task, cancelled: Cancel = None) -> list[Example]:
    """The examples, with boxes cut off at the picture's edges, after a look at every picture.

    All boxes of one phrase on one picture come as one example, however the data spell the phrase.

    Raises:
        InputError: there is none; or one asks nothing, has no answer, lacks its picture, has a box outside of it, or
            speaks of another size than the picture has. The sentence begins with the row.
        Cancelled: the callback says so; it is asked before each picture.
    """
    if not examples:
        raise InputError("There is no example to learn from or to score. Give pictures with boxes or answers.")
    found: list[Example] = []
    for shown in by_picture(examples):
        check_cancelled(cancelled)
        size = shown.load().size
        found += [_checked(example, task, size) for example in shown.examples]
    return _merged(found) if task is Task.G else found


def _merged(examples: Sequence[Example]) -> list[Example]:
    """One example for a phrase on a picture: two that differ would teach that it is there, and that it is not.

    A phrase is spelled everywhere as it comes first: capital letters make no other thing.
    """
    spellings: dict[str, str] = {}
    found: dict[tuple[str, str], Example] = {}
    for example in examples:
        asked = spellings.setdefault(example.asked.casefold(), example.asked)
        key = example.picture_key, asked
        before = found.get(key, replace(example, asked=asked))
        found[key] = replace(before, boxes=tuple(dict.fromkeys((*before.boxes, *example.boxes))))
    return list(found.values())


def _checked(example: Example, task: Task, size: tuple[int, int]) -> Example:
    if not example.asked.strip():
        raise InputError(f"{example.where}: it has no {'phrase' if task is Task.G else 'prompt'}. Say what is shown.")
    if example.size is not None and example.size != size:
        raise InputError(
            f"{example.where}: the row says {example.size[0]} x {example.size[1]} pixels, and its picture has "
            f"{size[0]} x {size[1]}. Boxes would be in the wrong place: give those of this very picture."
        )
    if task is Task.MM:
        if not example.answer.strip():
            raise InputError(f"{example.where}: there is no answer to learn. Write what the model is to say.")
        return example
    try:
        grounding_question(example.asked)
    except InputError as error:
        raise InputError(f"{example.where}: {error}") from None
    boxes = tuple(_inside(box, size, example.where) for box in example.boxes)
    # All that asks for one thing is written alike, however the data spell it.
    asked = asked_phrase(grounding_question(example.asked))
    return replace(example, asked=asked, boxes=boxes, answer="")


def _inside(box: Box, size: tuple[int, int], where: str) -> Box:
    x1, y1, x2, y2 = box
    width, height = size
    if not (x1 < x2 and y1 < y2):
        raise InputError(f"{where}: the box {spelled(box)} is empty or reversed. Give left, top, right, bottom.")
    cut = max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2)
    within = min(x1, y1) >= -SLACK and x2 <= width + SLACK and y2 <= height + SLACK
    if not within or cut[0] >= cut[2] or cut[1] >= cut[3]:  # of a sliver beside the picture nothing is left
        raise InputError(
            f"{where}: the box from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) reaches outside of its picture of {width} x "
            f"{height}. Are its numbers pixels of this very picture, and not x, y, width, height?"
        )
    return cut


def split(examples: Sequence[Example], settings: TeachSettings) -> tuple[list[Example], list[Example]]:
    """Holds pictures out, all that is asked about them included.

    Args:
        examples: all of them, checked.
        settings: how many of the pictures are held out, one at least where it is above 0, and the seed of the choice.

    Returns:
        Those to learn from and those held out, each in the order given.

    Raises:
        InputError: nothing would be left to learn from.
    """
    pictures, share = by_picture(examples), settings.hold_out
    count = 0 if share <= 0 else max(1, round(share * len(pictures)))
    if count >= len(pictures):
        raise InputError(
            f"Too few pictures: of {len(pictures)}, {count} would be held out and none is left to learn from. Give "
            "more, or hold out less: a share of 0 holds out none."
        )
    chosen = random.Random(settings.seed).sample(pictures, count)
    held = {shown.examples[0].picture_key for shown in chosen}
    learned, tested = ([e for e in examples if (e.picture_key in held) is out] for out in (False, True))
    if settings.task is Task.G and not any(example.boxes for example in learned):
        if not any(example.boxes for example in tested):
            raise InputError("No example has a box. Give pictures that show what is to be found, with boxes around it.")
        raise InputError(
            f"All pictures with a box are among the {count} that would be held out: none is left to learn from. Give "
            "more of them, hold out less, or choose another seed."
        )
    return learned, tested


def box_answer(boxes: Sequence[Box], size: tuple[int, int]) -> str:
    """What G says of boxes in pixels of a picture: by left edge, ``[0.102,0.200,0.300,0.400]; [0.500,…]``."""
    return "; ".join(format_box(pad_box(box, size)) for box in sorted(boxes))
