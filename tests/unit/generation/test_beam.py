"""Beam search where every answer can be counted; equality with transformers is in parity/."""

from __future__ import annotations

import itertools

import pytest
import torch
from make_checkpoint import Geometry, make_checkpoint

from iaa_runtime import IAAModel
from iaa_runtime.config import GenerationConfig
from iaa_runtime.errors import InputError
from iaa_runtime.generation.grammar import BoxGrammar
from iaa_runtime.generation.prefill import Prompt
from iaa_runtime.generation.rows import Answer

WORDS, PROMPT = 6, (1, 2, 3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> IAAModel:
    folder = tmp_path_factory.mktemp("beam") / "checkpoint"
    return IAAModel.from_pretrained(make_checkpoint(folder, Geometry(vocab_size=WORDS), seed=2))


def search(model: IAAModel, eos: tuple[int, ...] = (), **options: float) -> Answer:
    return model.answer([Prompt(PROMPT)], "Text", GenerationConfig(**options), eos)[0]


def log_probabilities(model: IAAModel, answer: tuple[int, ...]) -> list[float]:
    logits = model(torch.tensor([[*PROMPT, *answer]]), task="Text")[0, len(PROMPT) - 1 : -1]
    return [float(row.log_softmax(-1)[token]) for row, token in zip(logits, answer, strict=True)]


def test_enough_beams_find_the_likeliest_answer_of_all(model: IAAModel) -> None:
    every = itertools.product(range(WORDS), repeat=3)
    best = max(every, key=lambda answer: sum(log_probabilities(model, answer)))
    assert tuple(search(model, max_new_tokens=3, num_beams=WORDS**2).ids) == best


@pytest.mark.parametrize("penalty", [1.0, 0.0, 2.0])
def test_enough_beams_find_the_best_score_among_all_lengths(model: IAAModel, penalty: float) -> None:
    end, room = 4, 3
    every = [
        answer
        for length in range(1, room + 1)
        for answer in itertools.product(range(WORDS), repeat=length)
        if end not in answer[:-1] and (answer[-1] == end or length == room)
    ]
    best = max(every, key=lambda answer: sum(log_probabilities(model, answer)) / len(answer) ** penalty)
    got = search(model, (end,), max_new_tokens=room, num_beams=200, length_penalty=penalty)
    assert tuple(got.ids) == best
    assert got.finished == (best[-1] == end)


@pytest.mark.parametrize("options", [{}, {"repetition_penalty": 1.5}], ids=str)
def test_log_probabilities_are_the_models_own(model: IAAModel, options: dict[str, float]) -> None:
    got = search(model, max_new_tokens=5, num_beams=3, **options)
    assert got.logprobs == pytest.approx(log_probabilities(model, tuple(got.ids)), abs=1e-4)


def test_more_beams_than_words(model: IAAModel) -> None:
    assert len(search(model, max_new_tokens=2, num_beams=20).ids) == 2


def test_one_token_is_the_greedy_one(model: IAAModel) -> None:
    assert search(model, max_new_tokens=1, num_beams=4).ids == search(model, max_new_tokens=1).ids


def test_a_grammar_is_refused(model: IAAModel) -> None:
    texts = dict(enumerate(["[", "]", ",", "0", ";"]))
    with pytest.raises(InputError, match="Beam search and box grammar"):
        model.answer(
            [Prompt(PROMPT)], "Text", GenerationConfig(num_beams=2), [5], constraint=BoxGrammar(texts, WORDS, 5)
        )
