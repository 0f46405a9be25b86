"""What the model itself says of a taught answer once another one is shown to it as an example.

Who has some dozen captions teaches a form. What is in the pictures the model knows already; learning the captions by
heart, it forgets that. Asked to write like one of the others, it sees as well as ever, and its own probabilities tell
what of an answer is form and what it would see there itself. The taught model is held to them, without the example
(context distillation: Snell et al., "Learning by Distilling Context", arXiv 2209.15189). Of parts of the pictures, two
in one view, of which nothing is taught, it is held to what it says there in the form. benchmarks/results has what each
of these brings.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from ..config import Task
from ..pipeline.local import IAAPipeline
from ..text.prompts import form_question
from .lessons import LEAST, Lessons, Row, Writer

SHOWN = 2
"""Examples that are shown for an answer, one at a time."""


class Examples:
    """The taught answers, as examples of one another.

    Args:
        pipeline: whose tokenizer and context it is.
        lessons: of MM.
        writer: of the same task.
        longest: tokens for which answers that the model gives itself need room.
    """

    def __init__(self, pipeline: IAAPipeline, lessons: Lessons, writer: Writer, longest: int) -> None:
        self._lessons, self._writer, self._longest = lessons, writer, longest
        self._room = pipeline.context - pipeline.model.num_image_tokens - len(lessons.head)
        self._texts: dict[tuple[int, ...], dict[int, str]] = defaultdict(dict)  # by prompt and picture
        for view in range(0, len(lessons.taught), lessons.a_picture):
            for row in lessons.taught[view]:
                if len(row.answer) >= LEAST:
                    text = pipeline.tokenizer.decode(list(row.answer[:-1]))
                    self._texts[row.prompt][view // lessons.a_picture] = text

    def told(self, view: int) -> list[Row]:
        """What is taught of a view of MM's; of one that is cut, where answers may not hold, the same without them."""
        lessons = self._lessons
        if lessons.task is Task.G:
            return []
        if lessons.taught[view]:
            return lessons.taught[view]
        first = view - view % lessons.a_picture
        return [replace(row, view=view, answer=()) for row in lessons.taught[first] if len(row.answer) >= LEAST]

    def pairs(self, view: int, rng: random.Random) -> Iterator[tuple[Row, Row]]:
        """What is taught of a view, each row as it is asked with an example of another picture, and as it is taught."""
        picture = view // self._lessons.a_picture
        for row in self.told(view):
            texts = self._texts[row.prompt] if len(row.answer) >= LEAST or not row.answer else {}
            others = [text for other, text in texts.items() if other != picture]
            for text in rng.sample(others, min(SHOWN, len(others))):
                asked = replace(row, prompt=self._writer.prompt(form_question(text)))
                if len(asked.prompt) + (len(row.answer) or self._longest) <= self._room:
                    yield asked, row
