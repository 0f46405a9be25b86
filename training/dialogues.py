"""Turns scenes and questions into token ids, in the chat layout of the runtime, split where a batch branches."""

from __future__ import annotations

import random
import re
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from forms import FORMED, FormedCaption, formed_turn
from tokenizers import Tokenizer
from torch import Tensor

from iaa_runtime.config import Task
from iaa_runtime.shapes.captions import SENTENCES, styled_caption
from iaa_runtime.shapes.language import (
    Expression,
    Question,
    absent_expression,
    caption,
    expression,
    format_box,
    grounding_answer,
    left_to_right,
    tags,
)
from iaa_runtime.shapes.other_things import other_expression
from iaa_runtime.shapes.questions import WEIGHTS, visual_question
from iaa_runtime.shapes.scenes import KINDS, MAX_SHAPES, Scene, make_scene
from iaa_runtime.shapes.text_questions import text_question
from iaa_runtime.text.conversation import BEGIN_OF_TEXT, END_HEADER, EOT, START_HEADER
from iaa_runtime.text.prompts import CAPTION_PROMPTS, DEFAULT_SYSTEM, grounding_question, presence_question
from iaa_runtime.text.styles import ANY, EXTRAS, LENGTHS, caption_prompt

IGNORED = -100
ABSENT = "absent"
WATCHED = 2
NOTHING = MAX_SHAPES
Look = tuple[tuple[int, ...], tuple[int, ...]]
"""What the first and the second watched head are to look at: shapes, or ``NOTHING``; empty leaves a head free."""
FREE: Look = ((), ())
TAGS, STYLED = "tags", "styled"
UNSAID = ("beautiful", "vibrant", "in the background", "a picture of", "possibly", "person")
"""Words that no caption of a scene has anyway."""
NAMES = ("ohwx", "Anna", "sks")
"""Of persons, of whom no scene has one."""
CAPTION_QUESTIONS = (CAPTION_PROMPTS["caption"], CAPTION_PROMPTS["caption"], CAPTION_PROMPTS["detailed"])
TAG_QUESTIONS = (CAPTION_PROMPTS["objects"], CAPTION_PROMPTS["objects"], CAPTION_PROMPTS["tags"])
LESSONS = WEIGHTS | {"count": 26, "relation": 22, "side": 14}
"""Shares of the kinds of question in MM's lessons: more of what is learned slowly, and sides, which teach relations."""
CLOSE_UP_LESSONS = {"color": 1, "kind": 1}
_ITEM = re.compile(r"(?:,| and|(?<=:)) an? |\[|; \[")  # where a list goes on to its next shape
_STYLED_ITEM = re.compile(r"^(?=An? )|(?:,| and|(?<=:)| is| comes?) an? |(?<=\.) An? ")  # and sentences to theirs
_TAG = re.compile(r"^|, ")
_STEM = grounding_question("X").removesuffix(" X.")


@dataclass(frozen=True)
class Branches:
    """Questions and answers of about one length.

    Attributes:
        parents: (rows,) which picture each belongs to.
        ids: (rows, T) token ids, padded to the right with 0.
        targets: (rows, T) the next token where it is learned, ``IGNORED`` elsewhere.
        absent: (rows,) bool, True where the phrase means nothing in the picture.
        looks: (rows, T, ``WATCHED``, ``MAX_SHAPES`` + 1) bool, what each watched head is to look at while the next
            token is predicted: shapes, and last ``NOTHING``; all False where it is free.
    """

    parents: Tensor
    ids: Tensor
    targets: Tensor
    absent: Tensor
    looks: Tensor


@dataclass(frozen=True)
class Dialogue:
    """Turns about picture ``parent`` of the batch, and for each whether its answer is learned (or only history)."""

    parent: int
    turns: Sequence[Question]
    learned: Sequence[bool]


@dataclass(frozen=True)
class Branch:
    """One row of :class:`Branches` before padding: token ids, targets, and what to look at, all of one length."""

    ids: list[int]
    targets: list[int]
    looks: list[Look]


def _pad(rows: Sequence[tuple[Dialogue, Branch]]) -> Branches:
    length = max(len(branch.ids) for _, branch in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    targets = torch.full((len(rows), length), IGNORED)
    looks = torch.zeros(len(rows), length, WATCHED, MAX_SHAPES + 1, dtype=torch.bool)
    for row, (_, branch) in enumerate(rows):
        ids[row, : len(branch.ids)] = torch.tensor(branch.ids)
        targets[row, : len(branch.targets)] = torch.tensor(branch.targets)
        for column, look in enumerate(branch.looks):
            for head, things in enumerate(look):
                looks[row, column, head, list(things)] = True
    parents = torch.tensor([dialogue.parent for dialogue, _ in rows])
    return Branches(parents, ids, targets, torch.tensor([d.turns[0].kind == ABSENT for d, _ in rows]), looks)


class Script:
    """The chat layout in the ids of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._eot = self._special(EOT)
        self._opening = [
            self._special(BEGIN_OF_TEXT),
            *self._header("system"),
            *self.text("\n\n" + DEFAULT_SYSTEM),
            self._eot,
            *self._header("user"),
            *self.text("\n\n"),
        ]
        self._reply = [self._eot, *self._header("assistant"), *self.text("\n\n")]

    def _special(self, token: str) -> int:
        number = self._tokenizer.token_to_id(token)
        assert number is not None, f"the tokenizer lacks {token}"
        return int(number)

    def _header(self, role: str) -> list[int]:
        return [self._special(START_HEADER), *self.text(role), self._special(END_HEADER)]

    def text(self, text: str) -> list[int]:
        """Ids of plain text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def trunk(self, task: Task, stem: bool) -> tuple[list[int], list[int]]:
        """Ids before the picture, and between it and the question; with ``stem``, also of G's questions' beginning."""
        if not task.sees:
            return self._opening, []
        return self._opening, self.text("\n" + (_STEM if stem else ""))

    def answer(self, turn: Question) -> tuple[list[int], list[Look]]:
        """Ids of a turn's answer, and per id what to look at.

        The first head looks at the shape that the item of a list is about (or a whole answer that is no list), or
        equally at all that is counted and at nothing; the second at the landmark.
        """
        encoded = self._tokenizer.encode(turn.answer, add_special_tokens=False)
        if isinstance(turn, FormedCaption):
            starts: Sequence[int] = turn.starts
        else:
            item_start = {TAGS: _TAG, STYLED: _STYLED_ITEM}.get(turn.kind, _ITEM)
            starts = [match.start() for match in item_start.finditer(turn.answer)] or [0]
        landmark = () if turn.landmark is None else (turn.landmark,)
        looks: list[Look] = []
        for begin, _ in encoded.offsets:
            item = bisect(starts, begin) - 1
            if not turn.about or item < 0:
                looks.append((() if turn.counted is None else (*turn.counted, NOTHING), landmark))
            elif turn.kind != FORMED and "," in turn.answer[starts[item] : begin].lstrip(","):
                looks.append(FREE)  # the first coordinate of a box has told which one it is
            else:
                looks.append(((turn.about[item],), landmark))
        return [*encoded.ids, self._eot], [*looks, FREE]

    def branch(self, turns: Sequence[Question], stem: bool, learned: Sequence[bool]) -> Branch:
        """Some turns behind the trunk.

        Args:
            turns: Questions with their answers.
            stem: The first question's beginning is in the trunk.
            learned: Per turn, whether its answer is learned (or only history).
        """
        ids: list[int] = []
        targets: list[int] = []
        looks: list[Look] = []
        for number, (turn, is_learned) in enumerate(zip(turns, learned, strict=True)):
            asked = self.text(turn.question.removeprefix(_STEM) if stem and number == 0 else turn.question)
            if number:
                asked = [*self._header("user"), *self.text("\n\n" + turn.question)]
            answer, seen = self.answer(turn)
            ids += [*asked, *self._reply, *answer]
            # A token is predicted at the position before it.
            before = len(asked) + len(self._reply) - 1
            targets += [IGNORED] * before + (answer if is_learned else [IGNORED] * len(answer)) + [IGNORED]
            looks += [FREE] * before + (seen if is_learned else [FREE] * len(answer)) + [FREE]
        return Branch(ids, targets, looks)

    def batch(self, dialogues: Sequence[Dialogue], stem: bool, groups: int = 4) -> list[Branches]:
        """Writes dialogues as branches, sorted into groups by length and padded in each."""
        rows = [(d, self.branch(d.turns, stem, d.learned)) for d in dialogues]
        rows.sort(key=lambda row: len(row[1].ids))
        size = -(-len(rows) // groups)
        return [_pad(rows[start : start + size]) for start in range(0, len(rows), size)]


def told_turn(rng: random.Random) -> Question:
    """A caption or a box of no picture, which teaches how scenes and coordinates are written."""
    if rng.random() < 0.8:
        return Question("Make up a picture.", caption(make_scene(rng.getrandbits(29))), "told")
    return Question("Make up a box.", format_box(random_box(rng)), "told")


def styled_turn(scene: Scene, rng: random.Random) -> Question:
    """A caption in a style: a kind, length, up to two extras, sometimes a forbidden word or a name; or such tags."""
    kind = rng.choices((*SENTENCES, "image prompt", "tags"), (4, 1, 1, 1, 1, 1))[0]
    sentences = kind in SENTENCES
    length = rng.choice(list(LENGTHS)) if sentences and rng.random() < 0.8 else ANY
    extras = rng.choices(("no opening", "essentials", "composition", rng.choice(list(EXTRAS))), k=rng.randrange(3))
    forbid = [rng.choice((*KINDS, *UNSAID))] if rng.random() < 0.15 and kind != "tags" else []
    call = rng.choice(NAMES) if rng.random() < 0.1 else ""
    question = caption_prompt(kind, length, extras, forbid, call=call)
    if kind == "tags":
        answer, about = tags(scene)
        return Question(question, answer, TAGS, about)
    answer = styled_caption(scene, kind, length, extras, forbid)
    order = left_to_right(scene, range(len(scene.shapes)))
    return Question(question, answer, STYLED if sentences and length != "very short" else TAGS, order, counted=order)


def seeing_turn(scene: Scene, rng: random.Random) -> Question:
    """Of twenty-two: two captions, tags, two styled captions, eight in a form made up, two whether a phrase is about
    the picture, and questions.

    Of a close-up thirteen in sixteen are captions and tags, and the rest asks for color and kind alone.
    """
    close_up = scene.shapes[0].size is None
    chance = rng.random() * (16 if close_up else 22)
    if chance < 8:
        return formed_turn(scene, rng)
    chance -= 8
    if chance < 2:
        order = left_to_right(scene, range(len(scene.shapes)))
        return Question(rng.choice(CAPTION_QUESTIONS), caption(scene), "caption", order, counted=order)
    if chance < 3:
        answer, about = tags(scene)
        return Question(rng.choice(TAG_QUESTIONS), answer, TAGS, about)
    if chance < 5:
        return styled_turn(scene, rng)
    if close_up:
        return visual_question(scene, rng, CLOSE_UP_LESSONS)
    return presence_turn(scene, rng) if chance < 7 else visual_question(scene, rng, LESSONS)


def presence_turn(scene: Scene, rng: random.Random) -> Question:
    """Whether the picture shows what a phrase of G means; half of them mean nothing in it."""
    made = expression(scene, rng) if rng.random() < 0.5 else missing_expression(scene, rng)
    answer = "yes" if made.targets else "no"
    return Question(presence_question(made.phrase), answer, "present", counted=made.targets, landmark=made.landmark)


def missing_expression(scene: Scene, rng: random.Random) -> Expression:
    """A phrase that means nothing in the picture: half are shapes, half other things."""
    return absent_expression(scene, rng) if rng.random() < 0.5 else other_expression(scene, rng, held_out=False)


def random_box(rng: random.Random) -> tuple[float, float, float, float]:
    """Any box, in fractions, at least 0.1 wide and high."""
    x1, y1 = rng.uniform(0, 0.85), rng.uniform(0, 0.85)
    return x1, y1, min(0.999, x1 + rng.uniform(0.1, 0.4)), min(0.999, y1 + rng.uniform(0.1, 0.4))


def grounding_turn(scene: Scene, rng: random.Random, absent_share: float = 0.2) -> Question:
    """A phrase and its boxes; for an absent object a random box, of whose coordinates the loss prefers none."""
    if rng.random() < absent_share:
        phrase = missing_expression(scene, rng).phrase
        return Question(grounding_question(phrase), format_box(random_box(rng)), ABSENT, counted=())
    made = expression(scene, rng)
    order = left_to_right(scene, made.targets)
    answer = grounding_answer(scene, order)
    return Question(grounding_question(made.phrase), answer, made.kind, order, landmark=made.landmark)


def turn_for(task: Task, scene: Scene | None, rng: random.Random) -> Question:
    """A turn that ``task`` answers."""
    if task is Task.TEXT or scene is None:
        return told_turn(rng) if rng.random() < 0.1 else text_question(rng)
    return seeing_turn(scene, rng) if task is Task.MM else grounding_turn(scene, rng)


def different_turns(task: Task, scene: Scene | None, rng: random.Random, count: int) -> list[Question]:
    """``count`` turns with different questions: repeated ones would teach copying instead of seeing."""
    chosen: dict[str, Question] = {}
    while len(chosen) < count:
        made = turn_for(task, scene, rng)
        if made.question in chosen and rng.random() < 0.8:
            continue
        chosen[made.question if made.question not in chosen else f"{made.question}#{len(chosen)}"] = made
    return list(chosen.values())


def chat(task: Task, scene: Scene | None, rng: random.Random, turns: int) -> tuple[list[Question], list[bool]]:
    """A conversation: its last turn is ``task``'s, earlier ones may be of any task; only ``task``'s are learned."""
    others = [t for t in Task if t is not task and (scene is not None or not t.sees)]
    tasks = [task if rng.random() < 0.6 or not others else rng.choice(others) for _ in range(turns - 1)] + [task]
    questions: list[Question] = []
    for t in tasks:
        made = turn_for(t, scene, rng)
        for _ in range(20):
            if made.kind != ABSENT and all(made.question != other.question for other in questions):
                break
            made = turn_for(t, scene, rng)
        questions.append(made)
    return questions, [t is task for t in tasks]
