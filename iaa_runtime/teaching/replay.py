"""Replay: what the model says of other things on the same pictures, so that what it knew stays.

Answers are the model's own, and so are the probabilities of their tokens, which the taught model is held to: whatever
it was sure of or in doubt about, it stays so. No one has to know what is right.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from ..config import IMAGE_TOKEN_INDEX, GenerationConfig, Task
from ..errors import Cancel
from ..generation.grammar import grammar_for
from ..generation.prefill import Prompt
from ..model.stack import Stack
from ..pipeline.asking import batches
from ..pipeline.local import IAAPipeline
from ..shapes.language import EXTREMES, RELATIONS, Noun
from ..shapes.other_things import THINGS
from ..shapes.scenes import COLORS, KINDS, SIZES
from ..text.prompts import asked_phrase, grounding_question, presence_question
from ..text.styles import ANY, EXTRAS, LENGTHS, LISTS, caption_prompt
from ..text.styles import KINDS as CAPTIONS
from .batches import Project, run_rows
from .by_example import Examples
from .lessons import Lessons, Row, Writer
from .losses import Memory

KEPT = 1024
"""Likeliest tokens of which a memory keeps the probabilities: all coordinates and some words."""
LONGEST = 96
"""Tokens of an answer of MM that are replayed."""
TELLING = 8
"""Tokens from which on two equal answers are no chance: many questions are answered with yes."""
QUESTIONS = (
    "How many people are there?",
    "What is in the background?",
    "What color is most of the image?",
    "What is written there?",
    "What is the largest thing in the image?",
)


def other_questions(task: Task, demo: bool, taught: Sequence[str], count: int, rng: random.Random) -> list[str]:
    """``count`` different phrases or prompts, none of which is taught.

    Args:
        task: G is asked for phrases, MM gets prompts.
        demo: the model knows coloured shapes alone, so most are about those.
        taught: what is new.
        count: how many.
        rng: the source.
    """
    made = _phrase if task is Task.G else _prompt
    chosen: dict[str, None] = {}
    left_out = {_plain(text, task) for text in taught}
    for _ in range(20 * count):
        if len(chosen) == count:
            break
        text = made(demo, rng)
        if _plain(text, task) not in left_out:
            chosen[text] = None
    return list(chosen)


def _plain(text: str, task: Task) -> str:
    return asked_phrase(grounding_question(text)).lower() if task is Task.G else text.strip().lower()


def _phrase(demo: bool, rng: random.Random) -> str:
    thing, form = rng.choice(THINGS), rng.random()
    if not demo:
        if form < 0.2:
            return f"every {thing}"
        if form < 0.6:
            return f"the {thing}"
        return f"the {rng.choice(EXTREMES)} {thing}" if form < 0.8 else f"the {rng.choice(tuple(COLORS))} {thing}"
    if form < 0.08:
        return f"the {thing}"
    if form < 0.25:
        return f"the {rng.choice(EXTREMES)} {_noun(rng, 0.3)}"
    if form < 0.42:
        return f"the {_noun(rng, 0.5)} {rng.choice(RELATIONS)} the {_noun(rng, 0.6)}"
    if form < 0.7:
        return f"{rng.choice(('the', 'all the'))} {_noun(rng, 0.5).plural}"
    noun = _noun(rng, 0.7)
    return str(noun) if form < 0.8 else f"the {noun}"


def _noun(rng: random.Random, detail: float) -> Noun:
    """A shape by one or two attributes, or none."""
    size = rng.choice(tuple(SIZES)) if rng.random() < 0.3 * detail else None
    color = rng.choice(tuple(COLORS)) if rng.random() < 0.6 * detail else None
    return Noun(size, color, rng.choice(KINDS) if rng.random() < detail else None)


def _prompt(demo: bool, rng: random.Random) -> str:
    form = rng.random()
    if form < 0.4:
        kind = rng.choice(CAPTIONS)
        length = ANY if kind in LISTS else rng.choice(tuple(LENGTHS))
        return caption_prompt(kind, length, rng.sample(tuple(EXTRAS), rng.randint(0, 1)))
    if form < 0.6:
        return presence_question(_phrase(demo, rng))
    if not demo:
        return rng.choice(QUESTIONS)
    first, second = _noun(rng, 0.7), _noun(rng, 0.7)
    return rng.choice(
        (
            "How many shapes are there?",
            f"How many {first.plural} are there?",
            f"What color is the {first}?",
            f"What shape is the {first}?",
            f"Is the {first} {rng.choice(RELATIONS)} the {second}?",
        )
    )


def remember(
    pipeline: IAAPipeline,
    lessons: Lessons,
    taught: Sequence[str],
    answers: int,
    a_view: int,
    seed: int,
    at_once: int = 8,
    on_view: Callable[[int, int], object] = lambda done, total: None,
    cancelled: Cancel = None,
) -> None:
    """Asks the model as it is about the views of lessons, and adds what it says to them.

    Args:
        pipeline: the model as it is.
        lessons: ``known`` is filled.
        taught: phrases or prompts that are new, which are not asked.
        answers: how many in all.
        a_view: how many about one view.
        seed: of the choice.
        at_once: views that are asked about together.
        on_view: called with (views done, views in all).
        cancelled: True raises :class:`Cancelled`.
    """
    count = min(len(lessons.features), max(1, answers // a_view))
    views = sorted(random.Random(f"{seed} replay").sample(range(len(lessons.features)), count))
    task, writer = lessons.task, Writer(pipeline, lessons.task)
    longest = {} if task is Task.G else {"max_new_tokens": LONGEST}
    config = GenerationConfig.for_task(task, **longest)
    model = pipeline.model
    stack = model.stack(task)
    grammar = grammar_for(pipeline.tokenizer, model.config.vocab_size, pipeline.eos, True) if task is Task.G else None
    examples = Examples(pipeline, lessons, writer, LONGEST)
    most = 2 * a_view * at_once  # a picture may have any number of taught prompts
    for start in range(0, len(views), at_once):
        some = views[start : start + at_once]
        images = model.project(lessons.features[some], task)
        told = {view: examples.told(view) for view in some}
        pairs = [pair for view in some for pair in examples.pairs(view, random.Random(f"{seed} example {view}"))]
        shown = {(asked.view, asked.prompt): row for asked, row in pairs if not row.answer}
        rows: list[Row] = []
        prompts: list[Prompt] = []
        for view, image in zip(some, images, strict=True):
            rng = random.Random(f"{seed} replay {view}")
            asked = [writer.prompt(text) for text in other_questions(task, pipeline.is_demo, taught, a_view, rng)]
            if task is Task.MM:
                asked += [row.prompt for row in told[view]]
                asked += [prompt for of_view, prompt in shown if of_view == view]
            rows += [Row(view, ids, ()) for ids in asked]
            prompts += [Prompt((*lessons.head, IMAGE_TOKEN_INDEX, *ids), image) for ids in asked]
        answered = [
            answer
            for some_prompts in batches(prompts, most)
            for answer in model.answer(
                some_prompts, task, config, [pipeline.eos], constraint=grammar, cancelled=cancelled
            )
        ]
        said = [replace(row, answer=tuple(a.ids)) for row, a in zip(rows, answered, strict=True) if a.ids]
        own = {(row.view, row.prompt): row for row in said if (row.view, row.prompt) in shown}
        known = [(row, row) for row in _others(said, told) if (row.view, row.prompt) not in shown]
        known += [(row, replace(row, prompt=shown[key].prompt)) for key, row in own.items()]
        known += [pair for pair in pairs if pair[1].answer]
        for some_rows in batches(known, most):
            _memorize(stack, lessons, some_rows, model.project)
        on_view(min(start + at_once, len(views)), len(views))


def _memorize(stack: Stack, lessons: Lessons, known: Sequence[tuple[Row, Row]], project: Project) -> None:
    """Adds answers to lessons, with what the model says of each token of them.

    Args:
        stack: of the model as it is.
        lessons: ``known`` grows.
        known: rows as they are asked now, and as they are added.
        project: of the model.
    """
    with torch.no_grad():
        ran = run_rows(stack, lessons, [asked for asked, _ in known], project)
    added, at = dict(known), 0
    for asked in ran.rows:
        part = ran.logits[at : at + len(asked.answer)]
        at += len(asked.answer)
        lessons.known.setdefault(asked.view, []).append(replace(added[asked], memory=Memory.of(part, KEPT)))


def _others(said: Sequence[Row], told: Mapping[int, Sequence[Row]]) -> list[Row]:
    """Answers without those to taught prompts of MM, and without those to prompts that are the same to the model.

    To the demo model "Describe this image in detail" is another word for "Describe this image": held to the old answer
    to the one, it does not learn a new one to the other.
    """
    taught = {(view, row.prompt) for view, rows in told.items() for row in rows}
    old = {(row.view, row.answer) for row in said if (row.view, row.prompt) in taught and len(row.answer) >= TELLING}
    return [row for row in said if (row.view, row.prompt) not in taught and (row.view, row.answer) not in old]
