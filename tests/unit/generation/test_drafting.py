"""Drafted answers are those of decoding token by token, in fewer forward passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from make_checkpoint import Geometry, make_checkpoint
from torch import Tensor

from iaa_runtime import GenerationConfig, IAAPipeline, Task
from iaa_runtime.errors import Cancelled, NumericsError
from iaa_runtime.generation.grammar import BoxGrammar, grammar_for
from iaa_runtime.generation.loop import generate
from iaa_runtime.generation.prefill import Prompt
from iaa_runtime.generation.rows import Answer
from iaa_runtime.model.kv_cache import KVCache
from iaa_runtime.model.stack import Stack
from iaa_runtime.pipeline.base import Question
from iaa_runtime.shapes.language import expression
from iaa_runtime.shapes.scenes import draw_scene, make_scene
from iaa_runtime.text.prompts import grounding_question

SCENES = 40


class Plain:
    """A grammar that drafts nothing."""

    def __init__(self, grammar: BoxGrammar) -> None:
        self.hold = grammar.hold


@pytest.fixture(scope="module")
def demo() -> IAAPipeline:
    return IAAPipeline.from_pretrained(dtype=torch.float32)


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> IAAPipeline:
    folder: Path = make_checkpoint(tmp_path_factory.mktemp("drafting") / "checkpoint", Geometry(context=640))
    return IAAPipeline.from_pretrained(folder)


def grammar_of(pipeline: IAAPipeline, several: bool = True) -> BoxGrammar:
    return grammar_for(pipeline.tokenizer, pipeline.model.config.vocab_size, pipeline.eos, several)


def prompts(pipeline: IAAPipeline, seeds: range, phrases: int = 2) -> list[Prompt]:
    """Some phrases on each of some scenes, as one batch of rows of unequal length."""
    import random as chance

    questions = []
    for seed in seeds:
        scene, rng = make_scene(seed), chance.Random(seed)
        picture = draw_scene(scene)
        questions += [
            Question.about(picture, grounding_question(expression(scene, rng).phrase)) for _ in range(phrases)
        ]
    return pipeline._prompts(questions, Task.G)


def answer(
    pipeline: IAAPipeline, rows: list[Prompt], constraint: Any, limit: int = 128, **options: Any
) -> list[Answer]:
    config = GenerationConfig.for_task(Task.G, max_new_tokens=limit)
    return generate(pipeline.model.stack("G"), rows, config, [pipeline.eos], constraint=constraint, **options)


def same(drafted: list[Answer], plain: list[Answer]) -> None:
    for ours, theirs in zip(drafted, plain, strict=True):
        assert ours.ids == theirs.ids
        assert ours.finished == theirs.finished
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_demo_answers_the_same(demo: IAAPipeline, rows: int, several: bool) -> None:
    grammar = grammar_of(demo, several)
    for start in range(0, SCENES, 7):
        batch = prompts(demo, range(start, start + 7))[: 2 * rows]
        for group in range(0, len(batch), rows):
            some = batch[group : group + rows]
            same(answer(demo, some, grammar), answer(demo, some, Plain(grammar)))


@pytest.mark.parametrize("limit", [20, 23, 40, 128])
def test_random_weights_answer_the_same(random: IAAPipeline, limit: int) -> None:
    """They follow no form, so that drafts are rejected, and their rows reject different ones."""
    batch = prompts(random, range(3))
    for rows in (batch[:1], batch[:3], batch):
        same(answer(random, rows, grammar_of(random), limit), answer(random, rows, Plain(grammar_of(random)), limit))


def passes(pipeline: IAAPipeline, constraint: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Forward passes behind the prompt, and boxes."""
    count, boxes, hidden = 0, 0, Stack.hidden

    def counted(stack: Stack, *args: Any, **more: Any) -> Tensor:
        nonlocal count
        count += 1
        return hidden(stack, *args, **more)

    batch = prompts(pipeline, range(100, 110))
    with monkeypatch.context() as patch:
        patch.setattr(Stack, "hidden", counted)
        for prompt in batch:
            (said,) = answer(pipeline, [prompt], constraint)
            boxes += pipeline.tokenizer.decode(said.ids).count("]")
    return count - len(batch), boxes


def test_a_box_takes_less_than_half_the_forward_passes(demo: IAAPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    (drafted, boxes), (plain, as_many) = (
        passes(demo, constraint, monkeypatch) for constraint in (grammar_of(demo), Plain(grammar_of(demo)))
    )
    assert boxes == as_many >= 20
    assert drafted <= 0.45 * plain, (drafted, plain)


def test_tokens_come_in_order_and_can_end_a_row(demo: IAAPipeline) -> None:
    batch = prompts(demo, range(3))[:4]
    heard: list[tuple[int, int]] = []
    answers = answer(demo, batch, grammar_of(demo), on_token=lambda row, token: heard.append((row, token)))
    assert all([token for row, token in heard if row == n] == a.ids for n, a in enumerate(answers))
    short = answer(demo, batch, grammar_of(demo), on_token=lambda row, token: token == answers[row].ids[6])
    assert [a.ids for a in short] == [a.ids[: a.ids.index(a.ids[6]) + 1] for a in answers]


def test_cancel_and_nan_are_heard(demo: IAAPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    (prompt,) = prompts(demo, range(1), 1)
    heard: list[int] = []
    with pytest.raises(Cancelled):
        answer(
            demo,
            [prompt],
            grammar_of(demo),
            on_token=lambda row, token: heard.append(token),
            cancelled=lambda: len(heard) > 3,
        )
    assert 3 < len(heard) < 12
    logits = Stack.logits
    monkeypatch.setattr(Stack, "logits", lambda self, hidden: logits(self, hidden) * float("nan"))
    with pytest.raises(NumericsError):
        answer(demo, [prompt], grammar_of(demo))


def test_form_is_drafted_and_digits_are_not(demo: IAAPipeline) -> None:
    grammar = grammar_of(demo)
    state = grammar.start([128])
    seen = []
    for token in demo.tokenizer.encode("[0.123,0.456,0.789,0.321]; [0.5", add_special_tokens=False):
        seen.append(demo.tokenizer.decode(grammar.draft(int(state))))
        state = grammar.advance(state, torch.tensor([token]))
    assert seen[0] == "", "the first token is the prompt's to give"
    assert seen[1] == "0." and ",0." in seen and "]" in seen
    assert all(not set(text) & set("123456789") for text in seen)


@pytest.mark.parametrize("several", [True, False])
def test_behind_a_one_the_edge_of_the_picture_is_drafted(demo: IAAPipeline, several: bool) -> None:
    """A box that ends at the edge says ``1.000``, and its noughts are no news."""
    grammar = grammar_of(demo, several)
    for so_far, expected in (("[1", ".000,0."), ("[0.12,1", ".000,0."), ("[0.1,0.2,0.35,1", ".000]")):
        state = grammar.start([128])
        for token in demo.tokenizer.encode(so_far, add_special_tokens=False):
            state = grammar.advance(state, torch.tensor([token]))
        assert demo.tokenizer.decode(grammar.draft(int(state))) == expected


@pytest.mark.parametrize("counts", [[3, 3], [1, 3], [2, 1]])
def test_new_columns_can_be_given_back(counts: list[int]) -> None:
    cache = KVCache(1, 2, 20, 1, 2, torch.float32, torch.device("cpu"))
    cache.extend(5)
    cache.extend(3, None if counts == [3, 3] else torch.tensor([[True, True, True]] * 2))
    cache.keep_new(counts)
    assert cache.tokens.tolist() == [5 + count for count in counts]
    assert cache.columns == 5 + max(counts)
    assert cache.real[:, : cache.columns].sum(-1).tolist() == [5 + count for count in counts]
    assert not cache.real[:, cache.columns :].any()
    assert cache.extend(1).indices[:, 0].tolist() == [5 + count for count in counts]
